//! The printable character that stands for each byte in the tokens of a byte-level BPE (GPT-2's alphabet).

/// The character of a byte: itself where it is printable Latin-1, otherwise one from U+0100 on.
pub fn byte_to_char(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte of a character, if it stands for one.
pub fn char_to_byte(c: char) -> Option<u8> {
    (0..=u8::MAX).find(|&byte| byte_to_char(byte) == c)
}

/// The bytes in the order in which CLIP numbers them: first those that are printable.
pub fn alphabet() -> impl Iterator<Item = u8> {
    let (printable, other): (Vec<u8>, Vec<u8>) =
        (0..=u8::MAX).partition(|&byte| is_printable(byte));
    printable.into_iter().chain(other)
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut next) = (0, 0x100);
    while byte < 256 {
        let code = if is_printable(byte as u8) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        if let Some(c) = char::from_u32(code) {
            chars[byte] = c;
        }
        byte += 1;
    }
    chars
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut chars: Vec<char> = alphabet().map(byte_to_char).collect();
        assert!(alphabet().all(|byte| char_to_byte(byte_to_char(byte)) == Some(byte)));
        chars.sort_unstable();
        chars.dedup();
        assert_eq!(chars.len(), 256);
        assert_eq!(
            (byte_to_char(b' '), byte_to_char(b'\n'), byte_to_char(0xad)),
            ('Ġ', 'Ċ', 'Ń')
        );
        assert_eq!([' ', '\u{144}', '一'].map(char_to_byte), [None, None, None]);
    }
}
