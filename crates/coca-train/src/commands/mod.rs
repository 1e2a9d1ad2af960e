//! The commands, each with its arguments and its output.

pub mod answer;
pub mod caption;
pub mod classify;
pub mod convert;
pub mod embed;
pub mod eval;
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
