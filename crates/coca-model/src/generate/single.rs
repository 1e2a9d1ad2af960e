//! Greedy and sampled decoding: one continuation per row.

use coca_kernels::log_sum_exp;

use super::decoder::{Decoder, Logits};
use super::options::Sampling;
use super::run::{End, Event, Generated, OnEvent, Run, Text};
use super::sampling::{draw, probabilities};
use crate::{Error, Result};

/// Decodes every row until it ends, greedily or by `sampling`.
pub(super) async fn decode<D: Decoder>(
    decoder: &mut D,
    run: &Run<'_>,
    sampling: Option<&Sampling>,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    let mut texts: Vec<Text> = run.prefixes.iter().copied().map(Text::new).collect();
    let mut ends: Vec<Option<End>> = vec![None; texts.len()];
    let mut tokens: Vec<Vec<u32>> = run.prefixes.iter().map(|ids| ids.to_vec()).collect();
    let mut aborted = false;
    while ends.contains(&None) && !aborted {
        let logits = Logits::next(decoder, &tokens, run.largest_id()).await?;
        for (row, logits) in logits.rows().enumerate() {
            if ends[row].is_some() {
                continue;
            }
            let log_total = log_sum_exp(logits);
            let id = choose(run, sampling, &texts[row], run.scores(logits, log_total))?;
            let log_prob = logits[id as usize] as f64 - log_total;
            texts[row].push(id, log_prob);
            ends[row] = run.end_of(&texts[row]);
            if on_event(run.token_event(row, id, log_prob)).is_break() {
                aborted = true;
                break;
            }
        }
        aborted = aborted || on_event(Event::Step).is_break();
        // Ended rows stay in the batch, so that shapes do not change; what they are fed does not matter.
        tokens = texts.iter().map(|text| vec![text.last()]).collect();
    }
    let finish =
        |(text, end): (Text, Option<End>)| run.generated(text, end.unwrap_or(End::Aborted));
    Ok(texts.into_iter().zip(ends).map(finish).collect())
}

/// The next token of a text, by the scores that the processors have not changed yet.
fn choose(
    run: &Run<'_>,
    sampling: Option<&Sampling>,
    text: &Text,
    mut scores: Vec<f32>,
) -> Result<u32> {
    if run.compat && text.len() + 1 == run.max_length {
        return Ok(run.special.end);
    }
    run.processors.apply(text.ids(), &mut scores);
    let choice = match sampling {
        None => argmax(&scores),
        Some(s) => draw(
            &probabilities(&scores, s, run.compat),
            s.seed,
            text.len() - run.prefix_length,
        ),
    };
    choice.ok_or_else(|| {
        Error::Input("no token is left to choose: the vocabulary has only special tokens".into())
    })
}

/// The first of the largest scores, `None` when all are excluded.
fn argmax(scores: &[f32]) -> Option<u32> {
    let mut best = (None, f32::NEG_INFINITY);
    for (id, &score) in (0u32..).zip(scores) {
        if score > best.1 {
            best = (Some(id), score);
        }
    }
    best.0
}
