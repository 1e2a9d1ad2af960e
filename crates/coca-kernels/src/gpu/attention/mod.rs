//! Attention in one pass, with a running softmax, so that scores are never in memory. Queries, keys and values are read where
//! projections or a cache left them.
//!
//! Two forms. *Alone*: every thread carries a few queries through all keys; for a device that is really a CPU. *Shared*: a
//! workgroup has one query, of which each thread takes some of the keys; for a GPU, where a step of decoding has no more
//! queries than heads.

mod alone;
mod shared;

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use super::layer_norm::grid;
use super::program::{Program, launch_on, parameters};
use super::text::{Stored, header, input, output};
use super::{empty, is_software};
use crate::attention::Sizes;

/// Queries, keys or values in a tensor, the channels of a head beside each other.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which of the tensors.
    pub tensor: usize,
    /// Elements before the first.
    pub offset: usize,
    /// Elements from sequence to sequence; 0 if all share one.
    pub batch: usize,
    /// Elements from head to head.
    pub head: usize,
    /// Elements from token to token.
    pub token: usize,
}

/// Which keys a query sees.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub enum Seen {
    /// All.
    All,
    /// Those up to its own place; the last query stands at the last key.
    Past,
    /// Those that are 0: 32-bit words `[B, 1, queries, keys]`, in any arrangement.
    Zeros(CubeTensor),
}

/// Keys and values of the tokens before, `[batch, heads, capacity, width]` each, one behind the other.
#[derive(Clone, Debug)]
pub struct Cache {
    pub keys: CubeTensor,
    pub values: CubeTensor,
    /// Tokens that are in it.
    pub start: Start,
}

/// A number of tokens.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few live at a time, on the stack"
)]
pub enum Start {
    /// Known here.
    Known(usize),
    /// In the memory of the device, one integer, which may change between runs of the same work.
    OnDevice(CubeTensor),
}

impl Cache {
    /// Whether it can be written to: nobody else holds it, and it lies as it should.
    pub fn is_ours(&self) -> bool {
        [&self.keys, &self.values]
            .into_iter()
            .all(|tensor| tensor.can_mut() && tensor.is_contiguous())
    }
}

/// softmax(Q Kᵀ / √width) V: `[batch, queries, heads · width]`. A query that sees nothing gives zeros.
///
/// With a `cache` the keys are those in it and then those of `parts`, which are written behind them; `sizes.keys` counts
/// both, if that is known here. Nobody else may hold the cache.
pub fn attention(
    sizes: Sizes,
    tensors: &[CubeTensor],
    parts: &[Part; 3],
    seen: &Seen,
    cache: Option<&Cache>,
) -> CubeTensor {
    let shape = [sizes.batch, sizes.queries, sizes.heads * sizes.width];
    let y = empty(&tensors[0], Shape::from(shape.to_vec()), tensors[0].dtype);
    if shape.contains(&0) {
        return y;
    }
    let fours = |number: usize| number.is_multiple_of(4);
    let by_four = fours(sizes.width)
        && parts.iter().all(|part| {
            [part.offset, part.batch, part.head, part.token]
                .into_iter()
                .all(fours)
        });
    let (seen_text, mask) = match seen {
        Seen::All => (SeenText::All, None),
        Seen::Past => (SeenText::Past, None),
        Seen::Zeros(mask) => (SeenText::Zeros, Some(mask)),
    };
    let vectors = if by_four {
        sizes.width / 4
    } else {
        sizes.width
    };
    let form = if is_software(&tensors[0]) || vectors > shared::THREADS {
        // More of them re-use what is read, but have to fit into registers.
        Form::Alone {
            queries: sizes.queries.min(2),
        }
    } else {
        Form::Shared
    };
    let placed = match cache.map(|cache| &cache.start) {
        Some(Start::OnDevice(place)) => Some(place),
        _ => None,
    };
    let program = Attention {
        tensors: tensors.len(),
        parts: [0, 1, 2].map(|part| parts[part].tensor),
        types: [0, 1, 2].map(|at| tensors.get(at).map(|tensor| Stored::of(tensor.dtype))),
        width: sizes.width,
        form,
        by_four,
        seen: seen_text,
        cache: cache.map(|cache| Stored::of(cache.keys.dtype)),
        placed: placed.is_some(),
    };
    let all = sizes.batch * sizes.heads * sizes.queries;
    // Of which there are several: blocks of queries of a sequence and head, or workgroups beside each other.
    let (several, groups) = match form {
        Form::Alone { queries } => {
            let blocks = sizes.queries.div_ceil(queries);
            let threads = sizes.batch * sizes.heads * blocks;
            (blocks, [threads.div_ceil(alone::THREADS), 1, 1])
        }
        Form::Shared => {
            let (down, across) = grid(all);
            (across, [across, down, 1])
        }
    };
    let mut numbers = vec![
        sizes.batch,
        sizes.heads,
        sizes.queries,
        sizes.keys,
        several,
        sizes.scale().to_bits() as usize,
    ];
    let unit = if by_four { 4 } else { 1 };
    for part in parts {
        let strides = [part.offset, part.batch, part.head, part.token];
        numbers.extend(strides.map(|stride| stride / unit));
    }
    if let Some(mask) = mask {
        let stride = |dimension: usize| match mask.meta.shape()[dimension] {
            1 => 0,
            _ => mask.meta.strides()[dimension],
        };
        numbers.extend([stride(0), stride(2), stride(3)]);
    }
    if let Some(cache) = cache {
        numbers.resize(OF_CACHE, 0);
        let start = match cache.start {
            Start::Known(start) => start,
            Start::OnDevice(_) => 0,
        };
        numbers.extend([start, cache.keys.meta.shape()[2]]);
    }
    let mut inputs: Vec<&CubeTensor> = tensors.iter().collect();
    inputs.extend(mask);
    inputs.extend(placed);
    let caches = cache.map(|cache| [&cache.keys, &cache.values]);
    let changed = caches.as_ref().map_or(&[][..], |caches| &caches[..]);
    launch_on(program, groups, &inputs, changed, &[&y], &numbers);
    y
}

/// Where the numbers about the cache are, and the second of them.
const OF_CACHE: usize = 21;
const CAPACITY: &str = "p[22]";

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// A thread has so many queries for itself.
    Alone { queries: usize },
    /// A workgroup has one.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SeenText {
    All,
    Past,
    Zeros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attention {
    tensors: usize,
    /// Where queries, keys and values are.
    parts: [usize; 3],
    types: [Option<Stored>; 3],
    width: usize,
    form: Form,
    by_four: bool,
    seen: SeenText,
    /// Type of the cache, if there is one.
    cache: Option<Stored>,
    /// Where the new tokens stand is in memory.
    placed: bool,
}

impl Program for Attention {
    fn workgroup(&self) -> (u32, u32, u32) {
        match self.form {
            Form::Alone { .. } => (alone::THREADS as u32, 1, 1),
            Form::Shared => (shared::THREADS as u32, 1, 1),
        }
    }

    fn text(&self) -> String {
        let types: Vec<Stored> = self.types.into_iter().flatten().collect();
        let mut text = header(&types).to_string();
        for (at, stored) in types.iter().enumerate() {
            text += &input(at, &format!("t{at}"), stored.name(self.by_four));
        }
        let mut binding = types.len();
        if self.seen == SeenText::Zeros {
            text += &input(binding, "hidden", "u32");
            binding += 1;
        }
        let (all, new) = match self.placed {
            true => {
                text += &input(binding, "place", "u32");
                binding += 1;
                ("place[0] + p[2]".to_string(), "place[0]".to_string())
            }
            false => ("p[3]".to_string(), format!("p[{OF_CACHE}]")),
        };
        text += &format!(
            "fn all_keys() -> u32 {{ return {all}; }}\nfn first_new() -> u32 {{ return {new}; }}\n"
        );
        if let Some(cache) = self.cache {
            for name in ["old_k", "old_v"] {
                text += &output(binding, name, cache.name(self.by_four));
                binding += 1;
            }
        }
        text += &output(binding, "y", types[0].name(self.by_four));
        text += &parameters(binding + 1);
        text += &match self.form {
            Form::Alone { queries } => self.alone(queries, types[0]),
            Form::Shared => self.shared(types[0]),
        };
        text
    }
}

impl Attention {
    /// Vectors (or numbers) of a head.
    fn vectors(&self) -> usize {
        match self.by_four {
            true => self.width / 4,
            false => self.width,
        }
    }

    /// Where the queries, keys or values of `batch` and `head` begin, as `name`.
    fn start(&self, name: &str, part: usize) -> String {
        let at = 6 + 4 * part;
        format!(
            "let {name} = p[{at}] + batch * p[{}] + head * p[{}];\n",
            at + 1,
            at + 2
        )
    }

    /// Whether query number `i` sees `key`.
    fn visible(&self, i: &str) -> String {
        match self.seen {
            SeenText::All => "true".to_string(),
            SeenText::Past => format!("key + p[2] <= {i} + all_keys()"),
            SeenText::Zeros => format!("hidden[batch * p[18] + {i} * p[19] + key * p[20]] == 0u"),
        }
    }

    /// `keys`: how many of them there are to see for the queries `first` to `first + count`.
    fn keys(&self, first: &str, count: usize) -> String {
        match self.seen {
            // The last of the queries sees most.
            SeenText::Past => format!(
                "let keys = u32(max(0, min(i32(all_keys()), i32(all_keys()) - i32(p[2]) + i32({first}) + {count})));\n"
            ),
            _ => "let keys = all_keys();\n".to_string(),
        }
    }
}
