//! The learning rate over the steps, as open_clip's schedules.

use super::config::{OptimizerConfig, Schedule};

/// The rate of `step`, which counts from 0, of a run of `steps`: linear warm-up to the peak, then the schedule.
pub fn learning_rate(config: &OptimizerConfig, steps: u64, step: u64) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup {
        return peak * (step + 1) as f64 / config.warmup as f64;
    }
    let since = |start: u64, length: u64| {
        let progress = step.saturating_sub(start) as f64 / length.max(1) as f64;
        progress.min(1.0)
    };
    let progress = since(config.warmup, steps.saturating_sub(config.warmup));
    match config.schedule {
        Schedule::Constant => peak,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()) * peak,
        Schedule::Linear => (1.0 - progress) * peak,
        Schedule::ConstantCooldown {
            steps: cooldown,
            power,
            end,
        } => {
            let start = steps.saturating_sub(cooldown);
            if step < start {
                return peak;
            }
            (1.0 - since(start, cooldown)).powf(power) * (peak - end) + end
        }
    }
}
