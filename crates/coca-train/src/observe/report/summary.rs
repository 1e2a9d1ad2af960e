//! The run in a few numbers, where it ran, and with which configuration.

use maud::{Markup, html};

use super::axis::Values;
use super::chart::value;
use super::history::History;
use crate::observe::record::{RunRecord, Session, toml_of};
use crate::observe::{line, units};

/// Metrics that sum up a task, the first of each task that there is.
const HEADLINES: [(&str, &str); 4] = [
    ("zero-shot/top1", "zero-shot top 1"),
    ("retrieval/i2t_r1", "image to text R@1"),
    ("retrieval/t2i_r1", "text to image R@1"),
    ("vqa/vqa_accuracy", "VQA accuracy"),
];

/// Where the run is, in a word or two, and whether that is bad.
pub fn state(record: &RunRecord) -> (String, &'static str) {
    match record
        .sessions
        .last()
        .map(|session| session.ending.as_deref())
    {
        Some(Some("finished")) => ("finished".into(), "good"),
        Some(Some("interrupted")) => ("interrupted".into(), "plain"),
        Some(Some(failed)) => (failed.into(), "bad"),
        // It may have been killed.
        Some(None) => ("unfinished".into(), "plain"),
        None => ("unknown".into(), "plain"),
    }
}

/// The run in a few numbers.
pub fn tiles(history: &History, record: &RunRecord) -> Markup {
    let steps = record.config["steps"].as_u64();
    let last = history.last();
    let step = last.and_then(line::step).unwrap_or_default();
    let seconds = last.and_then(|line| line["seconds"].as_f64());
    let samples = last.and_then(|line| line["samples"].as_u64());
    let speed = median(history.training("samples_per_second"));
    let loss = history.training("loss");
    html! {
        div.tiles {
            (tile("steps", &units::count(step), steps.map(|steps| format!("of {}", units::count(steps)))))
            @if let (Some(first), Some(last)) = (loss.first(), loss.last()) {
                (tile("loss", &units::number(last.1), Some(format!("from {}", units::number(first.1)))))
            }
            @for set in history.sets() {
                @for (name, title) in HEADLINES {
                    @if let Some(last) = history.validation(set, name).last() {
                        (tile(title, &value(last.1, Values::Fraction), Some(set.into())))
                    }
                }
            }
            @if let Some(seconds) = seconds {
                (tile("time", &units::duration(seconds), left(record, step, steps, speed)))
            }
            @if let Some(speed) = speed {
                (tile("samples per second", &units::number(speed), Some("median".into())))
            }
            @if let Some(samples) = samples { (tile("samples seen", &units::count(samples), None)) }
            @if record.model.parameters > 0 {
                (tile("parameters", &parameters(record.model.parameters), None))
            }
        }
    }
}

/// A number of parameters, in millions where there are some.
fn parameters(count: u64) -> String {
    match count {
        0..1_000_000 => units::count(count),
        _ => format!("{} M", units::number(count as f64 / 1e6)),
    }
}

fn tile(name: &str, value: &str, note: Option<String>) -> Markup {
    html! {
        div.tile {
            span.name { (name) }
            span.value { (value) }
            @if let Some(note) = note { span.note { (note) } }
        }
    }
}

/// How long a running run still takes.
fn left(record: &RunRecord, step: u64, steps: Option<u64>, speed: Option<f64>) -> Option<String> {
    let running = record
        .sessions
        .last()
        .is_some_and(|session| session.ending.is_none());
    let batch = record.config["loader"]["batch_size"].as_u64()?;
    let left = steps?.saturating_sub(step).saturating_mul(batch) as f64 / speed?;
    (running && left > 0.0).then(|| format!("about {} left", units::duration(left)))
}

fn median(mut points: Vec<(f64, f64)>) -> Option<f64> {
    points.sort_by(|a, b| a.1.total_cmp(&b.1));
    points.get(points.len() / 2).map(|point| point.1)
}

/// The model and the machines it was trained on.
pub fn machines(record: &RunRecord) -> Markup {
    let model = &record.model;
    html! {
        @if model.parameters > 0 {
            dl.facts {
                dt { "model" }
                dd {
                    (units::count(model.parameters)) " parameters, images of " (model.image_size[1]) " × "
                    (model.image_size[0]) " pixels, " (units::count(model.vocabulary as u64)) " tokens in texts of up to "
                    (model.context_length)
                }
            }
        }
        @for session in &record.sessions { (machine(session)) }
    }
}

fn machine(session: &Session) -> Markup {
    let machine = &session.machine;
    let span = session
        .ended
        .map(|ended| units::duration(ended - session.started));
    html! {
        dl.facts {
            dt { "started" }
            dd {
                (units::date(session.started))
                @if session.first_step > 0 { ", resumed at step " (units::count(session.first_step)) }
            }
            dt { "ended" }
            dd {
                @match (&session.ending, session.ended) {
                    (Some(ending), Some(ended)) => {
                        (units::date(ended)) ", " (ending)
                        @if let Some(step) = session.last_step { " at step " (units::count(step)) }
                        @if let Some(span) = span { " after " (span) }
                    },
                    _ => "not yet, or it was killed",
                }
            }
            dt { "device" } dd { (session.device) }
            dt { "processor" }
            dd {
                (machine.processor) ", " (machine.architecture) ", "
                @if let Some(cores) = machine.cores { (cores) " cores, " }
                (machine.threads) " threads"
            }
            dt { "memory" } dd { (units::bytes(machine.memory)) }
            dt { "system" } dd { (machine.system) }
            dt { "version" } dd { "coca-train " (session.version) }
        }
    }
}

/// The configuration with all its defaults.
pub fn configuration(record: &RunRecord) -> Markup {
    let text = match toml_of(&record.config) {
        Ok(text) if record.config.is_object() => text,
        // Still to be read, if not as TOML.
        _ => record.config.to_string(),
    };
    html! {
        details {
            summary { "all fields, defaults included" }
            pre { code { (text) } }
        }
    }
}
