//! The largest numbers of a row.

use burn::tensor::Tensor;

/// So many numbers are found at once; where more are wanted, it is quicker to look at all on the host.
pub const MOST: usize = 32;

/// The largest numbers of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Largest {
    /// Place and number, the largest first, of equal ones the first.
    pub found: Vec<(u32, f32)>,
    /// ln Σ e^x of the whole row, to about 1e-6.
    pub log_sum_exp: f32,
    /// Whether all of the row are finite numbers; otherwise the rest means nothing.
    pub is_finite: bool,
}

/// The `count` largest numbers of each row of `x` `[rows, width]`, found on the device, which sends only these back. None
/// where that does not pay or is not possible: on the CPU, for more than [`MOST`], or more than there are.
///
/// # Errors
/// The device gave nothing.
pub async fn largest(x: Tensor<2>, count: usize) -> Option<Result<Vec<Largest>, String>> {
    if count == 0 || count > MOST.min(x.dims()[1]) {
        return None;
    }
    #[cfg(feature = "wgsl")]
    if let Some(found) = crate::gpu::largest(&x.clone().into_dispatch(), count) {
        let found = burn::tensor::Tensor::<2, burn::tensor::Int>::from_dispatch(
            crate::gpu::wrap_integers(found),
        );
        let data = match found.into_data_async().await {
            Ok(data) => data,
            Err(error) => return Some(Err(error.to_string())),
        };
        let words: Vec<i32> = match data.try_into_vec_as() {
            Ok(words) => words,
            Err(error) => return Some(Err(error.to_string())),
        };
        let float = |word: i32| f32::from_bits(word.cast_unsigned());
        let rows = words.chunks_exact(2 + 2 * count).map(|row| Largest {
            found: row[2..]
                .chunks_exact(2)
                .map(|pair| (pair[0].cast_unsigned(), float(pair[1])))
                .collect(),
            log_sum_exp: float(row[0]),
            is_finite: row[1] == 0,
        });
        return Some(Ok(rows.collect()));
    }
    let _ = x;
    None
}
