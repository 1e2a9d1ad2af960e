//! Attention of several heads on tokens as they come out of a projection, without a copy to head-first order.

use crate::attention::Sizes;

use super::matrix::{Matrix, MatrixMut, multiply};
use super::simd::{exp, largest, sum, sum2, vectorised};

impl Sizes {
    /// Probabilities of all sequences and heads.
    pub fn probabilities(&self) -> usize {
        self.batch * self.heads * self.queries * self.keys
    }
}

/// Queries, keys or values: the channels of a head lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Where the first element is.
    pub offset: usize,
    /// From sequence to sequence; 0 if all share one.
    pub batch: usize,
    /// From head to head.
    pub head: usize,
    /// From token to token.
    pub token: usize,
}

impl Strides {
    fn start(&self, batch: usize, head: usize) -> usize {
        self.offset + batch * self.batch + head * self.head
    }
}

/// Elements with their arrangement.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Where they are.
    pub strides: Strides,
}

impl<'a> Heads<'a> {
    fn matrix(&self, batch: usize, head: usize, tokens: usize, width: usize) -> Matrix<'a> {
        let start = self.strides.start(batch, head);
        Matrix::strided(&self.data[start..], tokens, width, self.strides.token)
    }
}

/// Which keys a query does not see.
#[derive(Clone, Copy, Debug)]
pub enum Hidden<'a> {
    /// None.
    Nothing,
    /// Those behind its own place; the last query stands at the last key.
    Future,
    /// Those that are not 0: `[batch or 1, queries or 1, keys]`.
    Marked {
        /// The marks.
        data: &'a [u8],
        /// From sequence to sequence; 0 if all share one.
        batch: usize,
        /// From query to query; 0 if all share one.
        query: usize,
    },
}

/// softmax(Q Kᵀ / √width) V into `out` `[batch, queries, heads · width]`. The probabilities stay in `kept`, if wanted:
/// `[batch, heads, queries, keys]`.
pub fn forward(
    sizes: Sizes,
    q: Heads,
    k: Heads,
    v: Heads,
    hidden: Hidden,
    out: &mut [f32],
    kept: Option<&mut [f32]>,
) {
    let row = sizes.heads * sizes.width;
    let one = sizes.heads * sizes.queries * sizes.keys;
    let outs = out.chunks_exact_mut((sizes.queries * row).max(1));
    match kept {
        Some(kept) => {
            for ((batch, out), kept) in outs.enumerate().zip(kept.chunks_exact_mut(one.max(1))) {
                sequence(sizes, batch, [q, k, v], hidden, out, kept);
            }
        }
        None => each_sequence(sizes, [q, k, v], hidden, out, one),
    }
}

#[cfg(feature = "rayon")]
fn each_sequence(sizes: Sizes, qkv: [Heads; 3], hidden: Hidden, out: &mut [f32], one: usize) {
    use rayon::prelude::*;
    let length = (sizes.queries * sizes.heads * sizes.width).max(1);
    if sizes.batch == 1 || rayon::current_num_threads() == 1 {
        let mut scores = vec![0.0; one];
        for (batch, out) in out.chunks_exact_mut(length).enumerate() {
            sequence(sizes, batch, qkv, hidden, out, &mut scores);
        }
        return;
    }
    out.par_chunks_exact_mut(length).enumerate().for_each_init(
        || vec![0.0; one],
        |scores, (batch, out)| sequence(sizes, batch, qkv, hidden, out, scores),
    );
}

#[cfg(not(feature = "rayon"))]
fn each_sequence(sizes: Sizes, qkv: [Heads; 3], hidden: Hidden, out: &mut [f32], one: usize) {
    let length = (sizes.queries * sizes.heads * sizes.width).max(1);
    let mut scores = vec![0.0; one];
    for (batch, out) in out.chunks_exact_mut(length).enumerate() {
        sequence(sizes, batch, qkv, hidden, out, &mut scores);
    }
}

/// All heads of one sequence; `scores` `[heads, queries, keys]` become the probabilities.
fn sequence(
    sizes: Sizes,
    batch: usize,
    [q, k, v]: [Heads; 3],
    hidden: Hidden,
    out: &mut [f32],
    scores: &mut [f32],
) {
    let Sizes {
        heads,
        queries,
        keys,
        width,
        ..
    } = sizes;
    for (head, scores) in scores.chunks_exact_mut((queries * keys).max(1)).enumerate() {
        let (q, k, v) = (
            q.matrix(batch, head, queries, width),
            k.matrix(batch, head, keys, width),
            v.matrix(batch, head, keys, width),
        );
        let to = MatrixMut::new(scores, queries, keys);
        multiply(to, false, q, k.transposed(), 1.0);
        softmax(sizes, batch, hidden, scores);
        let to = MatrixMut::strided(&mut out[head * width..], queries, width, heads * width);
        multiply(to, false, Matrix::new(scores, queries, keys), v, 1.0);
    }
}

vectorised! {
    /// Scores of one head become probabilities.
    fn softmax(sizes: Sizes, batch: usize, hidden: Hidden<'_>, scores: &mut [f32]) {
        let (keys, scale) = (sizes.keys, sizes.scale());
        for (query, row) in scores.chunks_exact_mut(keys.max(1)).enumerate() {
            let seen = match hidden {
                Hidden::Nothing => keys,
                Hidden::Future => (query + 1 + keys).saturating_sub(sizes.queries).min(keys),
                Hidden::Marked {
                    data,
                    batch: stride,
                    query: row_stride,
                } => {
                    let marks = &data[batch * stride + query * row_stride..][..keys];
                    for (x, &mark) in row.iter_mut().zip(marks) {
                        *x = if mark != 0 { f32::NEG_INFINITY } else { *x };
                    }
                    keys
                }
            };
            let (row, unseen) = row.split_at_mut(seen);
            unseen.fill(0.0);
            let highest = largest(row);
            if highest == f32::NEG_INFINITY {
                // Nothing is seen; or everything is NaN, which must not get lost.
                let nan = row.iter().any(|x| x.is_nan());
                row.fill(if nan { f32::NAN } else { 0.0 });
                continue;
            }
            for x in row.iter_mut() {
                *x = exp((*x - highest) * scale);
            }
            let inverse = 1.0 / sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= inverse;
            }
        }
    }
}

/// Where the gradient of queries, keys or values goes: into which buffer, and where in it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Number of the buffer.
    pub buffer: usize,
    /// Arrangement of its elements.
    pub strides: Strides,
}

/// Adds the gradients at queries, keys and values to the buffers, from `g` `[batch, queries, heads · width]`, the
/// gradient at the output, and the probabilities.
pub fn backward(
    sizes: Sizes,
    [q, k, v]: [Heads; 3],
    probabilities: &[f32],
    g: &[f32],
    targets: [Target; 3],
    buffers: &mut [Vec<f32>],
) {
    let Sizes {
        batch,
        heads,
        queries,
        keys,
        width,
    } = sizes;
    let mut slopes = vec![0.0; queries * keys];
    let mut probabilities = probabilities.chunks_exact((queries * keys).max(1));
    for batch in 0..batch {
        for head in 0..heads {
            let Some(p) = probabilities.next() else {
                return;
            };
            let (q, k, v) = (
                q.matrix(batch, head, queries, width),
                k.matrix(batch, head, keys, width),
                v.matrix(batch, head, keys, width),
            );
            let g = &g[batch * queries * heads * width + head * width..];
            let g = Matrix::strided(g, queries, width, heads * width);
            let mut add = |part: usize, tokens: usize, a: Matrix, b: Matrix| {
                let Target { buffer, strides } = targets[part];
                let to = &mut buffers[buffer][strides.start(batch, head)..];
                let to = MatrixMut::strided(to, tokens, width, strides.token);
                multiply(to, true, a, b, 1.0);
            };
            add(2, keys, Matrix::new(p, queries, keys).transposed(), g);
            let to = MatrixMut::new(&mut slopes, queries, keys);
            multiply(to, false, g, v.transposed(), 1.0);
            softmax_backward(p, &mut slopes, keys, sizes.scale());
            let slopes = Matrix::new(&slopes, queries, keys);
            add(0, queries, slopes, k);
            add(1, keys, slopes.transposed(), q);
        }
    }
}

vectorised! {
    /// g, the gradient at the probabilities, becomes the gradient at the unscaled scores.
    fn softmax_backward(probabilities: &[f32], g: &mut [f32], keys: usize, scale: f32) {
        let rows = probabilities.chunks_exact(keys.max(1));
        for (p, g) in rows.zip(g.chunks_exact_mut(keys.max(1))) {
            let along = sum2(p, g, |p, g| p * g);
            for (g, &p) in g.iter_mut().zip(p) {
                *g = p * (*g - along) * scale;
            }
        }
    }
}
