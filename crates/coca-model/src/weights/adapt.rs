//! Making the tensors of a file those a module expects, where they mean the same: what open_clip's loader
//! forgives.

use std::collections::BTreeMap;

use super::state_dict::at;
use super::{Mismatch, StateDict, TensorEntry, resize_grid, resize_sequence};
use crate::{Error, Result};

/// How to load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// Rows and columns of the model's patch grid, for resizing the image encoder's position embedding; none:
    /// a square. The grid of the file is taken to be square, as open_clip does.
    pub grid: Option<(usize, usize)>,
}

/// A state dict made to fit, and what was changed for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapted {
    /// The adapted tensors; what could not be adapted is as it was.
    pub weights: StateDict,
    /// One sentence for each change that alters what the model computes, for the user to read.
    pub notes: Vec<String>,
}

/// Adapts `weights` to the `expected` names and shapes:
/// - attention masks, which some files carry, are dropped;
/// - an attentional pooler's packed `in_proj_weight` is split into `q_proj_weight`, `k_proj_weight` and
///   `v_proj_weight`, or the other way round;
/// - `logit_scale` and `logit_bias` may be scalars or have shape `[1]`, and a missing `logit_bias` is zero;
/// - `visual.positional_embedding` is resized to another image size, `text.positional_embedding` to another
///   context length.
///
/// Nothing else is changed, and nothing is an error but a tensor of integers where one of these steps needs
/// floats.
pub fn adapt(
    weights: &StateDict,
    expected: &BTreeMap<String, Vec<usize>>,
    options: &LoadOptions,
) -> Result<Adapted> {
    let mut adapted = Adapted {
        weights: weights.clone(),
        notes: Vec::new(),
    };
    for (name, _) in weights.iter() {
        if name.ends_with("attn_mask") && !expected.contains_key(name) {
            adapted.weights.remove(name);
        }
    }
    for (name, shape) in expected {
        if let Some(module) = name.strip_suffix(".in_proj_weight") {
            pack(&mut adapted.weights, module).map_err(|error| at(name, error))?;
        } else if let Some(module) = name.strip_suffix(".q_proj_weight") {
            unpack(&mut adapted.weights, module).map_err(|error| at(name, error))?;
        }
        let change = match name.as_str() {
            "logit_scale" | "logit_bias" => logit(&mut adapted.weights, name, shape),
            "visual.positional_embedding" => {
                image_positions(&mut adapted.weights, name, shape, options)
            }
            "text.positional_embedding" => text_positions(&mut adapted.weights, name, shape),
            _ => Ok(None),
        };
        adapted
            .notes
            .extend(change.map_err(|error| at(name, error))?);
    }
    Ok(adapted)
}

/// Compares tensors with `expected` names and shapes. An error lists every difference; tensors that do not
/// hold floats are errors too.
pub(super) fn check(weights: &StateDict, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    let mut mismatch = Mismatch::default();
    for (name, shape) in expected {
        match weights.get(name) {
            None => mismatch.missing.push(name.clone()),
            Some(tensor) if tensor.shape() != shape => {
                mismatch
                    .misshapen
                    .push((name.clone(), shape.clone(), tensor.shape().to_vec()));
            }
            Some(tensor) if !tensor.dtype().is_float() => {
                return Err(at(
                    name,
                    Error::Weights(format!(
                        "a parameter cannot hold {} elements",
                        tensor.dtype()
                    )),
                ));
            }
            Some(_) => {}
        }
    }
    let names = weights.iter().map(|(name, _)| name);
    mismatch.unexpected = names
        .filter(|name| !expected.contains_key(*name))
        .map(String::from)
        .collect();
    if mismatch.is_empty() {
        Ok(())
    } else {
        Err(mismatch.into())
    }
}

/// The three parts of a packed projection, in its order.
const PARTS: [&str; 3] = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];

/// Joins a module's query, key and value projections, when the file has them apart.
fn pack(weights: &mut StateDict, module: &str) -> Result<()> {
    let packed = format!("{module}.in_proj_weight");
    let names = PARTS.map(|part| format!("{module}.{part}"));
    let parts: Option<Vec<&TensorEntry>> = names.iter().map(|name| weights.get(name)).collect();
    if let (None, Some(parts)) = (weights.get(&packed), parts) {
        let joined = TensorEntry::join_rows(&parts)?;
        names.iter().for_each(|name| drop(weights.remove(name)));
        weights.insert(packed, joined);
    }
    Ok(())
}

/// Splits a module's packed projection, when the file has it so.
fn unpack(weights: &mut StateDict, module: &str) -> Result<()> {
    let packed = format!("{module}.in_proj_weight");
    let names = PARTS.map(|part| format!("{module}.{part}"));
    if names.iter().all(|name| weights.get(name).is_none())
        && let Some(tensor) = weights.remove(&packed)
    {
        for (name, part) in names.into_iter().zip(tensor.split_rows(PARTS.len())?) {
            weights.insert(name, part);
        }
    }
    Ok(())
}

/// Gives a scalar the module's shape, and a missing bias the value zero.
fn logit(weights: &mut StateDict, name: &str, shape: &[usize]) -> Result<Option<String>> {
    let elements: usize = shape.iter().product();
    match weights.get(name) {
        Some(tensor)
            if tensor.shape() != shape && tensor.shape().iter().product::<usize>() == elements =>
        {
            let reshaped = tensor.reshaped(shape.to_vec())?;
            weights.insert(name, reshaped);
            Ok(None)
        }
        None if name == "logit_bias" => {
            weights.insert(
                name,
                TensorEntry::from_f32(shape.to_vec(), &vec![0.0; elements])?,
            );
            Ok(Some("the file has no logit_bias; it starts at zero".into()))
        }
        _ => Ok(None),
    }
}

/// Resizes the position embedding [1 + rows * columns, width] of the image encoder; row 0, the class token's,
/// stays.
fn image_positions(
    weights: &mut StateDict,
    name: &str,
    shape: &[usize],
    options: &LoadOptions,
) -> Result<Option<String>> {
    let Some((from, to, width)) = table_sizes(weights, name, shape) else {
        return Ok(None);
    };
    let grid = options
        .grid
        .or_else(|| square(to - 1))
        .filter(|(h, w)| h.checked_mul(*w) == Some(to - 1));
    let (Some(old), Some(new)) = (square(from - 1), grid) else {
        return Ok(None);
    };
    let (_, values) = weights.get_f32(name)?;
    let (class, patches) = values.split_at(width.min(values.len()));
    let mut resized = class.to_vec();
    resized.extend(resize_grid(patches, width, old, new));
    weights.insert(name, TensorEntry::from_f32(shape.to_vec(), &resized)?);
    Ok(Some(format!(
        "{name} was resized from {}x{} to {}x{} patches (bicubic)",
        old.0, old.1, new.0, new.1
    )))
}

/// Resizes the position embedding [positions, width] of the unimodal text decoder.
fn text_positions(weights: &mut StateDict, name: &str, shape: &[usize]) -> Result<Option<String>> {
    let Some((from, to, width)) = table_sizes(weights, name, shape) else {
        return Ok(None);
    };
    let (_, values) = weights.get_f32(name)?;
    let resized = resize_sequence(&values, width, to);
    weights.insert(name, TensorEntry::from_f32(shape.to_vec(), &resized)?);
    Ok(Some(format!(
        "{name} was resized from {from} to {to} positions (linear)"
    )))
}

/// Rows of the file, rows of the module and the common width, when only the rows differ and neither has none.
fn table_sizes(weights: &StateDict, name: &str, shape: &[usize]) -> Option<(usize, usize, usize)> {
    match (weights.get(name)?.shape(), shape) {
        (&[from, old], &[to, width])
            if old == width && width > 0 && from != to && from > 0 && to > 0 =>
        {
            Some((from, to, width))
        }
        _ => None,
    }
}

/// The side of a square of `area`, twice.
fn square(area: usize) -> Option<(usize, usize)> {
    let side = area.isqrt();
    (side > 0 && side * side == area).then_some((side, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict(tensors: &[(&str, &[usize])]) -> StateDict {
        let tensor = |(name, shape): &(&str, &[usize])| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
            (
                name.to_string(),
                TensorEntry::from_f32(shape.to_vec(), &values).unwrap(),
            )
        };
        tensors.iter().map(tensor).collect()
    }

    fn shapes(tensors: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
        tensors
            .iter()
            .map(|(name, shape)| (name.to_string(), shape.to_vec()))
            .collect()
    }

    fn fits(file: &[(&str, &[usize])], module: &[(&str, &[usize])]) -> Adapted {
        let adapted = adapt(&dict(file), &shapes(module), &LoadOptions::default()).unwrap();
        check(&adapted.weights, &shapes(module)).unwrap();
        adapted
    }

    fn mismatch(
        file: &[(&str, &[usize])],
        module: &[(&str, &[usize])],
        options: &LoadOptions,
    ) -> Mismatch {
        let adapted = adapt(&dict(file), &shapes(module), options).unwrap();
        match check(&adapted.weights, &shapes(module)) {
            Err(Error::WeightsMismatch(mismatch)) => mismatch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packed_projection_is_split_and_joined() {
        let packed: &[(&str, &[usize])] = &[("p.attn.in_proj_weight", &[6, 2])];
        let apart: &[(&str, &[usize])] = &[
            ("p.attn.q_proj_weight", &[2, 2]),
            ("p.attn.k_proj_weight", &[2, 2]),
            ("p.attn.v_proj_weight", &[2, 2]),
        ];
        let split = fits(packed, apart).weights;
        assert_eq!(
            split.get_f32("p.attn.k_proj_weight").unwrap().1,
            [4., 5., 6., 7.]
        );
        let joined = adapt(&split, &shapes(packed), &LoadOptions::default())
            .unwrap()
            .weights;
        assert_eq!(joined, dict(packed));
        assert!(fits(packed, packed).notes.is_empty());
        assert!(fits(apart, apart).notes.is_empty());
    }

    #[test]
    fn a_packed_projection_of_another_size_is_still_a_mismatch() {
        let found = mismatch(
            &[("p.in_proj_weight", &[6, 4])],
            &[
                ("p.q_proj_weight", &[2, 2]),
                ("p.k_proj_weight", &[2, 4]),
                ("p.v_proj_weight", &[2, 4]),
            ],
            &LoadOptions::default(),
        );
        assert_eq!(
            found.misshapen,
            [("p.q_proj_weight".to_string(), vec![2, 2], vec![2, 4])]
        );
    }

    #[test]
    fn scalars_take_the_shape_of_the_module_and_a_missing_bias_is_zero() {
        let weights = fits(
            &[("logit_scale", &[])],
            &[("logit_scale", &[1]), ("logit_bias", &[1])],
        )
        .weights;
        assert_eq!(weights.get_f32("logit_bias").unwrap(), (vec![1], vec![0.0]));
        fits(&[("logit_scale", &[1])], &[("logit_scale", &[])]);
        assert_eq!(
            mismatch(&[], &[("logit_scale", &[1])], &LoadOptions::default()).missing,
            ["logit_scale"]
        );
    }

    #[test]
    fn masks_are_dropped_and_other_strangers_listed() {
        let file: &[(&str, &[usize])] = &[
            ("w", &[1]),
            ("text.attn_mask", &[3, 3]),
            ("text_decoder.attn_mask", &[3, 3]),
            ("stranger", &[1]),
        ];
        assert_eq!(
            mismatch(file, &[("w", &[1])], &LoadOptions::default()).unexpected,
            ["stranger"]
        );
    }

    #[test]
    fn positions_are_resized_with_a_note() {
        let adapted = fits(
            &[
                ("visual.positional_embedding", &[5, 2]),
                ("text.positional_embedding", &[4, 3]),
            ],
            &[
                ("visual.positional_embedding", &[10, 2]),
                ("text.positional_embedding", &[6, 3]),
            ],
        );
        assert_eq!(adapted.notes.len(), 2);
        let (_, image) = adapted
            .weights
            .get_f32("visual.positional_embedding")
            .unwrap();
        assert_eq!(image[..2], [0., 1.], "the class token's row is kept");
    }

    #[test]
    fn a_target_grid_need_not_be_square() {
        let file: &[(&str, &[usize])] = &[("visual.positional_embedding", &[5, 2])];
        let module: &[(&str, &[usize])] = &[("visual.positional_embedding", &[7, 2])];
        assert_eq!(
            mismatch(file, module, &LoadOptions::default())
                .misshapen
                .len(),
            1,
            "6 is no square"
        );
        let adapted = adapt(
            &dict(file),
            &shapes(module),
            &LoadOptions { grid: Some((2, 3)) },
        )
        .unwrap();
        check(&adapted.weights, &shapes(module)).unwrap();
        assert!(adapted.notes[0].contains("2x2 to 2x3"));
        assert_eq!(
            mismatch(file, module, &LoadOptions { grid: Some((5, 5)) })
                .misshapen
                .len(),
            1
        );
    }

    #[test]
    fn another_width_and_empty_tables_are_mismatches() {
        for file in [&[5usize, 3][..], &[0, 2], &[5], &[]] {
            let file: &[(&str, &[usize])] = &[("visual.positional_embedding", file)];
            mismatch(
                file,
                &[("visual.positional_embedding", &[10, 2])],
                &LoadOptions::default(),
            );
        }
    }

    #[test]
    fn integers_are_not_parameters() {
        let mut weights = StateDict::new();
        weights.insert(
            "w",
            TensorEntry::new(super::super::Dtype::U8, vec![2], vec![0; 2]).unwrap(),
        );
        let error = check(&weights, &shapes(&[("w", &[2])]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`w`") && error.contains("U8"), "{error}");
    }
}
