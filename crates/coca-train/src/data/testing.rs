//! Small shards and a toy tokenizer for the tests of this module.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::batch::Tokenize;

/// The bytes of a tar file with these members.
pub fn tar_bytes(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes a tar file with these members.
pub fn write_tar(folder: &Path, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, tar_bytes(members)).unwrap();
    path
}

/// A JPEG file with a gradient that depends on `shade`.
pub fn jpeg(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let pixel = |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, shade]);
    let image = image::RgbImage::from_fn(width, height, pixel);
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .unwrap();
    bytes.into_inner()
}

/// Writes a shard of small JPEG images with these keys and json texts.
pub fn write_samples(folder: &Path, name: &str, samples: &[(String, String)]) -> PathBuf {
    let mut members = Vec::new();
    for (at, (key, json)) in samples.iter().enumerate() {
        members.push((
            format!("{key}.jpg"),
            jpeg(20 + at as u32, 17, at as u8 * 20),
        ));
        members.push((format!("{key}.json"), json.clone().into_bytes()));
    }
    let members: Vec<_> = members
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    write_tar(folder, name, &members)
}

/// What torchvision chose or made; see `fixtures/make_augment.py`.
const AUGMENT: &str = include_str!("fixtures/augment.json");

/// The size of a window that torchvision chose for given draws.
#[derive(Debug, Deserialize)]
pub struct SizeCase {
    /// Of the image.
    pub height: u32,
    /// Of the image.
    pub width: u32,
    /// The area that was drawn.
    pub area: f64,
    /// The ratio that was drawn.
    pub ratio: f64,
    /// Height and width.
    pub size: [u32; 2],
}

/// The sizes of `crop` or `erase`.
pub fn torchvision_sizes(kind: &str) -> Vec<SizeCase> {
    let mut fixture: serde_json::Value = serde_json::from_str(AUGMENT).unwrap();
    serde_json::from_value(fixture[kind].take()).unwrap()
}

/// An image, and what torchvision's colour changes make of it.
#[derive(Debug, Deserialize)]
pub struct ColourCases {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// RGB.
    pub pixels: Vec<u8>,
    /// The changed images.
    pub changes: Vec<ColourCase>,
}

/// A changed image.
#[derive(Debug, Deserialize)]
pub struct ColourCase {
    /// `brightness`, `contrast`, `saturation`, `hue` or `gray`.
    pub change: String,
    /// How much.
    pub factor: f64,
    /// RGB.
    pub pixels: Vec<u8>,
}

/// The colour changes.
pub fn torchvision_colours() -> ColourCases {
    let mut fixture: serde_json::Value = serde_json::from_str(AUGMENT).unwrap();
    serde_json::from_value(fixture["colour"].take()).unwrap()
}

/// One token for each character: `a` is 1, `z` is 26; other characters are 27.
pub struct Letters;

impl Tokenize for Letters {
    fn encode(&self, text: &str) -> Vec<u32> {
        let token = |c: char| {
            if c.is_ascii_lowercase() {
                c as u32 - 'a' as u32 + 1
            } else {
                27
            }
        };
        text.chars().map(token).collect()
    }

    fn sot(&self) -> u32 {
        100
    }

    fn eot(&self) -> u32 {
        101
    }

    fn pad(&self) -> u32 {
        0
    }
}
