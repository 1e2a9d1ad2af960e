//! Attention in one pass: every thread carries a few queries through all keys with a running softmax, so that scores are
//! never in memory. Queries, keys and values are read where projections or a cache left them.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use super::program::{Program, launch_on, parameters};
use super::text::{Stored, each, header, input, output};
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
    pub start: usize,
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
/// both. Nobody else may hold the cache.
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
    let program = Attention {
        tensors: tensors.len(),
        parts: [0, 1, 2].map(|part| parts[part].tensor),
        types: [0, 1, 2].map(|at| tensors.get(at).map(|tensor| Stored::of(tensor.dtype))),
        width: sizes.width,
        // More of them re-use what is read, but have to fit into registers.
        queries: match is_software(&tensors[0]) {
            true => sizes.queries.min(2),
            false => 1,
        },
        by_four,
        seen: seen_text,
        cache: cache.map(|cache| Stored::of(cache.keys.dtype)),
    };
    let blocks = sizes.queries.div_ceil(program.queries);
    let mut numbers = vec![
        sizes.batch,
        sizes.heads,
        sizes.queries,
        sizes.keys,
        blocks,
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
        numbers.extend([cache.start, cache.keys.meta.shape()[2]]);
    }
    let threads = sizes.batch * sizes.heads * blocks;
    let mut inputs: Vec<&CubeTensor> = tensors.iter().collect();
    inputs.extend(mask);
    let groups = [threads.div_ceil(program.workgroup().0 as usize), 1, 1];
    let caches = cache.map(|cache| [&cache.keys, &cache.values]);
    let changed = caches.as_ref().map_or(&[][..], |caches| &caches[..]);
    launch_on(program, groups, &inputs, changed, &[&y], &numbers);
    y
}

/// Where the numbers about the cache are.
const OF_CACHE: usize = 21;

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
    /// Of a thread.
    queries: usize,
    by_four: bool,
    seen: SeenText,
    /// Type of the cache, if there is one.
    cache: Option<Stored>,
}

impl Program for Attention {
    fn workgroup(&self) -> (u32, u32, u32) {
        (16, 1, 1)
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
        if let Some(cache) = self.cache {
            for name in ["old_k", "old_v"] {
                text += &output(binding, name, cache.name(self.by_four));
                binding += 1;
            }
        }
        text += &output(binding, "y", types[0].name(self.by_four));
        text += &parameters(binding + 1);
        text += &self.body(types[0]);
        text
    }
}

impl Attention {
    fn body(&self, stored: Stored) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        let rows = self.queries;
        let [q, k, v] = self.parts.map(|part| format!("t{part}"));
        let start = |name: &str, part: usize, batch: &str| {
            let at = 6 + 4 * part;
            format!(
                "let {name} = p[{at}] + {batch} * p[{}] + head * p[{}];\n",
                at + 1,
                at + 2
            )
        };
        let mut text = format!(
            "@compute @workgroup_size({}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
let block = id.x % p[4];
let head = (id.x / p[4]) % p[1];
let batch = id.x / (p[4] * p[1]);
if (batch >= p[0]) {{ return; }}
let query = block * {rows}u;
let scale = bitcast<f32>(p[5]);
",
            self.workgroup().0
        );
        text += &start("of_q", 0, "batch");
        text += &start("of_k", 1, "batch");
        text += &start("of_v", 2, "batch");
        text += &each(rows, |r| {
            let last = "p[2] - 1u";
            let mut row = format!("let i{r} = min(query + {r}u, {last});\n");
            row += &each(vectors, |c| {
                format!("let q{r}_{c} = {number}({q}[of_q + i{r} * p[9] + {c}u]) * scale;\n")
            });
            row += &each(vectors, |c| format!("var a{r}_{c} = {number}(0.0);\n"));
            row + &format!("var largest{r} = -3.0e38;\nvar sum{r} = 0.0;\n")
        });
        text += match self.seen {
            // The last query of the block sees most.
            SeenText::Past => {
                "let keys = u32(max(0, min(i32(p[3]), i32(p[3]) - i32(p[2]) + i32(query) + "
            }
            _ => "let keys = p[3];\n",
        };
        if self.seen == SeenText::Past {
            text += &format!("{rows})));\n");
        }
        match self.cache {
            None => {
                let (k, v) = (
                    format!("{k}[of_k + key * p[13]"),
                    format!("{v}[of_v + key * p[17]"),
                );
                text += "for (var key = 0u; key < keys; key++) {\n";
                text += &self.one_key(&k, &v);
                text += "}\n";
            }
            Some(stored) => {
                let (start, capacity) = (format!("p[{OF_CACHE}]"), format!("p[{}]", OF_CACHE + 1));
                let old = format!("old + key * {vectors}u");
                text += &format!(
                    "let old = (batch * p[1] + head) * {capacity} * {vectors}u;
for (var key = 0u; key < min(keys, {start}); key++) {{\n"
                );
                text += &self.one_key(&format!("old_k[{old}"), &format!("old_v[{old}"));
                text += &format!("}}\nfor (var key = {start}; key < keys; key++) {{\n");
                let (k, v) = (
                    format!("{k}[of_k + (key - {start}) * p[13]"),
                    format!("{v}[of_v + (key - {start}) * p[17]"),
                );
                text += &self.one_key(&k, &v);
                // What is read from the cache ends before what is written to it.
                let writes = each(vectors, |c| {
                    let kind = stored.name(self.by_four);
                    format!(
                        "old_k[{old} + {c}u] = {kind}({k} + {c}u]);\nold_v[{old} + {c}u] = {kind}({v} + {c}u]);\n"
                    )
                });
                text += &format!(
                    "}}\nif (block == 0u) {{\nfor (var key = {start}; key < p[3]; key++) {{\n{writes}}}\n}}\n"
                );
            }
        }
        text += &each(rows, |r| {
            let stores = each(vectors, |c| {
                format!(
                    "y[out{r} + {c}u] = {}(a{r}_{c} * over{r});\n",
                    stored.name(self.by_four)
                )
            });
            format!(
                "if (query + {r}u < p[2]) {{
let over{r} = select(1.0 / sum{r}, 0.0, sum{r} == 0.0);
let out{r} = ((batch * p[2] + query + {r}u) * p[1] + head) * {vectors}u;
{stores}}}
"
            )
        });
        text += "}\n";
        text
    }

    /// What a key adds to every query: `k` and `v` are where its channels begin, such as `t0[start`.
    fn one_key(&self, k: &str, v: &str) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        let rows = self.queries;
        let mut text = each(rows, |r| format!("var score{r} = 0.0;\n"));
        text += &each(vectors, |c| {
            let products = each(rows, |r| match self.by_four {
                true => format!("score{r} += dot(q{r}_{c}, k{c});\n"),
                false => format!("score{r} += q{r}_{c} * k{c};\n"),
            });
            format!("let k{c} = {number}({k} + {c}u]);\n{products}")
        });
        text += &each(rows, |r| {
            let visible = match self.seen {
                SeenText::All => "true".to_string(),
                SeenText::Past => format!("key + p[2] <= i{r} + p[3]"),
                SeenText::Zeros => {
                    format!("hidden[batch * p[18] + i{r} * p[19] + key * p[20]] == 0u")
                }
            };
            let rescale = each(vectors, |c| format!("a{r}_{c} *= f{r};\n"));
            // Exact zeros where a key is hidden; a new maximum shrinks what was summed so far.
            format!(
                "var e{r} = 0.0;
if ({visible}) {{
if (score{r} > largest{r}) {{
let f{r} = exp(largest{r} - score{r});
sum{r} *= f{r};
{rescale}largest{r} = score{r};
}}
e{r} = exp(score{r} - largest{r});
}}
sum{r} += e{r};
"
            )
        });
        text += &each(vectors, |c| {
            let sums = each(rows, |r| format!("a{r}_{c} += e{r} * v{c};\n"));
            format!("let v{c} = {number}({v} + {c}u]);\n{sums}")
        });
        text
    }

    /// Vectors (or numbers) of a head.
    fn vectors(&self) -> usize {
        match self.by_four {
            true => self.width / 4,
            false => self.width,
        }
    }
}
