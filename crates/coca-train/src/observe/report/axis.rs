//! Axes: where values lie, and which of them are labelled.

use crate::observe::units;

/// Values whose largest is this many times their smallest are shown on a logarithmic scale.
const LOG_RATIO: f64 = 20.0;
/// Labels that an axis has room for.
const TICKS: f64 = 5.0;

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Numbers.
    Number,
    /// Numbers on a linear scale that starts at zero.
    Linear,
    /// Fractions, shown as per cent.
    Fraction,
}

/// An axis from `low` to `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The value at the start.
    pub low: f64,
    /// The value at the end.
    pub high: f64,
    /// Whether equal distances are equal ratios.
    pub logarithmic: bool,
    /// Labelled values.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis for these values; none if there are none.
    pub fn of(values: impl Iterator<Item = f64> + Clone, kind: Values) -> Option<Self> {
        let finite = values.filter(|value| value.is_finite());
        let low = finite.clone().reduce(f64::min)?;
        let high = finite.reduce(f64::max)?;
        Some(match kind {
            Values::Number if low > 0.0 && high / low >= LOG_RATIO => Self::logarithmic(low, high),
            Values::Fraction => Self::fractions(low.min(0.0), high),
            Values::Linear => Self::linear(low.min(0.0), high.max(0.0), label),
            Values::Number => Self::linear(low, high, label),
        })
    }

    /// An axis of steps.
    pub fn steps(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), step| {
            (low.min(step), high.max(step))
        });
        let (low, high) = match low <= high {
            true if high > low => (low, high),
            true => ((low - 1.0).max(0.0), low + 1.0),
            false => (0.0, 1.0),
        };
        let ticks = nice_ticks(low, high, 1.0).map(|step| (step, short(step)));
        Self {
            ticks: ticks
                .filter(|(step, _)| (low..=high).contains(step))
                .collect(),
            low,
            high,
            logarithmic: false,
        }
    }

    fn linear(low: f64, high: f64, label: impl Fn(f64, f64) -> String) -> Self {
        // A flat curve lies in the middle, but for zero, which is where an axis starts.
        let flat = (high - low) <= 1e-9 * high.abs().max(low.abs());
        let (high, margin) = match flat {
            true if high == 0.0 => (1.0, 0.0),
            true => (high, high.abs() * 0.1),
            false => (high, (high - low) * 0.06),
        };
        let start = low - margin;
        // Zero is a good start for what is close to it.
        let start = if low >= 0.0 && low < 0.35 * high {
            0.0
        } else {
            start
        };
        let end = high + margin;
        let step = nice_step((end - start) / TICKS);
        let ticks = nice_ticks(start, end, 0.0).map(|value| (value, label(value, step)));
        Self {
            low: start,
            high: end,
            logarithmic: false,
            ticks: ticks.collect(),
        }
    }

    fn fractions(low: f64, high: f64) -> Self {
        // Metrics that are small, as recall is at first, are shown larger.
        let high = if high > 0.5 {
            high.max(1.0)
        } else {
            high.max(0.01)
        };
        let per_cent = |value: f64, step: f64| format!("{} %", label(value * 100.0, step * 100.0));
        let mut axis = Self::linear(low, high, per_cent);
        if high == 1.0 {
            axis.high = 1.0;
            axis.ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
                .map(|v| (v, per_cent(v, 0.25)))
                .to_vec();
        }
        axis
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let (low, high) = (low / 1.1, high * 1.1);
        let decades = (high / low).log10();
        let within: &[f64] = if decades > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let mut ticks = Vec::new();
        let every = (decades / TICKS).ceil().max(1.0) as i32;
        let first = low.log10().floor() as i32;
        for power in
            (first..=high.log10().ceil() as i32).filter(|power| (power - first) % every == 0)
        {
            for factor in within {
                let value = factor * 10f64.powi(power);
                if (low..=high).contains(&value) {
                    ticks.push((value, units::number(value)));
                }
            }
        }
        Self {
            low,
            high,
            logarithmic: true,
            ticks,
        }
    }

    /// Where a value lies, 0 at the start and 1 at the end.
    pub fn place(&self, value: f64) -> f64 {
        let place = match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        place.clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn nice_ticks(low: f64, high: f64, least: f64) -> impl Iterator<Item = f64> {
    let step = nice_step((high - low) / TICKS).max(least);
    let first = (low / step).ceil() as i64;
    // Bounded, whatever rounding does.
    (first..first.saturating_add(12))
        .map(move |at| at as f64 * step)
        .take_while(move |value| *value <= high + step * 1e-6)
}

/// A value with as many digits as a distance of `step` needs.
fn label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e6).contains(&value.abs().max(step)) {
        return format!("{value:.0e}");
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{value:.decimals$}")
}

/// `1,500` or `12k`.
fn short(step: f64) -> String {
    match step {
        step if step >= 1e6 => format!("{}M", units::number(step / 1e6)),
        step if step >= 1e4 => format!("{}k", units::number(step / 1e3)),
        step => units::count(step as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    fn of(values: &[f64], kind: Values) -> Axis {
        Axis::of(values.iter().copied(), kind).unwrap()
    }

    #[test]
    fn labels_are_round_and_few() {
        assert_eq!(
            labels(&of(&[2.1, 5.9], Values::Number)),
            ["2", "3", "4", "5", "6"]
        );
        assert_eq!(
            labels(&of(&[0.01, 0.9], Values::Linear)),
            ["0", "0.2", "0.4", "0.6", "0.8"]
        );
        assert_eq!(
            labels(&of(&[0.3, 0.8], Values::Fraction)),
            ["0 %", "25 %", "50 %", "75 %", "100 %"]
        );
        assert_eq!(
            labels(&of(&[0.0, 0.04], Values::Fraction)),
            ["0 %", "1 %", "2 %", "3 %", "4 %"]
        );
        assert_eq!(
            labels(&Axis::steps([20.0, 2700.0].into_iter())),
            ["1,000", "2,000"]
        );
        assert_eq!(
            labels(&Axis::steps([0.0, 120_000.0].into_iter())),
            ["0", "50k", "100k"]
        );
        assert_eq!(
            labels(&Axis::steps([0.0, 3.0].into_iter())),
            ["0", "1", "2", "3"]
        );
    }

    #[test]
    fn wide_ranges_are_logarithmic() {
        let axis = of(&[0.5, 90.0], Values::Number);
        assert!(axis.logarithmic);
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5", "10", "20", "50"]);
        assert!((axis.place((axis.low * axis.high).sqrt()) - 0.5).abs() < 1e-12);
        assert!(!of(&[-1.0, 90.0], Values::Number).logarithmic);
        assert!(labels(&of(&[1e-9, 1e9], Values::Number)).len() <= 8);
    }

    #[test]
    fn odd_values_have_an_axis_too() {
        for values in [
            &[3.0][..],
            &[0.0],
            &[-2.0, -2.0],
            &[1e-30, 2e-30],
            &[f64::NAN, 1.0],
        ] {
            for kind in [Values::Number, Values::Linear, Values::Fraction] {
                let axis = of(values, kind);
                assert!(axis.low < axis.high, "{values:?} {axis:?}");
                assert!(axis.ticks.len() <= 12, "{values:?} {axis:?}");
            }
        }
        assert_eq!(Axis::of([f64::NAN].into_iter(), Values::Number), None);
        assert!(Axis::steps([7.0].into_iter()).low < 7.0);
        assert!(Axis::steps(std::iter::empty()).low < 1.0);
    }
}
