//! Training.

mod checkpoint;
mod config;
#[cfg(test)]
mod golden;
mod gradients;
mod metrics;
mod muon;
mod optimizer;
mod parallel;
mod run;
mod schedule;
mod tokenizer;

pub use config::{LogConfig, OptimizerConfig, TokenizerSource, TrainConfig, ValidationConfig, ValidationTask};
pub use optimizer::Optimizer;
pub use run::{Outcome, train};
pub use schedule::learning_rate;
