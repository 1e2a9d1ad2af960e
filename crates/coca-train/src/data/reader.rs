//! What every kind of data set gives: samples by number.

use std::fmt::Debug;

use super::error::Result;
use super::location::Location;

/// What counts as an image, compared without case.
pub const IMAGE_EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

/// Larger files are not training images or captions, but a mistake or an attack.
pub const MAX_MEMBER: u64 = 256 << 20;

/// The bytes of one sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawSample {
    /// The encoded image.
    pub image: Vec<u8>,
    /// Its metadata: a JSON object with the fields that [`super::record::Record`] knows, and others.
    pub json: Option<Vec<u8>>,
    /// A caption apart from the metadata, UTF-8.
    pub text: Option<Vec<u8>>,
}

/// A data set whose samples are numbered from zero, and can be read in any order from any thread.
///
/// Reading fails with [`super::error::Error::Sample`] for a sample that cannot be used, and with another error where
/// the data set itself cannot be read.
pub trait Reader: Debug + Send + Sync {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// What tells the sample from the others of its file: its key in a shard, its line in a table, its path in a
    /// folder.
    fn key(&self, index: usize) -> String;

    /// The file that holds sample `index`, or describes it.
    fn file(&self, index: usize) -> Option<&Location>;

    /// The number of that file: samples of one file lie together.
    fn file_number(&self, _index: usize) -> u32 {
        0
    }

    /// Reads sample `index`; it must be below [`Reader::len`].
    fn read(&self, index: usize) -> Result<RawSample>;

    /// Reads only the metadata of sample `index`.
    fn json(&self, index: usize) -> Result<Option<Vec<u8>>>;
}

/// The ending of a file name, in lower case.
pub fn extension(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, extension)) if !extension.contains('/') => extension.to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// Whether the ending of a file name is that of an image.
pub fn is_image(name: &str) -> bool {
    IMAGE_EXTENSIONS.contains(&extension(name).as_str())
}
