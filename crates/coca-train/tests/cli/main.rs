//! The `coca-train` binary as its users see it: output formats, exit codes, and what it does to files.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod convert;
mod evaluate;
mod fixture;
mod infer;
mod observe;
mod train;
mod usage;
