//! A lane's copy of the model, and the gradients that it collects.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Gradients, Tensor};
use coca_model::Coca;

use crate::train::collective::copied;
use crate::train::config::Precision;
use crate::train::weights::NamedTensors;

/// The same weights on `device` as the leaves of a graph of their own. Those in `frozen` are constants. In mixed
/// precision the factors of matrix products are copies in bfloat16.
pub fn replica(
    model: &Coca,
    device: &Device,
    precision: Precision,
    frozen: &BTreeSet<String>,
) -> Coca {
    model.clone().map(&mut Leaves {
        device,
        precision,
        frozen,
        path: Vec::new(),
    })
}

struct Leaves<'a> {
    device: &'a Device,
    precision: Precision,
    frozen: &'a BTreeSet<String>,
    path: Vec<String>,
}

impl ModuleMapper for Leaves<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let mut value = copied(param.val(), self.device);
        if self.precision == Precision::Bf16 && is_factor(&name, D) {
            value = value.cast(DType::BF16);
        }
        let mut leaf = Tensor::from_inner(value);
        if !self.frozen.contains(&name) {
            leaf = leaf.require_grad();
        }
        Param::initialized(ParamId::new(), leaf)
    }
}

/// Whether a parameter is the matrix of a product, not a table of vectors.
fn is_factor(name: &str, rank: usize) -> bool {
    rank >= 2
        && !["embedding", "cls_emb", "query"]
            .iter()
            .any(|part| name.contains(part))
}

/// Adds a graph's gradients in single precision, under the parameters' names, to those that were found before. A
/// parameter that took no part has none.
pub fn collect(model: &Coca, gradients: &Gradients, found: &mut NamedTensors) {
    model.visit(&mut Collect {
        gradients,
        path: Vec::new(),
        found,
    });
}

struct Collect<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: &'a mut NamedTensors,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let count = gradient.dims().iter().product::<usize>();
            let gradient = gradient.reshape([count]).cast(DType::F32);
            let name = self.path.join(".");
            let sum = match self.found.remove(&name) {
                Some(before) => before + gradient,
                None => gradient,
            };
            self.found.insert(name, sum);
        }
    }
}
