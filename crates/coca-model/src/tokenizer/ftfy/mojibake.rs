//! Undoes mojibake: UTF-8 that was decoded as one of the single-byte encodings.

use super::badness::is_bad;
use super::characters::{fix_c1_controls, has_c1_controls};
use super::charmap::{CHARMAPS, Kind};
use regex::bytes::Regex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Decodes `text` again, as often as it looks as if it had been decoded wrongly.
pub fn fix_encoding(mut text: String) -> String {
    while let Some(fixed) = fix_once(&text).filter(|fixed| *fixed != text) {
        text = fixed;
    }
    text
}

fn fix_once(text: &str) -> Option<String> {
    if !is_bad(text) {
        return None;
    }
    for map in CHARMAPS.iter() {
        let Some(mut bytes) = map.encode(text) else {
            continue;
        };
        // In MacRoman the pattern would also match an en dash before a space.
        if map.kind != Kind::MacRoman {
            bytes = restore_byte_a0(&bytes);
        }
        if map.sloppy {
            bytes = LOSSY_UTF8
                .replace_all(&bytes, "\u{fffd}".as_bytes())
                .into_owned();
        }
        if let Some(fixed) = decode_utf8_variants(&bytes) {
            return Some(fixed);
        }
    }
    let fixed = decode_inconsistent_utf8(text);
    if fixed != text {
        return Some(fixed);
    }
    // Control characters were meant to be Windows-1252, as browsers read them.
    has_c1_controls(text).then(|| fix_c1_controls(text))
}

/// UTF-8 sequences that would be valid if A0 had not been turned into a plain space, and likely ones only.
static ALTERED_UTF8: LazyLock<Regex> = LazyLock::new(|| {
    byte_pattern(
        r"[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0 [\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf] ",
    )
});

/// UTF-8 and CESU-8 sequences of which some bytes were lost; `?` may stand for one of them.
static LOSSY_UTF8: LazyLock<Regex> = LazyLock::new(|| {
    byte_pattern(
        &[
            r"[\xc2-\xdf]\x1a",
            r"[\xc2-\xc3][?]",
            r"\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]",
            r"\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
            r"[\xe0-\xef][\x1a?][\x1a\x80-\xbf]",
            r"[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
            r"[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]",
            r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]",
            r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]",
            r"\x1a",
        ]
        .join("|"),
    )
});

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants, compiled by the tests"
)]
fn byte_pattern(pattern: &str) -> Regex {
    Regex::new(&format!("(?s-u:{pattern})")).expect("a valid pattern")
}

/// Puts A0 (the no-break space) back where a plain space breaks what would be UTF-8.
fn restore_byte_a0(bytes: &[u8]) -> Vec<u8> {
    let with_a_grave = restore_a_grave(bytes);
    let restored = ALTERED_UTF8.replace_all(&with_a_grave, |found: &regex::bytes::Captures| {
        found[0]
            .iter()
            .map(|&byte| if byte == b' ' { 0xa0 } else { byte })
            .collect::<Vec<u8>>()
    });
    restored.into_owned()
}

/// `Ã la` is "à la", not "àla": the space after byte C3 is kept, except in Portuguese contractions (às, àquele).
fn restore_a_grave(bytes: &[u8]) -> Cow<'_, [u8]> {
    const CONTRACTIONS: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    if !bytes.windows(2).any(|pair| pair == b"\xc3 ") {
        return bytes.into();
    }
    let mut out = Vec::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        out.push(first);
        rest = tail;
        if let (0xc3, Some(after)) = (first, rest.strip_prefix(b" "))
            && !CONTRACTIONS.iter().any(|word| after.starts_with(word))
        {
            out.extend([0xa0, b' ']);
            rest = after;
        }
    }
    out.into()
}

/// Decodes UTF-8, also when astral characters are written as two surrogates of three bytes each (CESU-8) and NUL
/// as C0 80 (Java). None if it is neither.
fn decode_utf8_variants(mut bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    loop {
        let special = bytes
            .iter()
            .position(|byte| matches!(byte, 0xc0 | 0xed))
            .unwrap_or(bytes.len());
        let (plain, rest) = bytes.split_at_checked(special)?;
        text.push_str(std::str::from_utf8(plain).ok()?);
        bytes = match rest {
            [] => return Some(text),
            [0xc0, 0x80, tail @ ..] => {
                text.push('\0');
                tail
            }
            // ftfy's pattern ends in `$`, which in Python also matches before a final line feed.
            [0xc0, b'\n'] => {
                text.push('\0');
                &[]
            }
            &[
                0xed,
                a @ 0xa0..=0xaf,
                b @ 0x80..=0xbf,
                0xed,
                c @ 0xb0..=0xbf,
                d @ 0x80..=0xbf,
                ref tail @ ..,
            ] => {
                let bits = |byte: u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
                let code =
                    bits(a, 0x0f, 16) + bits(b, 0x3f, 10) + bits(c, 0x0f, 6) + bits(d, 0x3f, 0);
                text.push(char::from_u32(code + 0x1_0000)?);
                tail
            }
            _ => {
                let (sequence, tail) = rest.split_at_checked(3)?;
                text.push_str(std::str::from_utf8(sequence).ok()?);
                tail
            }
        };
    }
}

/// Decodes what distinctly looks like UTF-8 inside a text that as a whole cannot be decoded again.
fn decode_inconsistent_utf8(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut fixed = String::with_capacity(text.len());
    let mut rest = chars.as_slice();
    // In the middle of a garble nothing is touched: a few repaired characters would make it worse.
    let mut in_garble = false;
    while let Some((&first, tail)) = rest.split_first() {
        let length = if in_garble { 0 } else { utf8_like_prefix(rest) };
        let (run, after) = if length == 0 {
            (std::slice::from_ref(&first), tail)
        } else {
            rest.split_at(length)
        };
        let run_text: String = run.iter().collect();
        // A match of the whole text must not be tried again for ever.
        fixed += &if length > 0 && length < chars.len() {
            fix_encoding(run_text)
        } else {
            run_text
        };
        in_garble = run
            .last()
            .is_some_and(|last| CLUES.get(last).is_some_and(|clue| clue.strict));
        rest = after;
    }
    fixed
}

/// How many characters at the start look like a sequence of UTF-8 characters, each decoded byte by byte.
fn utf8_like_prefix(chars: &[char]) -> usize {
    let mut end = 0;
    while let Some(clue) = chars.get(end).and_then(|c| CLUES.get(c)) {
        let continued = chars.get(end + 1..end + clue.leads).is_some_and(|bytes| {
            bytes
                .iter()
                .all(|c| CLUES.get(c).is_some_and(|clue| clue.continues))
        });
        if clue.leads < 2 || !continued {
            break;
        }
        end += clue.leads;
    }
    end
}

/// What a character may be when it is really one byte of UTF-8.
#[derive(Default)]
struct Clue {
    /// The length of the sequence it starts, or 0.
    leads: usize,
    /// Whether it may be a later byte.
    continues: bool,
    /// Whether it may be a later byte and rarely stands for itself beside mojibake.
    strict: bool,
}

/// ftfy's `UTF8_CLUES`: the characters of each byte in the encodings that are arranged like Latin-1.
static CLUES: LazyLock<HashMap<char, Clue>> = LazyLock::new(|| {
    let mut clues: HashMap<char, Clue> = HashMap::new();
    let like_latin = |kind| matches!(kind, Kind::Latin1 | Kind::Windows1252 | Kind::LikeLatin1);
    for map in CHARMAPS.iter().filter(|map| like_latin(map.kind)) {
        for byte in 0x80..=0xff {
            let clue = clues.entry(map.decode(byte)).or_default();
            match byte {
                0xc2..=0xdf => clue.leads = 2,
                0xe0..=0xef => clue.leads = 3,
                0xf0 | 0xf3 => clue.leads = 4,
                0x80..=0xbf => (clue.continues, clue.strict) = (true, true),
                _ => {}
            }
        }
    }
    for c in "„•”“’‘‚—―…–".chars() {
        clues.entry(c).or_default().strict = false;
    }
    // A plain space may have been a no-break space.
    clues.entry(' ').or_default().continues = true;
    clues
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_variants() {
        assert_eq!(
            decode_utf8_variants("é한😀\u{d7ff}".as_bytes()).as_deref(),
            Some("é한😀\u{d7ff}")
        );
        assert_eq!(decode_utf8_variants(b"a\xc0\x80b").as_deref(), Some("a\0b"));
        assert_eq!(decode_utf8_variants(b"a\xc0\n").as_deref(), Some("a\0"));
        assert_eq!(
            decode_utf8_variants(b"\xed\xa0\xbd\xed\xb8\x80").as_deref(),
            Some("😀")
        );
        for invalid in [
            &b"\xc0"[..],
            b"\xc0a",
            b"\xed",
            b"\xed\xa0\x80",
            b"\xed\xa0\xbd\xed\xb8",
            b"\xff",
            b"\xe9",
        ] {
            assert_eq!(decode_utf8_variants(invalid), None, "{invalid:x?}");
        }
    }

    #[test]
    fn a_grave_keeps_its_space() {
        assert_eq!(&*restore_a_grave(b"\xc3 la"), b"\xc3\xa0 la");
        assert_eq!(&*restore_a_grave(b"\xc3 quele"), b"\xc3 quele");
        assert_eq!(restore_byte_a0(b"\xc3 quele"), b"\xc3\xa0quele");
        assert_eq!(restore_byte_a0(b"voil\xc3 "), b"voil\xc3\xa0 ");
    }

    #[test]
    fn no_character_is_ambiguous() {
        let counts =
            [2, 3, 4].map(|leads| CLUES.values().filter(|clue| clue.leads == leads).count());
        assert_eq!(counts, [124, 66, 9], "as in ftfy 6.3.1");
        assert_eq!(CLUES.values().filter(|clue| clue.continues).count(), 159);
        assert_eq!(CLUES.values().filter(|clue| clue.strict).count(), 147);
    }
}
