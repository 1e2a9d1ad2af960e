//! From image files and canvas pixels to the image encoder's input, byte for byte as open_clip's evaluation
//! transform with Pillow: resize, centre crop, RGB, normalise.
//!
//! ```
//! use coca_model::preprocess::{PreprocessConfig, Preprocessor};
//!
//! # fn main() -> coca_model::Result<()> {
//! let preprocessor = Preprocessor::new(PreprocessConfig::for_size(224, 224))?;
//! let canvas = [255; 2 * 3 * 4];
//! let input = preprocessor.prepare_rgba(2, 3, &canvas)?;
//! assert_eq!(input.len(), 3 * 224 * 224);
//! # Ok(())
//! # }
//! ```

mod alpha;
mod config;
mod decode;
mod header;
mod placement;
mod region;
mod resize;

pub use config::{FillColour, ImageMode, ImageSize, Interpolation, PreprocessConfig, ResizeMode};
pub use decode::{DecodeOptions, decode_rgb};
pub use region::Region;
pub use resize::resize_box;

use image::{Rgb, RgbImage};

use crate::{Error, Result};
use alpha::{divided_by_alpha, premultiplied, without_alpha};
use decode::{Decoded, decode};
use placement::{Axis, place};
use resize::{View, nearest, resample, rgb};

/// When an image is converted to RGB. It matters for palettes, alpha channels and 16-bit gray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourOrder {
    /// Before the resize, as open_clip's README and its webdataset loader do.
    #[default]
    RgbFirst,
    /// After it, as open_clip's transform does with an image that nobody has converted (its CSV loader). Two things
    /// differ from it: CMYK is still converted before, and the padding of a palette image has the fill colour instead
    /// of the palette's entry of that number.
    Direct,
}

/// Makes images fit a model. Should be created using [`Preprocessor::new`].
#[derive(Clone, Debug)]
pub struct Preprocessor {
    config: PreprocessConfig,
    /// The normalised value of each byte, for each channel.
    values: [[f32; 256]; 3],
}

impl Preprocessor {
    /// Fails with [`Error::Config`] if the size or the channel statistics cannot be used.
    pub fn new(config: PreprocessConfig) -> Result<Self> {
        config.validate()?;
        let values = std::array::from_fn(|channel| {
            // The order of operations is torchvision's, so that no bit differs.
            std::array::from_fn(|byte| {
                (byte as f32 / 255.0 - config.mean[channel]) / config.std[channel]
            })
        });
        Ok(Self { config, values })
    }

    /// The configuration this was created with.
    pub fn config(&self) -> &PreprocessConfig {
        &self.config
    }

    /// Which part of an image of `width` x `height` pixels (at least 1 each) the model sees.
    pub fn region(&self, width: u32, height: u32) -> Region {
        let (x, y) = place(&self.config, width.max(1), height.max(1));
        Region::new(x, y, self.config.size)
    }

    /// Decodes an image file, resizes, crops and normalises it, with the default [`DecodeOptions`] and
    /// [`ColourOrder`].
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, flattened
    pub fn prepare(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        self.prepare_rgb(&decode_rgb(bytes, &DecodeOptions::default())?)
    }

    /// Resizes, crops and normalises an image.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, flattened
    pub fn prepare_rgb(&self, image: &RgbImage) -> Result<Vec<f32>> {
        Ok(self.normalise(&self.resize_crop(image)?))
    }

    /// Resizes, crops and normalises the pixels of a canvas, `ImageData` in a browser: rows of red, green, blue,
    /// alpha. The alpha is dropped, not blended, as Pillow's `convert("RGB")` does.
    ///
    /// # Shapes
    /// - `rgba`: `[height, width, 4]`
    /// - output: `[3, height, width]`, flattened
    pub fn prepare_rgba(&self, width: u32, height: u32, rgba: &[u8]) -> Result<Vec<f32>> {
        let expected = (u64::from(width) * u64::from(height)).saturating_mul(4);
        if rgba.len() as u64 != expected {
            return Err(Error::Input(format!(
                "an RGBA image of {width} x {height} pixels has {expected} bytes, not {}",
                rgba.len()
            )));
        }
        self.prepare_rgb(&rgb(width, height, without_alpha(rgba))?)
    }

    /// Decodes an image file, resizes and crops it: what the model will see, in 8 bits.
    pub fn decode_crop(
        &self,
        bytes: &[u8],
        options: &DecodeOptions,
        order: ColourOrder,
    ) -> Result<RgbImage> {
        match order {
            ColourOrder::RgbFirst => self.resize_crop(&decode_rgb(bytes, options)?),
            ColourOrder::Direct => {
                let image = decode(bytes, options)?;
                let (width, height) = image.dimensions();
                self.crop(width, height, |x, y| {
                    resize_direct(&image, x, y, self.config.interpolation)
                })
            }
        }
    }

    /// Resizes and crops (or pads) an image to the model's input size, in 8 bits.
    pub fn resize_crop(&self, image: &RgbImage) -> Result<RgbImage> {
        let resize = |x, y| resample(&View::<_, 3>::of(image), x, y, self.config.interpolation);
        self.crop(image.width(), image.height(), resize)
    }

    /// Normalises an image of any size with the channel statistics.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, flattened
    pub fn normalise(&self, image: &RgbImage) -> Vec<f32> {
        let pixels = image.as_raw().as_chunks::<3>().0;
        let mut out = Vec::with_capacity(pixels.len() * 3);
        for (channel, values) in self.values.iter().enumerate() {
            out.extend(
                pixels
                    .iter()
                    .map(|pixel| values[usize::from(pixel[channel])]),
            );
        }
        out
    }

    /// The part of an image of `width` x `height` that `resize` computes, on the padding.
    fn crop(
        &self,
        width: u32,
        height: u32,
        resize: impl FnOnce(Axis, Axis) -> Vec<u8>,
    ) -> Result<RgbImage> {
        if width == 0 || height == 0 {
            return Err(Error::Input(format!(
                "the image is empty: {width} x {height} pixels"
            )));
        }
        let (x, y) = place(&self.config, width, height);
        let image = rgb(x.len as u32, y.len as u32, resize(x, y))?;
        let ImageSize { height, width } = self.config.size;
        if (x.len, y.len) == (width, height) {
            return Ok(image);
        }
        // Only ResizeMode::Longest leaves room, so the colour is never asked for elsewhere.
        let mut padded =
            RgbImage::from_pixel(width as u32, height as u32, Rgb(self.config.fill_color.0));
        image::imageops::replace(&mut padded, &image, x.pad as i64, y.pad as i64);
        Ok(padded)
    }
}

/// Resizes in the colour type of the file and converts to RGB afterwards.
fn resize_direct(image: &Decoded, x: Axis, y: Axis, interpolation: Interpolation) -> Vec<u8> {
    match image {
        Decoded::Rgb(image) => resample(&View::<_, 3>::of(image), x, y, interpolation),
        Decoded::Palette(image) => nearest(&View::of(image), x, y),
        // Pillow copies an image that has the size already, so nothing is lost to the alpha.
        Decoded::Rgba(image)
            if (x.full, y.full) == (image.width().into(), image.height().into()) =>
        {
            without_alpha(&resample(&View::<_, 4>::of(image), x, y, interpolation))
        }
        Decoded::Rgba(image) => divided_by_alpha(&resample(
            &View::<_, 4>::of(&premultiplied(image)),
            x,
            y,
            interpolation,
        )),
        Decoded::Gray16(image) => resample(&View::<_, 1>::of(image), x, y, interpolation)
            .into_iter()
            .flat_map(|gray| [gray.min(255) as u8; 3])
            .collect(),
    }
}
