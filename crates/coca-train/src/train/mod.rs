//! Training.

mod advice;
mod checkpoint;
mod collective;
mod config;
mod ema;
#[cfg(test)]
mod golden;
mod gradients;
mod init;
mod optimizer;
mod parameters;
mod patch_dropout;
mod run;
mod schedule;
mod stepper;
mod tokenizer;
mod trainer;
mod validate;
mod weights;
mod window;

pub use config::{TrainConfig, ValidationConfig, ValidationTask};
pub use optimizer::Optimizer;
pub use run::{Outcome, train};
pub use schedule::learning_rate;
pub use stepper::Stepper;
