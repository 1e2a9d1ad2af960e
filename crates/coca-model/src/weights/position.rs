//! Resizing position embeddings to another image size or context length, as open_clip does when loading.

/// PyTorch's cubic coefficient when it antialiases, which is Pillow's (its plain bicubic has -0.75).
const CUBIC: f64 = -0.5;

/// Resizes a grid of vectors, `table` [rows * columns, width] row-major from `from` to `to` (each rows,
/// columns), as `F.interpolate(mode="bicubic", antialias=True, align_corners=False)` does.
///
/// The result has `to.0 * to.1 * width` values; it is empty when a size is zero or the table is not of that
/// shape.
pub fn resize_grid(
    table: &[f32],
    width: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Vec<f32> {
    if table.len() != from.0 * from.1 * width || table.is_empty() || to.0 * to.1 == 0 {
        return Vec::new();
    }
    let mut narrowed = Vec::with_capacity(from.0 * to.1 * width);
    let columns = Filter::bicubic(from.1, to.1);
    for row in table.chunks_exact(from.1 * width) {
        narrowed.extend(columns.apply(row, width));
    }
    Filter::bicubic(from.0, to.0).apply(&narrowed, to.1 * width)
}

/// Resizes a sequence of vectors, `table` [length, width], to `to` vectors, as
/// `F.interpolate(mode="linear", align_corners=False)` does. Nothing is set apart: open_clip resizes the CLS
/// position along with the others.
///
/// The result has `to * width` values; it is empty when a size is zero.
pub fn resize_sequence(table: &[f32], width: usize, to: usize) -> Vec<f32> {
    if width == 0 || table.is_empty() || to == 0 {
        return Vec::new();
    }
    Filter::linear(table.len() / width, to).apply(table, width)
}

/// A one-dimensional resampling: for every output, the first input and the weights from there on.
struct Filter(Vec<(usize, Vec<f32>)>);

impl Filter {
    /// PyTorch's antialiased bicubic: the kernel is stretched when shrinking, and the weights sum to one.
    fn bicubic(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let taps = |output: usize| {
            let center = scale * (output as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end)
                .map(|input| cubic((input as f64 - center + 0.5) / stretch))
                .collect();
            let sum: f64 = weights.iter().sum();
            (
                first,
                weights.iter().map(|weight| (weight / sum) as f32).collect(),
            )
        };
        Self((0..to).map(taps).collect())
    }

    /// PyTorch's linear interpolation, which does not antialias.
    fn linear(from: usize, to: usize) -> Self {
        // In f32, as PyTorch computes it: the rounding of the fraction shows in the result.
        let scale = from as f32 / to as f32;
        let taps = |output: usize| {
            let source = (scale * (output as f32 + 0.5) - 0.5).max(0.0);
            let first = (source as usize).min(from - 1);
            let fraction = source - first as f32;
            // At the end both taps are the last vector.
            let weights = if first + 1 < from {
                vec![1.0 - fraction, fraction]
            } else {
                vec![1.0]
            };
            (first, weights)
        };
        Self((0..to).map(taps).collect())
    }

    /// Filters `table` [inputs, width] along its first axis.
    fn apply(&self, table: &[f32], width: usize) -> Vec<f32> {
        let mut output = vec![0.0; self.0.len() * width];
        for ((first, weights), sum) in self.0.iter().zip(output.chunks_exact_mut(width)) {
            for (weight, row) in weights.iter().zip(table.chunks_exact(width).skip(*first)) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
        }
        output
    }
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * CUBIC
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        let table: Vec<f32> = (0..24).map(|i| (i as f32).sin()).collect();
        assert_eq!(resize_grid(&table, 2, (3, 4), (3, 4)), table);
        assert_eq!(resize_sequence(&table, 2, 12), table);
    }

    #[test]
    fn a_constant_stays_constant_at_any_size() {
        for to in [(1, 1), (2, 7), (9, 3)] {
            for value in resize_grid(&[0.5; 3 * 5 * 2], 2, (3, 5), to) {
                assert!((value - 0.5).abs() < 1e-6);
            }
        }
        assert!(
            resize_sequence(&[0.5; 10], 2, 3)
                .iter()
                .all(|value| (value - 0.5).abs() < 1e-6)
        );
    }

    #[test]
    fn rows_and_columns_are_not_confused() {
        // Columns 0 1 2 in each of two rows: resizing the rows leaves them.
        let table = [0., 1., 2., 0., 1., 2.];
        let taller = resize_grid(&table, 1, (2, 3), (4, 3));
        for row in taller.chunks(3) {
            for (value, expected) in row.iter().zip([0., 1., 2.]) {
                assert!((value - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn sizes_that_make_no_sense_give_nothing() {
        assert!(resize_grid(&[], 2, (0, 0), (2, 2)).is_empty());
        assert!(resize_grid(&[1.0; 4], 1, (2, 2), (0, 3)).is_empty());
        assert!(resize_grid(&[1.0; 5], 1, (2, 2), (3, 3)).is_empty());
        assert!(resize_sequence(&[1.0], 0, 3).is_empty());
        assert!(resize_sequence(&[], 3, 3).is_empty());
        assert!(resize_sequence(&[1.0], 1, 0).is_empty());
    }
}
