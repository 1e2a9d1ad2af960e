//! Resizing that gives the same bytes as Pillow's `Image.resize`, on every machine and in the browser.
//!
//! Pillow resamples in two passes, one for each direction, with the filter widened by the reduction. For 8-bit
//! images the weights are fixed-point numbers of 22 fractional bits and the result of each pass is rounded to 8 bits.

use std::ops::{AddAssign, Range};

use image::{ImageBuffer, Pixel, Primitive, RgbImage};

use super::{Interpolation, config::MAX_SIZE, placement::Axis};
use crate::{Error, Result};

/// Fractional bits of the 8-bit weights: 32, less 8 for the sample, less 2 for the filter's overshoot.
const PRECISION: u32 = 22;

/// Resizes the part of `image` between `left`, `top` (included) and `right`, `bottom` (excluded), in pixels.
///
/// Pixels outside the box do not count, as when torchvision's `RandomResizedCrop` crops before it resizes.
/// Fails if the box is empty or reaches outside the image, or if a side of the output is 0 or longer than 4096.
pub fn resize_box(
    image: &RgbImage,
    (left, top, right, bottom): (u32, u32, u32, u32),
    out_width: u32,
    out_height: u32,
    interpolation: Interpolation,
) -> Result<RgbImage> {
    if left >= right || top >= bottom || right > image.width() || bottom > image.height() {
        return Err(Error::Input(format!(
            "crop box ({left}, {top}, {right}, {bottom}) is empty or outside of the {} x {} image",
            image.width(),
            image.height()
        )));
    }
    let sizes = 1..=MAX_SIZE as u32;
    if !sizes.contains(&out_width) || !sizes.contains(&out_height) {
        return Err(Error::Input(format!(
            "an image cannot be resized to {out_width} x {out_height}; each side must be 1 to {MAX_SIZE} pixels"
        )));
    }
    let whole = View::of(image);
    let start = top as usize * whole.stride + left as usize;
    let part = View {
        pixels: whole.pixels.get(start..).unwrap_or_default(),
        stride: whole.stride,
        width: (right - left) as usize,
        height: (bottom - top) as usize,
    };
    let (x, y) = (
        Axis::whole(out_width as usize),
        Axis::whole(out_height as usize),
    );
    rgb(
        out_width,
        out_height,
        resample::<_, 3>(&part, x, y, interpolation),
    )
}

/// An image of samples that have been computed for its size.
pub(super) fn rgb(width: u32, height: u32, samples: Vec<u8>) -> Result<RgbImage> {
    RgbImage::from_raw(width, height, samples).ok_or_else(|| {
        Error::Input(format!(
            "too few samples for an image of {width} x {height} pixels"
        ))
    })
}

/// Rows of pixels of `C` channels, `stride` pixels apart.
pub(super) struct View<'a, T, const C: usize> {
    pub pixels: &'a [[T; C]],
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

impl<'a, T: Primitive, const C: usize> View<'a, T, C> {
    /// All of an image that has `C` channels.
    pub fn of<P: Pixel<Subpixel = T>>(image: &'a ImageBuffer<P, Vec<T>>) -> Self {
        Self {
            pixels: image.as_raw().as_chunks().0,
            stride: image.width() as usize,
            width: image.width() as usize,
            height: image.height() as usize,
        }
    }

    /// Rows without gaps.
    fn rows(pixels: &'a [[T; C]], width: usize, height: usize) -> Self {
        Self {
            pixels,
            stride: width,
            width,
            height,
        }
    }

    fn row(&self, y: usize) -> &[[T; C]] {
        let start = y * self.stride;
        self.pixels
            .get(start..start + self.width)
            .unwrap_or_default()
    }
}

/// The wanted part of the resized image.
pub(super) fn resample<T: Sample, const C: usize>(
    image: &View<T, C>,
    x: Axis,
    y: Axis,
    interpolation: Interpolation,
) -> Vec<T> {
    let mut horizontal = Kernel::new(image.width, x, interpolation);
    let mut vertical = Kernel::new(image.height, y, interpolation);
    // Only what the second pass reads is computed in the first one. The order shows where the first overshoots.
    if vertical_first(image, x, y) {
        let columns = horizontal.range();
        horizontal.shift(columns.start);
        let flat = down(image, columns.clone(), &vertical);
        across(
            &View::rows(&flat, columns.len(), y.len),
            0..y.len,
            &horizontal,
        )
    } else {
        let rows = vertical.range();
        vertical.shift(rows.start);
        let narrow = across(image, rows.clone(), &horizontal);
        down(&View::rows(&narrow, x.len, rows.len()), 0..x.len, &vertical)
    }
    .into_flattened()
}

/// Pillow 13 starts with the height if it shrinks by more than twice as many pixels as the width; earlier versions
/// never did.
fn vertical_first<T, const C: usize>(image: &View<T, C>, x: Axis, y: Axis) -> bool {
    let lost = |from: usize, to: u64| from as i64 - to as i64;
    let height = lost(image.height, y.full);
    height > 0 && height > 2 * lost(image.width, x.full)
}

/// Resizes some rows in width.
fn across<T: Sample, const C: usize>(
    image: &View<T, C>,
    rows: Range<usize>,
    kernel: &Kernel,
) -> Vec<[T; C]> {
    let weights = kernel.weights_for::<T>();
    let mut out = Vec::with_capacity(rows.len() * kernel.spans.len());
    for y in rows {
        let row = image.row(y);
        out.extend(kernel.pair(&weights).map(|(span, weights)| {
            let mut sums = [T::HALF; C];
            for (pixel, weight) in row.get(span).unwrap_or_default().iter().zip(weights) {
                for (sum, sample) in sums.iter_mut().zip(pixel) {
                    *sum += sample.times(*weight);
                }
            }
            sums.map(T::from_sum)
        }));
    }
    out
}

/// Resizes some columns in height.
fn down<T: Sample, const C: usize>(
    image: &View<T, C>,
    columns: Range<usize>,
    kernel: &Kernel,
) -> Vec<[T; C]> {
    let weights = kernel.weights_for::<T>();
    let mut out = Vec::with_capacity(columns.len() * kernel.spans.len());
    let mut sums = vec![[T::HALF; C]; columns.len()];
    for (span, weights) in kernel.pair(&weights) {
        sums.fill([T::HALF; C]);
        for (y, weight) in span.zip(weights) {
            let row = image.row(y).get(columns.clone()).unwrap_or_default();
            for (sum, sample) in sums.as_flattened_mut().iter_mut().zip(row.as_flattened()) {
                *sum += sample.times(*weight);
            }
        }
        out.extend(sums.iter().map(|sums| sums.map(T::from_sum)));
    }
    out
}

/// The wanted part of the resized image, by the nearest pixel: what Pillow does with palettes and bilevel images,
/// whatever filter is asked for.
pub(super) fn nearest(image: &View<u8, 3>, x: Axis, y: Axis) -> Vec<u8> {
    let columns = nearest_positions(image.width, x);
    let mut out = Vec::with_capacity(x.len * y.len * 3);
    for y in nearest_positions(image.height, y) {
        let row = image.row(y);
        out.extend(
            columns
                .iter()
                .filter_map(|column| row.get(*column))
                .flatten(),
        );
    }
    out
}

/// The input position of each output position.
fn nearest_positions(size: usize, axis: Axis) -> Vec<usize> {
    let scale = size as f64 / axis.full as f64;
    // Pillow adds the step each time, and its rounding errors decide ties.
    let mut position = scale * 0.5;
    for _ in 0..axis.start {
        position += scale;
    }
    let step = |_| {
        let at = (position as usize).min(size.saturating_sub(1));
        position += scale;
        at
    };
    (0..axis.len).map(step).collect()
}

/// The weights of one axis.
struct Kernel {
    /// The input positions that each output position is computed from.
    spans: Vec<Range<usize>>,
    /// Weights kept for each span; those past its length are 0.
    taps: usize,
    weights: Vec<f64>,
}

impl Kernel {
    fn new(size: usize, axis: Axis, interpolation: Interpolation) -> Self {
        let (radius, filter): (f64, fn(f64) -> f64) = match interpolation {
            Interpolation::Bicubic => (2.0, bicubic),
            Interpolation::Bilinear => (1.0, bilinear),
        };
        let scale = size as f64 / axis.full as f64;
        let widening = scale.max(1.0);
        let narrowing = 1.0 / widening;
        let support = radius * widening;
        let taps = support.ceil() as usize * 2 + 1;
        let mut spans = Vec::with_capacity(axis.len);
        let mut weights = vec![0.0; taps * axis.len];
        for (position, weights) in (axis.start..).zip(weights.chunks_exact_mut(taps)) {
            let centre = (position as f64 + 0.5) * scale;
            // Casts saturate, so a span that starts before the image starts at 0.
            let first = (centre - support + 0.5) as usize;
            let last = ((centre + support + 0.5) as usize).min(size);
            let len = last.saturating_sub(first);
            let mut sum = 0.0;
            for (tap, weight) in weights.iter_mut().take(len).enumerate() {
                *weight = filter(((tap + first) as f64 - centre + 0.5) * narrowing);
                sum += *weight;
            }
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            spans.push(first..first + len);
        }
        Self {
            spans,
            taps,
            weights,
        }
    }

    fn weights_for<T: Sample>(&self) -> Vec<T::Sum> {
        self.weights.iter().copied().map(T::weight).collect()
    }

    /// The input positions of each output position with its weights.
    fn pair<'a, W>(&self, weights: &'a [W]) -> impl Iterator<Item = (Range<usize>, &'a [W])> {
        self.spans
            .iter()
            .cloned()
            .zip(weights.chunks_exact(self.taps))
    }

    /// The input positions that any span reads.
    fn range(&self) -> Range<usize> {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }

    /// Counts input positions from `origin`, which no span may begin before.
    fn shift(&mut self, origin: usize) {
        for span in &mut self.spans {
            *span = span.start - origin..span.end - origin;
        }
    }
}

/// Cubic convolution with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn bilinear(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// How samples of one depth are weighted and rounded.
pub(super) trait Sample: Primitive {
    /// A sum of samples times weights.
    type Sum: Copy + AddAssign;
    /// What a sum begins with: a half where the end of it only drops the fraction.
    const HALF: Self::Sum;

    fn weight(weight: f64) -> Self::Sum;
    fn times(self, weight: Self::Sum) -> Self::Sum;
    fn from_sum(sum: Self::Sum) -> Self;
}

impl Sample for u8 {
    type Sum = i32;
    const HALF: i32 = 1 << (PRECISION - 1);

    fn weight(weight: f64) -> i32 {
        (weight * f64::from(1 << PRECISION) + 0.5_f64.copysign(weight)) as i32
    }

    fn times(self, weight: i32) -> i32 {
        i32::from(self) * weight
    }

    fn from_sum(sum: i32) -> Self {
        (sum >> PRECISION).clamp(0, 255) as u8
    }
}

/// Pillow's mode `I;16`.
impl Sample for u16 {
    type Sum = f64;
    const HALF: f64 = 0.0;

    fn weight(weight: f64) -> f64 {
        weight
    }

    fn times(self, weight: f64) -> f64 {
        f64::from(self) * weight
    }

    /// Clips the high byte and lets the low byte wrap, as Pillow does.
    fn from_sum(sum: f64) -> Self {
        let rounded = (sum + 0.5_f64.copysign(sum)) as i32;
        let high = (rounded >> 8).clamp(0, 255);
        let low = (rounded % 256).max(0);
        (high << 8 | low) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Interpolation::{Bicubic, Bilinear};
    use image::Rgb;
    use proptest::prelude::*;

    fn pattern(width: u32, height: u32) -> RgbImage {
        let on = |x, y| u32::is_multiple_of(x * 7 + y * y * 5, 3);
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([if on(x, y) { 255 } else { 0 }; 3])
        })
    }

    fn resize(image: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> RgbImage {
        resize_box(
            image,
            (0, 0, image.width(), image.height()),
            width,
            height,
            interpolation,
        )
        .unwrap()
    }

    fn reds(image: &RgbImage) -> Vec<u8> {
        image.pixels().map(|pixel| pixel.0[0]).collect()
    }

    /// Expected: `Image.resize((5, 4), filter)` of Pillow 13.0.0. Pillow 12.2 begins `[99, 126, 156, 62, 0, 84` for
    /// the tall image, because it starts with the width.
    #[test]
    fn both_orders_of_the_passes_equal_pillows() {
        let (tall, wide) = (pattern(3, 12), pattern(12, 3));
        assert_eq!(
            reds(&resize(&tall, 5, 4, Bicubic)),
            [
                95, 126, 156, 57, 0, 77, 122, 171, 64, 0, 81, 123, 168, 63, 0, 56, 117, 190, 72, 0
            ]
        );
        assert_eq!(
            reds(&resize(&wide, 5, 4, Bicubic)),
            [
                97, 90, 87, 84, 54, 100, 84, 83, 82, 85, 102, 80, 81, 81, 105, 102, 81, 81, 81, 102
            ]
        );
        assert_eq!(
            reds(&resize(&wide, 5, 4, Bilinear)),
            [
                92, 99, 87, 78, 56, 101, 86, 84, 78, 88, 107, 78, 82, 78, 107, 107, 78, 82, 78, 107
            ]
        );
    }

    #[test]
    fn nearest_pixels_equal_pillows() {
        let red = |image: &RgbImage| {
            let samples = nearest(&View::of(image), Axis::whole(5), Axis::whole(4));
            samples.into_iter().step_by(3).collect::<Vec<_>>()
        };
        let on: Vec<bool> = red(&pattern(12, 3)).iter().map(|red| *red == 255).collect();
        let pillow = [0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1];
        assert_eq!(on, pillow.map(|on| on == 1));
    }

    #[test]
    fn boxes_and_sizes_that_make_no_sense_are_refused() {
        let image = pattern(4, 3);
        for (crop, width, height) in [
            ((2, 0, 2, 3), 1, 1),
            ((0, 2, 4, 1), 1, 1),
            ((0, 0, 5, 3), 1, 1),
            ((0, 0, 4, u32::MAX), 1, 1),
            ((0, 0, 4, 3), 0, 1),
            ((0, 0, 4, 3), 1, u32::MAX),
        ] {
            let error = resize_box(&image, crop, width, height, Bicubic).unwrap_err();
            assert!(matches!(error, Error::Input(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(
            (w, h, ow, oh) in (1_u32..400, 1_u32..400, 1_u32..80, 1_u32..80), thin in 0_usize..3, level: u8
        ) {
            let (w, h) = [(w, h), (1, h), (w, 1)][thin];
            let image = RgbImage::from_pixel(w, h, Rgb([level, 255, 0]));
            for interpolation in [Bicubic, Bilinear] {
                let resized = resize(&image, ow, oh, interpolation);
                prop_assert_eq!(resized.dimensions(), (ow, oh));
                prop_assert!(resized.pixels().all(|pixel| pixel.0 == [level, 255, 0]));
            }
        }

        #[test]
        fn the_same_size_changes_nothing((w, h) in (1_u32..60, 1_u32..60)) {
            prop_assert_eq!(resize(&pattern(w, h), w, h, Bicubic), pattern(w, h));
        }

        #[test]
        fn a_box_equals_a_crop_before_the_resize(
            (w, h, ow, oh) in (2_u32..60, 2_u32..60, 1_u32..60, 1_u32..60), (left, top) in (0_u32..60, 0_u32..60)
        ) {
            let image = pattern(w, h);
            let (left, top) = (left % w, top % h);
            let crop = image::imageops::crop_imm(&image, left, top, w - left, h - top).to_image();
            let boxed = resize_box(&image, (left, top, w, h), ow, oh, Bicubic).unwrap();
            prop_assert_eq!(boxed, resize(&crop, ow, oh, Bicubic));
        }

        #[test]
        fn a_part_of_the_output_equals_the_whole(
            (w, h, ow, oh) in (1_u32..60, 1_u32..60, 1_usize..60, 1_usize..60), (left, top) in (0_usize..60, 0_usize..60)
        ) {
            let image = pattern(w, h);
            let (left, top) = (left % ow, top % oh);
            let part = |start, full| Axis { start: start as u64, len: full - start, ..Axis::whole(full) };
            let resized = resize(&image, ow as u32, oh as u32, Bicubic);
            let crop = image::imageops::crop_imm(
                &resized, left as u32, top as u32, (ow - left) as u32, (oh - top) as u32
            );
            let only = resample::<_, 3>(&View::of(&image), part(left, ow), part(top, oh), Bicubic);
            prop_assert_eq!(only, crop.to_image().into_raw());
        }
    }
}
