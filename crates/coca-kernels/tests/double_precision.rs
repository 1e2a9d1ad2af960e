//! Every fused operation and its derivative against the same operation composed in double precision.

#![cfg(all(feature = "flex", feature = "autodiff"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use coca_kernels::{
    AdamW, Mask, Tokens, Weight, adamw, attention, cross_entropy, gelu, heads_attention,
    layer_norm, linear, parts, split_heads, sum_of_squares,
};

/// Numbers in about ±2 that do not repeat.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let numbers = (0..count).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Rounded to f32, so that both sides start from the same.
        f64::from((((state >> 40) as f64 / f64::from(1 << 24) - 0.5) * 4.0) as f32)
    });
    numbers.collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let data = tensor.into_data().convert::<f64>();
    data.try_into_vec().unwrap()
}

fn tensor<const D: usize>(
    shape: [usize; D],
    seed: u64,
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Tensor::from_data(data, (device, dtype))
}

/// Largest difference, relative to the largest expected value.
fn close(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-30_f64, |a, b| a.max(b.abs()));
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs() / largest;
        assert!(
            error <= 1e-5,
            "{what}, element {at}: {actual}, expected {expected}; relative error {error:e}"
        );
    }
}

/// The result of `f` and its gradients at the inputs (three-dimensional, of the given shapes), in one precision.
fn evaluate(
    shapes: &[[usize; 3]],
    dtype: DType,
    f: &impl Fn(&[Tensor<3>]) -> Tensor<3>,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let inputs: Vec<Tensor<3>> = shapes
        .iter()
        .zip(1..)
        .map(|(&shape, seed)| tensor(shape, seed, dtype, &device).require_grad())
        .collect();
    let y = f(&inputs);
    let along = tensor(y.dims(), 99, dtype, &device);
    let gradients = (y.clone() * along).sum().backward();
    let mut all = vec![values(y)];
    all.extend(
        inputs
            .iter()
            .map(|input| values(input.grad(&gradients).unwrap())),
    );
    // Without a graph the result is the same.
    let plain: Vec<_> = inputs.into_iter().map(Tensor::inner).collect();
    close("without a graph", &values(f(&plain)), &all[0]);
    all
}

fn check(what: &str, shapes: &[[usize; 3]], f: impl Fn(&[Tensor<3>]) -> Tensor<3>) {
    let actual = evaluate(shapes, DType::F32, &f);
    let expected = evaluate(shapes, DType::F64, &f);
    for (part, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        close(&format!("{what} {shapes:?}, part {part}"), actual, expected);
    }
}

fn matrix(x: &Tensor<3>) -> Tensor<2> {
    x.clone().squeeze_dim(0)
}

fn vector(x: &Tensor<3>) -> Tensor<1> {
    let count: usize = x.dims().iter().product();
    x.clone().reshape([count])
}

#[test]
fn linear_with_every_combination_of_parts() {
    for (batch, rows, width, out) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 40, 33), (3, 17, 65, 20)] {
        let (x, residual) = ([batch, rows, width], [batch, rows, out]);
        let (weight, bias) = ([1, out, width], [1, 1, out]);
        check("linear", &[x, weight], |t| {
            linear(t[0].clone(), Weight::OutputFirst(matrix(&t[1])), None, None)
        });
        check("linear, bias", &[x, weight, bias], |t| {
            let weight = Weight::OutputFirst(matrix(&t[1]));
            linear(t[0].clone(), weight, Some(vector(&t[2])), None)
        });
        check("linear, residual", &[x, weight, residual], |t| {
            let weight = Weight::OutputFirst(matrix(&t[1]));
            linear(t[0].clone(), weight, None, Some(t[2].clone()))
        });
        check("linear, both", &[x, [1, width, out], bias, residual], |t| {
            let weight = Weight::InputFirst(matrix(&t[1]));
            linear(
                t[0].clone(),
                weight,
                Some(vector(&t[2])),
                Some(t[3].clone()),
            )
        });
    }
}

#[test]
fn linear_on_a_view() {
    check("linear on a view", &[[2, 6, 9], [1, 12, 4]], |t| {
        let x = t[0].clone().narrow(1, 2, 3).narrow(2, 1, 4);
        linear(
            x,
            Weight::OutputFirst(matrix(&t[1]).narrow(0, 3, 5)),
            None,
            None,
        )
    });
}

#[test]
fn normalised_layers() {
    // Two numbers always become ±1, with a gradient of almost nothing; from three on there is something to compare.
    for (batch, rows, width) in [(1, 1, 3), (2, 3, 5), (1, 4, 16), (2, 7, 33), (1, 3, 192)] {
        let vectors = [1, 1, width];
        check(
            "layer norm",
            &[[batch, rows, width], vectors, vectors],
            |t| layer_norm(t[0].clone(), vector(&t[1]), vector(&t[2]), 1e-5),
        );
    }
}

#[test]
fn gelu_and_its_tails() {
    for shape in [[1, 1, 1], [2, 3, 7], [1, 5, 64]] {
        check("gelu", &[shape], |t| gelu(t[0].clone() * 4.0));
    }
    // In the tails, where x Φ(x) is small, it is the relative error of each value that counts.
    let x: Vec<f64> = (-900..900).map(|i| f64::from(i) * 0.01).collect();
    let data = TensorData::new(x.iter().map(|&x| x as f32).collect::<Vec<_>>(), [x.len()]);
    let y = values(gelu(Tensor::<1>::from_data(data, &Device::flex())));
    for (&x, y) in x.iter().zip(y).filter(|(x, _)| **x != 0.0) {
        let x = f64::from(x as f32);
        let expected = x * 0.5 * erfc(-x / std::f64::consts::SQRT_2);
        assert!(
            (y - expected).abs() <= 1e-5 * expected.abs(),
            "gelu({x}) is {y}, expected {expected}"
        );
    }
}

/// 1 - erf(x): a series near 0, else a continued fraction.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / root_pi * sum;
    }
    let mut fraction = 0.0;
    for k in (1..80).rev() {
        fraction = f64::from(k) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / root_pi / (x + fraction)
}

#[test]
fn cross_entropy_of_odd_sizes() {
    for (rows, classes) in [(1, 1), (3, 2), (5, 17), (4, 130)] {
        let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
        check("cross-entropy", &[[1, rows, classes]], |t| {
            let loss = cross_entropy(matrix(&t[0]) * 3.0, &labels) * 0.7;
            loss.reshape([1, 1, 1])
        });
    }
}

#[test]
fn attention_of_every_layout() {
    for (batch, heads, queries, keys, width) in [
        (1, 1, 1, 1, 1),
        (2, 3, 5, 7, 4),
        (1, 2, 9, 9, 16),
        (3, 1, 4, 11, 33),
        (2, 2, 1, 6, 8),
    ] {
        let all = heads * width;
        check("packed", &[[batch, queries, 3 * all]], |t| {
            attention(Tokens::Packed(t[0].clone()), heads, Mask::None)
        });
        check("causal", &[[batch, queries, 3 * all]], |t| {
            attention(Tokens::Packed(t[0].clone()), heads, Mask::Causal)
        });
        for rows in [batch, 1] {
            let cross = [[rows, queries, all], [batch, keys, 2 * all]];
            check("cross", &cross, |t| {
                attention(Tokens::Cross(t[0].clone(), t[1].clone()), heads, Mask::None)
            });
            let separate = [[rows, queries, all], [batch, keys, all], [batch, keys, all]];
            check("separate", &separate, |t| {
                let tokens = Tokens::Separate(t[0].clone(), t[1].clone(), t[2].clone());
                attention(tokens, heads, Mask::None)
            });
        }
    }
}

/// Hides some keys, never the first.
fn mask(shape: [usize; 4], device: &Device) -> Tensor<4, Bool> {
    let count: usize = shape.iter().product();
    let hidden: Vec<bool> = (0..count)
        .map(|i| i % shape[3] != 0 && i * 7 % 5 < 2)
        .collect();
    Tensor::from_data(TensorData::new(hidden, shape), device)
}

#[test]
fn attention_with_hidden_keys() {
    let (batch, heads, length, width) = (3, 2, 6, 5);
    for (rows, queries) in [(batch, length), (1, length), (batch, 1), (1, 1)] {
        check("hidden", &[[batch, length, 3 * heads * width]], |t| {
            let hidden = mask([rows, 1, queries, length], &t[0].device());
            attention(Tokens::Packed(t[0].clone()), heads, Mask::Hidden(hidden))
        });
    }
}

#[test]
fn attention_on_split_heads_equals_that_on_tokens() {
    let device = Device::flex();
    let (batch, heads, width, capacity) = (2, 3, 4, 9);
    for new in [1, 2, 5] {
        let packed = tensor::<3>([batch, capacity, 3 * heads * width], 5, DType::F32, &device);
        let [q, k, v] = parts(packed.clone()).map(|x| split_heads(x, heads));
        // A cache of which only the first part is in use.
        let used = 6;
        let hidden: Vec<bool> = (0..new)
            .flat_map(|query| (0..capacity).map(move |key| key > used - new + query))
            .collect();
        let hidden = Tensor::from_data(TensorData::new(hidden, [1, 1, new, capacity]), &device);
        let q = q.narrow(2, used - new, new);
        let actual = heads_attention(q.clone(), k.clone(), v.clone(), Mask::Hidden(hidden));
        let [k, v] = [k, v].map(|x| x.narrow(2, 0, used));
        let expected = heads_attention(q, k, v, Mask::Causal);
        close("split heads", &values(actual), &values(expected.clone()));
        let tokens = attention(
            Tokens::Packed(packed.narrow(1, 0, used)),
            heads,
            Mask::Causal,
        );
        close(
            "tokens",
            &values(expected),
            &values(tokens.narrow(1, used - new, new)),
        );
    }
}

#[test]
fn a_row_that_sees_nothing_is_zero() {
    let device = Device::flex();
    let packed = tensor::<3>([1, 2, 6], 3, DType::F32, &device);
    let hidden = Tensor::from_data([[[[true, true], [false, true]]]], &device);
    let y = values(attention(Tokens::Packed(packed), 1, Mask::Hidden(hidden)));
    assert_eq!(&y[..2], &[0.0, 0.0]);
    assert!(y[2..].iter().all(|x| *x != 0.0));
}

#[test]
fn numbers_that_are_none_stay_none() {
    let device = Device::flex();
    let nan = |shape: [usize; 3]| Tensor::<3>::full(shape, f32::NAN, &device);
    let ones = Tensor::<1>::ones([4], &device);
    let all = |x: Tensor<3>| values(x).into_iter().all(f64::is_nan);
    assert!(all(gelu(nan([1, 2, 4]))));
    assert!(all(layer_norm(nan([1, 2, 4]), ones.clone(), ones, 1e-5)));
    assert!(all(attention(
        Tokens::Packed(nan([1, 2, 6])),
        1,
        Mask::None
    )));
    let loss = cross_entropy(nan([1, 2, 4]).squeeze_dim(0), &[0, 1]);
    assert!(values(loss)[0].is_nan());
}

#[test]
fn three_updates_of_adamw() {
    let device = Device::flex();
    let count = 37;
    let run = |dtype: DType| {
        let mut weights = tensor::<1>([count], 1, dtype, &device);
        let zeros = || weights.zeros_like();
        let mut moments = [zeros(), zeros()];
        for step in 1..=3 {
            let gradient = tensor::<1>([count], 10 + step as u64, dtype, &device);
            let numbers = AdamW {
                beta1: 0.9,
                beta2: 0.98,
                epsilon: 1e-6,
                rate: 1e-2,
                weight_decay: 0.2,
                step,
                clip: 0.37,
            };
            (weights, moments) = adamw(numbers, weights, gradient, moments);
        }
        let [first, second] = moments;
        [weights, first, second].map(values)
    };
    let (actual, expected) = (run(DType::F32), run(DType::F64));
    for (actual, expected) in actual.iter().zip(&expected) {
        close("AdamW", actual, expected);
    }
}

#[test]
fn the_old_weights_of_an_update_stay_as_they_were() {
    let device = Device::flex();
    let weights = tensor::<1>([5], 1, DType::F32, &device);
    let before = values(weights.clone());
    let numbers = AdamW {
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-6,
        rate: 1e-2,
        weight_decay: 0.0,
        step: 1,
        clip: 1.0,
    };
    let zeros = || Tensor::<1>::zeros([5], &device);
    let (after, _) = adamw(
        numbers,
        weights.clone(),
        weights.clone(),
        [zeros(), zeros()],
    );
    assert_eq!(values(weights), before);
    assert_ne!(values(after), before);
}

#[test]
fn sums_of_squares() {
    for count in [1, 15, 16, 4097] {
        let x = tensor::<1>([count], 4, DType::F32, &Device::flex());
        let expected: f64 = values(x.clone()).iter().map(|x| x * x).sum();
        close("sum of squares", &values(sum_of_squares(x)), &[expected]);
    }
}
