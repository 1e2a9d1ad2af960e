//! Named tensors, as a PyTorch state dict has them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::Dtype;
use super::quant::{self, Matrix};
use crate::{Error, Result};

/// One stored tensor: a row-major view into a buffer that it may share with other tensors (the whole file).
#[derive(Clone)]
pub struct TensorEntry {
    dtype: Dtype,
    shape: Vec<usize>,
    buffer: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl TensorEntry {
    /// A tensor of `bytes`, little-endian and row-major. An error if their number does not fit the shape.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self> {
        let range = 0..bytes.len();
        Self::view(dtype, shape, Arc::new(bytes), range)
    }

    /// A tensor of f32 `values`, row-major. An error if their number does not fit the shape.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let bytes = Dtype::F32.encode(&shape, values)?;
        Self::new(Dtype::F32, shape, bytes)
    }

    /// A tensor of the bytes `range` of `buffer`, without a copy.
    pub(super) fn view(
        dtype: Dtype,
        shape: Vec<usize>,
        buffer: Arc<Vec<u8>>,
        range: Range<usize>,
    ) -> Result<Self> {
        let Some(bytes) = buffer.get(range.clone()) else {
            return Err(Error::Weights(format!(
                "a tensor at bytes {range:?} lies outside its file of {} bytes",
                buffer.len()
            )));
        };
        if dtype.bytes_of(&shape) != Some(bytes.len()) {
            return Err(Error::Weights(format!(
                "{} bytes cannot be a {dtype} tensor of shape {shape:?}",
                bytes.len()
            )));
        }
        Ok(Self {
            dtype,
            shape,
            buffer,
            range,
        })
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The extents, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, little-endian and row-major.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }

    /// The elements as f32; an error if they are integers.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.dtype.decode(&self.shape, self.bytes())
    }

    /// [`TensorEntry::to_f32`] for some of the rows, the parts of the outermost extent.
    pub(super) fn rows_to_f32(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        self.dtype.decode_rows(&self.shape, self.bytes(), rows)
    }

    /// A quantised matrix as its codes, in the same memory where that is possible; an error if it [has
    /// none](Self::has_codes). See [`quant::matrix`].
    pub(super) fn into_matrix(self, four_bits: bool) -> Result<Matrix> {
        let Self {
            dtype,
            shape,
            buffer,
            range,
        } = self;
        let bytes = match Arc::try_unwrap(buffer) {
            Ok(bytes) if range == (0..bytes.len()) => bytes,
            Ok(bytes) => bytes.get(range).unwrap_or_default().to_vec(),
            Err(shared) => shared.get(range).unwrap_or_default().to_vec(),
        };
        quant::matrix(dtype, &shape, bytes, four_bits)
    }

    /// Whether [`Self::into_matrix`] gives a matrix.
    pub(super) fn has_codes(&self) -> bool {
        quant::has_codes(self.dtype, &self.shape)
    }

    /// This tensor with elements of another floating-point type. Integers stay as they are: they are indices
    /// or quantised values, not weights.
    pub fn to_dtype(&self, dtype: Dtype) -> Result<Self> {
        if dtype == self.dtype || !self.dtype.is_float() {
            return Ok(self.clone());
        }
        let bytes = dtype.encode(&self.shape, &self.to_f32()?)?;
        Self::new(dtype, self.shape.clone(), bytes)
    }

    /// The same elements under another shape with as many elements.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        Self::view(self.dtype, shape, self.buffer.clone(), self.range.clone())
    }

    /// A quantised tensor as F32, others as they are: rows of the former are not one run of bytes.
    fn plain(&self) -> Result<Self> {
        match self.dtype.is_quantised() {
            true => Self::from_f32(self.shape.clone(), &self.to_f32()?),
            false => Ok(self.clone()),
        }
    }

    /// `count` equal parts along the first axis, without a copy unless it is quantised.
    pub(super) fn split_rows(&self, count: usize) -> Result<Vec<Self>> {
        if self.dtype.is_quantised() {
            return self.plain()?.split_rows(count);
        }
        let Some((&rows, rest)) = self
            .shape
            .split_first()
            .filter(|(rows, _)| count > 0 && **rows % count == 0)
        else {
            return Err(Error::Weights(format!(
                "a tensor of shape {:?} has no {count} equal parts",
                self.shape
            )));
        };
        let shape: Vec<usize> = std::iter::once(rows / count)
            .chain(rest.iter().copied())
            .collect();
        let step = self.range.len() / count;
        (0..count)
            .map(|part| {
                let start = self.range.start + part * step;
                Self::view(
                    self.dtype,
                    shape.clone(),
                    self.buffer.clone(),
                    start..start + step,
                )
            })
            .collect()
    }

    /// `parts` one after another along the first axis. An error unless they have the same type and other
    /// axes.
    pub(super) fn join_rows(parts: &[&Self]) -> Result<Self> {
        let unlike = || Error::Weights("tensors to be joined differ in type or shape".into());
        let parts = parts
            .iter()
            .map(|part| part.plain())
            .collect::<Result<Vec<_>>>()?;
        let (first, _) = parts.split_first().ok_or_else(unlike)?;
        let mut rows = 0usize;
        let mut bytes = Vec::new();
        for part in &parts {
            if part.dtype != first.dtype
                || part.shape.is_empty()
                || part.shape.get(1..) != first.shape.get(1..)
            {
                return Err(unlike());
            }
            rows = rows.saturating_add(part.shape.first().copied().unwrap_or(0));
            bytes.extend_from_slice(part.bytes());
        }
        let shape = std::iter::once(rows)
            .chain(first.shape.iter().skip(1).copied())
            .collect();
        Self::new(first.dtype, shape, bytes)
    }
}

impl PartialEq for TensorEntry {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl std::fmt::Debug for TensorEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Named tensors, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    tensors: BTreeMap<String, TensorEntry>,
}

impl StateDict {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a tensor under a name and returns the one that was there.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorEntry) -> Option<TensorEntry> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<TensorEntry> {
        self.tensors.remove(name)
    }

    /// The tensor with this name.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    /// Shape and f32 elements of a tensor. An error if there is none, or if it does not hold floats.
    pub fn get_f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor = self
            .get(name)
            .ok_or_else(|| Error::Weights(format!("there is no tensor `{name}`")))?;
        let values = tensor.to_f32().map_err(|error| at(name, error))?;
        Ok((tensor.shape.clone(), values))
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorEntry)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Adds the tensors of another shard. An error, without any change, if a name is in both.
    pub fn merge(&mut self, other: StateDict) -> Result<()> {
        if let Some(name) = other
            .tensors
            .keys()
            .find(|name| self.tensors.contains_key(*name))
        {
            return Err(Error::Weights(format!(
                "tensor `{name}` is in two shards; the shards are not of one model"
            )));
        }
        self.tensors.extend(other.tensors);
        Ok(())
    }

    /// Every floating-point tensor as `dtype`; integers stay as they are. A quantised type takes the matrices,
    /// and some of them as another type: see [`StateDict::stored_as`].
    pub fn to_dtype(&self, dtype: Dtype) -> Result<Self> {
        let convert = |(name, tensor): (&String, &TensorEntry)| {
            let dtype = Self::stored_as(name, tensor.shape(), dtype);
            Ok((
                name.clone(),
                tensor.to_dtype(dtype).map_err(|error| at(name, error))?,
            ))
        };
        Ok(Self {
            tensors: self.tensors.iter().map(convert).collect::<Result<_>>()?,
        })
    }
}

impl StateDict {
    /// The type of a tensor in a file whose weights are to be `target`: the target itself, unless it is
    /// quantised. Then vectors and small tensors are F16, and with Q4 the patch embedding, positions, the
    /// pooler and the projections to the embeddings are Q8.
    pub fn stored_as(name: &str, shape: &[usize], target: Dtype) -> Dtype {
        quant::stored_as(name, shape, target)
    }
}

impl FromIterator<(String, TensorEntry)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, TensorEntry)>>(tensors: I) -> Self {
        Self {
            tensors: tensors.into_iter().collect(),
        }
    }
}

/// Says which tensor an error is about.
pub(super) fn at(name: &str, error: Error) -> Error {
    match error {
        Error::Weights(what) => Error::Weights(format!("tensor `{name}`: {what}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(shape: &[usize], values: &[f32]) -> TensorEntry {
        TensorEntry::from_f32(shape.to_vec(), values).unwrap()
    }

    #[test]
    fn bytes_must_fit_the_shape() {
        assert!(TensorEntry::new(Dtype::F32, vec![2], vec![0; 8]).is_ok());
        assert!(TensorEntry::new(Dtype::F32, vec![2], vec![0; 7]).is_err());
        assert!(TensorEntry::new(Dtype::F32, vec![usize::MAX, usize::MAX], vec![]).is_err());
        assert!(TensorEntry::new(Dtype::F32, vec![0, 5], vec![]).is_ok());
        assert!(TensorEntry::view(Dtype::U8, vec![2], Arc::new(vec![0; 4]), 3..5).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "the attack")]
        let reversed = TensorEntry::view(Dtype::U8, vec![0], Arc::new(vec![0; 4]), 3..1);
        assert!(reversed.is_err());
    }

    #[test]
    fn rows_split_and_join() {
        let whole = entry(&[6, 2], &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]);
        let parts = whole.split_rows(3).unwrap();
        assert_eq!(parts[1], entry(&[2, 2], &[4., 5., 6., 7.]));
        assert_eq!(
            TensorEntry::join_rows(&parts.iter().collect::<Vec<_>>()).unwrap(),
            whole
        );
        assert_eq!(
            parts[2].split_rows(2).unwrap()[1],
            entry(&[1, 2], &[10., 11.]),
            "a view of a view"
        );
        assert!(whole.split_rows(4).is_err());
        assert!(entry(&[], &[1.]).split_rows(1).is_err());
        assert!(TensorEntry::join_rows(&[&whole, &entry(&[1, 3], &[0.; 3])]).is_err());
        assert!(TensorEntry::join_rows(&[]).is_err());
    }

    #[test]
    fn merging_refuses_a_name_twice_and_changes_nothing() {
        let mut one: StateDict = [("a".to_string(), entry(&[1], &[1.]))]
            .into_iter()
            .collect();
        let before = one.clone();
        let two: StateDict = [
            ("b".to_string(), entry(&[1], &[2.])),
            ("a".to_string(), entry(&[1], &[3.])),
        ]
        .into_iter()
        .collect();
        assert!(one.merge(two).unwrap_err().to_string().contains("`a`"));
        assert_eq!(one, before);
        one.merge(
            [("b".to_string(), entry(&[1], &[2.]))]
                .into_iter()
                .collect(),
        )
        .unwrap();
        assert_eq!(one.len(), 2);
    }

    #[test]
    fn conversion_names_the_tensor_that_does_not_fit_and_leaves_integers() {
        let mut dict = StateDict::new();
        dict.insert("w", entry(&[1], &[1e6]));
        dict.insert(
            "ids",
            TensorEntry::new(Dtype::I64, vec![1], vec![7; 8]).unwrap(),
        );
        assert!(
            dict.to_dtype(Dtype::F16)
                .unwrap_err()
                .to_string()
                .contains("`w`")
        );
        let converted = dict.to_dtype(Dtype::BF16).unwrap();
        assert_eq!(converted.get("ids").unwrap().dtype(), Dtype::I64);
        assert_eq!(converted.get("w").unwrap().dtype(), Dtype::BF16);
        assert!(dict.get_f32("ids").is_err());
        assert!(dict.get_f32("absent").is_err());
    }
}
