//! The [safetensors](https://github.com/huggingface/safetensors) format.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::safetensors::{Dtype as FileDtype, SafeTensors, View};

use super::header::{Header, Part, QUANTISED, QuantisedTensor};
use super::state_dict::at;
use super::{Dtype, StateDict, TensorEntry, quant};
use crate::{Error, Result};

/// Bytes in front of the header: its length as a little-endian u64.
pub(super) const LENGTH_BYTES: usize = 8;

impl StateDict {
    /// Reads a safetensors file; plain tensors share its bytes. An error if the header is damaged, the file
    /// truncated, or an element type is one that weights do not have.
    pub fn from_safetensors(bytes: Vec<u8>) -> Result<Self> {
        let (length, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            Error::Weights(format!(
                "not a complete safetensors file ({error}); download or write it again"
            ))
        })?;
        let header = Header::new(&metadata)?;
        let data = length.saturating_add(LENGTH_BYTES);
        let buffer = Arc::new(bytes);
        let mut parts: Vec<&Part> = header.parts.iter().collect();
        parts.sort_by_key(|part| (part.tensor, part.component));
        let parts = parts.chunk_by(|a, b| a.tensor == b.tensor);
        let mut dict = StateDict::new();
        for (info, parts) in header.tensors.iter().zip(parts) {
            let mut ranges = parts.iter().map(|part| {
                data.saturating_add(part.range.start)..data.saturating_add(part.range.end)
            });
            let (dtype, shape) = (info.dtype, info.shape.clone());
            let tensor = if dtype.is_quantised() {
                let parts: Option<Vec<&[u8]>> = ranges.map(|range| buffer.get(range)).collect();
                TensorEntry::new(dtype, shape, parts.unwrap_or_default().concat())
            } else {
                let range = ranges.next().unwrap_or(0..0);
                TensorEntry::view(dtype, shape, buffer.clone(), range)
            };
            dict.insert(&info.name, tensor.map_err(|error| at(&info.name, error))?);
        }
        Ok(dict)
    }

    /// Writes a safetensors file: floats as `dtype` (none: as they are), integers as they are. `metadata`
    /// goes into the header beside `format: pt`, which marks PyTorch's layout for other readers (not in quantised
    /// files, which have none).
    pub fn to_safetensors(
        &self,
        dtype: impl Into<Option<Dtype>>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let converted;
        let dict = match dtype.into() {
            Some(dtype) => {
                converted = self.to_dtype(dtype)?;
                &converted
            }
            None => self,
        };
        write(dict.iter(), metadata)
    }
}

/// Writes these tensors as they are.
pub(super) fn write<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a TensorEntry)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut quantised = BTreeMap::new();
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        if tensor.dtype().is_quantised() {
            quantised.insert(name, QuantisedTensor::of(tensor.dtype(), tensor.shape()));
        }
        stored.extend(Stored::parts_of(name, tensor)?);
    }
    let unwritable = |error: &dyn std::fmt::Display| {
        Error::Weights(format!("cannot write safetensors: {error}"))
    };
    // One entry of ours at most, as the order of several is left to chance and files have hashes. A quantised file
    // is not PyTorch's anyway.
    let ours = if quantised.is_empty() {
        ("format".to_string(), "pt".to_string())
    } else {
        let json = serde_json::to_string(&quantised).map_err(|error| unwritable(&error))?;
        (QUANTISED.to_string(), json)
    };
    let mut header = HashMap::from([ours]);
    header.extend(metadata.clone());
    let stored = stored.iter().map(|(name, tensor)| (name.as_str(), tensor));
    ::safetensors::serialize(stored, Some(header)).map_err(|error| unwritable(&error))
}

/// Names of the tensors that hold a tensor of this type and shape in a file.
pub(super) fn file_names(name: &str, dtype: Dtype, shape: &[usize]) -> Vec<String> {
    match quant::components(dtype, shape) {
        Some(parts) => parts
            .iter()
            .map(|part| format!("{name}{}", part.suffix))
            .collect(),
        None => vec![name.to_string()],
    }
}

/// A tensor as the file has it.
struct Stored<'a> {
    dtype: FileDtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    fn parts_of(name: &str, tensor: &'a TensorEntry) -> Result<Vec<(String, Self)>> {
        let Some(components) = quant::components(tensor.dtype(), tensor.shape()) else {
            let plain = Self {
                dtype: tensor.dtype().to_file()?,
                shape: tensor.shape().to_vec(),
                bytes: tensor.bytes(),
            };
            return Ok(vec![(name.to_string(), plain)]);
        };
        let mut rest = tensor.bytes();
        let mut parts = Vec::new();
        for component in components {
            let size = component.dtype.bytes_of(&component.shape).unwrap_or(0);
            let (bytes, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = after;
            parts.push((
                format!("{name}{}", component.suffix),
                Self {
                    dtype: component.dtype.to_file()?,
                    shape: component.shape,
                    bytes,
                },
            ));
        }
        Ok(parts)
    }
}

impl View for &Stored<'_> {
    fn dtype(&self) -> FileDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Dtype {
    pub(super) fn from_file(dtype: FileDtype) -> Result<Self> {
        Ok(match dtype {
            FileDtype::F64 => Dtype::F64,
            FileDtype::F32 => Dtype::F32,
            FileDtype::F16 => Dtype::F16,
            FileDtype::BF16 => Dtype::BF16,
            FileDtype::I64 => Dtype::I64,
            FileDtype::I32 => Dtype::I32,
            FileDtype::I16 => Dtype::I16,
            FileDtype::I8 => Dtype::I8,
            FileDtype::U64 => Dtype::U64,
            FileDtype::U32 => Dtype::U32,
            FileDtype::U16 => Dtype::U16,
            FileDtype::U8 => Dtype::U8,
            FileDtype::BOOL => Dtype::Bool,
            other => {
                return Err(Error::Weights(format!(
                    "element type {other} is not supported; convert the file to F32, F16 or BF16"
                )));
            }
        })
    }

    /// The type in a file; an error for quantised ones, which are several tensors there.
    pub(super) fn to_file(self) -> Result<FileDtype> {
        Ok(match self {
            Dtype::F64 => FileDtype::F64,
            Dtype::F32 => FileDtype::F32,
            Dtype::F16 => FileDtype::F16,
            Dtype::BF16 => FileDtype::BF16,
            Dtype::I64 => FileDtype::I64,
            Dtype::I32 => FileDtype::I32,
            Dtype::I16 => FileDtype::I16,
            Dtype::I8 => FileDtype::I8,
            Dtype::U64 => FileDtype::U64,
            Dtype::U32 => FileDtype::U32,
            Dtype::U16 => FileDtype::U16,
            Dtype::U8 => FileDtype::U8,
            Dtype::Bool => FileDtype::BOOL,
            Dtype::Q8 | Dtype::Q4 => {
                return Err(Error::Weights(format!(
                    "{self} is not a type of safetensors"
                )));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of this header and this many zero bytes of data.
    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn sample() -> StateDict {
        [
            (
                "scalar".to_string(),
                TensorEntry::from_f32(vec![], &[2.5]).unwrap(),
            ),
            (
                "a.weight".to_string(),
                TensorEntry::from_f32(vec![2, 3], &[1., -2., 3., 0.5, 0., 8.]).unwrap(),
            ),
            (
                "empty".to_string(),
                TensorEntry::from_f32(vec![0, 4], &[]).unwrap(),
            ),
            (
                "ids".to_string(),
                TensorEntry::new(Dtype::I64, vec![1], vec![1, 0, 0, 0, 0, 0, 0, 0]).unwrap(),
            ),
        ]
        .into_iter()
        .collect()
    }

    fn refused(bytes: Vec<u8>) -> String {
        match StateDict::from_safetensors(bytes) {
            Err(Error::Weights(message)) => message,
            other => panic!("accepted, or another error: {other:?}"),
        }
    }

    #[test]
    fn round_trip_in_every_dtype() {
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let bytes = sample().to_safetensors(dtype, &BTreeMap::new()).unwrap();
            let read = StateDict::from_safetensors(bytes).unwrap();
            assert_eq!(read, sample().to_dtype(dtype).unwrap(), "{dtype}");
            assert_eq!(
                read.get_f32("a.weight").unwrap(),
                sample().get_f32("a.weight").unwrap(),
                "{dtype}"
            );
        }
        let bytes = sample().to_safetensors(None, &BTreeMap::new()).unwrap();
        assert_eq!(StateDict::from_safetensors(bytes).unwrap(), sample());
    }

    #[test]
    fn every_stored_type_is_read_back() {
        for dtype in [
            Dtype::I32,
            Dtype::I16,
            Dtype::I8,
            Dtype::U64,
            Dtype::U32,
            Dtype::U16,
            Dtype::U8,
            Dtype::Bool,
            Dtype::I64,
        ] {
            let mut dict = StateDict::new();
            dict.insert(
                "x",
                TensorEntry::new(dtype, vec![3], vec![1; 3 * dtype.size().unwrap()]).unwrap(),
            );
            let bytes = dict.to_safetensors(Dtype::F16, &BTreeMap::new()).unwrap();
            assert_eq!(StateDict::from_safetensors(bytes).unwrap(), dict, "{dtype}");
        }
    }

    #[test]
    fn metadata_is_written_and_pytorch_marked() {
        let metadata = BTreeMap::from([("revision".to_string(), "7".to_string())]);
        let bytes = sample().to_safetensors(Dtype::F32, &metadata).unwrap();
        let (_, read) = SafeTensors::read_metadata(&bytes).unwrap();
        let read = read.metadata().clone().unwrap();
        assert_eq!(read.get("revision").map(String::as_str), Some("7"));
        assert_eq!(read.get("format").map(String::as_str), Some("pt"));
    }

    #[test]
    fn tensors_share_the_file() {
        let dict =
            StateDict::from_safetensors(sample().to_safetensors(None, &BTreeMap::new()).unwrap())
                .unwrap();
        let address = |name: &str| dict.get(name).unwrap().bytes().as_ptr() as usize;
        assert!(address("a.weight").abs_diff(address("scalar")) < 100);
    }

    /// A scalar, a vector and two matrices that are quantised.
    fn quantised(dtype: Dtype) -> Vec<u8> {
        let values: Vec<f32> = (0..64 * 96)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0)
            .collect();
        let mut dict = sample();
        dict.insert("m", TensorEntry::from_f32(vec![64, 96], &values).unwrap());
        dict.insert(
            "conv",
            TensorEntry::from_f32(vec![64, 4, 4, 6], &values).unwrap(),
        );
        dict.to_safetensors(dtype, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn quantised_files_round_trip_and_are_plain_safetensors() {
        for dtype in [Dtype::Q8, Dtype::Q4] {
            let bytes = quantised(dtype);
            let dict = StateDict::from_safetensors(bytes.clone()).unwrap();
            assert_eq!(dict.get("m").unwrap().dtype(), dtype);
            assert_eq!(dict.get("conv").unwrap().shape(), [64, 4, 4, 6]);
            assert_eq!(dict.get("scalar").unwrap().dtype(), Dtype::F16);
            assert_eq!(dict.to_safetensors(None, &BTreeMap::new()).unwrap(), bytes);
            let floats = dict.to_dtype(Dtype::F32).unwrap();
            assert_eq!(floats.get_f32("m").unwrap(), dict.get_f32("m").unwrap());
            let names: Vec<String> = SafeTensors::deserialize(&bytes)
                .unwrap()
                .names()
                .iter()
                .map(ToString::to_string)
                .filter(|name| name.starts_with("m."))
                .collect();
            assert_eq!(
                names.len(),
                if dtype == Dtype::Q8 { 2 } else { 3 },
                "{names:?}"
            );
        }
    }

    #[test]
    fn quantised_parts_that_do_not_fit_are_refused() {
        let json = |quantised: &str, tensors: &str| {
            let quantised = serde_json::to_string(quantised).unwrap();
            format!(r#"{{"__metadata__":{{"coca.quantised":{quantised}}},{tensors}}}"#)
        };
        let scale = r#""m.q8_scale":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}"#;
        let both =
            format!(r#"{scale},"m.q8":{{"dtype":"I8","shape":[2,4],"data_offsets":[4,12]}}"#);
        let good = r#"{"m":{"dtype":"q8","shape":[2,4]}}"#;
        StateDict::from_safetensors(file(&json(good, &both), 12)).unwrap();
        for (quantised, tensors, bytes) in [
            (good, scale.to_string(), 4),
            (good, both.replace("F16", "BF16"), 12),
            (good, both.replace("I8", "U8"), 12),
            (r#"{"m":{"dtype":"q8","shape":[2,5]}}"#, both.clone(), 12),
            (r#"{"m":{"dtype":"q8","shape":[8]}}"#, both.clone(), 12),
            (
                r#"{"m":{"dtype":"q8","shape":[2,18446744073709551615]}}"#,
                both.clone(),
                12,
            ),
            (r#"{"m":{"dtype":"q3","shape":[2,4]}}"#, both.clone(), 12),
            (r#"{"m":{"dtype":"q8"}}"#, both.clone(), 12),
            ("[]", both.clone(), 12),
            ("{", both.clone(), 12),
            (
                good,
                format!(r#"{both},"m":{{"dtype":"I8","shape":[1],"data_offsets":[12,13]}}"#),
                13,
            ),
        ] {
            let read = StateDict::from_safetensors(file(&json(quantised, &tensors), bytes));
            assert!(
                matches!(read, Err(Error::Weights(_) | Error::Json { .. })),
                "{quantised} {tensors}: {read:?}"
            );
        }
    }

    // The attacks: one for every way a file can be bad.

    #[test]
    fn test_empty_and_header_too_small() {
        refused(vec![]);
        refused(vec![1, 0, 0]);
    }

    #[test]
    fn test_header_too_large() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(refused(bytes).contains("too large"));
        refused([100_000_001u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat());
    }

    #[test]
    fn test_header_longer_than_the_file() {
        refused([50u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat());
    }

    #[test]
    fn test_invalid_header_non_utf8() {
        refused([1u64.to_le_bytes().to_vec(), vec![0xff]].concat());
    }

    #[test]
    fn test_invalid_header_not_json() {
        refused(file("{", 0));
        refused(file("[]", 0));
        refused(file("\0\0", 0));
    }

    #[test]
    fn test_json_attack() {
        // Many tensors over the same bytes, and deep nesting.
        let tensors: Vec<String> = (0..1000)
            .map(|i| format!(r#""t{i}":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#))
            .collect();
        assert!(refused(file(&format!("{{{}}}", tensors.join(",")), 16)).contains("offset"));
        refused(file(
            &format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000)),
            0,
        ));
    }

    #[test]
    fn test_overlapping_offsets() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                         "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
        assert!(refused(file(header, 12)).contains("offset"));
    }

    #[test]
    fn test_hole_in_the_data() {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                         "b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
        refused(file(header, 12));
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
        ));
    }

    #[test]
    fn test_offsets_out_of_range() {
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            4,
        ));
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            8,
        ));
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
            8,
        ));
    }

    #[test]
    fn test_bytes_after_the_last_tensor() {
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            5,
        ));
        refused(file("{}", 1));
    }

    #[test]
    fn test_shape_does_not_fit_the_offsets() {
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
        ));
        refused(file(
            r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}}"#,
            8,
        ));
    }

    #[test]
    fn test_shape_overflow() {
        let huge = u64::MAX;
        refused(file(
            &format!(r#"{{"a":{{"dtype":"F32","shape":[{huge},2],"data_offsets":[0,8]}}}}"#),
            8,
        ));
        refused(file(
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}"#,
            0,
        ));
    }

    #[test]
    fn test_unknown_and_unsupported_dtype() {
        refused(file(
            r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
            4,
        ));
        let message = refused(file(
            r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#,
            4,
        ));
        assert!(
            message.contains("`a`") && message.contains("F8_E4M3"),
            "{message}"
        );
    }

    #[test]
    fn test_truncated_everywhere() {
        let bytes = sample().to_safetensors(None, &BTreeMap::new()).unwrap();
        for length in 0..bytes.len() {
            refused(bytes[..length].to_vec());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = StateDict::from_safetensors(bytes);
        }

        #[test]
        fn mutated_files_never_panic(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = sample().to_safetensors(None, &BTreeMap::new()).unwrap();
            let position = at.index(bytes.len());
            bytes[position] = to;
            if let Ok(dict) = StateDict::from_safetensors(bytes.clone()) {
                for (name, _) in dict.iter() {
                    let _ = dict.get_f32(name);
                }
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = StateDict::from_safetensors(bytes);
        }

        #[test]
        fn mutated_quantised_files_never_panic(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            dtype in prop::sample::select(vec![Dtype::Q8, Dtype::Q4]),
        ) {
            let mut bytes = quantised(dtype);
            // Most of the file is codes, where every value is a good one: aim at the header too.
            let position = at.index(bytes.len() * 2) % bytes.len();
            let position = if at.index(2) == 0 { position % 2000 } else { position };
            bytes[position] = to;
            if let Ok(dict) = StateDict::from_safetensors(bytes) {
                for (name, _) in dict.iter() {
                    let _ = dict.get_f32(name);
                }
            }
        }

        #[test]
        fn any_values_round_trip(values in proptest::collection::vec(any::<f32>(), 0..64)) {
            let mut dict = StateDict::new();
            dict.insert("x", TensorEntry::from_f32(vec![values.len()], &values).unwrap());
            let bytes = dict.to_safetensors(Dtype::F32, &BTreeMap::new()).unwrap();
            prop_assert_eq!(StateDict::from_safetensors(bytes).unwrap(), dict);
        }
    }
}
