//! Image files from anywhere: whatever the bytes are, the answer is an image or an error, never a panic, and nothing
//! is allocated for a size that is refused.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use coca_model::Error;
use coca_model::preprocess::{
    ColourOrder, DecodeOptions, PreprocessConfig, Preprocessor, decode_rgb,
};
use proptest::prelude::*;

/// One valid file for each decoder and colour type.
const FILES: [&str; 12] = [
    "rgb_small_50x40.png",
    "rgba_130x115.png",
    "palette_trns_115x120.png",
    "bilevel_120x118.png",
    "gray16_120x116.png",
    "jpeg_exif6_150x120.jpg",
    "jpeg_cmyk_128x120.jpg",
    "jpeg_gray_128x120.jpg",
    "jpeg_q90_333x251.jpg",
    "webp_lossless_128x120.webp",
    "gif_120x120.gif",
    "bmp_71x69.bmp",
];

/// Keeps what a decoder may allocate for a damaged size small.
const OPTIONS: DecodeOptions = DecodeOptions {
    max_pixels: 200_000,
    apply_exif_orientation: true,
};

fn golden(name: &str) -> Vec<u8> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/preprocess");
    fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Must not panic; a decoded image is of the right size.
fn try_all(bytes: &[u8]) {
    let preprocessor = Preprocessor::new(PreprocessConfig::for_size(24, 16)).unwrap();
    for order in [ColourOrder::RgbFirst, ColourOrder::Direct] {
        if let Ok(image) = preprocessor.decode_crop(bytes, &OPTIONS, order) {
            assert_eq!(image.dimensions(), (16, 24));
        }
    }
}

fn patched(name: &str, at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = golden(name);
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn absurd_sizes_are_refused_before_decoding() {
    let mut png = patched(
        "rgb_small_50x40.png",
        16,
        &[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60],
    );
    // The checksum of the header with both sides 60000, so that nothing but the size is wrong.
    png[29..33].copy_from_slice(&0x0FB0_E215_u32.to_be_bytes());
    let jpeg = golden("jpeg_q90_333x251.jpg");
    let frame = jpeg
        .windows(2)
        .position(|marker| marker == [0xFF, 0xC0])
        .unwrap();
    for (bytes, width, height) in [
        (png, 60_000, 60_000),
        (
            patched("jpeg_q90_333x251.jpg", frame + 5, &[0xFF; 4]),
            65_535,
            65_535,
        ),
        (patched("gif_120x120.gif", 6, &[0xFF; 4]), 65_535, 65_535),
        (
            patched("webp_lossless_128x120.webp", 21, &[0xFE, 0xBF, 0xFF, 0x0F]),
            16_383,
            16_383,
        ),
        (
            patched("bmp_71x69.bmp", 18, &[0x60, 0xEA, 0, 0, 0x60, 0xEA, 0, 0]),
            60_000,
            60_000,
        ),
    ] {
        match decode_rgb(&bytes, &DecodeOptions::default()) {
            Err(Error::ImageTooLarge {
                width: w,
                height: h,
                limit,
            }) => {
                assert_eq!((w, h, limit), (width, height, 100_000_000));
            }
            other => panic!("{width} x {height}: {other:?}"),
        }
    }
}

#[test]
fn a_line_longer_than_any_decoder_allows_is_refused() {
    // 100000 x 1: few pixels, but more columns than a resize should have weights for.
    let bmp = patched("bmp_71x69.bmp", 18, &[0xA0, 0x86, 1, 0, 1, 0, 0, 0]);
    assert!(matches!(
        decode_rgb(&bmp, &DecodeOptions::default()),
        Err(Error::ImageDecode(_))
    ));
}

#[test]
fn other_files_and_empty_ones_are_refused() {
    for bytes in [
        &b""[..],
        b"<svg/>",
        b"II*\0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"\xFF\xD8\xFF",
    ] {
        let error = decode_rgb(bytes, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, Error::ImageDecode(_)), "{bytes:?}: {error}");
    }
}

#[test]
fn every_file_is_valid_as_it_is() {
    for name in FILES {
        decode_rgb(&golden(name), &OPTIONS).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn exif_turns_the_image_upright() {
    let file = golden("jpeg_exif6_150x120.jpg");
    let as_stored = decode_rgb(
        &file,
        &DecodeOptions {
            apply_exif_orientation: false,
            ..OPTIONS
        },
    )
    .unwrap();
    let upright = decode_rgb(&file, &OPTIONS).unwrap();
    assert_eq!(upright, image::imageops::rotate90(&as_stored));
}

#[test]
fn canvas_pixels_equal_the_same_image_file() {
    let preprocessor = Preprocessor::new(PreprocessConfig::for_size(64, 48)).unwrap();
    let file = golden("rgba_130x115.png");
    let rgba = image::load_from_memory(&file).unwrap().into_rgba8();
    let canvas = preprocessor.prepare_rgba(130, 115, rgba.as_raw()).unwrap();
    assert_eq!(canvas, preprocessor.prepare(&file).unwrap());
    assert_eq!(canvas.len(), 3 * 64 * 48);
    for (width, height) in [(115, 131), (0, 0), (u32::MAX, u32::MAX)] {
        let error = preprocessor
            .prepare_rgba(width, height, rgba.as_raw())
            .unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    assert!(matches!(
        preprocessor.prepare_rgba(0, 7, &[]),
        Err(Error::Input(_))
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), file in 0..FILES.len(), keep in 0_usize..64) {
        try_all(&bytes);
        let mut behind_a_header = golden(FILES[file]);
        behind_a_header.truncate(keep);
        behind_a_header.extend(&bytes);
        try_all(&behind_a_header);
    }

    #[test]
    fn damaged_files(
        file in 0..FILES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = golden(FILES[file]);
        for (at, value, near_the_start) in changes {
            let range = if near_the_start { bytes.len().min(128) } else { bytes.len() };
            bytes[at.index(range)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
    }
}
