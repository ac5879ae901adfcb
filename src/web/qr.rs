//! A text as a QR code that the page draws: a guest link, for a phone to take.

use qrcode::{Color, EcLevel, QrCode};
use serde::Serialize;

/// A QR code without its quiet zone.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Qr {
    /// Modules each way.
    pub size: usize,
    /// The dark ones, as the `d` of an SVG path: a rectangle for each run of a row, a module being 1 wide and high.
    pub path: String,
}

impl Qr {
    /// `None`: the text is too long for one.
    pub fn of(text: &str) -> Option<Self> {
        // From a clean screen, so the least correction does and keeps it small.
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
