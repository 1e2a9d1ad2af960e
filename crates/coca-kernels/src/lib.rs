//! The operations that a transformer spends its time in, each in one pass over memory: on the CPU backend with a
//! derivative written by hand, and on WebGPU for inference.
//!
//! On every other backend, for numbers that the kernels do not take, and on a GPU in a graph, an operation is composed of
//! burn's own. All ways give the same result up to rounding.

mod activation;
mod adamw;
mod attention;
mod cross_entropy;
mod embedding;
#[cfg(feature = "flex")]
#[cfg_attr(
    not(feature = "autodiff"),
    allow(dead_code, reason = "derivatives are for graphs")
)]
mod flex;
mod gelu;
#[cfg(feature = "wgsl")]
pub mod gpu;
mod largest;
mod layer_norm;
mod linear;
mod quantised;
#[cfg(feature = "flex")]
#[cfg_attr(
    not(feature = "autodiff"),
    allow(dead_code, reason = "derivatives are for graphs")
)]
mod raw;
mod recording;

pub use activation::{Activation, linear_activated};
pub use adamw::{AdamW, adamw, sum_of_squares};
pub use attention::{
    Mask, Place, Tokens, attention, cached_attention, heads_attention, parts, split_heads,
};
pub use cross_entropy::{cross_entropy, log_sum_exp};
pub use embedding::embedding;
pub use gelu::gelu;
pub use largest::{Largest, MOST, largest};
pub use layer_norm::layer_norm;
pub use linear::{Input, Weight, linear};
pub use quantised::{
    BLOCKS, CODEBOOK, Codes, FOUR_BIT_BLOCK, bits_of, keeps_four_bits, keeps_halves,
    keeps_quantised, quantised,
};
pub use recording::{Recording, overwrite};
