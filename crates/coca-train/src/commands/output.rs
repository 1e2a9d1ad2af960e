//! Results on standard output.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Error, Result};
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

/// An error with its causes, for people. A cause that the message before it ends with already is not repeated.
pub fn describe(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text += ": ";
            text += &cause;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = Error::msg("no such file")
            .context("reading x: no such file")
            .context("in the model folder");
        assert_eq!(
            describe(&cause),
            "in the model folder: reading x: no such file"
        );
    }
}
