//! How probable given continuations are.

use coca_kernels::log_sum_exp;

use super::decoder::{Decoder, Logits};
use super::run::Prompt;
use crate::{Error, Result};

/// The natural log-probability of each continuation after the prefix, `[rows][continuations]`: the sum over its
/// tokens, to which an end token should belong if the whole text is to be judged.
///
/// The decoder must be empty; the prefix is fed once for each row, then all `rows * continuations` texts together.
///
/// # Errors
/// [`Error::Input`] for an empty continuation or one that does not fit, [`Error::Device`] when the logits are not
/// numbers.
pub async fn score_continuations<D: Decoder>(
    decoder: &mut D,
    prompt: Prompt<'_>,
    continuations: &[Vec<u32>],
) -> Result<Vec<Vec<f64>>> {
    let Prompt {
        rows,
        prefix,
        special,
        capacity,
    } = prompt;
    let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
    if prefix.is_empty() || continuations.iter().any(Vec::is_empty) {
        return Err(Error::Input(
            "a prefix or continuation without tokens has no probability".into(),
        ));
    }
    // The last token is predicted, never fed.
    if prefix.len() + longest - 1 > capacity {
        return Err(Error::Input(format!(
            "prefix and continuation have up to {} tokens, more than the {capacity} that the model can hold",
            prefix.len() + longest
        )));
    }
    if rows == 0 || longest == 0 {
        return Ok(vec![vec![]; rows]);
    }
    let ids = continuations.iter().flatten().chain(prefix).copied();
    let largest_id = ids.max().unwrap_or_default();
    let first = Logits::next(decoder, &vec![prefix.to_vec(); rows], largest_id).await?;
    let mut scores = Vec::with_capacity(rows);
    for logits in first.rows() {
        let log_total = log_sum_exp(logits);
        let score = |tokens: &Vec<u32>| logits[tokens[0] as usize] as f64 - log_total;
        scores.push(continuations.iter().map(score).collect::<Vec<f64>>());
    }
    if longest > 1 {
        let parents: Vec<usize> = (0..rows)
            .flat_map(|row| vec![row; continuations.len()])
            .collect();
        decoder.select(&parents)?;
    }
    for position in 1..longest {
        // Shorter continuations are fed padding, whose logits nobody reads.
        let fed =
            |tokens: &Vec<u32>| vec![tokens.get(position - 1).copied().unwrap_or(special.pad)];
        let tokens: Vec<Vec<u32>> = (0..rows)
            .flat_map(|_| continuations.iter().map(fed))
            .collect();
        let logits = Logits::next(decoder, &tokens, largest_id.max(special.pad)).await?;
        let targets =
            (0..rows).flat_map(|row| continuations.iter().enumerate().map(move |c| (row, c)));
        for (logits, (row, (column, tokens))) in logits.rows().zip(targets) {
            if let Some(&id) = tokens.get(position) {
                scores[row][column] += logits[id as usize] as f64 - log_sum_exp(logits);
            }
        }
    }
    Ok(scores)
}
