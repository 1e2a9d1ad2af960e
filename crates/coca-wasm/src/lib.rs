//! CoCa in the browser: the wasm-bindgen side of the npm package `coca-wasm`, whose TypeScript is in `js/`.
//!
//! Thin on purpose: what the model does is `coca_model`'s, what a page sees is TypeScript's. It runs in a dedicated
//! worker. No exported async function takes `&mut self`, which a second call could trip over.
//! Empty except on wasm, so that the workspace builds natively without a GPU stack.

#![cfg(target_arch = "wasm32")]

mod device;
mod error;
mod explain;
mod files;
#[cfg(feature = "webgpu")]
mod gpu;
mod hooks;
mod loading;
#[cfg(feature = "webgpu")]
mod self_check;
mod session;
mod settings;
mod turns;

pub use device::CocaDevice;
pub use hooks::install;
pub use loading::CocaLoading;
pub use session::{CocaSession, EncodedImage, LabelEmbeddings};
