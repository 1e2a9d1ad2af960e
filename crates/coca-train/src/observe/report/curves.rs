//! The curves: losses, what drives the training, and metrics on held-out data.

use maud::{Markup, html};

use super::axis::Values;
use super::chart::{Chart, Kind, Series, value};
use super::history::{History, Points};
use super::smooth::{averaged, half_life, thinned, thinning};
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

/// Charts of the losses, in training and on held-out data.
pub fn losses(history: &History) -> Markup {
    let charts = LOSSES.map(|(name, title)| {
        let mut series = smoothed(history.training(name), "training", 0);
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
            title: title.into(),
            values: Values::Number,
            series,
        }
    });
    grid(&charts)
}

/// Charts of everything else that is measured while training.
pub fn training(history: &History) -> Markup {
    let chart = |name: &str, title: String, values: Values| Chart {
        title,
        values,
        series: match name {
            "learning_rate" => vec![Series {
                name: "training".into(),
                look: 0,
                points: thinned(&history.training(name)),
                kind: Kind::Line,
            }],
            name => smoothed(history.training(name), "training", 0),
        },
    };
    let known = KNOWN
        .iter()
        .map(|(name, title, values)| chart(name, (*title).into(), *values));
    let others = history.training_names().into_iter().filter(|name| {
        LOSSES.iter().all(|(known, _)| known != name)
            && KNOWN.iter().all(|(known, ..)| known != name)
    });
    let others = others.map(|name| {
        let title = words(&name);
        chart(&name, title, Values::Number)
    });
    grid(&known.chain(others).collect::<Vec<_>>())
}

/// How curves were made smooth, in a sentence.
pub fn smoothing(history: &History) -> Markup {
    let count = history.steps.len();
    let Some(half_life) = half_life(count) else {
        return html! {};
    };
    let thinning = thinning(count);
    let steps = match history.steps.as_slice() {
        [first, .., last] => {
            let step = |line| crate::observe::line::step(line).unwrap_or_default() as f64;
            (step(last) - step(first)) / (count - 1) as f64 * half_life
        }
        _ => half_life,
    };
    html! {
        p.note {
            "Thin lines: logged values"
            @if thinning > 1 { ", the mean of each " (thinning) " neighbours" }
            ". Thick lines: their exponential moving average with a half-life of "
            (units::number(steps.round())) " steps. Dots: held-out data."
        }
    }
}

/// Charts and a table of the metrics on held-out data.
pub fn validation(history: &History) -> Markup {
    let mut charts = Vec::new();
    let mut rows = Vec::new();
    for set in history.sets() {
        let mut groups: Vec<(String, Vec<Series>)> = Vec::new();
        for name in history.validation_names(set) {
            let points = history.validation(set, &name);
            let Some((group, metric)) = name.split_once('/') else {
                continue;
            };
            rows.push(Row::of(set, group, metric, &points));
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
                    name: metric.replace('_', " "),
                    look: series.len(),
                    points: thinned(&points),
                    kind: Kind::Dots,
                });
            }
        }
        for (group, series) in groups {
            let fractions = series
                .iter()
                .all(|s| is_fraction(&s.name.replace(' ', "_")));
            charts.push(Chart {
                title: format!("{}, {set}", words(&group)),
                values: if fractions {
                    Values::Fraction
                } else {
                    Values::Number
                },
                series,
            });
        }
    }
    // A single point is read from the table.
    charts.retain(|chart| chart.series.iter().any(|series| series.points.len() > 1));
    html! {
        (grid(&charts))
        @if !rows.is_empty() { (table(&rows)) }
    }
}

/// A measurement on a data set.
struct Row {
    set: String,
    task: String,
    metric: String,
    values: Values,
    last: (f64, f64),
    best: (f64, f64),
    better: &'static str,
}

impl Row {
    fn of(set: &str, task: &str, metric: &str, points: &Points) -> Option<Self> {
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
            set: set.into(),
            task: task.into(),
            metric: metric.into(),
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

fn table(rows: &[Option<Row>]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "data" } th { "task" } th { "metric" } th.n { "last" } th.n { "best" } th.n { "at step" } } }
                tbody {
                    @for row in rows.iter().flatten() {
                        tr {
                            td { (row.set) }
                            td { (words(&row.task)) }
                            td { (row.metric.replace('_', " ")) }
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

/// Metrics that are not, whatever their values.
fn is_fraction(metric: &str) -> bool {
    !matches!(metric, "perplexity" | "cider")
}

fn smoothed(points: Points, name: &str, look: usize) -> Vec<Series> {
    let series = |points: &Points, kind| Series {
        name: name.into(),
        look,
        points: thinned(points),
        kind,
    };
    match half_life(points.len()) {
        Some(half_life) => vec![
            series(&points, Kind::Faint),
            series(&averaged(&points, half_life), Kind::Line),
        ],
        None => vec![series(&points, Kind::Line)],
    }
}

/// `zero-shot` and `gradient_norm` as words.
fn words(name: &str) -> String {
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
        let page = [losses(&history), training(&history), validation(&history)]
            .map(maud::Markup::into_string)
            .concat();
        for words in [
            "Captioning loss",
            "Learning rate",
            "Skipped steps",
            "Vqa, pets",
            "Perplexity, pets",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert!(
            smoothing(&history)
                .into_string()
                .contains("half-life of 1 steps")
        );
        let lowest = "<td>pets</td><td>Loss</td><td>caption</td><td class=\"n\">40</td>\
                      <td class=\"n\" title=\"lowest\">1</td><td class=\"n\">1</td>";
        assert!(page.contains(lowest), "{page}");
    }
}
