//! `coca-train eval`: metrics on a data set.

use anyhow::Result;
use burn::tensor::Device;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::Path;

use super::generation::GenerationArgs;
use super::model::ModelArgs;
use super::{labels, output};
use crate::data::{ShardSpec, read_samples};
use crate::eval::{Metrics, Runner, answer_questions, caption_images, classify_images, retrieve};

/// Measure a model on a data set.
///
/// zero-shot: top1, top5, mean_per_class of the `label`s. retrieval: recall at 1, 5 and 10 of the `captions`, image to
/// text (i2t) and back (t2i). vqa: exact_match and vqa_accuracy (VQA v2's normalisation) of the answers in `qa`.
/// caption: bleu4, rouge_l and cider (CIDEr-D) against the `captions`, and their perplexity; METEOR is left out, because
/// it needs word lists of its own. Metrics are fractions, not per cent.
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
    /// zero-shot: the labels to choose from, separated by commas, or @FILE with one a line; those of the data if not
    /// given.
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// zero-shot: a prompt template with {} for the label; several are averaged. The model's own if not given.
    #[arg(long = "template", value_name = "TEMPLATE", value_parser = labels::template)]
    templates: Vec<String>,
    /// Threads that work side by side on the CPU; all if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    generation: GenerationArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    ZeroShot,
    Retrieval,
    Caption,
    Vqa,
}

#[derive(Serialize)]
struct Line<'a> {
    task: &'a str,
    data: &'a str,
    n: usize,
    metrics: &'a Metrics,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let options = args.generation.options()?;
    let labels = args
        .labels
        .as_deref()
        .map(|text| labels::list(text, "label"))
        .transpose()?;
    let templates = (!args.templates.is_empty()).then_some(args.templates.as_slice());
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
        Task::ZeroShot => classify_images(&runner, samples, labels.as_deref(), templates),
        Task::Retrieval => retrieve(&runner, samples),
        Task::Caption => caption_images(&runner, samples, &options),
        Task::Vqa => answer_questions(&runner, samples),
    }?;
    bar.finish_and_clear();
    let (task, n, metrics) = (args.task.to_possible_value(), report.n, &report.metrics);
    let task = task.as_ref().map_or("", |value| value.get_name());
    if args.model.json {
        return output::json(&Line {
            task,
            data: &args.data,
            n,
            metrics,
        });
    }
    let unit = if args.task == Task::Vqa {
        "questions"
    } else {
        "images"
    };
    output::line(format!("{task} on {}: {n} {unit}", args.data))?;
    metrics
        .iter()
        .try_for_each(|(name, value)| output::line(format!("{name:<16}{value:.4}")))
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos}/{human_len} images, {per_sec}, {eta} left",
    );
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
