//! The learning rate over the steps, as open_clip's schedules.

use super::config::{OptimizerConfig, Schedule};

/// The rate of `step`, which counts from 0, of a run of `steps`: linear warm-up to the peak, then the schedule.
pub fn learning_rate(config: &OptimizerConfig, steps: u64, step: u64) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup {
        return peak * (step + 1) as f64 / config.warmup as f64;
    }
    match config.schedule {
        Schedule::Constant => peak,
        Schedule::Cosine => {
            let progress =
                (step - config.warmup) as f64 / steps.saturating_sub(config.warmup).max(1) as f64;
            0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) * peak
        }
        Schedule::ConstantCooldown {
            steps: cooldown,
            power,
            end,
        } => {
            let start = steps.saturating_sub(cooldown);
            if step < start {
                return peak;
            }
            let progress = (step - start) as f64 / cooldown.max(1) as f64;
            (1.0 - progress.min(1.0)).powf(power) * (peak - end) + end
        }
    }
}
