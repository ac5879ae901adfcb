//! One raw (or MJPEG) picture as a camera delivers it, in memory that may belong to a driver.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Pts;

/// The largest picture that is captured and encoded, either way up: more than level 5.2 of H.264 holds is refused by
/// OpenH264.
pub const LARGEST: Size = Size::new(3840, 2160);

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size from its two numbers.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Whether it is within `most`, either way up.
    pub const fn fits(self, most: Self) -> bool {
        self.width <= most.width && self.height <= most.height
            || self.width <= most.height && self.height <= most.width
    }

    /// The same without an odd last column or row, as I420 needs it: colour is stored once for two by two pixels.
    pub const fn even(self) -> Self {
        Self::new(self.width & !1, self.height & !1)
    }

    /// Pixels in all.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The pixel layouts we read, named by the kernel's FourCC.
/// The multi-planar variants (`NM12`, `NM21`, `YM12`) differ only in where planes live, so they count as the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PixelFormat {
    /// Packed 4:2:2, Y0 Cb Y1 Cr.
    Yuyv,
    /// Packed 4:2:2, Cb Y0 Cr Y1.
    Uyvy,
    /// 4:2:0, a luma plane and one of interleaved Cb Cr.
    Nv12,
    /// 4:2:0, a luma plane and one of interleaved Cr Cb.
    Nv21,
    /// 4:2:0, three planes (I420).
    Yu12,
    /// Luma only, 8 bits.
    Grey,
    /// One JPEG picture, full-range BT.601.
    Mjpg,
}

impl PixelFormat {
    /// Every layout there is.
    pub const ALL: [Self; 7] =
        [Self::Yuyv, Self::Uyvy, Self::Nv12, Self::Nv21, Self::Yu12, Self::Grey, Self::Mjpg];

    /// The kernel's FourCC as text.
    pub const fn fourcc(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Uyvy => "UYVY",
            Self::Nv12 => "NV12",
            Self::Nv21 => "NV21",
            Self::Yu12 => "YU12",
            Self::Grey => "GREY",
            Self::Mjpg => "MJPG",
        }
    }

    /// How many planes a frame of this layout has.
    pub const fn planes(self) -> usize {
        match self {
            Self::Yuyv | Self::Uyvy | Self::Grey | Self::Mjpg => 1,
            Self::Nv12 | Self::Nv21 => 2,
            Self::Yu12 => 3,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fourcc())
    }
}

/// Which numbers mean black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// 16 to 235 (video).
    Limited,
    /// 0 to 255 (JPEG).
    Full,
}

/// Which weights of red, green and blue make luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601: webcams, and JPEG always.
    Bt601,
    /// ITU-R BT.709: HDMI capture of HD pictures.
    Bt709,
}

/// Memory lent for one frame; dropping it gives it back to whoever owns it.
pub trait Buffer: Send {
    /// Bytes of plane `index`, which is below the layout's `planes()`. An MJPEG frame has just the bytes used.
    fn plane(&self, index: usize) -> &[u8];
}

/// One picture as captured.
pub struct Frame {
    /// When it was captured.
    pub pts: Pts,
    /// Visible pixels.
    pub size: Size,
    /// Layout of the planes.
    pub format: PixelFormat,
    /// Range of raw samples (MJPEG is always full).
    pub range: Range,
    /// Weights of raw samples (MJPEG is always BT.601).
    pub matrix: Matrix,
    /// Bytes from row to row, per plane; unused for MJPEG.
    pub strides: [usize; 3],
    /// The bytes.
    pub buffer: Box<dyn Buffer>,
}
