//! What can go wrong, one variant for each cause a caller may want to tell apart.

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any failure of the model crate. Each message says what was wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model configuration is not one this crate can build.
    #[error("model config: {0}")]
    Config(String),
    /// A configuration file is not valid JSON or lacks a field.
    #[error("{what} is not valid JSON: {source}")]
    Json {
        /// Which document, for example `open_clip_config.json`.
        what: String,
        /// Where in the document.
        #[source]
        source: serde_json::Error,
    },
    /// A tokenizer cannot be read or trained.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The bytes are not an image in a format that is understood.
    #[error("cannot decode the image: {0}")]
    ImageDecode(String),
    /// The image is larger than the limit for untrusted input.
    #[error(
        "the image is {width} x {height} pixels, more than the limit of {limit} pixels; scale it down first"
    )]
    ImageTooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// A weights file is damaged or not in a format that is understood.
    #[error("weights: {0}")]
    Weights(String),
    /// A file is not the one that `coca.json` describes (size or SHA-256).
    #[error("{0}")]
    Integrity(String),
    /// The tensors of a file do not fit the model.
    #[error("{0}")]
    WeightsMismatch(#[from] crate::weights::Mismatch),
    /// An argument is out of range or inconsistent with another one.
    #[error("{0}")]
    Input(String),
    /// The device failed, or returned data that cannot be right.
    #[error("device: {0}")]
    Device(String),
}
