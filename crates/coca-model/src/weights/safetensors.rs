//! The [safetensors](https://github.com/huggingface/safetensors) format.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use safetensors::{Dtype as FileDtype, SafeTensors, View};

use super::state_dict::at;
use super::{Dtype, StateDict, TensorEntry};
use crate::{Error, Result};

/// Bytes in front of the header: its length as a little-endian u64.
const LENGTH_BYTES: usize = 8;

impl StateDict {
    /// Reads a safetensors file; the tensors share its bytes. An error if the header is damaged, the file
    /// truncated, or an element type is one that weights do not have.
    pub fn from_safetensors(bytes: Vec<u8>) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            Error::Weights(format!(
                "not a complete safetensors file ({error}); download or write it again"
            ))
        })?;
        let data = header.saturating_add(LENGTH_BYTES);
        let buffer = Arc::new(bytes);
        let mut dict = StateDict::new();
        for (name, info) in metadata.tensors() {
            let tensor = Dtype::from_file(info.dtype).and_then(|dtype| {
                let (start, end) = info.data_offsets;
                let range = data.saturating_add(start)..data.saturating_add(end);
                TensorEntry::view(dtype, info.shape.clone(), buffer.clone(), range)
            });
            let tensor = tensor.map_err(|error| at(&name, error))?;
            dict.insert(name, tensor);
        }
        Ok(dict)
    }

    /// Writes a safetensors file: floats as `dtype` (none: as they are), integers as they are. `metadata`
    /// goes into the header beside `format: pt`, which marks PyTorch's layout for other readers.
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
    let mut header = HashMap::from([("format".to_string(), "pt".to_string())]);
    header.extend(metadata.clone());
    safetensors::serialize(tensors, Some(header))
        .map_err(|error| Error::Weights(format!("cannot write safetensors: {error}")))
}

impl View for &TensorEntry {
    fn dtype(&self) -> FileDtype {
        TensorEntry::dtype(self).to_file()
    }

    fn shape(&self) -> &[usize] {
        TensorEntry::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes().into()
    }

    fn data_len(&self) -> usize {
        self.bytes().len()
    }
}

impl Dtype {
    fn from_file(dtype: FileDtype) -> Result<Self> {
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

    fn to_file(self) -> FileDtype {
        match self {
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
        }
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
                TensorEntry::new(dtype, vec![3], vec![1; 3 * dtype.size()]).unwrap(),
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
        fn any_values_round_trip(values in proptest::collection::vec(any::<f32>(), 0..64)) {
            let mut dict = StateDict::new();
            dict.insert("x", TensorEntry::from_f32(vec![values.len()], &values).unwrap());
            let bytes = dict.to_safetensors(Dtype::F32, &BTreeMap::new()).unwrap();
            prop_assert_eq!(StateDict::from_safetensors(bytes).unwrap(), dict);
        }
    }
}
