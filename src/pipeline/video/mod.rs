//! A camera's threads. `video-capture` opens and closes the camera as its [orders](super::orders) say, and
//! retries it in one place; `video-convert` takes the newest frame and converts it once; each rung's thread
//! takes the newest picture, and scales, encodes and packetizes it once for all viewers of that rung.
//!
//! ```text
//!  video-capture ─► slot ─► video-convert ─┬─► slot ─► video-full ────► its hub
//!    (Frame)                  (I420)       ├─► slot ─► video-half ────► its hub
//!                                          └─► slot ─► video-quarter ─► its hub
//! ```
//!
//! While nobody is watching, the camera is closed and all threads sleep. While the camera is open only
//! because a viewer is expected or has just left, its buffers go straight back to its driver. A rung without
//! viewers encodes nothing. Without a camera, or in privacy, the convert thread shows a
//! [slate](super::slate). A new configuration is applied while streaming, and when the board can't encode
//! everything, the convert thread takes less (`reduction`).

mod capture;
mod convert;
mod picture;
mod reduction;
mod rung;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::quality::Share;
use super::slot::Slot;
use super::snapshot::Snapshots;
use super::stream::VideoStream;
use super::worker::{Threads, Worker};
use crate::clock::{Pts, RtpClock};
use crate::config;
use crate::encode::budget::Budget;
use crate::encode::video;
use crate::heartbeat::Heartbeats;
use crate::media::frame::Frame;
use crate::media::mode::Mode;
use crate::pressure::Pressure;
use crate::privacy::Private;
use crate::status::{self, Source};
use capture::Capture;
use convert::Conversion;
use picture::Job;
use rung::Rung;

/// A camera is given up if nothing useful arrives from it for this long.
const STALL: Duration = Duration::from_secs(2);

/// The connections between the threads.
#[derive(Default)]
struct Link {
    /// Input of the convert thread; only the newest waits.
    input: Slot<Input>,
    /// A report to the capture thread: the camera delivers, but no usable picture for [`STALL`].
    complaint: Slot<String>,
    /// Input of each rung's thread; only the newest waits.
    jobs: [Slot<Job>; Share::ALL.len()],
}

/// What all threads share.
pub struct Context {
    /// The owner of the threads, for their names.
    pub threads: Threads,
    /// `[video]`; changes take effect immediately.
    pub config: watch::Receiver<config::Video>,
    /// Source of the demand and destination of the units.
    pub stream: Arc<VideoStream>,
    /// Receives every change of state.
    pub status: Arc<Source<status::Video>>,
    /// The snapshot requests, answered from pictures on their way to the encoders.
    pub snapshots: Arc<Snapshots>,
    /// RTP clock of the stream.
    pub clock: RtpClock,
    /// While true the camera stays closed, even with viewers.
    pub private: Private,
    /// Counts cameras that are plugged in or out: a missing one is then looked for immediately.
    pub hotplug: watch::Receiver<u64>,
    /// Whether the board is throttling itself, so that less is encoded.
    pub pressure: watch::Receiver<Option<Pressure>>,
    /// The load that all cameras share.
    pub budget: Arc<Budget>,
    /// Where the threads report that they are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends all threads; cancelled by them when encoding is impossible.
    pub stop: CancellationToken,
}

/// A message from the capture thread to the convert thread.
enum Input {
    /// Nobody is watching.
    Closed,
    /// A camera is open; its frames will have this mode.
    Expected(Mode),
    /// The camera takes long until its first frame.
    Starting,
    /// The newest frame, its mode, and since when a frame has been waiting.
    Frame(Frame, Mode, Pts),
    Gone(String),
    Private,
}

/// The threads; dropping it ends them.
pub struct Video {
    _capture: Worker,
    _convert: Worker,
    rungs: Vec<Worker<Result<(), video::Error>>>,
}

impl Video {
    /// Starts all threads; call it in a runtime.
    ///
    /// # Errors
    /// The system can't start more threads.
    pub fn spawn(context: Context) -> io::Result<Self> {
        let (all, runtime) = (context.stop.clone(), Handle::current());
        let (context, link) = (Arc::new(context), Arc::new(Link::default()));
        let mut rungs = vec![];
        for share in Share::ALL {
            let (context, link, runtime) = (context.clone(), link.clone(), runtime.clone());
            rungs.push(Worker::spawn(&context.threads.clone(), rung::name(share), &all, move |stop| {
                let result = Rung::new(&context, &link.jobs[share.index()], share).run(&runtime, &stop);
                if let Err(e) = &result {
                    error!("encoding is impossible: {e}");
                    context.stop.cancel();
                }
                result
            })?);
        }
        let convert = {
            let (context, link, runtime) = (context.clone(), link.clone(), runtime.clone());
            Worker::spawn(&context.threads.clone(), "video-convert", &all, move |stop| {
                Conversion::new(&context, &link).run(&runtime, &stop);
            })?
        };
        let capture = Worker::spawn(&context.threads.clone(), "video-capture", &all, move |stop| {
            let _entered = runtime.enter();
            Capture::new(&context, &link, stop).run();
        })?;
        Ok(Self { _capture: capture, _convert: convert, rungs })
    }

    /// Ends all threads, and reports whether encoding became impossible.
    ///
    /// # Errors
    /// The failure of the last encoder that was tried.
    pub fn join(self) -> Result<(), video::Error> {
        let Self { _capture, _convert, rungs } = self;
        drop((_capture, _convert));
        let results: Vec<_> = rungs.into_iter().filter_map(Worker::join).collect();
        results.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::VIDEO_HZ;
    use crate::encode::budget::Others;
    use crate::media::frame::Size;
    use crate::pipeline::camera::Camera;
    use crate::privacy::Privacy;
    use crate::status::Status;

    /// What the threads of `camera` share.
    pub(super) fn context(
        camera: &Camera,
        config: config::Video,
        privacy: watch::Receiver<Privacy>,
    ) -> Context {
        Context {
            threads: Threads::Only,
            config: watch::channel(config).1,
            stream: camera.video.clone(),
            status: Status::default().source(),
            snapshots: camera.snapshots.clone(),
            clock: RtpClock { hz: VIDEO_HZ, offset: 0 },
            private: Private::of(privacy, "front"),
            hotplug: watch::channel(0).1,
            pressure: watch::channel(None).1,
            budget: Arc::default(),
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// A camera that is kept open, and that nobody watches, costs the other cameras nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_camera_that_nobody_watches_rests_even_if_it_is_kept_open() {
        let camera = Camera::new("front", "Front");
        let device = config::CameraDevice::Pattern;
        let config =
            config::Video { device, size: Size::new(160, 90), keep_open: true, ..Default::default() };
        let context = context(&camera, config, watch::channel(Privacy::default()).1);
        let budget = context.budget.clone();
        let _video = Video::spawn(context).expect("threads");
        let other = budget.open();
        let until = async |counts: bool| {
            for _ in 0..1_000 {
                if (other.others() != Others::NONE) == counts {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("it {} in the budget", if counts { "is not" } else { "stays" });
        };
        let (claim, pictures) = (camera.video.demand.watch(), camera.video.subscribe());
        until(true).await;
        drop((claim, pictures));
        until(false).await;
    }
}
