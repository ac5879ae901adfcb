//! The picture's two threads. `video-capture` opens and closes the camera as its [orders](super::demand) say, and retries
//! it in one place; `video-encode` takes the newest frame, and converts, encodes and packetizes it once for all viewers.
//!
//! Nobody watching: the camera is closed and both threads sleep. On its way there, for a viewer that is expected or has
//! just left, its buffers go straight back to its driver. No camera, or privacy: the encode thread shows a [slate].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::demand::{self, Demand, Order, Orders, PRIVATE, Search};
use super::hub::Hub;
use super::slate;
use super::slot::Slot;
use super::snapshot::{self, Snapshots};
use super::worker::{TICK, Worker};
use crate::capture::source::Chooser;
use crate::capture::{self, VideoSource};
use crate::clock::{Pts, RtpClock};
use crate::config;
use crate::encode::h264::{self, H264Encoder};
use crate::media::convert::Converter;
use crate::media::frame::{Frame, Size};
use crate::media::h264::ProfileLevelId;
use crate::media::i420::I420;
use crate::media::mjpeg;
use crate::media::packetize::packetize;
use crate::media::unit::VideoUnit;
use crate::status::{self, Mode, State, Status};

/// Between attempts to open the camera.
const RETRY: Duration = Duration::from_secs(1);
/// A camera is given up when no frame came for this time, or for [`STALL_INTERVALS`] frame intervals if that is longer.
const STALL: Duration = Duration::from_secs(2);
const STALL_INTERVALS: f64 = 4.0;
/// The delivered rate is measured over this time.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Below this part of the agreed rate the camera is asked why.
const SLOW: f64 = 0.75;
/// So many encoder failures within [`ENCODER_PATIENCE`] are no bad luck any more.
const ENCODER_FAILURES: usize = 5;
const ENCODER_PATIENCE: Duration = Duration::from_secs(30);
/// A camera that was just opened finds its exposure first: what it sees before is too dark for a snapshot.
const SETTLING: Duration = Duration::from_millis(500);
/// JPEG quality of snapshots.
const SNAPSHOT_QUALITY: u8 = 85;

/// Between the two threads.
#[derive(Default)]
struct Passage {
    /// To the encode thread; only the newest waits.
    input: Slot<Input>,
    /// Back: the camera delivers, but for [`STALL`] nothing that is a picture.
    complaint: Slot<String>,
}

/// What both threads share.
pub struct Context {
    /// `[video]`
    pub config: config::Video,
    /// Where demand comes from and units go.
    pub hub: Arc<Hub>,
    /// Told of every change.
    pub status: Arc<Status>,
    /// Served from the pictures on their way to the encoder.
    pub snapshots: Arc<Snapshots>,
    /// RTP time of the stream.
    pub clock: RtpClock,
    /// Told which SPS the encoder emits, before any viewer is answered.
    pub profile: watch::Sender<ProfileLevelId>,
    /// While true the camera stays closed, whoever watches.
    pub private: watch::Receiver<bool>,
    /// Ends both threads; cancelled by them when encoding is impossible.
    pub stop: CancellationToken,
}

/// From the capture thread to the encode thread.
enum Input {
    /// Nobody watches.
    Closed,
    /// Frames will be of this mode.
    Expected(Mode),
    Frame(Frame, Mode),
    Gone(String),
    Private,
}

/// The two threads. Dropping it ends them.
pub struct Video {
    _capture: Worker,
    encode: Worker<Result<(), h264::Error>>,
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
    pub fn join(self) -> Result<(), h264::Error> {
        self.encode.join().unwrap_or(Ok(()))
    }
}

/// The capture thread's belongings.
struct Capture<'a> {
    context: &'a Context,
    passage: &'a Passage,
    orders: Orders,
    chooser: Chooser,
    search: Search,
    /// What the log was told last, if that was a failure.
    told: Option<String>,
}

impl<'a> Capture<'a> {
    fn new(context: &'a Context, passage: &'a Passage, stop: CancellationToken) -> Self {
        let Context { config, hub, private, .. } = context;
        let orders = Orders::new(hub, Demand::wants_camera, config.keep_open, private.clone(), stop);
        let (chooser, search) = (Chooser::new(config), Search::new(Pts::now()));
        Self { context, passage, orders, chooser, search, told: None }
    }

    fn run(mut self) {
        loop {
            match self.orders.now() {
                Order::Open => self.open(),
                Order::Closed => self.rest(),
                Order::Private => self.hide(),
                Order::Stop => return,
            }
        }
    }

    /// Runs the camera while it is to be open. The one place that retries it.
    fn open(&mut self) {
        self.context.status.video(status::Video::opening);
        let mut delivered = false;
        let (error, broken) = match self.chooser.open(&self.context.status) {
            Err(e) => (e, None),
            Ok(mut source) => match self.pass_on(&mut *source, &mut delivered) {
                Ok(()) => return,
                Err(e) => (e, Some(source)),
            },
        };
        self.context.status.counters.camera_lost.add(delivered.into());
        if delivered {
            self.told = None;
        }
        let reason = self.gone(&error);
        self.passage.input.put(Input::Gone(reason));
        drop(broken); // only now: a driver may take its time to close what is dead, and viewers know already
        self.orders.pause(RETRY);
    }

    /// Passes frames on until the source fails (`Err`), or until it has to be closed or a better one is there (`Ok`).
    fn pass_on(&mut self, source: &mut dyn VideoSource, delivered: &mut bool) -> Result<(), capture::Error> {
        let Context { status, .. } = self.context;
        let mode = source.mode();
        self.passage.complaint.try_take(); // it was about another opening
        self.passage.input.put(Input::Expected(mode));
        let stall = STALL.max(Duration::from_secs_f64(STALL_INTERVALS / mode.fps.max(0.1)));
        let mut last = Pts::now();
        let mut rate = Rate::new(last);
        while self.orders.now() == Order::Open {
            let frame = source.next(TICK)?;
            let now = Pts::now();
            if let Some(frame) = frame {
                last = now;
                rate.count();
                if !*delivered {
                    status.video(|v| (v.state, v.reason) = (State::Live, None));
                    self.search.found();
                    *delivered = true;
                }
                if self.orders.demand().uses_pictures()
                    && let Some(Input::Frame(..)) = self.passage.input.put(Input::Frame(frame, mode))
                {
                    status.counters.superseded.count();
                }
            } else if now.since(last) > stall {
                return Err(capture::Error::Stalled("camera"));
            }
            if let Some(complaint) = self.passage.complaint.try_take() {
                let why = format!("the camera sends no usable picture: {complaint}");
                return Err(capture::Error::Unusable(why));
            }
            if let Some(fps) = rate.measured(now) {
                let note = (fps < SLOW * mode.fps).then(|| source.rate_note()).flatten();
                status.measured(|v, _| (v.delivered_fps, v.rate_note) = (Some(fps), note));
                if self.chooser.better_than_stand_in() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Nobody watches: the camera is closed. At first it is looked which one that is, and its mode negotiated, so that
    /// viewers can be answered before it is open; likewise now and then while it is missing.
    fn rest(&mut self) {
        let Context { status, .. } = self.context;
        match self.search.due_in(Pts::now()) {
            Some(Duration::ZERO) => match self.chooser.look(status) {
                Ok(mode) => {
                    self.passage.input.put(Input::Expected(mode));
                    self.search.found();
                    self.idle();
                }
                Err(e) => {
                    self.passage.input.put(Input::Closed);
                    self.gone(&e);
                }
            },
            Some(_) => drop(self.passage.input.put(Input::Closed)),
            None => {
                self.passage.input.put(Input::Closed);
                self.idle();
            }
        }
        let due = self.search.due_in(Pts::now());
        self.orders.wait(due);
    }

    fn idle(&mut self) {
        self.told = None;
        self.context.status.video(|v| {
            if v.state != State::Idle {
                debug!("the camera is closed: nobody watches");
            }
            (v.state, v.reason, v.delivered_fps, v.rate_note) = (State::Idle, None, None, None);
        });
    }

    /// Privacy: the camera is closed, and the frame that may wait is dropped with its buffer.
    fn hide(&mut self) {
        self.passage.input.put(Input::Private);
        self.context.status.video(|v| {
            if v.state != State::Private {
                info!("camera: closed, because privacy is on");
            }
            (v.state, v.reason) = (State::Private, Some(PRIVATE.into()));
            (v.delivered_fps, v.rate_note) = (None, None);
        });
        (self.search, self.told) = (Search::new(Pts::now()), None);
        self.orders.wait(None);
    }

    /// Tells that there is no camera, and why; the log only what is new.
    fn gone(&mut self, error: &capture::Error) -> String {
        let reason = error.to_string();
        if self.told.as_ref() != Some(&reason) {
            warn!("camera: {reason}; trying again every second while somebody watches");
        }
        self.search.missing(Pts::now());
        self.context.status.video(|v| {
            (v.state, v.reason) = (State::Gone, Some(reason.clone()));
            (v.delivered_fps, v.rate_note) = (None, None);
        });
        self.told = Some(reason.clone());
        reason
    }
}

/// Frames per second over [`RATE_WINDOW`].
struct Rate {
    since: Pts,
    frames: u32,
}

impl Rate {
    fn new(now: Pts) -> Self {
        Self { since: now, frames: 0 }
    }

    fn count(&mut self) {
        self.frames += 1;
    }

    /// The rate, once each window.
    fn measured(&mut self, now: Pts) -> Option<f64> {
        let passed = now.since(self.since);
        (passed >= RATE_WINDOW).then(|| {
            let fps = f64::from(self.frames) / passed.as_secs_f64();
            *self = Self::new(now);
            (fps * 10.0).round() / 10.0
        })
    }
}

/// What is in the stream now.
enum Showing {
    Nothing,
    Camera,
    Slate { why: snapshot::Error, last: Pts },
}

/// The encode thread's belongings.
struct Encoding<'a> {
    context: &'a Context,
    passage: &'a Passage,
    converter: Converter,
    picture: I420,
    encoder: Option<H264Encoder>,
    failures: Failures,
    /// When the camera that shows was opened.
    opened: Pts,
    /// Since when no frame of the camera could be converted.
    unusable_since: Option<Pts>,
    showing: Showing,
    /// The next access unit must be an IDR whatever the hub says.
    fresh: bool,
    last_pts: Pts,
}

impl<'a> Encoding<'a> {
    fn new(context: &'a Context, passage: &'a Passage) -> Self {
        Self {
            context,
            passage,
            converter: Converter::default(),
            picture: I420::new(even(context.config.size)),
            encoder: None,
            failures: Failures::default(),
            opened: Pts::from_micros(0),
            unusable_since: None,
            showing: Showing::Nothing,
            fresh: true,
            last_pts: Pts::from_micros(0),
        }
    }

    fn run(mut self, runtime: &Handle, stop: &CancellationToken) -> Result<(), h264::Error> {
        let mut demand = self.context.hub.demands();
        while !stop.is_cancelled() {
            // A slate has its own pace, and whoever joins or asks for a picture while it shows is not kept waiting.
            let slate = match self.showing {
                Showing::Slate { last, .. } => Some(last + slate::INTERVAL),
                _ => None,
            };
            let due = slate.filter(|_| demand.borrow_and_update().viewers > 0).map(|at| at.since(Pts::now()));
            let input = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    input = self.passage.input.take() => Some(input),
                    Ok(()) = demand.changed(), if slate.is_some() => None,
                    () = demand::sleep(due) => None,
                }
            });
            match input {
                Some(Input::Closed) => {
                    self.prepare_anything()?;
                    self.show(Showing::Nothing);
                }
                Some(Input::Expected(mode)) => {
                    self.opened = Pts::now();
                    if matches!(self.showing, Showing::Slate { why: snapshot::Error::Private, .. }) {
                        self.show(Showing::Nothing); // it is not true any more
                    }
                    self.resize(mode.size);
                    self.prepare(mode.fps)?;
                }
                Some(Input::Frame(frame, mode)) => {
                    self.show(Showing::Camera);
                    self.frame(frame, mode)?;
                }
                Some(Input::Gone(reason)) => self.no_picture(snapshot::Error::Gone(reason))?,
                Some(Input::Private) => self.no_picture(snapshot::Error::Private)?,
                None => {}
            }
            self.slate()?;
        }
        Ok(())
    }

    /// From now on a slate that says why.
    fn no_picture(&mut self, why: snapshot::Error) -> Result<(), h264::Error> {
        self.prepare_anything()?;
        // Keep the pace of a slate that is shown already: a camera is found gone once a second.
        let last = match self.showing {
            Showing::Slate { last, .. } => last,
            _ => Pts::from_micros(0),
        };
        self.show(Showing::Slate { why, last });
        Ok(())
    }

    /// Where no camera was seen yet, an encoder for what the configuration wants: viewers can be answered, and most
    /// cameras will give just that.
    fn prepare_anything(&mut self) -> Result<(), h264::Error> {
        if self.encoder.is_some() { Ok(()) } else { self.prepare(f64::from(self.context.config.frame_rate)) }
    }

    fn show(&mut self, what: Showing) {
        self.fresh |= std::mem::discriminant(&self.showing) != std::mem::discriminant(&what);
        self.showing = what;
    }

    fn frame(&mut self, frame: Frame, mode: Mode) -> Result<(), h264::Error> {
        let Context { hub, snapshots, .. } = self.context;
        let taken = Pts::now();
        self.resize(frame.size);
        if let Err(e) = self.converter.convert(&frame, &mut self.picture) {
            self.damaged(&e.to_string(), taken);
            return Ok(());
        }
        self.unusable_since = None;
        let pts = frame.pts;
        drop(frame); // its buffer is the driver's again while we encode
        if taken.since(self.opened) >= SETTLING {
            snapshots.serve(|| {
                let jpeg = mjpeg::encode(&self.picture, SNAPSHOT_QUALITY);
                jpeg.map(Into::into).map_err(|e| snapshot::Error::Gone(e.to_string()))
            });
        }
        if hub.demand() > 0 { self.encode(pts, taken, mode.fps) } else { Ok(()) }
    }

    /// Counts a frame that is no picture; when there have been no others for a while, has the camera opened anew.
    fn damaged(&mut self, error: &str, now: Pts) {
        let count = &self.context.status.counters.damaged_jpeg;
        if count.get() == 0 {
            info!("a damaged frame was dropped ({error}); from now on they are only counted");
        }
        count.count();
        if now.since(*self.unusable_since.get_or_insert(now)) > STALL {
            self.unusable_since = None;
            self.passage.complaint.put(error.to_owned());
        }
    }

    fn slate(&mut self) -> Result<(), h264::Error> {
        let Showing::Slate { why, last } = &mut self.showing else { return Ok(()) };
        let Context { hub, snapshots, .. } = self.context;
        snapshots.serve(|| Err(why.clone()));
        let now = Pts::now();
        if hub.demand() == 0 || (now.since(*last) < slate::INTERVAL && !hub.keyframe_due(now)) {
            return Ok(());
        }
        *last = now;
        slate::draw(&mut self.picture, &why.to_string());
        let fps = self.encoder.as_ref().map_or(30.0, |e| f64::from(e.settings().fps));
        self.encode(now, now, fps)
    }

    /// Encodes `self.picture` and hands it to everybody.
    fn encode(&mut self, pts: Pts, taken: Pts, fps: f64) -> Result<(), h264::Error> {
        let Context { hub, status, clock, .. } = self.context;
        if pts <= self.last_pts {
            return Ok(()); // a slate was newer: RTP time never goes back
        }
        self.prepare(fps)?;
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let idr = self.fresh || hub.keyframe_due(Pts::now());
        let unit = match encoder.encode(&self.picture, pts, idr) {
            Ok(unit) => unit,
            Err(e) => return self.failed(e),
        };
        let payloads = packetize(&unit.nals());
        let counters = &status.counters;
        counters.encoded.count();
        counters.encoded_bytes.add(payloads.iter().map(|p| p.len() as u64).sum());
        counters.keyframes.add(unit.idr.into());
        self.fresh = false;
        self.last_pts = pts;
        let ready = Pts::now();
        let rtp_time = clock.ticks(pts);
        hub.publish_video(Arc::new(VideoUnit { pts, taken, ready, rtp_time, idr: unit.idr, payloads }));
        Ok(())
    }

    /// Makes `self.picture` of (even) `size`.
    fn resize(&mut self, size: Size) {
        if self.picture.size() != even(size) {
            self.picture = I420::new(even(size));
        }
    }

    /// Sees to it that there is an encoder for `self.picture` at this rate.
    fn prepare(&mut self, fps: f64) -> Result<(), h264::Error> {
        let size = self.picture.size();
        let config = &self.context.config;
        let settings =
            h264::Settings { size, fps: fps as f32, bitrate_bps: config.bitrate_bps, effort: config.effort };
        if self.encoder.as_ref().is_some_and(|e| e.settings() == settings) {
            return Ok(());
        }
        match H264Encoder::new(settings) {
            Ok(encoder) => {
                let profile = encoder.profile_level_id();
                self.context.status.video(|v| {
                    v.encoder = "openh264";
                    v.profile_level_id = profile.to_string();
                    v.bitrate_bps = settings.bitrate_bps;
                });
                self.context.profile.send_replace(profile);
                self.encoder = Some(encoder);
                self.fresh = true;
                Ok(())
            }
            Err(e) => self.failed(e),
        }
    }

    /// Counts a failure; the encoder is made anew for the next frame, unless it fails all the time.
    fn failed(&mut self, e: h264::Error) -> Result<(), h264::Error> {
        let now = Pts::now();
        self.context.status.counters.encoder_errors.count();
        self.encoder = None;
        if self.failures.too_many(now) {
            return Err(e);
        }
        warn!("{e}; starting a new encoder");
        Ok(())
    }
}

/// Colour is stored once for two by two pixels.
fn even(size: Size) -> Size {
    Size::new(size.width & !1, size.height & !1)
}

/// The encoder's failures of late.
#[derive(Default)]
struct Failures(Vec<Pts>);

impl Failures {
    /// One more; says whether that makes [`ENCODER_FAILURES`] within [`ENCODER_PATIENCE`].
    fn too_many(&mut self, now: Pts) -> bool {
        self.0.retain(|t| now.since(*t) < ENCODER_PATIENCE);
        self.0.push(now);
        self.0.len() >= ENCODER_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_thirty_seconds_are_too_many_and_five_in_forty_are_not() {
        let at = |s: u64| Pts::from_micros(s * 1_000_000);
        let mut quick = Failures::default();
        assert_eq!([0, 7, 14, 21, 28].map(|s| quick.too_many(at(s))), [false, false, false, false, true]);
        let mut slow = Failures::default();
        assert!((0..20).all(|n| !slow.too_many(at(n * 10))));
    }

    #[test]
    fn the_rate_is_told_once_each_window() {
        let start = Pts::from_micros(5_000_000);
        let mut rate = Rate::new(start);
        let told: Vec<f64> = (1..=150u64)
            .filter_map(|n| {
                rate.count();
                rate.measured(start + Duration::from_micros(n * 33_333))
            })
            .collect();
        assert_eq!(told, [30.0, 30.0]);
    }
}
