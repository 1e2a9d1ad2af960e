//! Fewer and smoother points.

use super::history::Points;

/// Points that a curve is drawn with at most: more than pixels are wide.
const DRAWN: usize = 400;
/// The half-life of the moving average is this share of the points.
const HALF_LIFE_SHARE: f64 = 0.02;
/// Curves of fewer points are shown as they are.
const FEW: usize = 20;

/// At most [`DRAWN`] points, each the mean of as many neighbours.
pub fn thinned(points: &[(f64, f64)]) -> Points {
    let size = points.len().div_ceil(DRAWN).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let sum = chunk
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let count = chunk.len() as f64;
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(size).map(mean).collect()
}

/// How many neighbours a point of [`thinned`] stands for.
pub fn thinning(count: usize) -> usize {
    count.div_ceil(DRAWN).max(1)
}

/// The half-life of the moving average over `count` points, in points; none if they are shown as they are.
pub fn half_life(count: usize) -> Option<f64> {
    (count >= FEW).then(|| (count as f64 * HALF_LIFE_SHARE).max(1.0))
}

/// An exponential moving average whose weights sum to one from the first point on (as Adam's corrected moments).
pub fn averaged(points: &[(f64, f64)], half_life: f64) -> Points {
    let keep = 0.5f64.powf(1.0 / half_life);
    let (mut sum, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|&(step, value)| {
            sum = sum * keep + value;
            weight = weight * keep + 1.0;
            (step, sum / weight)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_halves_the_weight_in_its_half_life() {
        let flat: Points = (0..50).map(|step| (f64::from(step), 7.0)).collect();
        assert!(
            averaged(&flat, 3.0)
                .iter()
                .all(|point| (point.1 - 7.0).abs() < 1e-12)
        );
        let mut jump: Points = vec![(0.0, 0.0); 1000];
        jump.extend(vec![(1.0, 1.0); 5]);
        let last = averaged(&jump, 5.0).last().unwrap().1;
        assert!((last - 0.5).abs() < 1e-9, "{last}");
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
        assert_eq!((half_life(19), half_life(100)), (None, Some(2.0)));
    }
}
