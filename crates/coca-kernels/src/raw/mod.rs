//! The kernels themselves, on slices of numbers.

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
#[cfg(any(target_arch = "wasm32", test))]
pub mod four;
pub mod gelu;
pub mod layer_norm;
pub mod matrix;
pub mod quantised;
pub mod simd;
#[cfg(any(target_arch = "wasm32", test))]
pub mod tiled;
