//! The page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::history::History;
use super::pictures::Pictures;
use super::{curves, data, examples, summary};
use crate::observe::record::RunRecord;
use crate::observe::{line, units};

const STYLE: &str = include_str!("style.css");
/// Values under the pointer. The page is whole without it.
const SCRIPT: &str = include_str!("hover.js");

/// The report of a run.
pub fn page(history: &History, record: &RunRecord, pictures: &Pictures) -> Markup {
    let name = if record.name.is_empty() {
        "training run"
    } else {
        &record.name
    };
    // Nothing but this script runs, and nothing is fetched, whatever the texts of a run contain.
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        STANDARD.encode(Sha256::digest(SCRIPT))
    );
    let (state, tone) = summary::state(record);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " · training report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (name) }
                    p.state.(tone) { (state) }
                    p.when { (when(record)) }
                }
                main {
                    (summary::tiles(history, record))
                    @if history.steps.is_empty() && history.validations.is_empty() {
                        p.note { "Nothing has been logged yet." }
                    }
                    (section("Training", curves::training(history), Some(curves::smoothing(history))))
                    (section("Held-out data", curves::validation(history), None))
                    (section("Captions", examples::captions(history, pictures),
                        Some(note("What the model wrote at which steps, newest first, and what the data say."))))
                    (section("Answers", examples::answers(history, pictures),
                        Some(note("What the model answered at which steps, newest first."))))
                    (section("Image to text retrieval", examples::retrieval(history, pictures),
                        Some(note("The captions closest to a picture, with their cosines, and the place of its own."))))
                    (section("Data", data::sets(record), None))
                    @if !record.first_batch.is_empty() {
                        (section("First batch", data::first_batch(record, pictures),
                            Some(note("Images as the model saw them, after augmentation, with their texts; what is \
                                       given and not predicted is grey."))))
                    }
                    (section("Model and machine", summary::machines(record), None))
                    @if record.config.is_object() {
                        (section("Configuration", summary::configuration(record), None))
                    }
                }
                footer {
                    "Written by coca-train " (env!("CARGO_PKG_VERSION")) " on " (units::date(line::now())) "."
                    @if history.unreadable > 0 {
                        " " (history.unreadable) " lines of the metrics could not be read."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// When the run began, and on what.
fn when(record: &RunRecord) -> Markup {
    let (first, last) = (record.sessions.first(), record.sessions.last());
    html! {
        @if let (Some(first), Some(last)) = (first, last) {
            "started " (units::date(first.started)) " · " (last.device) " · " (last.machine.processor)
        }
    }
}

fn note(text: &str) -> Markup {
    html! { p.note { (text) } }
}

/// A titled section; nothing if it has no content.
fn section(title: &str, content: Markup, note: Option<Markup>) -> Markup {
    let empty = !content.0.contains('<') || content.0 == "<div class=\"charts\"></div>";
    html! {
        @if !empty {
            section {
                h2 { (title) }
                @if let Some(note) = note { (note) }
                (content)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn rendered(history: &History, record: &RunRecord) -> String {
        page(history, record, &Pictures::in_run(Path::new("nowhere"))).into_string()
    }

    #[test]
    fn texts_are_escaped_and_nothing_is_fetched() {
        let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
        let line = json!({
            "step": 1, "validation": evil, "loss": {evil: 1.0}, "vqa": {"exact_match": 0.5},
            "captions": [{"key": evil, "caption": evil, "reference": evil, "picture": "../../etc/passwd"}],
            "answers": [{"key": evil, "question": evil, "answer": evil, "reference": evil, "correct": false}],
            "retrievals": [{"key": evil, "caption": evil, "rank": 2, "captions": 9, "found": [[evil, 0.5]]}],
        });
        let record = RunRecord {
            name: evil.into(),
            config: json!({ "name": evil, "steps": 5 }),
            ..RunRecord::default()
        };
        let html = rendered(&History::parse(&line.to_string()), &record);
        assert_eq!(html.matches("<script").count(), 1, "only our own");
        assert!(!html.contains("<img src=x"), "{html}");
        for outside in ["http://", "https://", "<link", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("Content-Security-Policy") && html.contains("default-src 'none'"));
    }

    #[test]
    fn a_run_that_has_only_begun_has_a_report() {
        let html = rendered(&History::default(), &RunRecord::default());
        assert!(html.contains("Nothing has been logged yet"), "{html}");
        assert!(
            !html.contains("<h2>Captions") && !html.contains("<h2>Training"),
            "{html}"
        );
    }

    #[test]
    fn odd_lines_do_no_harm() {
        let text = "{\"step\":1,\"loss\":1e999}\n{\"step\":2,\"loss\":\"x\"}\n\
                    {\"step\":18446744073709551615,\"loss\":-1e300,\"samples_per_second\":0}\n\
                    {\"step\":3,\"validation\":\"\",\"captions\":{},\"retrievals\":[3],\"answers\":[[]]}";
        rendered(&History::parse(text), &RunRecord::default());
    }
}
