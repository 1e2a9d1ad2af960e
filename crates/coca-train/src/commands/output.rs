//! Results on standard output.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints a line for people.
pub fn line(text: impl Display) -> Result<()> {
    // Not `println!`, which panics when the reader has closed the pipe.
    writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")
}

/// Prints a JSON object on one line.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value)?)
}
