//! A thread has a block of the result in registers and reads rows of x and W directly.

use super::text::{Product, STEPS_OF_FOUR};
use crate::gpu::text::each;

impl Product {
    /// The entry point: `blocks` blocks of `rows` × `columns` a workgroup, beside each other.
    pub(super) fn strip(&self, rows: usize, columns: usize, blocks: usize) -> String {
        let width = columns * blocks;
        let mut text = format!(
            "@compute @workgroup_size(1, {blocks}, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>) {{
let row = group.y * {rows}u;
let column = group.x * {width}u + me.y * {columns}u;
let last_row = p[0] - 1u;
let last_column = p[1] - 1u;
if (column > last_column) {{ return; }}
"
        );
        text += &each(rows, |i| {
            format!("let r{i} = start_x(min(row + {i}u, last_row));\n")
        });
        text += &self.statistics(rows);
        text += &each(rows * columns, |at| format!("var s{at} = 0.0;\n"));
        text += &if self.by_columns() {
            self.sums_of_columns(rows, columns)
        } else {
            self.sums_of_dots(rows, columns)
        };
        text += &each(rows, |i| {
            let cells = if self.wide() {
                each(columns / 4, |j| {
                    let s = |c: usize| i * columns + 4 * j + c;
                    format!(
                        "if (column + {at}u <= last_column) {{ finish(row + {i}u, column + {at}u, vec4<f32>(s{}, s{}, s{}, s{})); }}\n",
                        s(0),
                        s(1),
                        s(2),
                        s(3),
                        at = 4 * j,
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
        text + "}\n"
    }

    /// `mean{i}` and `factor{i}` of each row of x, as the layer norm has them.
    fn statistics(&self, rows: usize) -> String {
        if self.norm.is_none() {
            return String::new();
        }
        let over_row = |each_row: &dyn Fn(usize) -> String| {
            format!(
                "for (var k = 0u; k < {STEPS_OF_FOUR}; k++) {{\n{}}}\n",
                each(rows, each_row)
            )
        };
        let mut text = each(rows, |i| {
            format!("var mean{i} = 0.0;\nvar factor{i} = 0.0;\n")
        });
        text += &over_row(&|i| format!("mean{i} += dot(read_x(r{i}, k), vec4<f32>(1.0));\n"));
        text += &each(rows, |i| format!("mean{i} /= f32(p[2]);\n"));
        text += &over_row(&|i| {
            format!("let d{i} = read_x(r{i}, k) - mean{i};\nfactor{i} += dot(d{i}, d{i});\n")
        });
        text + &each(rows, |i| {
            format!("factor{i} = inverseSqrt(factor{i} / f32(p[2]) + bitcast<f32>(p[4]));\n")
        })
    }

    /// s[row][column] += x[row] W, for rows and columns that are read along what is summed.
    fn sums_of_dots(&self, rows: usize, columns: usize) -> String {
        let mut text = each(columns, |j| {
            format!("let c{j} = start_w(min(column + {j}u, last_column));\n")
        });
        text += &format!("for (var k = 0u; k < {STEPS_OF_FOUR}; k++) {{\n");
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

    /// s[row][column] += x[row] W, for a weight that is read by columns.
    fn sums_of_columns(&self, rows: usize, columns: usize) -> String {
        let fours = columns / 4;
        let mut text = self.starts_of_columns(fours);
        text += &each(rows * fours, |at| format!("var v{at} = vec4<f32>(0.0);\n"));
        text += &format!("for (var k = 0u; k < {STEPS_OF_FOUR}; k++) {{\n");
        text += &self.read_rows(rows);
        text += &self.four_steps_of_columns(rows, fours, "k", "x");
        text += "}\n";
        text + &each(rows * columns, |at| {
            format!("s{at} = v{}[{}];\n", at / 4, at % 4)
        })
    }

    /// `c{j}`: where four columns begin.
    pub(super) fn starts_of_columns(&self, fours: usize) -> String {
        each(fours, |j| {
            format!(
                "let c{j} = start_w(min(column + {}u, last_column - 3u));\n",
                4 * j
            )
        })
    }

    /// v[row][j] += `x`[row] W of four steps, from 4`k`.
    pub(super) fn four_steps_of_columns(
        &self,
        rows: usize,
        fours: usize,
        k: &str,
        x: &str,
    ) -> String {
        each(4, |step| {
            let sums = each(fours, |j| {
                let sums = each(rows, |i| {
                    format!("v{} += {x}{i}[{step}] * w{j};\n", i * fours + j)
                });
                format!("let w{j} = columns_w(c{j}, 4u * {k} + {step}u);\n{sums}")
            });
            // Behind the end x is 0, and the weight may be anything.
            let inside = match self.by_four {
                true => String::new(),
                false => format!("if (4u * {k} + {step}u < p[2]) "),
            };
            format!("{inside}{{\n{sums}}}\n")
        })
    }
}
