//! What the model made of some samples: captions and answers over time, and retrieval.

use maud::{Markup, html};
use serde_json::Value;

use super::history::History;
use super::pictures::Pictures;
use crate::observe::{line, units};

/// Texts of a sample that are shown at once; the others can be unfolded.
const SHOWN: usize = 3;
/// Texts of a sample that can be unfolded.
const UNFOLDED: usize = 60;

/// A sample with what the model wrote about it over time.
#[derive(Debug)]
struct Sample {
    set: String,
    key: String,
    question: Option<String>,
    reference: Option<String>,
    picture: Option<String>,
    texts: Vec<Text>,
}

/// A text that the model wrote from one step to another.
#[derive(Debug, PartialEq)]
struct Text {
    first: u64,
    last: u64,
    text: String,
    correct: Option<bool>,
}

/// Captions of sample pictures over time.
pub fn captions(history: &History, pictures: &Pictures) -> Markup {
    cards(&samples(history, "captions", "caption"), pictures)
}

/// Answers to sample questions over time.
pub fn answers(history: &History, pictures: &Pictures) -> Markup {
    cards(&samples(history, "answers", "answer"), pictures)
}

fn samples(history: &History, list: &str, field: &str) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for validation in &history.validations {
        let step = line::step(validation).unwrap_or_default();
        let set = line::validation(validation).unwrap_or_default();
        for entry in validation[list].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().map(String::from);
            let (Some(key), question) = (text("key"), text("question")) else {
                continue;
            };
            let known = samples.iter().position(|sample| {
                sample.set == set && sample.key == key && sample.question == question
            });
            let at = known.unwrap_or_else(|| {
                samples.push(Sample {
                    set: set.into(),
                    key,
                    question,
                    reference: text("reference"),
                    picture: None,
                    texts: Vec::new(),
                });
                samples.len() - 1
            });
            if let Some(sample) = samples.get_mut(at) {
                sample.picture = text("picture").or(sample.picture.take());
                let correct = entry["correct"].as_bool();
                sample.add(step, text(field).unwrap_or_default(), correct);
            }
        }
    }
    samples
}

impl Sample {
    fn add(&mut self, step: u64, text: String, correct: Option<bool>) {
        match self.texts.last_mut() {
            Some(before) if before.text == text => before.last = step,
            _ => self.texts.push(Text {
                first: step,
                last: step,
                text,
                correct,
            }),
        }
    }
}

fn cards(samples: &[Sample], pictures: &Pictures) -> Markup {
    let mut sets: Vec<&str> = samples.iter().map(|sample| sample.set.as_str()).collect();
    sets.dedup();
    html! {
        @for set in sets {
            h3 { (set) }
            div.cards {
                @for sample in samples.iter().filter(|sample| sample.set == set) {
                    article.card {
                        (picture(sample.picture.as_deref(), pictures))
                        div {
                            @if let Some(question) = &sample.question { p.question { (question) } }
                            (texts(&sample.texts))
                            @if let Some(reference) = &sample.reference {
                                p.reference { span.step { "data" } (reference) }
                            }
                            p.key { (sample.key) }
                        }
                    }
                }
            }
        }
    }
}

/// The last texts, newest first, and the earlier ones to unfold.
fn texts(texts: &[Text]) -> Markup {
    let newest: Vec<&Text> = texts.iter().rev().collect();
    let (shown, earlier) = newest.split_at(newest.len().min(SHOWN));
    let item = |text: &Text| {
        html! {
            li {
                span.step {
                    (units::count(text.first))
                    @if text.last > text.first { "–" (units::count(text.last)) }
                }
                @if text.text.is_empty() { i { "(nothing)" } } @else { (text.text) }
                @match text.correct {
                    Some(true) => span.right { " ✓" },
                    Some(false) => span.wrong { " ✗" },
                    None => {},
                }
            }
        }
    };
    html! {
        ul.texts { @for text in shown { (item(text)) } }
        @if !earlier.is_empty() {
            details {
                summary { (earlier.len()) " earlier" }
                ul.texts {
                    @for text in earlier.iter().take(UNFOLDED) { (item(text)) }
                    @if earlier.len() > UNFOLDED { li { "…" } }
                }
            }
        }
    }
}

/// What pictures found among all captions, at the last validation.
pub fn retrieval(history: &History, pictures: &Pictures) -> Markup {
    let last = |set: &str| {
        let mut lines = history.validations.iter().rev();
        lines.find(|line| line::validation(line) == Some(set) && line["retrievals"].is_array())
    };
    html! {
        @for found in history.sets().into_iter().filter_map(last) {
            @let examples = found["retrievals"].as_array().map(Vec::as_slice).unwrap_or_default();
            @let (best, worst) = examples.split_at(examples.len().div_ceil(2));
            h3 {
                (line::validation(found).unwrap_or_default()) ", step "
                (units::count(line::step(found).unwrap_or_default()))
            }
            @for (title, examples) in [("Found first", best), ("Found last", worst)] {
                @if !examples.is_empty() {
                    h4 { (title) }
                    div.cards { @for example in examples { (retrieved(example, pictures)) } }
                }
            }
        }
    }
}

fn retrieved(example: &Value, pictures: &Pictures) -> Markup {
    let own = example["caption"].as_str().unwrap_or_default();
    let found = example["found"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let shown = found.iter().any(|found| found[0] == own);
    let number = |field: &str| units::count(example[field].as_u64().unwrap_or_default());
    html! {
        article.card {
            (picture(example["picture"].as_str(), pictures))
            div {
                ul.texts {
                    @for found in found {
                        @let (text, cosine) = (found[0].as_str().unwrap_or_default(), found[1].as_f64());
                        li.own[text == own] {
                            span.step { (cosine.map(|c| format!("{c:.2}")).unwrap_or_default()) }
                            (text)
                        }
                    }
                }
                p.reference {
                    span.step { "own, place " (number("rank")) " of " (number("captions")) }
                    @if !shown { (own) }
                }
                p.key { (example["key"].as_str().unwrap_or_default()) }
            }
        }
    }
}

/// A stored picture; a frame where it is missing.
pub fn picture(name: Option<&str>, pictures: &Pictures) -> Markup {
    match name.and_then(|name| pictures.address(name)) {
        Some(address) => html! { img src=(address) alt="" loading="lazy"; },
        None => html! { div.missing { "no picture" } },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_same_text_is_said_once() {
        let text = |step: u64, caption: &str| {
            format!(
                "{{\"step\":{step},\"validation\":\"v\",\"captions\":[{{\"key\":\"k\",\"caption\":\"{caption}\"}}]}}\n"
            )
        };
        let lines: String = [(1, "a"), (2, "a"), (3, "<b>"), (4, "a")]
            .map(|(step, caption)| text(step, caption))
            .concat();
        let history = History::parse(&lines);
        let found = samples(&history, "captions", "caption");
        assert_eq!(found.len(), 1);
        let spans: Vec<(u64, u64)> = found[0].texts.iter().map(|t| (t.first, t.last)).collect();
        assert_eq!(spans, [(1, 2), (3, 3), (4, 4)]);
        let page = captions(&history, &Pictures::in_run(Path::new("nowhere"))).into_string();
        assert!(
            page.contains("&lt;b&gt;") && page.contains("no picture"),
            "{page}"
        );
    }
}
