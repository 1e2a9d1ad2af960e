//! One sample, read and decoded to see what is in it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use coca_model::tokenizer::Tokenizer;
use image::{ImageFormat, RgbImage, guess_format};

use crate::data::{DataConfig, DataSet, Error, RawSample, Record, decode_image, has_text};

/// What one sample turned out to be.
#[derive(Debug)]
pub enum Inspection {
    /// The loader would use it.
    Usable(Facts),
    /// The loader would skip it, for this reason.
    Broken(String),
}

/// What is in a usable sample.
#[derive(Debug)]
pub struct Facts {
    /// Hash and number of the image's bytes.
    pub digest: (u64, usize),
    /// `jpeg`, `png`, …
    pub format: &'static str,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The class name.
    pub label: Option<String>,
    /// For each caption its words, and its tokens in CLIP's vocabulary.
    pub captions: Vec<(usize, usize)>,
    /// How many questions it has.
    pub questions: usize,
}

/// A sample as the loader would get it, or why it would not.
pub struct Sample {
    /// Its bytes.
    pub raw: RawSample,
    /// What is known about it.
    pub record: Record,
    /// The decoded image.
    pub image: RgbImage,
}

/// Reads and decodes a sample. The inner error says why it is broken; the outer one, that the data cannot be read.
pub fn load(
    data: &DataSet,
    config: &DataConfig,
    index: usize,
) -> Result<Result<Sample, String>, Error> {
    let load = || -> Result<Result<Sample, String>, Error> {
        let raw = data.read(index)?;
        let record = data.record(index, &raw)?;
        if !has_text(&record, &config.fields) {
            return Ok(Err("it has no text".into()));
        }
        Ok(decode_image(&raw.image).map(|image| Sample { raw, record, image }))
    };
    // A decoder that panics has met a broken image.
    match catch_unwind(AssertUnwindSafe(load)) {
        Ok(Err(Error::Sample { reason, .. })) => Ok(Err(reason)),
        Ok(result) => result,
        Err(_) => Ok(Err("the decoder panicked".into())),
    }
}

/// Inspects sample `index`.
///
/// # Errors
/// The data cannot be read.
pub fn inspect(
    data: &DataSet,
    config: &DataConfig,
    index: usize,
    tokenizer: &Tokenizer,
) -> Result<Inspection, Error> {
    let Sample { raw, record, image } = match load(data, config, index)? {
        Ok(sample) => sample,
        Err(reason) => return Ok(Inspection::Broken(reason)),
    };
    let mut hasher = DefaultHasher::new();
    raw.image.hash(&mut hasher);
    let mut captions: Vec<&String> = record.captions.iter().collect();
    // KEY.txt often repeats the first caption.
    captions.extend(
        record
            .text
            .iter()
            .filter(|text| !record.captions.contains(text)),
    );
    captions.extend(&record.sentence);
    Ok(Inspection::Usable(Facts {
        digest: (hasher.finish(), raw.image.len()),
        format: format_name(&raw.image),
        size: image.dimensions(),
        captions: captions
            .into_iter()
            .map(|caption| {
                let words = caption.split_whitespace().count();
                (words, tokenizer.encode(caption).len())
            })
            .collect(),
        questions: record.qa.len() + usize::from(record.verdict.is_some()),
        label: record.label,
    }))
}

/// The usual ending of an image's format.
pub fn format_name(image: &[u8]) -> &'static str {
    match guess_format(image) {
        Ok(ImageFormat::Jpeg) => "jpg",
        Ok(ImageFormat::Png) => "png",
        Ok(ImageFormat::WebP) => "webp",
        Ok(ImageFormat::Gif) => "gif",
        Ok(ImageFormat::Bmp) => "bmp",
        _ => "bin",
    }
}
