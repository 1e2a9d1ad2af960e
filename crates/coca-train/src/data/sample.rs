//! From the metadata of a sample to the texts that are trained on.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::config::{DataConfig, Field};
use super::record::Record;

/// One text for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Conditions the captioning loss but is not predicted; empty for a caption.
    pub prefix: String,
    /// What is predicted.
    pub continuation: String,
    /// What the text says about the whole image, for the contrastive loss: the class name or the text itself, in
    /// lower case. Texts with the same meaning are positives of each other. `None` for an answer, which the
    /// contrastive loss does not use.
    pub meaning: Option<String>,
}

impl Text {
    fn description(text: String, meaning: &str) -> Self {
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            prefix: String::new(),
            continuation: text,
            meaning: Some(meaning.to_lowercase()),
        }
    }
}

/// Puts a question into an answer template.
pub fn answer_prefix(template: &str, question: &str) -> String {
    template.replace("{question}", question)
}

/// Chooses up to `count` different texts of a sample, at random.
///
/// Where a sample has descriptions (captions, label, keywords, text) and the count allows for several texts, the
/// first is a description, for the contrastive loss, and the others are drawn from all that is left. For a single
/// text of a sample with both descriptions and answers, a fair coin decides between the kinds, lest many questions
/// crowd out the caption. An empty result means that the sample has none of the fields.
pub fn choose_texts(
    record: &Record,
    config: &DataConfig,
    count: usize,
    rng: &mut impl Rng,
) -> Vec<Text> {
    let mut descriptions = descriptions(record, config, rng);
    let mut answers = answers(record, config);
    descriptions.shuffle(rng);
    answers.shuffle(rng);
    if count == 1 && !descriptions.is_empty() && !answers.is_empty() && rng.random_bool(0.5) {
        descriptions.clear();
    }
    let first = match descriptions.is_empty() {
        true => answers.pop(),
        false => descriptions.pop(),
    };
    let mut rest = descriptions;
    rest.append(&mut answers);
    rest.shuffle(rng);
    first.into_iter().chain(rest).take(count).collect()
}

/// Whether a sample has any text of the fields in use.
pub fn has_text(record: &Record, fields: &[Field]) -> bool {
    fields.iter().any(|field| match field {
        Field::Captions => !record.captions.is_empty(),
        Field::Label => record.label.is_some(),
        Field::Qa => !record.qa.is_empty(),
        Field::Keywords => !record.keywords.is_empty(),
        Field::Sentence => record.sentence.is_some() || record.verdict.is_some(),
        Field::Text => record.text.is_some(),
    })
}

/// The texts that say what the image shows, each once.
fn descriptions(record: &Record, config: &DataConfig, rng: &mut impl Rng) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let mut add = |text: Text| {
        // KEY.txt often repeats the first caption.
        if !texts.contains(&text) {
            texts.push(text);
        }
    };
    for field in &config.fields {
        match field {
            Field::Captions => {
                for caption in &record.captions {
                    add(Text::description(caption.clone(), caption));
                }
            }
            Field::Label => {
                if let (Some(label), Some(template)) = (&record.label, config.templates.choose(rng))
                {
                    add(Text::description(template.replace("{}", label), label));
                }
            }
            Field::Keywords if !record.keywords.is_empty() => {
                let text = record.keywords.join(", ");
                add(Text::description(text.clone(), &text));
            }
            Field::Sentence | Field::Text => {
                let text = match field {
                    Field::Sentence => &record.sentence,
                    _ => &record.text,
                };
                if let Some(text) = text {
                    add(Text::description(text.clone(), text));
                }
            }
            Field::Keywords | Field::Qa => {}
        }
    }
    texts
}

fn answers(record: &Record, config: &DataConfig) -> Vec<Text> {
    let has = |field| config.fields.contains(&field);
    let qa = record.qa.iter().filter(|_| has(Field::Qa));
    let verdict = record.verdict.iter().filter(|_| has(Field::Sentence));
    qa.chain(verdict)
        .map(|(question, answer)| Text {
            prefix: answer_prefix(&config.answer_template, question),
            continuation: answer.clone(),
            meaning: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Purpose, stream};
    use super::*;

    fn record() -> Record {
        Record {
            captions: vec!["A cat".into(), "a pet".into()],
            label: Some("Cat".into()),
            qa: (0..4)
                .map(|i| (format!("q{i}?"), format!("a{i}")))
                .collect(),
            text: Some("A cat".into()),
            ..Record::default()
        }
    }

    fn choose(fields: &[Field], count: usize, seed: u64) -> Vec<Text> {
        let mut config = DataConfig::new("x.tar");
        config.fields = fields.to_vec();
        config.templates = vec!["a photo of a {}".into(), "{}".into()];
        choose_texts(
            &record(),
            &config,
            count,
            &mut stream(seed, Purpose::Sample, 0, 0),
        )
    }

    #[test]
    fn labels_go_through_every_template_and_keep_their_meaning() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let texts = choose(&[Field::Label], 3, seed);
            assert_eq!(texts.len(), 1);
            assert_eq!(texts[0].meaning.as_deref(), Some("cat"));
            seen.insert(texts[0].continuation.clone());
        }
        assert!(seen.into_iter().eq(["Cat", "a photo of a Cat"]));
    }

    #[test]
    fn several_texts_are_distinct_and_start_with_a_description() {
        for seed in 0..20 {
            let texts = choose(&[Field::Captions, Field::Text, Field::Qa], 10, seed);
            // Two captions (the text repeats one of them) and four answers.
            assert_eq!(texts.len(), 6);
            assert!(texts[0].meaning.is_some());
            for (at, text) in texts.iter().enumerate() {
                assert!(!texts[..at].contains(text));
            }
            assert_eq!(
                texts,
                choose(&[Field::Captions, Field::Text, Field::Qa], 10, seed)
            );
        }
    }

    #[test]
    fn a_single_text_is_an_answer_half_of_the_time() {
        let is_answer = |seed| {
            choose(&[Field::Captions, Field::Qa], 1, seed)[0]
                .meaning
                .is_none()
        };
        let answers = (0..1000).filter(|&seed| is_answer(seed)).count();
        assert!((420..580).contains(&answers), "{answers}");
        let text = choose(&[Field::Qa], 1, 0).remove(0);
        assert!(text.prefix.starts_with("question: q") && text.prefix.ends_with("? answer:"));
        assert!(text.continuation.starts_with('a'));
    }

    #[test]
    fn unused_fields_give_no_text() {
        assert!(choose(&[Field::Keywords, Field::Sentence], 4, 0).is_empty());
        assert!(!has_text(&record(), &[Field::Keywords, Field::Sentence]));
        assert!(has_text(&record(), &[Field::Keywords, Field::Qa]));
    }
}
