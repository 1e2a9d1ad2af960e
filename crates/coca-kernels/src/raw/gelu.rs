//! GELU by the error function.

use super::simd::{exp, vectorised};

/// 1/√(2π).
const DENSITY_AT_0: f32 = 0.398_942_3;
/// Coefficients of e^(u²/2) Φ(-u) as a polynomial in 1 / (1 + 0.3 u), for u from 0 to 14.5: relative error 6e-8, fitted
/// by iteratively reweighted least squares to 40-digit values.
const TAIL: [f32; 9] = [
    7.372_428_7e-6,
    0.119_484_21,
    0.121_945_27,
    0.094_585_836,
    0.142_765_34,
    -0.076_839_77,
    0.228_951_89,
    -0.169_307_52,
    0.038_407_404,
];

/// Φ(x) and φ(x) of the standard normal distribution, both to a relative error of 1e-6.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let u = x.abs();
    let density = exp(-0.5 * u * u);
    let t = 1.0 / (1.0 + 0.3 * u);
    let mut tail = TAIL[8];
    for k in (0..8).rev() {
        tail = tail * t + TAIL[k];
    }
    let below = density * tail;
    let cumulative = if x < 0.0 { below } else { 1.0 - below };
    (cumulative, density * DENSITY_AT_0)
}

vectorised! {
    /// y = x Φ(x).
    pub fn forward(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal(x).0;
        }
    }
}

vectorised! {
    /// g becomes g (Φ(x) + x φ(x)).
    pub fn backward(x: &[f32], g: &mut [f32]) {
        for (g, &x) in g.iter_mut().zip(x) {
            let (cumulative, density) = normal(x);
            *g *= cumulative + x * density;
        }
    }
}
