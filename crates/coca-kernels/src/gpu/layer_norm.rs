//! Layer normalisation: mean, variance and result of a row by the threads of one workgroup.

use burn_cubecl::tensor::CubeTensor;

use super::program::{Program, launch, parameters};
use super::text::{Stored, all, header, input, output};
use super::{contiguous, empty, is_software};

/// Normalises the last dimension of `x`, then scales and shifts it by `weight` and `bias`.
pub fn layer_norm(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, epsilon: f32) -> CubeTensor {
    let [x, weight, bias] = [x, weight, bias].map(contiguous);
    let shape = x.meta.shape().clone();
    let width = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().product::<usize>() / width.max(1);
    let y = empty(&x, shape, x.dtype);
    if rows == 0 || width == 0 {
        return y;
    }
    let stored = |tensor: &CubeTensor| Stored::of(tensor.dtype);
    let by_four = width.is_multiple_of(4);
    let program = LayerNorm {
        x: stored(&x),
        weight: stored(&weight),
        bias: stored(&bias),
        by_four,
        threads: if is_software(&x) { 1 } else { 64 },
    };
    let (down, across) = grid(rows.div_ceil(program.rows()));
    let vectors = if by_four { width / 4 } else { width };
    launch(
        program,
        [across, down, 1],
        &[&x, &weight, &bias],
        &[&y],
        &[rows, vectors, epsilon.to_bits() as usize, across],
    );
    y
}

/// So many workgroups, in rows that are no longer than a device allows.
pub fn grid(groups: usize) -> (usize, usize) {
    let down = groups.div_ceil(32_768);
    (down, groups.div_ceil(down))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LayerNorm {
    x: Stored,
    weight: Stored,
    bias: Stored,
    by_four: bool,
    /// That share a row.
    threads: u32,
}

impl LayerNorm {
    /// Rows of a workgroup: where a thread has a row for itself, a few.
    fn rows(&self) -> usize {
        if self.threads == 1 { 4 } else { 1 }
    }
}

impl Program for LayerNorm {
    fn workgroup(&self) -> (u32, u32, u32) {
        (self.threads, self.rows() as u32, 1)
    }

    fn text(&self) -> String {
        let element = |stored: Stored| stored.name(self.by_four);
        let number = element(Stored::F32);
        let (one, threads) = (format!("{number}(1.0)"), self.threads);
        let total = |value: &str| {
            if self.by_four {
                format!("dot({value}, {one})")
            } else {
                value.to_string()
            }
        };
        let mut text = header(&[self.x, self.weight, self.bias]).to_string();
        text += &input(0, "x", element(self.x));
        text += &input(1, "weight", element(self.weight));
        text += &input(2, "bias", element(self.bias));
        text += &output(3, "y", element(self.x));
        text += &parameters(4);
        if threads > 1 {
            text += &all(threads as usize);
        } else {
            text += "fn all(mine: f32, me: u32) -> f32 { return mine; }\n";
        }
        text += &format!(
            "@compute @workgroup_size({threads}, {rows}, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) me: vec3<u32>) {{
let wanted = (group.y * p[3] + group.x) * {rows}u + me.y;
let row = min(wanted, p[0] - 1u);
let start = row * p[1];
var sum = 0.0;
for (var i = me.x; i < p[1]; i += {threads}u) {{ let v = {number}(x[start + i]); sum += {sum}; }}
let count = f32(p[1] * {per}u);
let mean = all(sum, me.x) / count;
var squares = 0.0;
for (var i = me.x; i < p[1]; i += {threads}u) {{ let v = {number}(x[start + i]) - mean; squares += {square}; }}
let factor = inverseSqrt(all(squares, me.x) / count + bitcast<f32>(p[2]));
if (wanted == row) {{
for (var i = me.x; i < p[1]; i += {threads}u) {{
let v = ({number}(x[start + i]) - mean) * factor;
y[start + i] = {stored}(v * {number}(weight[i]) + {number}(bias[i]));
}}
}}
}}
",
            rows = self.rows(),
            sum = total("v"),
            square = if self.by_four { "dot(v, v)" } else { "v * v" },
            per = if self.by_four { 4 } else { 1 },
            stored = element(self.x),
        );
        text
    }
}
