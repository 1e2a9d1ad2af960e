//! Finds images that were cut short although they decode.

/// Whether an encoded image is whole as far as its structure tells. The decoder reports a cut of every kind but JPEG,
/// whose missing part it fills with gray.
///
/// The error is a sentence for the user.
pub fn check(image: &[u8]) -> Result<(), String> {
    if !image.starts_with(b"\xff\xd8") || ends(image) {
        return Ok(());
    }
    Err("the JPEG is cut short: its end marker is missing".into())
}

/// Whether the end-of-image marker of a JPEG is reached. Those of thumbnails inside of segments do not count, and
/// what follows the image does not matter.
fn ends(jpeg: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // Coded data until a marker: FF, any number of fill bytes FF, then a code. FF00 is a coded FF; D0 to D7 and 01
        // stand alone within the data.
        let Some(found) = jpeg
            .get(at..)
            .and_then(|rest| rest.iter().position(|&byte| byte == 0xff))
        else {
            return false;
        };
        at += found + 1;
        match jpeg.get(at) {
            None => return false,
            Some(0xff) => {}
            Some(0x00 | 0x01 | 0xd0..=0xd7) => at += 1,
            Some(0xd9) => return true,
            Some(_) => {
                let Some(&[high, low]) = jpeg.get(at + 1..at + 3) else {
                    return false;
                };
                at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::jpeg;
    use super::*;

    #[test]
    fn every_cut_of_a_jpeg_is_found() {
        let whole = jpeg(40, 30, 7);
        check(&whole).unwrap();
        for len in 2..whole.len() {
            assert!(check(&whole[..len]).is_err(), "{len} of {}", whole.len());
        }
        let followed = [whole.as_slice(), b"a second picture"].concat();
        check(&followed).unwrap();
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_that_of_the_image() {
        let thumbnail = jpeg(8, 8, 1);
        let whole = jpeg(40, 30, 7);
        let length = (thumbnail.len() as u16 + 2).to_be_bytes();
        let with = [&whole[..2], &[0xff, 0xe1], &length, &thumbnail, &whole[2..]].concat();
        check(&with).unwrap();
        assert!(check(&with[..with.len() - 2]).is_err());
    }

    #[test]
    fn other_kinds_are_left_to_the_decoder() {
        for bytes in [&b""[..], b"\x89PNG", b"RIFF"] {
            check(bytes).unwrap();
        }
    }
}
