//! The kernels themselves, on slices of numbers.

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod gelu;
pub mod layer_norm;
pub mod matrix;
pub mod simd;
