//! Training.

mod checkpoint;
mod config;
#[cfg(test)]
mod golden;
mod gradients;
mod muon;
mod optimizer;
mod run;
mod schedule;
mod tokenizer;
mod validate;

pub use config::{TokenizerSource, TrainConfig, ValidationConfig, ValidationTask};
pub use optimizer::Optimizer;
pub use run::{Outcome, train};
pub use schedule::learning_rate;
