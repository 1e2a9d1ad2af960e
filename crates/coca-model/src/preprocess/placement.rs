use super::{PreprocessConfig, ResizeMode};

/// Which part of a resized axis is needed, and where it goes.
///
/// Only this part is ever computed: the resize of a 1 x 65535 image to 224 has 3.3 billion pixels, of which the
/// crop keeps 50176.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Length of the whole resized axis.
    pub full: u64,
    /// First position of it that is kept.
    pub start: u64,
    /// How many positions are kept.
    pub len: usize,
    /// Padding before them in the output.
    pub pad: usize,
}

impl Axis {
    /// The centre of `full` positions in an output of `target`: torchvision's `CenterCrop`, open_clip's
    /// `CenterCropOrPad`.
    fn centre(full: u64, target: usize) -> Self {
        match full.checked_sub(target as u64) {
            // Python rounds half to even.
            Some(excess) => Self {
                full,
                start: excess / 2 + u64::from(excess % 4 == 3),
                len: target,
                pad: 0,
            },
            None => Self {
                full,
                start: 0,
                len: full as usize,
                pad: (target - full as usize) / 2,
            },
        }
    }

    /// The whole axis.
    pub fn whole(full: usize) -> Self {
        Self {
            full: full as u64,
            start: 0,
            len: full,
            pad: 0,
        }
    }
}

/// Where an image of `width` x `height` (at least 1 each) goes in the model's input: the horizontal and the
/// vertical axis.
pub(super) fn place(config: &PreprocessConfig, width: u32, height: u32) -> (Axis, Axis) {
    let (target_w, target_h) = (config.size.width, config.size.height);
    let (full_w, full_h) = match config.resize_mode {
        ResizeMode::Squash => (target_w as u64, target_h as u64),
        ResizeMode::Longest => keep_ratio(width, height, target_w, target_h, f64::max),
        // open_clip takes torchvision's Resize for squares, which truncates, and timm's otherwise, which rounds.
        ResizeMode::Shortest if target_w != target_h => {
            keep_ratio(width, height, target_w, target_h, f64::min)
        }
        ResizeMode::Shortest => {
            let (short, long) = (width.min(height), width.max(height));
            let new_long = (target_w as f64 * f64::from(long) / f64::from(short)) as u64;
            match width <= height {
                true => (target_w as u64, new_long),
                false => (new_long, target_w as u64),
            }
        }
    };
    (
        Axis::centre(full_w, target_w),
        Axis::centre(full_h, target_h),
    )
}

/// timm's `ResizeKeepRatio`: both sides divided by the ratio of one of them, which `choose` picks.
fn keep_ratio(
    width: u32,
    height: u32,
    target_w: usize,
    target_h: usize,
    choose: fn(f64, f64) -> f64,
) -> (u64, u64) {
    let (width, height) = (f64::from(width), f64::from(height));
    let ratio = choose(height / target_h as f64, width / target_w as f64);
    // PIL fails where a side would vanish; a line of one pixel is the sensible answer.
    let scale = |side: f64| ((side / ratio).round_ties_even() as u64).max(1);
    (scale(width), scale(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crop_offsets_round_half_to_even() {
        let starts: Vec<u64> = (64..=72).map(|full| Axis::centre(full, 64).start).collect();
        assert_eq!(starts, [0, 0, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn the_shortest_side_truncates_on_squares_and_rounds_otherwise() {
        let full = |config: &PreprocessConfig, w, h| {
            let (x, y) = place(config, w, h);
            (x.full, y.full)
        };
        let square = PreprocessConfig::for_size(224, 224);
        assert_eq!(full(&square, 333, 251), (297, 224)); // 297.18
        assert_eq!(full(&square, 301, 227), (297, 224)); // 297.02
        assert_eq!(full(&square, 500, 337), (332, 224)); // 332.34
        let wide = PreprocessConfig::for_size(100, 200);
        assert_eq!(full(&wide, 301, 227), (200, 151)); // 150.83
    }

    #[test]
    fn the_longest_side_pads_and_never_vanishes() {
        let mut config = PreprocessConfig::for_size(64, 64);
        config.resize_mode = ResizeMode::Longest;
        let (x, y) = place(&config, 200, 21);
        assert_eq!((x.full, x.pad, y.full, y.len, y.pad), (64, 0, 7, 7, 28)); // 6.72
        let (x, y) = place(&config, 65_535, 1);
        assert_eq!((x.full, y.full), (64, 1));
    }
}
