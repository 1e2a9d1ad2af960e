//! Multi-head attention with PyTorch's packed or separate projections.
//!
//! Dimension letters of this crate: B batch, T text rows, L tokens, N image tokens, H heads, D width of the text
//! decoders, V width of the image encoder, E embedding.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Tensor, module::attention, ops::AttentionModuleOptions};

use crate::indices;

use super::{
    init::{BlockInit, constant, uniform},
    linear::{Linear, product},
};

/// What a query may look at.
#[derive(Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub(crate) enum Mask {
    /// Everything.
    None,
    /// Itself and what came before.
    Causal,
    /// `[B or 1, 1, L_query, L_key]`; true hides the key.
    Hidden(Tensor<4, Bool>),
}

/// Projected keys and values, `[B, H, L, width / H]` each.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues {
    pub(crate) keys: Tensor<4>,
    pub(crate) values: Tensor<4>,
}

impl KeyValues {
    /// Row i becomes old row `rows[i]`; rows may be repeated.
    pub(crate) fn pick(self, rows: &[usize]) -> Self {
        if rows.iter().copied().eq(0..self.keys.dims()[0]) {
            return self;
        }
        let rows = indices(rows, &self.keys.device());
        Self {
            keys: self.keys.select(0, rows.clone()),
            values: self.values.select(0, rows),
        }
    }
}

/// PyTorch's `nn.MultiheadAttention`: one packed projection, or three where keys and values have their own width.
#[derive(Module, Debug)]
pub(crate) struct MultiheadAttention {
    in_proj_weight: Option<Param<Tensor<2>>>,
    q_proj_weight: Option<Param<Tensor<2>>>,
    k_proj_weight: Option<Param<Tensor<2>>>,
    v_proj_weight: Option<Param<Tensor<2>>>,
    in_proj_bias: Param<Tensor<1>>,
    out_proj: Linear,
    heads: usize,
}

impl MultiheadAttention {
    /// Queries, keys and values of the same `width`.
    pub(crate) fn new(width: usize, heads: usize, init: BlockInit, device: &Device) -> Self {
        Self {
            in_proj_weight: Some(init.in_proj(3 * width, width, device)),
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_bias: constant([3 * width], 0.0, device),
            out_proj: Linear::zero_bias(init.residual(width, width, width, device), device),
            heads,
        }
    }

    /// Keys and values of width `key_width`; packed where that equals `width`, as PyTorch stores it.
    pub(crate) fn with_key_width(
        width: usize,
        key_width: usize,
        heads: usize,
        device: &Device,
    ) -> Self {
        let packed = Self::new(width, heads, BlockInit::Torch, device);
        if width == key_width {
            return packed;
        }
        let xavier = |columns: usize| {
            uniform(
                [width, columns],
                (6.0 / (width + columns) as f64).sqrt(),
                device,
            )
        };
        Self {
            in_proj_weight: None,
            q_proj_weight: Some(xavier(width)),
            k_proj_weight: Some(xavier(key_width)),
            v_proj_weight: Some(xavier(key_width)),
            ..packed
        }
    }

    /// Self-attention: `[B, L, width]` to the same shape.
    pub(crate) fn self_attention(&self, x: Tensor<3>, mask: Mask) -> Tensor<3> {
        let (queries, keys_values) = self.project_self(x);
        self.attend(queries, &keys_values, mask)
    }

    /// Queries, keys and values of the same tokens, in one product where the weights are packed.
    pub(crate) fn project_self(&self, x: Tensor<3>) -> (Tensor<4>, KeyValues) {
        let Some(weight) = &self.in_proj_weight else {
            return (self.project_queries(x.clone()), self.project_keys_values(x));
        };
        let projected = project(x, weight.val().transpose(), Some(self.in_proj_bias.val()));
        let [q, k, v] = split3(projected);
        (
            self.split_heads(q),
            KeyValues {
                keys: self.split_heads(k),
                values: self.split_heads(v),
            },
        )
    }

    /// `[B, L, width]` to `[B, H, L, width / H]`.
    pub(crate) fn project_queries(&self, x: Tensor<3>) -> Tensor<4> {
        let [_, _, width] = x.dims();
        let weight = match (&self.in_proj_weight, &self.q_proj_weight) {
            (Some(packed), _) => packed.val().narrow(0, 0, width),
            (None, Some(own)) => own.val(),
            (None, None) => unreachable!("constructed with one of the two forms"),
        };
        let bias = self.in_proj_bias.val().narrow(0, 0, width);
        self.split_heads(project(x, weight.transpose(), Some(bias)))
    }

    /// `[B, L, key width]` to keys and values; computed once for an image and kept while its caption is decoded.
    pub(crate) fn project_keys_values(&self, x: Tensor<3>) -> KeyValues {
        let bias = self.in_proj_bias.val();
        let width = bias.dims()[0] / 3;
        let bias = |part: usize| Some(bias.clone().narrow(0, part * width, width));
        let weight = |part: usize, own: &Option<Param<Tensor<2>>>| match (&self.in_proj_weight, own)
        {
            (Some(packed), _) => packed.val().narrow(0, part * width, width),
            (None, Some(own)) => own.val(),
            (None, None) => unreachable!("constructed with one of the two forms"),
        };
        let keys = project(
            x.clone(),
            weight(1, &self.k_proj_weight).transpose(),
            bias(1),
        );
        let values = project(x, weight(2, &self.v_proj_weight).transpose(), bias(2));
        KeyValues {
            keys: self.split_heads(keys),
            values: self.split_heads(values),
        }
    }

    /// softmax(Q Kᵀ / √d) V, heads joined, projected: `[B, L_query, width]`.
    pub(crate) fn attend(
        &self,
        queries: Tensor<4>,
        keys_values: &KeyValues,
        mask: Mask,
    ) -> Tensor<3> {
        let (hidden, is_causal) = match mask {
            Mask::None => (None, false),
            Mask::Causal => (None, true),
            Mask::Hidden(hidden) => (Some(hidden), false),
        };
        let KeyValues { keys, values } = keys_values.clone();
        let [batch, heads, length, head_width] = queries.dims();
        let hidden = hidden.map(|mask| mask.expand([batch, heads, length, keys.dims()[2]]));
        let options = AttentionModuleOptions {
            scale: None,
            softcap: None,
            is_causal,
        };
        let attended = attention(queries, keys, values, hidden, None, options);
        let joined = attended
            .swap_dims(1, 2)
            .reshape([batch, length, heads * head_width]);
        self.out_proj.forward(joined)
    }

    /// Shape of the keys (and of the values) of `rows` sequences of `capacity` tokens.
    pub(crate) fn cache_shape(&self, rows: usize, capacity: usize) -> [usize; 4] {
        let width = self.in_proj_bias.lazy_shape().dims::<1>()[0] / 3;
        [rows, self.heads, capacity, width / self.heads]
    }

    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, length, width] = x.dims();
        x.reshape([batch, length, self.heads, width / self.heads])
            .swap_dims(1, 2)
    }
}

/// x W + b, of the type of `x`: scores and their softmax keep the precision of the activations.
fn project(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let dtype = x.dtype();
    product(x, weight, bias).cast(dtype)
}

/// Thirds of the last dimension.
fn split3(x: Tensor<3>) -> [Tensor<3>; 3] {
    let width = x.dims()[2] / 3;
    [0, 1, 2].map(|part| x.clone().narrow(2, part * width, width))
}
