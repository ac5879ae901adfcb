//! A camera's threads. `video-capture` opens and closes the camera as its [orders](super::orders) say, and retries it in
//! one place; `video-convert` takes the newest frame and converts it once; each rung's thread takes the newest picture, scales,
//! encodes and packetizes it once for all who are on that rung.
//!
//! ```text
//!  video-capture ─► slot ─► video-convert ─┬─► slot ─► video-full ────► its hub
//!    (Frame)                  (I420)       ├─► slot ─► video-half ────► its hub
//!                                          └─► slot ─► video-quarter ─► its hub
//! ```
//!
//! Nobody watching: the camera is closed and all threads sleep. On its way there, for a viewer that is expected or has just
//! left, its buffers go straight back to its driver. A rung that nobody is on encodes nothing. No camera, or privacy: the
//! convert thread shows a [slate](super::slate). Another configuration is taken over in mid-stream, and when the board does not
//! carry all of it, the convert thread takes less (`reduction`).

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

/// A camera is given up when nothing of use came from it for this time.
const STALL: Duration = Duration::from_secs(2);

/// Between the threads.
#[derive(Default)]
struct Passage {
    /// To the convert thread; only the newest waits.
    input: Slot<Input>,
    /// Back: the camera delivers, but for [`STALL`] nothing that is a picture.
    complaint: Slot<String>,
    /// To each rung's thread; only the newest waits.
    jobs: [Slot<Job>; Share::ALL.len()],
}

/// What all threads share.
pub struct Context {
    /// Their names.
    pub threads: Threads,
    /// `[video]`; changes are taken over at once.
    pub config: watch::Receiver<config::Video>,
    /// Where demand comes from and units go.
    pub stream: Arc<VideoStream>,
    /// Told of every change.
    pub status: Arc<Source<status::Video>>,
    /// Served from the pictures on their way to the encoders.
    pub snapshots: Arc<Snapshots>,
    /// RTP time of the stream.
    pub clock: RtpClock,
    /// While true the camera stays closed, whoever watches.
    pub private: Private,
    /// Counts cameras plugged in and out: what is missing is looked for at once.
    pub hotplug: watch::Receiver<u64>,
    /// Whether the board is slowing itself down: it gets less to encode then.
    pub pressure: watch::Receiver<Option<Pressure>>,
    /// What all cameras give up together.
    pub budget: Arc<Budget>,
    /// Where the threads tell that they are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends all threads; cancelled by them when encoding is impossible.
    pub stop: CancellationToken,
}

/// From the capture thread to the convert thread.
enum Input {
    /// Nobody watches.
    Closed,
    /// A camera is open; frames will be of this mode.
    Expected(Mode),
    /// It takes its time to the first one.
    Starting,
    /// The newest. Since this time there has been one.
    Frame(Frame, Mode, Pts),
    Gone(String),
    Private,
}

/// The threads. Dropping it ends them.
pub struct Video {
    _capture: Worker,
    _convert: Worker,
    rungs: Vec<Worker<Result<(), video::Error>>>,
}

impl Video {
    /// Starts all, within a runtime.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn spawn(context: Context) -> io::Result<Self> {
        let (all, runtime) = (context.stop.clone(), Handle::current());
        let (context, passage) = (Arc::new(context), Arc::new(Passage::default()));
        let mut rungs = vec![];
        for share in Share::ALL {
            let (context, passage, runtime) = (context.clone(), passage.clone(), runtime.clone());
            rungs.push(Worker::spawn(&context.threads.clone(), rung::name(share), &all, move |stop| {
                let result = Rung::new(&context, &passage.jobs[share.index()], share).run(&runtime, &stop);
                if let Err(e) = &result {
                    error!("encoding is impossible: {e}");
                    context.stop.cancel();
                }
                result
            })?);
        }
        let convert = {
            let (context, passage, runtime) = (context.clone(), passage.clone(), runtime.clone());
            Worker::spawn(&context.threads.clone(), "video-convert", &all, move |stop| {
                Conversion::new(&context, &passage).run(&runtime, &stop);
            })?
        };
        let capture = Worker::spawn(&context.threads.clone(), "video-capture", &all, move |stop| {
            let _entered = runtime.enter();
            Capture::new(&context, &passage, stop).run();
        })?;
        Ok(Self { _capture: capture, _convert: convert, rungs })
    }

    /// Ends all, and says whether encoding had become impossible.
    ///
    /// # Errors
    /// The failure of the last encoder that there was to try.
    pub fn join(self) -> Result<(), video::Error> {
        let Self { _capture, _convert, rungs } = self;
        drop((_capture, _convert));
        let results: Vec<_> = rungs.into_iter().filter_map(Worker::join).collect();
        results.into_iter().collect()
    }
}
