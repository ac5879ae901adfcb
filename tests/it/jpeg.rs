//! Pictures for the software webcam: colour bars and a stamp, as JPEG.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::browser::BARS;

/// `count` pictures, concatenated, numbered in their stamps from 0: bars in the middle, grey above and below,
/// the stamp at the bottom. A webcam's JPEG is 4:2:2, BT.601, full range.
pub(crate) fn movie(width: usize, height: usize, count: u16) -> Vec<u8> {
    let mut compressor = Compressor::new().expect("turbojpeg starts");
    compressor.set_quality(90).expect("a quality in 1..=100");
    compressor.set_subsamp(Subsamp::Sub2x1).expect("a subsampling of colour pictures");
    (0..count)
        .flat_map(|number| {
            let pixels = picture(width, height, number);
            let image =
                Image { pixels: &pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
            compressor.compress_to_vec(image).expect("a picture of 8-bit RGB")
        })
        .collect()
}

fn picture(width: usize, height: usize, number: u16) -> Vec<u8> {
    let cell = width / 32;
    let stamp = stamp(number);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let from_bottom = height - y;
            let pixel = if from_bottom <= 4 * cell {
                let row = usize::from(from_bottom <= 2 * cell);
                let column = x / cell;
                let white = column < 32 && stamp >> (63 - row * 32 - column) & 1 == 1;
                [if white { 255 } else { 0 }; 3]
            } else if (height * 11 / 20..height * 14 / 20).contains(&y) {
                BARS[x * 8 / width].map(|v| v as u8)
            } else {
                // Moves, so that a frozen picture is noticed.
                [((x + usize::from(number) * 4) % width * 128 / width) as u8 + 64; 3]
            };
            pixels.extend(pixel);
        }
    }
    pixels
}

/// The 64 bits of a stamp: number, an arbitrary time, checksum.
fn stamp(number: u16) -> u64 {
    let [high, low] = number.to_be_bytes();
    let octets = [high, low, 0x12, 0x34, 0x56, 0x78, 0x9a];
    u64::from_be_bytes(std::array::from_fn(|i| {
        octets.get(i).copied().unwrap_or_else(|| octets.iter().fold(0x5a, |sum, octet| sum ^ octet))
    }))
}
