//! A V4L2 camera: opened in the mode that was chosen, its frames lent out without a copy.

#[allow(non_upper_case_globals)] // the kernel's constants as bindgen names them, in patterns
pub mod controls;
#[allow(non_upper_case_globals)]
pub mod node;
mod raw;
mod stamp;
mod stream;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use v4l::v4l_sys::*;

use super::cameras::Choice;
use super::modes::Picked;
use super::{Error, VideoSource};
use crate::clock::Pts;
use crate::media::frame::{Frame, PixelFormat, Range};
use crate::status::{Mode, Status};
use node::Agreed;
use stream::{Filled, Layout, Stream};

pub use raw::Node;
pub(super) use stream::open;

/// A gap in a driver's frame numbers longer than this is a counter that began anew, not frames that were lost.
const LONGEST_GAP: u32 = 1_000;

/// A camera that streams. Dropping it stops it at once; its memory goes with the last frame it lent. Until then the
/// kernel keeps the number of its node taken: whoever loses a camera must drop its frames too, or it comes back as
/// another `/dev/videoN`.
pub struct Camera {
    stream: Stream,
    path: PathBuf,
    mode: Mode,
    format: PixelFormat,
    agreed: Agreed,
    layout: Layout,
    watches_source: bool,
    last_pts: Option<Pts>,
    last_sequence: Option<u32>,
    status: Arc<Status>,
}

impl Camera {
    /// Opens the chosen camera and starts it. Frames, gaps and damaged buffers are counted in `status`.
    ///
    /// Modes are tried in the order of choice while the driver says that the bus has no room for them.
    pub fn open(choice: &Choice, status: &Arc<Status>) -> Result<Self, Error> {
        let mut refused = None;
        for mode in &choice.modes {
            match Self::open_mode(choice, *mode, status) {
                Err(Refusal::NoRoom(e)) => refused = refused.or(Some(e)),
                Err(Refusal::Failed(e)) => return Err(e),
                Ok(camera) => return Ok(camera),
            }
        }
        Err(refused
            .unwrap_or_else(|| Error::Unusable(format!("{} has no mode to use", choice.path.display()))))
    }

    fn open_mode(choice: &Choice, mode: Picked, status: &Arc<Status>) -> Result<Self, Refusal> {
        let path = &choice.path;
        let failed = |what| move |e| Refusal::Failed(trouble::opening(what, path, e));
        let node = open(path)?;
        let caps = node.caps().map_err(failed("asking"))?;
        let kind = caps.capture_kind().ok_or_else(|| unusable(path, "does not capture video"))?;
        let warnings = node.set_controls(&choice.controls);

        let agreed =
            node.set_format(kind, mode.fourcc, mode.size).map_err(failed("setting the format of"))?;
        if agreed.format != mode.fourcc {
            return Err(unusable(path, &format!("gives {} though it offers {}", agreed.format, mode.fourcc)));
        }
        let separate = [
            v4l2_field_V4L2_FIELD_SEQ_TB,
            v4l2_field_V4L2_FIELD_SEQ_BT,
            v4l2_field_V4L2_FIELD_ALTERNATE,
            v4l2_field_V4L2_FIELD_TOP,
            v4l2_field_V4L2_FIELD_BOTTOM,
        ];
        if separate.contains(&agreed.field) {
            return Err(unusable(path, "delivers its two fields (interlaced) apart, which is not supported"));
        }
        let interval = node.set_interval(kind, mode.interval).unwrap_or(mode.interval);
        let layout = Layout::new(mode.format, &agreed).ok_or_else(|| {
            unusable(
                path,
                &format!("describes {} of {} in a way that makes no sense", mode.format, agreed.size),
            )
        })?;
        let watches_source = node.watch_source();
        let stream = Stream::start(node, kind, agreed.planes, layout).map_err(|e| {
            let no_room = e.raw_os_error() == Some(libc::ENOSPC);
            let error = trouble::opening("starting", path, e);
            if no_room { Refusal::NoRoom(error) } else { Refusal::Failed(error) }
        })?;

        for warning in warnings {
            tracing::warn!("{}: {warning}", choice.name);
        }
        let range = if mode.format == PixelFormat::Mjpg { Range::Full } else { agreed.range };
        Ok(Self {
            stream,
            path: path.clone(),
            mode: Mode {
                size: agreed.size,
                fps: interval.fps(),
                format: Some(mode.format),
                range: Some(range),
            },
            format: mode.format,
            agreed,
            layout,
            watches_source,
            last_pts: None,
            last_sequence: None,
            status: status.clone(),
        })
    }

    /// Takes one buffer, if one is filled.
    fn take(&mut self) -> Result<Option<Frame>, Error> {
        let counters = &self.status.counters;
        let filled =
            self.stream.dequeue().map_err(|e| trouble::streaming(self.stream.node(), &self.path, e))?;
        let (buf, lent) = match filled {
            None => return Ok(None),
            Some(Filled::Picture(buf, lent)) => (buf, Some(lent)),
            Some(Filled::Damaged(buf)) => (buf, None),
        };
        counters.sequence_gaps.add(gap(self.last_sequence.replace(buf.sequence), buf.sequence).into());
        let Some(lent) = lent else {
            counters.error_buffers.count();
            return Ok(None);
        };
        counters.captured.count();
        let pts = stamp::capture_time(buf.flags, stamp::pts(buf.timestamp), Pts::now(), self.last_pts);
        self.last_pts = Some(pts);
        Ok(Some(Frame {
            pts,
            size: self.agreed.size,
            format: self.format,
            range: self.mode.range.unwrap_or(Range::Limited),
            matrix: self.agreed.matrix,
            strides: self.layout.strides,
            buffer: Box::new(lent),
        }))
    }
}

impl VideoSource for Camera {
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
                return Err(Error::Changed("camera"));
            }
            if ready.frame || ready.broken {
                if let Some(frame) = self.take()? {
                    return Ok(Some(frame));
                }
                if ready.broken && !ready.frame {
                    // Broken, and yet dequeueing gives no reason.
                    let stopped = std::io::Error::other("the driver stopped the stream");
                    return Err(trouble::streaming(self.stream.node(), &self.path, stopped));
                }
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

/// Why a mode could not be started.
enum Refusal {
    /// Too little bandwidth on the bus: another layout may fit.
    NoRoom(Error),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

fn unusable(path: &Path, why: &str) -> Refusal {
    Refusal::Failed(Error::Unusable(format!("{} {why}", path.display())))
}

/// Frames that the driver numbered but never delivered.
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
        assert_eq!(gap(Some(u32::MAX), 1), 1, "it wraps");
        assert_eq!(gap(Some(500), 0), 0, "it began anew");
        assert_eq!(gap(Some(5), 5), 0);
    }
}
