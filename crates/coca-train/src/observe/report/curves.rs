//! The curves: losses, what drives the training, and metrics on held-out data.

use maud::{Markup, html};

use super::axis::Values;
use super::chart::{Chart, Kind, Series, value};
use super::history::{History, Points};
use super::smooth::{smoothed, thinned, thinning, width};
use crate::observe::units;

/// The losses, with what they are called in charts.
const LOSSES: [(&str, &str); 4] = [
    ("loss", "Loss, weighted sum"),
    ("contrastive", "Contrastive loss"),
    ("caption", "Captioning loss"),
    ("language_model", "Language-modelling loss"),
];

/// Other measurements of the training that are known, with what they are called in charts and what they are.
const KNOWN: [(&str, &str, Values); 3] = [
    ("learning_rate", "Learning rate", Values::Linear),
    (
        "gradient_norm",
        "Gradient norm, before clipping",
        Values::Number,
    ),
    ("samples_per_second", "Samples per second", Values::Linear),
];

/// Charts of everything that is measured while training, beside the same losses on held-out data.
pub fn training(history: &History) -> Markup {
    let losses = LOSSES.iter().map(|(name, title)| {
        let mut series = smooth(history.training(name), "training", 0);
        for (at, set) in history.sets().into_iter().enumerate() {
            series.push(Series {
                name: set.into(),
                look: at + 1,
                points: thinned(&history.validation(set, &format!("loss/{name}"))),
                kind: Kind::Dots,
            });
        }
        series.retain(|series| !series.points.is_empty());
        Chart {
            title: (*title).into(),
            values: Values::Number,
            series,
        }
    });
    let chart = |name: &str, title: String, values: Values| Chart {
        title,
        values,
        series: match name {
            // It is smooth already, and its corners matter.
            "learning_rate" => vec![Series {
                name: "training".into(),
                look: 0,
                points: thinned(&history.training(name)),
                kind: Kind::Line,
            }],
            name => smooth(history.training(name), "training", 0),
        },
    };
    let known = KNOWN
        .iter()
        .map(|(name, title, values)| chart(name, (*title).into(), *values));
    let others = history.training_names().into_iter().filter(|name| {
        LOSSES.iter().all(|(known, _)| known != name)
            && KNOWN.iter().all(|(known, ..)| known != name)
    });
    let others = others.map(|name| chart(&name, title(&name), Values::Number));
    grid(&losses.chain(known).chain(others).collect::<Vec<_>>())
}

/// How curves were made smooth, in a sentence.
pub fn smoothing(history: &History) -> Markup {
    let points = history.training("loss");
    let Some(width) = width(&points) else {
        return html! {};
    };
    let thinning = thinning(points.len());
    html! {
        p.note {
            "Thin lines: logged values"
            @if thinning > 1 { ", the mean of each " (thinning) " neighbours" }
            ". Thick lines: local linear fits to them, with Gaussian weights of standard deviation "
            (units::number(width.round())) " steps. Dots: held-out data."
        }
    }
}

/// Charts and a table of the metrics on held-out data.
pub fn validation(history: &History) -> Markup {
    let mut charts = Vec::new();
    let mut sets = Vec::new();
    for set in history.sets() {
        let mut rows = Vec::new();
        let mut groups: Vec<(String, Vec<Series>)> = Vec::new();
        for name in history.validation_names(set) {
            let points = history.validation(set, &name);
            let Some((group, metric)) = name.split_once('/') else {
                continue;
            };
            rows.extend(Row::of(group, metric, &points));
            if group == "loss" {
                continue;
            }
            // Unbounded metrics do not share an axis with fractions.
            let key = if is_fraction(metric) { group } else { metric };
            let at = match groups.iter().position(|(name, _)| name == key) {
                Some(at) => at,
                None => {
                    groups.push((key.into(), Vec::new()));
                    groups.len() - 1
                }
            };
            if let Some((_, series)) = groups.get_mut(at) {
                series.push(Series {
                    name: title(metric),
                    look: series.len(),
                    points: thinned(&points),
                    kind: Kind::Dots,
                });
            }
        }
        for (group, series) in groups {
            charts.push(Chart {
                title: format!("{}, {set}", title(&group)),
                values: if is_fraction(&group) {
                    Values::Fraction
                } else {
                    Values::Number
                },
                series,
            });
        }
        sets.push((set, rows));
    }
    // A single point is read from the table.
    charts.retain(|chart| chart.series.iter().any(|series| series.points.len() > 1));
    html! {
        (grid(&charts))
        @if sets.iter().any(|(_, rows)| !rows.is_empty()) { (table(&sets)) }
    }
}

/// A measurement on a data set.
struct Row {
    task: String,
    metric: String,
    values: Values,
    last: (f64, f64),
    best: (f64, f64),
    better: &'static str,
}

impl Row {
    fn of(task: &str, metric: &str, points: &Points) -> Option<Self> {
        let less = task == "loss" || metric == "perplexity";
        let sign = if less { -1.0 } else { 1.0 };
        // The first of equals.
        let best = points.iter().copied().reduce(|best, point| {
            if sign * point.1 > sign * best.1 {
                point
            } else {
                best
            }
        })?;
        Some(Self {
            task: title(task),
            metric: title(metric),
            values: if task != "loss" && is_fraction(metric) {
                Values::Fraction
            } else {
                Values::Number
            },
            last: *points.last()?,
            best,
            better: if less { "lowest" } else { "highest" },
        })
    }
}

fn table(sets: &[(&str, Vec<Row>)]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "metric" } th.n { "last" } th.n { "best" } th.n { "at step" } } }
                @for (set, rows) in sets {
                    tbody {
                        tr { th.set colspan="4" { (set) } }
                        @for row in rows {
                            tr {
                                td { span.task { (row.task) } " " (row.metric) }
                                td.n { (value(row.last.1, row.values)) }
                                td.n title=(row.better) { (value(row.best.1, row.values)) }
                                td.n { (units::count(row.best.0 as u64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Metrics that are not, whatever their values.
fn is_fraction(metric: &str) -> bool {
    !matches!(metric, "perplexity" | "cider")
}

fn smooth(points: Points, name: &str, look: usize) -> Vec<Series> {
    let points = thinned(&points);
    let series = |points: Points, kind| Series {
        name: name.into(),
        look,
        points,
        kind,
    };
    match width(&points) {
        Some(width) => {
            let smooth = smoothed(&points, width);
            vec![series(points, Kind::Faint), series(smooth, Kind::Line)]
        }
        None => vec![series(points, Kind::Line)],
    }
}

/// What a task or a metric is called on the page.
fn title(name: &str) -> String {
    const TITLES: [(&str, &str); 8] = [
        ("zero-shot", "Zero-shot classification"),
        ("vqa", "Question answering"),
        ("vqa_accuracy", "VQA accuracy"),
        ("bleu4", "BLEU-4"),
        ("rouge_l", "ROUGE-L"),
        ("cider", "CIDEr"),
        ("meteor", "METEOR"),
        ("loss", "Losses"),
    ];
    if let Some((_, title)) = TITLES.iter().find(|(known, _)| *known == name) {
        return (*title).into();
    }
    for (short, words) in [("i2t_r", "Image to text R@"), ("t2i_r", "Text to image R@")] {
        if let Some(k) = name.strip_prefix(short) {
            return format!("{words}{k}");
        }
    }
    let text = name.replace(['_', '/'], " ");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}

fn grid(charts: &[Chart]) -> Markup {
    html! {
        div.charts { @for chart in charts { (chart.draw()) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measurement_is_shown() {
        let mut text = String::new();
        for step in 1..=40 {
            text += &format!(
                "{{\"step\":{step},\"loss\":{step},\"caption\":2,\"learning_rate\":0.1,\"skipped_steps\":0}}\n"
            );
            text += &format!(
                "{{\"step\":{step},\"validation\":\"pets\",\"loss\":{{\"caption\":{step}}},\"vqa\":{{\"exact_match\":0.25}},\
                 \"caption\":{{\"perplexity\":7.5}}}}\n"
            );
        }
        let history = History::parse(&text);
        let page = [training(&history), validation(&history)]
            .map(Markup::into_string)
            .concat();
        for words in [
            "Captioning loss",
            "Learning rate",
            "Skipped steps",
            "Question answering, pets",
            "Perplexity, pets",
        ] {
            assert!(page.contains(words), "{words}");
        }
        let note = smoothing(&history).into_string();
        assert!(note.contains("deviation 2 steps"), "{note}");
        let lowest = "caption</td><td class=\"n\">40</td><td class=\"n\" title=\"lowest\">1</td>\
                      <td class=\"n\">1</td>";
        assert!(page.to_lowercase().contains(lowest), "{page}");
        let exact = "Exact match</td><td class=\"n\">25.0 %</td>";
        assert!(page.contains(exact), "{page}");
    }
}
