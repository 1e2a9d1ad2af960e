//! Element types of stored tensors.

use std::ops::Range;

use half::{bf16, f16};

use super::quant;
use crate::{Error, Result};

/// The type of a stored tensor's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// Quantised matrix, 8.5 bits an element; see the documentation of the weights' format.
    Q8,
    /// Quantised matrix, 4.3125 bits an element.
    Q4,
}

impl Dtype {
    /// Bytes of one element; none for quantised types, whose elements share bytes.
    pub fn size(self) -> Option<usize> {
        match self {
            Dtype::F64 | Dtype::I64 | Dtype::U64 => Some(8),
            Dtype::F32 | Dtype::I32 | Dtype::U32 => Some(4),
            Dtype::F16 | Dtype::BF16 | Dtype::I16 | Dtype::U16 => Some(2),
            Dtype::I8 | Dtype::U8 | Dtype::Bool => Some(1),
            Dtype::Q8 | Dtype::Q4 => None,
        }
    }

    /// Whether the elements stand for real numbers: the only ones that are converted, and that a parameter
    /// has.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) || self.is_quantised()
    }

    /// Whether the elements share scales in blocks.
    pub fn is_quantised(self) -> bool {
        matches!(self, Dtype::Q8 | Dtype::Q4)
    }

    /// The name safetensors uses, for example `BF16`; `Q8` and `Q4` are this crate's.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F64 => "F64",
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::I64 => "I64",
            Dtype::I32 => "I32",
            Dtype::I16 => "I16",
            Dtype::I8 => "I8",
            Dtype::U64 => "U64",
            Dtype::U32 => "U32",
            Dtype::U16 => "U16",
            Dtype::U8 => "U8",
            Dtype::Bool => "BOOL",
            Dtype::Q8 => "Q8",
            Dtype::Q4 => "Q4",
        }
    }

    /// Bytes of a tensor of this type, or none if the number does not fit the address space, or if a tensor
    /// of this shape cannot have this type.
    pub(super) fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        match self.size() {
            Some(size) => shape
                .iter()
                .try_fold(size, |bytes, &dim| bytes.checked_mul(dim)),
            None => quant::bytes_of(self, shape),
        }
    }

    /// [`Dtype::decode`] for some of the rows, the parts of the outermost extent, all of which are `bytes`.
    pub(super) fn decode_rows(
        self,
        shape: &[usize],
        bytes: &[u8],
        rows: Range<usize>,
    ) -> Result<Vec<f32>> {
        if self.is_quantised() {
            return quant::decode_rows(self, shape, bytes, rows);
        }
        let row = bytes.len() / shape.first().copied().unwrap_or(1).max(1);
        let end = bytes.len().min(rows.end * row);
        let bytes = bytes.get(rows.start * row..end).unwrap_or_default();
        self.decode(shape, bytes)
    }

    /// Decodes a tensor of floats to f32; f64 is rounded.
    pub(super) fn decode(self, shape: &[usize], bytes: &[u8]) -> Result<Vec<f32>> {
        Ok(match self {
            Dtype::Q8 | Dtype::Q4 => quant::decode(self, shape, bytes)?,
            Dtype::F64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&c| f64::from_le_bytes(c) as f32)
                .collect(),
            Dtype::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&c| f32::from_le_bytes(c))
                .collect(),
            Dtype::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&c| f16::from_le_bytes(c).to_f32())
                .collect(),
            Dtype::BF16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|&c| bf16::from_le_bytes(c).to_f32())
                .collect(),
            _ => {
                return Err(Error::Weights(format!(
                    "{} elements are not floating-point numbers",
                    self.name()
                )));
            }
        })
    }

    /// Encodes a tensor of f32 values as floats of this type, rounding to nearest even, or quantises it. An
    /// error if a finite value would become infinite, which half precision does above 65504.
    pub(super) fn encode(self, shape: &[usize], values: &[f32]) -> Result<Vec<u8>> {
        let Some(size) = self.size() else {
            return quant::encode(self, shape, values);
        };
        let overflow = |value: &f32| {
            Error::Weights(format!(
                "the value {value} does not fit {}; use BF16 or F32",
                self.name()
            ))
        };
        let mut bytes = Vec::with_capacity(values.len() * size);
        for value in values {
            match self {
                Dtype::F64 => bytes.extend(f64::from(*value).to_le_bytes()),
                Dtype::F32 => bytes.extend(value.to_le_bytes()),
                Dtype::F16 => {
                    let half = f16::from_f32(*value);
                    if half.is_infinite() && value.is_finite() {
                        return Err(overflow(value));
                    }
                    bytes.extend(half.to_le_bytes());
                }
                Dtype::BF16 => {
                    let half = bf16::from_f32(*value);
                    if half.is_infinite() && value.is_finite() {
                        return Err(overflow(value));
                    }
                    bytes.extend(half.to_le_bytes());
                }
                _ => {
                    return Err(Error::Weights(format!(
                        "cannot convert weights to {}",
                        self.name()
                    )));
                }
            }
        }
        Ok(bytes)
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_trip_where_they_are_representable() {
        let values = [0.0, -1.5, 0.15625, 1024.0, f32::INFINITY];
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let bytes = dtype.encode(&[5], &values).unwrap();
            assert_eq!(bytes.len(), values.len() * dtype.size().unwrap());
            assert_eq!(dtype.decode(&[5], &bytes).unwrap(), values, "{dtype}");
        }
    }

    #[test]
    fn half_precision_rounds_to_nearest() {
        assert_eq!(
            Dtype::F16
                .decode(&[1], &Dtype::F16.encode(&[1], &[0.1]).unwrap())
                .unwrap(),
            [0.099_975_586]
        );
        assert_eq!(
            Dtype::BF16
                .decode(&[1], &Dtype::BF16.encode(&[1], &[0.1]).unwrap())
                .unwrap(),
            [0.100_097_656]
        );
    }

    #[test]
    fn overflow_is_an_error_not_an_infinity() {
        let error = Dtype::F16
            .encode(&[2], &[1.0, 1e5])
            .unwrap_err()
            .to_string();
        assert!(error.contains("100000") && error.contains("F16"), "{error}");
        assert!(Dtype::BF16.encode(&[1], &[f32::MAX]).is_err());
        assert!(Dtype::F16.encode(&[1], &[f32::NAN]).is_ok());
    }

    #[test]
    fn integers_are_neither_decoded_nor_made() {
        assert!(Dtype::I64.decode(&[1], &[0; 8]).is_err());
        assert!(Dtype::U8.encode(&[1], &[1.0]).is_err());
    }

    #[test]
    fn sizes_that_overflow_are_noticed() {
        assert_eq!(Dtype::F32.bytes_of(&[2, 3]), Some(24));
        assert_eq!(Dtype::F32.bytes_of(&[]), Some(4));
        assert_eq!(Dtype::F32.bytes_of(&[usize::MAX, 2]), None);
    }
}
