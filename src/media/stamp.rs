//! The test picture's stamp: a frame number and a capture time that any program can read from the pixels.
//!
//! Two rows of 32 cells at the bottom of the picture, cells `floor(W/32)` wide and twice as high, counted from
//! the left edge; the rest of the rows is black. A cell is black (0) or white (1). Most significant bit first, the
//! upper row holding the high half of: 16 bits frame number, 40 bits Unix time in ms (modulo 2^40), 8 bits
//! checksum (XOR of the seven bytes before, XOR 0x5A).

use std::time::Duration;

use super::frame::Size;

const CELLS: usize = 32;
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// The contents of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Frame number modulo 2^16.
    pub frame: u16,
    /// Unix time of the capture in milliseconds, modulo 2^40.
    pub unix_ms: u64,
}

impl Stamp {
    /// Creates the stamp of frame `number`, captured at `unix`.
    pub fn new(number: u64, unix: Duration) -> Self {
        Self { frame: number as u16, unix_ms: unix.as_millis() as u64 & ((1 << 40) - 1) }
    }

    fn bits(self) -> u64 {
        let bits = u64::from(self.frame) << 48 | self.unix_ms << 8;
        bits | u64::from(checksum(bits))
    }

    /// Draws it into the luma plane of a picture of `size`; its chroma must be neutral.
    pub fn draw(self, luma: &mut [u8], size: Size) {
        let (width, height) = (size.width as usize, size.height as usize);
        let cell = width / CELLS;
        for y in top(size)..height {
            let bits = (self.bits() >> if y < height.saturating_sub(2 * cell) { 32 } else { 0 }) as u32;
            let row = &mut luma[y * width..][..width];
            row.fill(BLACK);
            for (i, x) in row.chunks_exact_mut(cell.max(1)).take(CELLS).enumerate() {
                x.fill(if bits >> (31 - i) & 1 == 1 { WHITE } else { BLACK });
            }
        }
    }

    /// Reads it from a luma plane, sampling the centre of each cell; `None` if the checksum is wrong.
    pub fn read(luma: &[u8], size: Size) -> Option<Self> {
        let (width, height) = (size.width as usize, size.height as usize);
        let cell = width / CELLS;
        let mut bits = 0u64;
        for row in 0..2 {
            let y = (height.checked_sub((2 - row) * 2 * cell)?) + cell;
            for i in 0..CELLS {
                bits = bits << 1 | u64::from(*luma.get(y * width + i * cell + cell / 2)? > 126);
            }
        }
        let stamp = Self { frame: (bits >> 48) as u16, unix_ms: bits >> 8 & ((1 << 40) - 1) };
        (stamp.bits() == bits).then_some(stamp)
    }
}

/// First row of pixels of the stamp.
pub fn top(size: Size) -> usize {
    (size.height as usize).saturating_sub(4 * (size.width as usize / CELLS))
}

fn checksum(bits: u64) -> u8 {
    bits.to_be_bytes()[..7].iter().fold(0x5a, |sum, b| sum ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_read() {
        for (w, h) in [(320, 180), (640, 480), (1280, 720), (1920, 1080), (642, 480)] {
            let size = Size::new(w, h);
            let mut luma = vec![77; size.area() as usize];
            for n in [0u64, 1, 65_535, 65_536 + 5] {
                let stamp = Stamp::new(n, Duration::from_millis(1_795_123_456_789 + n));
                stamp.draw(&mut luma, size);
                assert_eq!(Stamp::read(&luma, size), Some(stamp), "{size}");
            }
            luma[(h as usize - 2) * w as usize..].fill(16);
            let lower = h as usize - w as usize / 32;
            luma[lower * w as usize..][..w as usize].fill(235);
            assert_eq!(Stamp::read(&luma, size), None, "a damaged stamp is no stamp");
        }
    }

    #[test]
    fn no_size_panics() {
        for size in [Size::new(2, 2), Size::new(62, 2), Size::new(1000, 10)] {
            let mut luma = vec![0; size.area() as usize];
            Stamp::new(1, Duration::ZERO).draw(&mut luma, size);
            let _ = Stamp::read(&luma, size);
        }
    }
}
