//! Devices in: cameras, microphones, and the test picture and tone that stand in for them.

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

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, io};

use crate::media::frame::Frame;
use crate::media::mode::Mode;

/// How long a camera may take from its start to its first frame: some take 5 s.
pub const FIRST_FRAME: Duration = Duration::from_secs(10);

/// Why a device can't be used, or stopped being usable. All are retried; the text is shown to viewers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of its kind is there: a test picture or tone may stand in.
    #[error("{0}")]
    None(String),
    /// Not to be had now, which says nothing of its modes: unplugged, in use, forbidden, or its format has changed.
    #[error("{0}")]
    Unavailable(String),
    /// No frame or period came in time: its mode may be to blame.
    #[error("{0} stopped sending data")]
    Stalled(&'static str),
    /// It can't do what we need, or its driver failed: its mode may be to blame.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    /// A camera or microphone (`what`) was unplugged, or its driver gave up.
    pub fn unplugged(what: &str) -> Self {
        Self::Unavailable(format!("{what} unplugged"))
    }

    /// Somebody else has `device` open.
    pub fn busy(device: impl fmt::Display) -> Self {
        Self::Unavailable(format!("{device} is in use by another program"))
    }

    /// We may not open `device`.
    pub fn denied(device: impl fmt::Display) -> Self {
        Self::Unavailable(format!("no permission to open {device}"))
    }

    /// The size or layout of a camera's pictures changed under us: it is to be opened again.
    pub fn changed() -> Self {
        Self::Unavailable("camera changed its format".into())
    }

    /// Anything else the kernel said of the call `what`.
    pub fn io(what: impl fmt::Display, source: &io::Error) -> Self {
        Self::Unusable(format!("{what}: {source}"))
    }
}

/// Numbers of frames of a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Taken from the driver, as pictures.
    pub captured: u64,
    /// The driver says that it lost them (gaps in its sequence numbers).
    pub lost: u64,
    /// The driver says that they are damaged, or they are too short.
    pub damaged: u64,
}

/// A camera that is open and streaming, or the test picture.
pub trait VideoSource: Send {
    /// What it delivers. Another after a frame that is unlike what was agreed on.
    fn mode(&self) -> Mode;

    /// The next frame, waiting at most `timeout`; `None` when that passed without one.
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, Error>;

    /// What has happened to its frames since this was asked last.
    fn counted(&mut self) -> Counted {
        Counted::default()
    }

    /// Sets controls while it streams, and returns what was wrong with them, one sentence each.
    fn set_controls(&mut self, _wanted: &BTreeMap<String, i64>) -> Vec<String> {
        vec![]
    }

    /// Why it may deliver fewer frames than agreed, if it may: in dim light many cameras do.
    fn rate_note(&self) -> Option<String> {
        None
    }
}
