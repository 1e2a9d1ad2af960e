//! Weights into and out of a burn module whose parameter paths are open_clip's names.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use coca_kernels::{bits_of, keeps_four_bits, keeps_halves, keeps_quantised};

use super::adapt::Adapter;
use super::header::TensorInfo;
use super::reader::TensorSink;
use super::state_dict::at;
use super::{Dtype, LoadOptions, Mismatch, StateDict, TensorEntry};
use crate::{Error, Result};

/// Names and shapes of a module's floating-point parameters; nothing is initialised for it.
pub fn expected<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// Puts `weights` into a module: [`adapt`](super::adapt())ed, compared in names and shapes, converted to the
/// float type of the module's device. Devices, gradient settings and parameter ids stay.
///
/// # Errors
/// [`Error::WeightsMismatch`] if a tensor is missing, has no place or another shape; nothing is loaded then.
pub fn load<M: Module>(module: M, weights: &StateDict, options: &LoadOptions) -> Result<M> {
    let mut loader = Loader::new(module, options);
    for (name, tensor) in weights.iter() {
        loader.tensor(name, tensor.clone())?;
    }
    Ok(loader.finish()?.0)
}

/// [`load`] for tensors that come one at a time, in any order: each goes to the device at once, and is in memory
/// only until then.
#[derive(Debug)]
pub struct Loader<M> {
    module: M,
    device: Option<Device>,
    expected: BTreeMap<String, Vec<usize>>,
    adapter: Adapter,
    /// Larger tensors go to the device in parts of about so many elements.
    part: usize,
    keep_dtype: bool,
    placed: BTreeMap<String, Placed>,
    mismatch: Mismatch,
}

/// A tensor on the device.
#[derive(Debug)]
enum Placed {
    Flat(Tensor<1>),
    Matrix(Tensor<2>),
}

impl<M: Module> Loader<M> {
    /// A loader of a module's parameters. What the module holds now is never computed if it has not been used.
    pub fn new(module: M, options: &LoadOptions) -> Self {
        let mut shapes = Shapes::default();
        module.visit(&mut shapes);
        Self {
            module,
            device: shapes.device,
            adapter: Adapter::new(shapes.found.clone(), options.clone()),
            expected: shapes.found,
            part: usize::MAX,
            keep_dtype: options.keep_dtype,
            placed: BTreeMap::new(),
            mismatch: Mismatch::default(),
        }
    }

    /// The same loader, which converts a tensor of more than about `elements` to f32 in parts, so that no more than
    /// a part is in the host's memory. The device joins them, for which it has room for the largest tensor twice.
    pub fn in_parts(mut self, elements: usize) -> Self {
        self.part = elements;
        self
    }

    /// The module with its weights, and one sentence for each change that alters what it computes.
    ///
    /// # Errors
    /// [`Error::WeightsMismatch`] with every tensor that is missing, had no place or another shape.
    pub fn finish(mut self) -> Result<(M, Vec<String>)> {
        let adapter = std::mem::replace(
            &mut self.adapter,
            Adapter::new(BTreeMap::new(), LoadOptions::default()),
        );
        let (rest, notes) = adapter.finish()?;
        for (name, tensor) in rest {
            self.place(&name, tensor)?;
        }
        let missing = self
            .expected
            .keys()
            .filter(|name| !self.placed.contains_key(*name));
        let misshapen = &self.mismatch.misshapen;
        self.mismatch.missing = missing
            .filter(|name| !misshapen.iter().any(|(other, ..)| other == *name))
            .cloned()
            .collect();
        self.mismatch.into_result()?;
        let mut placer = Placer {
            path: Path::default(),
            placed: self.placed,
        };
        Ok((self.module.map(&mut placer), notes))
    }

    fn place(&mut self, name: &str, tensor: TensorEntry) -> Result<()> {
        if !self.mismatch.compare(name, &tensor, &self.expected)? {
            return Ok(());
        }
        let Some(device) = &self.device else {
            return Ok(());
        };
        let placed = self.on(device, name, tensor);
        let placed = placed.map_err(|error| at(name, error))?;
        match self.placed.insert(name.to_string(), placed) {
            None => Ok(()),
            Some(_) => Err(Error::Weights(format!(
                "tensor `{name}` is in two shards; the shards are not of one model"
            ))),
        }
    }
}

impl<M: Module> Loader<M> {
    fn on(&self, device: &Device, name: &str, tensor: TensorEntry) -> Result<Placed> {
        let large = tensor.shape().iter().product::<usize>() > self.part;
        let part = if large { self.part } else { usize::MAX };
        if self.keep_dtype
            && is_factor(name)
            && let &[rows, columns] = tensor.shape()
        {
            if tensor.has_codes() && keeps_quantised(device) {
                let matrix = tensor.into_matrix(keeps_four_bits(device))?;
                return Ok(Placed::Matrix(matrix.on([rows, columns], device)?));
            }
            if tensor.dtype() == Dtype::F16 && rows * columns > 0 && keeps_halves(device) {
                let flat = in_parts(&tensor, part, device, Dtype::F16)?;
                return Ok(Placed::Matrix(flat.reshape([rows, columns])));
            }
        }
        Ok(Placed::Flat(match large {
            true => in_parts(&tensor, part, device, Dtype::F32)?,
            false => flat(tensor.to_f32()?, device),
        }))
    }
}

/// Whether a matrix is a factor of products or a table of words, not something to be added.
fn is_factor(name: &str) -> bool {
    !name.ends_with("positional_embedding") && !name.ends_with("query")
}

impl<M: Module> TensorSink for Loader<M> {
    /// Refuses a file with tensors that have no place or another shape, before their bytes are read.
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
        self.adapter.check_header(tensors)
    }

    fn tensor(&mut self, name: &str, tensor: TensorEntry) -> Result<()> {
        for (name, tensor) in self.adapter.push(name, tensor)? {
            self.place(&name, tensor)?;
        }
        Ok(())
    }
}

/// Values on the device, which has no use for the host's copy any more.
fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let length = values.len();
    device.memory_persistent_allocations(TensorData::new(values, [length]), |data| {
        Tensor::<1>::from_data(data, device)
    })
}

/// The elements of a tensor on the device, in parts of about `elements`, as F32 or as the F16 that they are.
fn in_parts(
    tensor: &TensorEntry,
    elements: usize,
    device: &Device,
    dtype: Dtype,
) -> Result<Tensor<1>> {
    let rows = tensor.shape().first().copied().unwrap_or(1);
    let columns: usize = tensor.shape().iter().skip(1).product();
    let step = (elements / columns.max(1)).max(1);
    let parts = (0..rows).step_by(step).map(|row| {
        let rows = row..rows.min(row.saturating_add(step));
        let length = rows.len() * columns;
        let data = match dtype {
            Dtype::F16 => {
                let bytes = tensor
                    .bytes()
                    .get(2 * rows.start * columns..2 * rows.end * columns);
                let bytes = bytes.unwrap_or_default().to_vec();
                TensorData::from_bytes_vec(bytes, [length], DType::F16)
            }
            _ => TensorData::new(tensor.rows_to_f32(rows)?, [length]),
        };
        let dtype = data.dtype();
        Ok(Tensor::<1>::from_data(data, (device, dtype)))
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(device.memory_persistent_allocations(parts, |parts| Tensor::cat(parts, 0)))
}

/// The type of a module's matrices in memory: what most of it is in. [Q8](Dtype::Q8) or [Q4](Dtype::Q4) where some [stayed
/// quantised](LoadOptions::keep_dtype).
pub fn dtype_in_memory<M: Module>(module: &M) -> Dtype {
    struct Smallest(Dtype);
    impl ModuleVisitor for Smallest {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let dtype = param.val().dtype();
            match dtype {
                DType::QFloat(_) if bits_of(dtype) == Some(4) => self.0 = Dtype::Q4,
                DType::QFloat(_) if self.0 != Dtype::Q4 => self.0 = Dtype::Q8,
                DType::F16 if self.0 == Dtype::F32 => self.0 = Dtype::F16,
                _ => {}
            }
        }
    }
    let mut smallest = Smallest(Dtype::F32);
    module.visit(&mut smallest);
    smallest.0
}

/// Takes the weights out of a module, as f32. `logit_scale` and `logit_bias` become scalars, as open_clip has
/// them.
///
/// Reading back is asynchronous because a browser cannot wait for its GPU.
pub async fn save<M: Module>(module: &M) -> Result<StateDict> {
    let mut saver = Saver::default();
    module.visit(&mut saver);
    let mut weights = StateDict::new();
    for (name, shape, tensor) in saver.found {
        let read = |error: String| Error::Device(format!("reading `{name}` back: {error}"));
        let data = tensor
            .into_data_async()
            .await
            .map_err(|error| read(error.to_string()))?;
        let values: Vec<f32> = data
            .try_into_vec_as()
            .map_err(|error| read(error.to_string()))?;
        let scalar = matches!(name.as_str(), "logit_scale" | "logit_bias") && values.len() == 1;
        let shape = if scalar { Vec::new() } else { shape };
        weights.insert(name, TensorEntry::from_f32(shape, &values)?);
    }
    Ok(weights)
}

/// Where a traversal of a module is.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Shapes {
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
    /// The device of a module, which is one.
    device: Option<Device>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found
            .insert(self.path.name(), param.lazy_shape().to_vec());
        self.device.get_or_insert_with(|| param.lazy_device());
    }
}

struct Placer {
    path: Path,
    placed: BTreeMap<String, Placed>,
}

impl ModuleMapper for Placer {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Every parameter was found in the same walk before.
        let Some(placed) = self.placed.remove(&self.path.name()) else {
            return param;
        };
        let (shape, id) = (param.lazy_shape(), param.id);
        let tensor = match placed {
            Placed::Flat(tensor) => tensor.reshape(shape.dims::<D>()),
            // Only matrices are kept so: D is 2.
            Placed::Matrix(matrix) => Tensor::from_dispatch(matrix.into_dispatch()),
        };
        param.transform_for_load(tensor, id)
    }
}

#[derive(Default)]
struct Saver {
    path: Path,
    /// Name, shape, elements.
    found: Vec<(String, Vec<usize>, Tensor<1>)>,
}

impl ModuleVisitor for Saver {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut tensor = param.val().without_autodiff();
        match tensor.dtype() {
            DType::QFloat(_) => tensor = tensor.dequantize(),
            DType::F16 => tensor = tensor.cast(DType::F32),
            _ => {}
        }
        self.found.push((
            self.path.name(),
            tensor.dims().to_vec(),
            tensor.reshape([-1]),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Layer {
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
    }

    #[derive(Module, Debug)]
    struct Tower {
        resblocks: Vec<Layer>,
        class_embedding: Param<Tensor<1>>,
    }

    #[derive(Module, Debug)]
    struct Model {
        logit_scale: Param<Tensor<1>>,
        visual: Tower,
    }

    fn model(fill: f32, device: &Device) -> Model {
        let layer = |bias: bool| Layer {
            weight: Param::from_tensor(Tensor::full([2, 3], fill, device)),
            bias: bias.then(|| Param::from_tensor(Tensor::full([2], fill, device))),
        };
        Model {
            logit_scale: Param::from_tensor(Tensor::full([1], fill, device)),
            visual: Tower {
                resblocks: vec![layer(true), layer(false)],
                class_embedding: Param::from_tensor(Tensor::full([4], fill, device)),
            },
        }
    }

    const NAMES: [&str; 5] = [
        "logit_scale",
        "visual.class_embedding",
        "visual.resblocks.0.bias",
        "visual.resblocks.0.weight",
        "visual.resblocks.1.weight",
    ];

    /// Weights of [`model`] that are all different.
    fn weights() -> StateDict {
        let shapes: [&[usize]; 5] = [&[], &[4], &[2], &[2, 3], &[2, 3]];
        let tensor = |(i, shape): (usize, &[usize])| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|j| (10 * i + j) as f32)
                .collect();
            (
                NAMES[i].to_string(),
                TensorEntry::from_f32(shape.to_vec(), &values).unwrap(),
            )
        };
        shapes.into_iter().enumerate().map(tensor).collect()
    }

    fn saved(model: &Model) -> StateDict {
        pollster::block_on(save(model)).unwrap()
    }

    #[test]
    fn paths_are_names() {
        let model = model(0.0, &Device::flex());
        let shapes = expected(&model);
        assert_eq!(shapes.keys().map(String::as_str).collect::<Vec<_>>(), NAMES);
        assert_eq!(shapes["visual.resblocks.1.weight"], [2, 3]);
        assert_eq!(shapes["logit_scale"], [1]);
    }

    #[test]
    fn what_is_loaded_is_saved_again() {
        let loaded = load(
            model(0.0, &Device::flex()),
            &weights(),
            &LoadOptions::default(),
        )
        .unwrap();
        assert_eq!(saved(&loaded), weights());
        let row = loaded.visual.resblocks[0]
            .weight
            .val()
            .slice([1..2, 0..3])
            .into_data();
        assert_eq!(
            row.try_into_vec_as::<f32>().unwrap(),
            [33., 34., 35.],
            "the layout is the file's"
        );
    }

    #[test]
    fn half_precision_files_load_as_the_floats_of_the_device() {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F64] {
            let file = weights().to_dtype(dtype).unwrap();
            let loaded = load(model(0.0, &Device::flex()), &file, &LoadOptions::default()).unwrap();
            assert_eq!(
                saved(&loaded),
                weights(),
                "{dtype}: small integers are exact"
            );
        }
    }

    #[test]
    fn a_training_module_stays_one() {
        let before = model(0.0, &Device::flex().autodiff());
        let id = before.visual.class_embedding.id;
        let loaded = load(before, &weights(), &LoadOptions::default()).unwrap();
        assert_eq!(
            loaded.visual.class_embedding.id, id,
            "the optimizer's state is kept by id"
        );
        assert!(loaded.visual.class_embedding.val().is_require_grad());
        let x = loaded.visual.class_embedding.val();
        let gradients = (x.clone() * x.clone()).sum().backward();
        let gradient = x
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_into_vec_as::<f32>()
            .unwrap();
        assert_eq!(gradient, [20., 22., 24., 26.]);
        assert_eq!(saved(&loaded), weights());
    }

    #[test]
    fn every_difference_is_reported_at_once() {
        let mut file = weights();
        file.remove("visual.class_embedding");
        file.insert("stranger", TensorEntry::from_f32(vec![1], &[0.0]).unwrap());
        file.insert(
            "visual.resblocks.0.weight",
            TensorEntry::from_f32(vec![3, 2], &[0.0; 6]).unwrap(),
        );
        let error = load(model(0.0, &Device::flex()), &file, &LoadOptions::default()).unwrap_err();
        let Error::WeightsMismatch(found) = error else {
            panic!("{error}")
        };
        assert_eq!(
            found,
            Mismatch {
                missing: vec!["visual.class_embedding".into()],
                unexpected: vec!["stranger".into()],
                misshapen: vec![("visual.resblocks.0.weight".into(), vec![2, 3], vec![3, 2])],
            }
        );
    }
}
