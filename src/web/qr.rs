//! QR codes for the page, so that a phone can scan a guest link.

use qrcode::{Color, EcLevel, QrCode};
use serde::Serialize;

/// A QR code without its quiet zone.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Qr {
    /// Width and height in modules.
    pub size: usize,
    /// The dark modules as the `d` of an SVG path: a rectangle for each run in a row, with modules of size 1.
    pub path: String,
}

impl Qr {
    /// Encodes a text; `None` if it is too long.
    pub(super) fn of(text: &str) -> Option<Self> {
        // A screen is clean, so the lowest error correction is enough and keeps the code small.
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let size = code.width();
        let mut path = String::new();
        for (y, row) in code.to_colors().chunks(size).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                if run.first() == Some(&Color::Dark) {
                    let long = run.len();
                    path += &format!("M{x} {y}h{long}v1h-{long}z");
                }
                x += run.len();
            }
        }
        Some(Self { size, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dark_modules_are_drawn_and_no_other() {
        let text = "https://device.local:8443/#guest=AAAAAAAAAAAAAAAAAAAAAA";
        let Qr { size, path } = Qr::of(text).unwrap();
        let mut drawn = vec![Color::Light; size * size];
        for run in path.split('M').skip(1) {
            let (x, rest) = run.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (long, rest) = rest.split_once("v1h-").unwrap();
            assert_eq!(rest, format!("{long}z"));
            let at = y.parse::<usize>().unwrap() * size + x.parse::<usize>().unwrap();
            drawn[at..at + long.parse::<usize>().unwrap()].fill(Color::Dark);
        }
        assert_eq!(drawn, QrCode::with_error_correction_level(text, EcLevel::L).unwrap().to_colors());
        assert_eq!(Qr::of(&"x".repeat(4000)), None);
    }
}
