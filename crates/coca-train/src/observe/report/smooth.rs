//! Fewer and smoother points.

use super::history::Points;

/// Points that a curve is drawn with at most: more than pixels are wide.
const DRAWN: usize = 400;
/// The width of the smoothing is this share of the curve.
const WIDTH_SHARE: f64 = 0.02;
/// Curves of fewer points are shown as they are.
const FEW: usize = 20;

/// At most [`DRAWN`] points, each the mean of as many neighbours.
pub fn thinned(points: &[(f64, f64)]) -> Points {
    let mean = |chunk: &[(f64, f64)]| {
        let sum = chunk
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let count = chunk.len() as f64;
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(thinning(points.len())).map(mean).collect()
}

/// How many neighbours a point of [`thinned`] stands for.
pub fn thinning(count: usize) -> usize {
    count.div_ceil(DRAWN).max(1)
}

/// The width of the smoothing of a curve of these points, in steps; none if it is shown as it is.
pub fn width(points: &[(f64, f64)]) -> Option<f64> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let spacing = (last - first) / (points.len() - 1).max(1) as f64;
    (points.len() >= FEW && last > first).then(|| ((last - first) * WIDTH_SHARE).max(1.5 * spacing))
}

/// The curve without noise: at every point the line that fits its neighbourhood best, with Gaussian weights of standard
/// deviation `width` (Cleveland 1979's local regression). Unlike a moving average it neither lags behind nor bends at
/// the ends.
pub fn smoothed(points: &[(f64, f64)], width: f64) -> Points {
    let at = |centre: f64| {
        // Sums of w, wx, wxx, wy and wxy, with x from the centre.
        let mut sums = [0.0; 5];
        for &(step, value) in points {
            let x = (step - centre) / width;
            if x.abs() < 4.0 {
                let weight = (-0.5 * x * x).exp();
                let terms = [1.0, x, x * x, value, x * value];
                sums.iter_mut()
                    .zip(terms)
                    .for_each(|(sum, term)| *sum += weight * term);
            }
        }
        let [w, wx, wxx, wy, wxy] = sums;
        let determinant = w * wxx - wx * wx;
        // A single neighbour has no slope.
        if determinant > 1e-9 * w * w {
            (wxx * wy - wx * wxy) / determinant
        } else {
            wy / w
        }
    };
    points.iter().map(|&(step, _)| (step, at(step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_noise_goes() {
        let line: Points = (0..50)
            .map(|step| (f64::from(step), 3.0 - 0.5 * f64::from(step)))
            .collect();
        for (found, expected) in smoothed(&line, 2.0).iter().zip(&line) {
            assert!(
                (found.1 - expected.1).abs() < 1e-9,
                "{found:?} {expected:?}"
            );
        }
        let noise: Points = (0..50)
            .map(|step| (f64::from(step), f64::from(step % 2)))
            .collect();
        let smooth = smoothed(&noise, 2.0);
        assert!(
            smooth[10..40]
                .iter()
                .all(|point| (point.1 - 0.5).abs() < 0.01),
            "{smooth:?}"
        );
        assert_eq!(smoothed(&[(1.0, 2.0), (1.0, 4.0)], 1.0)[0].1, 3.0);
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let points: Points = (0..1000)
            .map(|step| (f64::from(step), f64::from(step % 2)))
            .collect();
        let thin = thinned(&points);
        assert_eq!((thin.len(), thinning(1000)), (334, 3));
        assert_eq!(thin[0].0, 1.0);
        let few: Points = vec![(1.0, 2.0), (2.0, 3.0)];
        assert_eq!(thinned(&few), few);
        assert_eq!(width(&few), None);
        assert_eq!(width(&points), Some(999.0 * 0.02));
    }
}
