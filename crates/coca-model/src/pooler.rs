//! The attentional pooler: learned queries that read the image encoder's output (paper §3.2).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::nn::{LayerNorm, MultiheadAttention, normal};

/// One multi-head attention with n learned queries; no residual, no MLP.
#[derive(Module, Debug)]
pub(crate) struct AttentionalPooler {
    query: Param<Tensor<2>>,
    attn: MultiheadAttention,
    ln_q: LayerNorm,
    ln_k: LayerNorm,
}

impl AttentionalPooler {
    /// `queries` vectors of `width` that attend over tokens of `key_width`.
    pub(crate) fn new(
        width: usize,
        key_width: usize,
        heads: usize,
        queries: usize,
        device: &Device,
    ) -> Self {
        Self {
            query: normal([queries, width], 1.0, device),
            attn: MultiheadAttention::with_key_width(width, key_width, heads, device),
            ln_q: LayerNorm::new(width, device),
            ln_k: LayerNorm::new(key_width, device),
        }
    }

    /// `[B, L, key width]` to `[B, queries, width]`.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let keys_values = self.attn.project_keys_values(self.ln_k.forward(x));
        self.attn
            .cross_attention(self.queries(), &keys_values, None)
    }

    /// How much each query reads each token of `x` `[B, L, key width]`, averaged over the heads: `[B, queries, L]`.
    pub(crate) fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let keys_values = self.attn.project_keys_values(self.ln_k.forward(x));
        self.attn.weights(self.queries(), &keys_values)
    }

    /// The projected queries, `[1, queries, width]`: the same for every image, so they are projected once.
    fn queries(&self) -> Tensor<3> {
        self.attn
            .project_queries(self.ln_q.forward(self.query.val()).unsqueeze().into())
    }
}
