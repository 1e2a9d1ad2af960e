//! The building blocks, in PyTorch's parameter layout and under open_clip's parameter names.

mod attention;
mod init;
mod layer_norm;
mod linear;
mod mlp;
mod resblock;

pub(crate) use attention::{KeyValues, MultiheadAttention, Projected};
pub(crate) use coca_kernels::{Mask, Place};
pub(crate) use init::{BlockInit, constant, normal, uniform};
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::{product, project};
pub(crate) use mlp::activation_of;
pub(crate) use resblock::{BlockConfig, CrossBlock, ResidualBlock, Transformer};
