//! Input devices: cameras and microphones, and the test picture and test tone that replace them.

pub mod alsa;
pub mod cameras;
pub mod choice;
pub mod fallback;
pub mod microphones;
pub mod modes;
pub mod names;
pub mod pattern;
pub mod source;
pub mod tone;
pub mod v4l2;
pub mod wish;

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, io};

use crate::media::frame::Frame;
use crate::media::mode::Mode;

/// How long a camera may take from its start to its first frame; some take 5 s.
pub const FIRST_FRAME: Duration = Duration::from_secs(10);

/// Why a device can't be used, or stopped working. The device is retried in all cases; the text is shown to
/// viewers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such device: the test picture or tone may replace it.
    #[error("{0}")]
    None(String),
    /// The device is not available now, whatever its mode: unplugged, in use, forbidden, or its format has
    /// changed.
    #[error("{0}")]
    Unavailable(String),
    /// No frame or period arrived in time: the mode may be to blame.
    #[error("{0} stopped sending data")]
    Stalled(&'static str),
    /// The device lacks something that is needed, or its driver failed: the mode may be to blame.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    /// The camera or microphone `what` was unplugged, or its driver gave up.
    pub fn unplugged(what: &str) -> Self {
        Self::Unavailable(format!("{what} unplugged"))
    }

    /// Another program has `device` open.
    pub fn busy(device: impl fmt::Display) -> Self {
        Self::Unavailable(format!("{device} is in use by another program"))
    }

    /// This process may not open `device`.
    pub fn denied(device: impl fmt::Display) -> Self {
        Self::Unavailable(format!("no permission to open {device}"))
    }

    /// The size or layout of a camera's frames has changed: the camera must be opened again.
    pub fn changed() -> Self {
        Self::Unavailable("camera changed its format".into())
    }

    /// Any other error of the kernel in the call `what`.
    pub fn io(what: impl fmt::Display, source: &io::Error) -> Self {
        Self::Unusable(format!("{what}: {source}"))
    }
}

/// Numbers of frames of a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Frames captured.
    pub captured: u64,
    /// Frames lost, according to gaps in the driver's sequence numbers.
    pub lost: u64,
    /// Frames that are too short, or damaged according to the driver.
    pub damaged: u64,
}

/// A camera that is open and streaming, or the test picture.
pub trait VideoSource: Send {
    /// The current mode. It changes when a frame differs from what was negotiated.
    fn mode(&self) -> Mode;

    /// Returns the next frame, or `None` if none arrived within `timeout`.
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, Error>;

    /// Numbers of frames since the previous call.
    fn counted(&mut self) -> Counted {
        Counted::default()
    }

    /// Sets controls while streaming, and returns the problems, one sentence each.
    fn set_controls(&mut self, _wanted: &BTreeMap<String, i64>) -> Vec<String> {
        vec![]
    }

    /// Why the camera may deliver fewer frames than negotiated, if it may; many cameras do so in dim light.
    fn rate_note(&self) -> Option<String> {
        None
    }
}
