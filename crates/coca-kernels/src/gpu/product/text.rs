//! The WGSL of a product.

use super::form::{Form, TILE};
use crate::activation::Activation;
use crate::gpu::program::{Program, parameters};
use crate::gpu::text::{Stored, codes, fill_table, header, input, nibbles, output};
use crate::quantised::FOUR_BIT_BLOCK;

/// What the elements of a weight are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elements {
    Floats(Stored),
    /// Eight bits each, with a scale for each block of neighbours.
    Codes {
        block: usize,
    },
    /// Places in the [codebook](crate::CODEBOOK), of four bits each, with a scale for each block of neighbours.
    Fours,
}

impl Elements {
    /// How its buffer is declared, of one element or of four.
    fn name(self, wide: bool) -> &'static str {
        match self {
            Self::Floats(stored) => stored.name(wide),
            Self::Codes { .. } | Self::Fours => "u32",
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
    /// What is summed over, where it is part of the text.
    pub width: Option<usize>,
    /// The rows that are multiplied consist of whole vectors of four.
    pub by_four: bool,
    /// Rows of the result consist of whole vectors of four.
    pub columns_by_four: bool,
    pub form: Form,
}

impl Program for Product {
    fn workgroup(&self) -> (u32, u32, u32) {
        match self.form {
            Form::Strip { blocks, .. } => (1, blocks as u32, 1),
            Form::Shared { blocks, parts, .. } => (parts as u32, blocks as u32, 1),
            Form::Tile { parts, .. } => (TILE as u32, TILE as u32, parts as u32),
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
            } => self.strip(rows, columns, blocks),
            Form::Shared {
                rows,
                columns,
                blocks,
                parts,
            } => self.shared(rows, columns, blocks, parts),
            Form::Tile {
                rows,
                columns,
                parts,
                steps,
            } => self.tile(rows, columns, parts, steps),
        };
        text
    }
}

impl Product {
    /// Whether results, bias and residual are read and written four columns at a time.
    pub(super) fn wide(&self) -> bool {
        self.columns_by_four && self.form.writes_four()
    }

    /// Whether the weight is read four columns at a time: they are neighbours in memory, and one thread's.
    pub(super) fn by_columns(&self) -> bool {
        let (Form::Strip { columns, .. } | Form::Shared { columns, .. }) = self.form else {
            return false;
        };
        self.input_first && self.columns_by_four && columns.is_multiple_of(4)
    }

    fn declarations(&self) -> String {
        let weight = match self.weight {
            Elements::Floats(stored) => Some(stored),
            Elements::Codes { .. } | Elements::Fours => None,
        };
        let types = [Some(self.x), weight, Some(self.y), self.bias, self.residual];
        let types: Vec<Stored> = types.into_iter().flatten().collect();
        let weight_by_four = match self.input_first {
            true => self.by_columns(),
            false => self.by_four,
        };
        let mut text = header(&types).to_string();
        text += &input(0, "x", self.x.name(self.by_four));
        text += &match self.in_pieces() {
            Some(at_once) => input(1, "w", self.piece(at_once)),
            None => input(1, "w", self.weight.name(weight_by_four)),
        };
        let mut binding = 2;
        if weight.is_none() {
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
            (Elements::Floats(_), false) if self.in_pieces().is_some() => self.start_of_pieces(),
            (Elements::Floats(_), false) => rows("w"),
            (Elements::Floats(_), true) if self.by_columns() => columns("vec4<f32>(w[at])"),
            (Elements::Floats(_), true) => down(&|at| format!("w[{at}]")),
            (_, input_first) => {
                // Of four neighbours, and of one.
                let (words, block, four, one) = match self.weight {
                    Elements::Codes { block } => (
                        codes().to_string(),
                        block,
                        "codes(w[at])",
                        "codes(w[at / 4u])[at % 4u]",
                    ),
                    _ => (
                        nibbles(self.has_table()),
                        FOUR_BIT_BLOCK,
                        "nibbles(w[at / 2u] >> (16u * (at % 2u)))",
                        "nibbles(w[at / 8u] >> (4u * (at % 8u))).x",
                    ),
                };
                let four = format!("{four} * scales[at / {}u]", block / 4);
                let reads = match input_first {
                    false if self.in_pieces().is_some() => self.start_of_pieces(),
                    false => format!(
                        "fn start_w(row: u32) -> u32 {{ return (row + p[3]) * (p[2] / 4u); }}
fn read_w(start: u32, k: u32) -> vec4<f32> {{\nlet at = start + k;\nreturn {four};\n}}\n"
                    ),
                    true if self.by_columns() => columns(&four),
                    true => {
                        format!("fn code(at: u32) -> f32 {{ return {one}; }}\n")
                            + &down(&|at| format!("code({at}) * scales[({at}) / {block}u]"))
                    }
                };
                words + &reads
            }
        };
        rows("x") + &weight
    }

    fn start_of_pieces(&self) -> String {
        let pieces = self.width.unwrap_or(0) / (4 * self.in_pieces().unwrap_or(1));
        format!("fn start_w(row: u32) -> u32 {{ return (row + p[3]) * {pieces}u; }}\n")
    }

    /// Whether the codebook is in workgroup memory.
    fn has_table(&self) -> bool {
        !matches!(self.form, Form::Strip { .. })
    }

    /// Puts the codebook there, if the weight needs it.
    pub(super) fn fill_table(&self, thread: &str) -> String {
        match self.weight {
            Elements::Fours => fill_table(thread),
            _ => String::new(),
        }
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
}

/// Steps of four elements in a row that is multiplied.
pub(super) const STEPS_OF_FOUR: &str = "(p[2] + 3u) / 4u";

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
