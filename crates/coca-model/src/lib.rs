//! CoCa (Contrastive Captioner, [arXiv 2205.01917](https://arxiv.org/abs/2205.01917)) on burn: the model and
//! everything that must be the same natively and in the browser.
//!
//! The module tree mirrors open_clip's parameter names, so that its weights load unchanged and ours load there.
//! Nothing here touches files, threads, clocks or the network, and no backend is chosen: tensors live on the
//! [`burn::tensor::Device`] that the caller passes.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

mod coca;
pub mod config;
mod decoding;
mod error;
pub mod generate;
mod loss;
mod multimodal;
mod nn;
mod pieces;
mod pooler;
pub mod preprocess;
pub mod tasks;
mod text;
mod text_batch;
pub mod tokenizer;
mod vision;
pub mod weights;

pub use coca::{Coca, ImageEncoding, TextEncoding};
pub use config::ModelConfig;
pub use decoding::DecodeState;
pub use error::{Error, Result};
pub use loss::{Forward, ForwardOptions, LossWeights, Losses, TokenLoss, contrastive_loss};
pub use pieces::{Held, Piece, Pieces, Whole};
pub use text_batch::{Pair, TextBatch};

/// Row numbers on the device.
pub(crate) fn indices(
    rows: &[usize],
    device: &burn::tensor::Device,
) -> burn::tensor::Tensor<1, burn::tensor::Int> {
    let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    burn::tensor::Tensor::from_data(burn::tensor::TensorData::from(rows.as_slice()), device)
}
