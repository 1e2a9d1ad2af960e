//! Random changes of a training image: crop, flip, colours, erasing. Defaults are open_clip's, which only crops.

use coca_model::preprocess::{ImageSize, Preprocessor, resize_box};
use image::RgbImage;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::colour::{self, ColourJitter};
use super::erasing::RandomErasing;
use super::error::{Error, Result};

/// The `[augment]` table: what is done to training images. Evaluation never augments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// A random part of the image, resized to the model's image size. Without it, images go through the model's
    /// evaluation preprocessing.
    pub random_resized_crop: RandomResizedCrop,
    /// Probability of mirroring left and right. Not for images whose texts say "left", or with writing in them.
    pub horizontal_flip: f64,
    /// Random brightness, contrast, saturation and hue.
    pub colour_jitter: ColourJitter,
    /// Probability of removing all colour. Not for images whose texts name colours.
    pub grayscale_prob: f64,
    /// Rectangles that are overwritten, after all else.
    pub random_erasing: RandomErasing,
}

/// torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Whether to crop at random at all.
    pub enabled: bool,
    /// Least and greatest share of the image's area.
    pub scale: (f64, f64),
    /// Least and greatest ratio of width to height.
    pub ratio: (f64, f64),
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self {
            enabled: true,
            scale: (0.9, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
        }
    }
}

impl AugmentConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(Error::Config(format!("augment: {reason}")));
        let (low, high) = self.random_resized_crop.scale;
        if !(0.0 < low && low <= high && high <= 1.0) {
            return fail(format!("scale = [{low}, {high}] must rise within (0, 1]"));
        }
        let (low, high) = self.random_resized_crop.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            return fail(format!("ratio = [{low}, {high}] must rise from above zero"));
        }
        let probabilities = [
            ("horizontal_flip", self.horizontal_flip),
            ("grayscale_prob", self.grayscale_prob),
            ("colour_jitter.prob", self.colour_jitter.prob),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return fail(format!("{name} = {value} is no probability"));
            }
        }
        self.colour_jitter.validate().or_else(fail)?;
        self.random_erasing.validate().or_else(fail)
    }

    /// An image as the model takes it, `[3, height, width]`, normalised: changed at random, then erased in places.
    pub fn pixels(
        &self,
        image: &RgbImage,
        preprocessor: &Preprocessor,
        rng: &mut impl Rng,
    ) -> coca_model::Result<Vec<f32>> {
        let image = self.apply(image, preprocessor, rng)?;
        let mut pixels = preprocessor.normalise(&image);
        let (width, height) = image.dimensions();
        self.random_erasing
            .apply(&mut pixels, height as usize, width as usize, rng);
        Ok(pixels)
    }

    /// An image as the model will see it, in 8 bits: `size` of the preprocessor, randomly changed.
    fn apply(
        &self,
        image: &RgbImage,
        preprocessor: &Preprocessor,
        rng: &mut impl Rng,
    ) -> coca_model::Result<RgbImage> {
        let mut image = if self.random_resized_crop.enabled {
            let (left, top, width, height) =
                self.random_resized_crop.window(image.dimensions(), rng);
            let ImageSize {
                height: out_height,
                width: out_width,
            } = preprocessor.config().size;
            resize_box(
                image,
                (left, top, left + width, top + height),
                out_width as u32,
                out_height as u32,
                preprocessor.config().interpolation,
            )?
        } else {
            preprocessor.resize_crop(image)?
        };
        if rng.random_bool(self.horizontal_flip) {
            image::imageops::flip_horizontal_in_place(&mut image);
        }
        if rng.random_bool(self.colour_jitter.prob) {
            self.colour_jitter.apply(&mut image, rng);
        }
        if rng.random_bool(self.grayscale_prob) {
            colour::grayscale(&mut image);
        }
        Ok(image)
    }
}

impl RandomResizedCrop {
    /// A random window `(left, top, width, height)` of an image: ten attempts, then the largest centred window of
    /// an allowed ratio, as torchvision does.
    fn window(
        &self,
        (full_width, full_height): (u32, u32),
        rng: &mut impl Rng,
    ) -> (u32, u32, u32, u32) {
        let area = f64::from(full_width) * f64::from(full_height);
        let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..10 {
            let target = area * rng.random_range(self.scale.0..=self.scale.1);
            let ratio = rng.random_range(low..=high).exp();
            let (width, height) = size(target, ratio);
            if (1..=full_width).contains(&width) && (1..=full_height).contains(&height) {
                let top = rng.random_range(0..=full_height - height);
                let left = rng.random_range(0..=full_width - width);
                return (left, top, width, height);
            }
        }
        let (width, height) = self.fallback((full_width, full_height));
        (
            (full_width - width) / 2,
            (full_height - height) / 2,
            width,
            height,
        )
    }

    /// Width and height of the largest window of an allowed ratio.
    fn fallback(&self, (full_width, full_height): (u32, u32)) -> (u32, u32) {
        let (low, high) = self.ratio;
        let ratio = f64::from(full_width) / f64::from(full_height);
        let (mut width, mut height) = (full_width, full_height);
        if ratio < low {
            height = ((f64::from(width) / low).round_ties_even() as u32).clamp(1, full_height);
        } else if ratio > high {
            width = ((f64::from(height) * high).round_ties_even() as u32).clamp(1, full_width);
        }
        (width, height)
    }
}

/// Width and height of a window with this area and this ratio of width to height.
fn size(area: f64, ratio: f64) -> (u32, u32) {
    let width = (area * ratio).sqrt().round_ties_even() as u32;
    let height = (area / ratio).sqrt().round_ties_even() as u32;
    (width, height)
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Purpose, stream};
    use super::*;
    use coca_model::preprocess::PreprocessConfig;

    #[test]
    fn windows_keep_scale_and_ratio() {
        let crop = RandomResizedCrop {
            scale: (0.3, 0.6),
            ..RandomResizedCrop::default()
        };
        let mut rng = stream(1, Purpose::Sample, 0, 0);
        let mut corners = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let (left, top, width, height) = crop.window((200, 160), &mut rng);
            assert!(left + width <= 200 && top + height <= 160);
            let share = f64::from(width * height) / f64::from(200 * 160);
            assert!((0.29..0.61).contains(&share), "{share}");
            let ratio = f64::from(width) / f64::from(height);
            assert!((0.74..1.35).contains(&ratio), "{ratio}");
            corners.insert((left, top));
        }
        assert!(corners.len() > 300);
    }

    #[test]
    fn sizes_are_torchvisions() {
        let crop = RandomResizedCrop::default();
        let cases = super::super::testing::torchvision_sizes("crop");
        for case in &cases {
            let (width, height) = match size(case.area, case.ratio) {
                (width, height) if width <= case.width && height <= case.height => (width, height),
                _ => crop.fallback((case.width, case.height)),
            };
            assert_eq!([height, width], case.size, "{case:?}");
        }
        assert!(cases.len() > 40);
    }

    #[test]
    fn extreme_images_fall_back_to_a_centred_window() {
        let crop = RandomResizedCrop::default();
        let mut rng = stream(1, Purpose::Sample, 0, 0);
        assert_eq!(crop.window((900, 30), &mut rng), (430, 0, 40, 30));
        assert_eq!(crop.window((30, 900), &mut rng), (0, 430, 30, 40));
        assert_eq!(crop.window((1, 1), &mut rng), (0, 0, 1, 1));
    }

    #[test]
    fn flip_and_grayscale_do_what_they_say() {
        let preprocessor = Preprocessor::new(PreprocessConfig::for_size(4, 4)).unwrap();
        let image = RgbImage::from_fn(4, 4, |x, y| image::Rgb([x as u8 * 60, y as u8 * 60, 9]));
        let mut config = AugmentConfig::default();
        config.random_resized_crop.enabled = false;
        let mut rng = stream(1, Purpose::Sample, 0, 0);
        assert_eq!(
            config.apply(&image, &preprocessor, &mut rng).unwrap(),
            image
        );
        config.horizontal_flip = 1.0;
        let flipped = config.apply(&image, &preprocessor, &mut rng).unwrap();
        assert_eq!(flipped, image::imageops::flip_horizontal(&image));
        config.grayscale_prob = 1.0;
        let gray = config.apply(&image, &preprocessor, &mut rng).unwrap();
        assert!(gray.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
        // Pillow's L of (180, 0, 9), from the flipped corner.
        assert_eq!(gray.get_pixel(0, 0).0[0], 55);
    }

    #[test]
    fn the_table_reads_as_documented() {
        let config: AugmentConfig = toml::from_str(
            "horizontal_flip = 0.5\n[random_resized_crop]\nscale = [0.5, 1.0]\n[colour_jitter]\nprob = 0.8\nhue = 0.1",
        )
        .unwrap();
        config.validate().unwrap();
        assert_eq!(config.random_resized_crop.scale, (0.5, 1.0));
        assert_eq!(config.random_resized_crop.ratio, (0.75, 4.0 / 3.0));
        assert_eq!(config.colour_jitter.hue, 0.1);
        for bad in [
            "[random_resized_crop]\nscale = [0.0, 1.0]",
            "[random_resized_crop]\nratio = [2.0, 1.0]",
            "horizontal_flip = 1.5",
            "[colour_jitter]\nhue = 0.7",
            "[colour_jitter]\ncontrast = -0.7",
            "[random_erasing]\nprob = -1",
        ] {
            let config: AugmentConfig = toml::from_str(bad).unwrap();
            assert!(config.validate().is_err(), "{bad}");
        }
        assert!(toml::from_str::<AugmentConfig>("flip = 1").is_err());
    }
}
