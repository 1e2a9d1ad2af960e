//! Training.

mod adamw;
mod checkpoint;
mod config;
mod gradients;
mod metrics;
mod run;
mod schedule;
mod tokenizer;

pub use adamw::AdamW;
pub use config::{LogConfig, OptimizerConfig, TokenizerSource, TrainConfig, ValidationConfig, ValidationTask};
pub use run::{Outcome, train};
pub use schedule::learning_rate;
