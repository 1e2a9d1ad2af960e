//! Multi-head attention.

use burn::tensor::{Bool, Int, Tensor, module, ops::AttentionModuleOptions};

/// Queries, keys and values as projections give them. D is the width of all heads together.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub enum Tokens {
    /// Beside each other, `[B, L, 3 D]`.
    Packed(Tensor<3>),
    /// Queries `[B, L, D]`, or `[1, L, D]` for all sequences; keys and values beside each other, `[B, N, 2 D]`.
    Cross(Tensor<3>, Tensor<3>),
    /// Queries `[B, L, D]` or `[1, L, D]`, keys and values `[B, N, D]`.
    Separate(Tensor<3>, Tensor<3>, Tensor<3>),
}

/// What a query does not see.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub enum Mask {
    /// Nothing.
    None,
    /// What comes behind it.
    Causal,
    /// `[B or 1, 1, L_query or 1, L_key]`; true hides the key.
    Hidden(Tensor<4, Bool>),
}

/// How much there is of everything.
#[cfg(any(feature = "flex", feature = "wgsl"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Sequences.
    pub(crate) batch: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Tokens that ask.
    pub(crate) queries: usize,
    /// Tokens that are asked.
    pub(crate) keys: usize,
    /// Channels of a head.
    pub(crate) width: usize,
}

#[cfg(any(feature = "flex", feature = "wgsl"))]
impl Sizes {
    /// Of the scores, 1 / √width.
    #[inline(always)]
    pub(crate) fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// softmax(Q Kᵀ / √d) V for each of `heads` heads of width d, joined: `[B, L, D]`.
pub fn attention(tokens: Tokens, heads: usize, mask: Mask) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(joined) = fused(&tokens, heads, &mask) {
        return joined;
    }
    #[cfg(feature = "wgsl")]
    if let Some(joined) = on_gpu(&tokens, heads, &mask) {
        return joined;
    }
    let [queries, keys, values] = match tokens {
        Tokens::Packed(packed) => parts(packed),
        Tokens::Cross(queries, packed) => {
            let [keys, values] = parts(packed);
            [queries, keys, values]
        }
        Tokens::Separate(queries, keys, values) => [queries, keys, values],
    };
    let batch = keys.dims()[0];
    let [_, length, width] = queries.dims();
    let [queries, keys, values] =
        [queries.expand([batch, length, width]), keys, values].map(|x| split_heads(x, heads));
    composed(queries, keys, values, mask)
}

/// The same on heads that are split, `[B, H, L, d]` each, as a cache keeps them: `[B, L, H d]`.
pub fn heads_attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    mask: Mask,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    {
        let inputs = [&queries, &keys, &values].map(|x| x.clone().into_dispatch());
        if crate::flex::fit_without_graph(&inputs)
            && let Some(marks) = marks(&mask)
        {
            return Tensor::from_dispatch(crate::flex::heads_attention(inputs, &marks));
        }
    }
    #[cfg(feature = "wgsl")]
    if let Some(joined) = heads_on_gpu([&queries, &keys, &values], &mask) {
        return joined;
    }
    composed(queries, keys, values, mask)
}

/// Where new tokens stand among those of a cache.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub enum Place {
    /// Behind the first so many, and what they do not see: a mask over the whole capacity, which hides at least what is
    /// behind a token, or [`Mask::Causal`] if that is all.
    Known(usize, Mask),
    /// Behind as many as this `[1]` says by the time the device gets there; they see all before them. For
    /// [recorded](crate::Recording) work, on devices that have kernels for it.
    OnDevice(Tensor<1, Int>),
}

/// Self-attention of new tokens, `packed` `[B, n, 3 D]`, that stand at `place` behind cached keys and values `[B, H, capacity,
/// d]`, which then hold them too: `[B, n, D]`.
///
/// # Panics
/// The place is on a device that has no kernels for it.
pub fn cached_attention(
    packed: Tensor<3>,
    [keys, values]: [&mut Tensor<4>; 2],
    place: Place,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(joined) = cached_on_cpu(&packed, [keys, values], &place) {
        return joined;
    }
    #[cfg(feature = "wgsl")]
    if let Some(joined) = cached_on_gpu(&packed, [keys, values], &place) {
        return joined;
    }
    let Place::Known(start, mask) = place else {
        unreachable!("only recorded work has places on the device, where kernels take them")
    };
    let [rows, heads, _, head_width] = keys.dims();
    let [queries, new_keys, new_values] = parts(packed).map(|x| split_heads(x, heads));
    let new = queries.dims()[2];
    let place = [0..rows, 0..heads, start..start + new, 0..head_width];
    // Taken out, so that they are written in place.
    *keys = keys.extract().slice_assign(place.clone(), new_keys);
    *values = values.extract().slice_assign(place, new_values);
    let seen = |cached: &Tensor<4>| match &mask {
        Mask::Causal => cached.clone().narrow(2, 0, start + new),
        _ => cached.clone(),
    };
    heads_attention(queries, seen(keys), seen(values), mask.clone())
}

/// `[B, L, D]` to `[B, H, L, D / H]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads])
        .swap_dims(1, 2)
}

/// Equal parts of the last dimension.
pub fn parts<const N: usize>(x: Tensor<3>) -> [Tensor<3>; N] {
    let width = x.dims()[2] / N;
    std::array::from_fn(|part| x.clone().narrow(2, part * width, width))
}

fn composed(queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, mask: Mask) -> Tensor<3> {
    let [batch, heads, length, head_width] = queries.dims();
    let (mask, is_causal) = match mask {
        Mask::None => (None, false),
        Mask::Causal => (None, true),
        Mask::Hidden(mask) => (
            Some(mask.expand([batch, heads, length, keys.dims()[2]])),
            false,
        ),
    };
    let options = AttentionModuleOptions {
        scale: None,
        softcap: None,
        is_causal,
    };
    module::attention(queries, keys, values, mask, None, options)
        .swap_dims(1, 2)
        .reshape([batch, length, heads * head_width])
}

#[cfg(feature = "flex")]
fn fused(tokens: &Tokens, heads: usize, mask: &Mask) -> Option<Tensor<3>> {
    use crate::flex::{Layout, attention, fit};
    let (layout, inputs) = match tokens {
        Tokens::Packed(packed) => (Layout::Packed, vec![packed]),
        Tokens::Cross(queries, packed) => (Layout::Cross, vec![queries, packed]),
        Tokens::Separate(queries, keys, values) => (Layout::Separate, vec![queries, keys, values]),
    };
    let inputs: Vec<_> = inputs
        .into_iter()
        .map(|x| x.clone().into_dispatch())
        .collect();
    if !fit(&inputs) {
        return None;
    }
    let marks = marks(mask)?;
    Some(Tensor::from_dispatch(attention(
        layout, heads, marks, inputs,
    )))
}

/// [`cached_attention`] by the CPU's kernel, if it can take these tensors.
#[cfg(feature = "flex")]
fn cached_on_cpu(
    packed: &Tensor<3>,
    [keys, values]: [&mut Tensor<4>; 2],
    place: &Place,
) -> Option<Tensor<3>> {
    use crate::flex::{cached_attention, fit_without_graph};
    let Place::Known(start, mask) = place else {
        return None;
    };
    let [_, heads, capacity, width] = keys.dims();
    let [_, new, columns] = packed.dims();
    let packed = packed.clone().into_dispatch();
    let fit = fit_without_graph(&[
        packed.clone(),
        keys.clone().into_dispatch(),
        values.clone().into_dispatch(),
    ]);
    if !fit || start + new > capacity || columns != 3 * heads * width {
        return None;
    }
    let marks = marks(mask)?;
    // Taken out, so that these are the only holds on them, and they are written in place.
    let cache = [keys.extract(), values.extract()].map(Tensor::into_dispatch);
    let [joined, new_keys, new_values] = cached_attention(packed, cache, *start, &marks);
    *keys = Tensor::from_dispatch(new_keys);
    *values = Tensor::from_dispatch(new_values);
    Some(Tensor::from_dispatch(joined))
}

#[cfg(feature = "flex")]
fn marks(mask: &Mask) -> Option<crate::flex::Marks> {
    match mask {
        Mask::None => Some(crate::flex::Marks::Nothing),
        Mask::Causal => Some(crate::flex::Marks::Future),
        Mask::Hidden(mask) => crate::flex::Marks::of(mask.clone().into_dispatch()),
    }
}

/// [`attention`] by the GPU's kernel, if it can take these tensors.
#[cfg(feature = "wgsl")]
fn on_gpu(tokens: &Tokens, heads: usize, mask: &Mask) -> Option<Tensor<3>> {
    use crate::gpu::contiguous;
    // Which tensor, and which of the parts beside each other in it.
    let (tensors, places): (Vec<&Tensor<3>>, [(usize, usize); 3]) = match tokens {
        Tokens::Packed(packed) => (vec![packed], [(0, 0), (0, 1), (0, 2)]),
        Tokens::Cross(queries, packed) => (vec![queries, packed], [(0, 0), (1, 0), (1, 1)]),
        Tokens::Separate(queries, keys, values) => {
            (vec![queries, keys, values], [(0, 0), (1, 0), (2, 0)])
        }
    };
    let dims = |part: usize| tensors[places[part].0].dims();
    let [batch, keys, _] = dims(1);
    let width = dims(2)[2] / (places[2].1 + 1) / heads;
    let sizes = Sizes {
        batch,
        heads,
        queries: dims(0)[1],
        keys,
        width,
    };
    let parts = [0, 1, 2].map(|part| side_by_side(places[part], dims(part), heads, width));
    let tensors = tensors.into_iter().cloned().map(Tensor::into_dispatch);
    let tensors = tensors
        .map(|tensor| crate::gpu::floats([&tensor]).map(|[tensor]| contiguous(tensor)))
        .collect::<Option<Vec<_>>>()?;
    launch(sizes, &tensors, &parts, mask)
}

/// Where queries, keys or values are that lie beside others: in which tensor of these extents, and behind how many others.
#[cfg(feature = "wgsl")]
fn side_by_side(
    (tensor, before): (usize, usize),
    [sequences, tokens, columns]: [usize; 3],
    heads: usize,
    width: usize,
) -> crate::gpu::Part {
    crate::gpu::Part {
        tensor,
        offset: before * heads * width,
        batch: if sequences == 1 { 0 } else { tokens * columns },
        head: width,
        token: columns,
    }
}

/// [`heads_attention`] by the GPU's kernel, if it can take these tensors.
#[cfg(feature = "wgsl")]
fn heads_on_gpu(qkv: [&Tensor<4>; 3], mask: &Mask) -> Option<Tensor<3>> {
    use crate::gpu::{Part, contiguous};
    let tensors = qkv.map(|tensor| tensor.clone().into_dispatch());
    let tensors = crate::gpu::floats(tensors.each_ref())?;
    let tensors = tensors.map(|tensor| match tensor.meta.strides().last() {
        Some(1) => tensor,
        _ => contiguous(tensor),
    });
    let [batch, heads, keys, width] = qkv[1].dims();
    let sizes = Sizes {
        batch,
        heads,
        queries: qkv[0].dims()[2],
        keys,
        width,
    };
    let parts = [0, 1, 2].map(|at| {
        let meta = &tensors[at].meta;
        let stride = |dimension: usize| match meta.shape()[dimension] {
            1 => 0,
            _ => meta.strides()[dimension],
        };
        Part {
            tensor: at,
            offset: 0,
            batch: stride(0),
            head: stride(1),
            token: stride(2),
        }
    });
    launch(sizes, &tensors, &parts, mask)
}

/// [`cached_attention`] by the GPU's kernel, if it can take these tensors and nobody else holds the cache.
#[cfg(feature = "wgsl")]
fn cached_on_gpu(
    packed: &Tensor<3>,
    [keys, values]: [&mut Tensor<4>; 2],
    place: &Place,
) -> Option<Tensor<3>> {
    use crate::gpu::{Cache, Seen, Start, attention, contiguous, floats, integers, owned, wrap};
    let [batch, heads, capacity, width] = keys.dims();
    let [_, queries, columns] = packed.dims();
    let (start, seen, before) = match place {
        Place::Known(start, mask) => (Start::Known(*start), seen(mask)?, *start),
        Place::OnDevice(place) => {
            let place = integers(&place.clone().into_dispatch())?;
            (Start::OnDevice(place), Seen::Past, 0)
        }
    };
    let sizes = Sizes {
        batch,
        heads,
        queries,
        keys: before + queries,
        width,
    };
    if sizes.keys > capacity || columns != 3 * heads * width {
        return None;
    }
    let [packed] = floats([&packed.clone().into_dispatch()])?;
    let parts =
        [0, 1, 2].map(|part| side_by_side((0, part), [batch, queries, columns], heads, width));
    // Taken out, so that these are the only holds on them.
    let taken = [keys, values].map(|tensor| (tensor.extract().into_dispatch(), tensor));
    if floats([&taken[0].0, &taken[1].0]).is_none() {
        for (old, tensor) in taken {
            *tensor = Tensor::from_dispatch(old);
        }
        return None;
    }
    let [(old_keys, keys), (old_values, values)] = taken.map(|(old, tensor)| (owned(old), tensor));
    let cache = Cache {
        keys: old_keys,
        values: old_values,
        start,
    };
    let joined = cache
        .is_ours()
        .then(|| attention(sizes, &[contiguous(packed)], &parts, &seen, Some(&cache)));
    *keys = Tensor::from_dispatch(wrap(cache.keys));
    *values = Tensor::from_dispatch(wrap(cache.values));
    joined.map(|joined| Tensor::from_dispatch(wrap(joined)))
}

#[cfg(feature = "wgsl")]
fn seen(mask: &Mask) -> Option<crate::gpu::Seen> {
    use crate::gpu::{Seen, words};
    Some(match mask {
        Mask::None => Seen::All,
        Mask::Causal => Seen::Past,
        Mask::Hidden(mask) => Seen::Zeros(words(&mask.clone().into_dispatch())?),
    })
}

#[cfg(feature = "wgsl")]
fn launch(
    sizes: Sizes,
    tensors: &[burn_cubecl::tensor::CubeTensor],
    parts: &[crate::gpu::Part; 3],
    mask: &Mask,
) -> Option<Tensor<3>> {
    let joined = crate::gpu::attention(sizes, tensors, parts, &seen(mask)?, None);
    Some(Tensor::from_dispatch(crate::gpu::wrap(joined)))
}
