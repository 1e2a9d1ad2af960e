//! Plain loops that the compiler turns into vector instructions.

/// Elements that reductions keep apart: one AVX-512 register, two of AVX2, four of wasm's or NEON's.
pub const LANES: usize = 16;

/// Compiles a function for each width of vectors, and calls the one for the widest that this CPU has. What its body
/// calls has to be inlined into it.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "a kernel takes its slices one by one")]
        $visible fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    plain($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    plain($($argument),*)
                }
                #[allow(unsafe_code, reason = "called only where the CPU has the instructions")]
                match $crate::raw::simd::level() {
                    // SAFETY: the instructions were found on this CPU.
                    $crate::raw::simd::Level::Avx512 => unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::raw::simd::Level::Avx2 => unsafe { avx2($($argument),*) },
                    $crate::raw::simd::Level::Sse2 => plain($($argument),*),
                }
            }
            // Elsewhere vectors are part of the target itself.
            #[cfg(not(target_arch = "x86_64"))]
            plain($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// Vectors of an x86 CPU.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub enum Level {
    /// 512 bits.
    Avx512,
    /// 256 bits.
    Avx2,
    /// 128 bits, which every one has.
    Sse2,
}

/// The widest vectors of this CPU.
#[cfg(target_arch = "x86_64")]
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        match (avx512, avx2) {
            (true, true) => Level::Avx512,
            (false, true) => Level::Avx2,
            _ => Level::Sse2,
        }
    })
}

/// Σ f(x\[i\]), in [`LANES`] partial sums.
#[inline(always)]
pub fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    total(lanes)
}

/// Σ f(x\[i\], y\[i\]) over the shorter of the two, in [`LANES`] partial sums.
#[inline(always)]
pub fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let length = x.len().min(y.len());
    let mut lanes = [0.0_f32; LANES];
    let (xs, x_rest) = x[..length].as_chunks::<LANES>();
    let (ys, y_rest) = y[..length].as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane += f(x, y);
    }
    total(lanes)
}

/// The largest element; -∞ of nothing.
#[inline(always)]
pub fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = if x > *lane { x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Σ of the partial sums.
#[inline(always)]
pub fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has so few bits that its products with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding 1.5 · 2²³ rounds to an integer, which stands in the lowest bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// e^x is a normal number from here..
const SMALLEST: f32 = -87.33;
/// ..to here.
const LARGEST: f32 = 88.02;

/// e^x to within two units in the last place. Zero where the result would be subnormal, e^88.02 above that; NaN of
/// NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Written so that NaN passes through.
    let bounded = if x < SMALLEST { SMALLEST } else { x };
    let bounded = if bounded > LARGEST { LARGEST } else { bounded };
    let shifted = bounded * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = bounded - n * LN_2_HIGH - n * LN_2_LOW;
    // e^r on ±ln 2 / 2, minimax of degree 7 (Cephes, expf).
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_66;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let scale = f32::from_bits((exponent.wrapping_add(127) as u32) << 23);
    let y = p * scale;
    if x < SMALLEST { 0.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for step in -8700..8800 {
            let x = step as f32 * 0.01 + 0.003;
            let (actual, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (actual - expected).abs() <= 2.5e-7 * expected,
                "{x}: {actual}, {expected}"
            );
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::INFINITY) > 1e38);
    }

    #[test]
    fn reductions_take_every_element() {
        for length in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 - 3.0) * 0.5).collect();
            let expected: f32 = x.iter().sum();
            assert_eq!(sum(&x, |x| x), expected);
            assert_eq!(
                sum2(&x, &x, |a, b| a * b),
                x.iter().map(|x| x * x).sum::<f32>()
            );
            let expected = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&x), expected);
        }
    }
}
