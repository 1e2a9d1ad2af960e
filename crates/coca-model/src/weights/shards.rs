//! Weights split over several safetensors files, with the index that Hugging Face writes beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::quant::without_suffix;
use super::state_dict::at;
use super::{Dtype, StateDict, TensorEntry, safetensors};
use crate::{Error, Result};

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardIndex {
    /// `total_size` in bytes, and whatever else the writer noted.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Tensor name to file name.
    pub weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The file name of the index.
    pub const FILE: &str = "model.safetensors.index.json";

    /// Reads an index. An error if it names no shard, or one that is not a plain `.safetensors` file beside
    /// it: an index from elsewhere must not choose which files of this machine are read.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let index: Self = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: Self::FILE.to_string(),
            source,
        })?;
        if index.weight_map.is_empty() {
            return Err(Error::Weights(format!("{} names no tensor", Self::FILE)));
        }
        if let Some(name) = index.weight_map.values().find(|name| !is_shard_name(name)) {
            return Err(Error::Weights(format!(
                "{} names the shard {name:?}; a shard is a .safetensors file in the model folder itself",
                Self::FILE
            )));
        }
        Ok(index)
    }

    /// The shards' file names, sorted, each once.
    pub fn files(&self) -> Vec<&str> {
        self.weight_map
            .values()
            .map(String::as_str)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Checks that the merged shards hold every tensor the index promises.
    pub fn check(&self, weights: &StateDict) -> Result<()> {
        match self.weight_map.iter().find(|(name, _)| {
            weights.get(name).is_none() && weights.get(without_suffix(name)).is_none()
        }) {
            None => Ok(()),
            Some((name, file)) => Err(Error::Weights(format!(
                "shard {file} lacks tensor `{name}`, which {} places there",
                Self::FILE
            ))),
        }
    }
}

/// A plain file name: an index comes from outside.
fn is_shard_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(plain)
}

/// The files that hold a state dict, made one at a time so that only one is in memory: see
/// [`StateDict::shards`].
#[derive(Debug)]
pub struct Shards<'a> {
    tensors: Vec<(&'a str, &'a TensorEntry)>,
    dtype: Option<Dtype>,
    /// Ranges of `tensors`, one for each shard.
    parts: Vec<Range<usize>>,
    index: ShardIndex,
    /// Files given out so far.
    done: usize,
}

impl StateDict {
    /// The file that holds weights that are not split.
    pub const FILE: &str = "open_clip_model.safetensors";

    /// Splits the weights into safetensors files of at most `max_bytes` of tensors each (a larger tensor has
    /// a file of its own), floats as `dtype` (none: as they are). Yields name and bytes of each file, and of
    /// the index last; when everything fits one file, only that, named [`StateDict::FILE`].
    pub fn shards(&self, max_bytes: u64, dtype: impl Into<Option<Dtype>>) -> Shards<'_> {
        let dtype = dtype.into();
        let tensors: Vec<_> = self.iter().collect();
        let mut parts: Vec<Range<usize>> = Vec::new();
        let (mut size, mut total) = (0u64, 0u64);
        for (position, (name, tensor)) in tensors.iter().enumerate() {
            let bytes = stored_bytes(tensor, stored_as(name, tensor, dtype));
            total += bytes;
            match parts.last_mut() {
                Some(part) if size.saturating_add(bytes) <= max_bytes => {
                    part.end = position + 1;
                    size += bytes;
                }
                _ => {
                    parts.push(position..position + 1);
                    size = bytes;
                }
            }
        }
        if parts.is_empty() {
            parts.push(0..0);
        }
        let mut index = ShardIndex {
            metadata: BTreeMap::from([("total_size".to_string(), total.into())]),
            weight_map: BTreeMap::new(),
        };
        for (number, part) in parts.iter().enumerate() {
            for (name, tensor) in tensors.iter().take(part.end).skip(part.start) {
                let file = shard_name(number, parts.len());
                let stored = stored_as(name, tensor, dtype);
                for name in safetensors::file_names(name, stored, tensor.shape()) {
                    index.weight_map.insert(name, file.clone());
                }
            }
        }
        Shards {
            tensors,
            dtype,
            parts,
            index,
            done: 0,
        }
    }
}

/// The type that a tensor has in the file.
fn stored_as(name: &str, tensor: &TensorEntry, dtype: Option<Dtype>) -> Dtype {
    match dtype.filter(|_| tensor.dtype().is_float()) {
        Some(target) => StateDict::stored_as(name, tensor.shape(), target),
        None => tensor.dtype(),
    }
}

/// Bytes of a tensor once it is stored as `dtype`.
fn stored_bytes(tensor: &TensorEntry, dtype: Dtype) -> u64 {
    dtype
        .bytes_of(tensor.shape())
        .unwrap_or(tensor.bytes().len()) as u64
}

/// The name of shard `number` (from 0) of `count`.
fn shard_name(number: usize, count: usize) -> String {
    if count == 1 {
        StateDict::FILE.to_string()
    } else {
        format!("model-{:05}-of-{count:05}.safetensors", number + 1)
    }
}

impl Shards<'_> {
    /// The index of the shards.
    pub fn index(&self) -> &ShardIndex {
        &self.index
    }

    fn shard(&self, part: &Range<usize>) -> Result<Vec<u8>> {
        let convert = |(name, tensor): &(&str, &TensorEntry)| {
            let converted = tensor.to_dtype(stored_as(name, tensor, self.dtype));
            Ok((
                name.to_string(),
                converted.map_err(|error| at(name, error))?,
            ))
        };
        let shard = self
            .tensors
            .iter()
            .take(part.end)
            .skip(part.start)
            .map(convert)
            .collect::<Result<StateDict>>()?;
        safetensors::write(shard.iter(), &BTreeMap::new())
    }

    fn index_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(&self.index).map_err(|source| Error::Json {
            what: ShardIndex::FILE.to_string(),
            source,
        })?;
        json.push(b'\n');
        Ok(json)
    }
}

impl Iterator for Shards<'_> {
    type Item = Result<(String, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, count) = (self.done, self.parts.len());
        self.done += 1;
        match self.parts.get(number) {
            Some(part) => Some(
                self.shard(part)
                    .map(|bytes| (shard_name(number, count), bytes)),
            ),
            None if number == count && count > 1 => Some(
                self.index_json()
                    .map(|bytes| (ShardIndex::FILE.to_string(), bytes)),
            ),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> StateDict {
        (0..5)
            .map(|i| {
                (
                    format!("t{i}"),
                    TensorEntry::from_f32(vec![i, 4], &vec![i as f32; 4 * i]).unwrap(),
                )
            })
            .collect()
    }

    fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<StateDict> {
        let index = ShardIndex::from_json(&files[ShardIndex::FILE])?;
        let mut merged = StateDict::new();
        for name in index.files() {
            merged.merge(StateDict::from_safetensors(files[name].clone())?)?;
        }
        index.check(&merged)?;
        Ok(merged)
    }

    #[test]
    fn sharded_round_trip_in_every_dtype() {
        for dtype in [
            None,
            Some(Dtype::F32),
            Some(Dtype::F16),
            Some(Dtype::BF16),
            Some(Dtype::F64),
        ] {
            let dict = sample();
            let files: BTreeMap<_, _> = dict.shards(48, dtype).collect::<Result<_>>().unwrap();
            assert!(files.len() > 2);
            let expected = dtype.map_or(dict.clone(), |dtype| dict.to_dtype(dtype).unwrap());
            assert_eq!(read(&files).unwrap(), expected);
        }
    }

    #[test]
    fn no_shard_exceeds_the_limit_unless_one_tensor_does() {
        let dict = sample(); // tensors of 0, 16, 32, 48 and 64 bytes
        let names: Vec<Vec<String>> = dict
            .shards(48, Dtype::F32)
            .map(|file| file.unwrap())
            .filter(|(name, _)| name != ShardIndex::FILE)
            .map(|(_, bytes)| {
                StateDict::from_safetensors(bytes)
                    .unwrap()
                    .iter()
                    .map(|(n, _)| n.to_string())
                    .collect()
            })
            .collect();
        assert_eq!(names, [vec!["t0", "t1", "t2"], vec!["t3"], vec!["t4"]]);
    }

    #[test]
    fn the_index_is_as_hugging_face_writes_it() {
        let dict = sample();
        let files: Vec<_> = dict.shards(100, Dtype::F16).collect::<Result<_>>().unwrap();
        assert_eq!(files.len(), 1, "80 bytes as f16");
        assert_eq!(files[0].0, "open_clip_model.safetensors");
        let files: Vec<_> = dict.shards(48, Dtype::F16).collect::<Result<_>>().unwrap();
        let (name, json) = files.last().unwrap();
        assert_eq!(name, "model.safetensors.index.json");
        assert_eq!(
            String::from_utf8_lossy(json),
            "{\n  \"metadata\": {\n    \"total_size\": 80\n  },\n  \"weight_map\": {\n    \
             \"t0\": \"model-00001-of-00002.safetensors\",\n    \"t1\": \"model-00001-of-00002.safetensors\",\n    \
             \"t2\": \"model-00001-of-00002.safetensors\",\n    \"t3\": \"model-00001-of-00002.safetensors\",\n    \
             \"t4\": \"model-00002-of-00002.safetensors\"\n  }\n}\n"
        );
    }

    #[test]
    fn nothing_is_one_empty_file() {
        let files: Vec<_> = StateDict::new()
            .shards(10, None)
            .collect::<Result<_>>()
            .unwrap();
        assert_eq!(files.len(), 1);
        assert!(
            StateDict::from_safetensors(files[0].1.clone())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn an_index_cannot_reach_out_of_the_folder() {
        for name in [
            "../secret.safetensors",
            "/etc/passwd",
            "a/b.safetensors",
            "c:\\x.safetensors",
            ".safetensors",
            "weights.bin",
        ] {
            let json =
                serde_json::json!({ "metadata": {}, "weight_map": { "w": name } }).to_string();
            assert!(ShardIndex::from_json(json.as_bytes()).is_err(), "{name}");
        }
        assert!(ShardIndex::from_json(br#"{"weight_map":{}}"#).is_err());
        assert!(ShardIndex::from_json(br#"{"weight_map":{"w":3}}"#).is_err());
        assert!(ShardIndex::from_json(br#"{"weight_map":{"w":"model.safetensors"}}"#).is_ok());
    }

    #[test]
    fn a_tensor_missing_from_its_shard_is_noticed() {
        let dict = sample();
        let mut index = dict.shards(48, None).index().clone();
        index
            .weight_map
            .insert("absent".into(), "model-00001-of-00003.safetensors".into());
        assert!(
            index
                .check(&dict)
                .unwrap_err()
                .to_string()
                .contains("`absent`")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_and_mutated_indices_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            position in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let _ = ShardIndex::from_json(&bytes);
            let dict = sample();
            let mut json = dict.shards(48, None).last().unwrap().unwrap().1;
            let position = position.index(json.len());
            json[position] = to;
            if let Ok(index) = ShardIndex::from_json(&json) {
                let _ = index.check(&dict);
            }
        }
    }
}
