//! Repairs text that went wrong on its way here: mojibake, HTML entities, curly quotes, ligatures, terminal
//! escapes and the like.
//!
//! A port of `ftfy.fix_text` 6.3.1 with its default settings (<https://github.com/rspeer/python-ftfy>, copyright
//! Robyn Speer, Apache-2.0, see `LICENSE` beside this file). open_clip cleans every caption with it, so token ids
//! agree only when each of its repairs does. Its one repair without a counterpart here is of lone UTF-16
//! surrogates, which a Rust string cannot hold.

mod badness;
mod characters;
mod charmap;
mod mojibake;

pub use charmap::windows_1252;

use super::html;

/// Text is repaired line by line, and longer lines in pieces of this many characters.
const MAX_SEGMENT: usize = 1_000_000;

/// Repairs are repeated until nothing changes; hostile text (`&amp;amp;amp;...`) could ask for a round per entity.
const MAX_ROUNDS: usize = 100;

/// Repairs `text`. A literal `<` marks it as HTML, in which entities are kept from there on.
pub fn fix_text(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    let mut unescape = true;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let cut = rest
                .char_indices()
                .nth(MAX_SEGMENT)
                .map_or(rest.len(), |(at, _)| at);
            let (segment, tail) = rest.split_at(cut);
            unescape &= !segment.contains('<');
            fixed.push_str(&fix_segment(segment, unescape));
            rest = tail;
        }
    }
    fixed
}

fn fix_segment(segment: &str, unescape: bool) -> String {
    let mut text = segment.to_owned();
    for _ in 0..MAX_ROUNDS {
        let mut next = text.clone();
        if unescape && next.contains('&') {
            next = html::unescape_closed(&next);
        }
        if !next.is_ascii() {
            next = mojibake::fix_encoding(next);
            next = characters::fix_c1_controls(&next);
            next = characters::simplify(&next);
        }
        next = characters::fix_line_breaks(next);
        next = characters::remove_terminal_escapes(next);
        next = characters::remove_control_chars(next);
        next = characters::compose(next);
        if next == text {
            break;
        }
        text = next;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::fix_text;

    /// The examples of ftfy's own documentation, and one per repair; expected values from ftfy 6.3.1.
    #[test]
    fn repairs_as_ftfy_does() {
        for (broken, fixed) in [
            ("âœ” No problems", "✔ No problems"),
            ("&macr;\\_(ã\u{83}\u{84})_/&macr;", "¯\\_(ツ)_/¯"),
            (
                "Broken text&hellip; it&#x2019;s ﬂubberiﬁc!",
                "Broken text… it's flubberific!",
            ),
            ("ＬＯＵＤ　ＮＯＩＳＥＳ", "LOUD NOISES"),
            ("Ｕﾀｰﾝ", "Uターン"),
            ("voilÃ le travail", "voilà le travail"),
            ("Ã la mode", "à la mode"),
            (
                "P&EACUTE;REZ, BUNDESSTRA&SZLIG;E, &nTILDE;",
                "PÉREZ, BUNDESSTRASSE, &nTILDE;",
            ),
            ("<b>&amp;</b>", "<b>&amp;</b>"),
            ("\u{1b}[36;44mI'm blue\u{1b}[0m", "I'm blue"),
            ("a\r\nb\rc\u{2028}d", "a\nb\nc\nd"),
            ("â€œlike thisâ€�", "\"like this�"),
            ("lâ€™humanitÃ© \u{a0}et ðŸ˜€", "l'humanité \u{a0}et 😀"),
            ("schÃƒÂ¶n", "schön"),
            ("e\u{301}", "é"),
        ] {
            assert_eq!(fix_text(broken), fixed, "{broken:?}");
        }
    }

    #[test]
    fn hostile_nesting_ends() {
        let text = format!("&{};", "amp;".repeat(2_000));
        assert!(fix_text(&text).len() < text.len());
    }
}
