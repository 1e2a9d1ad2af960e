//! HTML character references, decoded exactly as Python's `html.unescape` and ftfy's stricter variant do.

use super::ftfy::windows_1252;
use super::pattern;
use entities::ENTITIES;
use regex::{Captures, Regex};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Every reference of HTML5, by name without the `&`; a few old ones are defined without `;` too.
static NAMED: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    ENTITIES
        .iter()
        .filter_map(|entity| Some((entity.entity.strip_prefix('&')?, entity.characters)))
        .collect()
});

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\x0C <&#;]{1,32};?)"));

static CLOSED_REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern("&#?[0-9A-Za-z]{1,24};"));

/// Python's `html.unescape`: as a browser reads text, so `&ampx` becomes `&x`.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    REFERENCE.replace_all(text, |found: &Captures| resolve(&found[1]).into_owned())
}

/// ftfy's `unescape_html`: only references that end in `;`, and also those of lower-case names in capitals.
pub fn unescape_closed(text: &str) -> String {
    let resolve_closed = |found: &Captures| {
        let reference = &found[0];
        let name = &reference[1..];
        if let Some(characters) = NAMED.get(name) {
            return (*characters).to_owned();
        }
        let unescaped = unescape(reference);
        if name.starts_with('#') && !unescaped.contains(';') {
            return unescaped.into_owned();
        }
        capitalised(name)
            .filter(|_| unescaped == reference)
            .unwrap_or_else(|| reference.to_owned())
    };
    CLOSED_REFERENCE
        .replace_all(text, resolve_closed)
        .into_owned()
}

/// What a reference such as `NTILDE;` stands for, if its name exists in lower case.
fn capitalised(name: &str) -> Option<String> {
    if name.contains(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    NAMED
        .get(name.to_ascii_lowercase().as_str())
        .map(|characters| characters.to_uppercase())
}

/// The text of one reference, given without its `&`.
fn resolve(reference: &str) -> Cow<'static, str> {
    if let Some(number) = reference.strip_prefix('#') {
        let number = number.trim_end_matches(';');
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        // Only overflow can fail here.
        return numeric(code.unwrap_or(u32::MAX));
    }
    if let Some(characters) = NAMED.get(reference) {
        return (*characters).into();
    }
    // The longest defined name that the reference starts with, of two characters or more.
    let mut ends: Vec<usize> = reference
        .char_indices()
        .skip(2)
        .map(|(end, _)| end)
        .collect();
    ends.reverse();
    for (name, rest) in ends.into_iter().map(|end| reference.split_at(end)) {
        if let Some(characters) = NAMED.get(name) {
            return format!("{characters}{rest}").into();
        }
    }
    format!("&{reference}").into()
}

/// The character of a number, with HTML5's exceptions.
fn numeric(code: u32) -> Cow<'static, str> {
    match code {
        0 => "\u{fffd}".into(),
        0xd => "\r".into(),
        0x80..=0x9f => u8::try_from(code)
            .map(windows_1252)
            .map_or("".into(), |c| String::from(c).into()),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => "".into(),
        _ => match char::from_u32(code) {
            Some(_) if code & 0xfffe == 0xfffe => "".into(),
            Some(c) => String::from(c).into(),
            None => "\u{fffd}".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from Python 3.11's `html.unescape`.
    #[test]
    fn as_python() {
        for (escaped, text) in [
            ("&lt;a&gt;&amp;amp;", "<a>&amp;"),
            ("&ampx &notit; &notin;", "&x ¬it; ∉"),
            (
                "&#65;&#x42&#X43;&#0;&#128;&#x81;&#31;",
                "ABC\u{fffd}€\u{81}",
            ),
            (
                "&#xD800; &#1114112; &#99999999999999999999;",
                "\u{fffd} \u{fffd} \u{fffd}",
            ),
            ("&#xfffe;&#xffff;&#x10ffff;|", "|"),
            ("& &; &# &#x; &unknown;", "& &; &# &#x; &unknown;"),
            ("&NotEqualTilde;", "≂̸"),
            ("&é;", "&é;"),
        ] {
            assert_eq!(unescape(escaped), text, "{escaped}");
        }
    }

    /// Expected values from ftfy 6.3.1.
    #[test]
    fn closed_as_ftfy() {
        for (escaped, text) in [
            ("this&not that &amp &amp;", "this&not that &amp &"),
            (
                "P&EACUTE;REZ &NTILDE; &nTILDE; &SZLIG; &FRAC12;",
                "PÉREZ Ñ &nTILDE; SS ½",
            ),
            ("&GTRSIM; &#39; &#59; &#x3B;", "&GTRSIM; ' &#59; &#x3B;"),
            ("&Jscr;ohn &HilbertSpace;ancock", "𝒥ohn ℋancock"),
        ] {
            assert_eq!(unescape_closed(escaped), text, "{escaped}");
        }
    }
}
