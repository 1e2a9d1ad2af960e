//! Weights as bytes: reading, checking, adapting and writing them, and moving them into and out of a module.
//!
//! A [`StateDict`] holds named tensors as PyTorch does. It is read from safetensors, from shards with an
//! index ([`ShardIndex`]) or, with the cargo feature `torch`, from a PyTorch checkpoint; [`load`] puts it
//! into a module whose parameter paths are open_clip's names, [`save`] takes it out again. [`ModelFolder`] is
//! all of a model. [`ModelLoader`] builds a model from files that arrive in pieces, and holds little of them.

mod adapt;
mod coca_json;
mod description;
mod dtype;
mod folder;
mod folder_files;
mod header;
mod load;
mod mismatch;
mod model_loader;
mod position;
mod quant;
mod reader;
mod safetensors;
#[cfg(test)]
mod samples;
mod shards;
mod state_dict;
#[cfg(feature = "torch")]
mod torch;

pub use adapt::{Adapted, LoadOptions, adapt};
pub use coca_json::{CocaJson, FileRecord, Prompts, SelfTest};
pub use description::Description;
pub use dtype::Dtype;
pub use folder::ModelFolder;
pub use header::TensorInfo;
pub use load::{Loader, dtype_in_memory, expected, load, save};
pub use mismatch::Mismatch;
pub use model_loader::{ModelLoader, WeightsFile};
pub use position::{resize_grid, resize_sequence};
pub use quant::{CODEBOOK, FACTORS};
pub use reader::{SafetensorsReader, TensorSink};
pub use shards::{ShardIndex, Shards};
pub use state_dict::{StateDict, TensorEntry};
