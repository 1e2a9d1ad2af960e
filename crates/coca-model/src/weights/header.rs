//! The header of a safetensors file: where its tensors are, and which of them are parts of a quantised one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use ::safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};

use super::state_dict::at;
use super::{Dtype, quant};
use crate::{Error, Result};

/// The key of the header's metadata under which the quantised tensors are: JSON, from names to
/// [`QuantisedTensor`]s.
pub(super) const QUANTISED: &str = "coca.quantised";

/// What the metadata says about a quantised tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct QuantisedTensor {
    /// `q8` or `q4`.
    pub dtype: String,
    /// The shape of the tensor that it stands for.
    pub shape: Vec<usize>,
}

impl QuantisedTensor {
    pub(super) fn of(dtype: Dtype, shape: &[usize]) -> Self {
        Self {
            dtype: dtype.name().to_ascii_lowercase(),
            shape: shape.to_vec(),
        }
    }

    fn dtype(&self) -> Result<Dtype> {
        match self.dtype.as_str() {
            "q8" => Ok(Dtype::Q8),
            "q4" => Ok(Dtype::Q4),
            other => Err(Error::Weights(format!(
                "the quantisation {other:?} is not known; a newer version may read it"
            ))),
        }
    }
}

/// Name, type and shape of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The extents, outermost first.
    pub shape: Vec<usize>,
}

/// A run of bytes of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// Which of the header's tensors it belongs to.
    pub tensor: usize,
    /// Which of the tensor's components it is; 0 for plain tensors.
    pub component: usize,
    /// Where it is, from the end of the header.
    pub range: Range<usize>,
}

/// A header that was found to be consistent: the parts fill the file without gaps or overlaps, and have the sizes
/// that their types and shapes ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub tensors: Vec<TensorInfo>,
    /// In the order of the file.
    pub parts: Vec<Part>,
}

impl Header {
    /// Reads the JSON of a header.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let metadata: Metadata = serde_json::from_slice(json).map_err(|error| {
            Error::Weights(format!(
                "the header of the safetensors file is damaged ({error}); download or write it again"
            ))
        })?;
        Self::new(&metadata)
    }

    pub(super) fn new(metadata: &Metadata) -> Result<Self> {
        let components = Components::new(metadata)?;
        let mut header = Self::default();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for file_name in metadata.offset_keys() {
            let Some(info) = metadata.info(&file_name) else {
                continue;
            };
            let (tensor, component) = match components.0.get(&file_name) {
                Some((name, quantised, component)) => {
                    let tensor = *numbers.entry(name.clone()).or_insert_with(|| {
                        header.tensors.push(quantised.clone());
                        header.tensors.len() - 1
                    });
                    (tensor, *component)
                }
                None => {
                    let dtype = Dtype::from_file(info.dtype).map_err(|e| at(&file_name, e))?;
                    header.tensors.push(TensorInfo {
                        name: file_name.clone(),
                        dtype,
                        shape: info.shape.clone(),
                    });
                    (header.tensors.len() - 1, 0)
                }
            };
            let (start, end) = info.data_offsets;
            header.parts.push(Part {
                tensor,
                component,
                range: start..end,
            });
        }
        Ok(header)
    }

    /// Bytes of all tensors.
    pub(super) fn data_len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.range.end)
    }

    /// How many parts a tensor has.
    pub(super) fn parts_of(&self, tensor: usize) -> usize {
        self.tensors.get(tensor).map_or(0, |info| {
            quant::components(info.dtype, &info.shape).map_or(1, |components| components.len())
        })
    }
}

/// From the names of the file's tensors to those that they are components of.
struct Components(BTreeMap<String, (String, TensorInfo, usize)>);

impl Components {
    fn new(metadata: &Metadata) -> Result<Self> {
        let mut found = BTreeMap::new();
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|texts| texts.get(QUANTISED));
        let Some(json) = json else {
            return Ok(Self(found));
        };
        let quantised: BTreeMap<String, QuantisedTensor> =
            serde_json::from_str(json).map_err(|source| Error::Json {
                what: format!("{QUANTISED} in the header of the safetensors file"),
                source,
            })?;
        for (name, tensor) in quantised {
            let dtype = tensor.dtype().map_err(|error| at(&name, error))?;
            let unfit = |what: String| at(&name, Error::Weights(what));
            let parts = quant::components(dtype, &tensor.shape).ok_or_else(|| {
                unfit(format!(
                    "a tensor of shape {:?} cannot be {dtype}",
                    tensor.shape
                ))
            })?;
            if metadata.info(&name).is_some() {
                return Err(unfit(format!("it is there both plain and as {dtype}")));
            }
            let info = TensorInfo {
                name: name.clone(),
                dtype,
                shape: tensor.shape.clone(),
            };
            for (component, part) in parts.into_iter().enumerate() {
                let file_name = format!("{name}{}", part.suffix);
                let stored = metadata
                    .info(&file_name)
                    .ok_or_else(|| unfit(format!("the file has no `{file_name}`, a part of it")))?;
                if stored.dtype != part.dtype.to_file()? || stored.shape != part.shape {
                    return Err(unfit(format!(
                        "its part `{file_name}` is {}{:?} instead of {}{:?}",
                        stored.dtype, stored.shape, part.dtype, part.shape
                    )));
                }
                found.insert(file_name, (name.clone(), info.clone(), component));
            }
        }
        Ok(Self(found))
    }
}
