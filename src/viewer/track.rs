//! Which rung a viewer gets, and how it goes from one to another without a gap.
//!
//! It subscribes to the target as well. Before a picture goes to any rung it is decided whether the target begins with an IDR
//! at it, and the target's hub tells when that picture was captured ([`Subscription::agreed`]). Pictures of the old rung from
//! then on are held back, two at most. When the target's IDR comes, they are dropped and it is sent; when it does not (its
//! encoder failed, or it took too long), they are sent, and the next agreed time is waited for. So capture times strictly
//! rise, each run of pictures begins with an IDR, and few pictures are left out.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Pts;
use crate::media::unit::VideoUnit;
use crate::pipeline::hub::Subscription;
use crate::pipeline::quality::{Offered, Quality, Share};
use crate::pipeline::stream::VideoStream;

/// Pictures of the old rung that are held back.
const HELD: usize = 2;
/// After each agreed time that was not met twice as many, but not more: where an IDR takes longer than two pictures, a short
/// stillness is better than to stay on a rung for ever.
const MOST_HELD: usize = 8;

/// One viewer's pictures.
pub struct Track {
    stream: Arc<VideoStream>,
    offered: watch::Receiver<Offered>,
    wish: Quality,
    share: Share,
    at: Subscription<VideoUnit>,
    next: Option<(Share, Subscription<VideoUnit>)>,
    switch: Switch,
    /// To be sent now.
    ready: VecDeque<Arc<VideoUnit>>,
    /// How often it fell behind on rungs that it has left.
    lagged: u64,
    switched: bool,
}

impl Track {
    /// Begins with what is nearest to `wish` now.
    pub fn new(stream: Arc<VideoStream>, wish: Quality) -> Self {
        let mut offered = stream.offered();
        let share = offered.borrow_and_update().nearest(wish);
        let at = stream.hub(share).subscribe();
        let (switch, ready) = (Switch::default(), VecDeque::new());
        Self { stream, offered, wish, share, at, next: None, switch, ready, lagged: 0, switched: false }
    }

    /// The rung that it gets.
    pub fn share(&self) -> Share {
        self.share
    }

    /// The rung that it gets, if that is another one since this was asked last.
    pub fn switched(&mut self) -> Option<Share> {
        std::mem::take(&mut self.switched).then_some(self.share)
    }

    /// From now on it wishes for that.
    pub fn wish(&mut self, wish: Quality) {
        self.wish = wish;
        self.follow();
    }

    /// Goes where its wish is met best by what is offered now.
    pub fn follow(&mut self) {
        let target = self.offered.borrow_and_update().nearest(self.wish);
        if self.next.as_ref().map_or(self.share, |(share, _)| *share) == target {
            return;
        }
        self.switch.cancel(&mut self.ready);
        let hub = self.stream.hub(target);
        self.next = (target != self.share).then(|| (target, hub.subscribe_next()));
    }

    /// The next picture to send. Nothing is lost when it is dropped while waiting.
    pub async fn recv(&mut self) -> Arc<VideoUnit> {
        loop {
            if let Some(unit) = self.ready.pop_front() {
                return unit;
            }
            match &mut self.next {
                None => {
                    let unit = self.at.recv().await;
                    self.old(unit);
                }
                Some((_, next)) => tokio::select! {
                    biased; // of two that are there, the older one is the old rung's
                    unit = self.at.recv() => self.old(unit),
                    unit = next.recv() => self.new_one(&unit),
                },
            }
        }
    }

    /// The next picture to send, of those that are there already.
    pub fn try_recv(&mut self) -> Option<Arc<VideoUnit>> {
        loop {
            if let Some(unit) = self.ready.pop_front() {
                return Some(unit);
            }
            if let Some(unit) = self.at.try_recv() {
                self.old(unit);
            } else {
                let unit = self.next.as_mut().and_then(|(_, next)| next.try_recv())?;
                self.new_one(&unit);
            }
        }
    }

    /// Its viewer lost pictures. False: it wishes for keyframes too often.
    pub fn wish_keyframe(&self, now: Pts) -> bool {
        self.at.wish_keyframe(now)
    }

    /// How often it fell behind and skipped to a keyframe.
    pub fn lagged(&self) -> u64 {
        self.lagged + self.at.lagged()
    }

    /// There is privacy: what is held back is dropped.
    pub fn conceal(&mut self) {
        self.switch.held.clear();
        self.ready.clear();
    }

    fn old(&mut self, unit: Arc<VideoUnit>) {
        // Looked at for each picture, because to wait for it would take a lock.
        if self.offered.has_changed().unwrap_or_default() {
            self.follow();
        }
        let agreed = self.next.as_ref().and_then(|(_, next)| next.agreed());
        if !self.switch.old(unit, agreed, &mut self.ready) {
            self.ask_again();
        }
    }

    fn new_one(&mut self, unit: &Arc<VideoUnit>) {
        match self.switch.next(unit, &mut self.ready) {
            Arrival::Switched => {
                let Some((share, next)) = self.next.take() else { return };
                self.lagged += self.at.lagged();
                (self.share, self.at, self.switched) = (share, next, true);
            }
            Arrival::TooLate => self.ask_again(),
            Arrival::Useless => {}
        }
    }

    fn ask_again(&self) {
        if let Some((_, next)) = &self.next {
            next.ask_again();
        }
    }
}

/// What a picture of the target is good for.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    /// It is sent, and all that follow it.
    Switched,
    /// It would have been, but a later one of the old rung was sent.
    TooLate,
    /// It can't be shown without what came before it.
    Useless,
}

/// Decides what is sent of which rung.
#[derive(Debug, Default)]
struct Switch {
    /// When the newest picture that was sent was captured.
    last: Option<Pts>,
    held: VecDeque<Arc<VideoUnit>>,
    /// An agreed time that is not waited for any more.
    given_up: Option<Pts>,
    /// How many agreed times were not met.
    failures: u32,
}

impl Switch {
    /// A picture of the old rung, where the target begins at `agreed` if that is known. False: the target did not keep to it.
    fn old(&mut self, unit: Arc<VideoUnit>, agreed: Option<Pts>, out: &mut VecDeque<Arc<VideoUnit>>) -> bool {
        self.held.push_back(unit);
        let agreed = agreed.filter(|at| self.given_up != Some(*at));
        let before = |unit: &Arc<VideoUnit>| agreed.is_none_or(|at| unit.pts < at);
        let free = self.held.iter().take_while(|unit| before(unit)).count();
        let most = (HELD << self.failures.min(8)).min(MOST_HELD);
        if self.held.len() - free <= most {
            self.send(free, out);
            return true;
        }
        self.given_up = agreed;
        self.failures += 1;
        self.send(self.held.len(), out);
        false
    }

    /// A picture of the target.
    fn next(&mut self, unit: &Arc<VideoUnit>, out: &mut VecDeque<Arc<VideoUnit>>) -> Arrival {
        if !unit.idr {
            return Arrival::Useless;
        }
        if self.last.is_some_and(|last| unit.pts <= last) {
            return Arrival::TooLate;
        }
        let before = self.held.iter().take_while(|held| held.pts < unit.pts).count();
        self.send(before, out);
        *self = Self { last: Some(unit.pts), ..Self::default() };
        out.push_back(unit.clone());
        Arrival::Switched
    }

    /// The old rung goes on.
    fn cancel(&mut self, out: &mut VecDeque<Arc<VideoUnit>>) {
        self.send(self.held.len(), out);
        *self = Self { last: self.last, ..Self::default() };
    }

    /// Sends the first `count` of those that are held.
    fn send(&mut self, count: usize, out: &mut VecDeque<Arc<VideoUnit>>) {
        out.extend(self.held.drain(..count).inspect(|unit| self.last = Some(unit.pts)));
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
pub mod tests;
