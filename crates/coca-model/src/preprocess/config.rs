use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest height or width that images are resized to.
pub(super) const MAX_SIZE: usize = 4096;

/// How images become model input: `preprocess_cfg` of `open_clip_config.json`.
///
/// Missing and `null` fields take open_clip's defaults; fields that open_clip does not know are ignored.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(from = "RawConfig")]
pub struct PreprocessConfig {
    /// Size of the model's input, in pixels.
    pub size: ImageSize,
    /// Colour channels of the model's input.
    pub mode: ImageMode,
    /// Mean of each channel, on a scale of 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, on a scale of 0 to 1.
    pub std: [f32; 3],
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// How an image that has another aspect ratio is made to fit.
    pub resize_mode: ResizeMode,
    /// Colour of the padding in [`ResizeMode::Longest`].
    pub fill_color: FillColour,
}

impl PreprocessConfig {
    /// The configuration that open_clip uses for a model of this input size (pixels).
    pub fn for_size(height: usize, width: usize) -> Self {
        Self {
            size: ImageSize { height, width },
            ..Self::default()
        }
    }

    /// Checks what the types cannot: sizes and statistics that can be computed with.
    pub(super) fn validate(&self) -> Result<()> {
        let ImageSize { height, width } = self.size;
        if !(1..=MAX_SIZE).contains(&height) || !(1..=MAX_SIZE).contains(&width) {
            return Err(Error::Config(format!(
                "preprocess_cfg.size is {height} x {width}; each side must be 1 to {MAX_SIZE} pixels"
            )));
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(Error::Config(format!(
                "preprocess_cfg.mean {:?} must be finite",
                self.mean
            )));
        }
        if !self.std.iter().all(|s| s.is_normal() && *s > 0.0) {
            return Err(Error::Config(format!(
                "preprocess_cfg.std {:?} must be finite and greater than 0",
                self.std
            )));
        }
        Ok(())
    }
}

impl Default for PreprocessConfig {
    /// open_clip's defaults: 224 x 224, bicubic, shortest side, OpenAI's channel statistics.
    fn default() -> Self {
        Self {
            size: ImageSize {
                height: 224,
                width: 224,
            },
            mode: ImageMode::Rgb,
            mean: [0.48145466, 0.4578275, 0.40821073],
            std: [0.26862954, 0.261_302_6, 0.275_777_1],
            interpolation: Interpolation::Bicubic,
            resize_mode: ResizeMode::Shortest,
            fill_color: FillColour([0; 3]),
        }
    }
}

/// Height and width in pixels; in JSON one number for a square, else `[height, width]`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(try_from = "OneOrMany<usize>", into = "OneOrMany<usize>")]
pub struct ImageSize {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// Colour channels of the model's input.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageMode {
    /// Red, green, blue: the only one open_clip has.
    #[serde(rename = "RGB")]
    Rgb,
}

/// Filter of the resize. Both widen with the reduction, so that shrinking does not alias.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic convolution with a = -0.5. open_clip's `random` (a training augmentation) means this in evaluation.
    #[serde(alias = "random")]
    Bicubic,
    /// Triangle.
    Bilinear,
}

/// How an image that has another aspect ratio than the model's input is made to fit.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMode {
    /// The shorter side fits, the longer one is cropped at its centre.
    Shortest,
    /// The longer side fits, the shorter one is padded.
    Longest,
    /// Both sides fit, the aspect ratio is lost.
    Squash,
}

/// A colour; in JSON one number for a gray, else `[red, green, blue]`, 0 to 255 each.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(try_from = "OneOrMany<u8>", into = "OneOrMany<u8>")]
pub struct FillColour(pub [u8; 3]);

/// What open_clip may write as a number or as a list.
#[derive(Serialize, Deserialize, Clone)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl TryFrom<OneOrMany<usize>> for ImageSize {
    type Error = String;

    fn try_from(value: OneOrMany<usize>) -> Result<Self, String> {
        match value {
            OneOrMany::One(side) => Ok(Self {
                height: side,
                width: side,
            }),
            OneOrMany::Many(sides) => match sides[..] {
                [side] => Ok(Self {
                    height: side,
                    width: side,
                }),
                [height, width] => Ok(Self { height, width }),
                _ => Err(format!(
                    "an image size is one number or [height, width], not {} numbers",
                    sides.len()
                )),
            },
        }
    }
}

impl From<ImageSize> for OneOrMany<usize> {
    fn from(size: ImageSize) -> Self {
        match size.height == size.width {
            true => Self::One(size.height),
            false => Self::Many(vec![size.height, size.width]),
        }
    }
}

impl TryFrom<OneOrMany<u8>> for FillColour {
    type Error = String;

    fn try_from(value: OneOrMany<u8>) -> Result<Self, String> {
        channels(value).map(Self)
    }
}

impl From<FillColour> for OneOrMany<u8> {
    fn from(FillColour([red, green, blue]): FillColour) -> Self {
        match red == green && green == blue {
            true => Self::One(red),
            false => Self::Many(vec![red, green, blue]),
        }
    }
}

/// One value for each of the three channels; a single value counts for all of them.
fn channels<T: Copy>(value: OneOrMany<T>) -> Result<[T; 3], String> {
    match value {
        OneOrMany::One(all) => Ok([all; 3]),
        OneOrMany::Many(values) => match values[..] {
            [all] => Ok([all; 3]),
            [red, green, blue] => Ok([red, green, blue]),
            _ => Err(format!(
                "expected one number or [red, green, blue], not {} numbers",
                values.len()
            )),
        },
    }
}

/// Channel statistics as JSON has them.
#[derive(Deserialize)]
#[serde(try_from = "OneOrMany<f32>")]
struct Channels([f32; 3]);

impl TryFrom<OneOrMany<f32>> for Channels {
    type Error = String;

    fn try_from(value: OneOrMany<f32>) -> Result<Self, String> {
        channels(value).map(Self)
    }
}

/// The configuration as JSON has it: everything may be missing or `null`.
#[derive(Deserialize)]
struct RawConfig {
    size: Option<ImageSize>,
    mode: Option<ImageMode>,
    mean: Option<Channels>,
    std: Option<Channels>,
    interpolation: Option<Interpolation>,
    resize_mode: Option<ResizeMode>,
    fill_color: Option<FillColour>,
}

impl From<RawConfig> for PreprocessConfig {
    fn from(raw: RawConfig) -> Self {
        let default = Self::default();
        Self {
            size: raw.size.unwrap_or(default.size),
            mode: raw.mode.unwrap_or(default.mode),
            mean: raw.mean.map_or(default.mean, |c| c.0),
            std: raw.std.map_or(default.std, |c| c.0),
            interpolation: raw.interpolation.unwrap_or(default.interpolation),
            resize_mode: raw.resize_mode.unwrap_or(default.resize_mode),
            fill_color: raw.fill_color.unwrap_or(default.fill_color),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PreprocessConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn missing_null_and_unknown_fields_take_the_defaults() {
        let default = PreprocessConfig::default();
        assert_eq!(parse("{}").unwrap(), default);
        assert_eq!(
            parse(r#"{"size": null, "mean": null, "crop_pct": 0.9}"#).unwrap(),
            default
        );
        assert_eq!(default, PreprocessConfig::for_size(224, 224));
    }

    #[test]
    fn numbers_and_lists_are_read_as_open_clip_writes_them() {
        let json = r#"{"size": [288, 384], "mode": "RGB", "mean": 0.5, "std": [0.5, 0.25, 0.5],
            "interpolation": "bilinear", "resize_mode": "longest", "fill_color": [1, 2, 3]}"#;
        let config = parse(json).unwrap();
        assert_eq!(
            config.size,
            ImageSize {
                height: 288,
                width: 384
            }
        );
        assert_eq!(config.mean, [0.5; 3]);
        assert_eq!(config.fill_color, FillColour([1, 2, 3]));
        assert_eq!(
            parse(&serde_json::to_string(&config).unwrap()).unwrap(),
            config
        );

        let square = serde_json::to_value(PreprocessConfig::for_size(64, 64)).unwrap();
        assert_eq!(square["size"], 64);
        assert_eq!(square["fill_color"], 0);
        assert_eq!(
            parse(r#"{"interpolation": "random"}"#)
                .unwrap()
                .interpolation,
            Interpolation::Bicubic
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            r#"{"size": [1, 2, 3]}"#,
            r#"{"size": -1}"#,
            r#"{"mode": "L"}"#,
            r#"{"mean": [0.5, 0.5]}"#,
            r#"{"fill_color": 256}"#,
            r#"{"interpolation": "lanczos"}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
        for json in [
            r#"{"size": 0}"#,
            r#"{"size": 1000000}"#,
            r#"{"std": 0}"#,
            r#"{"std": [1, 1, -1]}"#,
        ] {
            assert!(parse(json).unwrap().validate().is_err(), "{json}");
        }
    }
}
