//! The threads of a workgroup share a query: first each has a key and its score, then each has some channels of the
//! values, of a part of the keys.

use super::{Attention, CAPACITY};
use crate::gpu::text::{Stored, each};

/// Of a workgroup, and keys that it looks at in one turn. A head has no more vectors than this.
pub(super) const THREADS: usize = 128;

impl Attention {
    /// The entry point: a query a workgroup.
    pub(super) fn shared(&self, stored: Stored) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        // Threads with the same channels, which divide the keys among them.
        let teams = THREADS / vectors;
        let [q, ..] = self.parts.map(|part| format!("t{part}"));
        let mut text = self.read("read_k", 1) + &self.read("read_v", 2);
        text += &format!(
            "const HIDDEN = -3.0e38;
var<workgroup> of_query: array<{number}, {vectors}>;
var<workgroup> scores: array<f32, {THREADS}>;
var<workgroup> weighted: array<{number}, {}>;
var<workgroup> weights: array<f32, {teams}>;
@compute @workgroup_size({THREADS}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {{
let place = group.y * p[4] + group.x;
if (place >= p[0] * p[1] * p[2]) {{ return; }}
let query = place % p[2];
let head = (place / p[2]) % p[1];
let batch = place / (p[2] * p[1]);
",
            teams * vectors
        );
        text += &self.start("of_q", 0);
        text += &self.start("of_k", 1);
        text += &self.start("of_v", 2);
        text += &self.keys("query", 1);
        text += &match self.cache {
            Some(_) => format!("let old = (batch * p[1] + head) * {CAPACITY};\n"),
            None => "let old = 0u;\n".to_string(),
        };
        let dot = |c: usize| match self.by_four {
            true => format!("score += dot(of_query[{c}], read_k(of_k, old, key, {c}u));\n"),
            false => format!("score += of_query[{c}] * read_k(of_k, old, key, {c}u);\n"),
        };
        text += &format!(
            "if (me < {vectors}u) {{ of_query[me] = {number}({q}[of_q + query * p[9] + me]) * bitcast<f32>(p[5]); }}
workgroupBarrier();
let channel = me % {vectors}u;
let team = me / {vectors}u;
var largest = HIDDEN;
var sum = 0.0;
var y_of_team = {number}(0.0);
for (var start = 0u; start < keys; start += {THREADS}u) {{
let key = start + me;
var score = HIDDEN;
if (key < keys) {{
if ({visible}) {{
score = 0.0;
{dots}}}
}}
scores[me] = score;
workgroupBarrier();
let count = min({THREADS}u, keys - start);
var now = largest;
for (var i = 0u; i < count; i++) {{ now = max(now, scores[i]); }}
let shrink = exp(largest - now);
largest = now;
sum *= shrink;
y_of_team *= shrink;
if (team < {teams}u) {{
for (var i = team; i < count; i += {teams}u) {{
if (scores[i] > HIDDEN) {{
let e = exp(scores[i] - now);
sum += e;
y_of_team += e * read_v(of_v, old, start + i, channel);
}}
}}
}}
workgroupBarrier();
}}
if (team < {teams}u) {{
weighted[me] = y_of_team;
if (channel == 0u) {{ weights[team] = sum; }}
}}
workgroupBarrier();
if (me < {vectors}u) {{
var all = {number}(0.0);
var total = 0.0;
for (var i = 0u; i < {teams}u; i++) {{
all += weighted[i * {vectors}u + me];
total += weights[i];
}}
let over = select(1.0 / total, 0.0, total == 0.0);
y[((batch * p[2] + query) * p[1] + head) * {vectors}u + me] = {stored}(all * over);
}}
",
            visible = self.visible("query"),
            dots = each(vectors, dot),
            stored = stored.name(self.by_four),
        );
        if let Some(cache) = self.cache {
            // What is read from the cache ends before what is written to it.
            text += &format!(
                "if (query == 0u) {{
for (var i = me; i < (all_keys() - first_new()) * {vectors}u; i += {THREADS}u) {{
let key = first_new() + i / {vectors}u;
let c = i % {vectors}u;
let at = (old + key) * {vectors}u + c;
old_k[at] = {kind}(read_k(of_k, old, key, c));
old_v[at] = {kind}(read_v(of_v, old, key, c));
}}
}}
",
                kind = cache.name(self.by_four)
            );
        }
        text + "}\n"
    }

    /// `name(start, old, key, c)`: vector c of a key or value, from the cache if it is in there.
    fn read(&self, name: &str, part: usize) -> String {
        let vectors = self.vectors();
        let number = Stored::F32.name(self.by_four);
        let tensor = format!("t{}", self.parts[part]);
        let token = format!("p[{}]", 9 + 4 * part);
        let (first, cached) = match self.cache {
            Some(_) => {
                let cache = if part == 1 { "old_k" } else { "old_v" };
                let first = "first_new()";
                let read = format!("{number}({cache}[(old + key) * {vectors}u + c])");
                let cached = format!("if (key < {first}) {{ return {read}; }}\n");
                (first, cached)
            }
            None => ("0u", String::new()),
        };
        format!(
            "fn {name}(start: u32, old: u32, key: u32, c: u32) -> {number} {{
{cached}return {number}({tensor}[start + (key - {first}) * {token} + c]);
}}
"
        )
    }
}
