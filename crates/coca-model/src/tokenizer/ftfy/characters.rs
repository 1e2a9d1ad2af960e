//! Repairs of single characters and short sequences.

use super::charmap;
use crate::tokenizer::pattern;
use regex::Regex;
use std::sync::LazyLock;
use tokenizers::NormalizedString;

const fn is_c1_control(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}')
}

/// Whether `text` holds C1 control characters.
pub fn has_c1_controls(text: &str) -> bool {
    text.chars().any(is_c1_control)
}

/// Reads C1 control characters as Windows-1252, as browsers do.
pub fn fix_c1_controls(text: &str) -> String {
    let fix = |c| match u8::try_from(c) {
        Ok(byte) if is_c1_control(c) => charmap::windows_1252(byte),
        _ => c,
    };
    text.chars().map(fix).collect()
}

/// Splits Latin ligatures, gives characters their ordinary width, straightens quotes.
pub fn simplify(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'Ĳ' => out.push_str("IJ"),
            'ĳ' => out.push_str("ij"),
            'ŉ' => out.push_str("'n"),
            'Ǳ' => out.push_str("DZ"),
            'ǲ' => out.push_str("Dz"),
            'ǳ' => out.push_str("dz"),
            'Ǆ' => out.push_str("DŽ"),
            'ǅ' => out.push_str("Dž"),
            'ǆ' => out.push_str("dž"),
            'Ǉ' => out.push_str("LJ"),
            'ǈ' => out.push_str("Lj"),
            'ǉ' => out.push_str("lj"),
            'Ǌ' => out.push_str("NJ"),
            'ǋ' => out.push_str("Nj"),
            'ǌ' => out.push_str("nj"),
            '\u{fb00}' => out.push_str("ff"),
            '\u{fb01}' => out.push_str("fi"),
            '\u{fb02}' => out.push_str("fl"),
            '\u{fb03}' => out.push_str("ffi"),
            '\u{fb04}' => out.push_str("ffl"),
            '\u{fb05}' => out.push_str("ſt"),
            '\u{fb06}' => out.push_str("st"),
            '\u{3000}' => out.push(' '),
            '\u{ff01}'..='\u{ffef}' => out.push_str(&standard_width(c)),
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
            '\u{201c}'..='\u{201f}' => out.push('"'),
            _ => out.push(c),
        }
    }
    out
}

/// The compatibility form of a full-width or half-width character.
fn standard_width(c: char) -> String {
    let mut normalized = NormalizedString::from(String::from(c));
    normalized.nfkc();
    normalized.get().to_owned()
}

/// Turns every kind of line break into a line feed.
pub fn fix_line_breaks(text: String) -> String {
    if !text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return text;
    }
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n")
}

static TERMINAL_ESCAPE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\x1b\[[\d;]*[a-zA-Z]"));

/// Removes "ANSI" escape sequences, such as those for colours.
pub fn remove_terminal_escapes(text: String) -> String {
    if text.contains("\u{1b}[") {
        TERMINAL_ESCAPE.replace_all(&text, "").into_owned()
    } else {
        text
    }
}

/// Removes control characters that show nothing; keeps white space, C1 controls and marks that shape text.
pub fn remove_control_chars(mut text: String) -> String {
    text.retain(|c| {
        !matches!(c,
            '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
    });
    text
}

/// Normalises to Unicode form C.
pub fn compose(text: String) -> String {
    // Nothing below the combining marks changes.
    if text.chars().all(|c| c < '\u{300}') {
        return text;
    }
    let mut normalized = NormalizedString::from(text);
    normalized.nfc();
    normalized.get().to_owned()
}
