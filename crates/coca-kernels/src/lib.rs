//! The operations that a transformer spends its time in, each in one pass over memory on the CPU backend, with a
//! derivative written by hand.
//!
//! On every other backend, and for other numbers than 32-bit floats, an operation is composed of burn's own. Both ways
//! give the same result up to rounding.

mod adamw;
mod attention;
mod cross_entropy;
#[cfg(feature = "flex")]
#[cfg_attr(
    not(feature = "autodiff"),
    allow(dead_code, reason = "derivatives are for graphs")
)]
mod flex;
mod gelu;
mod layer_norm;
mod linear;
#[cfg(feature = "flex")]
#[cfg_attr(
    not(feature = "autodiff"),
    allow(dead_code, reason = "derivatives are for graphs")
)]
mod raw;

pub use adamw::{AdamW, adamw, sum_of_squares};
pub use attention::{Mask, Tokens, attention, heads_attention, parts, split_heads};
pub use cross_entropy::cross_entropy;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use linear::{Weight, linear};
