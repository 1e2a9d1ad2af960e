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
        // The queries are the same for every image, so they are projected once.
        let queries = self
            .attn
            .project_queries(self.ln_q.forward(self.query.val()).unsqueeze());
        self.attn.cross_attention(queries, &keys_values, None)
    }
}
