//! Colours times alpha and back, in 8 bits as Pillow does it, so that transparent pixels do not bleed in a resize.

use image::{Rgba, RgbaImage};

/// The image with each colour multiplied by its alpha (Pillow's mode `RGBa`).
pub(super) fn premultiplied(image: &RgbaImage) -> RgbaImage {
    let multiply = |colour, alpha| {
        let product = u32::from(colour) * u32::from(alpha) + 128;
        ((product + (product >> 8)) >> 8) as u8
    };
    let mut image = image.clone();
    for Rgba([red, green, blue, alpha]) in image.pixels_mut() {
        for colour in [red, green, blue] {
            *colour = multiply(*colour, *alpha);
        }
    }
    image
}

/// RGB samples of premultiplied ones; the alpha is dropped.
pub(super) fn divided_by_alpha(premultiplied: &[u8]) -> Vec<u8> {
    let divide = |colour, alpha| match alpha {
        0 | 255 => colour,
        _ => (u32::from(colour) * 255 / u32::from(alpha)).min(255) as u8,
    };
    let pixels = premultiplied.as_chunks().0.iter();
    pixels
        .flat_map(|&[r, g, b, a]| [divide(r, a), divide(g, a), divide(b, a)])
        .collect()
}

/// RGB samples of RGBA ones.
pub(super) fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks()
        .0
        .iter()
        .flat_map(|&[r, g, b, _]| [r, g, b])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_and_transparent_pixels_pass_and_others_lose_precision() {
        let image =
            RgbaImage::from_raw(3, 1, vec![9, 8, 7, 255, 9, 8, 7, 0, 9, 80, 255, 100]).unwrap();
        let premultiplied = premultiplied(&image);
        assert_eq!(
            premultiplied.as_raw()[..],
            [9, 8, 7, 255, 0, 0, 0, 0, 4, 31, 100, 100]
        );
        assert_eq!(
            divided_by_alpha(&premultiplied),
            [9, 8, 7, 0, 0, 0, 10, 79, 255]
        );
        assert_eq!(divided_by_alpha(&[200, 0, 0, 100]), [255, 0, 0]);
        assert_eq!(without_alpha(&image), [9, 8, 7, 9, 8, 7, 9, 80, 255]);
    }
}
