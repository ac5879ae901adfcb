//! The thread `video-capture`: opens and closes the camera as its orders say, and retries it in one place.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Context, Input, Link, STALL};
use crate::capture::source::{Chooser, Found};
use crate::capture::{self, Counted, FIRST_FRAME, VideoSource};
use crate::clock::Pts;
use crate::config;
use crate::hush::Hush;
use crate::media::mode::Mode;
use crate::pipeline::orders::{Order, Orders, PRIVATE, Search, Signals};
use crate::pipeline::worker::TICK;
use crate::status::{self, State};

/// Time between attempts to open the camera.
const RETRY: Duration = Duration::from_secs(1);
/// A camera is given up if no frame arrives for [`STALL`], or for this many frame intervals if that is
/// longer.
const STALL_INTERVALS: f64 = 4.0;
/// A camera without a frame for this long after its start is reported as starting. Most are faster.
const SLOW_START: Duration = Duration::from_millis(500);
/// A camera that delivered frames for this long works in its mode, whatever happens later.
const WORKS: Duration = Duration::from_secs(10);
/// Time over which the delivered rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Below this share of the negotiated rate the camera is asked for the reason.
const SLOW: f64 = 0.75;

/// The state of the capture thread.
pub(super) struct Capture<'a> {
    context: &'a Context,
    link: &'a Link,
    orders: Orders<config::Video>,
    chooser: Chooser,
    search: Search,
    /// The logged reason why there is no camera; `None` while there is one.
    told: Option<String>,
    /// Keeps a camera that comes and goes from filling the log.
    hush: Hush<String>,
}

impl<'a> Capture<'a> {
    pub(super) fn new(context: &'a Context, link: &'a Link, stop: CancellationToken) -> Self {
        let Context { config, stream, private, hotplug, heartbeats, .. } = context;
        let chooser = Chooser::new(&config.borrow());
        let (config, private, hotplug) = (config.clone(), private.clone(), hotplug.clone());
        let signals = Signals { config, private, hotplug, stop };
        let heartbeat = heartbeats.thread(&context.threads.name("video-capture"));
        let orders = Orders::new(&stream.demand, |config| config.keep_open, signals, heartbeat);
        let search = Search::new(Pts::now());
        Self { context, link, orders, chooser, search, told: None, hush: Hush::faults() }
    }

    pub(super) fn run(mut self) {
        loop {
            self.changed(None);
            match self.orders.now() {
                Order::Open => self.open(),
                Order::Closed => self.rest(),
                Order::Private => self.hide(),
                Order::Stop => return,
            }
        }
    }

    /// Applies a changed configuration. Returns whether the camera must be reopened for it; `open` is the
    /// camera if it is open.
    fn changed(&mut self, open: Option<&mut dyn VideoSource>) -> bool {
        let mut anew = false;
        if *self.orders.config() != *self.chooser.config() {
            let config = self.orders.config().clone();
            self.orders.to_device();
            anew = self.chooser.configure(config, open);
            if anew {
                self.search = Search::new(Pts::now());
            }
        }
        anew
    }

    /// Runs the camera for as long as it should be open. This is the one place that retries it.
    fn open(&mut self) {
        self.context.status.change(status::Video::opening);
        let mut first = None;
        self.orders.to_device();
        let (error, broken) = match self.chooser.open() {
            Err(e) => (e, None),
            Ok((mut source, found)) => {
                self.found(found);
                let result = self.pass_on(&mut *source, &mut first);
                self.orders.to_device(); // it will be closed
                match result {
                    Ok(()) => return,
                    Err(e) => (e, Some(source)),
                }
            }
        };
        self.context.status.counters.camera_lost.add(first.is_some().into());
        if first.is_none_or(|first| Pts::now().since(first) < WORKS) {
            self.chooser.failed(&error);
        }
        let reason = self.gone(&error);
        self.link.input.put(Input::Gone(reason));
        drop(broken); // only now: a driver may take long to close a dead device, and viewers have been told already
        self.orders.pause(RETRY);
    }

    /// Passes frames on until the source fails (`Err`), or until it must be closed or a different one opened
    /// (`Ok`). Sets `first` to the time of the first frame.
    fn pass_on(
        &mut self,
        device: &mut dyn VideoSource,
        first: &mut Option<Pts>,
    ) -> Result<(), capture::Error> {
        let Context { status, .. } = self.context;
        let mut mode = device.mode();
        self.link.complaint.try_take(); // it was about an earlier opening
        self.link.input.put(Input::Expected(mode));
        let stall = STALL.max(Duration::from_secs_f64(STALL_INTERVALS / mode.fps.max(0.1)));
        let started = Pts::now();
        let (mut last, mut rate, mut starting, mut slow) = (started, Rate::new(started), false, false);
        while self.orders.now() == Order::Open {
            if self.changed(Some(device)) {
                return Ok(());
            }
            let next = device.next(TICK);
            let Counted { captured, lost, damaged } = device.counted();
            status.counters.captured.add(captured);
            status.counters.sequence_gaps.add(lost);
            status.counters.error_buffers.add(damaged);
            let frame = next?;
            let now = Pts::now();
            if let Some(frame) = frame {
                last = now;
                rate.count();
                if device.mode() != mode {
                    mode = device.mode();
                    info!(
                        "camera: sends pictures of {} instead of the agreed size; they are shown as they arrive",
                        mode.size
                    );
                    status.change(|v| v.negotiated = Some(mode));
                }
                if now.since(*first.get_or_insert(now)) >= WORKS {
                    self.chooser.worked();
                }
                let is_first = *first == Some(now);
                if is_first {
                    status.change(|v| (v.state, v.reason) = (State::Live, None));
                    self.search.found();
                    self.back();
                }
                // The first one also ends a slate, even if nobody watches it.
                if is_first || self.orders.wants().capture() {
                    let input = |waiting: Option<&Input>| match waiting {
                        Some(Input::Frame(_, _, since)) => Input::Frame(frame, mode, *since),
                        _ => Input::Frame(frame, mode, now),
                    };
                    if let Some(Input::Frame(..)) = self.link.input.put_after(input) {
                        status.counters.superseded.count();
                    }
                }
            } else if now.since(last) > if first.is_some() { stall } else { FIRST_FRAME.max(stall) } {
                return Err(capture::Error::Stalled("camera"));
            } else if first.is_none() && !starting && now.since(started) > SLOW_START {
                starting = true;
                status.change(|v| (v.state, v.reason) = (State::Starting, None));
                self.link.input.put(Input::Starting);
            }
            if let Some(complaint) = self.link.complaint.try_take() {
                let why = format!("the camera sends no usable picture: {complaint}");
                return Err(capture::Error::Unusable(why));
            }
            let (measured, plugged) = (rate.measured(now), self.orders.plugged());
            if measured.is_some() || plugged {
                self.orders.to_device();
            }
            if let Some(fps) = measured {
                slow = fps < SLOW * mode.fps;
                status.measured(|v| {
                    (v.delivered_fps, v.rate_note) = (Some(fps), v.rate_note.take().filter(|_| slow))
                });
            }
            // A camera that delivers no more frames may not answer either, and would block us until its
            // driver gives up.
            if slow && now == last {
                slow = false;
                self.orders.to_device();
                let note = device.rate_note();
                status.measured(|v| v.rate_note = note);
            }
            if (measured.is_some() || plugged) && self.chooser.better_than_stand_in(plugged) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nobody is watching: keeps the camera closed. At first it looks for the camera and negotiates its mode,
    /// so that viewers can be answered before it is open; also when something was plugged in or out, and now
    /// and then while it is missing.
    fn rest(&mut self) {
        let Context { status, .. } = self.context;
        if self.orders.plugged() {
            self.search = Search::new(Pts::now());
        }
        match self.search.due_in(Pts::now()) {
            Some(Duration::ZERO) => {
                status.change(status::Video::uncovered); // looking opens it for a moment
                self.orders.to_device();
                match self.chooser.look() {
                    Ok(found) => {
                        self.link.input.put(Input::Expected(found.mode));
                        self.found(found);
                        self.search.found();
                        self.back();
                        self.idle();
                    }
                    Err(e) => {
                        self.link.input.put(Input::Closed);
                        self.gone(&e);
                    }
                }
            }
            Some(_) => drop(self.link.input.put(Input::Closed)),
            None => {
                self.link.input.put(Input::Closed);
                self.idle();
            }
        }
        let due = self.search.due_in(Pts::now());
        self.orders.wait(due);
    }

    /// Reports the source that was found.
    fn found(&self, found: Found) {
        let config = self.chooser.config();
        let wanted = Mode {
            size: config.size,
            fps: f64::from(config.frame_rate),
            format: config.pixel_format,
            range: None,
        };
        self.context.status.change(|v| {
            (v.source, v.name, v.device, v.why) = (found.source, found.name, found.node, found.why);
            (v.wanted, v.negotiated) = (Some(wanted), Some(found.mode));
        });
    }

    fn idle(&self) {
        self.context.status.change(|v| {
            if v.state != State::Idle {
                debug!("camera closed: nobody is watching");
            }
            (v.state, v.reason, v.delivered_fps, v.rate_note) = (State::Idle, None, None, None);
        });
    }

    /// Privacy: closes the camera, and drops a waiting frame with its buffer.
    fn hide(&mut self) {
        self.link.input.put(Input::Private);
        self.context.status.change(|v| {
            if v.state != State::Private {
                info!("camera: closed, because privacy is on");
            }
            (v.state, v.reason) = (State::Private, Some(PRIVATE.into()));
            (v.delivered_fps, v.rate_note) = (None, None);
        });
        (self.search, self.told) = (Search::new(Pts::now()), None);
        self.orders.wait(None);
    }

    /// Logs that the camera is back, if it was gone.
    fn back(&mut self) {
        if self.told.take().is_some()
            && let Some(more) = self.hush.may_say("back".into(), Pts::now())
        {
            info!("camera: back: {}{more}", self.chooser.name());
        }
    }

    /// Reports that there is no camera, and why; logs only what is new.
    fn gone(&mut self, error: &capture::Error) -> String {
        let reason = error.to_string();
        if self.told.as_ref() != Some(&reason)
            && let Some(more) = self.hush.may_say(reason.clone(), Pts::now())
        {
            warn!("camera: {reason}; trying again every second while somebody is watching{more}");
        }
        self.search.missing(Pts::now());
        self.context.status.change(|v| {
            (v.state, v.reason) = (State::Gone, Some(reason.clone()));
            (v.delivered_fps, v.rate_note) = (None, None);
        });
        self.told = Some(reason.clone());
        reason
    }
}

/// Measures frames per second over [`RATE_WINDOW`].
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

    /// The rate, once per window.
    fn measured(&mut self, now: Pts) -> Option<f64> {
        let passed = now.since(self.since);
        (passed >= RATE_WINDOW).then(|| {
            let fps = f64::from(self.frames) / passed.as_secs_f64();
            *self = Self::new(now);
            (fps * 10.0).round() / 10.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
