//! The single-byte encodings through which UTF-8 turns into mojibake.
//!
//! Bytes that an encoding leaves unassigned stand for the code point of the same number, as browsers do it. In
//! these "sloppy" encodings byte 1A also stands for U+FFFD: a byte that was lost earlier.

use std::sync::LazyLock;

/// A byte that could not be decoded in an earlier conversion.
const LOST: u8 = 0x1a;

/// One encoding. Bytes below 80 are ASCII in all of them.
pub struct Charmap {
    /// Which one it is.
    pub kind: Kind,
    /// Whether [`LOST`] stands for U+FFFD.
    pub sloppy: bool,
    /// What bytes 80 to FF decode to.
    upper: Vec<char>,
    /// The inverse of `upper`, sorted.
    bytes: Vec<(char, u8)>,
}

/// What the repairs need to know about an encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ISO-8859-1.
    Latin1,
    /// Code page 1252, what most "Latin-1" really is.
    Windows1252,
    /// Another encoding arranged like Latin-1, with letters where Latin-1 has them.
    LikeLatin1,
    /// The old Macintosh encoding.
    MacRoman,
    /// Any other arrangement.
    Other,
}

/// The encodings, in the order in which they are tried.
pub static CHARMAPS: LazyLock<Vec<Charmap>> = LazyLock::new(|| {
    vec![
        Charmap::new(Kind::Latin1, ""),
        Charmap::new(Kind::Windows1252, WINDOWS_1252),
        Charmap::new(Kind::LikeLatin1, WINDOWS_1251),
        Charmap::new(Kind::LikeLatin1, WINDOWS_1250),
        Charmap::new(Kind::LikeLatin1, WINDOWS_1253),
        Charmap::new(Kind::LikeLatin1, WINDOWS_1254),
        Charmap::new(Kind::LikeLatin1, WINDOWS_1257),
        Charmap::new(Kind::Other, ISO_8859_2),
        Charmap::new(Kind::MacRoman, MAC_ROMAN),
        Charmap::new(Kind::Other, CP437),
    ]
});

/// Decodes one byte as Windows-1252 does; unassigned bytes stay control characters.
pub fn windows_1252(byte: u8) -> char {
    CHARMAPS
        .iter()
        .find(|map| map.kind == Kind::Windows1252)
        .map_or(char::from(byte), |map| map.decode(byte))
}

impl Charmap {
    /// `first` holds what the bytes from 80 on decode to; the bytes after those are as in Latin-1.
    fn new(kind: Kind, first: &str) -> Self {
        let latin = (0x80..=0xff).map(char::from).skip(first.chars().count());
        let upper: Vec<char> = first.chars().chain(latin).collect();
        let mut bytes: Vec<(char, u8)> = upper.iter().copied().zip(0x80..=0xff).collect();
        bytes.sort_unstable();
        let sloppy = matches!(kind, Kind::Windows1252 | Kind::LikeLatin1);
        Self {
            kind,
            sloppy,
            upper,
            bytes,
        }
    }

    /// The character of one byte.
    pub fn decode(&self, byte: u8) -> char {
        let index = usize::from(byte).checked_sub(0x80);
        index
            .and_then(|index| self.upper.get(index).copied())
            .unwrap_or(char::from(byte))
    }

    /// The bytes that decode to `text`, if there are such.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.encode_char(c)).collect()
    }

    fn encode_char(&self, c: char) -> Option<u8> {
        match c {
            '\u{fffd}' if self.sloppy => Some(LOST),
            '\u{1a}' if self.sloppy => None,
            _ if c.is_ascii() => u8::try_from(c).ok(),
            _ => {
                let at = self
                    .bytes
                    .binary_search_by_key(&c, |&(char, _)| char)
                    .ok()?;
                self.bytes.get(at).map(|&(_, byte)| byte)
            }
        }
    }
}

const WINDOWS_1250: &str = "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{A0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{AD}®Ż\
    °±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
const WINDOWS_1251: &str = "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{A0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{AD}®Ї\
    °±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя";
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}Ž\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}žŸ";
const WINDOWS_1253: &str = "€\u{81}‚ƒ„…†‡\u{88}‰\u{8A}‹\u{8C}\u{8D}\u{8E}\u{8F}\u{90}‘’“”•–—\u{98}™\u{9A}›\
    \u{9C}\u{9D}\u{9E}\u{9F}\u{A0}΅Ά£¤¥¦§¨©ª«¬\u{AD}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰ\
    αβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ";
const WINDOWS_1254: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}\u{8E}\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}\u{9E}Ÿ\u{A0}¡¢£¤¥¦§¨©ª«¬\
    \u{AD}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüış";
const WINDOWS_1257: &str = "€\u{81}‚\u{83}„…†‡\u{88}‰\u{8A}‹\u{8C}¨ˇ¸\u{90}‘’“”•–—\u{98}™\u{9A}›\u{9C}¯˛\u{9F}\
    \u{A0}\u{A1}¢£¤\u{A5}¦§Ø©Ŗ«¬\u{AD}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽß\
    ąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙";
const ISO_8859_2: &str = "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8A}\u{8B}\u{8C}\u{8D}\
    \u{8E}\u{8F}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9A}\u{9B}\u{9C}\u{9D}\u{9E}\u{9F}\
    \u{A0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{AD}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";
const MAC_ROMAN: &str = "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{A0}\
    ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›\u{FB01}\u{FB02}‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{F8FF}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫\
    ╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_a_bijection() {
        for map in CHARMAPS.iter() {
            assert_eq!(map.upper.len(), 128);
            let text: String = (0x80..=0xff).map(|byte| map.decode(byte)).collect();
            assert_eq!(map.encode(&text), Some((0x80..=0xff).collect()));
        }
    }

    #[test]
    fn lost_bytes_are_only_known_to_sloppy_encodings() {
        for map in CHARMAPS.iter() {
            assert_eq!(map.encode("\u{fffd}").is_some(), map.sloppy);
            assert_eq!(map.encode("\u{1a}").is_none(), map.sloppy);
        }
    }
}
