//! A thread carries its queries through all keys.

use super::{Attention, CAPACITY};
use crate::gpu::text::{Stored, each};

/// Of a workgroup.
pub(super) const THREADS: usize = 16;

impl Attention {
    /// The entry point: `rows` queries a thread.
    pub(super) fn alone(&self, rows: usize, stored: Stored) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        let [q, k, v] = self.parts.map(|part| format!("t{part}"));
        let mut text = format!(
            "@compute @workgroup_size({THREADS}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
let block = id.x % p[4];
let head = (id.x / p[4]) % p[1];
let batch = id.x / (p[4] * p[1]);
if (batch >= p[0]) {{ return; }}
let query = block * {rows}u;
let scale = bitcast<f32>(p[5]);
"
        );
        text += &self.start("of_q", 0);
        text += &self.start("of_k", 1);
        text += &self.start("of_v", 2);
        text += &each(rows, |r| {
            let last = "p[2] - 1u";
            let mut row = format!("let i{r} = min(query + {r}u, {last});\n");
            row += &each(vectors, |c| {
                format!("let q{r}_{c} = {number}({q}[of_q + i{r} * p[9] + {c}u]) * scale;\n")
            });
            row += &each(vectors, |c| format!("var a{r}_{c} = {number}(0.0);\n"));
            row + &format!("var largest{r} = -3.0e38;\nvar sum{r} = 0.0;\n")
        });
        text += &self.keys("query", rows);
        match self.cache {
            None => {
                let (k, v) = (
                    format!("{k}[of_k + key * p[13]"),
                    format!("{v}[of_v + key * p[17]"),
                );
                text += "for (var key = 0u; key < keys; key++) {\n";
                text += &self.one_key(rows, &k, &v);
                text += "}\n";
            }
            Some(stored) => {
                let (start, capacity) = ("first_new()", CAPACITY);
                let old = format!("old + key * {vectors}u");
                text += &format!(
                    "let old = (batch * p[1] + head) * {capacity} * {vectors}u;
for (var key = 0u; key < min(keys, {start}); key++) {{\n"
                );
                text += &self.one_key(rows, &format!("old_k[{old}"), &format!("old_v[{old}"));
                text += &format!("}}\nfor (var key = {start}; key < keys; key++) {{\n");
                let (k, v) = (
                    format!("{k}[of_k + (key - {start}) * p[13]"),
                    format!("{v}[of_v + (key - {start}) * p[17]"),
                );
                text += &self.one_key(rows, &k, &v);
                // What is read from the cache ends before what is written to it.
                let writes = each(vectors, |c| {
                    let kind = stored.name(self.by_four);
                    format!(
                        "old_k[{old} + {c}u] = {kind}({k} + {c}u]);\nold_v[{old} + {c}u] = {kind}({v} + {c}u]);\n"
                    )
                });
                text += &format!(
                    "}}\nif (block == 0u) {{\nfor (var key = {start}; key < all_keys(); key++) {{\n{writes}}}\n}}\n"
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
    fn one_key(&self, rows: usize, k: &str, v: &str) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        let mut text = each(rows, |r| format!("var score{r} = 0.0;\n"));
        text += &each(vectors, |c| {
            let products = each(rows, |r| match self.by_four {
                true => format!("score{r} += dot(q{r}_{c}, k{c});\n"),
                false => format!("score{r} += q{r}_{c} * k{c};\n"),
            });
            format!("let k{c} = {number}({k} + {c}u]);\n{products}")
        });
        text += &each(rows, |r| {
            let visible = self.visible(&format!("i{r}"));
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
}
