//! Devices in: cameras, microphones, and the test picture and tone that stand in for them.

pub mod alsa;
pub mod cameras;
pub mod fallback;
pub mod microphones;
pub mod modes;
pub mod pattern;
pub mod source;
pub mod tone;
pub mod v4l2;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::media::frame::Frame;
use crate::status::Mode;

/// How long a camera may take from its start to its first frame: some take 5 s.
pub const FIRST_FRAME: Duration = Duration::from_secs(10);

/// Why a device can't be used, or stopped being usable. All are retried; the text is shown to viewers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of its kind is there.
    #[error("{0}")]
    None(String),
    /// Unplugged, or its driver gave up.
    #[error("{0} unplugged")]
    Gone(&'static str),
    /// No frame or period came in time.
    #[error("{0} stopped delivering")]
    Stalled(&'static str),
    /// Somebody else has it open.
    #[error("{0} is busy: another program uses it")]
    Busy(String),
    /// We may not open it.
    #[error("no permission to open {0}")]
    Denied(String),
    /// It can't do what we need; the text says what and what to do.
    #[error("{0}")]
    Unusable(String),
    /// The size or layout changed under us: open again.
    #[error("{0} changed its format")]
    Changed(&'static str),
    /// Anything else the kernel said.
    #[error("{what}: {source}")]
    Io {
        /// The call that failed, and on what.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A camera that is open and streaming, or the test picture.
pub trait VideoSource: Send {
    /// What it delivers. Another after a frame that is unlike what was agreed on.
    fn mode(&self) -> Mode;

    /// The next frame, waiting at most `timeout`; `None` when that passed without one.
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, Error>;

    /// Sets controls while it streams, and returns what was wrong with them, one sentence each.
    fn set_controls(&mut self, _wanted: &BTreeMap<String, i64>) -> Vec<String> {
        vec![]
    }

    /// Why it may deliver fewer frames than agreed, if it may: in dim light many cameras do.
    fn rate_note(&self) -> Option<String> {
        None
    }
}
