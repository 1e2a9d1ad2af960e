//! Colour changes on 8-bit images, with Pillow's arithmetic as torchvision's `ColorJitter` uses it.

use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// Random colour changes, applied in random order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// Probability of changing an image at all.
    pub prob: f64,
    /// Brightness is multiplied by 1 ± this.
    pub brightness: f64,
    /// Contrast is multiplied by 1 ± this.
    pub contrast: f64,
    /// Saturation is multiplied by 1 ± this.
    pub saturation: f64,
    /// Hue is turned by up to this part of the colour circle, at most 0.5.
    pub hue: f64,
}

impl ColourJitter {
    /// The error is a sentence for the user.
    pub(super) fn validate(&self) -> Result<(), String> {
        let factors = [
            ("brightness", self.brightness, f64::MAX),
            ("contrast", self.contrast, f64::MAX),
            ("saturation", self.saturation, f64::MAX),
            ("hue", self.hue, 0.5),
        ];
        for (name, value, most) in factors {
            if !(0.0..=most).contains(&value) {
                return Err(format!("colour_jitter.{name} = {value} is out of range"));
            }
        }
        Ok(())
    }

    /// Changes the image once, with every factor drawn anew.
    pub(super) fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        let mut order = [0, 1, 2, 3];
        order.shuffle(rng);
        let mut factor = |spread: f64| {
            let least = (1.0 - spread).max(0.0);
            rng.random_range(least..=1.0 + spread) as f32
        };
        let factors = [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = rng.random_range(-self.hue..=self.hue);
        for change in order {
            match change {
                0 if self.brightness > 0.0 => brightness(image, factors[0]),
                1 if self.contrast > 0.0 => contrast(image, factors[1]),
                2 if self.saturation > 0.0 => saturation(image, factors[2]),
                3 if self.hue > 0.0 => hue(image, turn),
                _ => {}
            }
        }
    }
}

/// Replaces the colours by Pillow's `L`.
pub(super) fn grayscale(image: &mut RgbImage) {
    for pixel in image.pixels_mut() {
        pixel.0 = [luma(pixel.0); 3];
    }
}

/// Pillow's `convert("L")`: ITU-R 601-2 in 16-bit fixed point.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Pillow's `Image.blend` of one channel: from `start` (factor 0) through `end` (factor 1) and beyond.
fn blend(start: u8, end: u8, factor: f32) -> u8 {
    let (start, end) = (f32::from(start), f32::from(end));
    // The cast drops the fraction and stops at 0 and 255, as Pillow does.
    (start + factor * (end - start)) as u8
}

fn brightness(image: &mut RgbImage, factor: f32) {
    for value in image.iter_mut() {
        *value = blend(0, *value, factor);
    }
}

fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.pixels().map(|p| u64::from(luma(p.0))).sum();
    let count = u64::from(image.width()) * u64::from(image.height());
    let mean = (sum as f64 / count.max(1) as f64 + 0.5) as u8;
    for value in image.iter_mut() {
        *value = blend(mean, *value, factor);
    }
}

fn saturation(image: &mut RgbImage, factor: f32) {
    for pixel in image.pixels_mut() {
        let gray = luma(pixel.0);
        pixel.0 = pixel.0.map(|value| blend(gray, value, factor));
    }
}

/// Turns the hue by a part of the circle.
fn hue(image: &mut RgbImage, turn: f64) {
    let turn = (turn * 255.0) as i32 as u8;
    for pixel in image.pixels_mut() {
        let [h, s, v] = to_hsv(pixel.0);
        pixel.0 = to_rgb([h.wrapping_add(turn), s, v]);
    }
}

/// Pillow's `RGB` to `HSV`.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    // Pillow's C code mixes both precisions, and the last bit decides what the casts make of it.
    let range = f32::from(most) - f32::from(least);
    let distance = |value: u8| f64::from((f32::from(most) - f32::from(value)) / range);
    let sextant = if r == most {
        distance(b) - distance(g)
    } else if g == most {
        2.0 + distance(r) - distance(b)
    } else {
        4.0 + distance(g) - distance(r)
    };
    let hue = (f64::from(sextant as f32) / 6.0 + 1.0).fract() as f32;
    let saturation = range / f32::from(most);
    let scaled = |part: f32| (f64::from(part) * 255.0) as u8;
    [scaled(hue), scaled(saturation), most]
}

/// Pillow's `HSV` to `RGB`.
fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sextant = f64::from(h) * 6.0 / 255.0;
    let (saturation, fraction) = ((f64::from(s) / 255.0) as f32, sextant.fract() as f32);
    let scaled = |part: f64| (f64::from(v) * (1.0 - part)).round() as u8;
    let p = scaled(f64::from(saturation));
    let q = scaled(f64::from(saturation * fraction));
    let t = scaled(f64::from(saturation) * (1.0 - f64::from(fraction)));
    match sextant as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Purpose, stream};
    use super::*;

    fn one(pixel: [u8; 3]) -> RgbImage {
        RgbImage::from_pixel(1, 1, image::Rgb(pixel))
    }

    #[test]
    fn single_changes_follow_their_definitions() {
        let changed = |change: fn(&mut RgbImage, f32), factor: f32| {
            let mut image = RgbImage::from_raw(2, 1, vec![200, 100, 50, 0, 0, 0]).unwrap();
            change(&mut image, factor);
            image.into_raw()
        };
        assert_eq!(changed(brightness, 0.5), [100, 50, 25, 0, 0, 0]);
        assert_eq!(changed(brightness, 2.0), [255, 200, 100, 0, 0, 0]);
        // The gray of the first pixel is 124, the mean of the image 62.
        assert_eq!(changed(contrast, 0.0), [62; 6]);
        assert_eq!(changed(contrast, 2.0), [255, 138, 38, 0, 0, 0]);
        assert_eq!(changed(saturation, 0.0), [124, 124, 124, 0, 0, 0]);
        assert_eq!(changed(saturation, 1.0), [200, 100, 50, 0, 0, 0]);
    }

    #[test]
    fn changes_are_torchvisions_to_the_bit() {
        let cases = super::super::testing::torchvision_colours();
        for case in &cases.changes {
            let mut image =
                RgbImage::from_raw(cases.width, cases.height, cases.pixels.clone()).unwrap();
            match case.change.as_str() {
                "brightness" => brightness(&mut image, case.factor as f32),
                "contrast" => contrast(&mut image, case.factor as f32),
                "saturation" => saturation(&mut image, case.factor as f32),
                "hue" => hue(&mut image, case.factor),
                _ => grayscale(&mut image),
            }
            let differences = image.as_raw().iter().zip(&case.pixels);
            let wrong = differences.filter(|(ours, theirs)| ours != theirs).count();
            assert_eq!(wrong, 0, "{} {}", case.change, case.factor);
        }
        assert_eq!(cases.changes.len(), 27);
    }

    #[test]
    fn hue_turns_red_into_green_and_back() {
        let mut image = one([255, 0, 0]);
        hue(&mut image, 1.0 / 3.0);
        assert_eq!(image.get_pixel(0, 0).0, [0, 255, 0]);
        hue(&mut image, -1.0 / 3.0);
        assert_eq!(image.get_pixel(0, 0).0, [255, 0, 0]);
        // Eight bits lose a little, but never more than a few steps.
        for pixel in [
            [12, 200, 77],
            [250, 249, 3],
            [1, 2, 3],
            [90, 90, 90],
            [128, 0, 255],
        ] {
            let back = to_rgb(to_hsv(pixel));
            let error = pixel.iter().zip(back).map(|(a, b)| a.abs_diff(b)).max();
            assert!(error.unwrap() <= 6, "{pixel:?} became {back:?}");
        }
    }

    #[test]
    fn a_jitter_without_factors_changes_nothing() {
        let mut rng = stream(1, Purpose::Sample, 0, 0);
        let mut image = one([10, 20, 30]);
        ColourJitter::default().apply(&mut image, &mut rng);
        assert_eq!(image, one([10, 20, 30]));
        let strong = ColourJitter {
            brightness: 0.9,
            hue: 0.5,
            ..ColourJitter::default()
        };
        strong.apply(&mut image, &mut rng);
        assert_ne!(image, one([10, 20, 30]));
    }
}
