use super::ImageSize;
use super::placement::Axis;

/// A part of a picture, in fractions of its width and height: the whole is 0, 0, 1, 1. It reaches beyond the picture
/// where that was padded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Region {
    /// The whole picture.
    pub const WHOLE: Self = Self {
        x: 0.0,
        y: 0.0,
        width: 1.0,
        height: 1.0,
    };

    /// What the model's input of `size` shows of a picture that goes into it as `x` and `y` say.
    pub(super) fn new(x: Axis, y: Axis, size: ImageSize) -> Self {
        let span = |axis: Axis, target: usize| {
            let full = axis.full as f64;
            let start = axis.start as f64 - axis.pad as f64;
            (start / full, target as f64 / full)
        };
        let ((x, width), (y, height)) = (span(x, size.width), span(y, size.height));
        Self {
            x,
            y,
            width,
            height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{PreprocessConfig, Preprocessor, ResizeMode};

    fn region(mode: ResizeMode, width: u32, height: u32) -> Region {
        let mut config = PreprocessConfig::for_size(64, 64);
        config.resize_mode = mode;
        Preprocessor::new(config).unwrap().region(width, height)
    }

    #[test]
    fn the_centre_of_the_longer_side() {
        let wide = region(ResizeMode::Shortest, 256, 128);
        assert_eq!(
            (wide.x, wide.width, wide.y, wide.height),
            (0.25, 0.5, 0.0, 1.0)
        );
        let tall = region(ResizeMode::Shortest, 100, 400);
        assert_eq!((tall.y, tall.height), (0.375, 0.25));
    }

    #[test]
    fn squashed_is_whole_and_padding_reaches_out() {
        assert_eq!(region(ResizeMode::Squash, 10, 99), Region::WHOLE);
        let padded = region(ResizeMode::Longest, 64, 32);
        assert_eq!((padded.y, padded.height), (-0.5, 2.0));
        assert_eq!((padded.x, padded.width), (0.0, 1.0));
    }
}
