//! An evaluation for machines and for people.

use std::fmt::Write;

use serde::Serialize;

use super::confusion::ClassAccuracy;
use super::{Metrics, Report};

/// Mistakes that the text tells.
const MOST_MISTAKES: usize = 10;

/// What was measured, on what, and what came of it. As JSON it is one line of `coca-train eval --json`.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// The task's name.
    pub task: &'a str,
    /// The data, as it was given.
    pub data: &'a str,
    /// Images, or questions.
    pub n: usize,
    /// Metrics by name; fractions, not per cent.
    pub metrics: &'a Metrics,
    /// How METEOR matched words, if it was computed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub meteor_modules: &'a [&'static str],
    /// The accuracy of each class that occurs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassAccuracy>,
    #[serde(skip)]
    report: &'a Report,
}

impl<'a> Summary<'a> {
    /// Of a report.
    pub fn new(task: &'a str, data: &'a str, report: &'a Report) -> Self {
        let confusion = report.confusion.as_ref();
        Self {
            task,
            data,
            n: report.n,
            metrics: &report.metrics,
            meteor_modules: &report.meteor_modules,
            per_class: confusion.map_or_else(Vec::new, |confusion| confusion.per_class()),
            report,
        }
    }

    /// As Markdown. `with_classes` adds the classes and the most frequent mistakes.
    pub fn to_markdown(&self, with_classes: bool) -> String {
        let unit = if self.task == "vqa" {
            "questions"
        } else {
            "images"
        };
        let mut text = format!(
            "## {} on {}: {} {unit}\n\n",
            self.task,
            cell(self.data),
            self.n
        );
        let rows = self.metrics.iter();
        let rows = rows.map(|(name, value)| [(*name).to_owned(), format!("{value:.4}")]);
        table(&mut text, ["metric", "value"], rows);
        if !self.meteor_modules.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n`meteor` is METEOR 1.5 with the modules {}",
                self.meteor_modules.join(", ")
            );
            text.push_str(match self.meteor_modules.len() {
                4 => ", as the COCO caption evaluation has it.\n",
                _ => "; the COCO caption evaluation has all four, see `--meteor-data`.\n",
            });
        }
        if with_classes && !self.per_class.is_empty() {
            text.push_str("\n### Classes\n\n");
            let rows = self.per_class.iter().map(|class| {
                let accuracy = format!("{:.4}", class.accuracy);
                [cell(&class.label), class.n.to_string(), accuracy]
            });
            table(&mut text, ["class", "images", "accuracy"], rows);
            let confusion = self.report.confusion.as_ref();
            let mistakes = confusion.map_or_else(Vec::new, |all| all.mistakes(MOST_MISTAKES));
            if !mistakes.is_empty() {
                text.push_str("\n### Most frequent mistakes\n\n");
                let rows = mistakes
                    .into_iter()
                    .map(|(right, taken, count)| [cell(right), cell(taken), count.to_string()]);
                table(&mut text, ["class", "taken for", "images"], rows);
            }
        }
        text
    }
}

/// The first column is text, the others are numbers or at least stand to the right.
fn table<const N: usize>(
    text: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        for (column, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
    };
    line(head);
    let rule: [String; N] = std::array::from_fn(|column| match column {
        0 => "-".repeat(widths[column]),
        _ => "-".repeat(widths[column].saturating_sub(1)) + ":",
    });
    line(rule.each_ref().map(String::as_str));
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
}

/// As the contents of a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::confusion::Confusion;
    use super::*;

    fn report() -> Report {
        let labels = ["a|b", "c"].map(String::from).to_vec();
        Report {
            confusion: Some(Confusion::new(labels, [(0, 0), (0, 1), (1, 1)].into_iter())),
            ..Report::new(
                3,
                Metrics::from([("top1", 2.0 / 3.0), ("mean_per_class", 0.75)]),
            )
        }
    }

    #[test]
    fn for_machines() {
        let report = report();
        let json = serde_json::to_value(Summary::new("zero-shot", "x.tar", &report)).unwrap();
        assert_eq!(
            (&json["n"], &json["task"]),
            (&3.into(), &"zero-shot".into())
        );
        assert_eq!(json["metrics"]["mean_per_class"], 0.75);
        assert_eq!(json["per_class"][0]["accuracy"], 0.5);
        let plain = Report::new(1, Metrics::new());
        let json = serde_json::to_value(Summary::new("vqa", "x", &plain)).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 4);
    }

    #[test]
    fn for_people() {
        let report = report();
        let text = Summary::new("zero-shot", "x.tar", &report).to_markdown(true);
        assert!(text.starts_with("## zero-shot on x.tar: 3 images\n\n| metric "));
        assert!(text.contains("| top1           | 0.6667 |\n"), "{text}");
        assert!(text.contains("| a\\|b  |      2 |   0.5000 |\n"), "{text}");
        assert!(text.contains("taken for"));
        let report = Report {
            meteor_modules: vec!["exact", "stem"],
            ..Report::default()
        };
        let text = Summary::new("caption", "x", &report).to_markdown(true);
        assert!(text.contains("exact, stem; the COCO"), "{text}");
    }
}
