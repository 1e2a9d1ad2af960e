//! The commands, each with its arguments and its output.

pub mod answer;
pub mod bench;
pub mod caption;
pub mod classify;
pub mod convert;
pub mod data;
pub mod embed;
pub mod eval;
pub mod explain;
mod fidelity;
mod generation;
mod images;
pub mod info;
mod labels;
mod model;
mod output;
pub mod report;
mod usage;

pub use output::describe;
pub use usage::UsageError;
