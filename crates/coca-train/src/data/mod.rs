//! Training and evaluation data: webdataset shards, mixed, augmented and batched.
//!
//! ```text
//! ShardSpec ─► Shards (offsets) ─► Source (decode, cache) ─┐
//!                                                          ├─► Loader ─► Batches ─► Batch
//! Mix (which data set, which sample) ── stream (random) ───┘
//! ```
//! Everything random is computed from (seed, step, row), nothing is remembered from batch to batch. So a run that is
//! resumed at a step sees exactly the batches that it would have seen, with any number of workers.

mod augment;
mod batch;
mod batches;
mod colour;
mod config;
mod error;
mod eval;
mod loader;
mod mix;
mod record;
mod sample;
mod source;
mod spec;
#[cfg(test)]
mod testing;
mod webdataset;

pub use augment::AugmentConfig;
pub use batch::Batch;
pub use config::{DataConfig, LoaderConfig};
pub use eval::{EvalSample, EvalSamples, read_samples};
pub use loader::{Loader, LoaderSetup, Log, SourceProgress};
pub use record::label_text;
pub use sample::answer_prefix;
pub use spec::ShardSpec;
