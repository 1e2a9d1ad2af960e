//! The few header fields that decide how Pillow resizes an image and that decoders do not report.

/// Kinds of PNG file that Pillow resizes differently.
pub(super) enum Png {
    /// Colours without an alpha channel, or 8-bit gray.
    Opaque,
    /// Gray of 16 bits.
    Gray16,
    /// Gray or colours with an alpha channel.
    Alpha,
    /// Indexed colours, or gray of 1 bit.
    PaletteOrBilevel,
}

/// Kind, width and height of a PNG file.
pub(super) fn png(bytes: &[u8]) -> Option<(Png, u32, u32)> {
    if bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let kind = match (*bytes.get(24)?, *bytes.get(25)?) {
        (1, 0) | (_, 3) => Png::PaletteOrBilevel,
        (16, 0) => Png::Gray16,
        (_, 4 | 6) => Png::Alpha,
        _ => Png::Opaque,
    };
    Some((kind, number(16)?, number(20)?))
}

/// Whether the global palette of a GIF file is a gray ramp, where the index is the gray value.
pub(super) fn gif_is_gray(bytes: &[u8]) -> bool {
    let flags = bytes.get(10).copied().unwrap_or_default();
    let palette = bytes.get(13..13 + (6 << (flags & 7))).unwrap_or_default();
    flags & 128 != 0 && is_gray_ramp(palette.as_chunks().0)
}

/// Whether a BMP file has a palette that is more than a gray ramp. Two colours count as one, ramp or not.
pub(super) fn bmp_has_palette(bytes: &[u8]) -> bool {
    let short = |at| {
        bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .map(|b| u16::from_le_bytes(*b))
    };
    let long = |at| {
        bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .map(|b| u32::from_le_bytes(*b))
    };
    // The header of OS/2 has short fields, and palette entries of three bytes.
    let (Some(header_size), Some(core)) = (long(14), long(14).map(|size| size == 12)) else {
        return false;
    };
    let bits = if core { short(24) } else { short(28) }.unwrap_or_default();
    if !(1..=8).contains(&bits) {
        return false;
    }
    let count = match if core {
        0
    } else {
        long(46).unwrap_or_default()
    } {
        0 => 1 << bits,
        colours => (colours as usize).min(256),
    };
    let palette = bytes
        .get(14_usize.saturating_add(header_size as usize)..)
        .unwrap_or_default();
    let ramp = match core {
        true => is_gray_ramp(palette.as_chunks::<3>().0.get(..count).unwrap_or_default()),
        false => {
            let entries = palette.as_chunks::<4>().0.get(..count).unwrap_or_default();
            is_gray_ramp(
                &entries
                    .iter()
                    .map(|[b, g, r, _]| [*r, *g, *b])
                    .collect::<Vec<_>>(),
            )
        }
    };
    // Two colours make a bilevel image or a palette.
    count == 2 || !ramp
}

fn is_gray_ramp(palette: &[[u8; 3]]) -> bool {
    !palette.is_empty()
        && palette
            .iter()
            .zip(0..=255)
            .all(|(colour, index)| *colour == [index; 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BMP header of 40 bytes (12 for OS/2) and a palette of `count` entries.
    fn bmp(bits: u8, count: u8, os2: bool, colour: fn(u8) -> [u8; 3]) -> Vec<u8> {
        let mut file = vec![0; if os2 { 14 + 12 } else { 14 + 40 }];
        file[14] = if os2 { 12 } else { 40 };
        file[if os2 { 24 } else { 28 }] = bits;
        if !os2 {
            file[46] = count;
        }
        for index in 0..count {
            file.extend(colour(index));
            if !os2 {
                file.push(0);
            }
        }
        file
    }

    #[test]
    fn gray_ramps_are_not_palettes() {
        assert!(!bmp_has_palette(&bmp(8, 200, false, |i| [i; 3])));
        assert!(!bmp_has_palette(&bmp(4, 16, true, |i| [i; 3])));
        assert!(!bmp_has_palette(&bmp(24, 0, false, |i| [i; 3])));
        assert!(bmp_has_palette(&bmp(8, 200, false, |i| [i, i, 7])));
        assert!(bmp_has_palette(&bmp(4, 16, true, |i| [i, 7, i])));
        assert!(bmp_has_palette(&bmp(1, 2, false, |i| [i * 255; 3])));
    }

    #[test]
    fn the_global_palette_of_a_gif_is_read() {
        let gif = |flags: u8, colour: fn(u8) -> [u8; 3]| {
            let mut file = b"GIF89a\0\0\0\0\0\0\0".to_vec();
            file[10] = flags;
            file.extend((0..8).flat_map(colour));
            file
        };
        assert!(gif_is_gray(&gif(0x82, |i| [i; 3])));
        assert!(!gif_is_gray(&gif(0x82, |i| [i, i, 0])));
        assert!(!gif_is_gray(&gif(0x02, |i| [i; 3])));
        assert!(!gif_is_gray(b"GIF89a"));
    }

    #[test]
    fn a_png_without_a_header_has_no_kind() {
        assert!(png(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT").is_none());
        assert!(png(b"").is_none());
    }
}
