//! How a table of images and texts is written in a configuration.

use super::spec::ShardSpec;

/// CSV, JSON Lines or Parquet files, and what their columns are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The files: names, brace patterns or a list, as for shards.
    pub files: ShardSpec,
    /// The folder that image names start at; the table's own if not given.
    pub images: Option<String>,
    /// The column with the image's name, or in Parquet with the image.
    pub image_key: Option<String>,
    /// The column with the caption.
    pub caption_key: Option<String>,
    /// CSV: between fields. A tab if the header has one, else a comma, if not given.
    pub separator: Option<char>,
}

impl TableSpec {
    /// The defaults for these files.
    pub fn new(files: impl Into<ShardSpec>) -> Self {
        Self {
            files: files.into(),
            images: None,
            image_key: None,
            caption_key: None,
            separator: None,
        }
    }
}
