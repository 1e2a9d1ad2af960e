//! Words of a caption as the usual caption metrics count them: those of the Penn Treebank, in lower case, without
//! punctuation.
//!
//! This is the behaviour of the tokenizer that the COCO caption evaluation runs (PTBTokenizer of Stanford CoreNLP
//! 3.4.1 with `-preserveLines -lowerCase`), written anew: of all rules that match at a place the one with the longest
//! match wins, and of equal ones the first.

mod abbreviations;
mod rules;
mod token;

use std::sync::OnceLock;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input, MatchKind};

use rules::{RULES, Rule};

/// The tokens that the COCO caption evaluation drops. Brackets stay: its list has them in upper case, and tokens are
/// in lower case.
const PUNCTUATION: [&str; 13] = [
    "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";",
];

/// Not a character of any token; stands for what the tokenizer does not know.
const UNKNOWN: char = '\u{FFFF}';

/// The words of a caption. A fraction such as `1 1/2` is one word with a no-break space in it.
pub fn words(caption: &str) -> Vec<String> {
    let mut words = tokens(caption);
    words.retain(|word| !PUNCTUATION.contains(&word.as_str()));
    words
}

/// All tokens of a caption, in lower case.
fn tokens(caption: &str) -> Vec<String> {
    let Some(automaton) = automaton() else {
        // Cannot happen: the rules are constants, and a test builds the automaton.
        return caption.split_whitespace().map(str::to_lowercase).collect();
    };
    // Rules look at what follows a word, so the line needs its end. Characters beyond the Basic Multilingual Plane
    // are unknown to the tokenizer, and a caption is one line.
    let mut text: String = caption
        .chars()
        .map(|c| match c {
            '\r' | '\n' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            c if u32::from(c) > 0xFFFF => UNKNOWN,
            c => c,
        })
        .collect();
    text.push('\n');
    let mut cache = automaton.create_cache();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let Some((rule, end)) = longest(automaton, &mut cache, &text, at) else {
            at += next.len_utf8();
            continue;
        };
        let matched = text.get(at..end).unwrap_or_default();
        let found = token::take(rule.action, matched);
        // Every rule takes something, but an endless loop would be the worst answer to a mistake.
        at += found.length.max(1);
        tokens.extend(found.token.map(|token| token.to_lowercase()));
    }
    tokens
}

fn longest(
    automaton: &DFA,
    cache: &mut Cache,
    text: &str,
    at: usize,
) -> Option<(&'static Rule, usize)> {
    let input = Input::new(text).range(at..).anchored(Anchored::Yes);
    let found = automaton.try_search_fwd(cache, &input).ok().flatten()?;
    let rule = RULES.get(found.pattern().as_usize())?;
    (found.offset() > at).then_some((rule, found.offset()))
}

fn automaton() -> Option<&'static DFA> {
    static AUTOMATON: OnceLock<Option<DFA>> = OnceLock::new();
    let build = || {
        let patterns: Vec<String> = RULES
            .iter()
            .map(|rule| rules::expand(rule.pattern))
            .collect();
        DFA::builder()
            // Report every match on the way, so that the last one is the longest.
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(16 << 20),
            )
            .build_many(&patterns)
            .ok()
    };
    AUTOMATON.get_or_init(build).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_well_formed() {
        assert!(automaton().is_some());
    }

    #[test]
    fn words_are_lower_case_and_without_punctuation() {
        for (caption, expected) in [
            ("A dog, running.", "a dog running"),
            ("It's a man's T-shirt!", "it 's a man 's t-shirt"),
            (
                "They CANNOT see (a \"cat\")",
                "they can not see -lrb- a cat -rrb-",
            ),
            (
                "3.5 miles - 1,000 feet ... dog,cat",
                "3.5 miles 1,000 feet dog cat",
            ),
            ("\u{2018}quoted\u{2019} don\u{2019}t", "quoted do n't"),
            ("", ""),
            (" .,; -- ", ""),
            ("a 🐕 b", "a b"),
        ] {
            assert_eq!(words(caption).join(" "), expected, "{caption}");
        }
    }

    /// Lines and their words, as pycocoevalcap has them; see tests/python/make_caption_metrics.py.
    #[test]
    fn words_are_those_of_the_coco_caption_evaluation() {
        let fixture = include_str!("../../../../../tests/golden/data/ptb_words.txt");
        let lines: Vec<&str> = fixture.split('\n').collect();
        assert!(lines.len() > 100);
        let wrong: Vec<String> = lines
            .as_chunks::<2>()
            .0
            .iter()
            .filter(|[line, expected]| words(line).join(" ") != *expected)
            .map(|[line, expected]| format!("{line}\n  {expected}\n  {}", words(line).join(" ")))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
