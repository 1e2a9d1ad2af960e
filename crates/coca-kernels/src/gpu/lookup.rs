//! Rows of a quantised table.

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;

use super::layer_norm::grid;
use super::product::Elements;
use super::program::{Program, launch, parameters};
use super::text::{codes, input, nibbles, output};
use super::{contiguous, empty, integers, quantised_anyway};
use crate::quantised::FOUR_BIT_BLOCK;

/// The rows that `ids` `[B, L]` name, `[B, L, width]` in 32 bits; none if the kernel cannot take these tensors. Also while the
/// kernels are switched off: nothing else widens four bits.
pub fn lookup(table: &DispatchTensor, ids: &DispatchTensor) -> Option<CubeTensor> {
    let (values, scales, elements) = quantised_anyway(table)?;
    let ids = contiguous(integers(ids)?);
    let in_word = if elements == Elements::Fours { 8 } else { 4 };
    let fours = values.meta.shape()[1] * in_word / 4;
    let shape: Vec<usize> = ids
        .meta
        .shape()
        .iter()
        .copied()
        .chain([fours * 4])
        .collect();
    let count: usize = ids.meta.shape().iter().product();
    let y = empty(&values, Shape::from(shape), DType::F32);
    if count > 0 {
        let program = Lookup {
            elements,
            signed: ids.dtype == DType::I32,
        };
        let (down, across) = grid(count);
        let groups = [fours.div_ceil(THREADS), across, down];
        launch(
            program,
            groups,
            &[&values, &scales, &ids],
            &[&y],
            &[fours, count],
        );
    }
    Some(y)
}

const THREADS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lookup {
    elements: Elements,
    signed: bool,
}

impl Program for Lookup {
    fn workgroup(&self) -> (u32, u32, u32) {
        (THREADS as u32, 1, 1)
    }

    fn text(&self) -> String {
        let mut text = input(0, "w", "u32");
        text += &input(1, "scales", "f32");
        text += &input(2, "ids", if self.signed { "i32" } else { "u32" });
        text += &output(3, "y", "vec4<f32>");
        text += &parameters(4);
        let (words, four, block) = match self.elements {
            Elements::Codes { block } => (codes().to_string(), "codes(w[at])", block),
            _ => (
                nibbles(false),
                "nibbles(w[at / 2u] >> (16u * (at % 2u)))",
                FOUR_BIT_BLOCK,
            ),
        };
        text += &words;
        text + &format!(
            "@compute @workgroup_size({THREADS}, 1, 1)
fn main(@builtin(global_invocation_id) me: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
let row = me.z * groups.y + me.y;
if (me.x >= p[0] || row >= p[1]) {{ return; }}
let at = u32(ids[row]) * p[0] + me.x;
y[row * p[0] + me.x] = {four} * scales[at / {}u];
}}
",
            block / 4
        )
    }
}
