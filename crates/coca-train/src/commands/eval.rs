//! `coca-train eval`: metrics on a data set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::generation::GenerationArgs;
use super::model::ModelArgs;
use super::{UsageError, labels, output};
use crate::data::{ShardSpec, read_samples};
use crate::disk::replace_file;
use crate::eval::{
    ClassNames, Meteor, Report, Runner, Summary, Templates, ZeroShot, answer_questions,
    caption_images, classify_images, retrieve,
};

/// Measure a model on a data set.
///
/// zero-shot: top1, top5, mean_per_class of the `label`s. retrieval: recall at 1, 5 and 10 of the `captions` and their
/// mean and median ranks, image to text (i2t) and back (t2i). vqa: exact_match and vqa_accuracy (VQA v2's) of the
/// answers in `qa`. caption: bleu1 to bleu4, meteor, rouge_l and cider (CIDEr-D) against the `captions`, as the COCO
/// caption evaluation computes them, and the captions' perplexity. Metrics are fractions, not per cent;
/// docs/evaluation.md says what each is equal to.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure.
    task: Task,
    #[command(flatten)]
    model: ModelArgs,
    /// A shard, a brace pattern such as test-{00000..00003}.tar, or a folder of shards.
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// At most this many images, evenly spread over the data.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// A folder for results.json, results.md and, of zero-shot, confusion.svg.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads that work side by side on the CPU; all if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    zero_shot: ZeroShotArgs,
    /// caption: the folder with METEOR's data (meteor-1.5.jar and paraphrase-en.gz, as in pycocoevalcap's folder
    /// meteor); without it METEOR matches equal words and stems only.
    #[arg(long, value_name = "DIR")]
    meteor_data: Option<PathBuf>,
    #[command(flatten)]
    generation: GenerationArgs,
}

/// Settings of zero-shot classification.
#[derive(clap::Args, Debug)]
struct ZeroShotArgs {
    /// zero-shot: the labels to choose from, separated by commas, or @FILE with one a line; those of the data if not
    /// given.
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// zero-shot: what the labels are called in texts: @FILE with one a line, or JSON (a list, an object from label to
    /// name, or CLIP_benchmark's file of several data sets, @FILE#NAME).
    #[arg(long, value_name = "@FILE")]
    class_names: Option<String>,
    /// zero-shot: a prompt template with {} for the label; several are averaged. The model's own if not given.
    #[arg(long = "template", value_name = "TEMPLATE", value_parser = labels::template)]
    template: Vec<String>,
    /// zero-shot: a set of prompt templates: imagenet (OpenAI's 80), simple (7 of them), or @FILE with one a line, or
    /// JSON (a list, an object from label to texts, or CLIP_benchmark's file of several data sets, @FILE#NAME).
    #[arg(long, value_name = "SET", conflicts_with = "template")]
    templates: Option<String>,
    /// zero-shot: draw the confusion matrix into this SVG file.
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
}

impl ZeroShotArgs {
    fn options(&self) -> Result<ZeroShot> {
        let labels = self.labels.as_deref();
        let templates = match &self.templates {
            // A name that is not there is wrong usage, a file that cannot be read is a failure.
            Some(set) => Some(Templates::find(set).map_err(
                |error| match set.starts_with('@') {
                    true => error,
                    false => UsageError::new(format!("{error}")),
                },
            )?),
            None if self.template.is_empty() => None,
            None => Some(Templates::Same(self.template.clone())),
        };
        let names = self.class_names.as_deref();
        Ok(ZeroShot {
            labels: labels.map(|text| labels::list(text, "label")).transpose()?,
            names: names.map(ClassNames::find).transpose()?,
            templates,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    ZeroShot,
    Retrieval,
    Caption,
    Vqa,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Retrieval => "retrieval",
            Self::Caption => "caption",
            Self::Vqa => "vqa",
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let options = args.generation.options()?;
    let zero_shot = args.zero_shot.options()?;
    let confusion = args.zero_shot.confusion.as_deref();
    if args.task != Task::ZeroShot && confusion.is_some() {
        return Err(UsageError::new("--confusion is for the task zero-shot"));
    }
    // Before the long work: what is wrong with them shows at once.
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    let meteor = match &args.meteor_data {
        Some(folder) => Meteor::open(folder)?,
        None => Meteor::default(),
    };
    let mut samples = read_samples(&ShardSpec::from(args.data.as_str()), Path::new(""))?;
    if let Some(limit) = args.limit {
        samples = samples.spread(limit as usize);
    }
    let predictor = args.model.open(device)?;
    let threads = args
        .threads
        .map_or_else(crate::parallel::cores, usize::from);
    crate::parallel::one_thread_within()?;
    let bar = progress_bar();
    let runner = Runner {
        predictor: &predictor,
        threads,
        bar: &bar,
    };
    let report = match args.task {
        Task::ZeroShot => classify_images(&runner, samples, &zero_shot),
        Task::Retrieval => retrieve(&runner, samples),
        Task::Caption => caption_images(&runner, samples, &options, &meteor),
        Task::Vqa => answer_questions(&runner, samples),
    }?;
    bar.finish_and_clear();
    let summary = Summary::new(args.task.name(), &args.data, &report);
    if let Some(folder) = &args.out {
        write(folder, &summary, &report)?;
    }
    if let (Some(path), Some(matrix)) = (confusion, &report.confusion) {
        replace_file(path, matrix.to_svg().as_bytes())?;
    }
    match args.model.json {
        true => output::json(&summary),
        false => output::line(summary.to_markdown(false).trim_end()),
    }
}

/// Writes everything that was found into a folder.
fn write(folder: &Path, summary: &Summary<'_>, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(summary)? + "\n";
    replace_file(&folder.join("results.json"), json.as_bytes())?;
    let mut text = summary.to_markdown(true);
    if let Some(matrix) = &report.confusion {
        replace_file(&folder.join("confusion.svg"), matrix.to_svg().as_bytes())?;
        text.push_str("\n![Confusion matrix](confusion.svg)\n");
    }
    replace_file(&folder.join("results.md"), text.as_bytes())
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos}/{human_len} images, {per_sec}, {eta} left",
    );
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
