//! `coca-train data check`: reads everything once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coca_model::tokenizer::Tokenizer;
use rayon::prelude::*;

use super::super::output;
use super::inspection::{Inspection, inspect};
use super::report::Report;
use super::sheet::{self, Section};
use super::sources::{Sources, progress_bar, share};
use crate::data::{DataConfig, DataSet, Files};
use crate::disk::replace_file;

/// Read every sample once and report what is in them and what is wrong with them.
///
/// Broken are the samples that training would skip: images that do not decode or are cut short, metadata that are not
/// understood, samples without a text. Exit code 1 if there are more than allowed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The data sets.
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<String>,
    /// Where relative names start; the configuration's data_dir, or here, if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The share of broken samples that is no failure.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    max_broken: f64,
    /// Print a JSON object for each data set.
    #[arg(long)]
    json: bool,
    /// Write a contact sheet: one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How many images of each data set the contact sheet shows.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=1000))]
    thumbnails: u32,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let tokenizer = Tokenizer::clip()?;
    let mut reports = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    for spec in &args.specs {
        let sources = Sources::read(spec, args.data_dir.as_deref())?;
        let files = sources.files();
        for config in &sources.data {
            let (report, section) = check(config, &sources.data_dir, &files, &tokenizer, args)?;
            if args.json {
                output::json(&report)?;
            } else {
                print(&report)?;
            }
            sections.extend(section);
            reports.push(report);
        }
    }
    if let Some(path) = &args.html {
        let page = sheet::page(&reports, &sections);
        replace_file(path, page.as_bytes())?;
        eprintln!("the contact sheet is in {}", path.display());
    }
    let bad: Vec<_> = reports
        .iter()
        .filter(|report| report.broken_share() > args.max_broken)
        .map(|report| {
            format!(
                "{} of {} in {}",
                report.broken.count, report.samples, report.data
            )
        })
        .collect();
    if !bad.is_empty() {
        bail!(
            "broken samples: {}; more than --max-broken {} allows",
            bad.join(", "),
            args.max_broken
        );
    }
    Ok(())
}

fn check(
    config: &DataConfig,
    base: &Path,
    files: &Files,
    tokenizer: &Tokenizer,
    args: &Args,
) -> Result<(Report, Option<Section>)> {
    let spec = config.spec.to_string();
    let mut data = DataSet::open(&config.spec, base, files)?;
    data.keep_only(&config.only)?;
    let bar = progress_bar(data.len());
    let inspections = (0..data.len())
        .into_par_iter()
        .map(|index| {
            let inspection = inspect(&data, config, index, tokenizer);
            bar.inc(1);
            inspection
        })
        .collect::<Result<Vec<Inspection>, _>>()?;
    bar.finish_and_clear();
    let report = Report::new(spec, &data, &inspections)?;
    let section = args
        .html
        .is_some()
        .then(|| {
            let usable: Vec<usize> = inspections
                .iter()
                .enumerate()
                .filter(|(_, inspection)| matches!(inspection, Inspection::Usable(_)))
                .map(|(index, _)| index)
                .collect();
            Section::new(&data, config, &usable, args.thumbnails as usize)
        })
        .transpose()
        .context("making thumbnails")?;
    Ok((report, section))
}

fn print(report: &Report) -> Result<()> {
    let Report {
        images, captions, ..
    } = report;
    output::line(format!("{}: {} samples", report.data, report.samples))?;
    let formats: Vec<String> = images
        .formats
        .iter()
        .map(|(format, count)| format!("{count} {format}"))
        .collect();
    if let Some([least, middle, most]) = images.short_side {
        output::line(format!(
            "  images       {}, {:.1} MB; short side {least} to {most} pixels, median {middle}",
            formats.join(", "),
            images.bytes as f64 / 1e6
        ))?;
    }
    if captions.count > 0 {
        let bins: Vec<String> = captions
            .words
            .iter()
            .filter(|bin| bin.count > 0)
            .map(|bin| match bin.to {
                Some(to) => format!("{}–{to}: {}", bin.from, bin.count),
                None => format!("{}+: {}", bin.from, bin.count),
            })
            .collect();
        output::line(format!(
            "  captions     {}, {} longer than CLIP's context; words {}",
            captions.count,
            captions.longer_than_context,
            bins.join(", ")
        ))?;
    }
    if report.questions > 0 {
        output::line(format!("  questions    {}", report.questions))?;
    }
    if let (Some(most), Some(least)) = (report.labels.first(), report.labels.last()) {
        output::line(format!(
            "  labels       {}, from {} ({}) to {} ({})",
            report.labels.len(),
            most.label,
            most.count,
            least.label,
            least.count
        ))?;
    }
    output::line(format!("  duplicates   {}", report.duplicates.count))?;
    for group in report.duplicates.groups.iter().take(5) {
        output::line(format!("    {}", group.join(" = ")))?;
    }
    output::line(format!("  broken       {}", report.broken.count))?;
    for sample in &report.broken.samples {
        output::line(format!("    {}: {}", sample.name, sample.reason))?;
    }
    Ok(())
}
