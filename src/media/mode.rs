//! A mode of video, as requested from or delivered by a camera.

use serde::Serialize;

use super::frame::{PixelFormat, Range, Size};

/// Size, rate and layout of video.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mode {
    /// Size in pixels.
    #[serde(flatten)]
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Layout; `None` if any layout is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<PixelFormat>,
    /// Range of the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}
