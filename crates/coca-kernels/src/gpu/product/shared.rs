//! The threads of a workgroup share the sums of its columns: a product with a few rows, which waits for the weight. So
//! the weight is read in pieces of 16 bytes, many of them on their way at once, before anything that needs them.

use super::text::{Elements, Product, STEPS_OF_FOUR};
use crate::gpu::text::{Stored, all, each};

/// Pieces of the weight that a thread has on their way at once.
const ON_THEIR_WAY: usize = 8;

impl Product {
    /// Vectors of four that a thread reads of a row of the weight at once, if there are that many.
    pub(super) fn at_once(weight: Elements, width: usize) -> usize {
        match weight {
            Elements::Floats(Stored::F16) if width.is_multiple_of(8) => 2,
            Elements::Floats(_) => 1,
            Elements::Codes { .. } | Elements::Fours => 4,
        }
    }

    /// Whether the rows of the weight are read in pieces.
    pub(super) fn in_pieces(&self) -> Option<usize> {
        let width = self.width?;
        (self.by_four && !self.input_first).then(|| Self::at_once(self.weight, width))
    }

    /// The type of a piece.
    pub(super) fn piece(&self, at_once: usize) -> &'static str {
        match self.weight {
            Elements::Floats(Stored::F16) if at_once == 1 => "vec4<f16>",
            Elements::Floats(Stored::F32) => "vec4<f32>",
            Elements::Fours => "vec2<u32>",
            _ => "vec4<u32>",
        }
    }

    /// The vectors of four in a piece.
    fn fours(&self, piece: &str, at_once: usize) -> Vec<String> {
        match self.weight {
            Elements::Floats(_) if at_once == 1 => vec![format!("vec4<f32>({piece})")],
            Elements::Floats(_) => ["x", "z"]
                .iter()
                .zip(["y", "w"])
                .map(|(a, b)| {
                    format!("vec4<f32>(unpack2x16float({piece}.{a}), unpack2x16float({piece}.{b}))")
                })
                .collect(),
            Elements::Codes { .. } => ["x", "y", "z", "w"]
                .map(|word| format!("codes({piece}.{word})"))
                .to_vec(),
            Elements::Fours => ["x", "x >> 16u", "y", "y >> 16u"]
                .map(|half| format!("nibbles({piece}.{half})"))
                .to_vec(),
        }
    }

    /// The entry point: `blocks` blocks of `rows` × `columns` a workgroup, beside each other, each by `parts` threads.
    pub(super) fn shared(
        &self,
        rows: usize,
        columns: usize,
        blocks: usize,
        parts: usize,
    ) -> String {
        let (width, count, threads) = (columns * blocks, rows * columns, blocks * parts);
        let mut text = format!(
            "var<workgroup> sums: array<f32, {}>;\n",
            count * blocks * parts
        );
        if self.norm.is_some() {
            text += &all(threads);
            text += &format!(
                "var<workgroup> xs: array<vec4<f32>, {}>;\n",
                rows * self.width.unwrap_or(0) / 4
            );
        }
        text += &format!(
            "@compute @workgroup_size({parts}, {blocks}, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>) {{
let row = group.y * {rows}u;
let column = group.x * {width}u + me.y * {columns}u;
let last_row = p[0] - 1u;
let last_column = p[1] - 1u;
let thread = me.y * {parts}u + me.x;
{}",
            self.fill_table("thread")
        );
        text += &each(rows, |i| {
            format!("let r{i} = start_x(min(row + {i}u, last_row));\n")
        });
        text += &each(count, |at| format!("var s{at} = 0.0;\n"));
        text += &match self.in_pieces() {
            Some(at_once) => self.sums_of_pieces(rows, columns, parts, threads, at_once),
            None => self.normalise(rows, threads) + &self.sums_by_steps(rows, columns, parts),
        };
        // The sums of a block lie behind each other, once for each part.
        text += &each(count, |at| {
            format!("sums[(me.x * {blocks}u + me.y) * {count}u + {at}u] = s{at};\n")
        });
        text += &format!(
            "workgroupBarrier();
for (var cell = thread; cell < {cells}u; cell += {threads}u) {{
let in_block = cell % {count}u;
let r = row + in_block / {columns}u;
let c = group.x * {width}u + (cell / {count}u) * {columns}u + in_block % {columns}u;
var sum = 0.0;
for (var part = 0u; part < {parts}u; part++) {{ sum += sums[part * {cells}u + cell]; }}
if (r <= last_row && c <= last_column) {{ finish(r, c, sum); }}
}}
}}
",
            cells = count * blocks
        );
        text
    }

    /// `xs`: the normalised rows of x.
    fn normalise(&self, rows: usize, threads: usize) -> String {
        let (Some(_), Some(width)) = (self.norm, self.width) else {
            return String::new();
        };
        let fours = width / 4;
        // A thread keeps what it reads of a row.
        let mine = fours.div_ceil(threads);
        let at = |n: usize| format!("(thread + {}u)", n * threads);
        let inside = |n: usize, what: String| match (n + 1) * threads <= fours {
            true => what,
            false => format!("if ({} < {fours}u) {{ {what} }}\n", at(n)),
        };
        each(rows, |i| {
            let mut text = each(mine, |n| {
                let read = format!("v{i}_{n} = read_x(r{i}, {});\n", at(n));
                format!("var v{i}_{n} = vec4<f32>(0.0);\n{}", inside(n, read))
            });
            text += &format!("var sum{i} = 0.0;\n");
            text += &each(mine, |n| {
                format!("sum{i} += dot(v{i}_{n}, vec4<f32>(1.0));\n")
            });
            text += &format!("let mean{i} = all(sum{i}, thread) / {width}.0;\nsum{i} = 0.0;\n");
            text += &each(mine, |n| {
                inside(
                    n,
                    format!("v{i}_{n} = v{i}_{n} - mean{i};\nsum{i} += dot(v{i}_{n}, v{i}_{n});\n"),
                )
            });
            text += &format!(
                "let factor{i} = inverseSqrt(all(sum{i}, thread) / {width}.0 + bitcast<f32>(p[4]));\n"
            );
            text + &each(mine, |n| {
                let k = at(n);
                inside(
                    n,
                    format!(
                        "xs[{}u + {k}] = v{i}_{n} * factor{i} * vec4<f32>(gamma[{k}]) + vec4<f32>(beta[{k}]);\n",
                        i * fours
                    ),
                )
            })
        }) + "workgroupBarrier();\n"
    }

    /// Four elements of row i of x.
    fn x(&self, i: usize, k: &str) -> String {
        match (self.norm, self.width) {
            (Some(_), Some(width)) => format!("xs[{}u + {k}]", i * width / 4),
            _ => format!("read_x(r{i}, {k})"),
        }
    }

    /// s[row][column] += x[row] W, for a weight whose rows are read in pieces.
    fn sums_of_pieces(
        &self,
        rows: usize,
        columns: usize,
        parts: usize,
        threads: usize,
        at_once: usize,
    ) -> String {
        let steps = self.width.unwrap_or(0) / (4 * at_once);
        let (turns, rest) = (steps / parts, steps % parts);
        let group = (ON_THEIR_WAY / columns).clamp(1, turns.max(1));
        let groups = turns / group;
        let mut text = each(columns, |j| {
            format!("let c{j} = start_w(min(column + {j}u, last_column));\n")
        });
        let ks = |first: usize, count: usize, base: &str| {
            (first..first + count)
                .map(|turn| format!("let k{turn} = {base} + {}u;\n", turn * parts))
                .collect::<String>()
        };
        let read = |turn: usize| {
            each(columns, |j| {
                let scale = match self.weight {
                    Elements::Codes { block } => {
                        format!(
                            "let f{j}_{turn} = scales[(c{j} + k{turn}) / {}u];\n",
                            block / 16
                        )
                    }
                    Elements::Fours => {
                        format!("let f{j}_{turn} = scales[c{j} + k{turn}];\n")
                    }
                    Elements::Floats(_) => String::new(),
                };
                format!("let w{j}_{turn} = w[c{j} + k{turn}];\n{scale}")
            })
        };
        let add = |turn: usize| {
            let xs = each(rows, |i| {
                each(at_once, |e| {
                    let k = format!("k{turn} * {at_once}u + {e}u");
                    format!("let x{i}_{turn}_{e} = {};\n", self.x(i, &k))
                })
            });
            let sums = each(columns, |j| {
                let fours = self.fours(&format!("w{j}_{turn}"), at_once);
                let parts = fours.iter().enumerate();
                let names: String = parts
                    .map(|(e, four)| format!("let e{j}_{turn}_{e} = {four};\n"))
                    .collect();
                let sums = each(rows, |i| {
                    let dots: Vec<String> = (0..at_once)
                        .map(|e| format!("dot(x{i}_{turn}_{e}, e{j}_{turn}_{e})"))
                        .collect();
                    let sum = dots.join(" + ");
                    let s = i * columns + j;
                    match self.weight {
                        Elements::Floats(_) => format!("s{s} += {sum};\n"),
                        _ => format!("s{s} += f{j}_{turn} * ({sum});\n"),
                    }
                });
                names + &sums
            });
            xs + &sums
        };
        let group_at = |first: usize, base: &str| {
            let turns = first..first + group;
            let reads: String = turns.clone().map(read).collect();
            let adds: String = turns.map(add).collect();
            (ks(first, group, base) + &reads, adds)
        };
        if groups > 2 {
            text += &self.normalise(rows, threads);
            let (reads, adds) = group_at(0, "k");
            text += &format!(
                "for (var k = me.x; k < {}u; k += {}u) {{\n{reads}{adds}}}\n",
                groups * group * parts,
                group * parts
            );
        } else {
            // What is read first does not wait for the layer norm.
            for index in 0..groups {
                let (reads, adds) = group_at(index * group, "me.x");
                text += &reads;
                if index == 0 {
                    text += &self.normalise(rows, threads);
                }
                text += &adds;
            }
            if groups == 0 {
                text += &self.normalise(rows, threads);
            }
        }
        for turn in groups * group..turns {
            text += &(ks(turn, 1, "me.x") + &read(turn) + &add(turn));
        }
        if rest > 0 {
            let last = ks(turns, 1, "me.x") + &read(turns) + &add(turns);
            text += &format!("if (me.x < {rest}u) {{\n{last}}}\n");
        }
        text
    }

    /// The same, four elements after the other.
    fn sums_by_steps(&self, rows: usize, columns: usize, parts: usize) -> String {
        let by_columns = self.by_columns();
        let fours = columns / 4;
        let x = each(rows, |i| format!("let x{i} = {};\n", self.x(i, "k")));
        let (before, inside, behind) = if by_columns {
            let sums = each(rows * fours, |at| format!("var v{at} = vec4<f32>(0.0);\n"));
            (
                self.starts_of_columns(fours) + &sums,
                self.four_steps_of_columns(rows, fours, "k", "x"),
                each(rows * columns, |at| {
                    format!("s{at} = v{}[{}];\n", at / 4, at % 4)
                }),
            )
        } else {
            let starts = each(columns, |j| {
                format!("let c{j} = start_w(min(column + {j}u, last_column));\n")
            });
            let sums = each(columns, |j| {
                let sums = each(rows, |i| {
                    format!("s{} += dot(x{i}, w{j});\n", i * columns + j)
                });
                format!("let w{j} = read_w(c{j}, k);\n{sums}")
            });
            (starts, sums, String::new())
        };
        format!(
            "{before}for (var k = me.x; k < {STEPS_OF_FOUR}; k += {parts}u) {{\n{x}{inside}}}\n{behind}"
        )
    }
}
