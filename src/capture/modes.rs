//! Chooses a camera's mode: the wanted size and frame rate for the least CPU. Pure policy without device
//! access.

use std::cmp::Ordering;
use std::fmt;

use crate::media::frame::{LARGEST, PixelFormat, Size};

/// A pixel format code of the kernel (`V4L2_PIX_FMT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourCc(pub u32);

impl FourCc {
    /// The code of four characters.
    pub const fn new(text: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*text))
    }

    /// The layout that the code stands for, if it is supported.
    pub fn pixel_format(self) -> Option<PixelFormat> {
        Some(match &self.0.to_le_bytes() {
            b"YUYV" => PixelFormat::Yuyv,
            b"UYVY" => PixelFormat::Uyvy,
            b"NV12" | b"NM12" => PixelFormat::Nv12,
            b"NV21" | b"NM21" => PixelFormat::Nv21,
            b"YU12" | b"YM12" => PixelFormat::Yu12,
            b"GREY" => PixelFormat::Grey,
            b"MJPG" | b"JPEG" => PixelFormat::Mjpg,
            _ => return None,
        })
    }

    /// Whether it is raw sensor data: a Bayer mosaic, or grey with more than 8 bits.
    pub fn is_raw_sensor(self) -> bool {
        let code = self.0.to_le_bytes();
        let bayer8 = [*b"BA81", *b"GBRG", *b"GRBG", *b"RGGB", *b"BYR2"];
        // BG10, GB12, ... unpacked; pBAA, pgCC, ... packed; Y10P, Y12 , Y14P: grey.
        let unpacked = matches!(&code[..2], b"BG" | b"GB" | b"GR" | b"BA" | b"RG" | b"BD");
        bayer8.contains(&code)
            || unpacked && code[2] == b'1'
            || matches!(&code, b"RG16" | b"GR16" | b"GB16")
            || code[0] == b'p' && matches!(code[1], b'B' | b'G' | b'g' | b'R') && code[2] == code[3]
            || code[0] == b'Y' && code[1] == b'1'
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0.to_le_bytes();
        let text = code.map(|b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '?' });
        f.write_str(text.iter().collect::<String>().trim_end())
    }
}

/// Frame interval in seconds, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Numerator; not zero.
    pub num: u32,
    /// Denominator; not zero.
    pub den: u32,
}

impl Interval {
    /// The interval for `fps` frames per second.
    pub const fn of_rate(fps: u32) -> Self {
        Self { num: 1, den: fps }
    }

    /// Frames per second.
    pub fn fps(self) -> f64 {
        f64::from(self.den) / f64::from(self.num)
    }
}

/// The sizes in which a format is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// A single size.
    One(Size),
    /// Any size from `min` to `max`, in steps from `min`. (Continuous sizes have a step of 1.)
    Range {
        /// Smallest size.
        min: Size,
        /// Largest size.
        max: Size,
        /// Step between sizes; not zero.
        step: Size,
    },
}

impl Sizes {
    /// The size nearest to `wanted`, not above it if there is such a size.
    pub fn nearest(self, wanted: Size) -> Size {
        let fit = |wanted: u32, min: u32, max: u32, step: u32| {
            let clamped = wanted.clamp(min, max.max(min));
            min + (clamped - min) / step.max(1) * step.max(1)
        };
        match self {
            Self::One(size) => size,
            Self::Range { min, max, step } => Size::new(
                fit(wanted.width, min.width, max.width, step.width),
                fit(wanted.height, min.height, max.height, step.height),
            ),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(size) => size.fmt(f),
            Self::Range { min, max, .. } => write!(f, "{min} to {max}"),
        }
    }
}

/// Frame rates at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rates {
    /// The driver doesn't report them.
    Unknown,
    /// A list of intervals.
    List(Vec<Interval>),
    /// Any interval between the two.
    Range {
        /// Shortest interval.
        fastest: Interval,
        /// Longest interval.
        slowest: Interval,
    },
}

impl Rates {
    /// The interval nearest to `fps`.
    fn nearest(&self, fps: f64) -> Option<Interval> {
        let wanted = Interval { num: 1000, den: (fps * 1000.0).round().clamp(1.0, 1e9) as u32 };
        match self {
            Self::Unknown => Some(wanted),
            Self::List(list) => {
                let distance = |i: &Interval| rate_distance(i.fps(), fps);
                list.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b)))
            }
            Self::Range { fastest, .. } if fps >= fastest.fps() => Some(*fastest),
            Self::Range { slowest, .. } if fps <= slowest.fps() => Some(*slowest),
            Self::Range { .. } => Some(wanted),
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short =
            |i: &Interval| format!("{:.2}", i.fps()).trim_end_matches('0').trim_end_matches('.').to_owned();
        match self {
            Self::Unknown => f.write_str("any rate"),
            Self::List(list) => write!(f, "{} fps", list.iter().map(short).collect::<Vec<_>>().join(", ")),
            Self::Range { fastest, slowest } => write!(f, "{} to {} fps", short(slowest), short(fastest)),
        }
    }
}

/// What a camera offers: a format in one size or a range of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Pixel format.
    pub format: FourCc,
    /// Sizes of the frames.
    pub sizes: Sizes,
    /// Frame rates at these sizes; for a range, those at the size nearest to the wanted one.
    pub rates: Rates,
}

/// The mode that the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Size in pixels.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// The only layout to use, if the configuration names one.
    pub format: Option<PixelFormat>,
}

/// A mode to request from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The kernel's code of the format.
    pub fourcc: FourCc,
    /// The layout that the code stands for.
    pub format: PixelFormat,
    /// Size in pixels.
    pub size: Size,
    /// Frame interval.
    pub interval: Interval,
}

/// The mode with the wanted size and rate for the least CPU, or the nearest one.
pub fn pick(offered: &[Offered], wanted: Wanted) -> Option<Picked> {
    rank(offered, wanted).into_iter().next()
}

/// The best mode of each layout, best first: modes to try when a driver refuses the first one.
pub fn rank(offered: &[Offered], wanted: Wanted) -> Vec<Picked> {
    let mut all: Vec<(Distance, Picked)> = offered.iter().filter_map(|offer| rate(offer, wanted)).collect();
    all.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| by_cost(x, y)));
    let mut best: Vec<Picked> = vec![];
    for (_, mode) in all {
        if best.iter().all(|b| b.format != mode.format) {
            best.push(mode);
        }
    }
    best
}

fn by_cost(x: &Picked, y: &Picked) -> Ordering {
    // Where a driver offers both, `JPEG` is for single pictures: bcm2835-v4l2 makes them with its still
    // encoder.
    let for_stills = |mode: &Picked| mode.fourcc == FourCc::new(b"JPEG");
    cost(x).total_cmp(&cost(y)).then(for_stills(x).cmp(&for_stills(y)))
}

/// How far a mode is from the wanted one, in order of importance. All zero means that it is the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    /// A picture without colours comes after any with colours.
    colourless: bool,
    /// Distance of size and rate together, in units of [`STEP`].
    steps: u32,
    /// Distance of the size alone. Of 1280x720 at 30 fps and 1360x768 at 25 fps, the former is nearer to
    /// 1280x720 at 25 fps.
    size_steps: u32,
}

/// Modes nearer to each other than this count as equal: 29.97 and 30 frames per second, 1280x716 and
/// 1280x720.
const STEP: f64 = 0.05;

/// The mode of `offer` nearest to the wanted one, and its distance.
fn rate(offer: &Offered, wanted: Wanted) -> Option<(Distance, Picked)> {
    let format = offer.format.pixel_format()?;
    if wanted.format.is_some_and(|only| only != format) {
        return None;
    }
    let size = offer.sizes.nearest(wanted.size);
    if size.width < 2 || size.height < 2 || !size.fits(LARGEST) {
        return None;
    }
    let interval = offer.rates.nearest(wanted.fps)?;
    let steps = |distance: f64| (distance / STEP).round() as u32;
    let size_distance = size_distance(size, wanted.size);
    let distance = Distance {
        colourless: format == PixelFormat::Grey,
        steps: steps(size_distance + rate_distance(interval.fps(), wanted.fps)),
        size_steps: steps(size_distance),
    };
    Some((distance, Picked { fourcc: offer.format, format, size, interval }))
}

/// Distances are differences of logarithms, so that half is as far away as double. A larger picture costs CPU
/// time and bits that nobody asked for, so its distance counts one and a half times.
fn size_distance(size: Size, wanted: Size) -> f64 {
    let side = |got: u32, wanted: u32| (f64::from(got) / f64::from(wanted.max(1))).ln();
    let (w, h) = (side(size.width, wanted.width), side(size.height, wanted.height));
    let far = w.abs() + h.abs();
    if w + h > 0.0 { far * 1.5 } else { far }
}

/// Like [`size_distance`], but here the slower rate counts one and a half times: people notice stutter.
fn rate_distance(fps: f64, wanted: f64) -> f64 {
    let far = (fps / wanted).ln();
    if far < 0.0 { far * -1.5 } else { far }
}

/// CPU time per second to convert the mode to I420, in arbitrary units. The figures are milliseconds per
/// megapixel, measured on one core, times 20: for copying rows, splitting chroma, unpacking, and decoding
/// JPEG.
fn cost(mode: &Picked) -> f64 {
    let per_pixel = match mode.format {
        PixelFormat::Yu12 | PixelFormat::Grey => 1.0,
        PixelFormat::Nv12 | PixelFormat::Nv21 => 1.3,
        PixelFormat::Yuyv | PixelFormat::Uyvy => 2.0,
        PixelFormat::Mjpg => 44.0,
    };
    per_pixel * mode.size.area() as f64 * mode.interval.fps()
}

#[cfg(test)]
mod cameras;
#[cfg(test)]
mod tests;
