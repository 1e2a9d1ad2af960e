//! Tells text that looks like mojibake from text that does not.

use crate::tokenizer::pattern;
use regex::Regex;
use std::sync::LazyLock;

/// Whether `text` holds a sequence of characters that hardly occurs except in UTF-8 decoded as something else.
pub fn is_bad(text: &str) -> bool {
    !text.is_ascii() && BADNESS.is_match(text)
}

// About 400 characters occur in UTF-8 mojibake. These are their classes, as the inside of a regex `[...]`.

/// Common in ordinary text as well.
const COMMON: &str = r"\u{A0}\u{AD}·´–—―…’";
/// The C1 control characters, of no use except in mojibake.
const C1: &str = r"\u{80}-\u{9F}";
/// Hardly ever used except in mojibake.
const BAD: &str = r"¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\u{FFFD}ªº";
const LAW: &str = "¶§";
const CURRENCY: &str = "¢£¥₧€";
const START_PUNCTUATION: &str = r"¡«¿©΄΅‘‚“„•‹\u{F8FF}";
const END_PUNCTUATION: &str = "®»˝”›™";
const NUMERIC: &str = "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№";
/// Letters that make faces, and so turn up in unlikely places.
const KAOMOJI: &str = "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°";
const UPPER_ACCENTED: &str = "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const LOWER_ACCENTED: &str = r"ßà-ñăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґ\u{FB01}\u{FB02}";
const UPPER_COMMON: &str = "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я";
const LOWER_COMMON: &str = "α-ωάέήίΰа-џ";
/// Box drawing, except the single horizontal line.
const BOX: &str = "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓";

/// ftfy's `BADNESS_RE`. Python's `\s` and `\w` are spelled out, since Rust's differ in a few characters.
static BADNESS: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"[\p{L}\p{N}_]";
    let space = r"[\s\x1C-\x1F]";
    let symbols = format!("{BOX}{START_PUNCTUATION}{END_PUNCTUATION}{CURRENCY}{NUMERIC}{LAW}");
    let arabic = format!("[ØÙ][{COMMON}{CURRENCY}{BAD}{NUMERIC}{START_PUNCTUATION}ŸŠ®°µ»]");
    let around = format!("{C1}{BAD}{START_PUNCTUATION}{END_PUNCTUATION}{CURRENCY}°");
    pattern(&[
        format!("[{C1}]"),
        format!("[{BAD}{LOWER_ACCENTED}{UPPER_ACCENTED}{symbols}][{BAD}]"),
        format!("[a-zA-Z][{LOWER_COMMON}{UPPER_COMMON}][{BAD}]"),
        format!("[{BAD}][{LOWER_ACCENTED}{UPPER_ACCENTED}{symbols}]"),
        format!("[{LOWER_ACCENTED}{LOWER_COMMON}{BOX}{END_PUNCTUATION}{CURRENCY}{NUMERIC}][{UPPER_ACCENTED}]"),
        format!("[{BOX}{END_PUNCTUATION}{CURRENCY}{NUMERIC}][{LOWER_ACCENTED}]"),
        format!("[{LOWER_ACCENTED}{BOX}{END_PUNCTUATION}][{CURRENCY}]"),
        format!("{space}[{UPPER_ACCENTED}][{CURRENCY}]"),
        format!("[{UPPER_ACCENTED}{BOX}][{NUMERIC}{LAW}]"),
        format!(
            "[{LOWER_ACCENTED}{UPPER_ACCENTED}{BOX}{CURRENCY}{END_PUNCTUATION}][{START_PUNCTUATION}][{NUMERIC}]"
        ),
        format!(
            "[{LOWER_ACCENTED}{UPPER_ACCENTED}{CURRENCY}{NUMERIC}{BOX}{LAW}][{END_PUNCTUATION}][{START_PUNCTUATION}]"
        ),
        format!("[{CURRENCY}{NUMERIC}{BOX}][{START_PUNCTUATION}]"),
        format!("[a-z][{UPPER_ACCENTED}][{START_PUNCTUATION}{CURRENCY}]"),
        format!("[{BOX}][{KAOMOJI}]"),
        format!(
            "[{LOWER_ACCENTED}{UPPER_ACCENTED}{CURRENCY}{NUMERIC}{START_PUNCTUATION}{END_PUNCTUATION}{LAW}][{BOX}]"
        ),
        format!("[{BOX}][{END_PUNCTUATION}]"),
        format!("[{LOWER_ACCENTED}{UPPER_ACCENTED}][{START_PUNCTUATION}{END_PUNCTUATION}]{word}"),
        // The ligature œ when not followed by an unaccented Latin letter.
        "[Œœ][^A-Za-z]".into(),
        // Degree signs after capital letters.
        format!("[{UPPER_ACCENTED}]°"),
        // Common two-character Windows-1252 mojibake that the cases above leave out.
        format!(r"[ÂÃÎÐ][€œŠš¢£Ÿž\u{{A0}}\u{{AD}}®©°·»{START_PUNCTUATION}{END_PUNCTUATION}–—´]"),
        "×[²³]".into(),
        // Arabic in Windows-1252 has to include common characters; four in a row make up for that.
        format!("{arabic}{arabic}"),
        // The starts of three-character sequences for some South Asian alphabets.
        "à[²µ¹¼½¾]".into(),
        // MacRoman.
        "√[±∂†≠®™´≤≥¥µø]".into(),
        "≈[°¢]".into(),
        "‚Ä[ìîïòôúùû†°¢π]".into(),
        "‚[âó][àä°ê]".into(),
        // Windows-1251: characters from U+2000 on, then Latin-1 or Cyrillic, then both layers at once.
        "вЂ".into(),
        format!("[ВГРС][{around}µ][ВГРС]"),
        "ГўВЂВ.[A-Za-z ]".into(),
        // à, á and the no-break space in Windows-1252.
        r"Ã[\u{A0}¡]".into(),
        format!("[a-z]{space}?[ÃÂ] "),
        "^[ÃÂ] ".into(),
        // Â before a character that it encodes as itself.
        format!("[a-z.,?!{END_PUNCTUATION}]Â[ {START_PUNCTUATION}{END_PUNCTUATION}]"),
        // Windows-1253: characters from U+2000 on, then Latin-1 or Greek.
        r"β€[™\u{A0}Ά\u{AD}®°]".into(),
        format!("[ΒΓΞΟ][{around}][ΒΓΞΟ]"),
        // Windows-1257: characters from U+2000 on.
        "ā€".into(),
    ]
    .join("|"))
});

#[cfg(test)]
mod tests {
    use super::is_bad;

    #[test]
    fn tells_mojibake_from_text() {
        for text in ["sÃ³", "âœ”", "Ã la", "\u{85}", "вЂ™"] {
            assert!(is_bad(text), "{text}");
        }
        for text in [
            "",
            "plain",
            "só",
            "naïve façade",
            "Привет, мир!",
            "50°C",
            "日本語",
            "ÅÄÖ",
        ] {
            assert!(!is_bad(text), "{text}");
        }
    }
}
