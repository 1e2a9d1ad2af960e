//! PyTorch checkpoints (`.bin`, `.pt`, `.pth`): pickles, of which only the tensors are rebuilt and nothing is
//! run.

use std::io::Write;

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};

use super::state_dict::at;
use super::{Dtype, StateDict, TensorEntry};
use crate::{Error, Result};

/// How much larger than their file the tensors may be. A pickle can declare views that repeat a storage
/// without end; weights share storages at most once (tied embeddings).
const EXPANSION: usize = 2;

impl StateDict {
    /// Reads a checkpoint of `torch.save`: a state dict, or a dict that has one under `state_dict`, as
    /// open_clip's training writes it. The prefix `module.` of data-parallel training is taken off.
    ///
    /// The parser reads only from a path, so the bytes go through a temporary file; native builds only. An
    /// error if they are damaged, not a checkpoint, or hold tensors more than twice as large as the file.
    pub fn from_torch(bytes: Vec<u8>) -> Result<Self> {
        let size = bytes.len();
        let mut file = tempfile::NamedTempFile::new().map_err(spool)?;
        file.write_all(&bytes)
            .and_then(|()| file.flush())
            .map_err(spool)?;
        drop(bytes);

        let tensors = open(file.path())?;
        let total = tensors.iter().fold(0usize, |total, (_, tensor)| {
            total.saturating_add(tensor.byte_len())
        });
        if total > size.saturating_mul(EXPANSION) {
            return Err(Error::Weights(format!(
                "a PyTorch file of {size} bytes declares {total} bytes of tensors; it is damaged or hostile"
            )));
        }
        tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name.clone(), read(&name, &tensor)?)))
            .collect()
    }
}

/// Names and tensors of a checkpoint, the tensors not read yet.
fn open(path: &std::path::Path) -> Result<Vec<(String, Tensor)>> {
    let reader = match PytorchReader::with_top_level_key(path, "state_dict") {
        Err(PytorchError::KeyNotFound(_)) => PytorchReader::new(path),
        other => other,
    };
    let tensors = reader
        .map_err(|error| Error::Weights(format!("not a PyTorch checkpoint: {error}")))?
        .into_tensors();
    if tensors.is_empty() {
        return Err(Error::Weights(
            "the PyTorch checkpoint holds no tensors; is it an optimizer state?".into(),
        ));
    }
    let parallel = tensors.keys().all(|name| name.starts_with("module."));
    let plain = |name: String| match name.strip_prefix("module.") {
        Some(rest) if parallel => rest.to_string(),
        _ => name,
    };
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| (plain(name), tensor))
        .collect())
}

fn read(name: &str, tensor: &Tensor) -> Result<TensorEntry> {
    let bytes = tensor
        .read()
        .map_err(|error| Error::Weights(format!("PyTorch checkpoint: {error}")))?;
    TensorEntry::new(tensor.dtype().into(), tensor.shape().to_vec(), bytes)
        .map_err(|error| at(name, error))
}

fn spool(error: std::io::Error) -> Error {
    Error::Weights(format!(
        "a PyTorch checkpoint is read through a temporary file, which cannot be written: {error}"
    ))
}

impl From<DType> for Dtype {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I64 => Dtype::I64,
            DType::I32 => Dtype::I32,
            DType::I16 => Dtype::I16,
            DType::I8 => Dtype::I8,
            DType::U64 => Dtype::U64,
            DType::U32 => Dtype::U32,
            DType::U16 => Dtype::U16,
            DType::U8 => Dtype::U8,
            DType::Bool => Dtype::Bool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written by `tests/golden/make_torch_fixtures.py`.
    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../../tests/golden/data/torch/", $name)).to_vec()
        };
    }

    /// What every well-formed fixture holds.
    fn assert_is_the_model(dict: &StateDict) {
        let names: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "logit_scale",
                "text.ids",
                "visual.half",
                "visual.transposed",
                "visual.view",
                "visual.weight"
            ]
        );
        let weight: Vec<f32> = (0..6).map(|i| i as f32 - 2.5).collect();
        assert_eq!(dict.get_f32("visual.weight").unwrap(), (vec![2, 3], weight));
        assert_eq!(
            dict.get_f32("visual.transposed").unwrap(),
            (vec![3, 2], vec![-2.5, 0.5, -1.5, 1.5, -0.5, 2.5])
        );
        assert_eq!(
            dict.get_f32("visual.view").unwrap(),
            (vec![3], vec![0.5, 1.5, 2.5])
        );
        assert_eq!(dict.get_f32("logit_scale").unwrap(), (vec![], vec![2.75]));
        assert_eq!(dict.get("visual.half").unwrap().dtype(), Dtype::BF16);
        assert_eq!(dict.get_f32("visual.half").unwrap().1, [1.0, -0.25]);
        assert_eq!(dict.get("text.ids").unwrap().dtype(), Dtype::I64);
    }

    #[test]
    fn a_state_dict_is_read() {
        assert_is_the_model(&StateDict::from_torch(fixture!("state_dict.bin")).unwrap());
    }

    #[test]
    fn a_training_checkpoint_is_unwrapped() {
        assert_is_the_model(&StateDict::from_torch(fixture!("checkpoint.pt")).unwrap());
    }

    #[test]
    fn files_of_old_pytorch_are_read() {
        assert_is_the_model(&StateDict::from_torch(fixture!("legacy.pth")).unwrap());
    }

    #[test]
    fn code_in_a_pickle_is_not_run() {
        let marker = std::env::temp_dir().join("coca-model-pickle-ran");
        let error = StateDict::from_torch(fixture!("attack_system.pt")).unwrap_err();
        assert!(matches!(error, Error::Weights(_)), "{error}");
        assert!(!marker.exists());
    }

    #[test]
    fn a_view_without_end_is_refused_before_it_is_read() {
        let error = StateDict::from_torch(fixture!("attack_expand.pt"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("declares"), "{error}");
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        for bytes in [
            &b""[..],
            b"PK\x03\x04",
            b"{\"a\": 1}",
            &[0x80, 2, b'}', b'.'],
        ] {
            let error = StateDict::from_torch(bytes.to_vec())
                .unwrap_err()
                .to_string();
            assert!(error.contains("PyTorch checkpoint"), "{error}");
        }
    }

    #[test]
    fn truncated_files_are_refused() {
        let bytes = fixture!("state_dict.bin");
        for length in (0..bytes.len()).step_by(61) {
            assert!(
                StateDict::from_torch(bytes[..length].to_vec()).is_err(),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = StateDict::from_torch(bytes);
        }

        #[test]
        fn mutated_files_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            legacy in any::<bool>(),
        ) {
            let mut bytes = if legacy { fixture!("legacy.pth") } else { fixture!("state_dict.bin") };
            for (at, to) in changes {
                let position = at.index(bytes.len());
                bytes[position] = to;
            }
            let _ = StateDict::from_torch(bytes);
        }
    }
}
