//! Greedy and sampled decoding: one continuation per row.

use super::decoder::{Choices, Decoder};
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
        let wanted = wanted(run, sampling);
        let mut choices = Choices::next(decoder, &tokens, run.largest_id(), wanted).await?;
        let cut = |choices: &Choices| {
            let mut rows = choices.rows().into_iter().zip(&texts);
            rows.any(|(row, text)| {
                let mut scores = run.scores(&row);
                run.processors.apply(text.ids(), &mut scores);
                is_cut_short(&scores, sampling)
            })
        };
        if matches!(choices, Choices::Best(_)) && sampling.is_some() && cut(&choices) {
            choices = Choices::all(decoder, tokens.len(), run.largest_id()).await?;
        }
        for (row, choices) in choices.rows().into_iter().enumerate() {
            if ends[row].is_some() {
                continue;
            }
            let id = choose(run, sampling, &texts[row], run.scores(&choices))?;
            let log_prob = choices.logit(id) - choices.log_total();
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

/// How many of the largest logits the choice needs; none if it needs all: in open_clip's mode, to force the end token,
/// and for random choice among all tokens.
fn wanted(run: &Run<'_>, sampling: Option<&Sampling>) -> Option<usize> {
    match sampling {
        _ if run.compat => None,
        None => run.wanted(1),
        // One more, to see whether others are equal to the last.
        Some(sampling) => run.wanted(sampling.top_k? + 1),
    }
}

/// Whether tokens beyond the largest logits may be equal to the last that top-k keeps, and are kept with it.
fn is_cut_short(scores: &[f32], sampling: Option<&Sampling>) -> bool {
    let Some(kept) = sampling.and_then(|sampling| sampling.top_k) else {
        return false;
    };
    let mut there: Vec<f32> = scores
        .iter()
        .copied()
        .filter(|score| *score > f32::NEG_INFINITY)
        .collect();
    there.sort_by(|a, b| b.total_cmp(a));
    there.get(kept.saturating_sub(1)) == there.last()
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
