//! Answers to questions about images: free text, or the most probable of given choices.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::classify::{check_distinct, softmax};
use super::decode::pieces;
use super::write::OnText;
use super::{EncodedImages, Predictor};
use crate::generate::{GenerateOptions, Length, generate_each, score_continuations};
use crate::{Error, Result};

/// Tokens of the shortest answer that a question must leave room for: two and the end.
const SHORT_ANSWER: usize = 3;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The generated text, or the best choice.
    pub text: String,
    /// Its natural log-probability given the image and the question, the end token included.
    pub log_prob: f64,
    /// All choices, best first, if choices were given.
    pub choices: Option<Vec<ChoiceScore>>,
}

/// How probable a choice is.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceScore {
    /// The choice, as it was given.
    pub answer: String,
    /// Its share of all choices' probability, 0 to 1.
    pub score: f32,
    /// Its natural log-probability given the image and the question, the end token included.
    pub log_prob: f64,
}

impl GenerateOptions {
    /// Settings for answers: greedy, up to 20 tokens after the question.
    pub fn for_answers() -> Self {
        Self {
            max_length: Length::New(20),
            ..Self::default()
        }
    }
}

impl Predictor {
    /// Answers one question about every image, after the model's prompt template for questions.
    ///
    /// Without `choices` the answer is generated with `options`, and `on_text` hears of it. With `choices` each is
    /// scored as a whole, end token included, and nothing is generated.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty question, one that leaves no room for an answer, or choices that are empty,
    /// repeated or too long; [`Error::Device`] when the device fails.
    pub async fn answer(
        &self,
        images: &EncodedImages,
        question: &str,
        choices: Option<&[String]>,
        options: &GenerateOptions,
        on_text: OnText<'_>,
    ) -> Result<Vec<Answer>> {
        if question.trim().is_empty() {
            return Err(Error::Input("the question is empty".into()));
        }
        let prefix = self.prefix_ids(&self.prompts.question(question));
        if let Some(choices) = choices {
            let scores = self.choice_scores(images, &prefix, choices).await?;
            return Ok(scores
                .iter()
                .map(|scores| best_choice(choices, scores))
                .collect());
        }
        let texts = self.write(images, &prefix, options, on_text).await?;
        Ok(texts
            .into_iter()
            .map(|t| Answer {
                text: t.text,
                log_prob: t.log_prob,
                choices: None,
            })
            .collect())
    }

    /// Answers any number of questions, each about one of the images by number; [`Predictor::answer`] for each gives
    /// the same, but here questions of equal length are answered together.
    ///
    /// A question that leaves no room for an answer of two tokens loses its start, as in training.
    ///
    /// # Errors
    /// [`Error::Input`] for an image that is not there or settings without meaning, [`Error::Device`] when the
    /// device fails.
    pub async fn answer_many(
        &self,
        images: &EncodedImages,
        questions: &[(usize, &str)],
        options: &GenerateOptions,
    ) -> Result<Vec<Answer>> {
        options.validate()?;
        if let Some((image, _)) = questions.iter().find(|(image, _)| *image >= images.len()) {
            return Err(Error::Input(format!(
                "a question is about image {image} of {}; they count from 0",
                images.len()
            )));
        }
        let longest = self.context_length().saturating_sub(SHORT_ANSWER).max(2);
        let prefix = |question: &str| {
            let mut ids = self.prefix_ids(&self.prompts.question(question));
            ids.drain(1..1 + ids.len().saturating_sub(longest));
            ids
        };
        let prefixes: Vec<Vec<u32>> = questions.iter().map(|(_, q)| prefix(q)).collect();
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (question, prefix) in prefixes.iter().enumerate() {
            by_length.entry(prefix.len()).or_default().push(question);
        }
        let mut answers = vec![None; questions.len()];
        for (length, group) in by_length {
            let capacity = options
                .max_length
                .total(length)
                .clamp(1, self.context_length());
            let rows = self.rows_at_a_time(images, capacity) / options.rows_per_image();
            for some in group.chunks(rows.max(1)) {
                let of: Vec<usize> = some.iter().map(|&question| questions[question].0).collect();
                let prefixes: Vec<&[u32]> = some.iter().map(|&q| prefixes[q].as_slice()).collect();
                let mut decoder = self.decoder_of(images, &of, capacity)?;
                let texts = generate_each(
                    &mut decoder,
                    &prefixes,
                    self.special_ids(),
                    self.context_length(),
                    options,
                    &mut |_| ControlFlow::Continue(()),
                )
                .await?;
                for (&question, text) in some.iter().zip(texts) {
                    answers[question] = Some(Answer {
                        text: self.tokenizer.decode_text(text.tokens()),
                        log_prob: text.log_prob,
                        choices: None,
                    });
                }
            }
        }
        // Every question is in exactly one group.
        Ok(answers.into_iter().flatten().collect())
    }

    /// Log-probability of each choice for each image, `[images][choices]`.
    async fn choice_scores(
        &self,
        images: &EncodedImages,
        prefix: &[u32],
        choices: &[String],
    ) -> Result<Vec<Vec<f64>>> {
        check_distinct("choice", choices)?;
        let mut continuations = Vec::with_capacity(choices.len());
        for choice in choices {
            let mut ids = self.tokenizer.encode(choice);
            ids.push(self.tokenizer.eot());
            continuations.push(ids);
        }
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        // The end token is predicted, never fed.
        let capacity = prefix.len() + longest - 1;
        if capacity > self.context_length() {
            return Err(Error::Input(format!(
                "question and choice have up to {} tokens, the model takes {}; shorten them",
                capacity + 1,
                self.context_length() + 1
            )));
        }
        let rows = self.rows_at_a_time(images, capacity);
        let mut scores = vec![Vec::with_capacity(choices.len()); images.len()];
        for range in pieces(images.len(), rows / choices.len()) {
            for some in continuations.chunks(rows) {
                let mut decoder = self.decoder(images, range.clone(), capacity)?;
                let prompt = self.prompt(range.len(), prefix, capacity);
                let part = score_continuations(&mut decoder, prompt, some).await?;
                scores[range.clone()]
                    .iter_mut()
                    .zip(part)
                    .for_each(|(all, part)| all.extend(part));
            }
        }
        Ok(scores)
    }
}

/// Ranks the choices of one image.
fn best_choice(choices: &[String], log_probs: &[f64]) -> Answer {
    let shares = softmax(log_probs);
    let mut ranked: Vec<ChoiceScore> = choices
        .iter()
        .zip(shares.into_iter().zip(log_probs))
        .map(|(answer, (score, &log_prob))| ChoiceScore {
            answer: answer.clone(),
            score: score as f32,
            log_prob,
        })
        .collect();
    ranked.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
    let (text, log_prob) = ranked.first().map_or((String::new(), 0.0), |best| {
        (best.answer.clone(), best.log_prob)
    });
    Answer {
        text,
        log_prob,
        choices: Some(ranked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_ranked_and_their_scores_sum_to_one() {
        let choices = ["no", "yes", "maybe"].map(String::from);
        let answer = best_choice(&choices, &[-3.0, -1.0, -2.0]);
        assert_eq!((answer.text.as_str(), answer.log_prob), ("yes", -1.0));
        let ranked = answer.choices.unwrap();
        assert_eq!(
            ranked.iter().map(|c| c.answer.as_str()).collect::<Vec<_>>(),
            ["yes", "maybe", "no"]
        );
        assert!((ranked.iter().map(|c| c.score).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((ranked[0].score / ranked[1].score - 1f32.exp()).abs() < 1e-5);
    }
}
