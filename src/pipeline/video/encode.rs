//! The thread `video-encode`: takes the newest frame, and converts, encodes and packetizes it once for all viewers.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::reduction::Reduction;
use super::{Context, Input, Passage, STALL, Source};
use crate::clock::Pts;
use crate::config;
use crate::encode::candidates::Candidates;
use crate::encode::video::{Error, Settings, VideoEncoder};
use crate::heartbeat::{Heartbeat, WORK};
use crate::media::convert::Converter;
use crate::media::frame::{Frame, Size};
use crate::media::i420::I420;
use crate::media::mjpeg;
use crate::media::packetize::packetize;
use crate::media::unit::VideoUnit;
use crate::pipeline::quality::Share;
use crate::pipeline::{orders, slate, snapshot};
use crate::status::Reduced;

/// A camera that was just opened finds its exposure first: what it sees before is too dark for a snapshot.
const SETTLING: Duration = Duration::from_millis(500);
/// JPEG quality of snapshots.
const SNAPSHOT_QUALITY: u8 = 85;

/// What is in the stream now.
enum Showing {
    Nothing,
    Camera,
    Slate {
        why: snapshot::Error,
        last: Pts,
        /// A camera is open again, so pictures that are asked for may still come.
        waits: bool,
    },
}

/// The encode thread's belongings.
pub(super) struct Encoding<'a> {
    context: &'a Context,
    passage: &'a Passage,
    heartbeat: Heartbeat,
    config: config::Video,
    converter: Converter,
    picture: I420,
    encoder: Option<Box<dyn VideoEncoder>>,
    candidates: Candidates,
    /// When the camera that shows was opened.
    opened: Pts,
    /// Since when no frame of the camera could be converted.
    unusable_since: Option<Pts>,
    showing: Showing,
    reduction: Reduction,
    /// When the last frame was encoded.
    ready: Pts,
    /// What status and log were told of it last.
    told: Option<Reduced>,
    /// The next access unit must be an IDR whatever the hub says.
    fresh: bool,
    last_pts: Pts,
}

impl<'a> Encoding<'a> {
    pub(super) fn new(context: &'a Context, passage: &'a Passage) -> Self {
        let config = context.config.borrow().clone();
        Self {
            context,
            passage,
            heartbeat: context.heartbeats.thread("video-encode"),
            converter: Converter::default(),
            picture: I420::new(even(config.size)),
            config,
            encoder: None,
            candidates: Candidates::default(),
            opened: Pts::from_micros(0),
            unusable_since: None,
            showing: Showing::Nothing,
            reduction: Reduction::default(),
            ready: Pts::from_micros(0),
            told: None,
            fresh: true,
            last_pts: Pts::from_micros(0),
        }
    }

    pub(super) fn run(mut self, runtime: &Handle, stop: &CancellationToken) -> Result<(), Error> {
        let mut demand = self.context.stream.demand.wants();
        let mut config = self.context.config.clone();
        while !stop.is_cancelled() {
            // A slate has its own pace, and whoever joins or asks for a picture while it shows is not kept waiting. While
            // pictures are wanted it says that it is there: a thread that stands still is noticed also where it waits.
            let wanted = demand.borrow_and_update().viewers > 0;
            let slate = match self.showing {
                Showing::Slate { last, .. } => Some(last + slate::INTERVAL),
                _ => None,
            };
            let due = wanted.then(|| slate.map_or(STALL, |at| at.since(Pts::now())));
            match due {
                Some(due) => self.heartbeat.within(due + WORK),
                None => self.heartbeat.asleep(),
            }
            let input = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    Ok(()) = config.changed() => None,
                    input = self.passage.input.take() => Some(input),
                    Ok(()) = demand.changed(), if slate.is_some() => None,
                    () = orders::sleep(due) => None,
                }
            });
            self.heartbeat.within(WORK);
            if *config.borrow() != self.config {
                self.config = config.borrow_and_update().clone();
                self.reconfigured()?;
            }
            match input {
                Some(Input::Closed) => {
                    self.prepare_anything()?;
                    self.show(Showing::Nothing);
                }
                Some(Input::Expected(source)) => {
                    self.opened = Pts::now();
                    self.expect(source);
                    match &mut self.showing {
                        // No longer true.
                        Showing::Slate { why: snapshot::Error::Private, .. } => self.show(Showing::Nothing),
                        Showing::Slate { waits, .. } => *waits = true,
                        _ => {}
                    }
                    self.resize(source.mode.size);
                    self.prepare(self.reduction.fps())?;
                }
                Some(Input::Frame(frame, source, put)) => {
                    self.expect(source); // the slot may have lost that it was to be expected
                    self.show(Showing::Camera);
                    self.frame(frame, put)?;
                }
                Some(Input::Starting) => {
                    self.no_picture(snapshot::Error::Gone("The camera is starting".into()), true)?;
                }
                Some(Input::Gone(reason)) => self.no_picture(snapshot::Error::Gone(reason), false)?,
                Some(Input::Private) => self.no_picture(snapshot::Error::Private, false)?,
                None => {}
            }
            self.slate()?;
        }
        Ok(())
    }

    /// Another configuration: an encoder for it, and no reduction that was found out for the old one.
    fn reconfigured(&mut self) -> Result<(), Error> {
        self.reduction.reset();
        self.reduce();
        match &self.encoder {
            Some(encoder) => self.prepare(f64::from(encoder.settings().fps)),
            None => Ok(()),
        }
    }

    fn expect(&mut self, source: Source) {
        if self.reduction.opened(source) {
            self.reduce();
        }
    }

    /// Puts into effect what the reduction says now.
    fn reduce(&mut self) {
        if !self.reduction.settled() {
            self.passage.limit.put(self.reduction.limit());
            return; // there will be something to tell when that came
        }
        let reduced = self.reduction.reduced();
        let known = |r: &Reduced| (r.size, r.fps);
        if reduced.as_ref().map(known) == self.told.as_ref().map(known) {
            return;
        }
        match &reduced {
            Some(Reduced { size, fps, why }) => {
                info!("picture: reduced to {size} at {fps} frames per second: {why}")
            }
            None => info!("picture: not reduced any more"),
        }
        self.context.status.video(|v| v.reduced.clone_from(&reduced));
        self.told = reduced;
    }

    /// From now on a slate that says why. If it `waits`, pictures that are asked for may still come.
    fn no_picture(&mut self, why: snapshot::Error, waits: bool) -> Result<(), Error> {
        self.prepare_anything()?;
        // Keep the pace of a slate that is shown already: a camera is found gone once a second.
        let last = match self.showing {
            Showing::Slate { last, .. } => last,
            _ => Pts::from_micros(0),
        };
        self.show(Showing::Slate { why, last, waits });
        Ok(())
    }

    /// Where no camera was seen yet, an encoder for what the configuration wants: viewers can be answered, and most
    /// cameras will give just that.
    fn prepare_anything(&mut self) -> Result<(), Error> {
        if self.encoder.is_some() { Ok(()) } else { self.prepare(f64::from(self.config.frame_rate)) }
    }

    fn show(&mut self, what: Showing) {
        self.fresh |= std::mem::discriminant(&self.showing) != std::mem::discriminant(&what);
        self.showing = what;
    }

    /// What can't be encoded before the next one comes is too much: its time runs from when it, or one that it replaced, was
    /// `put` where the thread takes it, or from the end of the one before, so that waiting for the processor counts as well.
    fn frame(&mut self, frame: Frame, put: Pts) -> Result<(), Error> {
        let Context { stream, snapshots, pressure, private, .. } = self.context;
        let watched = stream.hub(Share::Full).subscribers() > 0;
        if watched && !self.reduction.takes(frame.pts) {
            return Ok(());
        }
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
                if *private.borrow() {
                    return Err(snapshot::Error::Private); // switched on since the frame was taken
                }
                jpeg.map(Into::into).map_err(|e| snapshot::Error::Gone(e.to_string()))
            });
        }
        if watched && let Some(ready) = self.encode(pts, taken, self.reduction.fps(), true)? {
            let busy = ready.since(put.max(self.ready));
            self.ready = ready;
            let pressure = *pressure.borrow();
            if self.reduction.encoded(ready, busy, pressure) {
                self.reduce();
            }
        }
        Ok(())
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

    fn slate(&mut self) -> Result<(), Error> {
        let Showing::Slate { why, last, waits } = &mut self.showing else { return Ok(()) };
        let Context { stream, snapshots, .. } = self.context;
        let hub = stream.hub(Share::Full);
        if !*waits {
            snapshots.serve(|| Err(why.clone()));
        }
        let now = Pts::now();
        if hub.subscribers() == 0 || (now.since(*last) < slate::INTERVAL && !hub.keyframe_due(now)) {
            return Ok(());
        }
        *last = now;
        slate::draw(&mut self.picture, &why.to_string());
        let fps = self.encoder.as_ref().map_or(30.0, |e| f64::from(e.settings().fps));
        self.encode(now, now, fps, false).map(drop)
    }

    /// Encodes `self.picture`, `captured` or drawn by us, and hands it to everybody. Says when that was, if it came to it.
    fn encode(&mut self, pts: Pts, taken: Pts, fps: f64, captured: bool) -> Result<Option<Pts>, Error> {
        let Context { stream, status, clock, private, .. } = self.context;
        let hub = stream.hub(Share::Full);
        if pts <= self.last_pts {
            return Ok(None); // a slate was newer: RTP time never goes back
        }
        self.prepare(fps)?;
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let idr = hub.begin(pts, self.fresh, Pts::now());
        let unit = match encoder.encode(&self.picture, pts, idr) {
            Ok(unit) => unit,
            Err(e) => return self.failed(e).map(|()| None),
        };
        let payloads = packetize(&unit.nals);
        let counters = &status.counters;
        counters.encoded.count();
        counters.encoded_bytes.add(payloads.iter().map(|p| p.len() as u64).sum());
        counters.keyframes.add(unit.idr.into());
        self.fresh = false;
        self.last_pts = pts;
        let ready = Pts::now();
        let rtp_time = clock.ticks(pts);
        let unit = Arc::new(VideoUnit { pts, taken, ready, rtp_time, idr: unit.idr, payloads });
        if captured {
            hub.publish_captured(&unit, private);
        } else {
            hub.publish(&unit);
        }
        Ok(Some(ready))
    }

    /// Makes `self.picture` of (even) `size`.
    fn resize(&mut self, size: Size) {
        if self.picture.size() != even(size) {
            self.picture = I420::new(even(size));
        }
    }

    /// Makes sure that the encoder is one for `self.picture` at this rate.
    fn prepare(&mut self, fps: f64) -> Result<(), Error> {
        let config::Video { bitrate_bps, effort, .. } = self.config;
        let wanted =
            Settings { size: self.picture.size(), fps: fps as f32, bitrate_bps, effort, level: None };
        if let Some(encoder) = &mut self.encoder {
            let settings = encoder.settings();
            if settings == wanted {
                return Ok(());
            }
            if (Settings { bitrate_bps, ..settings }) == wanted {
                match encoder.set_bitrate(bitrate_bps) {
                    Ok(()) => {
                        self.context.status.video(|v| v.bitrate_bps = bitrate_bps);
                        return Ok(());
                    }
                    Err(e) => info!("{e}; starting a new encoder"),
                }
            }
        }
        match self.candidates.make(wanted) {
            Ok(encoder) => {
                let profile = encoder.profile();
                self.context.status.video(|v| {
                    v.encoder = encoder.name();
                    v.profile_level_id = profile.to_string();
                    v.bitrate_bps = bitrate_bps;
                });
                self.context.stream.set_profile(profile);
                self.encoder = Some(encoder);
                self.fresh = true;
                Ok(())
            }
            Err(e) => self.failed(e),
        }
    }

    /// Counts a failure; the encoder is made anew for the next frame, unless it fails all the time.
    fn failed(&mut self, e: Error) -> Result<(), Error> {
        self.context.stream.hub(Share::Full).missed();
        self.context.status.counters.encoder_errors.count();
        self.encoder = None;
        warn!("{e}");
        self.candidates.failed(e, Pts::now())
    }
}

/// Colour is stored once for two by two pixels.
fn even(size: Size) -> Size {
    Size::new(size.width & !1, size.height & !1)
}
