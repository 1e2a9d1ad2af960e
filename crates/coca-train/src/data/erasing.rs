//! Random erasing of rectangles: torchvision's `RandomErasing`, in timm's form for several.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Rectangles of the normalised image that are overwritten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability of erasing anything; open_clip's `re_prob`.
    pub prob: f64,
    /// How many rectangles share the erased area; open_clip's `re_count`.
    pub count: u32,
    /// Least and greatest share of the image's area, for all rectangles together.
    pub scale: (f64, f64),
    /// Least and greatest ratio of height to width.
    pub ratio: (f64, f64),
    /// What is written.
    pub fill: Fill,
}

/// What takes the place of erased pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Zero, that is the mean colour; torchvision's default.
    #[default]
    Mean,
    /// Normal noise of unit variance for each value; timm's `pixel` mode, which open_clip uses.
    Noise,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self {
            prob: 0.0,
            count: 1,
            scale: (0.02, 0.33),
            ratio: (0.3, 3.3),
            fill: Fill::Mean,
        }
    }
}

impl RandomErasing {
    /// The error is a sentence for the user.
    pub(super) fn validate(&self) -> Result<(), String> {
        let (low, high) = self.scale;
        if !(0.0..=1.0).contains(&self.prob) {
            return Err(format!(
                "random_erasing.prob = {} is no probability",
                self.prob
            ));
        }
        if !(1..=1000).contains(&self.count) {
            return Err(format!(
                "random_erasing.count = {} must be 1 to 1000",
                self.count
            ));
        }
        if !(0.0 < low && low <= high && high <= 1.0) {
            return Err(format!(
                "random_erasing.scale = [{low}, {high}] must rise within (0, 1]"
            ));
        }
        let (low, high) = self.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            return Err(format!(
                "random_erasing.ratio = [{low}, {high}] must rise from above zero"
            ));
        }
        Ok(())
    }

    /// Erases parts of an image, `[3, height, width]`, normalised.
    pub(super) fn apply(
        &self,
        pixels: &mut [f32],
        height: usize,
        width: usize,
        rng: &mut impl Rng,
    ) {
        if self.prob == 0.0 || !rng.random_bool(self.prob) {
            return;
        }
        for _ in 0..self.count {
            let Some((top, left, rows, columns)) = self.window(height, width, rng) else {
                continue;
            };
            for plane in pixels.chunks_exact_mut((height * width).max(1)) {
                for row in plane.chunks_exact_mut(width.max(1)).skip(top).take(rows) {
                    for value in row.iter_mut().skip(left).take(columns) {
                        *value = match self.fill {
                            Fill::Mean => 0.0,
                            Fill::Noise => normal(rng),
                        };
                    }
                }
            }
        }
    }

    /// A random window `(top, left, height, width)`; none after ten attempts that did not fit.
    fn window(
        &self,
        height: usize,
        width: usize,
        rng: &mut impl Rng,
    ) -> Option<(usize, usize, usize, usize)> {
        let area = (height * width) as f64 / f64::from(self.count);
        let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..10 {
            let target = area * rng.random_range(self.scale.0..=self.scale.1);
            let ratio = rng.random_range(low..=high).exp();
            let (rows, columns) = size(target, ratio);
            if rows < height && columns < width {
                let top = rng.random_range(0..=height - rows);
                let left = rng.random_range(0..=width - columns);
                return Some((top, left, rows, columns));
            }
        }
        None
    }
}

/// Height and width of a rectangle with this area and this ratio of height to width.
fn size(area: f64, ratio: f64) -> (usize, usize) {
    let height = (area * ratio).sqrt().round_ties_even() as usize;
    let width = (area / ratio).sqrt().round_ties_even() as usize;
    (height, width)
}

/// A draw from the normal distribution, by Box and Muller.
fn normal(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Purpose, stream};
    use super::*;

    /// The values that were changed from one.
    fn erased(config: &RandomErasing, seed: u64) -> Vec<f32> {
        let mut pixels = vec![1.0; 3 * 40 * 50];
        let mut rng = stream(seed, Purpose::Sample, 0, 0);
        config.apply(&mut pixels, 40, 50, &mut rng);
        let changed = |plane: &[f32]| -> Vec<bool> { plane.iter().map(|&v| v != 1.0).collect() };
        let planes: Vec<_> = pixels.chunks_exact(40 * 50).map(changed).collect();
        assert!(
            planes.iter().all(|plane| *plane == planes[0]),
            "all channels alike"
        );
        pixels.into_iter().filter(|&v| v != 1.0).collect()
    }

    #[test]
    fn erased_areas_and_shapes_are_as_configured() {
        let config = RandomErasing {
            prob: 1.0,
            scale: (0.1, 0.2),
            ratio: (0.5, 2.0),
            ..RandomErasing::default()
        };
        let mut rng = stream(1, Purpose::Sample, 0, 0);
        let mut places = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let (top, left, height, width) = config.window(40, 50, &mut rng).unwrap();
            assert!(top + height <= 40 && left + width <= 50);
            let share = (height * width) as f64 / 2000.0;
            assert!((0.09..0.22).contains(&share), "{share}");
            let ratio = height as f64 / width as f64;
            assert!((0.45..2.2).contains(&ratio), "{ratio}");
            places.insert((top, left));
        }
        assert!(places.len() > 200);
        for seed in 0..20 {
            let values = erased(&config, seed);
            assert!((540..=1320).contains(&values.len()), "{}", values.len());
            assert!(values.iter().all(|&v| v == 0.0));
            assert_eq!(values, erased(&config, seed));
        }
    }

    #[test]
    fn sizes_are_torchvisions() {
        let cases = super::super::testing::torchvision_sizes("erase");
        for case in &cases {
            let (height, width) = size(case.area, case.ratio);
            let [rows, columns] = case.size.map(|side| side as usize);
            assert_eq!((height, width), (rows, columns), "{case:?}");
        }
        assert!(cases.len() > 40);
    }

    #[test]
    fn several_rectangles_share_the_area_and_noise_is_normal() {
        let config = RandomErasing {
            prob: 1.0,
            count: 4,
            scale: (0.3, 0.3),
            fill: Fill::Noise,
            ..RandomErasing::default()
        };
        let mut values = Vec::new();
        for seed in 0..20 {
            let some = erased(&config, seed);
            // Four times 7.5 per cent, less where they overlap.
            assert!((900..=2000).contains(&some.len()), "{}", some.len());
            values.extend(some);
        }
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn nothing_is_erased_unless_asked_for() {
        assert!(erased(&RandomErasing::default(), 0).is_empty());
        let half = RandomErasing {
            prob: 0.5,
            ..RandomErasing::default()
        };
        let times = (0..400)
            .filter(|&seed| !erased(&half, seed).is_empty())
            .count();
        assert!((150..250).contains(&times), "{times}");
        // What never fits, a rectangle as large as the image, is given up, as by torchvision.
        let whole = RandomErasing {
            prob: 1.0,
            scale: (1.0, 1.0),
            ratio: (0.8, 0.8),
            ..RandomErasing::default()
        };
        assert!(erased(&whole, 0).is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("prob = 2", "prob"),
            ("count = 0", "count"),
            ("scale = [0, 1]", "scale"),
            ("ratio = [2, 1]", "ratio"),
        ] {
            let config: RandomErasing = toml::from_str(line).unwrap();
            assert!(config.validate().unwrap_err().contains(word), "{line}");
        }
    }
}
