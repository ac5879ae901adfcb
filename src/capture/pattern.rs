//! The built-in test picture: a moving box, a readable clock and frame number, colour bars, a flash once a
//! second that starts together with the beep of the tone (`capture::tone`), and a [stamp].
//!
//! | rows, of the height | what |
//! |---|---|
//! | 0.05 to 0.15, columns 0.4 to 0.6 | white during the first 100 ms of each second of `CLOCK_MONOTONIC`, else black |
//! | 0.18 to 0.40 | text |
//! | 0.43 to 0.53 | a box that crosses the picture every four seconds |
//! | 0.55 to 0.70 | eight bars of 75 % colour: white, yellow, cyan, green, magenta, red, blue, black |
//! | 0.72 to the stamp | noise, different in each picture, if that is configured: an encoder needs all of its bitrate |
//! | the last W/8 rows | the stamp |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Error, VideoSource};
use crate::clock::Pts;
use crate::media::frame::{Buffer, Frame, Matrix, PixelFormat, Range, Size};
use crate::media::i420::{I420, PlanesMut};
use crate::media::mode::Mode;
use crate::media::stamp::{self, Stamp};
use crate::media::text;

const SECOND_US: u64 = 1_000_000;
const FLASH_US: u64 = 100_000;
const BACKGROUND: u8 = 40;
const BLACK: u8 = 16;
const WHITE: u8 = 235;
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];
/// Length of the noise, of which each row shows a part; longer than the widest row.
const NOISE_BYTES: usize = 1 << 16;
/// Number of pictures kept for reuse: one being drawn, one waiting, one being encoded.
const POOL: usize = 3;

/// The test picture as a camera.
pub struct Pattern {
    mode: Mode,
    /// The noise; empty without any.
    noise: Vec<u8>,
    pool: Arc<Pool>,
    last: Option<u64>,
}

#[derive(Default)]
struct Pool(Mutex<Vec<I420>>);

struct Lent {
    picture: Option<I420>,
    pool: Arc<Pool>,
}

impl Buffer for Lent {
    fn plane(&self, index: usize) -> &[u8] {
        let (y, u, v) = self.picture.as_ref().map(I420::planes).unwrap_or_default();
        [y, u, v][index]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut pool = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOL {
            pool.extend(self.picture.take());
        }
    }
}

impl Pattern {
    /// Creates a test picture of `size` (rounded to even) with `fps` frames per second.
    pub fn new(size: Size, fps: u32) -> Self {
        let mode = Mode {
            size: size.even(),
            fps: f64::from(fps),
            format: Some(PixelFormat::Yu12),
            range: Some(Range::Limited),
        };
        Self { mode, noise: vec![], pool: Arc::default(), last: None }
    }

    /// The same with noise.
    pub fn with_noise(mut self) -> Self {
        let mut state = 1_u32;
        let noise = std::iter::from_fn(|| {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            Some(80 + (state >> 24) as u8 / 4)
        });
        self.noise = noise.take(NOISE_BYTES).collect();
        self
    }

    fn draw(&self, number: u64, pts: Pts) -> I420 {
        let pooled = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut picture = pooled.unwrap_or_else(|| coloured(self.mode.size));
        let (size, unix) = (picture.size(), pts.unix());
        let luma = picture.planes_mut().y;
        luma.fill(BACKGROUND);
        fill(luma, size, (0.4, 0.05), (0.6, 0.15), if flashing(pts) { WHITE } else { BLACK });
        for (from, to, [y, ..]) in bars() {
            fill(luma, size, from, to, y);
        }
        write_line(luma, size, 0, "peercam test picture");
        let at = (pts.as_micros() % (4 * SECOND_US)) as f64 / (4 * SECOND_US) as f64 * 0.9;
        fill(luma, size, (at, 0.43), (at + 0.1, 0.53), WHITE);
        write_line(luma, size, 1, &clock_text(unix));
        write_line(luma, size, 2, &format!("frame {number}"));
        Stamp::new(number, unix).draw(luma, size);
        if !self.noise.is_empty() {
            let width = size.width as usize;
            let rows = (size.height * 72 / 100) as usize..stamp::top(size);
            for row in rows.clone() {
                // At places that no encoder can predict from the previous picture.
                let from = number * 7_919 + (row - rows.start) as u64 * 104_729;
                let from = (from % (NOISE_BYTES - width) as u64) as usize;
                luma[row * width..][..width].copy_from_slice(&self.noise[from..][..width]);
            }
        }
        picture
    }
}

impl VideoSource for Pattern {
    fn mode(&self) -> Mode {
        self.mode
    }

    /// Frame `n` belongs to the time `n / fps` of the monotonic clock, so one frame falls on each full
    /// second. If the call is late, the frames in between are skipped.
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, Error> {
        let fps = self.mode.fps as u64;
        let now = Pts::now();
        let current = now.as_micros() * fps / SECOND_US;
        let number = self.last.map_or(current, |last| current.max(last + 1));
        let pts = Pts::from_micros((number * SECOND_US).div_ceil(fps));
        if pts.since(now) > timeout {
            std::thread::sleep(timeout);
            return Ok(None);
        }
        std::thread::sleep(pts.since(now));
        self.last = Some(number);
        let width = self.mode.size.width as usize;
        Ok(Some(Frame {
            pts,
            size: self.mode.size,
            format: PixelFormat::Yu12,
            range: Range::Limited,
            matrix: Matrix::Bt601,
            strides: [width, width / 2, width / 2],
            buffer: Box::new(Lent { picture: Some(self.draw(number, pts)), pool: self.pool.clone() }),
        }))
    }
}

/// Whether the flash is on; the tone beeps by the same rule.
pub fn flashing(pts: Pts) -> bool {
    pts.as_micros() % SECOND_US < FLASH_US
}

/// A picture with the colours, which stay as they are.
fn coloured(size: Size) -> I420 {
    let mut picture = I420::new(size);
    let PlanesMut { u, v, .. } = picture.planes_mut();
    let half = Size::new(size.width / 2, size.height / 2);
    for (from, to, [_, cb, cr]) in bars() {
        fill(u, half, from, to, cb);
        fill(v, half, from, to, cr);
    }
    // The stamp's chroma stays neutral, even where a very wide picture makes it overlap the bars.
    let covered = stamp::top(size) / 2 * half.width as usize;
    u[covered..].fill(128);
    v[covered..].fill(128);
    picture
}

/// The bars, each with its first and last corner in fractions of the picture, and its Y, Cb, Cr.
fn bars() -> impl Iterator<Item = ((f64, f64), (f64, f64), [u8; 3])> {
    let bar = |(i, rgb)| ((f64::from(i) / 8.0, 0.55), (f64::from(i + 1) / 8.0, 0.70), bt601(rgb));
    (0_u8..).zip(BARS).map(bar)
}

/// Writes one of the three lines of text.
fn write_line(luma: &mut [u8], size: Size, line: u32, text: &str) {
    let scale =
        text::scale_to_fit(size, "peercam test picture").min(size.height / 4 / (3 * text::LINE)).max(1);
    text::draw_centred(luma, size, scale, size.height * 18 / 100 + line * text::LINE * scale, text);
}

/// Fills a rectangle given in fractions of the plane's size.
fn fill(plane: &mut [u8], size: Size, from: (f64, f64), to: (f64, f64), value: u8) {
    let x = |part: f64| ((part * f64::from(size.width)) as usize).min(size.width as usize);
    let y = |part: f64| ((part * f64::from(size.height)) as usize).min(size.height as usize);
    for row in plane.chunks_exact_mut(size.width as usize).take(y(to.1)).skip(y(from.1)) {
        row[x(from.0)..x(to.0)].fill(value);
    }
}

/// Converts an RGB colour to Y, Cb, Cr (BT.601, limited range).
fn bt601([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (r, g, b) = (f64::from(r) / 255.0, f64::from(g) / 255.0, f64::from(b) / 255.0);
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    let (cb, cr) = ((b - y) / 1.772, (r - y) / 1.402);
    [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr].map(|v| v.round() as u8)
}

fn clock_text(unix: Duration) -> String {
    let s = unix.as_secs();
    format!("{:02}:{:02}:{:02}.{:03} UTC", s / 3600 % 24, s / 60 % 60, s % 60, unix.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_stamped_with_their_capture_time_and_evenly_spaced() {
        let mut pattern = Pattern::new(Size::new(321, 241), 30);
        let mut last: Option<(Pts, u16)> = None;
        for _ in 0..5 {
            let frame = pattern.next(Duration::from_secs(1)).expect("no error").expect("a frame");
            assert_eq!(frame.size, Size::new(320, 240));
            let stamp = Stamp::read(frame.buffer.plane(0), frame.size).expect("a stamp");
            let unix_ms = frame.pts.unix().as_millis() as u64 & ((1 << 40) - 1);
            assert!(stamp.unix_ms.abs_diff(unix_ms) <= 1);
            if let Some((pts, number)) = last.replace((frame.pts, stamp.frame)) {
                let frames = u64::from(stamp.frame.wrapping_sub(number));
                assert!(frames >= 1);
                assert!((frame.pts.since(pts).as_micros() as u64).abs_diff(frames * 33_333) <= 2 * frames);
            }
        }
    }

    #[test]
    fn bars_and_flash_are_where_the_table_says() {
        let pattern = Pattern::new(Size::new(640, 480), 30);
        let at = |p: &I420, x: f64, y: f64| p.planes().0[(y * 480.0) as usize * 640 + (x * 640.0) as usize];
        let dark = pattern.draw(1, Pts::from_micros(5 * SECOND_US + FLASH_US));
        let bright = pattern.draw(1, Pts::from_micros(5 * SECOND_US));
        assert_eq!((at(&dark, 0.5, 0.1), at(&bright, 0.5, 0.1)), (BLACK, WHITE));
        for (i, rgb) in BARS.into_iter().enumerate() {
            assert_eq!(at(&dark, (i as f64 + 0.5) / 8.0, 0.62), bt601(rgb)[0]);
        }
    }

    #[test]
    fn noise_is_different_in_each_picture_and_covers_nothing_else() {
        let size = Size::new(640, 480);
        let (plain, noisy) = (Pattern::new(size, 30), Pattern::new(size, 30).with_noise());
        let pts = Pts::from_micros(5 * SECOND_US);
        let many = 1 << 33; // after nine years; the processor may have 32 bits
        let [plain, first, second] =
            [plain.draw(many, pts), noisy.draw(many, pts), noisy.draw(many + 1, pts)];
        let rows = |picture: &I420| picture.planes().0.chunks(640).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let [plain, first, second] = [plain, first, second].map(|picture| rows(&picture));
        let different = |row: usize| first[row].iter().zip(&second[row]).filter(|(a, b)| a != b).count();
        for row in 346..400 {
            assert!(different(row) > 500, "row {row}: {}", different(row));
        }
        assert_eq!((&first[..345], &first[400..]), (&plain[..345], &plain[400..]));
    }

    #[test]
    fn nothing_stays_of_a_picture_that_was_drawn_in_the_same_memory() {
        // In small pictures the text covers other parts.
        for size in [Size::new(640, 480), Size::new(64, 36)] {
            let (used, fresh) = (Pattern::new(size, 30), Pattern::new(size, 30));
            for n in 0..40 {
                let pts = Pts::from_micros(7 * SECOND_US + n * 97_531);
                let picture = used.draw(n, pts);
                assert_eq!(picture.planes(), fresh.draw(n, pts).planes(), "{size}, {n}");
                used.pool.0.lock().expect("not poisoned").push(picture);
            }
        }
    }

    #[test]
    fn memory_is_reused() {
        let mut pattern = Pattern::new(Size::new(320, 240), 120);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10 {
            let frame = pattern.next(Duration::from_secs(1)).expect("no error").expect("a frame");
            seen.insert(frame.buffer.plane(0).as_ptr());
        }
        assert!(seen.len() <= POOL, "{seen:?}");
    }
}
