//! What a video section of a viewer receives: a camera and a rung of it, and how it switches from one to
//! another without a gap.
//!
//! The track also subscribes to the target. Before a picture goes to any rung, it is decided whether the
//! target begins with an IDR at that picture, and the target's hub reports its capture time
//! ([`Subscription::agreed`]). Pictures of the old rung from that time on are held back, at most two. When
//! the target's IDR arrives, they are dropped and the IDR is sent; if it does not arrive (its encoder failed,
//! or took too long), they are sent, and the track waits for the next agreed time. So capture times always
//! increase, each run of pictures begins with an IDR, and few pictures are left out.
//!
//! A different camera is a target like any other: all capture times are of one clock. But it may take longer
//! to decide than the old one takes to deliver, and then pictures are sent that were captured after its IDR.
//! Where that happens, the newest pictures of the old camera are held back before anything is agreed.
//!
//! A viewer whose link does not carry all pictures of its rung is not sent the disposable ones. Packets get their
//! numbers later, so it misses nothing, and it may be sent all of them again from any picture on. A viewer whose link
//! carries no pictures is on no rung; it still counts as watching.
//!
//! A track on a camera, or about to be, has a claim on it from before its first picture is awaited until
//! after its last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::watch;

use super::ladder::{Ladder, Layers, Pictures, Step};
use crate::clock::Pts;
use crate::media::unit::VideoUnit;
use crate::pipeline::camera::Camera;
use crate::pipeline::demand::Claim;
use crate::pipeline::hub::{Capacity, Subscription};
use crate::pipeline::quality::{Offered, Quality, Share};

/// Number of pictures of the old rung that are held back.
const HELD: usize = 2;
/// Upper limit of that number, which doubles after each agreed time that was missed: where an IDR takes
/// longer than two pictures, a short freeze is better than staying on a rung for ever.
const MOST_HELD: usize = 8;
/// After this many late IDRs of the target, the track switches although nothing is shown until the next IDR.
const MOST_LATE: u32 = 3;

/// The pictures of a video section.
#[derive(Default)]
pub(super) struct Track {
    wish: Quality,
    /// What its link probably carries, in bits per second, until the first rung is chosen.
    begins_with: Option<f64>,
    /// The choice of the rung among those that the viewer wants.
    ladder: Ladder,
    /// The current or next camera and rung; `None`: nothing is sent.
    target: Option<Target>,
    /// The rung that is sent now; `None`: nothing yet.
    at: Option<Rung>,
    /// The rung that is sent from the next IDR on.
    next: Option<Rung>,
    switch: Switch,
    /// Pictures to send now.
    ready: VecDeque<Arc<VideoUnit>>,
    /// How often it lagged on rungs that it has left.
    lagged: u64,
    /// Cameras whose pictures it was sent since it was last concealed.
    shown: Vec<String>,
    changed: bool,
}

/// A camera, for as long as something is wanted from it.
struct Source {
    camera: Arc<Camera>,
    _claim: Claim,
}

/// A camera, and the rungs of it that viewers may have.
struct Target {
    source: Arc<Source>,
    changes: watch::Receiver<Offered>,
    /// The rungs as last looked up, because that takes a lock that all viewers share.
    offered: Offered,
}

/// A rung of a camera.
struct Rung {
    source: Arc<Source>,
    /// Which rung, and which of its pictures.
    layers: Layers,
    pictures: Subscription<VideoUnit>,
}

impl Source {
    fn is(&self, camera: &Camera) -> bool {
        Arc::ptr_eq(&self.camera.video, &camera.video)
    }
}

impl Rung {
    fn is(&self, source: &Arc<Source>, share: Share) -> bool {
        self.layers.share == share && Arc::ptr_eq(&self.source, source)
    }
}

impl Track {
    /// The viewer's link probably carries this much of it, in bits per second. Call it before [`Self::show`].
    pub(super) fn begin(&mut self, carried_bps: f64) {
        self.begins_with = Some(carried_bps);
    }

    /// Switches to that camera in this quality. Does nothing if that is already so.
    pub(super) fn show(&mut self, camera: &Arc<Camera>, wish: Quality) {
        let before = std::mem::replace(&mut self.wish, wish);
        if self.target.is_some() && wish.largest() < before.largest() {
            self.ladder.ask();
        }
        if self.target.as_ref().is_none_or(|target| !target.source.is(camera)) {
            let still = self.at.as_ref().map(|at| &at.source).filter(|source| source.is(camera));
            let source = still.cloned().unwrap_or_else(|| {
                Arc::new(Source { camera: camera.clone(), _claim: camera.video.demand.watch() })
            });
            let mut changes = camera.video.offered();
            let offered = *changes.borrow_and_update();
            self.target = Some(Target { source, changes, offered });
        }
        if let Some(carried_bps) = self.begins_with.take() {
            // Of all sizes, because one that is larger than this may be requested at any time.
            let steps = self.steps(Share::Full);
            self.ladder.begin(&steps, carried_bps);
        }
        self.follow();
    }

    /// Stops sending, and ends all demand for cameras.
    pub(super) fn stop(&mut self) {
        (self.target, self.next) = (None, None);
        self.leave();
    }

    /// Stops sending the current rung; the target, if different, is still waited for.
    pub(super) fn leave(&mut self) {
        self.end();
        self.follow();
    }

    fn end(&mut self) {
        if let Some(at) = self.at.take() {
            self.lagged += at.pictures.lagged();
            self.changed = true;
        }
        self.drop_held();
    }

    /// Whether it wants anything of a camera.
    pub(super) fn wants(&self) -> bool {
        self.target.is_some()
    }

    /// The camera that it is sending, and what of it.
    pub(super) fn gets(&self) -> Option<(&str, Layers)> {
        let sent = self.at.as_ref().map(|at| (&at.source, at.layers));
        let none = || Some((&self.target.as_ref()?.source, self.ladder.at()));
        let none = || none().filter(|(_, layers)| layers.pictures == Pictures::None);
        sent.or_else(none).map(|(source, layers)| (&*source.camera.name, layers))
    }

    /// Whether these changed since the previous call.
    pub(super) fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Switches to the largest rung among those offered now that is requested and that the link carries, and to as
    /// many of its layers.
    pub(super) fn follow(&mut self) {
        let Some(Target { source, changes, offered }) = &mut self.target else { return };
        *offered = *changes.borrow_and_update();
        let chosen = self.ladder.at();
        let share = offered.nearest(chosen.share.max(self.wish.largest())); // the smaller one
        let layers = if chosen.share == share { chosen } else { Layers::all(share) };
        if layers.pictures == Pictures::None {
            self.next = None;
            self.end();
            return;
        }
        if let Some(at) = self.at.as_mut().filter(|at| at.is(source, share)) {
            self.changed |= std::mem::replace(&mut at.layers, layers) != layers;
            if self.next.is_none() {
                return;
            }
        } else if let Some(next) = self.next.as_mut().filter(|next| next.is(source, share)) {
            next.layers = layers;
            return;
        }
        self.switch.cancel(&mut self.ready);
        let hub = source.camera.video.hub(share);
        self.next = match &self.at {
            Some(at) if at.is(source, share) => None,
            // It shows pictures meanwhile.
            Some(_) => Some(hub.subscribe_next()),
            None => Some(hub.subscribe()),
        }
        .map(|pictures| Rung { source: source.clone(), layers, pictures });
    }

    /// The next picture to send. The task is woken when there is one.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Arc<VideoUnit>> {
        self.advance(|pictures| match pictures.poll_recv(cx) {
            Poll::Ready(unit) => Some(unit),
            Poll::Pending => None,
        })
        .map_or(Poll::Pending, Poll::Ready)
    }

    /// The next picture to send that is already there.
    pub(super) fn try_recv(&mut self) -> Option<Arc<VideoUnit>> {
        self.advance(Subscription::try_recv)
    }

    /// Takes pictures by `take` until there is one to send, or no more.
    fn advance(
        &mut self,
        mut take: impl FnMut(&mut Subscription<VideoUnit>) -> Option<Arc<VideoUnit>>,
    ) -> Option<Arc<VideoUnit>> {
        loop {
            if let Some(unit) = self.ready.pop_front() {
                if unit.disposable && self.at.as_ref().is_some_and(|at| at.layers.pictures == Pictures::Base)
                {
                    continue;
                }
                return Some(unit);
            }
            // If both are there, the one of the old rung is older.
            if let Some(unit) = self.at.as_mut().and_then(|at| take(&mut at.pictures)) {
                self.old(unit);
            } else {
                let unit = self.next.as_mut().and_then(|next| take(&mut next.pictures))?;
                self.new_one(&unit);
            }
        }
    }

    /// Its viewer lost pictures: requests a keyframe. Returns false if it does so too often.
    pub(super) fn wish_keyframe(&self, now: Pts) -> bool {
        self.at.as_ref().is_none_or(|at| at.pictures.wish_keyframe(now)) // it begins with one
    }

    /// Its pictures were dropped on the way to its viewer: requests a keyframe. Returns false if that is too soon.
    pub(super) fn need_keyframe(&self, now: Pts) -> bool {
        self.at.as_ref().is_none_or(|at| at.pictures.need_keyframe(now))
    }

    /// How much its pictures need at most, in bits per second, and how many there are a second at most; 0 before that
    /// is known. That is of the rung that the viewer requests, even while its link does not carry it.
    pub(super) fn most(&self) -> (f64, f64) {
        let Some(Target { offered, .. }) = &self.target else { return (0.0, 0.0) };
        (offered.nearest(self.wish.largest()).bitrate_bps(offered.bitrate_bps).into(), offered.fps)
    }

    /// Moves to the rung and the layers that the link carries, among those that are requested.
    pub(super) fn choose(&mut self, carried_bps: f64, now: Instant) {
        let steps = self.steps(self.wish.largest());
        self.ladder.choose(&steps, carried_bps, now);
        self.follow();
    }

    /// What it could be sent in this size and the smaller ones, from the most to the least.
    fn steps(&self, largest: Share) -> Vec<Step> {
        let Some(Target { source, offered, .. }) = &self.target else { return vec![] };
        let largest = offered.nearest(largest);
        let own = |share| self.at.iter().chain(&self.next).find(|rung| rung.is(source, share));
        let rungs = offered.shares().filter(|share| *share >= largest).map(|share| {
            let others = match own(share) {
                Some(rung) => rung.pictures.capacity_of_others(),
                None => source.camera.video.hub(share).capacity(),
            };
            let most = share.bitrate_bps(offered.bitrate_bps);
            let others_bps = others.map_or(0, |others| others.bitrate_bps.min(most));
            (share, others_bps.into(), most.into())
        });
        let rungs: Vec<_> = rungs.collect();
        Step::of(&rungs, offered.fps)
    }

    /// Reports what the viewer's link carries of its pictures.
    pub(super) fn set_capacity(&self, capacity: Capacity) {
        for rung in self.at.iter().chain(&self.next) {
            rung.pictures.set_capacity(capacity);
        }
    }

    /// How often it lagged and skipped to a keyframe.
    pub(super) fn lagged(&self) -> u64 {
        self.lagged + self.at.as_ref().map_or(0, |at| at.pictures.lagged())
    }

    /// Privacy was switched on for this camera, or for all: discards its pictures that are held back. Returns
    /// whether any of it was sent.
    pub(super) fn conceal(&mut self, camera: Option<&str>) -> bool {
        let sent = !self.shown.is_empty() && camera.is_none_or(|c| self.shown.iter().any(|s| s == c));
        if sent {
            self.drop_held();
            self.shown.clear();
            self.shown.extend(self.at.as_ref().map(|at| at.source.camera.name.clone()));
        }
        sent
    }

    fn drop_held(&mut self) {
        self.switch.held.clear();
        self.ready.clear();
    }

    /// Checked for each picture, because waiting for it would take a lock.
    fn look(&mut self) {
        if self.target.as_ref().is_some_and(|target| target.changes.has_changed().unwrap_or_default()) {
            self.follow();
        }
    }

    fn old(&mut self, unit: Arc<VideoUnit>) {
        self.look();
        let agreed = self.next.as_ref().and_then(|next| next.pictures.agreed());
        if !self.switch.old(unit, agreed, &mut self.ready) {
            self.ask_again();
        }
    }

    fn new_one(&mut self, unit: &Arc<VideoUnit>) {
        let agreed = self.next.as_ref().and_then(|next| next.pictures.agreed());
        match self.switch.next(unit, agreed, &mut self.ready) {
            Arrival::Switched => {
                let Some(next) = self.next.take() else { return };
                let name = &next.source.camera.name;
                if !self.shown.contains(name) {
                    self.shown.push(name.clone());
                }
                let before = self.at.replace(next);
                self.lagged += before.map_or(0, |at| at.pictures.lagged());
                self.changed = true;
                self.look();
            }
            Arrival::TooLate => {
                if self.switch.late == MOST_LATE {
                    self.leave();
                }
                self.ask_again();
            }
            Arrival::Useless => {}
        }
    }

    fn ask_again(&self) {
        if let Some(next) = &self.next {
            next.pictures.ask_again();
        }
    }
}

/// What to do with a picture of the target.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    /// Send it, and all that follow it.
    Switched,
    /// It would have been sent, but a later one of the old rung was.
    TooLate,
    /// It can't be shown without the pictures before it.
    Useless,
}

/// Decides which pictures of which rung are sent.
#[derive(Debug, Default)]
struct Switch {
    /// Capture time of the newest picture that was sent.
    last: Option<Pts>,
    held: VecDeque<Arc<VideoUnit>>,
    /// An agreed time that is not waited for any more.
    given_up: Option<Pts>,
    /// Number of agreed times that were missed.
    failures: u32,
    /// Number of IDRs that came too late.
    late: u32,
    /// How many of the newest pictures are held back while no time is agreed: they may turn out to be later
    /// than it.
    kept: usize,
}

impl Switch {
    /// Takes a picture of the old rung; the target begins at `agreed` if that is known. Returns false if the
    /// target missed it.
    fn old(&mut self, unit: Arc<VideoUnit>, agreed: Option<Pts>, out: &mut VecDeque<Arc<VideoUnit>>) -> bool {
        self.held.push_back(unit);
        let agreed = agreed.filter(|at| self.given_up != Some(*at));
        let before = |unit: &Arc<VideoUnit>| agreed.is_none_or(|at| unit.pts < at);
        let free = self.held.iter().take_while(|unit| before(unit)).count();
        let most = (HELD << self.failures.min(8)).min(MOST_HELD).max(self.kept);
        if self.held.len() - free <= most {
            self.send(free.min(self.held.len().saturating_sub(self.kept)), out);
            return true;
        }
        self.given_up = agreed;
        self.failures += 1;
        self.send(self.held.len(), out);
        false
    }

    /// Takes a picture of the target, which begins at `agreed` if that is known.
    fn next(
        &mut self,
        unit: &Arc<VideoUnit>,
        agreed: Option<Pts>,
        out: &mut VecDeque<Arc<VideoUnit>>,
    ) -> Arrival {
        if !unit.idr {
            return Arrival::Useless;
        }
        if self.last.is_some_and(|last| unit.pts <= last) {
            // It was agreed and not given up: a later picture of the old rung was sent before that was known.
            if agreed == Some(unit.pts) && self.given_up != agreed {
                self.kept = (self.kept * 4).clamp(HELD, MOST_HELD);
            }
            self.late += 1;
            return Arrival::TooLate;
        }
        let before = self.held.iter().take_while(|held| held.pts < unit.pts).count();
        self.send(before, out);
        *self = Self { last: Some(unit.pts), ..Self::default() };
        out.push_back(unit.clone());
        Arrival::Switched
    }

    /// Continues with the old rung.
    fn cancel(&mut self, out: &mut VecDeque<Arc<VideoUnit>>) {
        self.send(self.held.len(), out);
        *self = Self { last: self.last, ..Self::default() };
    }

    /// Sends the first `count` of the pictures that are held back.
    fn send(&mut self, count: usize, out: &mut VecDeque<Arc<VideoUnit>>) {
        out.extend(self.held.drain(..count).inspect(|unit| self.last = Some(unit.pts)));
    }
}

#[cfg(test)]
pub(super) mod tests;
