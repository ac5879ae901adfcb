//! Checks by the Huffman codes alone whether all blocks of a picture are there.
//!
//! The decoder reports only the first fault, so after a few extra bytes before a restart marker it says
//! nothing about missing data behind them. For such pictures the codes are read once more, without decoding
//! samples, and more strictly: no undefined codes, no block with more than 64 coefficients, and no more bytes
//! behind the last block than cameras add. (Where a piece is missing in the middle, codes are read from the
//! wrong bit on. They seem to form shorter blocks, and much data is left over.) Pictures that decode without
//! any report are not checked: it takes 0.7 times as long as decoding.

use std::sync::LazyLock;

use super::segments::{DHT, DRI, RST0, SOS, Segments, is_frame, is_restart, is_sequential};

/// Whether the only scan of this tidied JPEG has all of its blocks. False for kinds of pictures that cameras
/// don't send: this check can't handle them.
pub(super) fn is_complete(tidy: &[u8]) -> bool {
    read(tidy).is_some_and(|complete| complete)
}

/// Number of coefficients in a block.
const BLOCK: u32 = 64;
/// Largest bit size of a difference between two DC coefficients of 8-bit samples.
const MOST_DC_BITS: u8 = 11;

/// The most extra bytes, of any value, that a camera adds before a restart marker, and at the end of the
/// picture. Behind these, any number of equal bytes may follow.
const BEFORE_RESTART: usize = 16;
const AT_END: usize = 64;
/// The only value that stands for zeros alone.
const SIXTEEN_ZEROS: u8 = 0xf0;

/// A Huffman table (T.81, annex C), for codes at the top of 16 bits.
#[derive(Clone)]
struct Table {
    /// By the first 8 bits: the length and value of the code; length 0 if the code is longer.
    short: [(u8, u8); 256],
    /// By length: one more than the largest code of this length, at the top of 16 bits.
    limits: [u32; 17],
    /// By length: what to add to a code to get the index of its value.
    offsets: [i32; 17],
    values: Vec<u8>,
}

impl Table {
    /// Creates a table with `counts[n]` codes of `n + 1` bits. `None` if there are too many.
    fn new(counts: &[u8], values: &[u8]) -> Option<Self> {
        let mut table =
            Self { short: [(0, 0); 256], limits: [0; 17], offsets: [0; 17], values: values.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16usize {
            table.offsets[length] = index as i32 - code as i32;
            for value in values.get(index..index + usize::from(counts[length - 1]))? {
                if code >= 1 << length {
                    return None;
                }
                if length <= 8 {
                    let first = (code as usize) << (8 - length);
                    table.short[first..first + (1 << (8 - length))].fill((length as u8, *value));
                }
                code += 1;
                index += 1;
            }
            table.limits[length] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Length and value of the code at the start of `bits`, which are 16 bits.
    fn find(&self, bits: u32) -> Option<(u32, u8)> {
        let (length, value) = self.short[(bits >> 8) as usize];
        if length > 0 {
            return Some((length.into(), value));
        }
        let length = (9..=16).find(|length| bits < self.limits[*length])?;
        let index = (bits >> (16 - length)) as i32 + self.offsets[length];
        Some((length as u32, *self.values.get(usize::try_from(index).ok()?)?))
    }
}

/// DC and AC tables by their number, as far as they are defined.
#[derive(Clone, Default)]
struct Tables([[Option<Table>; 4]; 2]);

impl Tables {
    /// Adds the tables that a `DHT` segment defines.
    fn define(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [which, rest @ ..] = segment {
            let (counts, rest) = rest.split_at_checked(16)?;
            let (values, rest) = rest.split_at_checked(counts.iter().map(|n| usize::from(*n)).sum())?;
            let table = self.0.get_mut(usize::from(which >> 4))?.get_mut(usize::from(which & 15))?;
            *table = Some(Table::new(counts, values)?);
            segment = rest;
        }
        Some(())
    }
}

/// The tables of T.81's annex K, used for a JPEG without tables: the encoder writes them into every picture.
static STANDARD: LazyLock<Tables> = LazyLock::new(|| {
    let (width, height, pitch, format) = (1, 1, 3, turbojpeg::PixelFormat::RGB);
    let pixel = turbojpeg::Image { pixels: &[0u8; 3][..], width, pitch, height, format };
    let mut tables = Tables::default();
    if let Ok(jpeg) = turbojpeg::compress(pixel, 50, turbojpeg::Subsamp::Sub2x2) {
        let head = Segments::new(&jpeg).take_while(|(marker, _)| *marker != SOS);
        for (_, segment) in head.filter(|(marker, _)| *marker == DHT) {
            tables.define(segment);
        }
    }
    tables
});

/// Reads the codes of the first scan. `None` if it can't be read.
fn read(tidy: &[u8]) -> Option<bool> {
    let (mut tables, mut frame, mut interval) = (STANDARD.clone(), None, 0);
    let mut segments = Segments::new(tidy);
    while let Some((marker, segment)) = segments.next() {
        match marker {
            DHT => tables.define(segment)?,
            DRI => interval = u16::from_be_bytes([*segment.first()?, *segment.get(1)?]).into(),
            SOS => {
                let (blocks, mcus) = mcus(frame?, segment, &tables)?;
                let data = segments.entropy();
                let mut bits = Bits { data, held: 0, count: 0 };
                bits.skip_mcus(&blocks, mcus, interval)?;
                let end = data.len() - bits.data.len() - (bits.count / 8) as usize;
                return Some(bits.leaves_padding(AT_END) && end <= filled_up_from(data) + 1);
            }
            _ if is_sequential(marker) => frame = Some(segment),
            _ if is_frame(marker) => return None,
            _ => {}
        }
    }
    None
}

/// The start of the equal bytes at the end of `data`. Such bytes are codes too, often of a whole grey
/// picture, so a picture that was cut off in a buffer filled up with them ends among them. A byte of the
/// picture may look like them.
fn filled_up_from(data: &[u8]) -> usize {
    let Some(last) = data.last() else { return 0 };
    data.iter().rposition(|byte| byte != last).map_or(0, |different| different + 1)
}

/// The DC and AC tables of each block of an MCU, and the number of MCUs.
fn mcus<'a>(frame: &[u8], scan: &[u8], tables: &'a Tables) -> Option<(Vec<[&'a Table; 2]>, u32)> {
    let [8, h1, h0, w1, w0, count, components @ ..] = frame else { return None };
    let [scanned, selectors @ ..] = scan else { return None };
    let count = usize::from(*count);
    if usize::from(*scanned) != count || components.len() != count * 3 {
        return None;
    }
    // Blocks of a component in one MCU. In a scan with a single component, an MCU is one block.
    let factor =
        |n: u8| Some(u32::from(n)).filter(|n| (1..=4).contains(n)).map(|n| if count == 1 { 1 } else { n });
    let (mut most_wide, mut most_high, mut blocks) = (1, 1, vec![]);
    for (component, selector) in components.chunks_exact(3).zip(selectors.chunks_exact(2)) {
        let (wide, high) = (factor(component[1] >> 4)?, factor(component[1] & 15)?);
        (most_wide, most_high) = (wide.max(most_wide), high.max(most_high));
        let table = |class: usize, number: u8| tables.0[class].get(usize::from(number))?.as_ref();
        let both = [table(0, selector[1] >> 4)?, table(1, selector[1] & 15)?];
        blocks.extend((0..wide * high).map(|_| both));
    }
    let size = |high: &u8, low: &u8| u32::from(u16::from_be_bytes([*high, *low]));
    Some((blocks, size(w1, w0).div_ceil(8 * most_wide) * size(h1, h0).div_ceil(8 * most_high)))
}

/// Entropy-coded data, read bit by bit.
struct Bits<'a> {
    data: &'a [u8],
    /// The next `count` bits, at the bottom.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Buffers at least 32 bits, if there are that many before the next marker. Call it with fewer than 32.
    fn fill(&mut self) {
        if let Some((four, rest)) = self.data.split_first_chunk() {
            let word = u32::from_be_bytes(*four);
            // No byte of the word is 0xff.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held = self.held << 32 | u64::from(word);
                self.count += 32;
                self.data = rest;
                return;
            }
        }
        while self.count <= 48 {
            let byte = match *self.data {
                [0xff, 0, ..] => {
                    self.data = &self.data[2..];
                    0xff
                }
                [0xff, 0xff, ..] => {
                    self.data = &self.data[1..];
                    continue;
                }
                [0xff, ..] | [] => return,
                [byte, ..] => {
                    self.data = &self.data[1..];
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// Reads the next code, and skips as many bits behind it as the lower half of its value says.
    fn code(&mut self, table: &Table) -> Option<u8> {
        if self.count < 32 {
            self.fill();
        }
        // Zeros follow the end of the data; they must not be needed.
        let next =
            if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) };
        let (length, value) = table.find(next as u32 & 0xffff)?;
        self.count = self.count.checked_sub(length + u32::from(value & 15))?;
        Some(value)
    }

    /// Skips all MCUs, with a restart marker after every `interval` of them unless it is 0.
    fn skip_mcus(&mut self, blocks: &[[&Table; 2]], mcus: u32, interval: u32) -> Option<()> {
        for mcu in 0..mcus {
            if interval > 0 && mcu > 0 && mcu.is_multiple_of(interval) {
                let expected = RST0 + ((mcu / interval - 1) % 8) as u8;
                self.restart().filter(|marker| *marker == expected)?;
            }
            for [dc, ac] in blocks {
                self.skip_block(dc, ac)?;
            }
        }
        Some(())
    }

    fn skip_block(&mut self, dc: &Table, ac: &Table) -> Option<()> {
        if self.code(dc)? > MOST_DC_BITS {
            return None;
        }
        let mut at = 1;
        while at < BLOCK {
            at += match self.code(ac)? {
                0 => return Some(()), // the rest is zero
                value if value & 15 == 0 && value != SIXTEEN_ZEROS => return None,
                value => u32::from(value >> 4) + 1,
            };
        }
        (at == BLOCK).then_some(())
    }

    /// Takes the next restart marker, if there is only padding before it.
    fn restart(&mut self) -> Option<u8> {
        let at = self.data.windows(2).position(|pair| pair[0] == 0xff && is_restart(pair[1]))?;
        let (rest, marker) = (&self.data[at + 2..], self.data[at + 1]);
        self.data = &self.data[..at];
        let padding = self.leaves_padding(BEFORE_RESTART);
        (self.data, self.count) = (rest, 0);
        padding.then_some(marker)
    }

    /// Whether only padding is left: at most `most` bytes before a run of equal ones.
    fn leaves_padding(&self, most: usize) -> bool {
        filled_up_from(self.data) + (self.count / 8) as usize <= most
    }
}
