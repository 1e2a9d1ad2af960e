//! Initial values, drawn when a parameter is first used: a model that is loaded right after never draws them.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor};

/// A parameter drawn from N(0, std²).
pub(crate) fn normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::random(shape, Distribution::Normal(0.0, std), device)
    })
}

/// A parameter drawn from U(-bound, bound).
pub(crate) fn uniform<const D: usize>(
    shape: [usize; D],
    bound: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::random(shape, Distribution::Uniform(-bound, bound), device)
    })
}

/// A parameter that starts as one value everywhere.
pub(crate) fn constant<const D: usize>(
    shape: [usize; D],
    value: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::full(shape, value, device)
    })
}

fn lazy<const D: usize>(
    shape: [usize; D],
    device: &Device,
    init: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let tensor = init(device);
            if require_grad {
                tensor.require_grad()
            } else {
                tensor
            }
        },
        device.clone(),
        true,
        Shape::from(shape),
    )
}

/// How a transformer block starts.
#[derive(Clone, Copy)]
pub(crate) enum BlockInit {
    /// PyTorch's defaults, as open_clip leaves the image encoder.
    Torch,
    /// CLIP's text initialisation: standard deviations by width, residual branches scaled by depth.
    Clip {
        /// Number of residual blocks.
        layers: usize,
    },
}

impl BlockInit {
    /// Query, key and value projections `[rows, width]`.
    pub(crate) fn in_proj(self, rows: usize, width: usize, device: &Device) -> Param<Tensor<2>> {
        match self {
            // xavier_uniform
            Self::Torch => uniform([rows, width], (6.0 / (rows + width) as f64).sqrt(), device),
            Self::Clip { .. } => normal([rows, width], (width as f64).powf(-0.5), device),
        }
    }

    /// Weights of a layer whose output joins the residual stream of `width`.
    pub(crate) fn residual(
        self,
        rows: usize,
        columns: usize,
        width: usize,
        device: &Device,
    ) -> Param<Tensor<2>> {
        match self {
            Self::Torch => uniform([rows, columns], (columns as f64).powf(-0.5), device),
            Self::Clip { layers } => normal(
                [rows, columns],
                (width as f64).powf(-0.5) * (2.0 * layers as f64).powf(-0.5),
                device,
            ),
        }
    }

    /// Weights of the MLP's first layer.
    pub(crate) fn hidden(self, rows: usize, columns: usize, device: &Device) -> Param<Tensor<2>> {
        match self {
            Self::Torch => uniform([rows, columns], (columns as f64).powf(-0.5), device),
            Self::Clip { .. } => normal([rows, columns], (2.0 * columns as f64).powf(-0.5), device),
        }
    }
}
