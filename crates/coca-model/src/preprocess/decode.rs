//! From the bytes of a file to pixels, with the colours that Pillow's `convert("RGB")` gives.

use std::io::Cursor;

use image::codecs::{
    bmp::BmpDecoder, gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder,
};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits, RgbImage, RgbaImage};

use super::header;
use crate::{Error, Result};

/// The longest side of an image: also the limit of JPEG and GIF. Bounds the weights of a resize.
const MAX_SIDE: u32 = 65_535;

/// Memory for a decoder's tables and for metadata.
const OVERHEAD: u64 = 16 << 20;

/// Limits and conventions of reading an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Images of more pixels are refused before anything is allocated for them. Decoding takes up to 12 bytes for
    /// each.
    pub max_pixels: u64,
    /// Whether to turn the image upright as its EXIF data say. open_clip does not.
    pub apply_exif_orientation: bool,
}

impl Default for DecodeOptions {
    /// 100 million pixels, upright.
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            apply_exif_orientation: true,
        }
    }
}

/// Reads a PNG, JPEG, WebP, GIF (first frame) or BMP image, of any colour type, as 8-bit RGB.
///
/// Colours are converted as Pillow's `convert("RGB")` does: transparency is dropped, not blended; 16-bit gray is
/// clipped at 255 while 16-bit colours keep their high byte; CMYK is taken as Adobe's, without a colour profile.
///
/// PNG, WebP, GIF and BMP come out as from Pillow. JPEG differs from libjpeg-turbo: where colours have half the
/// resolution by 0.4 levels on average and seldom more than 5, elsewhere by 0.03 and at most 3. A truncated JPEG is
/// not an error, its missing part is gray.
pub fn decode_rgb(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage> {
    Ok(decode(bytes, options)?.into_rgb())
}

/// A decoded image, as different as Pillow's modes are in a resize.
#[derive(Debug)]
pub(super) enum Decoded {
    /// `RGB`, and `L`, which resizes alike. Also `CMYK`, which the decoder converts, although Pillow resizes its four
    /// channels.
    Rgb(RgbImage),
    /// `P` and `1`, which Pillow never interpolates.
    Palette(RgbImage),
    /// `RGBA` and `LA`.
    Rgba(RgbaImage),
    /// `I;16`.
    Gray16(image::ImageBuffer<image::Luma<u16>, Vec<u16>>),
}

impl Decoded {
    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Rgb(image) | Self::Palette(image) => image.dimensions(),
            Self::Rgba(image) => image.dimensions(),
            Self::Gray16(image) => image.dimensions(),
        }
    }

    pub fn into_rgb(self) -> RgbImage {
        match self {
            Self::Rgb(image) | Self::Palette(image) => image,
            Self::Rgba(image) => DynamicImage::from(image).into_rgb8(),
            Self::Gray16(image) => {
                let gray = |x, y| [image.get_pixel(x, y).0[0].min(255) as u8; 3].into();
                RgbImage::from_fn(image.width(), image.height(), gray)
            }
        }
    }
}

/// Reads an image file without changing its kind.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded> {
    let reader = Cursor::new(bytes);
    let format = image::guess_format(bytes).ok();
    match format {
        Some(ImageFormat::Png) => {
            let (header, width, height) = header::png(bytes).ok_or_else(|| {
                Error::ImageDecode("the PNG file does not start with a header".into())
            })?;
            let limits = limits(width, height, options)?;
            let image = read(
                PngDecoder::with_limits(reader, limits).map_err(failed)?,
                options,
            )?;
            Ok(match header {
                header::Png::Gray16 => Decoded::Gray16(image.into_luma16()),
                header::Png::Alpha => Decoded::Rgba(rgba8(image)),
                header::Png::PaletteOrBilevel => Decoded::Palette(rgb8(image)),
                header::Png::Opaque => Decoded::Rgb(rgb8(image)),
            })
        }
        Some(ImageFormat::Jpeg) => Ok(Decoded::Rgb(rgb8(read(
            JpegDecoder::new(reader).map_err(failed)?,
            options,
        )?))),
        Some(ImageFormat::WebP) => {
            let image = read(WebPDecoder::new(reader).map_err(failed)?, options)?;
            Ok(match image.color().has_alpha() {
                true => Decoded::Rgba(rgba8(image)),
                false => Decoded::Rgb(rgb8(image)),
            })
        }
        Some(ImageFormat::Gif) => {
            let image = rgb8(read(GifDecoder::new(reader).map_err(failed)?, options)?);
            Ok(palette_or_gray(image, header::gif_is_gray(bytes)))
        }
        Some(ImageFormat::Bmp) => {
            let image = rgb8(read(BmpDecoder::new(reader).map_err(failed)?, options)?);
            Ok(palette_or_gray(image, !header::bmp_has_palette(bytes)))
        }
        _ => Err(Error::ImageDecode(
            "it is none of PNG, JPEG, WebP, GIF and BMP".into(),
        )),
    }
}

fn palette_or_gray(image: RgbImage, gray: bool) -> Decoded {
    match gray {
        true => Decoded::Rgb(image),
        false => Decoded::Palette(image),
    }
}

/// Decodes within the limits and turns the image upright.
fn read(mut decoder: impl ImageDecoder, options: &DecodeOptions) -> Result<DynamicImage> {
    let (width, height) = decoder.dimensions();
    decoder
        .set_limits(limits(width, height, options)?)
        .map_err(failed)?;
    let orientation = match options.apply_exif_orientation {
        // Damaged metadata do not make an image unreadable.
        true => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        false => Orientation::NoTransforms,
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// What a decoder may allocate for an image of this size, or an error if the size is refused.
fn limits(width: u32, height: u32, options: &DecodeOptions) -> Result<Limits> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > options.max_pixels {
        let limit = options.max_pixels;
        return Err(Error::ImageTooLarge {
            width,
            height,
            limit,
        });
    }
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::ImageDecode(format!(
            "it is {width} x {height} pixels; each side must be 1 to {MAX_SIDE}"
        )));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(pixels * 12 + OVERHEAD);
    Ok(limits)
}

fn failed(error: ImageError) -> Error {
    Error::ImageDecode(error.to_string())
}

/// Eight bits for each channel. Pillow keeps the high byte where `image` would round.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    fn high_bytes<P>(image: &image::ImageBuffer<P, Vec<u16>>) -> Vec<u8>
    where
        P: image::Pixel<Subpixel = u16>,
    {
        image
            .as_raw()
            .iter()
            .map(|sample| (sample >> 8) as u8)
            .collect()
    }
    let (width, height) = (image.width(), image.height());
    let narrow = match &image {
        DynamicImage::ImageRgb16(wide) => {
            RgbImage::from_raw(width, height, high_bytes(wide)).map(DynamicImage::from)
        }
        DynamicImage::ImageRgba16(wide) => {
            RgbaImage::from_raw(width, height, high_bytes(wide)).map(DynamicImage::from)
        }
        DynamicImage::ImageLumaA16(wide) => {
            image::GrayAlphaImage::from_raw(width, height, high_bytes(wide)).map(DynamicImage::from)
        }
        _ => None,
    };
    narrow.unwrap_or(image)
}

fn rgb8(image: DynamicImage) -> RgbImage {
    eight_bits(image).into_rgb8()
}

fn rgba8(image: DynamicImage) -> RgbaImage {
    eight_bits(image).into_rgba8()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    fn png(samples: &[u8], colour: ExtendedColorType) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file)
            .write_image(samples, 1, 1, colour)
            .unwrap();
        file
    }

    /// Samples of 16 bits, in the order of this machine.
    fn wide(samples: &[u16]) -> Vec<u8> {
        samples
            .iter()
            .flat_map(|sample| sample.to_ne_bytes())
            .collect()
    }

    #[test]
    fn sixteen_bits_become_eight_as_in_pillow() {
        let pixel = |file: Vec<u8>| {
            decode_rgb(&file, &DecodeOptions::default())
                .unwrap()
                .get_pixel(0, 0)
                .0
        };
        // Colours keep the high byte, where rounding would give [1, 2, 255]; gray is clipped.
        assert_eq!(
            pixel(png(&wide(&[255, 511, 65_535]), ExtendedColorType::Rgb16)),
            [0, 1, 255]
        );
        assert_eq!(
            pixel(png(&wide(&[511, 9]), ExtendedColorType::La16)),
            [1, 1, 1]
        );
        assert_eq!(pixel(png(&wide(&[200]), ExtendedColorType::L16)), [200; 3]);
        assert_eq!(pixel(png(&wide(&[256]), ExtendedColorType::L16)), [255; 3]);
        assert_eq!(
            pixel(png(&[9, 8, 7, 0], ExtendedColorType::Rgba8)),
            [9, 8, 7]
        );
    }
}
