//! A raw (or MJPEG) picture as delivered by a camera, in memory that may belong to a driver.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Pts;

/// The largest picture that is captured and encoded, in either orientation: OpenH264 refuses more than level
/// 5.2 of H.264 allows.
pub const LARGEST: Size = Size::new(3840, 2160);

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    /// Creates a size from its two numbers.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Whether it is within `most`, in either orientation.
    pub const fn fits(self, most: Self) -> bool {
        self.width <= most.width && self.height <= most.height
            || self.width <= most.height && self.height <= most.width
    }

    /// The size without an odd last column or row: I420 stores colour once for two by two pixels.
    pub const fn even(self) -> Self {
        Self::new(self.width & !1, self.height & !1)
    }

    /// Number of pixels.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The supported pixel layouts, named by the kernel's FourCC. The multi-planar variants (`NM12`, `NM21`,
/// `YM12`) differ only in the location of their planes, so each counts as the plain layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PixelFormat {
    /// Packed 4:2:2, Y0 Cb Y1 Cr.
    Yuyv,
    /// Packed 4:2:2, Cb Y0 Cr Y1.
    Uyvy,
    /// 4:2:0, with a luma plane and a plane of interleaved Cb Cr.
    Nv12,
    /// 4:2:0, with a luma plane and a plane of interleaved Cr Cb.
    Nv21,
    /// 4:2:0, three planes (I420).
    Yu12,
    /// Luma only, 8 bits.
    Grey,
    /// One JPEG picture, full-range BT.601.
    Mjpg,
}

impl PixelFormat {
    /// All layouts.
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

    /// Number of planes in a frame of this layout.
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

/// The sample values of black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// 16 to 235 (video).
    Limited,
    /// 0 to 255 (JPEG).
    Full,
}

/// The weights of red, green and blue in luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601: used by webcams, and always by JPEG.
    Bt601,
    /// ITU-R BT.709: used for HDMI capture in HD.
    Bt709,
}

/// Memory lent for one frame; dropping it returns it to its owner.
pub trait Buffer: Send {
    /// The bytes of plane `index`, which must be below the layout's `planes()`. For MJPEG, only the bytes in
    /// use.
    fn plane(&self, index: usize) -> &[u8];
}

/// A captured picture.
pub struct Frame {
    /// Capture time.
    pub pts: Pts,
    /// Size of the visible picture.
    pub size: Size,
    /// Pixel layout.
    pub format: PixelFormat,
    /// Range of the samples (MJPEG is always full range).
    pub range: Range,
    /// Matrix of the samples (MJPEG is always BT.601).
    pub matrix: Matrix,
    /// Bytes per row, for each plane; unused for MJPEG.
    pub strides: [usize; 3],
    /// The pixel data.
    pub buffer: Box<dyn Buffer>,
}
