//! TensorBoard's event files: the messages and their framing.
//!
//! The messages are the parts that are used of TensorFlow's `event.proto`, `summary.proto`, `tensor.proto` and
//! `tensor_shape.proto`, under the same numbers. The framing is that of TFRecord files (`record_writer.cc`).

use prost::Message;

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Unix time in seconds.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Optimiser step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// The kinds of event that are used.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// First in every file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Measurements.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A start: what another file says of this step and later ones is to be forgotten.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `tensorflow.SessionLog`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SessionLog {
    /// See [`SessionLog::START`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl SessionLog {
    /// `SessionStatus.START`.
    pub const START: i32 = 1;
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// How to show it, where the kind does not say so.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
    /// The value.
    #[prost(oneof = "Kind", tags = "2, 4, 8")]
    pub kind: Option<Kind>,
}

/// The kinds of value that are used.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A number.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// Text.
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// In pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// In pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Channels.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG or JPEG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

/// `tensorflow.SummaryMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// The plugin.
    #[prost(message, optional, tag = "1")]
    pub plugin: Option<Plugin>,
}

/// `tensorflow.SummaryMetadata.PluginData`.
#[derive(Clone, PartialEq, Message)]
pub struct Plugin {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `tensorflow.TensorProto`, of strings.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// See [`Tensor::STRING`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// The shape.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
    /// The elements.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub strings: Vec<Vec<u8>>,
}

impl Tensor {
    /// `DataType.DT_STRING`.
    pub const STRING: i32 = 7;
}

/// `tensorflow.TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// The dimensions.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

/// `tensorflow.TensorShapeProto.Dim`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Dim {
    /// Its size.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

impl Value {
    /// A number.
    pub fn scalar(tag: String, value: f64) -> Self {
        Self {
            tag,
            metadata: None,
            kind: Some(Kind::Scalar(value as f32)),
        }
    }

    /// Markdown, shown by the text plugin.
    pub fn text(tag: String, text: String) -> Self {
        let name = "text".into();
        Self {
            tag,
            metadata: Some(Metadata {
                plugin: Some(Plugin { name }),
            }),
            kind: Some(Kind::Tensor(Tensor {
                dtype: Tensor::STRING,
                shape: Some(Shape {
                    dim: vec![Dim { size: 1 }],
                }),
                strings: vec![text.into_bytes()],
            })),
        }
    }
}

/// The event as a record: its length, the length's checksum, the event and its checksum.
pub fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(&data);
    record.extend(masked_crc(&data).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted, so that a checksum of data that holds checksums is not weak (`crc32c.h`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Takes a file apart; every length and checksum must be right.
    pub fn read(mut file: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !file.is_empty() {
            let (length, rest) = file.split_at(8);
            let (length_crc, rest) = rest.split_at(4);
            assert_eq!(length_crc, masked_crc(length).to_le_bytes());
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (data, rest) = rest.split_at(length);
            let (data_crc, rest) = rest.split_at(4);
            assert_eq!(data_crc, masked_crc(data).to_le_bytes());
            events.push(Event::decode(data).unwrap());
            file = rest;
        }
        events
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // The start of every file that TensorFlow or PyTorch writes: a length of 24, and its checksum.
        let version = Event {
            wall_time: 1.5,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        };
        let record = record(&version);
        assert_eq!(
            record[..12],
            [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]
        );
        // Field 1, a double; field 3, a string of 13 bytes.
        let mut expected = vec![0x09];
        expected.extend(1.5f64.to_le_bytes());
        expected.extend([0x1a, 13]);
        expected.extend(b"brain.Event:2");
        assert_eq!(record[12..12 + 24], expected);
        assert_eq!(read(&record), [version]);
    }

    #[test]
    fn values_have_the_wire_form_of_the_protocol() {
        let value = Value::scalar("loss".into(), 2.5);
        let mut expected = vec![0x0a, 4];
        expected.extend(b"loss");
        expected.push(0x15);
        expected.extend(2.5f32.to_le_bytes());
        assert_eq!(value.encode_to_vec(), expected);

        let text = Value::text("t".into(), "hi".into()).encode_to_vec();
        let expected = [
            &[0x0a, 1, b't'][..],
            // Field 9: the plugin's name.
            &[0x4a, 8, 0x0a, 6, 0x0a, 4],
            b"text",
            // Field 8: the type, a shape of one, and the string.
            &[0x42, 12, 0x08, 7, 0x12, 4, 0x12, 2, 0x08, 1, 0x42, 2],
            b"hi",
        ];
        // Fields may come in any order.
        let mut sorted = text.clone();
        sorted.sort_unstable();
        let mut expected = expected.concat();
        expected.sort_unstable();
        assert_eq!(sorted, expected);
    }
}
