//! Training and evaluation data: read from shards, tables and folders, mixed, augmented and batched.
//!
//! ```text
//! DataSpec ─► Reader (offsets) ─► DataSet ─► Source (decode, cache) ─┐
//!                                                                    ├─► Loader ─► Batches ─► Batch
//! Mix (which data set, which sample) ─────── stream (random) ────────┘
//! ```
//! Everything random is computed from (seed, step, row), nothing is remembered from batch to batch. So a run that is
//! resumed at a step sees exactly the batches that it would have seen, with any number of workers.

mod annotations;
mod augment;
mod batch;
mod batches;
mod colour;
mod config;
mod data_spec;
mod data_table;
mod dataset;
mod erasing;
mod error;
mod eval;
mod files;
mod image_folder;
mod intact;
#[cfg(test)]
mod kinds;
mod loader;
mod location;
mod mix;
mod order;
mod parquet;
mod reader;
mod record;
#[cfg(feature = "remote")]
mod remote;
mod rows;
mod sample;
mod source;
mod spec;
mod table;
mod table_spec;
#[cfg(test)]
mod testing;
mod webdataset;

pub use augment::AugmentConfig;
pub use batch::Batch;
pub use config::{DataConfig, LoaderConfig};
pub use dataset::DataSet;
pub use error::Error;
pub use eval::{EvalSample, EvalSamples, read_data, read_samples};
pub use files::Files;
pub use loader::{Loader, LoaderSetup, Log, SourceProgress};
pub use mix::{Purpose, permutation, stream};
pub use reader::RawSample;
pub use record::{Record, label_text};
pub use sample::{answer_prefix, has_text};
pub use source::decode_image;
pub use spec::ShardSpec;
