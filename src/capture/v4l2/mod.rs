//! A V4L2 camera, opened in the chosen mode; its frames are lent out without a copy.

mod bus;
mod coded;
#[allow(non_upper_case_globals)] // the kernel's constants as bindgen names them, in patterns
pub mod controls;
#[allow(non_upper_case_globals)]
pub mod node;
mod raw;
mod stamp;
mod stream;
mod trouble;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use v4l::v4l_sys::*;

use super::choice::Choice;
use super::modes::Picked;
use super::{Counted, Error, VideoSource};
use crate::clock::Pts;
use crate::media::frame::{Buffer as _, Frame, LARGEST, PixelFormat, Range};
use crate::media::mjpeg;
use crate::media::mode::Mode;
use coded::Coded;
use node::Agreed;
use stream::{Filled, Layout, Stream};

pub use raw::Node;
pub(super) use stream::open;

/// A gap in the driver's frame numbers longer than this means that the counter restarted, not that frames
/// were lost.
const LONGEST_GAP: u32 = 1_000;
/// A camera is given up if only damaged or short buffers arrive for this long, or for [`UNUSABLE_INTERVALS`]
/// frame intervals if that is longer. After a transfer error some drivers return nothing else.
const UNUSABLE: Duration = Duration::from_secs(2);
const UNUSABLE_INTERVALS: f64 = 4.0;

/// A streaming camera. Dropping it stops the stream immediately; its memory is freed with the last lent
/// frame. Until then the kernel keeps the number of its node in use: code that loses a camera must also drop
/// its frames, or the camera comes back with a different `/dev/videoN`.
pub struct Camera {
    stream: Stream,
    path: PathBuf,
    mode: Mode,
    agreed: Agreed,
    layout: Layout,
    coded: Coded,
    /// Since when only damaged or short buffers have arrived.
    unusable: Option<Pts>,
    watches_source: bool,
    warnings: Vec<String>,
    last_pts: Option<Pts>,
    last_sequence: Option<u32>,
    counted: Counted,
}

impl Camera {
    /// Opens and starts the chosen camera.
    ///
    /// Tries its modes in order for as long as the driver reports a lack of bus bandwidth.
    pub fn open(choice: &Choice) -> Result<Self, Error> {
        let mut refused = None;
        for mode in &choice.modes {
            match Self::open_mode(choice, *mode) {
                Err(Refusal::NoRoom(e)) => refused = refused.or(Some(e)),
                Err(Refusal::Failed(e)) => return Err(e),
                Ok(camera) => return Ok(camera),
            }
        }
        Err(refused.unwrap_or_else(|| no_mode(choice)))
    }

    /// The mode that [`Camera::open`] would use, as far as the driver reports it without starting: the
    /// camera's light stays off.
    pub fn negotiate(choice: &Choice) -> Result<Mode, Error> {
        let mode = choice.modes.first().ok_or_else(|| no_mode(choice))?;
        Ok(Negotiated::with(&choice.path, &open(&choice.path)?, *mode)?.mode)
    }

    fn open_mode(choice: &Choice, mode: Picked) -> Result<Self, Refusal> {
        let path = &choice.path;
        let node = open(path)?;
        let warnings = node.set_controls(&choice.controls);
        let Negotiated { kind, agreed, layout, mode } = Negotiated::with(path, &node, mode)?;
        let watches_source = node.watch_source();
        let stream = Stream::start(node, kind, agreed.planes, layout).map_err(|e| {
            let no_room = e.raw_os_error() == Some(libc::ENOSPC);
            let error = trouble::opening("starting", path, e);
            if no_room { Refusal::NoRoom(error) } else { Refusal::Failed(error) }
        })?;
        Ok(Self {
            stream,
            path: path.clone(),
            mode,
            coded: Coded::new(mode.size),
            unusable: None,
            agreed,
            layout,
            watches_source,
            warnings,
            last_pts: None,
            last_sequence: None,
            counted: Counted::default(),
        })
    }

    /// Problems with the requested controls, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns an error if only damaged buffers have arrived for too long.
    fn check_usable(&self) -> Result<(), Error> {
        let patience = UNUSABLE.max(Duration::from_secs_f64(UNUSABLE_INTERVALS / self.mode.fps.max(0.1)));
        match self.unusable {
            Some(since) if Pts::now().since(since) > patience => {
                let format = self.layout.format();
                Err(unusable(&self.path, &format!("delivers only damaged or short buffers in {format}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes a buffer, if one is filled.
    fn take(&mut self) -> Result<Option<Frame>, Error> {
        let filled =
            self.stream.dequeue().map_err(|e| trouble::streaming(self.stream.node(), &self.path, e))?;
        let (buf, lent) = match filled {
            None => return Ok(None),
            Some(Filled::Picture(buf, lent)) => (buf, Some(lent)),
            Some(Filled::Damaged(buf)) => (buf, None),
        };
        self.counted.lost += u64::from(gap(self.last_sequence.replace(buf.sequence), buf.sequence));
        let Some(lent) = lent else {
            self.counted.damaged += 1;
            self.unusable.get_or_insert(Pts::now());
            return Ok(None);
        };
        self.unusable = None;
        if self.layout.format() == PixelFormat::Mjpg
            && let Some(size) = self.coded.observe(mjpeg::size(lent.plane(0)))
        {
            self.mode.size = size;
        }
        self.counted.captured += 1;
        let pts = stamp::capture_time(buf.flags, stamp::pts(buf.timestamp), Pts::now(), self.last_pts);
        self.last_pts = Some(pts);
        Ok(Some(Frame {
            pts,
            size: self.mode.size,
            format: self.layout.format(),
            range: self.mode.range.unwrap_or(Range::Limited),
            matrix: self.agreed.matrix,
            strides: self.layout.strides,
            buffer: Box::new(lent),
        }))
    }
}

impl VideoSource for Camera {
    fn set_controls(&mut self, wanted: &BTreeMap<String, i64>) -> Vec<String> {
        self.stream.node().set_controls(wanted)
    }

    fn counted(&mut self) -> Counted {
        std::mem::take(&mut self.counted)
    }

    fn rate_note(&self) -> Option<String> {
        self.stream.node().rate_note()
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let node = self.stream.node();
            let ready =
                node.poll(left, self.watches_source).map_err(|e| trouble::streaming(node, &self.path, e))?;
            if ready.event && node.source_changed() {
                return Err(Error::changed());
            }
            if ready.frame || ready.broken {
                if let Some(frame) = self.take()? {
                    return Ok(Some(frame));
                }
                if ready.broken && !ready.frame {
                    // The stream is broken, but dequeueing gives no reason.
                    let stopped = std::io::Error::other("the driver stopped the stream");
                    return Err(trouble::streaming(self.stream.node(), &self.path, stopped));
                }
            }
            self.check_usable()?;
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

/// What a driver agreed to.
struct Negotiated {
    /// `V4L2_BUF_TYPE_*`
    kind: u32,
    agreed: Agreed,
    layout: Layout,
    mode: Mode,
}

impl Negotiated {
    /// Sets format and rate of a node that is not streaming.
    fn with(path: &Path, node: &Node, mode: Picked) -> Result<Self, Error> {
        let failed = |what| move |e| trouble::opening(what, path, e);
        let caps = node.caps().map_err(failed("querying"))?;
        let kind = caps.capture_kind().ok_or_else(|| unusable(path, "does not capture video"))?;
        let agreed =
            node.set_format(kind, mode.fourcc, mode.size).map_err(failed("setting the format of"))?;
        if agreed.format != mode.fourcc {
            return Err(unusable(
                path,
                &format!("delivers {} although it offers {}", agreed.format, mode.fourcc),
            ));
        }
        if !agreed.size.fits(LARGEST) {
            let why =
                format!("delivers only {}, and frames larger than {LARGEST} can't be encoded", agreed.size);
            return Err(unusable(path, &why));
        }
        let separate = [
            v4l2_field_V4L2_FIELD_SEQ_TB,
            v4l2_field_V4L2_FIELD_SEQ_BT,
            v4l2_field_V4L2_FIELD_ALTERNATE,
            v4l2_field_V4L2_FIELD_TOP,
            v4l2_field_V4L2_FIELD_BOTTOM,
        ];
        if separate.contains(&agreed.field) {
            return Err(unusable(
                path,
                "delivers its two interlaced fields separately, which is not supported",
            ));
        }
        let interval = node.set_interval(kind, mode.interval).unwrap_or(mode.interval);
        let layout = Layout::new(mode.format, &agreed).ok_or_else(|| {
            unusable(path, &format!("reports an invalid layout of {} frames of {}", mode.format, agreed.size))
        })?;
        let range = if mode.format == PixelFormat::Mjpg { Range::Full } else { agreed.range };
        let mode =
            Mode { size: agreed.size, fps: interval.fps(), format: Some(mode.format), range: Some(range) };
        Ok(Self { kind, agreed, layout, mode })
    }
}

/// Why a mode could not be started.
enum Refusal {
    /// The bus has too little bandwidth: a different layout may fit.
    NoRoom(Error),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::Unusable(format!("{} {why}", path.display()))
}

fn no_mode(choice: &Choice) -> Error {
    unusable(&choice.path, "has no usable mode")
}

/// Number of frames that the driver counted but never delivered.
fn gap(last: Option<u32>, sequence: u32) -> u32 {
    let missing = last.map_or(0, |last| sequence.wrapping_sub(last).saturating_sub(1));
    if missing <= LONGEST_GAP { missing } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_new_counters_are_not() {
        assert_eq!(gap(None, 17), 0);
        assert_eq!(gap(Some(17), 18), 0);
        assert_eq!(gap(Some(17), 21), 3);
        assert_eq!(gap(Some(u32::MAX), 1), 1, "the counter wrapped");
        assert_eq!(gap(Some(500), 0), 0, "the counter restarted");
        assert_eq!(gap(Some(5), 5), 0);
    }
}
