//! Making the tensors of a file those a module expects, where they mean the same: what open_clip's loader
//! forgives.

use std::collections::BTreeMap;

use super::header::TensorInfo;
use super::state_dict::at;
use super::{Mismatch, StateDict, TensorEntry, resize_grid, resize_sequence};
use crate::Result;

/// How to load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// Rows and columns of the model's patch grid, for resizing the image encoder's position embedding; none:
    /// a square. The grid of the file is taken to be square, as open_clip does.
    pub grid: Option<(usize, usize)>,
    /// Whether matrices stay in the file's 16, 8 or 4 bits (4 in 8 on the CPU) on devices that have kernels for it: less
    /// memory, faster decoding, the same results up to rounding. For inference; what is trained has to be in 32 bits.
    pub keep_dtype: bool,
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
    let mut adapter = Adapter::new(expected.clone(), options.clone());
    let mut adapted = StateDict::new();
    for (name, tensor) in weights.iter() {
        for (name, tensor) in adapter.push(name, tensor.clone())? {
            adapted.insert(name, tensor);
        }
    }
    let (rest, notes) = adapter.finish()?;
    for (name, tensor) in rest {
        adapted.insert(name, tensor);
    }
    Ok(Adapted {
        weights: adapted,
        notes,
    })
}

/// A tensor and its name.
type Named = (String, TensorEntry);

/// [`adapt`] for tensors that come one at a time.
#[derive(Debug)]
pub(super) struct Adapter {
    expected: BTreeMap<String, Vec<usize>>,
    options: LoadOptions,
    /// Projections that wait for the two they are packed with.
    parts: StateDict,
    notes: Vec<String>,
    bias: bool,
}

impl Adapter {
    pub(super) fn new(expected: BTreeMap<String, Vec<usize>>, options: LoadOptions) -> Self {
        Self {
            expected,
            options,
            parts: StateDict::new(),
            notes: Vec::new(),
            bias: false,
        }
    }

    /// The tensors that a tensor of the file makes, if any yet; what has no place in the module is as it was.
    pub(super) fn push(&mut self, name: &str, tensor: TensorEntry) -> Result<Vec<Named>> {
        if let Some(shape) = self.expected.get(name) {
            self.bias |= name == "logit_bias";
            let change =
                change(&tensor, name, shape, &self.options).map_err(|error| at(name, error))?;
            let (tensor, note) = change.unwrap_or((tensor, None));
            self.notes.extend(note);
            return Ok(vec![(name.to_string(), tensor)]);
        }
        if name.ends_with("attn_mask") {
            return Ok(Vec::new());
        }
        if let Some(module) = name.strip_suffix(".in_proj_weight")
            && self
                .expected
                .contains_key(&format!("{module}.{}", PARTS[0]))
        {
            let rows = tensor
                .split_rows(PARTS.len())
                .map_err(|error| at(name, error))?;
            let names = PARTS.map(|part| format!("{module}.{part}"));
            return Ok(names.into_iter().zip(rows).collect());
        }
        if let Some(module) = module_of_part(name)
            && self
                .expected
                .contains_key(&format!("{module}.in_proj_weight"))
        {
            self.parts.insert(name, tensor);
            return self.join(module);
        }
        Ok(vec![(name.to_string(), tensor)])
    }

    /// The packed projection of a module, once all of its parts are there.
    fn join(&mut self, module: &str) -> Result<Vec<Named>> {
        let names = PARTS.map(|part| format!("{module}.{part}"));
        let parts: Option<Vec<_>> = names.iter().map(|name| self.parts.get(name)).collect();
        let Some(parts) = parts else {
            return Ok(Vec::new());
        };
        let packed = format!("{module}.in_proj_weight");
        let joined = TensorEntry::join_rows(&parts).map_err(|error| at(&packed, error))?;
        names.iter().for_each(|name| drop(self.parts.remove(name)));
        Ok(vec![(packed, joined)])
    }

    /// What the file did not have or did not complete, and one sentence for each change that alters what the
    /// model computes.
    pub(super) fn finish(mut self) -> Result<(Vec<Named>, Vec<String>)> {
        let mut rest: Vec<_> = self
            .parts
            .iter()
            .map(|(name, tensor)| (name.to_string(), tensor.clone()))
            .collect();
        if let Some(shape) = self.expected.get("logit_bias").filter(|_| !self.bias) {
            let zeros = vec![0.0; shape.iter().product()];
            let zeros = TensorEntry::from_f32(shape.clone(), &zeros)?;
            rest.push(("logit_bias".to_string(), zeros));
            self.notes
                .push("the file has no logit_bias; it starts at zero".into());
        }
        Ok((rest, self.notes))
    }

    /// Compares what a file says it holds with what the module has a place for. Sizes that [`Adapter::push`]
    /// may change are not looked at.
    pub(super) fn check_header(&self, tensors: &[TensorInfo]) -> Result<()> {
        let mut mismatch = Mismatch::default();
        for TensorInfo { name, shape, .. } in tensors {
            let adapted = name.ends_with("attn_mask")
                || name.ends_with(".in_proj_weight")
                || module_of_part(name).is_some();
            match self.expected.get(name) {
                Some(_) if name.starts_with("logit_") || name.ends_with("positional_embedding") => {
                }
                Some(expected) if expected != shape => {
                    let difference = (name.clone(), expected.clone(), shape.clone());
                    mismatch.misshapen.push(difference);
                }
                None if !adapted => mismatch.unexpected.push(name.clone()),
                _ => {}
            }
        }
        mismatch.into_result()
    }
}

/// What a tensor that the module expects has to become, and what to say about it.
type Change = Option<(TensorEntry, Option<String>)>;

fn change(
    tensor: &TensorEntry,
    name: &str,
    shape: &[usize],
    options: &LoadOptions,
) -> Result<Change> {
    match name {
        "logit_scale" | "logit_bias" => logit(tensor, shape),
        "visual.positional_embedding" => image_positions(tensor, name, shape, options),
        "text.positional_embedding" => text_positions(tensor, name, shape),
        _ => Ok(None),
    }
}

/// The module that has a query, key or value projection of this name.
fn module_of_part(name: &str) -> Option<&str> {
    let (module, part) = name.rsplit_once('.')?;
    PARTS.contains(&part).then_some(module)
}

/// The three parts of a packed projection, in its order.
const PARTS: [&str; 3] = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];

/// Gives a scalar the module's shape.
fn logit(tensor: &TensorEntry, shape: &[usize]) -> Result<Change> {
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    if tensor.shape() == shape || elements(tensor.shape()) != elements(shape) {
        return Ok(None);
    }
    Ok(Some((tensor.reshaped(shape.to_vec())?, None)))
}

/// Resizes the position embedding [1 + rows * columns, width] of the image encoder; row 0, the class token's,
/// stays.
fn image_positions(
    tensor: &TensorEntry,
    name: &str,
    shape: &[usize],
    options: &LoadOptions,
) -> Result<Change> {
    let Some((from, to, width)) = table_sizes(tensor, shape) else {
        return Ok(None);
    };
    let grid = options
        .grid
        .or_else(|| square(to - 1))
        .filter(|(h, w)| h.checked_mul(*w) == Some(to - 1));
    let (Some(old), Some(new)) = (square(from - 1), grid) else {
        return Ok(None);
    };
    let values = tensor.to_f32()?;
    let (class, patches) = values.split_at(width.min(values.len()));
    let mut resized = class.to_vec();
    resized.extend(resize_grid(patches, width, old, new));
    let note = format!(
        "{name} was resized from {}x{} to {}x{} patches (bicubic)",
        old.0, old.1, new.0, new.1
    );
    let resized = TensorEntry::from_f32(shape.to_vec(), &resized)?;
    Ok(Some((resized, Some(note))))
}

/// Resizes the position embedding [positions, width] of the unimodal text decoder.
fn text_positions(tensor: &TensorEntry, name: &str, shape: &[usize]) -> Result<Change> {
    let Some((from, to, width)) = table_sizes(tensor, shape) else {
        return Ok(None);
    };
    let resized = resize_sequence(&tensor.to_f32()?, width, to);
    let note = format!("{name} was resized from {from} to {to} positions (linear)");
    let resized = TensorEntry::from_f32(shape.to_vec(), &resized)?;
    Ok(Some((resized, Some(note))))
}

/// Rows of the file, rows of the module and the common width, when only the rows differ and neither has none.
fn table_sizes(tensor: &TensorEntry, shape: &[usize]) -> Option<(usize, usize, usize)> {
    match (tensor.shape(), shape) {
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
    use crate::Error;

    fn check(weights: &StateDict, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        let mut mismatch = Mismatch::default();
        for (name, tensor) in weights.iter() {
            mismatch.compare(name, tensor, expected)?;
        }
        let names = expected.keys().filter(|name| weights.get(name).is_none());
        mismatch.missing = names.cloned().collect();
        mismatch.into_result()
    }

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
            &LoadOptions {
                grid: Some((2, 3)),
                ..LoadOptions::default()
            },
        )
        .unwrap();
        check(&adapted.weights, &shapes(module)).unwrap();
        assert!(adapted.notes[0].contains("2x2 to 2x3"));
        assert_eq!(
            mismatch(
                file,
                module,
                &LoadOptions {
                    grid: Some((5, 5)),
                    ..LoadOptions::default()
                }
            )
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
    fn a_header_is_compared_before_its_tensors() {
        let info = |name: &str, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype: super::super::Dtype::F32,
            shape: shape.to_vec(),
        };
        let module: &[(&str, &[usize])] = &[("w", &[2]), ("visual.positional_embedding", &[5, 2])];
        let adapter = Adapter::new(shapes(module), LoadOptions::default());
        let fine = [
            info("w", &[2]),
            info("visual.positional_embedding", &[10, 2]),
            info("a.attn_mask", &[1]),
        ];
        adapter.check_header(&fine).unwrap();
        match adapter.check_header(&[info("w", &[3]), info("stranger", &[1])]) {
            Err(Error::WeightsMismatch(found)) => {
                assert_eq!(found.unexpected, ["stranger"]);
                assert_eq!(found.misshapen, [("w".to_string(), vec![2], vec![3])]);
            }
            other => panic!("{other:?}"),
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
