//! The `coca-train` binary as its users see it: output formats, exit codes, and what it does to files.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod convert;
mod data;
mod evaluate;
mod fixture;
mod hub;
mod infer;
mod memory;
mod observe;
mod resume;
mod train;
mod usage;
