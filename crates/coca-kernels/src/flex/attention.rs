//! Attention on the CPU.

use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind, flex::FlexTensor};

use super::operation::{Operation, apply, plain, wrap};
use super::{contiguous, elements, owned, tensor};
use crate::attention::Sizes;
use crate::raw::attention::{Heads, Hidden, Strides, Target, backward, forward};

/// How queries, keys and values come: each `[B, L, columns]`, queries also `[1, L, columns]` for all sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One tensor with all three beside each other.
    Packed,
    /// Queries, and a tensor with keys and values beside each other.
    Cross,
    /// Three tensors.
    Separate,
}

impl Layout {
    /// For queries, keys and values: which tensor, and behind how many thirds or halves in it.
    fn places(self) -> [(usize, usize); 3] {
        match self {
            Self::Packed => [(0, 0), (0, 1), (0, 2)],
            Self::Cross => [(0, 0), (1, 0), (1, 1)],
            Self::Separate => [(0, 0), (1, 0), (2, 0)],
        }
    }
}

/// Keys that are not seen.
#[derive(Clone, Debug)]
pub enum Marks {
    /// None.
    Nothing,
    /// Those behind the query.
    Future,
    /// `[B or 1, 1, queries or 1, keys]`, one byte each.
    Marked(FlexTensor),
}

impl Marks {
    /// The marks of a boolean tensor; none if it is not one of the CPU backend's.
    pub fn of(mask: DispatchTensor) -> Option<Self> {
        match mask.kind {
            DispatchTensorKind::Flex(BackendTensor::Bool(mask)) => {
                Some(Self::Marked(contiguous(&mask)))
            }
            #[allow(unreachable_patterns, reason = "other backends may be compiled in")]
            _ => None,
        }
    }

    fn hidden(&self) -> Hidden<'_> {
        match self {
            Self::Nothing => Hidden::Nothing,
            Self::Future => Hidden::Future,
            Self::Marked(mask) => {
                let shape = mask.layout().shape();
                let (batch, queries, keys) = (shape[0], shape[2], shape[3]);
                let start = mask.layout().start_offset();
                Hidden::Marked {
                    data: &mask.bytes()[start..],
                    batch: if batch == 1 { 0 } else { queries * keys },
                    query: if queries == 1 { 0 } else { keys },
                }
            }
        }
    }
}

#[derive(Debug)]
struct Attention {
    layout: Layout,
    heads: usize,
    marks: Marks,
}

#[derive(Clone, Debug)]
struct State {
    layout: Layout,
    sizes: Sizes,
    inputs: Vec<FlexTensor>,
    probabilities: Vec<f32>,
}

/// Attention on tokens; gives `[B, queries, heads · width]`.
pub fn attention(
    layout: Layout,
    heads: usize,
    marks: Marks,
    mut inputs: Vec<DispatchTensor>,
) -> DispatchTensor {
    let operation = Attention {
        layout,
        heads,
        marks,
    };
    let mut next = || inputs.remove(0);
    match layout {
        Layout::Packed => apply(operation, [next()]),
        Layout::Cross => apply(operation, [next(), next()]),
        Layout::Separate => apply(operation, [next(), next(), next()]),
    }
}

/// Where queries, keys and values are in `inputs`.
fn strides(layout: Layout, sizes: Sizes, inputs: &[FlexTensor]) -> [Strides; 3] {
    layout.places().map(|(input, part)| {
        let shape = inputs[input].layout().shape();
        let (batch, tokens, columns) = (shape[0], shape[1], shape[2]);
        Strides {
            offset: part * sizes.heads * sizes.width,
            batch: if batch == 1 { 0 } else { tokens * columns },
            head: sizes.width,
            token: columns,
        }
    })
}

impl<const N: usize> Operation<N> for Attention {
    type State = State;

    fn forward(&self, inputs: [FlexTensor; N], keep: bool) -> (FlexTensor, Option<State>) {
        let inputs: Vec<FlexTensor> = inputs.iter().map(contiguous).collect();
        let [(_, _), (k, _), (v, last)] = self.layout.places();
        let (of_queries, of_keys) = (inputs[0].layout().shape(), inputs[k].layout().shape());
        let width = inputs[v].layout().shape()[2] / (last + 1);
        let sizes = Sizes {
            batch: of_keys[0],
            heads: self.heads,
            queries: of_queries[1],
            keys: of_keys[1],
            width: width / self.heads,
        };
        let strides = strides(self.layout, sizes, &inputs);
        let places = self.layout.places();
        let [q, k, v] = [0, 1, 2].map(|part| Heads {
            data: elements(&inputs[places[part].0]),
            strides: strides[part],
        });
        let mut out = vec![0.0; sizes.batch * sizes.queries * width];
        let mut probabilities = vec![0.0; if keep { sizes.probabilities() } else { 0 }];
        let kept = keep.then_some(probabilities.as_mut_slice());
        forward(sizes, q, k, v, self.marks.hidden(), &mut out, kept);
        let state = keep.then(|| State {
            layout: self.layout,
            sizes,
            inputs,
            probabilities,
        });
        (tensor(out, [sizes.batch, sizes.queries, width]), state)
    }

    fn backward(state: State, gradient: FlexTensor, _: [bool; N]) -> [Option<FlexTensor>; N] {
        let State {
            layout,
            sizes,
            inputs,
            probabilities,
        } = state;
        let strides = strides(layout, sizes, &inputs);
        let places = layout.places();
        let qkv = [0, 1, 2].map(|part| Heads {
            data: elements(&inputs[places[part].0]),
            strides: strides[part],
        });
        let targets = [0, 1, 2].map(|part| Target {
            buffer: places[part].0,
            strides: strides[part],
        });
        let mut buffers: Vec<Vec<f32>> = inputs
            .iter()
            .map(|input| vec![0.0; input.layout().num_elements()])
            .collect();
        let gradient = contiguous(&gradient);
        backward(
            sizes,
            qkv,
            &probabilities,
            elements(&gradient),
            targets,
            &mut buffers,
        );
        let mut found = buffers
            .into_iter()
            .zip(&inputs)
            .map(|(values, input)| tensor(values, input.layout().shape().clone()));
        [(); N].map(|()| found.next())
    }
}

/// Attention without a derivative on `[B, H, L, width]` each, in any arrangement whose last dimension is contiguous;
/// gives `[B, queries, H · width]`.
pub fn heads_attention(qkv: [DispatchTensor; 3], marks: &Marks) -> DispatchTensor {
    let [q, k, v] = qkv.map(|tensor| {
        let tensor = plain(tensor.kind);
        if tensor.layout().strides().last() == Some(&1)
            && tensor.layout().strides().iter().all(|&stride| stride >= 0)
        {
            tensor
        } else {
            tensor.to_contiguous()
        }
    });
    let (of_queries, of_keys) = (q.layout().shape(), k.layout().shape());
    let hidden = marks.hidden();
    let sizes = Sizes {
        batch: of_keys[0],
        heads: of_keys[1],
        queries: of_queries[2],
        keys: seen(of_keys[2], of_keys[0], of_queries[2], hidden),
        width: of_keys[3],
    };
    let heads = |tensor: &'_ FlexTensor| {
        let layout = tensor.layout();
        let stride = |dimension: usize| match layout.shape()[dimension] {
            1 => 0,
            _ => layout.strides()[dimension].unsigned_abs(),
        };
        Strides {
            offset: layout.start_offset(),
            batch: stride(0),
            head: stride(1),
            token: stride(2),
        }
    };
    let [q, k, v] = [&q, &k, &v].map(|tensor| Heads {
        data: tensor.storage(),
        strides: heads(tensor),
    });
    let width = sizes.heads * sizes.width;
    let mut out = vec![0.0; sizes.batch * sizes.queries * width];
    forward(sizes, q, k, v, hidden, &mut out, None);
    wrap(tensor(out, [sizes.batch, sizes.queries, width]))
}

/// Self-attention without a derivative of new tokens, `packed` `[B, n, 3 D]`, behind the first `start` of a cache of keys and
/// values `[B, H, capacity, width]`, to which theirs are added: `[B, n, D]`, and the keys and values.
pub fn cached_attention(
    packed: DispatchTensor,
    cache: [DispatchTensor; 2],
    start: usize,
    marks: &Marks,
) -> [DispatchTensor; 3] {
    let packed = contiguous(&plain(packed.kind));
    let [keys, values] = cache.map(|tensor| plain(tensor.kind));
    let shape = keys.layout().shape().clone();
    let (batch, heads, capacity, width) = (shape[0], shape[1], shape[2], shape[3]);
    let queries = packed.layout().shape()[1];
    let (new, hidden) = (elements(&packed), marks.hidden());
    let joined = heads * width;
    let [keys, values] = [(1, keys), (2, values)].map(|(part, cached)| {
        let mut cached = owned(cached);
        for (token, new) in new.chunks_exact(3 * joined).enumerate() {
            let (sequence, token) = (token / queries, start + token % queries);
            for (head, new) in new[part * joined..][..joined]
                .chunks_exact(width)
                .enumerate()
            {
                let to = ((sequence * heads + head) * capacity + token) * width;
                cached[to..to + width].copy_from_slice(new);
            }
        }
        cached
    });
    let sizes = Sizes {
        batch,
        heads,
        queries,
        keys: match hidden {
            Hidden::Marked { .. } => seen(capacity, batch, queries, hidden),
            _ => start + queries,
        },
        width,
    };
    let asking = Heads {
        data: new,
        strides: Strides {
            offset: 0,
            batch: queries * 3 * joined,
            head: width,
            token: 3 * joined,
        },
    };
    let [k, v] = [&keys, &values].map(|data| Heads {
        data,
        strides: Strides {
            offset: 0,
            batch: heads * capacity * width,
            head: capacity * width,
            token: width,
        },
    });
    let mut out = vec![0.0; batch * queries * joined];
    forward(sizes, asking, k, v, hidden, &mut out, None);
    let cached = |values| wrap(tensor(values, shape.clone()));
    [
        wrap(tensor(out, [batch, queries, joined])),
        cached(keys),
        cached(values),
    ]
}

/// Keys up to the last one that some query sees: the unused end of a cache costs nothing.
fn seen(keys: usize, batch: usize, queries: usize, hidden: Hidden) -> usize {
    let Hidden::Marked {
        data,
        batch: stride,
        query,
    } = hidden
    else {
        return keys;
    };
    let rows = (0..batch).flat_map(|b| (0..queries).map(move |q| b * stride + q * query));
    let last = rows.map(|start| {
        let marks = &data[start..start + keys];
        marks
            .iter()
            .rposition(|&mark| mark == 0)
            .map_or(0, |at| at + 1)
    });
    last.max().unwrap_or(keys)
}
