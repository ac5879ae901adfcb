//! The picture's two threads. `video-capture` opens and closes the camera as its [orders](super::orders) say, and retries
//! it in one place; `video-encode` takes the newest frame, and converts, encodes and packetizes it once for all viewers.
//!
//! Nobody watching: the camera is closed and both threads sleep. On its way there, for a viewer that is expected or has
//! just left, its buffers go straight back to its driver. No camera, or privacy: the encode thread shows a
//! [slate](super::slate). Another configuration is taken over in mid-stream, and when the board does not carry the whole
//! picture, the encode thread takes less of it and asks the capture thread for a smaller one.

mod capture;
mod encode;
mod reduction;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::slot::Slot;
use super::snapshot::Snapshots;
use super::stream::VideoStream;
use super::worker::Worker;
use crate::clock::{Pts, RtpClock};
use crate::config;
use crate::encode::video::Error;
use crate::heartbeat::Heartbeats;
use crate::media::frame::{Frame, Size};
use crate::status::{Mode, Pressure, Status};
use capture::Capture;
use encode::Encoding;

/// A camera is given up when nothing of use came from it for this time.
const STALL: Duration = Duration::from_secs(2);

/// Between the two threads.
#[derive(Default)]
struct Passage {
    /// To the encode thread; only the newest waits.
    input: Slot<Input>,
    /// Back: the camera delivers, but for [`STALL`] nothing that is a picture.
    complaint: Slot<String>,
    /// Back: the size to ask the camera for instead of the configured one.
    limit: Slot<Option<Size>>,
}

/// What frames come from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Source {
    /// As it was agreed.
    mode: Mode,
    /// The size that was asked for instead of the configured one.
    limit: Option<Size>,
}

/// What both threads share.
pub struct Context {
    /// `[video]`; changes are taken over at once.
    pub config: watch::Receiver<config::Video>,
    /// Where demand comes from and units go.
    pub stream: Arc<VideoStream>,
    /// Told of every change.
    pub status: Arc<Status>,
    /// Served from the pictures on their way to the encoder.
    pub snapshots: Arc<Snapshots>,
    /// RTP time of the stream.
    pub clock: RtpClock,
    /// While true the camera stays closed, whoever watches.
    pub private: watch::Receiver<bool>,
    /// Counts cameras plugged in and out: what is missing is looked for at once.
    pub hotplug: watch::Receiver<u64>,
    /// Whether the board is slowing itself down: it gets less to encode then.
    pub pressure: watch::Receiver<Option<Pressure>>,
    /// Where both threads tell that they are alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends both threads; cancelled by them when encoding is impossible.
    pub stop: CancellationToken,
}

/// From the capture thread to the encode thread.
enum Input {
    /// Nobody watches.
    Closed,
    /// A camera is open; frames will be of this source.
    Expected(Source),
    /// It takes its time to the first one.
    Starting,
    /// The newest. Since this time there has been one.
    Frame(Frame, Source, Pts),
    Gone(String),
    Private,
}

/// The two threads. Dropping it ends them.
pub struct Video {
    _capture: Worker,
    encode: Worker<Result<(), Error>>,
}

impl Video {
    /// Starts both, within a runtime.
    pub fn spawn(context: Context) -> io::Result<Self> {
        let all = context.stop.clone();
        let context = Arc::new(context);
        let passage = Arc::new(Passage::default());
        let (theirs, their_end, runtime) = (context.clone(), passage.clone(), Handle::current());
        let encode = Worker::spawn("video-encode", &all, move |stop| {
            let result = Encoding::new(&theirs, &their_end).run(&runtime, &stop);
            if let Err(e) = &result {
                error!("encoding is impossible: {e}");
                theirs.stop.cancel();
            }
            result
        })?;
        let runtime = Handle::current();
        let capture = Worker::spawn("video-capture", &all, move |stop| {
            let _entered = runtime.enter();
            Capture::new(&context, &passage, stop).run();
        })?;
        Ok(Self { _capture: capture, encode })
    }

    /// Ends both, and says whether encoding had become impossible.
    pub fn join(self) -> Result<(), Error> {
        self.encode.join().unwrap_or(Ok(()))
    }
}
