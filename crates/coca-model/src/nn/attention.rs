//! Multi-head attention with PyTorch's packed or separate projections.
//!
//! Dimension letters of this crate: B batch, T text rows, L tokens, N image tokens, H heads, D width of the text
//! decoders, V width of the image encoder, E embedding.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::softmax};
use coca_kernels::{
    Input, Mask, Place, Tokens, Weight, attention, cached_attention, heads_attention, parts,
    split_heads,
};

use crate::indices;

use super::{
    init::{BlockInit, constant, uniform},
    linear::{Linear, project},
};

/// Projected keys and values with their heads split, `[B, H, L, width / H]` each: what decoding keeps.
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

/// Keys and values as they are projected.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub(crate) enum Projected {
    /// Beside each other, `[B, L, 2 width]`.
    Packed(Tensor<3>),
    /// `[B, L, width]` each.
    Separate(Tensor<3>, Tensor<3>),
}

impl Projected {
    /// Row i becomes old row `rows[i]`; rows may be repeated.
    pub(crate) fn pick(self, rows: &[usize]) -> Self {
        let pick = |x: Tensor<3>| {
            if rows.iter().copied().eq(0..x.dims()[0]) {
                return x;
            }
            let rows = indices(rows, &x.device());
            x.select(0, rows)
        };
        match self {
            Self::Packed(packed) => Self::Packed(pick(packed)),
            Self::Separate(keys, values) => Self::Separate(pick(keys), pick(values)),
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

    /// Self-attention: `[B, L, width]` to the same shape, added to `residual` if there is one.
    pub(crate) fn self_attention(
        &self,
        x: Input<3>,
        mask: Mask,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let tokens = match &self.in_proj_weight {
            Some(weight) => Tokens::Packed(self.project_packed(x, weight)),
            None => {
                let x = x.value();
                let queries = self.project_queries(x.clone().into());
                tokens(queries, self.project_keys_values(x))
            }
        };
        self.out_proj
            .forward_onto(attention(tokens, self.heads, mask), residual)
    }

    /// The same for new tokens `[B, n, width]` that stand at a place of a cache, which they are added to.
    pub(crate) fn cached_self_attention(
        &self,
        x: Input<3>,
        cache: &mut KeyValues,
        place: Place,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let packed = match &self.in_proj_weight {
            Some(weight) => self.project_packed(x, weight),
            None => {
                let x = x.value();
                let queries = self.project_queries(x.clone().into());
                let [keys, values] = keys_and_values(self.project_keys_values(x));
                Tensor::cat(vec![queries, keys, values], 2)
            }
        };
        let cache = [&mut cache.keys, &mut cache.values];
        self.out_proj
            .forward_onto(cached_attention(packed, cache, place), residual)
    }

    /// Queries, keys and values beside each other, `[B, L, 3 width]`.
    fn project_packed(&self, x: Input<3>, weight: &Param<Tensor<2>>) -> Tensor<3> {
        let weight = Weight::OutputFirst(weight.val());
        project(x, weight, Some(self.in_proj_bias.val()))
    }

    /// `[B, L, width]` to the same shape.
    pub(crate) fn project_queries(&self, x: Input<3>) -> Tensor<3> {
        let width = self.width();
        let weight = match (&self.in_proj_weight, &self.q_proj_weight) {
            (Some(packed), _) => Weight::Rows(packed.val(), 0..width),
            (None, Some(own)) => Weight::OutputFirst(own.val()),
            (None, None) => unreachable!("constructed with one of the two forms"),
        };
        let bias = self.in_proj_bias.val().narrow(0, 0, width);
        project(x, weight, Some(bias))
    }

    /// `[B, L, key width]` to keys and values; computed once for an image and kept while its caption is decoded.
    pub(crate) fn project_keys_values(&self, x: Tensor<3>) -> Projected {
        let (bias, width) = (self.in_proj_bias.val(), self.width());
        let part = |x: Tensor<3>, weight: Weight, thirds: Range<usize>| {
            let bias = bias
                .clone()
                .slice_dim(0, thirds.start * width..thirds.end * width);
            project(x, weight, Some(bias))
        };
        match (
            &self.in_proj_weight,
            &self.k_proj_weight,
            &self.v_proj_weight,
        ) {
            (Some(packed), _, _) => {
                let weight = Weight::Rows(packed.val(), width..3 * width);
                Projected::Packed(part(x, weight, 1..3))
            }
            (None, Some(keys), Some(values)) => {
                let [keys, values] = [keys, values].map(|weight| Weight::OutputFirst(weight.val()));
                Projected::Separate(part(x.clone(), keys, 1..2), part(x, values, 2..3))
            }
            _ => unreachable!("constructed with one of the two forms"),
        }
    }

    /// Keys and values with their heads split, for decoding.
    pub(crate) fn split(&self, projected: Projected) -> KeyValues {
        let [keys, values] = keys_and_values(projected).map(|x| split_heads(x, self.heads));
        KeyValues { keys, values }
    }

    /// softmax(Q Kᵀ / √d) V, heads joined and projected, added to `residual` if there is one: `[B, L, width]`.
    /// `queries` are `[B, L, width]`, or `[1, L, width]` for all rows of keys and values.
    pub(crate) fn cross_attention(
        &self,
        queries: Tensor<3>,
        keys_values: &Projected,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let tokens = tokens(queries, keys_values.clone());
        self.out_proj
            .forward_onto(attention(tokens, self.heads, Mask::None), residual)
    }

    /// The same on split heads, as decoding keeps them; `queries` are `[B, H, L, d]`.
    pub(crate) fn attend(
        &self,
        queries: Tensor<4>,
        keys_values: &KeyValues,
        mask: Mask,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let KeyValues { keys, values } = keys_values.clone();
        let joined = heads_attention(queries, keys, values, mask);
        self.out_proj.forward_onto(joined, residual)
    }

    /// Queries `[B, L, width]` with their heads split.
    pub(crate) fn split_queries(&self, queries: Tensor<3>) -> Tensor<4> {
        split_heads(queries, self.heads)
    }

    /// softmax(Q Kᵀ / √d), averaged over the heads: `[B, L_query, L_key]`. For looking at:
    /// [`Self::cross_attention`] leaves it to kernels that never hold it as a whole.
    pub(crate) fn weights(&self, queries: Tensor<3>, keys_values: &Projected) -> Tensor<3> {
        let [keys, _] = keys_and_values(keys_values.clone());
        let [_, length, width] = queries.dims();
        let queries = queries.expand([keys.dims()[0], length, width]);
        let [queries, keys] = [queries, keys].map(|x| split_heads(x, self.heads));
        let head_width = queries.dims()[3];
        let scores = queries.matmul(keys.swap_dims(2, 3)) / (head_width as f64).sqrt();
        softmax(scores, 3).mean_dim(1).squeeze_dim(1)
    }

    fn width(&self) -> usize {
        self.in_proj_bias.lazy_shape().dims::<1>()[0] / 3
    }

    /// Shape of the keys (and of the values) of `rows` sequences of `capacity` tokens.
    pub(crate) fn cache_shape(&self, rows: usize, capacity: usize) -> [usize; 4] {
        let width = self.width();
        [rows, self.heads, capacity, width / self.heads]
    }
}

fn tokens(queries: Tensor<3>, keys_values: Projected) -> Tokens {
    match keys_values {
        Projected::Packed(packed) => Tokens::Cross(queries, packed),
        Projected::Separate(keys, values) => Tokens::Separate(queries, keys, values),
    }
}

fn keys_and_values(projected: Projected) -> [Tensor<3>; 2] {
    match projected {
        Projected::Packed(packed) => parts(packed),
        Projected::Separate(keys, values) => [keys, values],
    }
}
