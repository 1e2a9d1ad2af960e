//! A workgroup copies pieces of x and W into its memory, and each thread computes a block from there. While it does, the
//! next pieces are on their way to registers.

use super::form::TILE;
use super::text::Product;
use crate::gpu::text::each;

impl Product {
    /// The entry point: `parts` teams of 8 × 8 threads, each of which takes every `parts`-th piece of `steps` vectors.
    pub(super) fn tile(&self, rows: usize, columns: usize, parts: usize, steps: usize) -> String {
        let team = TILE * TILE;
        let (high, wide) = (rows * TILE, columns * TILE);
        let count = rows * columns;
        // Vectors of x and of W that a thread copies.
        let (of_x, of_w) = (steps * high / team, steps * wide / team);
        // Neighbouring threads copy neighbouring elements.
        let place_w = |n: usize| {
            let at = format!("({}u + thread)", n * team);
            match self.input_first {
                true => (format!("{at} % {wide}u"), format!("{at} / {wide}u")),
                false => (format!("{at} / {steps}u"), format!("{at} % {steps}u")),
            }
        };
        let mut text = format!(
            "var<workgroup> xs: array<vec4<f32>, {}>;
var<workgroup> ws: array<vec4<f32>, {}>;
",
            parts * steps * high,
            parts * steps * wide
        );
        if parts > 1 {
            text += &format!("var<workgroup> sums: array<f32, {}>;\n", count * team);
        }
        text += &format!(
            "@compute @workgroup_size({TILE}, {TILE}, {parts})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>) {{
let thread = me.y * {TILE}u + me.x;
let row = group.y * {high}u;
let column = group.x * {wide}u;
let last_row = p[0] - 1u;
let last_column = p[1] - 1u;
let steps = (p[2] + 3u) / 4u;
let my_xs = me.z * {}u;
let my_ws = me.z * {}u;
{}",
            steps * high,
            steps * wide,
            self.fill_table(&format!("(me.z * {team}u + thread)"))
        );
        text += &each(count, |at| format!("var s{at} = 0.0;\n"));
        text += &each(of_x, |n| {
            let at = format!("({}u + thread)", n * team);
            format!(
                "let row_x{n} = start_x(min(row + {at} / {steps}u, last_row));
let k_x{n} = {at} % {steps}u;
let to_x{n} = my_xs + k_x{n} * {high}u + {at} / {steps}u;
var x_next{n} = vec4<f32>(0.0);\n"
            )
        });
        text += &each(of_w, |n| {
            let (c, k) = place_w(n);
            format!(
                "let row_w{n} = start_w(min(column + {c}, last_column));
let k_w{n} = {k};
let to_w{n} = my_ws + k_w{n} * {wide}u + {c};
var w_next{n} = vec4<f32>(0.0);\n"
            )
        });
        let fetch = |start: &str| {
            let vector = |of: &str, n: usize| {
                format!(
                    "{of}_next{n} = vec4<f32>(0.0);
if ({start} + k_{of}{n} < steps) {{ {of}_next{n} = read_{of}(row_{of}{n}, {start} + k_{of}{n}); }}\n"
                )
            };
            each(of_x, |n| vector("x", n)) + &each(of_w, |n| vector("w", n))
        };
        text += &format!("var start = me.z * {steps}u;\n");
        text += &fetch("start");
        // As many turns for every team: barriers are for all.
        text += &format!(
            "for (var turn = 0u; turn < steps; turn += {}u) {{\n",
            parts * steps
        );
        text += &each(of_x, |n| format!("xs[to_x{n}] = x_next{n};\n"));
        text += &each(of_w, |n| format!("ws[to_w{n}] = w_next{n};\n"));
        text += &format!(
            "workgroupBarrier();\nstart += {}u;\n{}for (var k = 0u; k < {steps}u; k++) {{\n",
            parts * steps,
            fetch("start")
        );
        text += &each(rows, |i| {
            format!(
                "let x{i} = xs[my_xs + k * {high}u + {}u + me.y];\n",
                i * TILE
            )
        });
        text += &each(columns, |j| {
            let sums = each(rows, |i| {
                format!("s{} += dot(x{i}, w{j});\n", i * columns + j)
            });
            format!(
                "let w{j} = ws[my_ws + k * {wide}u + {}u + me.x];\n{sums}",
                j * TILE
            )
        });
        text += "}\nworkgroupBarrier();\n}\n";
        // The first team collects what the others have.
        text += &(1..parts)
            .map(|part| {
                let give = each(count, |at| {
                    format!("sums[{}u + thread] = s{at};\n", at * team)
                });
                let take = each(count, |at| {
                    format!("s{at} += sums[{}u + thread];\n", at * team)
                });
                format!(
                    "if (me.z == {part}u) {{\n{give}}}\nworkgroupBarrier();\nif (me.z == 0u) {{\n{take}}}\nworkgroupBarrier();\n"
                )
            })
            .collect::<String>();
        if parts > 1 {
            text += "if (me.z > 0u) { return; }\n";
        }
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
        text + "}\n"
    }
}
