//! Rows of a quantised table.

use std::any::Any;

use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;

use super::program::{Program, launch, parameters};
use super::text::{codes, input, output};
use super::{contiguous, empty, quantised};

/// The rows that `ids` `[B, L]` name, `[B, L, width]` in 32 bits; none if the kernels cannot take these tensors.
pub fn lookup(table: &DispatchTensor, ids: &DispatchTensor) -> Option<CubeTensor> {
    let (values, scales, block) = quantised(table)?;
    let DispatchTensorKind::Cube(BackendTensor::Int(ids)) = &ids.kind else {
        return None;
    };
    let ids = (ids as &dyn Any).downcast_ref::<CubeTensor>()?;
    if !matches!(ids.dtype, DType::I32 | DType::U32) {
        return None;
    }
    let ids = contiguous(ids.clone());
    let words = values.meta.shape()[1];
    let shape: Vec<usize> = ids
        .meta
        .shape()
        .iter()
        .copied()
        .chain([words * 4])
        .collect();
    let count: usize = ids.meta.shape().iter().product();
    let y = empty(&values, Shape::from(shape), DType::F32);
    if count > 0 {
        let program = Lookup {
            block,
            signed: ids.dtype == DType::I32,
        };
        let groups = [words.div_ceil(THREADS), count, 1];
        launch(program, groups, &[&values, &scales, &ids], &[&y], &[words]);
    }
    Some(y)
}

const THREADS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lookup {
    block: usize,
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
        text += codes();
        text + &format!(
            "@compute @workgroup_size({THREADS}, 1, 1)
fn main(@builtin(global_invocation_id) me: vec3<u32>) {{
if (me.x >= p[0]) {{ return; }}
let at = u32(ids[me.y]) * p[0] + me.x;
y[me.y * p[0] + me.x] = codes(w[at]) * scales[at / {}u];
}}
",
            self.block / 4
        )
    }
}
