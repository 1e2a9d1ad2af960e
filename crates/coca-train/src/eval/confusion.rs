//! Which class was taken for which.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// Side of the picture's square, in its units.
const SIDE: f64 = 800.0;
/// Room for the names of the classes.
const MARGIN: f64 = 190.0;
/// More names than this are not legible.
const MOST_NAMES: usize = 120;
/// More cells than this have no number in them.
const MOST_NUMBERS: usize = 30;

/// Counts of (right class, class it was taken for). Most are 0, so only the others are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confusion {
    labels: Vec<String>,
    counts: BTreeMap<(usize, usize), usize>,
}

/// How often a class was recognised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// The class.
    pub label: String,
    /// Its images.
    pub n: usize,
    /// The share of them that was recognised.
    pub accuracy: f64,
}

impl Confusion {
    /// From the right class and the class it was taken for, for each image; both number `labels`.
    pub fn new(labels: Vec<String>, pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut counts = BTreeMap::new();
        for pair in pairs {
            *counts.entry(pair).or_insert(0) += 1;
        }
        Self { labels, counts }
    }

    /// The classes that occur.
    pub fn per_class(&self) -> Vec<ClassAccuracy> {
        let mut classes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (&(right, taken), &count) in &self.counts {
            let (found, all) = classes.entry(right).or_default();
            *found += if right == taken { count } else { 0 };
            *all += count;
        }
        let of_class = |(class, (found, n)): (usize, (usize, usize))| ClassAccuracy {
            label: self.label(class).to_owned(),
            n,
            accuracy: found as f64 / n as f64,
        };
        classes.into_iter().map(of_class).collect()
    }

    /// The mistakes that were made most often, as right class, class it was taken for, and how often.
    pub fn mistakes(&self, most: usize) -> Vec<(&str, &str, usize)> {
        let wrong = self
            .counts
            .iter()
            .filter(|((right, taken), _)| right != taken);
        let mut wrong: Vec<_> = wrong
            .map(|(&(right, taken), &count)| (self.label(right), self.label(taken), count))
            .collect();
        wrong.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        wrong.truncate(most);
        wrong
    }

    fn label(&self, class: usize) -> &str {
        self.labels.get(class).map_or("", String::as_str)
    }

    /// The matrix as a picture: a row for each right class, a column for each class it was taken for, darker where
    /// more of the row is.
    pub fn to_svg(&self) -> String {
        let classes = self.labels.len().max(1);
        let cell = SIDE / classes as f64;
        let mut of_row: BTreeMap<usize, usize> = BTreeMap::new();
        for (&(right, _), count) in &self.counts {
            *of_row.entry(right).or_default() += count;
        }
        let size = SIDE + MARGIN + 20.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" \
             font-family=\"sans-serif\" fill=\"#222\">\n\
             <title>Confusion matrix of {classes} classes</title>\n\
             <rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/>\n\
             <g transform=\"translate({MARGIN} {MARGIN})\">\n\
             <rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"#f4f6f8\" stroke=\"#889\"/>\n"
        );
        for (&(right, taken), &count) in &self.counts {
            let all = of_row.get(&right).copied().unwrap_or(count);
            let share = count as f64 / all.max(1) as f64;
            let colour = if right == taken { "#1a5f9e" } else { "#c8500f" };
            let (x, y) = (taken as f64 * cell, right as f64 * cell);
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{cell:.2}\" height=\"{cell:.2}\" fill=\"{colour}\" \
                 fill-opacity=\"{:.3}\"><title>{} taken for {}: {count} of {all}</title></rect>",
                0.08 + 0.92 * share,
                escaped(self.label(right)),
                escaped(self.label(taken)),
            );
            if classes <= MOST_NUMBERS {
                let ink = if share > 0.45 { "#fff" } else { "#222" };
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.2}\" y=\"{:.2}\" fill=\"{ink}\" font-size=\"{:.1}\" text-anchor=\"middle\">{count}</text>",
                    x + cell / 2.0,
                    y + cell * 0.62,
                    (cell * 0.36).min(16.0),
                );
            }
        }
        if classes <= MOST_NAMES {
            self.write_names(&mut svg, cell);
        }
        svg.push_str("</g>\n");
        let middle = MARGIN + SIDE / 2.0;
        let _ = write!(
            svg,
            "<text x=\"{middle}\" y=\"16\" font-size=\"15\" text-anchor=\"middle\">taken for</text>\n\
             <text transform=\"translate(16 {middle}) rotate(-90)\" font-size=\"15\" \
             text-anchor=\"middle\">right class</text>\n</svg>\n"
        );
        svg
    }

    fn write_names(&self, svg: &mut String, cell: f64) {
        let size = (cell * 0.8).min(13.0);
        for (class, label) in self.labels.iter().enumerate() {
            let middle = (class as f64 + 0.5) * cell;
            let name = escaped(&shortened(label));
            let _ = write!(
                svg,
                "<text x=\"-6\" y=\"{:.2}\" font-size=\"{size:.1}\" text-anchor=\"end\">{name}</text>\n\
                 <text transform=\"translate({:.2} -6) rotate(-90)\" font-size=\"{size:.1}\">{name}</text>\n",
                middle + size / 3.0,
                middle + size / 3.0,
            );
        }
    }
}

fn shortened(label: &str) -> String {
    const MOST: usize = 24;
    match label.chars().count() > MOST {
        true => label.chars().take(MOST - 1).chain(['\u{2026}']).collect(),
        false => label.to_owned(),
    }
}

/// As text in XML, which some characters cannot be in.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion() -> Confusion {
        let labels = ["cat", "dog", "<b>&"].map(String::from).to_vec();
        let pairs = [(0, 0), (0, 0), (0, 1), (2, 1), (2, 1), (2, 1)];
        Confusion::new(labels, pairs.into_iter())
    }

    #[test]
    fn classes_and_mistakes() {
        let classes = confusion().per_class();
        assert_eq!(classes.len(), 2, "no dog occurs");
        assert_eq!((classes[0].label.as_str(), classes[0].n), ("cat", 3));
        assert!((classes[0].accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(classes[1].accuracy, 0.0);
        assert_eq!(confusion().mistakes(1), [("<b>&", "dog", 3)]);
    }

    #[test]
    fn the_picture_has_every_count_and_is_well_formed() {
        let svg = confusion().to_svg();
        assert_eq!(svg.matches("fill-opacity").count(), 3);
        assert!(svg.contains("&lt;b&gt;&amp; taken for dog: 3 of 3"));
        assert!(!svg.contains("<b>") && svg.ends_with("</svg>\n"));
        for tag in ["svg", "g", "text", "title"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            let opened =
                svg.matches(&format!("{open} ")).count() + svg.matches(&format!("{open}>")).count();
            assert_eq!(opened, svg.matches(&close).count(), "{tag}");
        }
        assert!(Confusion::default().to_svg().contains("svg"));
    }
}
