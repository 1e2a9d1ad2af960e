//! The largest numbers of each row and the sum of all exponentials: a workgroup a row.

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;

use super::program::{Program, launch, parameters};
use super::text::{Stored, header, input, output};
use super::{contiguous, empty, floats, is_software};

/// For each row of `[rows, width]` what [`Largest`](crate::Largest) has, `[rows, 2 + 2 count]`: ln Σ e^x and whether there is
/// something that is no number, then the places and the numbers; floats by their bits. None where it does not pay or the
/// kernel cannot take the tensor.
pub fn largest(x: &DispatchTensor, count: usize) -> Option<CubeTensor> {
    let [x] = floats([x])?;
    if is_software(&x) {
        return None;
    }
    let x = contiguous(x);
    let (rows, width) = (x.meta.shape()[0], x.meta.shape()[1]);
    let y = empty(&x, Shape::from(vec![rows, 2 + 2 * count]), DType::I32);
    if rows > 0 {
        let program = LargestOfRows {
            x: Stored::of(x.dtype),
        };
        launch(program, [rows, 1, 1], &[&x], &[&y], &[width, count]);
    }
    Some(y)
}

const THREADS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LargestOfRows {
    x: Stored,
}

impl Program for LargestOfRows {
    fn workgroup(&self) -> (u32, u32, u32) {
        (THREADS as u32, 1, 1)
    }

    fn text(&self) -> String {
        let mut text = header(&[self.x]).to_string();
        text += &input(0, "x", self.x.name(false));
        text += &output(1, "y", "i32");
        text += &parameters(2);
        // In each turn the largest of those behind the last one found, where of equal ones the first comes first.
        text + &format!(
            "var<workgroup> numbers: array<f32, {THREADS}>;
var<workgroup> places: array<u32, {THREADS}>;
var<workgroup> spoilt: atomic<u32>;
@compute @workgroup_size({THREADS}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {{
let start = group.x * p[0];
let to = group.x * (2u + 2u * p[1]);
if (me == 0u) {{ atomicStore(&spoilt, 0u); }}
workgroupBarrier();
var last = 3.4e38;
var last_place = 0u;
var first = 0.0;
for (var turn = 0u; turn < p[1]; turn++) {{
var best = -3.4e38;
var place = 0xffffffffu;
for (var i = me; i < p[0]; i += {THREADS}u) {{
let v = f32(x[start + i]);
if ((bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u) {{ atomicOr(&spoilt, 1u); }}
let behind = turn == 0u || v < last || (v == last && i > last_place);
if (behind && (v > best || place == 0xffffffffu)) {{
best = v;
place = i;
}}
}}
numbers[me] = best;
places[me] = place;
workgroupBarrier();
for (var half = {half}u; half > 0u; half /= 2u) {{
if (me < half) {{
let other = numbers[me + half];
let other_place = places[me + half];
if (other_place != 0xffffffffu && (places[me] == 0xffffffffu || other > numbers[me] || (other == numbers[me] && other_place < places[me]))) {{
numbers[me] = other;
places[me] = other_place;
}}
}}
workgroupBarrier();
}}
last = numbers[0];
last_place = places[0];
if (turn == 0u) {{ first = last; }}
if (me == 0u) {{
y[to + 2u + 2u * turn] = i32(last_place);
y[to + 3u + 2u * turn] = bitcast<i32>(last);
}}
workgroupBarrier();
}}
var sum = 0.0;
for (var i = me; i < p[0]; i += {THREADS}u) {{ sum += exp(f32(x[start + i]) - first); }}
numbers[me] = sum;
workgroupBarrier();
for (var half = {half}u; half > 0u; half /= 2u) {{
if (me < half) {{ numbers[me] += numbers[me + half]; }}
workgroupBarrier();
}}
if (me == 0u) {{
y[to] = bitcast<i32>(first + log(numbers[0]));
y[to + 1u] = i32(atomicLoad(&spoilt));
}}
}}
",
            half = THREADS / 2
        )
    }
}
