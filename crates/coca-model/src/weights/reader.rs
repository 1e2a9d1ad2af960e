//! Safetensors files that arrive in pieces.

use std::collections::BTreeMap;

use super::header::{Header, TensorInfo};
use super::safetensors::LENGTH_BYTES;
use super::state_dict::at;
use super::{StateDict, TensorEntry};
use crate::{Error, Result};

/// Headers are at most this long, as the format says.
const LONGEST_HEADER: usize = 100_000_000;

/// Takes the tensors of a file as they become complete.
pub trait TensorSink {
    /// Hears what the file holds, before the first tensor. An error ends the reading.
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()>;
    /// Takes a tensor. An error ends the reading.
    fn tensor(&mut self, name: &str, tensor: TensorEntry) -> Result<()>;
}

impl TensorSink for StateDict {
    fn header(&mut self, _tensors: &[TensorInfo]) -> Result<()> {
        Ok(())
    }

    fn tensor(&mut self, name: &str, tensor: TensorEntry) -> Result<()> {
        self.merge([(name.to_string(), tensor)].into_iter().collect())
    }
}

/// Reads a safetensors file from pieces of any size: first its header, then each tensor in the order of the file.
/// At most one tensor, and the scales of quantised ones whose codes have not arrived, are in memory.
#[derive(Debug, Default)]
pub struct SafetensorsReader {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The bytes in front of the header.
    Length(Vec<u8>),
    /// The header so far, and its length.
    Header(Vec<u8>, usize),
    Data(Data),
    /// An error was returned; the rest of the file means nothing.
    Failed,
}

impl Default for State {
    fn default() -> Self {
        Self::Length(Vec::new())
    }
}

#[derive(Debug, Default)]
struct Data {
    header: Header,
    /// The part that is arriving.
    part: usize,
    /// Its bytes so far.
    bytes: Vec<u8>,
    /// Complete parts of incomplete tensors, by tensor and component.
    waiting: BTreeMap<usize, BTreeMap<usize, Vec<u8>>>,
}

impl SafetensorsReader {
    /// A reader at the start of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file and hands over what became complete.
    ///
    /// # Errors
    /// Those of the sink, a damaged header, and bytes after the last tensor.
    pub fn push(&mut self, mut bytes: &[u8], sink: &mut impl TensorSink) -> Result<()> {
        let mut state = std::mem::replace(&mut self.state, State::Failed);
        loop {
            state = match state {
                State::Length(mut length) => {
                    take(&mut bytes, &mut length, LENGTH_BYTES);
                    let Ok(complete) = <[u8; LENGTH_BYTES]>::try_from(length.as_slice()) else {
                        state = State::Length(length);
                        break;
                    };
                    let length = u64::from_le_bytes(complete);
                    match usize::try_from(length)
                        .ok()
                        .filter(|&length| length <= LONGEST_HEADER)
                    {
                        Some(length) => State::Header(Vec::new(), length),
                        None => {
                            return Err(Error::Weights(format!(
                                "not a safetensors file: its header would be {length} bytes long"
                            )));
                        }
                    }
                }
                State::Header(mut json, length) => {
                    take(&mut bytes, &mut json, length);
                    if json.len() < length {
                        state = State::Header(json, length);
                        break;
                    }
                    let header = Header::from_json(&json)?;
                    sink.header(&header.tensors)?;
                    let mut data = Data {
                        header,
                        ..Data::default()
                    };
                    // Tensors without elements need no bytes to be complete.
                    data.push(&mut bytes, sink)?;
                    State::Data(data)
                }
                State::Data(mut data) => {
                    data.push(&mut bytes, sink)?;
                    if !bytes.is_empty() {
                        return Err(Error::Weights(format!(
                            "the safetensors file goes on after its last tensor, {} bytes from the header",
                            data.header.data_len()
                        )));
                    }
                    state = State::Data(data);
                    break;
                }
                State::Failed => {
                    return Err(Error::Weights(
                        "the safetensors file was refused before".into(),
                    ));
                }
            };
        }
        self.state = state;
        Ok(())
    }

    /// Says that the file has ended. An error if that is too early.
    pub fn finish(self) -> Result<()> {
        match &self.state {
            State::Data(data) if data.part == data.header.parts.len() => Ok(()),
            State::Failed => Err(Error::Weights(
                "the safetensors file was refused before".into(),
            )),
            _ => Err(Error::Weights(
                "not a complete safetensors file; download or write it again".into(),
            )),
        }
    }
}

impl Data {
    fn push(&mut self, bytes: &mut &[u8], sink: &mut impl TensorSink) -> Result<()> {
        while let Some(part) = self.header.parts.get(self.part) {
            let length = part.range.len();
            if self.bytes.capacity() < length {
                let missing = length - self.bytes.len() + self.room(part.tensor);
                self.bytes.try_reserve_exact(missing).map_err(|_| {
                    Error::Weights(format!("there is no memory for a tensor of {length} bytes"))
                })?;
            }
            take(bytes, &mut self.bytes, length);
            if self.bytes.len() < length {
                return Ok(());
            }
            let complete = std::mem::take(&mut self.bytes);
            let (tensor, component) = (part.tensor, part.component);
            self.part += 1;
            self.complete(tensor, component, complete, sink)?;
        }
        Ok(())
    }

    /// Bytes to reserve beside those of a tensor's part: for the parts that go in front of it, and once more as many, so that
    /// scales of 16 bits may become 32 in the same memory.
    fn room(&self, tensor: usize) -> usize {
        let parts = self.waiting.get(&tensor).into_iter().flatten();
        2 * parts.map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// Keeps a part, or hands the tensor over that it completes.
    fn complete(
        &mut self,
        tensor: usize,
        component: usize,
        bytes: Vec<u8>,
        sink: &mut impl TensorSink,
    ) -> Result<()> {
        let count = self.header.parts_of(tensor);
        let Some(info) = self.header.tensors.get(tensor) else {
            return Ok(());
        };
        let bytes = if count == 1 {
            bytes
        } else {
            let parts = self.waiting.entry(tensor).or_default();
            parts.insert(component, bytes);
            if parts.len() < count {
                return Ok(());
            }
            let mut parts = self.waiting.remove(&tensor).unwrap_or_default();
            // In place before the last, which is by far the largest.
            let mut whole = parts.pop_last().map(|(_, last)| last).unwrap_or_default();
            let before: Vec<Vec<u8>> = parts.into_values().collect();
            whole.splice(0..0, before.concat());
            whole
        };
        let entry = TensorEntry::new(info.dtype, info.shape.clone(), bytes);
        sink.tensor(&info.name, entry.map_err(|error| at(&info.name, error))?)
    }
}

/// Moves bytes until `to` has `length` of them.
fn take(from: &mut &[u8], to: &mut Vec<u8>, length: usize) {
    let (taken, rest) = from.split_at(from.len().min(length.saturating_sub(to.len())));
    to.extend_from_slice(taken);
    *from = rest;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Dtype;
    use proptest::prelude::*;

    fn sample(dtype: Dtype) -> Vec<u8> {
        let values: Vec<f32> = (0..64 * 80)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0)
            .collect();
        let dict: StateDict = [
            ("scalar", vec![], &values[..1]),
            ("empty", vec![0, 4], &[]),
            ("a.weight", vec![64, 80], &values),
            ("b.weight", vec![80, 64], &values),
            ("bias", vec![80], &values[..80]),
        ]
        .into_iter()
        .map(|(name, shape, values)| {
            (
                name.to_string(),
                TensorEntry::from_f32(shape, values).unwrap(),
            )
        })
        .collect();
        dict.to_safetensors(dtype, &BTreeMap::new()).unwrap()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<StateDict> {
        let (mut reader, mut dict) = (SafetensorsReader::new(), StateDict::new());
        for bytes in bytes.chunks(piece.max(1)) {
            reader.push(bytes, &mut dict)?;
        }
        reader.finish()?;
        Ok(dict)
    }

    #[test]
    fn pieces_of_any_size_give_what_the_whole_file_gives() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Q8, Dtype::Q4] {
            let bytes = sample(dtype);
            let whole = StateDict::from_safetensors(bytes.clone()).unwrap();
            for piece in [1, 7, 8, 1000, 4096, bytes.len()] {
                assert_eq!(read(&bytes, piece).unwrap(), whole, "{dtype} {piece}");
            }
        }
    }

    #[test]
    fn an_end_that_is_too_early_or_too_late_is_noticed() {
        let bytes = sample(Dtype::Q8);
        for length in (0..bytes.len()).step_by(97) {
            assert!(read(&bytes[..length], 512).is_err(), "{length}");
        }
        assert!(read(&[&bytes[..], b"x"].concat(), 512).is_err());
    }

    #[test]
    fn a_header_that_lies_about_sizes_reserves_nothing() {
        assert!(read(&u64::MAX.to_le_bytes(), 8).is_err());
        assert!(read(&100_000_001u64.to_le_bytes(), 8).is_err());
        let length = 1usize << 60;
        let header =
            format!(r#"{{"a":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
        let file = [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            b"x",
        ]
        .concat();
        assert!(read(&file, 8).unwrap_err().to_string().contains("memory"));
    }

    #[test]
    fn after_an_error_nothing_more_is_read() {
        let (mut reader, mut dict) = (SafetensorsReader::new(), StateDict::new());
        assert!(reader.push(&[255; 8], &mut dict).is_err());
        assert!(reader.push(&sample(Dtype::F32), &mut dict).is_err());
        assert!(reader.finish().is_err());
        assert!(dict.is_empty());
    }

    #[test]
    fn the_sink_hears_the_header_first_and_can_refuse_it() {
        struct Refusing;
        impl TensorSink for Refusing {
            fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
                let names: Vec<_> = tensors.iter().map(|info| info.name.as_str()).collect();
                Err(Error::Weights(names.join(" ")))
            }
            fn tensor(&mut self, _: &str, _: TensorEntry) -> Result<()> {
                unreachable!("the header was refused")
            }
        }
        let error = SafetensorsReader::new()
            .push(&sample(Dtype::Q4), &mut Refusing)
            .unwrap_err();
        assert!(error.to_string().contains("a.weight b.weight"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_and_mutated_files_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            piece in 1usize..3000,
        ) {
            let _ = read(&bytes, piece);
            let mut file = sample(Dtype::Q4);
            let position = at.index(1500);
            file[position] = to;
            let streamed = read(&file, piece);
            let whole = StateDict::from_safetensors(file);
            prop_assert_eq!(streamed.is_ok(), whole.is_ok());
        }
    }
}
