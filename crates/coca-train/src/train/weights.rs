//! A model's weights outside the model: flat, by their names.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use coca_model::Coca;
use coca_model::weights::{StateDict, TensorEntry};

/// Flat tensors by parameter name.
pub type NamedTensors = BTreeMap<String, Tensor<1>>;

/// Every weight; the model keeps its own.
pub fn copies(model: &Coca) -> NamedTensors {
    let mut copies = Copies::default();
    model.visit(&mut copies);
    copies.found
}

/// Takes the named weights out of a model, which is of no use until [`put`] has put their like back in. What is taken
/// out has no other holder, so that it can be changed in place.
pub fn take<'a>(model: &mut Coca, names: impl IntoIterator<Item = &'a String>) -> NamedTensors {
    let mut take = Take {
        path: Vec::new(),
        places: names.into_iter().map(|name| (name.clone(), None)).collect(),
    };
    *model = model.clone().map(&mut take);
    let places = take.places.into_iter();
    places
        .filter_map(|(name, tensor)| Some((name, tensor?)))
        .collect()
}

/// `model` with `weights` in their places.
pub fn put(model: Coca, weights: NamedTensors) -> Coca {
    model.map(&mut Put {
        path: Vec::new(),
        weights,
    })
}

/// The values of tensors, for a checkpoint.
///
/// # Errors
/// The device does not hand them over; `what` says whose they are.
pub fn state<'a>(
    tensors: impl IntoIterator<Item = (String, &'a Tensor<1>)>,
    what: &str,
) -> coca_model::Result<StateDict> {
    let mut state = StateDict::new();
    for (name, tensor) in tensors {
        let values = tensor.clone().into_data().try_into_vec_as::<f32>();
        let values = values
            .map_err(|error| coca_model::Error::Device(format!("reading {what}: {error:?}")))?;
        state.insert(name, TensorEntry::from_f32(vec![values.len()], &values)?);
    }
    Ok(state)
}

/// A tensor of a checkpoint.
///
/// # Errors
/// There is none of that name.
pub fn restored(state: &StateDict, name: &str, device: &Device) -> coca_model::Result<Tensor<1>> {
    let (_, values) = state.get_f32(name)?;
    Ok(Tensor::from_data(
        TensorData::from(values.as_slice()),
        device,
    ))
}

fn flat<const D: usize>(value: Tensor<D>) -> Tensor<1> {
    let count = value.dims().iter().product::<usize>();
    value.reshape([count])
}

#[derive(Default)]
struct Copies {
    path: Vec<String>,
    found: NamedTensors,
}

impl ModuleVisitor for Copies {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join("."), flat(param.val()));
    }
}

struct Take {
    path: Vec<String>,
    places: BTreeMap<String, Option<Tensor<1>>>,
}

impl ModuleMapper for Take {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(place) = self.places.get_mut(&self.path.join(".")) else {
            return param;
        };
        param.map(|value| {
            // Of the same shape, with the memory of one number.
            let held = Tensor::<D>::zeros([1; D], &value.device()).expand(value.dims());
            *place = Some(flat(value));
            held
        })
    }
}

struct Put {
    path: Vec<String>,
    weights: NamedTensors,
}

impl ModuleMapper for Put {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.remove(&self.path.join(".")) {
            Some(weights) => param.map(|value| weights.reshape(value.dims())),
            None => param,
        }
    }
}
