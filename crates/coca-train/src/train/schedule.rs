//! The learning rate over the steps.

use super::config::OptimizerConfig;

/// Linear warm-up to the peak, then half a cosine to zero (open_clip's `cosine_lr`). `step` counts from 0.
pub fn learning_rate(config: &OptimizerConfig, steps: u64, step: u64) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup {
        return peak * (step + 1) as f64 / config.warmup as f64;
    }
    let progress = (step - config.warmup) as f64 / steps.saturating_sub(config.warmup).max(1) as f64;
    0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) * peak
}
