//! x Wᵀ with bias, activation and residual in the same pass.
//!
//! Two forms. A *strip*: every thread has its own block of the result in registers and reads rows of x and W directly;
//! with several threads a block, each takes a part of the sum, and they add up through workgroup memory. That is the
//! product of a matrix and a few vectors on a GPU, and of everything on a device that is really a CPU. A *tile*: a
//! workgroup copies a piece of x and of W into workgroup memory, and each thread computes a block from there.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use super::program::{Program, launch, parameters};
use super::text::{Stored, each, header, input, output};
use super::{contiguous, empty, is_software};
use crate::activation::Activation;

/// A weight of a product.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// `[out, in]`, or `[in, out]` with `input_first`.
    pub values: CubeTensor,
    /// How it lies.
    pub input_first: bool,
}

/// What is done to a product before it is written: + bias, the activation, + residual.
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    /// `[out]`.
    pub bias: Option<CubeTensor>,
    /// Of the sum with the bias.
    pub activation: Option<Activation>,
    /// Of the result's shape.
    pub residual: Option<CubeTensor>,
}

/// `[.., in]` to `[.., out]`, of the type of x.
pub fn product(x: CubeTensor, weight: Matrix, epilogue: Epilogue) -> CubeTensor {
    let (x, values) = (contiguous(x), contiguous(weight.values));
    let bias = epilogue.bias.map(contiguous);
    let residual = epilogue.residual.map(contiguous);
    let (first, second) = (values.meta.shape()[0], values.meta.shape()[1]);
    let (columns, width) = if weight.input_first {
        (second, first)
    } else {
        (first, second)
    };
    let mut shape: Vec<usize> = x.meta.shape().iter().copied().collect();
    let rows = shape.iter().rev().skip(1).product();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    let y = empty(&x, Shape::from(shape), x.dtype);
    if rows == 0 || columns == 0 {
        return y;
    }
    let form = Form::of(rows, columns, weight.input_first, is_software(&x));
    let stored = |tensor: &CubeTensor| Stored::of(tensor.dtype);
    let program = Product {
        x: stored(&x),
        weight: stored(&values),
        y: stored(&y),
        bias: bias.as_ref().map(stored),
        residual: residual.as_ref().map(stored),
        activation: epilogue.activation,
        input_first: weight.input_first,
        by_four: width.is_multiple_of(4),
        wide: columns.is_multiple_of(4) && form.writes_four(),
        form,
    };
    let (block_rows, block_columns) = form.block();
    let groups = [
        columns.div_ceil(block_columns),
        rows.div_ceil(block_rows),
        1,
    ];
    let inputs: Vec<&CubeTensor> = [Some(&x), Some(&values), bias.as_ref(), residual.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    launch(program, groups, &inputs, &[&y], &[rows, columns, width]);
    y
}

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Strip {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
        /// Blocks beside each other in a workgroup.
        blocks: usize,
        /// Threads that share the sums of a block.
        parts: usize,
    },
    Tile {
        /// Of the block of a thread.
        rows: usize,
        columns: usize,
    },
}

/// Threads of a tile along each dimension.
const TILE: usize = 8;
/// Steps of four elements that a tile keeps in workgroup memory.
const STEPS: usize = 4;

impl Form {
    fn of(rows: usize, columns: usize, input_first: bool, software: bool) -> Self {
        if software {
            // Reading is what costs: the more of a block is in registers, the fewer times. Few heights, so that few
            // kernels have to be compiled.
            let high = match rows {
                ..=2 => rows,
                3..=4 => 4,
                5..=24 => 8,
                _ => 17,
            };
            return Self::Strip {
                rows: high,
                columns: if high == 17 { 8 } else { 4 },
                blocks: if high == 17 { 4 } else { 8 },
                parts: 1,
            };
        }
        if rows <= 4 {
            // Neighbouring threads read neighbouring elements of the weight: along a row, or from column to column.
            let (blocks, parts) = if input_first { (16, 4) } else { (4, 16) };
            return Self::Strip {
                rows,
                columns: if input_first { 4 } else { 2 },
                blocks,
                parts,
            };
        }
        let side = if rows > 256 && columns >= 512 { 8 } else { 4 };
        Self::Tile {
            rows: side,
            columns: side,
        }
    }

    /// Rows and columns that a workgroup computes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::Strip {
                rows,
                columns,
                blocks,
                ..
            } => (rows, columns * blocks),
            Self::Tile { rows, columns } => (rows * TILE, columns * TILE),
        }
    }

    /// Whether a thread has four columns beside each other.
    fn writes_four(self) -> bool {
        match self {
            Self::Strip { columns, parts, .. } => parts == 1 && columns.is_multiple_of(4),
            Self::Tile { .. } => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Product {
    x: Stored,
    weight: Stored,
    y: Stored,
    bias: Option<Stored>,
    residual: Option<Stored>,
    activation: Option<Activation>,
    input_first: bool,
    /// The rows that are multiplied consist of whole vectors of four.
    by_four: bool,
    /// Results, bias and residual are read and written four columns at a time.
    wide: bool,
    form: Form,
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
    fn declarations(&self) -> String {
        let types = [
            Some(self.x),
            Some(self.weight),
            Some(self.y),
            self.bias,
            self.residual,
        ];
        let types: Vec<Stored> = types.into_iter().flatten().collect();
        let weight_by_four = self.by_four && !self.input_first;
        let mut text = header(&types).to_string();
        text += &input(0, "x", self.x.name(self.by_four));
        text += &input(1, "w", self.weight.name(weight_by_four));
        let mut binding = 2;
        for (name, stored) in [("bias", self.bias), ("residual", self.residual)] {
            if let Some(stored) = stored {
                text += &input(binding, name, stored.name(self.wide));
                binding += 1;
            }
        }
        text += &output(binding, "y", self.y.name(self.wide));
        text += &parameters(binding + 1);
        text
    }

    /// `start_x(row)`, `start_w(column)`: where a row of x and a column of the product begin; `read_x(start, k)` and
    /// `read_w(start, k)`: its elements 4k .. 4k + 4.
    fn reads(&self) -> String {
        let rows = |of: &str| {
            if self.by_four {
                format!(
                    "fn start_{of}(row: u32) -> u32 {{ return row * (p[2] / 4u); }}
fn read_{of}(start: u32, k: u32) -> vec4<f32> {{ return vec4<f32>({of}[start + k]); }}\n"
                )
            } else {
                format!("fn start_{of}(row: u32) -> u32 {{ return row * p[2]; }}\n")
                    + &singly(of, "start + 4u * k", "1u", true)
            }
        };
        let mut text = rows("x");
        text += &if self.input_first {
            "fn start_w(column: u32) -> u32 { return column; }\n".to_string()
                + &singly("w", "start + 4u * k * p[1]", "p[1]", !self.by_four)
        } else {
            rows("w")
        };
        text
    }

    /// `finish(row, column, sum)`: the epilogue, of one column or of four.
    fn write(&self) -> String {
        let kind = Stored::F32.name(self.wide);
        let mut text = match self.activation {
            Some(activation) => activation_text(activation, kind),
            None => String::new(),
        };
        let (columns, bias) = if self.wide {
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
        text += &format!("y[at] = {}(v);\n}}\n", self.y.name(self.wide));
        text
    }

    fn strip(&self, rows: usize, columns: usize, blocks: usize, parts: usize) -> String {
        let (width, steps) = (columns * blocks, "(p[2] + 3u) / 4u");
        let mut text = String::new();
        let count = rows * columns;
        if parts > 1 {
            text += &format!(
                "var<workgroup> sums: array<f32, {}>;\n",
                count * blocks * parts
            );
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
        text += &each(columns, |j| {
            format!("let c{j} = start_w(min(column + {j}u, last_column));\n")
        });
        text += &each(count, |at| format!("var s{at} = 0.0;\n"));
        text += &format!("for (var k = me.x; k < {steps}; k += {parts}u) {{\n");
        text += &each(rows, |i| format!("let x{i} = read_x(r{i}, k);\n"));
        text += &each(columns, |j| {
            let sums = each(rows, |i| {
                format!("s{} += dot(x{i}, w{j});\n", i * columns + j)
            });
            format!("let w{j} = read_w(c{j}, k);\n{sums}")
        });
        text += "}\n";
        if parts == 1 {
            text += &each(rows, |i| {
                let cells = if self.wide {
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

/// `read_{of}(start, k)` from single elements. With `ends` the number of elements is no multiple of four, and those behind
/// the last count as 0.
fn singly(of: &str, at: &str, step: &str, ends: bool) -> String {
    let more = (1..4).map(|i| {
        let element = format!("v[{i}] = f32({of}[at + {i}u * {step}]);");
        if ends {
            format!("if (4u * k + {i}u < p[2]) {{ {element} }}\n")
        } else {
            format!("{element}\n")
        }
    });
    format!(
        "fn read_{of}(start: u32, k: u32) -> vec4<f32> {{\nlet at = {at};\nvar v = vec4<f32>(f32({of}[at]), 0.0, 0.0, 0.0);\n{}return v;\n}}\n",
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
