//! The thread `video-convert`: takes the newest frame, converts it once, and passes it to the rungs that have
//! viewers.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::picture::{Job, Plan, Pool};
use super::reduction::Reduction;
use super::{Context, Input, Link, STALL};
use crate::clock::Pts;
use crate::config;
use crate::encode::budget::Account;
use crate::heartbeat::{Heartbeat, WORK};
use crate::media::convert::Converter;
use crate::media::frame::Frame;
use crate::media::i420::I420;
use crate::media::mjpeg;
use crate::media::mode::Mode;
use crate::pipeline::quality::{Offered, Share};
use crate::pipeline::{orders, slate, snapshot};
use crate::status::Reduced;

/// Time for a camera's exposure to settle after opening: until then pictures are too dark for a snapshot.
const SETTLING: Duration = Duration::from_millis(500);
/// JPEG quality of snapshots.
const SNAPSHOT_QUALITY: u8 = 85;

/// What the stream shows now.
enum Showing {
    Nothing,
    Camera,
    Slate {
        why: snapshot::Error,
        last: Pts,
        /// A camera is open again, so requested snapshots may still be answered.
        waits: bool,
    },
}

/// The state of the thread.
pub(super) struct Conversion<'a> {
    context: &'a Context,
    link: &'a Link,
    heartbeat: Heartbeat,
    config: config::Video,
    converter: Converter,
    pool: Arc<Pool>,
    /// How pictures are encoded now.
    plan: Option<Plan>,
    /// When the current camera was opened.
    opened: Pts,
    /// Since when no frame of the camera could be converted.
    unusable_since: Option<Pts>,
    showing: Showing,
    reduction: Reduction,
    /// This camera's account in the board's budget.
    account: Account,
    /// When the last frame had been encoded in all rungs.
    ready: Pts,
    /// The reduction that was last reported to status and log, and whether there are smaller rungs.
    told: (Option<Reduced>, bool),
    /// Whether the next picture must be an IDR, whatever the hubs say.
    fresh: bool,
    last_pts: Pts,
}

impl<'a> Conversion<'a> {
    pub(super) fn new(context: &'a Context, link: &'a Link) -> Self {
        Self {
            context,
            link,
            heartbeat: context.heartbeats.thread(&context.threads.name("video-convert")),
            config: context.config.borrow().clone(),
            converter: Converter::default(),
            pool: Arc::default(),
            plan: None,
            opened: Pts::from_micros(0),
            unusable_since: None,
            showing: Showing::Nothing,
            reduction: Reduction::default(),
            account: context.budget.open(),
            ready: Pts::from_micros(0),
            told: (None, true),
            fresh: true,
            last_pts: Pts::from_micros(0),
        }
    }

    pub(super) fn run(mut self, runtime: &Handle, stop: &CancellationToken) {
        let mut wants = self.context.stream.demand.wants();
        let mut config = self.context.config.clone();
        while !stop.is_cancelled() {
            // A slate has its own pace, so that somebody who joins or requests a snapshot while it is shown
            // does not wait. The heartbeat continues while pictures are wanted: a thread that hangs is
            // noticed even while it waits.
            let wanted = wants.borrow_and_update().viewers > 0;
            let slate = match self.showing {
                Showing::Slate { last, .. } => Some(last + slate::INTERVAL),
                _ => None,
            };
            let due = wanted.then(|| slate.map_or(STALL, |at| at.since(Pts::now())));
            match due {
                Some(due) => self.heartbeat.within(due + WORK),
                None => {
                    // Nothing is encoded, even if the camera stays open.
                    self.account.rest();
                    self.heartbeat.asleep();
                }
            }
            let input = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    Ok(()) = config.changed() => None,
                    input = self.link.input.take() => Some(input),
                    Ok(()) = wants.changed(), if slate.is_some() => None,
                    () = orders::sleep(due) => None,
                }
            });
            self.heartbeat.within(WORK);
            if *config.borrow() != self.config {
                self.config = config.borrow_and_update().clone();
                self.reconfigured();
            }
            match input {
                Some(Input::Closed) => {
                    self.plan_anything();
                    self.show(Showing::Nothing);
                }
                Some(Input::Expected(mode)) => {
                    self.opened = Pts::now();
                    self.expect(mode);
                    if let Showing::Slate { waits, .. } = &mut self.showing {
                        *waits = true;
                    }
                    self.plan();
                    self.prepare(); // even if it was planned before: the encoder may be gone
                }
                Some(Input::Frame(frame, mode, put)) => {
                    self.expect(mode); // the slot may have lost that the camera was expected
                    self.show(Showing::Camera);
                    self.frame(frame, put);
                }
                Some(Input::Starting) => {
                    self.no_picture(snapshot::Error::Gone("The camera is starting".into()), true);
                }
                Some(Input::Gone(reason)) => self.no_picture(snapshot::Error::Gone(reason), false),
                Some(Input::Private) => self.no_picture(snapshot::Error::Private, false),
                None => {}
            }
            self.slate();
        }
    }

    /// Applies a new configuration: a reduction for the old one no longer applies.
    fn reconfigured(&mut self) {
        self.reduction.reset();
        self.reduce();
        if self.plan.is_some() {
            self.plan();
        }
    }

    fn expect(&mut self, mode: Mode) {
        if self.reduction.opened(mode) {
            self.reduce();
            self.plan();
        }
    }

    /// Reports the reduction, if it has changed.
    fn reduce(&mut self) {
        let (reduced, smaller) = (self.reduction.reduced(), self.reduction.smaller());
        let known = |r: &Reduced| (r.size, r.fps);
        let (told, told_smaller) = &self.told;
        let is_news = reduced.as_ref().map(known) != told.as_ref().map(known);
        match (&reduced, smaller) {
            (Some(Reduced { size, fps, why }), _) if is_news => {
                info!("video: reduced to {size} at {fps} frames per second: {why}")
            }
            (None, Err(why)) if is_news || *told_smaller => info!("video: no smaller sizes: {why}"),
            (None, Ok(())) if is_news || !*told_smaller => info!("video: back to full size and rate"),
            _ => return,
        }
        let smaller = smaller.is_ok();
        self.context.status.change(|v| v.reduced.clone_from(&reduced));
        self.told = (reduced, smaller);
    }

    /// Shows a slate with this reason. If it `waits`, requested snapshots may still be answered.
    fn no_picture(&mut self, why: snapshot::Error, waits: bool) {
        self.account.rest();
        self.plan_anything();
        // Keep the pace of a slate that is already shown: a missing camera is reported once a second.
        let last = match self.showing {
            Showing::Slate { last, .. } => last,
            _ => Pts::from_micros(0),
        };
        self.show(Showing::Slate { why, last, waits });
    }

    /// Before any camera was seen, plans encoders for the configured mode: viewers can be answered, and most
    /// cameras will deliver that mode.
    fn plan_anything(&mut self) {
        if self.plan.is_none() {
            self.plan();
        }
    }

    /// Makes the plan from the camera's mode, the configuration and the reduction.
    fn plan(&mut self) {
        let config = &self.config;
        let (size, fps) = match self.reduction.size() {
            Some(size) => (size, self.reduction.fps()),
            None => (config.size, f64::from(config.frame_rate)),
        };
        let (bitrate_bps, effort) = (config.bitrate_bps, config.effort);
        let mut plan =
            Plan { size: size.even(), fps, most_fps: fps, bitrate_bps, effort, level: Arc::default() };
        let before = self.plan.as_ref().filter(|before| before.fits(&plan));
        let same = before.is_some_and(|before| before.bitrate_bps == bitrate_bps);
        match before {
            Some(before) => (plan.most_fps, plan.level) = (before.most_fps, before.level.clone()),
            None => self.fresh = true,
        }
        let (size, smaller) = (Some(plan.size), self.reduction.smaller().is_ok());
        self.plan = Some(plan);
        self.context.stream.offer(Offered { size, fps, bitrate_bps, smaller });
        if !same {
            self.prepare();
        }
    }

    /// Makes the full rung create its encoder, whose profile goes into answers, even without viewers.
    fn prepare(&self) {
        let Some(plan) = &self.plan else { return };
        let job = |old: Option<&Job>| Job {
            plan: plan.clone(),
            // A picture that waits for a different encoder is of no use to this one.
            picture: old.filter(|old| old.plan.fits(plan)).and_then(|old| old.picture.clone()),
            idr: old.is_some_and(|old| old.idr),
        };
        self.link.jobs[Share::Full.index()].put_after(job);
    }

    fn show(&mut self, what: Showing) {
        self.fresh |= std::mem::discriminant(&self.showing) != std::mem::discriminant(&what);
        self.showing = what;
    }

    fn frame(&mut self, frame: Frame, put: Pts) {
        self.measure();
        let Context { snapshots, private, .. } = self.context;
        let watched = self.watched().contains(&true);
        if watched && !self.reduction.takes(frame.pts) {
            return;
        }
        let taken = Pts::now();
        let mut image = self.pool.image(frame.size.even());
        if let Err(e) = self.converter.convert(&frame, &mut image) {
            self.pool.keep(image);
            self.damaged(&e.to_string(), taken);
            return;
        }
        self.unusable_since = None;
        let pts = frame.pts;
        drop(frame); // returns its buffer to the driver while we encode
        if taken.since(self.opened) >= SETTLING {
            snapshots.serve(|| {
                let jpeg = mjpeg::encode(&image, SNAPSHOT_QUALITY);
                if private.is_on() {
                    return Err(snapshot::Error::Private); // switched on after the frame was taken
                }
                jpeg.map(Into::into).map_err(|e| snapshot::Error::Gone(e.to_string()))
            });
        }
        self.hand_out(image, pts, [put, taken], true);
    }

    /// Records what the last pictures took.
    fn measure(&mut self) {
        let pressure = *self.context.pressure.borrow();
        for finished in self.pool.finished() {
            let spent = finished.spent(self.ready);
            self.ready = self.ready.max(finished.ready);
            // Pictures made with a different plan don't count.
            let planned = self.plan.as_ref().is_some_and(|plan| plan.size == finished.size);
            if planned {
                if self.reduction.encoded(finished.ready, spent, pressure, self.account.others()) {
                    self.reduce();
                    self.plan();
                }
                self.account.report(self.reduction.stand());
            }
        }
    }

    /// Counts a damaged frame; if only such frames arrive for a while, has the camera reopened.
    fn damaged(&mut self, error: &str, now: Pts) {
        let count = &self.context.status.counters.damaged_jpeg;
        if count.get() == 0 {
            info!("dropped a damaged frame ({error}); from now on, damaged frames are only counted");
        }
        count.count();
        if now.since(*self.unusable_since.get_or_insert(now)) > STALL {
            self.unusable_since = None;
            self.link.complaint.put(error.to_owned());
        }
    }

    fn slate(&mut self) {
        // The capture thread says so only later, and it may first look for the camera.
        if let Showing::Slate { why: snapshot::Error::Private, .. } = self.showing
            && !self.context.private.is_on()
        {
            self.show(Showing::Nothing);
        }
        let Showing::Slate { why, last, waits } = &mut self.showing else { return };
        let Context { stream, snapshots, .. } = self.context;
        if !*waits {
            snapshots.serve(|| Err(why.clone()));
        }
        let Some(plan) = &self.plan else { return };
        let now = Pts::now();
        let mut watched =
            Share::ALL.into_iter().map(|s| stream.hub(s)).filter(|hub| hub.subscribers() > 0).peekable();
        let due = watched.peek().is_some() && now.since(*last) >= slate::INTERVAL;
        if !due && !watched.any(|hub| hub.keyframe_due(now)) {
            return;
        }
        *last = now;
        let mut image = self.pool.image(plan.size);
        slate::draw(&mut image, &why.to_string());
        self.hand_out(image, now, [now, now], false);
    }

    /// The rungs that have viewers.
    fn watched(&self) -> [bool; Share::ALL.len()] {
        Share::ALL.map(|share| self.context.stream.hub(share).subscribers() > 0)
    }

    /// Passes a picture, `captured` or drawn by us, to the rungs that have viewers.
    fn hand_out(&mut self, image: I420, pts: Pts, [put, taken]: [Pts; 2], captured: bool) {
        let watched = self.watched();
        let Some(plan) = self.plan.as_ref().filter(|_| watched.contains(&true) && pts > self.last_pts) else {
            self.pool.keep(image); // nobody is watching, or a slate was newer: RTP time never goes back
            return;
        };
        self.last_pts = pts;
        let now = Pts::now();
        let picture = Arc::new(self.pool.picture(image, pts, [put, taken, now], captured, plan.size));
        // For all rungs before any of them has the picture: a viewer that changes to a rung must know where
        // it begins.
        let idrs = Share::ALL.map(|share| {
            let waiting = || self.link.jobs[share.index()].look(|job| job.is_some_and(|job| job.idr));
            watched[share.index()] && self.context.stream.hub(share).begin(pts, self.fresh || waiting(), now)
        });
        self.fresh = false;
        for share in Share::ALL.into_iter().filter(|share| watched[share.index()]) {
            let idr = idrs[share.index()];
            let job = |old: Option<&Job>| Job {
                plan: plan.clone(),
                picture: Some(picture.clone()),
                idr: idr || old.is_some_and(|old| old.idr),
            };
            let old = self.link.jobs[share.index()].put_after(job);
            let superseded = old.is_some_and(|old| old.picture.is_some());
            self.context.status.counters.superseded.add(superseded.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::sync::watch;

    use super::*;
    use crate::pipeline::camera::Camera;
    use crate::pipeline::video::tests::context;
    use crate::privacy::Privacy;

    /// Who requests a snapshot as soon as privacy is off gets a picture, though the camera is not open yet.
    #[tokio::test]
    async fn privacy_that_is_off_again_refuses_no_snapshot() {
        let (camera, privacy) = (Camera::new("front", "Front"), watch::Sender::default());
        let context = context(&camera, config::Video::default(), privacy.subscribe());
        let link = Link::default();
        let mut conversion = Conversion::new(&context, &link);
        privacy.send_replace(Privacy { all: true, ..Privacy::default() });
        conversion.no_picture(snapshot::Error::Private, false);
        let ask = async |conversion: &mut Conversion| {
            let mut taken = pin!(camera.snapshots.take());
            assert!(poll!(&mut taken).is_pending());
            conversion.slate();
            camera.snapshots.serve(|| Ok("the camera's".into()));
            taken.await
        };
        assert!(matches!(ask(&mut conversion).await, Err(snapshot::Error::Private)));
        privacy.send_replace(Privacy::default());
        assert_eq!(ask(&mut conversion).await.expect("a picture"), "the camera's");
    }
}
