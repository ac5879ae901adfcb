//! Tidies a camera's JPEG: removes parts that confuse the decoder but don't belong to the picture.
//!
//! Cameras send a second start marker or the end of the previous picture first, comments and application
//! segments of any kind, a scan header of zeros, no end marker, and padding behind it all. The tidied copy
//! has only the parts of the picture, in their order. It costs at most 6 % of decoding: 0.3 of 5.6 ms at 720p
//! with 480 kB a picture.

use std::io::BufRead as _;

use crate::media::frame::Size;

pub(super) const SOI: u8 = 0xd8;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;
pub(super) const DHT: u8 = 0xc4;
pub(super) const DRI: u8 = 0xdd;
/// The first of the eight restart markers.
pub(super) const RST0: u8 = 0xd0;
const DQT: u8 = 0xdb;
const DAC: u8 = 0xcc;
const ADOBE: u8 = 0xee;

/// Whether it is a `SOFn` marker, which a frame header follows.
pub(super) fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, DHT | 0xc8 | DAC)
}

/// Whether a frame is baseline or extended sequential with Huffman codes, as in all cameras.
pub(super) fn is_sequential(marker: u8) -> bool {
    matches!(marker, 0xc0 | 0xc1)
}

pub(super) fn is_restart(marker: u8) -> bool {
    matches!(marker, RST0..=0xd7)
}

/// Iterates over markers, each with its segment (empty for markers without one), from the first start of a
/// picture on. Bytes between segments are skipped.
#[derive(Clone)]
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let at = bytes.windows(3).position(|three| three == [0xff, SOI, 0xff]).unwrap_or(bytes.len());
        Self { bytes, at }
    }

    /// Whether a different picture begins here.
    fn is_at_start(&self) -> bool {
        self.clone().next().is_some_and(|(marker, _)| marker == SOI)
    }

    /// The entropy-coded data after a scan header, up to the next marker that does not belong to them.
    pub(super) fn entropy(&mut self) -> &'a [u8] {
        let start = self.at;
        while let Some(before) = before_marker(&self.bytes[self.at..]) {
            let at = self.at + before;
            match self.bytes.get(at + 1) {
                Some(0xff) => self.at = at + 1,
                Some(&next) if next == 0 || is_restart(next) => self.at = at + 2,
                Some(_) => {
                    self.at = at;
                    return &self.bytes[start..at];
                }
                None => break,
            }
        }
        self.at = self.bytes.len();
        &self.bytes[start..]
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.at += before_marker(self.bytes.get(self.at..)?)?;
            // A marker may follow any number of 0xff bytes.
            self.at += self.bytes[self.at..].iter().position(|b| *b != 0xff)?;
            let marker = self.bytes[self.at];
            self.at += 1;
            if marker == 0 {
                continue; // not a marker
            }
            if marker == 1 || is_restart(marker) || matches!(marker, SOI | EOI) {
                return Some((marker, &[]));
            }
            let length = self.bytes.get(self.at..self.at + 2)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let Some(segment) = self.bytes.get(self.at + 2..self.at + length) else {
                continue; // its length is wrong
            };
            self.at += length;
            return Some((marker, segment));
        }
    }
}

/// Number of bytes before the first 0xff. `skip_until` uses the C library's `memchr`, which is several times
/// as fast as an iterator.
fn before_marker(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let passed = rest.skip_until(0xff).ok()?; // it can't fail: the bytes are in memory
    bytes[..passed].ends_with(&[0xff]).then(|| passed - 1)
}

/// The size in a JPEG's frame header.
pub fn size(jpeg: &[u8]) -> Option<Size> {
    let mut frames = Segments::new(jpeg).take_while(|(marker, _)| *marker != SOS);
    let (_, frame) = frames.find(|(marker, _)| is_frame(*marker))?;
    let [_, a, b, c, d, ..] = *frame else { return None };
    Some(Size::new(u16::from_be_bytes([c, d]).into(), u16::from_be_bytes([a, b]).into()))
}

/// Writes a tidied copy of the JPEG in `from` to `to`. The error explains why that is impossible.
pub(super) fn tidy(from: &[u8], to: &mut Vec<u8>) -> Result<(), &'static str> {
    to.clear();
    let mut segments = Segments::new(from);
    // Marker and number of components of the frame header; position of the restart interval.
    let (mut frame, mut interval, mut scans) = (None, None, 0);
    loop {
        let (marker, segment) = match segments.next() {
            Some((EOI, _)) if scans > 0 => break,
            // Nobody knows how many scans a picture with several should have.
            None if scans > 0 => return Err("it is cut off"),
            None if to.is_empty() => return Err("it does not begin as a JPEG"),
            None => return Err("it is cut off before the scan"),
            Some(next) => next,
        };
        match marker {
            SOI => {
                // Everything before was a different picture, or a part of one.
                (frame, interval, scans) = (None, None, 0);
                to.clear();
                to.extend([0xff, SOI]);
            }
            DQT | DHT | DAC => write(to, marker, segment),
            DRI => {
                interval = Some(to.len() + 4..to.len() + 4 + segment.len());
                write(to, marker, segment);
            }
            // It says what the components are, if the last byte is a known value.
            ADOBE if segment.starts_with(b"Adobe") && segment.get(11).is_some_and(|known| *known <= 2) => {
                write(to, marker, segment);
            }
            _ if is_frame(marker) => {
                frame = Some((marker, segment.get(5).copied().unwrap_or(0)));
                write(to, marker, segment);
            }
            SOS => {
                let Some((kind, components)) = frame else { return Err("it has no frame header") };
                write(to, marker, segment);
                if is_sequential(kind) && segment.len() >= 4 {
                    // The only values that are possible in such a frame; some cameras leave them zero.
                    let at = to.len() - 3;
                    to[at..].copy_from_slice(&[0, 63, 0]);
                }
                let data = segments.entropy();
                to.extend(data);
                scans += 1;
                let has_all = is_sequential(kind) && segment.first() == Some(&components);
                if has_all
                    && let Some(interval) = interval.take()
                    && !data.windows(2).any(|pair| pair[0] == 0xff && is_restart(pair[1]))
                {
                    to[interval].fill(0); // it announces markers, but there are none
                }
                if has_all && !segments.is_at_start() {
                    break;
                }
            }
            _ => {} // application data, comments, and segments for other kinds of pictures
        }
    }
    to.extend([0xff, EOI]);
    Ok(())
}

fn write(to: &mut Vec<u8>, marker: u8, segment: &[u8]) {
    // It was read with a length of 16 bits.
    let length = (segment.len() + 2) as u16;
    to.extend([0xff, marker]);
    to.extend(length.to_be_bytes());
    to.extend(segment);
}
