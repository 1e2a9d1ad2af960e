//! The WGSL of a product.

use super::form::{Form, TILE};
use crate::activation::Activation;
use crate::gpu::program::{Program, parameters};
use crate::gpu::text::{Stored, all, codes, each, header, input, output};

/// Steps of four elements that a tile keeps in workgroup memory.
const STEPS: usize = 4;

/// What the elements of a weight are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elements {
    Floats(Stored),
    /// Eight bits each, with a scale for each block of neighbours.
    Codes {
        block: usize,
    },
}

impl Elements {
    /// How its buffer is declared, of one element or of four.
    fn name(self, wide: bool) -> &'static str {
        match self {
            Self::Floats(stored) => stored.name(wide),
            Self::Codes { .. } => "u32",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    pub x: Stored,
    pub weight: Elements,
    pub y: Stored,
    pub bias: Option<Stored>,
    pub residual: Option<Stored>,
    pub activation: Option<Activation>,
    /// Scale and shift of the layer norm of x, if it takes x's place.
    pub norm: Option<[Stored; 2]>,
    pub input_first: bool,
    /// The rows that are multiplied consist of whole vectors of four.
    pub by_four: bool,
    /// Rows of the result consist of whole vectors of four.
    pub columns_by_four: bool,
    pub form: Form,
}

impl Program for Product {
    fn workgroup(&self) -> (u32, u32, u32) {
        match self.form {
            Form::Strip { blocks, parts, .. } => (parts as u32, blocks as u32, 1),
            Form::Tile { .. } => (TILE as u32, TILE as u32, 1),
        }
    }

    fn text(&self) -> String {
        let mut text = self.declarations();
        text += &self.reads();
        text += &self.write();
        text += &match self.form {
            Form::Strip {
                rows,
                columns,
                blocks,
                parts,
            } => self.strip(rows, columns, blocks, parts),
            Form::Tile { rows, columns } => self.tile(rows, columns),
        };
        text
    }
}

impl Product {
    /// Whether results, bias and residual are read and written four columns at a time.
    fn wide(&self) -> bool {
        self.columns_by_four && self.form.writes_four()
    }

    /// Whether the weight is read four columns at a time: they are neighbours in memory, and one thread's.
    fn by_columns(&self) -> bool {
        let Form::Strip { columns, .. } = self.form else {
            return false;
        };
        self.input_first && self.columns_by_four && columns.is_multiple_of(4)
    }

    fn declarations(&self) -> String {
        let weight = match self.weight {
            Elements::Floats(stored) => Some(stored),
            Elements::Codes { .. } => None,
        };
        let types = [Some(self.x), weight, Some(self.y), self.bias, self.residual];
        let types: Vec<Stored> = types.into_iter().flatten().collect();
        let weight_by_four = match self.input_first {
            true => self.by_columns(),
            false => self.by_four,
        };
        let mut text = header(&types).to_string();
        text += &input(0, "x", self.x.name(self.by_four));
        text += &input(1, "w", self.weight.name(weight_by_four));
        let mut binding = 2;
        if let Elements::Codes { .. } = self.weight {
            text += &input(binding, "scales", "f32");
            binding += 1;
        }
        if let Some([weight, bias]) = self.norm {
            text += &input(binding, "gamma", weight.name(true));
            text += &input(binding + 1, "beta", bias.name(true));
            binding += 2;
        }
        for (name, stored) in [("bias", self.bias), ("residual", self.residual)] {
            if let Some(stored) = stored {
                text += &input(binding, name, stored.name(self.wide()));
                binding += 1;
            }
        }
        text += &output(binding, "y", self.y.name(self.wide()));
        text += &parameters(binding + 1);
        text
    }

    /// `start_x(row)`, `start_w(column)`: where a row of x and a column of the product begin; `read_x(start, k)` and
    /// `read_w(start, k)`: its elements 4k .. 4k + 4. Where the weight is read by columns, `columns_w(start, k)`: element
    /// k of this column and the three beside it.
    fn reads(&self) -> String {
        let rows = |of: &str| {
            if self.by_four {
                format!(
                    "fn start_{of}(row: u32) -> u32 {{ return row * (p[2] / 4u); }}
fn read_{of}(start: u32, k: u32) -> vec4<f32> {{ return vec4<f32>({of}[start + k]); }}\n"
                )
            } else {
                format!("fn start_{of}(row: u32) -> u32 {{ return row * p[2]; }}\n")
                    + &singly(
                        of,
                        &|at| format!("{of}[{at}]"),
                        "start + 4u * k",
                        "1u",
                        true,
                    )
            }
        };
        let columns = |value: &str| {
            format!(
                "fn start_w(column: u32) -> u32 {{ return column / 4u; }}
fn columns_w(start: u32, k: u32) -> vec4<f32> {{\nlet at = start + k * (p[1] / 4u);\nreturn {value};\n}}\n"
            )
        };
        // Element k of a column is k rows on.
        let down = |element: &dyn Fn(&str) -> String| {
            let ends = !self.by_four;
            "fn start_w(column: u32) -> u32 { return column; }\n".to_string()
                + &singly("w", element, "start + 4u * k * p[1]", "p[1]", ends)
        };
        let weight = match (self.weight, self.input_first) {
            (Elements::Floats(_), false) => rows("w"),
            (Elements::Floats(_), true) if self.by_columns() => columns("vec4<f32>(w[at])"),
            (Elements::Floats(_), true) => down(&|at| format!("w[{at}]")),
            (Elements::Codes { block }, input_first) => {
                let words = block / 4;
                let four = format!("codes(w[at]) * scales[at / {words}u]");
                let reads = match input_first {
                    false => format!(
                        "fn start_w(row: u32) -> u32 {{ return (row + p[3]) * (p[2] / 4u); }}
fn read_w(start: u32, k: u32) -> vec4<f32> {{\nlet at = start + k;\nreturn {four};\n}}\n"
                    ),
                    true if self.by_columns() => columns(&four),
                    true => {
                        "fn code(at: u32) -> f32 { return codes(w[at / 4u])[at % 4u]; }\n"
                            .to_string()
                            + &down(&|at| format!("code({at}) * scales[({at}) / {block}u]"))
                    }
                };
                codes().to_string() + &reads
            }
        };
        rows("x") + &weight
    }

    /// `finish(row, column, sum)`: the epilogue, of one column or of four.
    fn write(&self) -> String {
        let kind = Stored::F32.name(self.wide());
        let mut text = match self.activation {
            Some(activation) => activation_text(activation, kind),
            None => String::new(),
        };
        let (columns, bias) = if self.wide() {
            ("p[1] / 4u", "column / 4u")
        } else {
            ("p[1]", "column")
        };
        text += &format!("fn finish(row: u32, column: u32, sum: {kind}) {{\nvar v = sum;\n");
        text += &format!("let at = row * ({columns}) + {bias};\n");
        if self.bias.is_some() {
            text += &format!("v += {kind}(bias[{bias}]);\n");
        }
        if self.activation.is_some() {
            text += "v = activation(v);\n";
        }
        if self.residual.is_some() {
            text += &format!("v += {kind}(residual[at]);\n");
        }
        text += &format!("y[at] = {}(v);\n}}\n", self.y.name(self.wide()));
        text
    }

    fn strip(&self, rows: usize, columns: usize, blocks: usize, parts: usize) -> String {
        let width = columns * blocks;
        let mut text = String::new();
        let count = rows * columns;
        if parts > 1 {
            text += &format!(
                "var<workgroup> sums: array<f32, {}>;\n",
                count * blocks * parts
            );
        }
        if self.norm.is_some() && parts > 1 {
            text += &all(blocks * parts);
        }
        text += &format!(
            "@compute @workgroup_size({parts}, {blocks}, 1)\nfn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>) {{
let row = group.y * {rows}u;
let column = group.x * {width}u + me.y * {columns}u;
let last_row = p[0] - 1u;
let last_column = p[1] - 1u;
"
        );
        if parts == 1 {
            text += "if (column > last_column) { return; }\n";
        }
        text += &each(rows, |i| {
            format!("let r{i} = start_x(min(row + {i}u, last_row));\n")
        });
        text += &self.statistics(rows, parts, blocks * parts);
        text += &each(count, |at| format!("var s{at} = 0.0;\n"));
        text += &if self.by_columns() {
            self.sums_of_columns(rows, columns, parts)
        } else {
            self.sums_of_dots(rows, columns, parts)
        };
        if parts == 1 {
            text += &each(rows, |i| {
                let cells = if self.wide() {
                    each(columns / 4, |j| {
                        let s = |c: usize| i * columns + 4 * j + c;
                        format!(
                            "if (column + {}u <= last_column) {{ finish(row + {i}u, column + {}u, vec4<f32>(s{}, s{}, s{}, s{})); }}\n",
                            4 * j,
                            4 * j,
                            s(0),
                            s(1),
                            s(2),
                            s(3)
                        )
                    })
                } else {
                    each(columns, |j| {
                        format!(
                            "if (column + {j}u <= last_column) {{ finish(row + {i}u, column + {j}u, s{}); }}\n",
                            i * columns + j
                        )
                    })
                };
                format!("if (row + {i}u <= last_row) {{\n{cells}}}\n")
            });
            text += "}\n";
            return text;
        }
        // The sums of a block lie behind each other, once for each part.
        text += &each(count, |at| {
            format!("sums[(me.x * {blocks}u + me.y) * {count}u + {at}u] = s{at};\n")
        });
        text += &format!(
            "workgroupBarrier();
for (var cell = me.y * {parts}u + me.x; cell < {}u; cell += {}u) {{
let in_block = cell % {count}u;
let r = row + in_block / {columns}u;
let c = group.x * {width}u + (cell / {count}u) * {columns}u + in_block % {columns}u;
var sum = 0.0;
for (var part = 0u; part < {parts}u; part++) {{ sum += sums[part * {}u + cell]; }}
if (r <= last_row && c <= last_column) {{ finish(r, c, sum); }}
}}
}}
",
            count * blocks,
            parts * blocks,
            count * blocks
        );
        text
    }

    /// s[row][column] += x[row] W of a strip whose rows and columns are read along what is summed.
    fn sums_of_dots(&self, rows: usize, columns: usize, parts: usize) -> String {
        let mut text = each(columns, |j| {
            format!("let c{j} = start_w(min(column + {j}u, last_column));\n")
        });
        text += &format!("for (var k = me.x; k < {STEPS_OF_FOUR}; k += {parts}u) {{\n");
        text += &self.read_rows(rows);
        text += &each(columns, |j| {
            let sums = each(rows, |i| {
                format!("s{} += dot(x{i}, w{j});\n", i * columns + j)
            });
            format!("let w{j} = read_w(c{j}, k);\n{sums}")
        });
        text + "}\n"
    }

    /// `x{i}`: four elements of each row of x, normalised if they are to be.
    fn read_rows(&self, rows: usize) -> String {
        if self.norm.is_none() {
            return each(rows, |i| format!("let x{i} = read_x(r{i}, k);\n"));
        }
        let norms = "let scale = vec4<f32>(gamma[k]);\nlet shift = vec4<f32>(beta[k]);\n";
        norms.to_string()
            + &each(rows, |i| {
                format!("let x{i} = (read_x(r{i}, k) - mean{i}) * factor{i} * scale + shift;\n")
            })
    }

    /// `mean{i}` and `factor{i}` of each row of x, as the layer norm has them: by every thread for itself, or where threads
    /// share sums anyway, by the `threads` of a workgroup together.
    fn statistics(&self, rows: usize, parts: usize, threads: usize) -> String {
        if self.norm.is_none() {
            return String::new();
        }
        let (thread, first, step, open, close) = match parts {
            1 => (String::new(), "0u", 1, "", ""),
            _ => (
                format!("let thread = me.y * {parts}u + me.x;\n"),
                "thread",
                threads,
                "all(",
                ", thread)",
            ),
        };
        let over_row = |each_row: &dyn Fn(usize) -> String| {
            format!(
                "for (var k = {first}; k < {STEPS_OF_FOUR}; k += {step}u) {{\n{}}}\n",
                each(rows, each_row)
            )
        };
        let mut text = thread;
        text += &each(rows, |i| {
            format!("var mean{i} = 0.0;\nvar factor{i} = 0.0;\n")
        });
        text += &over_row(&|i| format!("mean{i} += dot(read_x(r{i}, k), vec4<f32>(1.0));\n"));
        text += &each(rows, |i| {
            format!("mean{i} = {open}mean{i}{close} / f32(p[2]);\n")
        });
        text += &over_row(&|i| {
            format!("let d{i} = read_x(r{i}, k) - mean{i};\nfactor{i} += dot(d{i}, d{i});\n")
        });
        text + &each(rows, |i| {
            format!(
                "factor{i} = inverseSqrt({open}factor{i}{close} / f32(p[2]) + bitcast<f32>(p[4]));\n"
            )
        })
    }

    /// s[row][column] += x[row] W of a strip whose weight is read by columns.
    fn sums_of_columns(&self, rows: usize, columns: usize, parts: usize) -> String {
        let fours = columns / 4;
        let mut text = each(fours, |j| {
            format!(
                "let c{j} = start_w(min(column + {}u, last_column - 3u));\n",
                4 * j
            )
        });
        text += &each(rows * fours, |at| format!("var v{at} = vec4<f32>(0.0);\n"));
        text += &format!("for (var k = me.x; k < {STEPS_OF_FOUR}; k += {parts}u) {{\n");
        text += &self.read_rows(rows);
        text += &each(4, |step| {
            let sums = each(fours, |j| {
                let sums = each(rows, |i| {
                    format!("v{} += x{i}[{step}] * w{j};\n", i * fours + j)
                });
                format!("let w{j} = columns_w(c{j}, 4u * k + {step}u);\n{sums}")
            });
            // Behind the end x is 0, and the weight may be anything.
            let inside = match self.by_four {
                true => String::new(),
                false => format!("if (4u * k + {step}u < p[2]) "),
            };
            format!("{inside}{{\n{sums}}}\n")
        });
        text += "}\n";
        text + &each(rows * columns, |at| {
            format!("s{at} = v{}[{}];\n", at / 4, at % 4)
        })
    }

    fn tile(&self, rows: usize, columns: usize) -> String {
        let (high, wide) = (rows * TILE, columns * TILE);
        // Neighbouring threads copy neighbouring elements.
        let place_w = if self.input_first {
            format!("let c = at % {wide}u;\nlet k = at / {wide}u;\n")
        } else {
            format!("let c = at / {STEPS}u;\nlet k = at % {STEPS}u;\n")
        };
        let mut text = format!(
            "var<workgroup> xs: array<vec4<f32>, {}>;
var<workgroup> ws: array<vec4<f32>, {}>;
@compute @workgroup_size({TILE}, {TILE}, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{
let row = group.y * {high}u;
let column = group.x * {wide}u;
let last_row = p[0] - 1u;
let last_column = p[1] - 1u;
let steps = (p[2] + 3u) / 4u;
",
            STEPS * high,
            STEPS * wide
        );
        text += &each(rows * columns, |at| format!("var s{at} = 0.0;\n"));
        text += &format!(
            "for (var start = 0u; start < steps; start += {STEPS}u) {{
for (var at = thread; at < {}u; at += {}u) {{
let r = at / {STEPS}u;
let k = at % {STEPS}u;
var v = vec4<f32>(0.0);
if (start + k < steps) {{ v = read_x(start_x(min(row + r, last_row)), start + k); }}
xs[k * {high}u + r] = v;
}}
for (var at = thread; at < {}u; at += {}u) {{
{place_w}var v = vec4<f32>(0.0);
if (start + k < steps) {{ v = read_w(start_w(min(column + c, last_column)), start + k); }}
ws[k * {wide}u + c] = v;
}}
workgroupBarrier();
for (var k = 0u; k < {STEPS}u; k++) {{
",
            STEPS * high,
            TILE * TILE,
            STEPS * wide,
            TILE * TILE
        );
        text += &each(rows, |i| {
            format!("let x{i} = xs[k * {high}u + {}u + me.y];\n", i * TILE)
        });
        text += &each(columns, |j| {
            let sums = each(rows, |i| {
                format!("s{} += dot(x{i}, w{j});\n", i * columns + j)
            });
            format!("let w{j} = ws[k * {wide}u + {}u + me.x];\n{sums}", j * TILE)
        });
        text += "}\nworkgroupBarrier();\n}\n";
        text += &each(rows, |i| {
            let cells = each(columns, |j| {
                format!(
                    "if (column + {at}u + me.x <= last_column) {{ finish(r{i}, column + {at}u + me.x, s{}); }}\n",
                    i * columns + j,
                    at = j * TILE
                )
            });
            format!(
                "let r{i} = row + {}u + me.y;\nif (r{i} <= last_row) {{\n{cells}}}\n",
                i * TILE
            )
        });
        text += "}\n";
        text
    }
}

/// Steps of four elements in a row that is multiplied.
const STEPS_OF_FOUR: &str = "(p[2] + 3u) / 4u";

/// `read_{of}(start, k)` from single elements. With `ends` the number of elements is no multiple of four, and those behind
/// the last count as 0.
fn singly(of: &str, element: &dyn Fn(&str) -> String, at: &str, step: &str, ends: bool) -> String {
    let more = (1..4).map(|i| {
        let element = format!("v[{i}] = f32({});", element(&format!("at + {i}u * {step}")));
        if ends {
            format!("if (4u * k + {i}u < p[2]) {{ {element} }}\n")
        } else {
            format!("{element}\n")
        }
    });
    format!(
        "fn read_{of}(start: u32, k: u32) -> vec4<f32> {{\nlet at = {at};\nvar v = vec4<f32>(f32({}), 0.0, 0.0, 0.0);\n{}return v;\n}}\n",
        element("at"),
        more.collect::<String>()
    )
}

/// `activation(v)`, of one number or of four.
fn activation_text(activation: Activation, kind: &str) -> String {
    match activation {
        // As on the CPU: see `raw/gelu.rs` for where the polynomial comes from.
        Activation::Gelu => format!(
            "fn activation(v: {kind}) -> {kind} {{
let u = abs(v);
let t = 1.0 / (1.0 + 0.3 * u);
let tail = ((((((((0.038407404 * t - 0.16930752) * t + 0.22895189) * t - 0.07683977) * t + 0.14276534) * t + 0.094585836) * t + 0.12194527) * t + 0.11948421) * t + 7.3724287e-6);
let below = exp(-0.5 * u * u) * tail;
return v * select(1.0 - below, below, v < {kind}(0.0));
}}
"
        ),
        Activation::QuickGelu => format!(
            "fn activation(v: {kind}) -> {kind} {{ return v / (1.0 + exp(-1.702 * v)); }}\n"
        ),
    }
}
