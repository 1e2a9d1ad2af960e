//! Weights as bytes: reading, checking, adapting and writing them, and moving them into and out of a module.
//!
//! A [`StateDict`] holds named tensors as PyTorch does. It is read from safetensors, from shards with an
//! index ([`ShardIndex`]) or, with the cargo feature `torch`, from a PyTorch checkpoint; [`load`] puts it
//! into a module whose parameter paths are open_clip's names, [`save`] takes it out again. [`ModelFolder`] is
//! all of a model.

mod adapt;
mod coca_json;
mod dtype;
mod folder;
mod load;
mod mismatch;
mod position;
mod safetensors;
mod shards;
mod state_dict;
#[cfg(feature = "torch")]
mod torch;

pub use adapt::{Adapted, LoadOptions, adapt};
pub use coca_json::{CocaJson, FileRecord, Prompts, SelfTest};
pub use dtype::Dtype;
pub use folder::ModelFolder;
pub use load::{expected, load, save};
pub use mismatch::Mismatch;
pub use position::{resize_grid, resize_sequence};
pub use shards::{ShardIndex, Shards};
pub use state_dict::{StateDict, TensorEntry};
