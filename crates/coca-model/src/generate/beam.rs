//! Beam search, with the bookkeeping of transformers' `BeamSearchScorer`, which open_clip 3.3.0 uses.

use super::decoder::{Choices, Decoder, Row};
use super::options::Beams;
use super::run::{End, Event, Generated, OnEvent, Run, Text};
use crate::{Error, Result};

/// Decodes every row with `width` beams and returns the best hypothesis of each.
pub(super) async fn decode<D: Decoder>(
    decoder: &mut D,
    run: &Run<'_>,
    width: usize,
    beams: &Beams,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    let length_penalty = beams.length_penalty as f64;
    let search = |prefix: &&[u32]| Search::new(prefix, width, length_penalty);
    let mut searches: Vec<Search> = run.prefixes.iter().map(search).collect();
    // The first step has one row per image; then each image has `width` rows for the rest of the search.
    let mut tokens: Vec<Vec<u32>> = run.prefixes.iter().map(|ids| ids.to_vec()).collect();
    let mut rows_per_image = 1;
    let mut length = run.prefix_length;
    loop {
        let wanted = run.wanted(2 * width);
        let choices = Choices::next(decoder, &tokens, run.largest_id(), wanted).await?;
        let rows = choices.rows();
        for (search, rows) in searches.iter_mut().zip(rows.chunks(rows_per_image)) {
            search.step(run, rows)?;
        }
        length += 1;
        let over = length >= run.max_length || searches.iter().all(|search| search.done);
        let aborted = report(run, &mut searches, on_event);
        if over || aborted {
            let rest = if aborted && !over {
                End::Aborted
            } else {
                End::MaxLength
            };
            return finish(run, searches, rest, aborted, on_event);
        }
        let parent =
            |(image, search): (usize, &Search), slot| image * rows_per_image + search.slot(slot).0;
        let slots = || {
            searches
                .iter()
                .enumerate()
                .flat_map(|search| (0..width).map(move |slot| (search, slot)))
        };
        let parents: Vec<usize> = slots().map(|(search, slot)| parent(search, slot)).collect();
        if rows_per_image != width
            || parents
                .iter()
                .enumerate()
                .any(|(row, &parent)| row != parent)
        {
            decoder.select(&parents)?;
        }
        tokens = slots()
            .map(|((_, search), slot)| vec![search.slot(slot).1])
            .collect();
        rows_per_image = width;
    }
}

/// Reports the tokens that are certain by now. Returns whether the caller broke.
fn report(run: &Run<'_>, searches: &mut [Search], on_event: OnEvent<'_>) -> bool {
    for (row, search) in searches.iter_mut().enumerate() {
        let certain: Vec<_> = search.certain().collect();
        search.reported += certain.len();
        for (id, log_prob) in certain {
            if on_event(run.token_event(row, id, log_prob)).is_break() {
                return true;
            }
        }
    }
    on_event(Event::Step).is_break()
}

fn finish(
    run: &Run<'_>,
    searches: Vec<Search>,
    rest: End,
    mut silent: bool,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    let mut results = Vec::with_capacity(searches.len());
    for (row, search) in searches.into_iter().enumerate() {
        let reported = search.reported;
        let (text, end) = search.best(run, rest)?;
        for (id, log_prob) in text.generated().skip(reported) {
            silent = silent || on_event(run.token_event(row, id, log_prob)).is_break();
        }
        results.push(run.generated(text, end));
    }
    Ok(results)
}

/// A continuation that still grows.
struct Beam {
    text: Text,
    /// Sum of log-probabilities after the repetition penalty; of logits in open_clip's mode.
    score: f64,
    /// Which beam of the step before it continues.
    parent: usize,
}

/// A continuation that met the end token.
struct Hypothesis {
    text: Text,
    /// Score divided by the length to the power of the length penalty.
    rank: f64,
}

/// The search for one image.
struct Search {
    width: usize,
    length_penalty: f64,
    beams: Vec<Beam>,
    /// At most `width`, the worst is dropped.
    finished: Vec<Hypothesis>,
    done: bool,
    /// Generated tokens that the caller has been told.
    reported: usize,
}

impl Search {
    fn new(prefix: &[u32], width: usize, length_penalty: f64) -> Self {
        let beams = vec![Beam {
            text: Text::new(prefix),
            score: 0.0,
            parent: 0,
        }];
        Self {
            width,
            length_penalty,
            beams,
            finished: vec![],
            done: false,
            reported: 0,
        }
    }

    /// Parent and last token of the beam in a row; rows without a beam repeat the first and are ignored.
    fn slot(&self, slot: usize) -> (usize, u32) {
        let beam = self.beams.get(slot).or(self.beams.first());
        beam.map_or((0, 0), |beam| (beam.parent, beam.text.last()))
    }

    /// Extends the beams by a token; `choices` has a row for each of them, and may have more.
    fn step(&mut self, run: &Run<'_>, choices: &[Row<'_>]) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let candidates = self.candidates(run, choices);
        let Some(best) = candidates.first().map(|candidate| candidate.score) else {
            return Err(Error::Input(
                "no token is left to choose: the vocabulary has only special tokens".into(),
            ));
        };
        let mut next = Vec::with_capacity(self.width);
        for (place, candidate) in candidates.into_iter().enumerate() {
            let mut text = self.beams[candidate.parent].text.clone();
            text.push(candidate.id, candidate.log_prob);
            if candidate.id == run.special.end {
                // An end token below the best `width` candidates would crowd out better hypotheses to come.
                if place < self.width {
                    let rank = self.rank(run, candidate.score, &text);
                    self.add(Hypothesis { text, rank });
                }
            } else {
                next.push(Beam {
                    text,
                    score: candidate.score,
                    parent: candidate.parent,
                });
            }
            if next.len() == self.width {
                break;
            }
        }
        self.beams = next;
        self.done = self.beams.is_empty() || self.cannot_improve(run, best);
        Ok(())
    }

    /// The best `2 * width` continuations, best first: enough for `width` beams even if every beam may end here.
    fn candidates(&self, run: &Run<'_>, choices: &[Row<'_>]) -> Vec<Candidate> {
        let mut best = Best {
            limit: 2 * self.width,
            candidates: vec![],
        };
        for (parent, (beam, choices)) in self.beams.iter().zip(choices).enumerate() {
            let mut scores = run.scores(choices);
            run.processors.apply(beam.text.ids(), &mut scores);
            for (id, score) in (0u32..).zip(scores) {
                best.offer(Candidate {
                    parent,
                    id,
                    score: beam.score + f64::from(score),
                    log_prob: 0.0,
                });
            }
        }
        for candidate in &mut best.candidates {
            let choices = &choices[candidate.parent];
            candidate.log_prob = choices.logit(candidate.id) - choices.log_total();
        }
        best.candidates
    }

    fn rank(&self, run: &Run<'_>, score: f64, text: &Text) -> f64 {
        let length = if run.compat {
            text.len()
        } else {
            text.generated().len()
        };
        score / (length as f64).powf(self.length_penalty)
    }

    fn add(&mut self, hypothesis: Hypothesis) {
        let place = self
            .finished
            .partition_point(|other| other.rank >= hypothesis.rank);
        self.finished.insert(place, hypothesis);
        self.finished.truncate(self.width);
    }

    /// The heuristic of transformers (`early_stopping=False`): enough hypotheses, all at least as good as the best
    /// candidate would be if it ended at this length.
    fn cannot_improve(&self, run: &Run<'_>, best_candidate: f64) -> bool {
        let (Some(beam), Some(worst)) = (self.beams.first(), self.finished.last()) else {
            return false;
        };
        let best = if run.compat {
            best_candidate
        } else {
            beam.score
        };
        self.finished.len() >= self.width && worst.rank >= self.rank(run, best, &beam.text)
    }

    /// The tokens, not reported yet, that every possible result has.
    fn certain(&self) -> impl Iterator<Item = (u32, f64)> {
        let ended = self.finished.iter().map(|hypothesis| &hypothesis.text);
        let live = self.beams.iter().map(|beam| &beam.text);
        let texts: Vec<&Text> = if self.done {
            ended.take(1).collect()
        } else {
            ended.chain(live).collect()
        };
        let first: Vec<(u32, f64)> = texts
            .first()
            .map_or(vec![], |text| text.generated().collect());
        let shared = |text: &&Text| {
            first
                .iter()
                .zip(text.generated())
                .take_while(|(a, b)| a.0 == b.0)
                .count()
        };
        let common = texts.iter().map(shared).min().unwrap_or(0);
        first.into_iter().take(common).skip(self.reported)
    }

    /// The best hypothesis. Beams that have not ended count only when there is nothing else; in open_clip's mode
    /// they compete with the ended ones.
    fn best(mut self, run: &Run<'_>, rest: End) -> Result<(Text, End)> {
        let beams = std::mem::take(&mut self.beams);
        let open = beams
            .into_iter()
            .map(|beam| (self.rank(run, beam.score, &beam.text), beam.text));
        let open = open.reduce(|best, other| if other.0 > best.0 { other } else { best });
        let ended = self.finished.into_iter().next();
        match (ended, open) {
            (Some(ended), Some(open)) if run.compat && !self.done && open.0 > ended.rank => {
                Ok((open.1, rest))
            }
            (Some(ended), _) => Ok((ended.text, End::EndToken)),
            (None, Some(open)) => Ok((open.1, rest)),
            (None, None) => Err(Error::Input("the beam search has no beams".into())),
        }
    }
}

struct Candidate {
    parent: usize,
    id: u32,
    score: f64,
    log_prob: f64,
}

/// The best candidates so far, best first; of equal ones the first offered comes first.
struct Best {
    limit: usize,
    candidates: Vec<Candidate>,
}

impl Best {
    fn offer(&mut self, candidate: Candidate) {
        let full = self.candidates.len() == self.limit;
        let worst = self
            .candidates
            .last()
            .map_or(f64::NEG_INFINITY, |worst| worst.score);
        if candidate.score == f64::NEG_INFINITY || (full && candidate.score <= worst) {
            return;
        }
        let place = self
            .candidates
            .partition_point(|other| other.score >= candidate.score);
        self.candidates.insert(place, candidate);
        self.candidates.truncate(self.limit);
    }
}
