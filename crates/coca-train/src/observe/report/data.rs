//! The data: how much of it, how long its texts are, and what the model sees of it.

use maud::{Markup, html};

use super::chart::bars;
use super::examples::picture;
use super::pictures::Pictures;
use crate::observe::record::{DataRecord, RunRecord, TextLengths};
use crate::observe::units;

/// The data sets and their texts.
pub fn sets(record: &RunRecord) -> Markup {
    html! {
        @if !record.data.is_empty() {
            div.scroll {
                table {
                    thead { tr {
                        th { "shards" } th.n { "samples" } th.n { "share of images" } th.n { "gone through" } th.n { "broken" }
                    } }
                    tbody { @for data in &record.data { (set(data)) } }
                }
            }
        }
        @if record.texts.batches > 0 { (texts(&record.texts)) }
    }
}

fn set(data: &DataRecord) -> Markup {
    html! {
        tr {
            td.path { (data.shards) }
            td.n { (units::count(data.samples)) }
            td.n { (units::percent(data.share)) }
            td.n { (format!("{:.2} times", data.epochs)) }
            td.n.bad[data.broken > 0] { (units::count(data.broken)) }
        }
    }
}

fn texts(texts: &TextLengths) -> Markup {
    let share = |count: u64, of: u64| units::percent(count as f64 / of.max(1) as f64);
    let count: u64 = texts.tokens.iter().sum();
    let sum: u64 = texts
        .tokens
        .iter()
        .zip(0u64..)
        .map(|(count, length)| count * length)
        .sum();
    html! {
        div.charts {
            (bars("Length of a text", &texts.tokens, "tokens"))
            dl.facts {
                dt { "counted" }
                dd { "the first " (units::count(texts.batches)) " batches, " (units::count(texts.images)) " images, "
                    (units::count(count)) " texts" }
                dt { "per image" }
                dd { (format!("{:.2}", count as f64 / texts.images.max(1) as f64)) " texts on average" }
                dt { "length" }
                dd { (format!("{:.1}", sum as f64 / count.max(1) as f64))
                    " tokens on average, prefix, start and end included" }
                dt { "contrastive" }
                dd { (share(texts.pairs, texts.images)) " of the images have a text for the contrastive loss" }
            }
        }
    }
}

/// The first batch, as the model sees it.
pub fn first_batch(record: &RunRecord, pictures: &Pictures) -> Markup {
    html! {
        div.cards {
            @for example in &record.first_batch {
                article.card {
                    (picture(Some(&example.picture), pictures))
                    div {
                        ul.texts.all {
                            @for text in &example.texts {
                                li {
                                    @if !text.prefix.is_empty() { span.prefix { (text.prefix) " " } }
                                    (text.text)
                                }
                            }
                        }
                        p.key { (example.key) }
                    }
                }
            }
        }
    }
}
