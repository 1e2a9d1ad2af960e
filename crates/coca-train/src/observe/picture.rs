//! Small pictures for people to look at.

use anyhow::{Context, Result};
use coca_model::preprocess::{DecodeOptions, PreprocessConfig, decode_rgb};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use sha2::{Digest, Sha256};

/// The longer side of a picture is at most this many pixels.
const SIDE: u32 = 192;
const JPEG_QUALITY: u8 = 85;
/// Hexadecimal digits of the hash that make up a name.
const DIGITS: usize = 16;

/// A small JPEG, named after its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Sixteen hexadecimal digits and `.jpg`.
    pub name: String,
    /// The file.
    pub jpeg: Vec<u8>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

impl Picture {
    /// A picture of an image file, decoded as the model sees it.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn of_file(bytes: &[u8]) -> Result<Self> {
        Self::of(&decode_rgb(bytes, &DecodeOptions::default())?)
    }

    /// A picture of a normalised image, `[3, height, width]`.
    pub fn of_normalised(pixels: &[f32], config: &PreprocessConfig) -> Result<Self> {
        let (width, height) = (config.size.width, config.size.height);
        let plane = width * height;
        let value = |channel: usize, at: usize| {
            let value = pixels.get(channel * plane + at).copied().unwrap_or(0.0);
            let value = value * config.std[channel] + config.mean[channel];
            // Saturates at the ends of a byte.
            (value * 255.0).round() as u8
        };
        let image = RgbImage::from_fn(width.try_into()?, height.try_into()?, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|channel| value(channel, at)))
        });
        Self::of(&image)
    }

    fn of(image: &RgbImage) -> Result<Self> {
        let (width, height) = image.dimensions();
        let longer = width.max(height);
        let small = if longer > SIDE {
            let side = |length: u32| {
                let scaled = u64::from(length) * u64::from(SIDE) / u64::from(longer);
                u32::try_from(scaled).unwrap_or(SIDE).max(1)
            };
            &image::imageops::thumbnail(image, side(width), side(height))
        } else {
            image
        };
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode_image(small)
            .context("encoding a picture")?;
        let hash: String = Sha256::digest(&jpeg)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            name: format!("{}.jpg", &hash[..DIGITS]),
            size: small.dimensions(),
            jpeg,
        })
    }

    /// Whether this is the name of a picture, and so of no file elsewhere.
    pub fn is_name(name: &str) -> bool {
        name.strip_suffix(".jpg").is_some_and(|digits| {
            digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_become_small_and_are_named_after_their_contents() {
        let wide = Picture::of(&RgbImage::from_pixel(1000, 10, image::Rgb([9, 8, 7]))).unwrap();
        assert_eq!(wide.size, (192, 1));
        assert!(Picture::is_name(&wide.name));
        let other = Picture::of(&RgbImage::from_pixel(1000, 10, image::Rgb([200, 8, 7]))).unwrap();
        assert_ne!(wide.name, other.name);
        for name in [
            "../../../etc/passwd",
            "0123456789abcdef.png",
            "0123456789abcdeg.jpg",
            "",
        ] {
            assert!(!Picture::is_name(name), "{name}");
        }
        assert!(Picture::of_file(b"no image").is_err());
    }

    #[test]
    fn normalisation_is_undone() {
        let config = PreprocessConfig::for_size(16, 16);
        let red = |channel: usize| if channel == 0 { 1.0 } else { 0.0 };
        let pixels: Vec<f32> = (0..3)
            .flat_map(|c| vec![(red(c) - config.mean[c]) / config.std[c]; 256])
            .collect();
        let picture = Picture::of_normalised(&pixels, &config).unwrap();
        let back = image::load_from_memory(&picture.jpeg).unwrap().to_rgb8();
        let [r, g, b] = back.get_pixel(8, 8).0;
        assert!(r > 245 && g < 10 && b < 10, "{r} {g} {b}");
    }
}
