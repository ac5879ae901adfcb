//! QR codes for terminals.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsRawFd as _;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Columns of the terminal on standard output; `None` if it is not a terminal, or the size is unknown.
pub fn columns() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes to a winsize, which this is, and standard output stays open.
    let done = unsafe { libc::ioctl(out.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

/// `text` as a QR code of half blocks, if it fits into `columns`. It is black on white regardless of the terminal's
/// colours, because many phones can't read white on black.
pub fn qr(text: &str, columns: usize) -> Option<String> {
    const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
    const AS_BEFORE: &str = "\x1b[0m";
    // A screen is clean, so the lowest error correction is enough and keeps the code small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let picture = code.render::<Dense1x2>().build();
    if picture.lines().next()?.chars().count() > columns {
        return None;
    }
    Some(picture.lines().map(|line| format!("{BLACK_ON_WHITE}{line}{AS_BEFORE}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairing_link_fits_a_terminal() {
        let link = format!("https://192.168.100.200:8443/#pair={}", "x".repeat(22));
        let picture = qr(&link, 80).unwrap();
        let (width, height) =
            (picture.lines().next().unwrap().matches(['█', '▀', '▄', ' ']).count(), picture.lines().count());
        assert!(width <= 45 && height <= 23, "{width}x{height}");
        assert_eq!(qr(&link, width - 1), None);
        assert_eq!(qr(&"x".repeat(10_000), 10_000), None);
    }
}
