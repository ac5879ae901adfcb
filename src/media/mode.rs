//! What a camera delivers, or is asked for.

use serde::Serialize;

use super::frame::{PixelFormat, Range, Size};

/// Size, rate and layout of video.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mode {
    /// Pixels.
    #[serde(flatten)]
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Layout; `None` where any will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<PixelFormat>,
    /// Range of raw samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}
