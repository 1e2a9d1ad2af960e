//! A page to look at data sets with: figures, and a contact sheet of thumbnails.

use std::fmt::Write;
use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::inspection::load;
use super::report::Report;
use crate::data::{DataConfig, DataSet, Error, Record};

/// Longest side of a thumbnail, in pixels.
const SIDE: u32 = 192;

/// More rows than this make a table unreadable.
const MAX_ROWS: usize = 100;

const STYLE: &str = include_str!("sheet.css");

/// The thumbnails of one data set.
pub struct Section(Vec<Thumbnail>);

struct Thumbnail {
    name: String,
    /// A JPEG file.
    image: Vec<u8>,
    texts: Vec<String>,
}

impl Section {
    /// At most `count` of the samples `usable`, evenly spread.
    pub fn new(
        data: &DataSet,
        config: &DataConfig,
        usable: &[usize],
        count: usize,
    ) -> Result<Self, Error> {
        let count = count.min(usable.len());
        let chosen: Vec<usize> = (0..count)
            .filter_map(|at| usable.get(at * usable.len() / count).copied())
            .collect();
        let make = |index| -> Result<Option<Thumbnail>, Error> {
            let Ok(sample) = load(data, config, index)? else {
                return Ok(None);
            };
            let small = image::DynamicImage::from(sample.image).thumbnail(SIDE, SIDE);
            let mut image = Cursor::new(Vec::new());
            let encoder = JpegEncoder::new_with_quality(&mut image, 80);
            if small.to_rgb8().write_with_encoder(encoder).is_err() {
                return Ok(None);
            }
            Ok(Some(Thumbnail {
                name: data.name(index),
                image: image.into_inner(),
                texts: texts(sample.record),
            }))
        };
        let made: Vec<Option<Thumbnail>> =
            chosen.into_par_iter().map(make).collect::<Result<_, _>>()?;
        Ok(Self(made.into_iter().flatten().collect()))
    }
}

/// The texts of a sample, as people read them.
fn texts(record: Record) -> Vec<String> {
    let mut texts: Vec<String> = record.label.into_iter().collect();
    texts.extend(record.captions);
    texts.extend(record.text.filter(|text| !texts.contains(text)));
    texts.extend(record.sentence);
    let pairs = record.qa.into_iter().chain(record.verdict);
    texts.extend(pairs.map(|(question, answer)| format!("{question} {answer}")));
    texts.truncate(6);
    texts
}

/// The page.
pub fn page(reports: &[Report], sections: &[Section]) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Data sets</title>\n<style>\n",
    );
    html += STYLE;
    html += "</style>\n<main>\n";
    for (at, report) in reports.iter().enumerate() {
        figures(&mut html, report);
        if let Some(section) = sections.get(at) {
            contact_sheet(&mut html, section);
        }
    }
    html += "</main>\n</html>\n";
    html
}

fn figures(html: &mut String, report: &Report) {
    let mut add = |text: String| {
        html.push_str(&text);
        html.push('\n');
    };
    add(format!("<h1>{}</h1>\n<dl>", escape(&report.data)));
    let mut figure = |name: &str, value: String| {
        add(format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    };
    figure("samples", report.samples.to_string());
    figure("broken", report.broken.count.to_string());
    figure("duplicates", report.duplicates.count.to_string());
    figure("captions", report.captions.count.to_string());
    figure("questions", report.questions.to_string());
    figure("labels", report.labels.len().to_string());
    figure(
        "size",
        format!("{:.1} MB", report.images.bytes as f64 / 1e6),
    );
    if let Some([least, middle, most]) = report.images.short_side {
        figure("short side", format!("{least} / {middle} / {most} px"));
    }
    add("</dl>".into());
    if report.captions.count > 0 {
        let bins: Vec<(String, usize)> = report
            .captions
            .words
            .iter()
            .map(|bin| match bin.to {
                Some(to) => (format!("{}–{to}", bin.from), bin.count),
                None => (format!("{}+", bin.from), bin.count),
            })
            .collect();
        add("<h2>Words in a caption</h2>".into());
        add(bars(&bins));
        add(format!(
            "<p>{} captions are longer than CLIP's context of 77 tokens.</p>",
            report.captions.longer_than_context
        ));
    }
    if !report.labels.is_empty() {
        let labels: Vec<(String, usize)> = report
            .labels
            .iter()
            .take(MAX_ROWS)
            .map(|label| (label.label.clone(), label.count))
            .collect();
        add(format!(
            "<h2>{}</h2>",
            count("Labels", labels.len(), report.labels.len())
        ));
        add(bars(&labels));
    }
    if report.broken.count > 0 {
        let rows = report.broken.samples.iter().take(MAX_ROWS);
        let shown = report.broken.samples.len().min(MAX_ROWS);
        add(format!(
            "<h2>{}</h2>\n<ul>",
            count("Broken", shown, report.broken.count)
        ));
        for sample in rows {
            let (name, reason) = (escape(&sample.name), escape(&sample.reason));
            add(format!("<li><b>{name}</b> {reason}</li>"));
        }
        add("</ul>".into());
    }
    if report.duplicates.count > 0 {
        add("<h2>The same image</h2>\n<ul>".into());
        for group in report.duplicates.groups.iter().take(MAX_ROWS) {
            add(format!("<li>{}</li>", escape(&group.join(" = "))));
        }
        add("</ul>".into());
    }
}

fn count(what: &str, shown: usize, all: usize) -> String {
    match shown < all {
        true => format!("{what} ({shown} of {all})"),
        false => what.into(),
    }
}

fn bars(rows: &[(String, usize)]) -> String {
    let most = rows.iter().map(|row| row.1).max().unwrap_or(0).max(1);
    let mut html = String::from("<table>");
    for (name, value) in rows {
        let width = 100.0 * *value as f64 / most as f64;
        // Writing to a string cannot fail.
        let _ = write!(
            html,
            "<tr><th>{}</th><td><i style=\"width:{width:.1}%\"></i></td><td>{value}</td></tr>",
            escape(name)
        );
    }
    html + "</table>"
}

fn contact_sheet(html: &mut String, section: &Section) {
    html.push_str("<h2>Samples</h2>\n<section>\n");
    for thumbnail in &section.0 {
        let name = escape(&thumbnail.name);
        let image = BASE64_STANDARD.encode(&thumbnail.image);
        let texts: Vec<String> = thumbnail.texts.iter().map(|text| escape(text)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            html,
            "<figure><img alt=\"{name}\" src=\"data:image/jpeg;base64,{image}\"><figcaption><b>{name}</b>{}</figcaption>\
             </figure>",
            texts
                .iter()
                .map(|text| format!("<span>{text}</span>"))
                .collect::<String>()
        );
    }
    html.push_str("</section>\n");
}

/// Text as HTML. Names and captions come from outside.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(
            escape("<img src=x onerror='y'>&\""),
            "&lt;img src=x onerror=&#39;y&#39;&gt;&amp;&quot;"
        );
    }
}
