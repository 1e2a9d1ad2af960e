//! The four tasks on a small model with random weights, against the model itself without caches and batches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use coca_model::generate::{Beams, End, GenerateOptions, Length, Sampling, Strategy};
use coca_model::preprocess::PreprocessConfig;
use coca_model::tasks::{CaptionOptions, EncodedImages, Predictor, PreparedImage, TextEvent};
use coca_model::tokenizer::Tokenizer;
use coca_model::weights::Prompts;
use coca_model::{Coca, Error, ModelConfig};
use pollster::block_on;

const SIZE: usize = 16;
const CONTEXT: usize = 24;

fn tokenizer() -> Tokenizer {
    let texts = [
        "a photo of a cat",
        "a photo of a dog",
        "question: what is it? answer: yes or no, red or blue",
    ];
    Tokenizer::train(texts.repeat(20), 700).unwrap()
}

fn config(vocabulary: usize) -> ModelConfig {
    let mut config = ModelConfig::preset("coca_tiny").unwrap();
    config.vision_cfg.image_size = coca_model::config::Size::Square(SIZE);
    config.vision_cfg.width = 32;
    config.vision_cfg.layers = 2;
    config.vision_cfg.attn_pooler_heads = 2;
    config.vision_cfg.attn_pooler_queries = 5;
    config.embed_dim = 32;
    (
        config.text_cfg.width,
        config.text_cfg.heads,
        config.text_cfg.layers,
    ) = (32, 2, 2);
    (
        config.multimodal_cfg.width,
        config.multimodal_cfg.heads,
        config.multimodal_cfg.layers,
    ) = (32, 2, 2);
    (
        config.text_cfg.context_length,
        config.multimodal_cfg.context_length,
    ) = (CONTEXT, CONTEXT);
    (config.text_cfg.vocab_size, config.multimodal_cfg.vocab_size) = (vocabulary, Some(vocabulary));
    config
}

fn predictor() -> Predictor {
    // The random numbers are those of the whole process, and parameters are drawn when they are first looked at.
    static DRAWING: Mutex<()> = Mutex::new(());
    let (device, tokenizer) = (Device::flex(), tokenizer());
    let model = {
        let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
        device.seed(7);
        let model = Coca::new(&config(tokenizer.vocab_size()), &device).unwrap();
        assert!(model.num_params() > 0);
        model
    };
    Predictor::new(
        model,
        tokenizer,
        PreprocessConfig::for_size(SIZE, SIZE),
        Prompts::default(),
        device,
    )
    .unwrap()
}

/// Normalised pixels of a picture, `[3, SIZE, SIZE]`.
fn pixels(predictor: &Predictor, picture: usize) -> Vec<f32> {
    let rgba: Vec<u8> = (0..4 * 20 * 30)
        .map(|i| ((i * (picture * 7 + 3)) % 251) as u8)
        .collect();
    predictor
        .preprocessor()
        .prepare_rgba(20, 30, &rgba)
        .unwrap()
}

fn encoded(predictor: &Predictor, pictures: std::ops::Range<usize>) -> EncodedImages {
    let images: Vec<_> = pictures
        .map(|picture| PreparedImage::new(pixels(predictor, picture)))
        .collect();
    block_on(predictor.encode_images(&images)).unwrap()
}

fn ignore(_: TextEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn with(strategy: Strategy) -> CaptionOptions {
    let generate = GenerateOptions {
        strategy,
        max_length: Length::Total(12),
        ..Default::default()
    };
    CaptionOptions {
        prefix: None,
        generate,
    }
}

fn strategies() -> Vec<Strategy> {
    let beams = Beams {
        beams: 3,
        ..Default::default()
    };
    vec![
        Strategy::Greedy,
        Strategy::Sample(Sampling {
            seed: 3,
            ..Default::default()
        }),
        Strategy::Beam(beams),
    ]
}

/// Log-probabilities `[length][vocabulary]` of what follows each of `ids`, from one pass without a cache.
fn uncached(predictor: &Predictor, picture: usize, ids: &[u32]) -> Vec<Vec<f64>> {
    let (model, device) = (predictor.model(), predictor.device());
    let image = TensorData::new(pixels(predictor, picture), [1, 3, SIZE, SIZE]);
    let ids = TensorData::new(ids.iter().map(|&id| id as i32).collect(), [1, ids.len()]);
    let image = model
        .encode_image(Tensor::<4>::from_data(image, device))
        .unwrap();
    let text = model
        .encode_text(Tensor::<2, Int>::from_data(ids, device))
        .unwrap();
    let logits = model.caption_logits(text.tokens, image.tokens);
    let [_, _, vocabulary] = logits.dims();
    let logits = logits.into_data().try_into_vec_as::<f32>().unwrap();
    let log_softmax = |logits: &[f32]| {
        let total: f64 = logits.iter().map(|&logit| (logit as f64).exp()).sum();
        logits
            .iter()
            .map(|&logit| logit as f64 - total.ln())
            .collect()
    };
    logits.chunks(vocabulary).map(log_softmax).collect()
}

/// The log-probability of `continuation` after `prefix`.
fn log_prob(predictor: &Predictor, picture: usize, prefix: &[u32], continuation: &[u32]) -> f64 {
    let ids = [prefix, continuation].concat();
    let rows = uncached(predictor, picture, &ids[..ids.len() - 1]);
    continuation
        .iter()
        .zip(&rows[prefix.len() - 1..])
        .map(|(&id, row)| row[id as usize])
        .sum()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5),
        "{a:?}\n{b:?}"
    );
}

#[test]
fn embeddings_have_unit_length_and_do_not_depend_on_the_batch() {
    let predictor = predictor();
    let together = block_on(predictor.image_embeddings(&encoded(&predictor, 0..19))).unwrap();
    assert_eq!(together.len(), 19);
    for (picture, embedding) in together.iter().enumerate().step_by(6) {
        assert_close(
            embedding,
            &encoded(&predictor, picture..picture + 1).embeddings()[0],
        );
        assert!((embedding.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let texts: Vec<String> = (0..40)
        .map(|n| format!("a photo of {n} cats {}", "and dogs ".repeat(n)))
        .collect();
    let together = block_on(predictor.text_embeddings(&texts)).unwrap();
    assert_eq!(together.len(), 40);
    for (text, embedding) in texts.iter().zip(&together).step_by(13) {
        assert_close(
            embedding,
            &block_on(predictor.text_embeddings(&[text])).unwrap()[0],
        );
        assert!((embedding.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn classification_is_softmax_of_scaled_cosines_of_mean_label_embeddings() {
    let predictor = predictor();
    let labels = ["a cat", "a dog", "{}"];
    let templates = ["a photo of {}".to_string(), "{}, no {}".to_string()];
    let classifier = block_on(predictor.zero_shot_classifier(&labels, Some(&templates))).unwrap();
    let images = encoded(&predictor, 0..2);
    let scores = block_on(predictor.classify(&images, &classifier)).unwrap();
    let scale = predictor
        .model()
        .logit_scale()
        .into_data()
        .try_into_vec_as::<f32>()
        .unwrap()[0];
    for (image, scores) in images.embeddings().iter().zip(scores) {
        let logits = labels.map(|label| {
            let texts = [
                format!("a photo of {label}"),
                format!("{label}, no {label}"),
            ];
            let each = block_on(predictor.text_embeddings(&texts)).unwrap();
            let mean: Vec<f32> = each[0]
                .iter()
                .zip(&each[1])
                .map(|(a, b)| (a + b) / 2.0)
                .collect();
            let norm = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
            scale * image.iter().zip(&mean).map(|(a, b)| a * b).sum::<f32>() / norm
        });
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        assert!((scores.iter().map(|score| score.score).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(scores.is_sorted_by(|a, b| a.score >= b.score));
        for (label, logit) in labels.iter().zip(logits) {
            let score = scores
                .iter()
                .find(|score| score.label == *label)
                .unwrap()
                .score;
            assert!((score - logit.exp() / total).abs() < 1e-4, "{label}");
        }
    }
}

#[test]
fn a_classifier_without_templates_takes_those_of_the_model() {
    let predictor = predictor();
    let own = block_on(predictor.zero_shot_classifier(&["cat"], None)).unwrap();
    let text = block_on(predictor.text_embeddings(&["a photo of a cat"])).unwrap();
    assert_close(&own.embeddings()[0], &text[0]);
}

#[test]
fn cached_captions_are_those_of_passes_over_the_whole_text() {
    let predictor = predictor();
    let tokenizer = predictor.tokenizer();
    let options = CaptionOptions {
        prefix: Some("a photo".into()),
        ..with(Strategy::Greedy)
    };
    let captions =
        block_on(predictor.caption(&encoded(&predictor, 0..3), &options, &mut ignore)).unwrap();
    let prefix = [vec![tokenizer.sot()], tokenizer.encode("a photo")].concat();
    for (picture, caption) in captions.iter().enumerate() {
        let mut ids = prefix.clone();
        while ids.len() < 12 && ids.last() != Some(&tokenizer.eot()) {
            let mut row = uncached(&predictor, picture, &ids).pop().unwrap();
            for never in [tokenizer.sot(), tokenizer.pad()] {
                row[never as usize] = f64::NEG_INFINITY;
            }
            let best = (0..row.len())
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .unwrap();
            ids.push(best as u32);
        }
        let ended = ids.last() == Some(&tokenizer.eot());
        let wanted = log_prob(&predictor, picture, &prefix, &ids[prefix.len()..]);
        ids.truncate(ids.len() - usize::from(ended));
        assert_eq!(caption.tokens, ids[prefix.len()..]);
        assert_eq!(
            caption.end,
            if ended { End::EndToken } else { End::MaxLength }
        );
        assert!(
            (caption.log_prob - wanted).abs() < 1e-3,
            "{} {wanted}",
            caption.log_prob
        );
        assert_eq!(caption.text, tokenizer.decode_text(&caption.tokens));
    }
}

#[test]
fn captions_do_not_depend_on_the_batch() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..70);
    for strategy in strategies() {
        let options = with(strategy);
        let together = block_on(predictor.caption(&images, &options, &mut ignore)).unwrap();
        assert_eq!(together.len(), 70);
        for picture in [0, 21, 63, 64, 69] {
            let alone = encoded(&predictor, picture..picture + 1);
            let alone = block_on(predictor.caption(&alone, &options, &mut ignore)).unwrap();
            assert_eq!(together[picture].tokens, alone[0].tokens, "{options:?}");
        }
    }
}

#[test]
fn the_pieces_of_a_caption_are_the_caption() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..3);
    for strategy in strategies() {
        let mut texts = vec![String::new(); 3];
        let mut tokens = vec![vec![]; 3];
        let mut listen = |event: TextEvent<'_>| {
            match event {
                TextEvent::Token { row, id, piece, .. } => {
                    texts[row] += piece;
                    tokens[row].push(id);
                }
                TextEvent::Cut { row, piece } => texts[row] += piece,
                TextEvent::Step => {}
            }
            ControlFlow::Continue(())
        };
        let captions = block_on(predictor.caption(&images, &with(strategy), &mut listen)).unwrap();
        for (caption, (text, tokens)) in captions.iter().zip(texts.iter().zip(&tokens)) {
            assert_eq!(&caption.text, text);
            assert!(tokens.starts_with(&caption.tokens));
        }
    }
}

#[test]
fn a_caller_that_breaks_gets_what_is_there() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..70);
    for strategy in strategies() {
        let mut calls = 0;
        let mut listen = |_: TextEvent<'_>| {
            calls += 1;
            ControlFlow::Break(())
        };
        let captions = block_on(predictor.caption(&images, &with(strategy), &mut listen)).unwrap();
        assert_eq!((calls, captions.len()), (1, 70));
        assert!(
            captions
                .iter()
                .all(|caption| caption.end == End::Aborted && caption.tokens.len() <= 1)
        );
    }
}

#[test]
fn choices_are_ranked_by_the_probability_of_the_whole_text() {
    let predictor = predictor();
    let tokenizer = predictor.tokenizer();
    let (question, options) = ("what is it?", GenerateOptions::for_answers());
    let prefix = [
        vec![tokenizer.sot()],
        tokenizer.encode("question: what is it? answer:"),
    ]
    .concat();
    // More choices than rows at a time, of different lengths.
    let choices: Vec<String> = (0..80)
        .map(|n| format!("{} {n}", ["yes", "no or red", "blue"][n % 3]))
        .collect();
    let images = encoded(&predictor, 0..2);
    let answers =
        block_on(predictor.answer(&images, question, Some(&choices), &options, &mut ignore))
            .unwrap();
    for (picture, answer) in answers.iter().enumerate() {
        let ranked = answer.choices.as_ref().unwrap();
        assert_eq!(ranked.len(), 80);
        assert!(ranked.is_sorted_by(|a, b| a.score >= b.score));
        assert!((ranked.iter().map(|choice| choice.score).sum::<f32>() - 1.0).abs() < 1e-4);
        assert_eq!(
            (&answer.text, answer.log_prob),
            (&ranked[0].answer, ranked[0].log_prob)
        );
        for choice in ranked.iter().step_by(9) {
            let ids = [tokenizer.encode(&choice.answer), vec![tokenizer.eot()]].concat();
            let wanted = log_prob(&predictor, picture, &prefix, &ids);
            assert!(
                (choice.log_prob - wanted).abs() < 1e-3,
                "{choice:?} {wanted}"
            );
        }
    }
}

#[test]
fn a_free_answer_continues_the_question() {
    let predictor = predictor();
    let tokenizer = predictor.tokenizer();
    let options = GenerateOptions {
        max_length: Length::New(4),
        ..Default::default()
    };
    let mut tokens = vec![];
    let mut listen = |event: TextEvent<'_>| {
        if let TextEvent::Token { id, .. } = event {
            tokens.push(id);
        }
        ControlFlow::Continue(())
    };
    let images = encoded(&predictor, 5..6);
    let answer = block_on(predictor.answer(&images, "what is it?", None, &options, &mut listen))
        .unwrap()
        .remove(0);
    let prefix = [
        vec![tokenizer.sot()],
        tokenizer.encode("question: what is it? answer:"),
    ]
    .concat();
    assert!(!tokens.is_empty() && tokens.len() <= 4);
    assert_eq!(answer.text, tokenizer.decode_text(&tokens));
    assert!((answer.log_prob - log_prob(&predictor, 5, &prefix, &tokens)).abs() < 1e-3);
    assert_eq!(answer.choices, None);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..1);
    let classifier = |labels: &[&str], templates: Option<&[String]>| {
        block_on(predictor.zero_shot_classifier(labels, templates))
            .unwrap_err()
            .to_string()
    };
    assert!(classifier(&[], None).contains("no label"));
    assert!(classifier(&["cat", "cat"], None).contains("twice"));
    assert!(classifier(&["cat"], Some(&["a photo".into()])).contains("no {}"));
    assert!(classifier(&["cat"], Some(&[])).contains("template"));

    let answer = |question: &str, choices: Option<&[String]>| {
        let options = GenerateOptions::for_answers();
        block_on(predictor.answer(&images, question, choices, &options, &mut ignore))
            .unwrap_err()
            .to_string()
    };
    let choices = |choices: &[&str]| {
        choices
            .iter()
            .map(|choice| choice.to_string())
            .collect::<Vec<_>>()
    };
    assert!(answer(" ", None).contains("question is empty"));
    assert!(answer(&"what ".repeat(30), None).contains("shorten"));
    assert!(answer("what?", Some(&[])).contains("no choice"));
    assert!(answer("what?", Some(&choices(&["yes", "yes"]))).contains("twice"));
    assert!(answer("what?", Some(&choices(&["yes", &"no ".repeat(30)]))).contains("shorten"));

    let encode = |images: &[PreparedImage]| block_on(predictor.encode_images(images)).unwrap_err();
    assert!(encode(&[]).to_string().contains("no image"));
    assert!(
        encode(&[PreparedImage::new(vec![0.0; 5])])
            .to_string()
            .contains("5 values")
    );
    assert!(predictor.prepare(b"not an image").is_err());
}

#[test]
fn numbers_that_cannot_be_right_are_an_error_of_the_device() {
    let predictor = predictor();
    let broken = PreparedImage::new(vec![f32::NAN; 3 * SIZE * SIZE]);
    assert!(matches!(
        block_on(predictor.encode_images(&[broken])),
        Err(Error::Device(_))
    ));
}

#[test]
fn parts_of_different_models_are_refused() {
    let (device, tokenizer) = (Device::flex(), tokenizer());
    let build = |vocabulary: usize, size: usize| {
        let model = Coca::new(&config(vocabulary), &device).unwrap();
        let preprocess = PreprocessConfig::for_size(size, SIZE);
        Predictor::new(
            model,
            tokenizer.clone(),
            preprocess,
            Prompts::default(),
            device.clone(),
        )
    };
    assert!(build(tokenizer.vocab_size(), SIZE).is_ok());
    assert!(build(tokenizer.vocab_size() + 10, SIZE).is_ok());
    let message = |result: Result<Predictor, Error>| result.unwrap_err().to_string();
    assert!(message(build(tokenizer.vocab_size() - 1, SIZE)).contains("tokenizer"));
    assert!(message(build(tokenizer.vocab_size(), SIZE + 1)).contains("preprocess_cfg"));
}

#[test]
fn many_questions_together_are_answered_as_one_by_one() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..3);
    let questions = [
        (2, "what is it?"),
        (0, "is it red?"),
        (2, "is it red?"),
        (1, "how big is it?"),
        (0, "what is it?"),
    ];
    let options = GenerateOptions::for_answers();
    let together = block_on(predictor.answer_many(&images, &questions, &options)).unwrap();
    for ((image, question), together) in questions.into_iter().zip(together) {
        let alone = block_on(predictor.answer(
            &encoded(&predictor, image..image + 1),
            question,
            None,
            &options,
            &mut ignore,
        ))
        .unwrap();
        assert_eq!(together.text, alone[0].text, "{question}");
        assert!((together.log_prob - alone[0].log_prob).abs() < 1e-3);
    }
    let long = "why ".repeat(200);
    let answers = block_on(predictor.answer_many(&images, &[(0, &long)], &options)).unwrap();
    assert_eq!(answers.len(), 1);
    assert!(block_on(predictor.answer_many(&images, &[(3, "?")], &options)).is_err());
}

#[test]
fn an_explanation_follows_the_caption_word_by_word() {
    let predictor = predictor();
    let image = predictor.prepare_rgba(20, 30, &[77; 4 * 20 * 30]).unwrap();
    let encoded = block_on(predictor.encode_images(std::slice::from_ref(&image))).unwrap();
    let caption = block_on(predictor.caption(&encoded, &CaptionOptions::default(), &mut ignore))
        .unwrap()
        .remove(0);
    let written = block_on(predictor.explain(&image, None, &mut ignore)).unwrap();
    assert_eq!(written.text, caption.text);
    assert!(
        (written.log_prob - caption.log_prob).abs() < 1e-3,
        "{written:?}"
    );

    let given = block_on(predictor.explain(&image, Some("a photo of a dog"), &mut ignore)).unwrap();
    let words: Vec<&str> = given.words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(words, ["a", " photo", " of", " a", " dog"]);
    assert_eq!(given.text, "a photo of a dog");
    for word in written.words.iter().chain(&given.words) {
        assert_eq!(word.heat.len(), given.rows * given.columns);
        assert!((word.heat.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(word.heat.iter().all(|&heat| heat >= 0.0));
    }
    // The picture is 20 x 30, the model sees the square in its middle.
    assert_eq!((given.region.x, given.region.width), (0.0, 1.0));
    assert!(
        (given.region.height - 2.0 / 3.0).abs() < 0.05,
        "{:?}",
        given.region
    );

    for refused in ["", "  ", &"dog ".repeat(CONTEXT)] {
        let error = block_on(predictor.explain(&image, Some(refused), &mut ignore)).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
}

#[test]
fn the_surprise_of_captions_is_that_of_their_tokens() {
    let predictor = predictor();
    let images = encoded(&predictor, 0..3);
    let captions = [
        (0, "a photo of a cat"),
        (0, "yes"),
        (2, "a dog or red"),
        (1, "question"),
    ];
    let found = block_on(predictor.caption_surprise(&images, &captions)).unwrap();
    let tokenizer = predictor.tokenizer();
    let prompt = tokenizer.encode(&predictor.prompts().caption);
    let (mut nats, mut tokens) = (0.0, 0);
    for (picture, caption) in captions {
        let mut ids = vec![tokenizer.sot()];
        ids.extend(&prompt);
        ids.extend(tokenizer.encode(caption));
        ids.push(tokenizer.eot());
        let log_probs = uncached(&predictor, picture, &ids);
        for at in 1 + prompt.len()..ids.len() {
            nats -= log_probs[at - 1][ids[at] as usize];
            tokens += 1;
        }
    }
    assert_eq!(found.tokens, tokens);
    assert!((found.nats - nats).abs() < 1e-3, "{} {nats}", found.nats);
    assert!((found.perplexity() - (nats / tokens as f64).exp()).abs() < 1e-2);
    assert!(block_on(predictor.caption_surprise(&images, &[(3, "a")])).is_err());
}
