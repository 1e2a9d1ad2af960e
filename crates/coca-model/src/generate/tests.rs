//! Decoding over a made-up model.

use std::ops::ControlFlow;

use super::mock::{Mock, SPECIAL, VOCAB};
use super::*;
use crate::{Error, Result};

/// The exponentials of a log-probability are in single precision, as the logits are.
const CLOSE: f64 = 1e-6;

fn prompt(rows: usize) -> Prompt<'static> {
    Prompt {
        rows,
        prefix: &[1],
        special: SPECIAL,
        capacity: 64,
    }
}

fn run(decoder: &mut Mock, options: &GenerateOptions) -> Result<Vec<Generated>> {
    let rows = decoder.rows.len();
    pollster::block_on(generate(decoder, prompt(rows), options, &mut |_| {
        ControlFlow::Continue(())
    }))
}

fn with(strategy: Strategy, max: usize) -> GenerateOptions {
    GenerateOptions {
        strategy,
        max_length: Length::Total(max),
        ..Default::default()
    }
}

fn beams(beams: usize, length_penalty: f32) -> Strategy {
    Strategy::Beam(Beams {
        beams,
        groups: 1,
        length_penalty,
    })
}

fn strategies() -> Vec<Strategy> {
    let sampling = Sampling {
        top_k: Some(3),
        top_p: Some(0.9),
        temperature: 0.8,
        seed: 5,
    };
    vec![Strategy::Greedy, Strategy::Sample(sampling), beams(3, 1.0)]
}

/// The log-probability of `ids` after their first id, computed from scratch.
fn log_prob_of(mock: &Mock, image: u64, ids: &[u32]) -> f64 {
    (1..ids.len())
        .map(|n| {
            let logits = mock.logits_after(image, &ids[..n]);
            let total: f64 = logits.iter().map(|&l| (l as f64).exp()).sum();
            logits[ids[n] as usize] as f64 - total.ln()
        })
        .sum()
}

#[test]
fn greedy_takes_the_best_token_until_the_end_token() {
    let mut mock = Mock::new(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let texts = run(&mut mock, &with(Strategy::Greedy, 12)).unwrap();
    assert!(
        texts.iter().any(|text| text.end == End::EndToken)
            && texts.iter().any(|text| text.ids.len() > 4)
    );
    for (image, text) in (0..).zip(&texts) {
        for n in 1..text.ids.len() {
            let logits = mock.logits_after(image, &text.ids[..n]);
            let allowed = |id: &u32| ![SPECIAL.start, SPECIAL.pad].contains(id);
            let best = (0..VOCAB as u32)
                .filter(allowed)
                .max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]));
            assert_eq!(Some(text.ids[n]), best);
        }
        let ended = text.ids.last() == Some(&SPECIAL.end);
        assert_eq!(text.end, if ended { End::EndToken } else { End::MaxLength });
        assert!(ended || text.ids.len() == 12);
        assert_eq!(
            text.tokens(),
            &text.ids[1..text.ids.len() - usize::from(ended)]
        );
        assert!((text.log_prob - log_prob_of(&mock, image, &text.ids)).abs() < CLOSE);
    }
}

#[test]
fn a_batch_gives_the_texts_of_its_rows_alone() {
    for strategy in strategies() {
        let options = with(strategy, 14);
        let batch = run(&mut Mock::new(&[3, 9, 4, 9]), &options).unwrap();
        for (row, image) in [3, 9, 4, 9].into_iter().enumerate() {
            assert_eq!(
                batch[row],
                run(&mut Mock::new(&[image]), &options).unwrap()[0],
                "{options:?}"
            );
        }
    }
}

#[test]
fn the_minimum_length_holds_back_the_end_token() {
    for strategy in strategies() {
        for min in [Length::Total(6), Length::New(5)] {
            let options = GenerateOptions {
                min_length: min,
                ..with(strategy.clone(), 20)
            };
            for text in run(&mut Mock::ending_by(8.0, &[0, 1, 2]), &options).unwrap() {
                assert_eq!(
                    (text.ids.len(), text.end),
                    (7, End::EndToken),
                    "{options:?}"
                );
            }
        }
    }
}

#[test]
fn a_strong_repetition_penalty_prevents_repetition() {
    for strategy in strategies() {
        let options = GenerateOptions {
            repetition_penalty: 1e6,
            ..with(strategy, 4)
        };
        let mut mock = Mock::ending_by(-100.0, &[0, 1, 2, 3]);
        mock.vocab = 12;
        for text in run(&mut mock, &options).unwrap() {
            let unique: std::collections::HashSet<_> = text.ids.iter().collect();
            assert_eq!(unique.len(), text.ids.len(), "{options:?} {text:?}");
        }
    }
}

/// All texts of up to `max` ids that end with the end token.
fn all_texts(max: usize) -> Vec<Vec<u32>> {
    let (mut open, mut ended) = (vec![vec![SPECIAL.start]], vec![]);
    for _ in 1..max {
        let mut longer = vec![];
        for text in &open {
            for id in 2..VOCAB as u32 {
                let text = [text.as_slice(), &[id]].concat();
                if id == SPECIAL.end {
                    ended.push(text)
                } else {
                    longer.push(text)
                }
            }
        }
        open = longer;
    }
    ended
}

#[test]
fn enough_beams_find_the_most_probable_text_of_all() {
    for image in 0..40 {
        let mock = Mock::new(&[image]);
        let best = all_texts(4)
            .into_iter()
            .map(|ids| (log_prob_of(&mock, image, &ids), ids));
        let best = best.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let found = run(&mut Mock::new(&[image]), &with(beams(64, 0.0), 4))
            .unwrap()
            .remove(0);
        assert_eq!(found.ids, best.1);
        assert!((found.log_prob - best.0).abs() < 1e-5);
        assert_eq!(found.end, End::EndToken);
    }
}

#[test]
fn the_length_penalty_ranks_by_score_per_token() {
    let mut differ = 0;
    for image in 0..40 {
        let mock = Mock::new(&[image]);
        let rank = |ids: &[u32]| log_prob_of(&mock, image, ids) / (ids.len() - 1) as f64;
        let best = all_texts(4)
            .into_iter()
            .max_by(|a, b| rank(a).total_cmp(&rank(b)))
            .unwrap();
        let found = |penalty| {
            run(&mut Mock::new(&[image]), &with(beams(64, penalty), 4))
                .unwrap()
                .remove(0)
                .ids
        };
        // 64 beams are never filled by texts of this length, so that the search goes to its end.
        assert_eq!(found(1.0), best);
        differ += usize::from(found(0.0) != best);
    }
    assert!(differ > 0);
}

#[test]
fn more_beams_find_more_probable_texts_and_one_beam_is_greedy() {
    let images: Vec<u64> = (0..50).collect();
    let texts = |strategy| {
        // More ordinary tokens than beams, so that no beam has to end.
        let mut mock = Mock {
            vocab: 24,
            ..Mock::ending_by(-100.0, &images)
        };
        run(&mut mock, &with(strategy, 10)).unwrap()
    };
    let total = |strategy| -> f64 { texts(strategy).iter().map(|text| text.log_prob).sum() };
    assert!(total(beams(8, 0.0)) > total(beams(2, 0.0)));
    assert!(total(beams(2, 0.0)) > total(Strategy::Greedy));
    assert_eq!(texts(beams(1, 0.0)), texts(Strategy::Greedy));
}

#[test]
fn groups_are_as_many_beams_fewer() {
    let options = |beams, groups| {
        with(
            Strategy::Beam(Beams {
                beams,
                groups,
                length_penalty: 1.0,
            }),
            12,
        )
    };
    let texts = |options| run(&mut Mock::new(&[5, 6, 7]), &options).unwrap();
    assert_eq!(texts(options(6, 3)), texts(options(2, 1)));
}

#[test]
fn samples_repeat_with_the_seed_and_differ_without() {
    let texts = |seed| {
        let strategy = Strategy::Sample(Sampling {
            seed,
            ..Default::default()
        });
        run(
            &mut Mock::ending_by(-3.0, &[0, 1, 2, 3]),
            &with(strategy, 20),
        )
        .unwrap()
    };
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
    let mock = Mock::ending_by(-3.0, &[]);
    for (image, text) in (0..).zip(texts(1)) {
        assert!((text.log_prob - log_prob_of(&mock, image, &text.ids)).abs() < CLOSE);
    }
}

#[test]
fn top_k_1_is_greedy() {
    let strategy = Strategy::Sample(Sampling {
        top_k: Some(1),
        ..Default::default()
    });
    let texts = |strategy| run(&mut Mock::new(&[0, 1, 2, 3]), &with(strategy, 20)).unwrap();
    assert_eq!(texts(strategy), texts(Strategy::Greedy));
}

#[test]
fn the_tokens_that_are_reported_are_the_result() {
    for strategy in strategies() {
        let mut seen = vec![(vec![], 0.0); 4];
        let mut early = 0;
        let mut steps = 0;
        let mut listen = |event| {
            match event {
                Event::Step => steps += 1,
                Event::Token(token) => {
                    seen[token.row].0.push(token.id);
                    seen[token.row].1 += token.log_prob as f64;
                    early += usize::from(steps < 8);
                }
            }
            ControlFlow::Continue(())
        };
        let mut mock = Mock::ending_by(-2.0, &[10, 11, 12, 13]);
        let texts = pollster::block_on(generate(
            &mut mock,
            prompt(4),
            &with(strategy, 24),
            &mut listen,
        ))
        .unwrap();
        assert_eq!(steps, mock.steps);
        assert!(early > 0, "nothing is reported before the end");
        for (text, (ids, log_prob)) in texts.iter().zip(seen) {
            assert_eq!(text.ids[1..], ids);
            assert!((text.log_prob - log_prob).abs() < 1e-4);
        }
    }
}

#[test]
fn the_caller_can_break_at_any_event() {
    for strategy in strategies() {
        for stop_at in 0..6 {
            let mut events = 0;
            let mut listen = |_| {
                events += 1;
                if events > stop_at {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let mut mock = Mock::ending_by(-50.0, &[0, 1]);
            let texts = pollster::block_on(generate(
                &mut mock,
                prompt(2),
                &with(strategy.clone(), 30),
                &mut listen,
            ))
            .unwrap();
            assert_eq!(
                events,
                stop_at + 1,
                "the callback is not called again after it broke"
            );
            assert!(
                texts
                    .iter()
                    .all(|text| text.end == End::Aborted && text.ids.len() < 10),
                "{texts:?}"
            );
        }
    }
}

#[test]
fn fixed_length_pads_and_does_not_touch_the_tokens() {
    for strategy in strategies() {
        let free = run(&mut Mock::new(&[0, 1, 2]), &with(strategy.clone(), 12)).unwrap();
        let options = GenerateOptions {
            fixed_output_length: true,
            ..with(strategy, 12)
        };
        for (fixed, free) in run(&mut Mock::new(&[0, 1, 2]), &options)
            .unwrap()
            .iter()
            .zip(free)
        {
            assert_eq!(fixed.ids.len(), 12);
            assert_eq!(fixed.tokens(), free.tokens());
            assert!(
                fixed.ids[free.ids.len()..]
                    .iter()
                    .all(|&id| id == SPECIAL.pad)
            );
        }
    }
}

#[test]
fn a_prefix_is_continued_not_repeated() {
    let prefix = [1, 4, 3];
    for strategy in strategies() {
        let prompt = Prompt {
            prefix: &prefix,
            ..prompt(2)
        };
        let options = GenerateOptions {
            max_length: Length::New(4),
            ..with(strategy, 0)
        };
        let mut mock = Mock::new(&[0, 1]);
        let texts = pollster::block_on(generate(&mut mock, prompt, &options, &mut |_| {
            ControlFlow::Continue(())
        }))
        .unwrap();
        for (image, text) in (0..).zip(texts) {
            assert_eq!(text.ids[..3], prefix);
            assert!(text.ids.len() <= 7 && !text.tokens().contains(&SPECIAL.end));
            let wanted = log_prob_of(&mock, image, &text.ids) - log_prob_of(&mock, image, &prefix);
            assert!((text.log_prob - wanted).abs() < CLOSE);
        }
    }
}

#[test]
fn the_compatible_mode_forces_the_end_and_stops_at_padding() {
    let options = GenerateOptions {
        openclip_compat: true,
        ..with(Strategy::Greedy, 6)
    };
    let texts = run(
        &mut Mock::ending_by(-50.0, &(0..20).collect::<Vec<_>>()),
        &options,
    )
    .unwrap();
    assert!(
        texts
            .iter()
            .any(|text| text.ids.last() == Some(&SPECIAL.pad))
    );
    assert!(
        texts
            .iter()
            .any(|text| text.ids.len() == 6 && text.ids[5] == SPECIAL.end)
    );
    assert!(texts.iter().all(|text| text.end == End::EndToken));
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let refuse = |prefix: &[u32], capacity, options: &GenerateOptions, word: &str| {
        let prompt = Prompt {
            rows: 1,
            prefix,
            special: SPECIAL,
            capacity,
        };
        let mut mock = Mock::new(&[0]);
        let error = pollster::block_on(generate(&mut mock, prompt, options, &mut |_| {
            ControlFlow::Continue(())
        }))
        .unwrap_err();
        assert!(
            matches!(error, Error::Input(_)) && error.to_string().contains(word),
            "{error}"
        );
    };
    let greedy = with(Strategy::Greedy, 8);
    refuse(&[], 8, &greedy, "start token");
    refuse(&[1, 2, 3], 8, &greedy, "end token");
    refuse(&[1; 8], 8, &greedy, "no room");
    refuse(&[1; 8], 80, &greedy, "allow more tokens");
    refuse(
        &[1],
        8,
        &GenerateOptions {
            min_length: Length::Total(8),
            ..greedy.clone()
        },
        "minimum length",
    );
    refuse(&[1, 600], 8, &greedy, "tokenizer and the model");
}

#[test]
fn the_largest_logits_give_what_all_of_them_give() {
    let images: Vec<u64> = (0..20).collect();
    for strategy in strategies() {
        for (openclip_compat, repetition_penalty) in [(false, 1.0), (true, 1.0), (false, 1.3)] {
            let options = GenerateOptions {
                openclip_compat,
                repetition_penalty,
                min_length: Length::Total(4),
                ..with(strategy.clone(), 9)
            };
            let all = run(&mut Mock::new(&images), &options).unwrap();
            let mut finder = Mock {
                finds_best: true,
                ..Mock::new(&images)
            };
            let best = run(&mut finder, &options).unwrap();
            for (all, best) in all.iter().zip(best) {
                assert_eq!((&all.ids, all.end), (&best.ids, best.end));
                assert!((all.log_prob - best.log_prob).abs() < CLOSE * 10.0);
            }
        }
    }
}

#[test]
fn garbage_from_the_device_is_an_error_not_a_text() {
    struct Broken;
    impl Decoder for Broken {
        fn feed(&mut self, _: &[Vec<u32>]) -> Result<()> {
            Ok(())
        }
        async fn logits(&mut self) -> Result<Vec<f32>> {
            Ok(vec![f32::NAN; VOCAB])
        }
        fn select(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }
    }
    for strategy in strategies() {
        let options = with(strategy, 8);
        let result = pollster::block_on(generate(&mut Broken, prompt(1), &options, &mut |_| {
            ControlFlow::Continue(())
        }));
        assert!(matches!(result, Err(Error::Device(_))));
    }
}

#[test]
fn continuations_score_as_their_tokens_do_one_by_one() {
    let prefix = [1, 3];
    let prompt = Prompt {
        prefix: &prefix,
        ..prompt(2)
    };
    let continuations = [vec![4, 2], vec![2], vec![5, 5, 3, 2]];
    let mut mock = Mock::new(&[6, 7]);
    let scores =
        pollster::block_on(score_continuations(&mut mock, prompt, &continuations)).unwrap();
    for (image, scores) in [6, 7].into_iter().zip(scores) {
        for (tokens, score) in continuations.iter().zip(scores) {
            let ids = [&prefix, tokens.as_slice()].concat();
            let wanted = log_prob_of(&mock, image, &ids) - log_prob_of(&mock, image, &prefix);
            assert!((score - wanted).abs() < CLOSE);
        }
    }
    let too_long = Prompt {
        capacity: 4,
        ..prompt
    };
    let error = pollster::block_on(score_continuations(
        &mut Mock::new(&[6, 7]),
        too_long,
        &continuations,
    ));
    assert!(error.unwrap_err().to_string().contains("more than the 4"));
}

#[test]
fn rows_with_prefixes_of_their_own_are_as_if_alone() {
    let prefixes: [&[u32]; 3] = [&[1, 3], &[1, 4], &[1, 3]];
    let each = |images: &[u64], prefixes: &[&[u32]], options: &GenerateOptions| {
        let mut decoder = Mock::new(images);
        let ignore = &mut |_: Event| ControlFlow::Continue(());
        pollster::block_on(generate_each(
            &mut decoder,
            prefixes,
            SPECIAL,
            64,
            options,
            ignore,
        ))
    };
    for strategy in strategies() {
        let options = GenerateOptions {
            repetition_penalty: 1.3,
            ..with(strategy, 9)
        };
        let together = each(&[5, 5, 6], &prefixes, &options).unwrap();
        for (row, (image, prefix)) in [5, 5, 6].into_iter().zip(prefixes).enumerate() {
            let prompt = Prompt {
                prefix,
                ..prompt(1)
            };
            let mut decoder = Mock::new(&[image]);
            let ignore = &mut |_: Event| ControlFlow::Continue(());
            let alone = pollster::block_on(generate(&mut decoder, prompt, &options, ignore));
            assert_eq!(together[row], alone.unwrap()[0], "{options:?}");
        }
    }
    let greedy = with(Strategy::Greedy, 9);
    let uneven = each(&[5, 5], &[&[1, 3], &[1]], &greedy).unwrap_err();
    assert!(uneven.to_string().contains("differ in length"), "{uneven}");
    assert!(each(&[], &[], &greedy).unwrap().is_empty());
}
