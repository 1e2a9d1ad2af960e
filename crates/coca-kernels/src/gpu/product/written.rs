//! Products as text, for a program that times the ways to divide their work.

use super::form::{Extents, Form};
use super::text::{Elements, Product};
use crate::activation::Activation;
use crate::gpu::program::{PARAMETERS, Program};
use crate::gpu::text::Stored;

/// A kernel by itself.
#[derive(Clone, Debug)]
pub struct Written {
    /// How the work is divided.
    pub name: String,
    /// Whether that is how the product is divided on a GPU.
    pub chosen: bool,
    /// WGSL, with the entry point `main`.
    pub text: String,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Bytes of the buffers at bindings 0, 1, ..: x, the weight and, where it has some, its scales, then normalisation,
    /// bias, residual and the result.
    pub buffers: Vec<usize>,
    /// What the last binding holds.
    pub numbers: Vec<u32>,
}

/// The ways to divide a product on a GPU: `rows` of x in 32 bits by a weight of `bits` (32, 16, 8 or 4) bits, with everything
/// that a block of a transformer fuses to it. None for a width that `bits` do not fit.
pub fn written(
    [rows, width, columns]: [usize; 3],
    bits: u32,
    input_first: bool,
    normalised: bool,
) -> Vec<Written> {
    let weight = match bits {
        16 => Elements::Floats(Stored::F16),
        8 => Elements::Codes { block: 32 },
        4 => Elements::Fours,
        _ => Elements::Floats(Stored::F32),
    };
    if !width.is_multiple_of(32) || !columns.is_multiple_of(32) {
        return vec![];
    }
    let extents = Extents {
        rows,
        columns,
        width,
        at_once: Product::at_once(weight, width),
        input_first,
        normalised,
        codes: bits < 16,
    };
    let chosen = Form::for_hardware(extents);
    let mut forms = Form::candidates(extents);
    if !forms.contains(&chosen) {
        forms.insert(0, chosen);
    }
    forms
        .into_iter()
        .map(|form| {
            let norm = normalised && form.normalises(width);
            let program = Product {
                x: Stored::F32,
                weight,
                y: Stored::F32,
                bias: Some(Stored::F32),
                residual: (!normalised).then_some(Stored::F32),
                activation: normalised.then_some(Activation::Gelu),
                norm: norm.then_some([Stored::F32; 2]),
                input_first,
                width: form.knows_width().then_some(width),
                by_four: true,
                columns_by_four: true,
                form,
            };
            let (block_rows, block_columns) = form.block();
            let weights = width * columns;
            let scales = match bits {
                8 => Some(weights / 8),
                4 => Some(weights / 4),
                _ => None,
            };
            let buffers = [
                Some(4 * rows * width),
                Some(weights * bits as usize / 8),
                scales,
                norm.then_some(4 * width),
                norm.then_some(4 * width),
                Some(4 * columns),
                (!normalised).then_some(4 * rows * columns),
                Some(4 * rows * columns),
            ];
            let mut numbers = vec![
                rows as u32,
                columns as u32,
                width as u32,
                0,
                1e-5f32.to_bits(),
            ];
            numbers.resize(PARAMETERS, 0);
            Written {
                name: format!("{form:?}"),
                chosen: form == chosen,
                text: program.text(),
                groups: [
                    columns.div_ceil(block_columns) as u32,
                    rows.div_ceil(block_rows) as u32,
                    1,
                ],
                buffers: buffers.into_iter().flatten().collect(),
                numbers,
            }
        })
        .collect()
}
