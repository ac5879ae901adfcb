//! Distributes units of one kind: each goes, by reference, to every subscriber's bounded queue.
//!
//! Publishing never waits. A subscriber whose queue is full is *lagging*: its unread units would be too old,
//! so its queue is declared stale, and it continues at the next unit with which a receiver may start. For
//! video that is an IDR, which is requested (within its own limit) once the subscriber reads again: an
//! earlier one would find no room. For sound it is the next packet. Other subscribers are not affected.
//!
//! Each subscriber of pictures reports what its link carries; the encoder serves the one that carries most
//! ([`Hub::capacity`]).
//!
//! Captured media stops here when privacy is switched on ([`Hub::publish_captured`]), and what is waiting in
//! a queue then is discarded ([`Hub::conceal`]).

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::keyframe::{Keyframes, SubscriberId};
use crate::clock::Pts;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::privacy::Private;

/// A unit that a hub distributes.
pub trait Unit: fmt::Debug + Send + Sync + 'static {
    /// Capacity of a subscriber's queue, in units.
    const QUEUE: usize;

    /// Whether a receiver may start with this unit.
    fn starts(&self) -> bool;

    /// When it was made.
    fn made(&self) -> Pts;
}

impl Unit for VideoUnit {
    /// A quarter of a second at 30 fps; a task that runs normally never needs it all.
    const QUEUE: usize = 8;

    fn starts(&self) -> bool {
        self.idr
    }

    fn made(&self) -> Pts {
        self.ready
    }
}

impl Unit for AudioUnit {
    /// 320 ms.
    const QUEUE: usize = 16;

    fn starts(&self) -> bool {
        true
    }

    fn made(&self) -> Pts {
        self.pts
    }
}

/// Connects a thread that makes units with the viewers.
pub struct Hub<U> {
    state: Mutex<State<U>>,
    next_id: AtomicU64,
    /// Capture time of the last picture that was chosen to become an IDR, in microseconds.
    agreed: AtomicU64,
}

struct State<U> {
    subscribers: Vec<Arc<Outlet<U>>>,
    keyframes: Keyframes,
}

/// The publishing end of a subscription.
struct Outlet<U> {
    id: SubscriberId,
    queue: mpsc::Sender<(u32, Arc<U>)>,
    /// Increased whenever the queue overflows or everything is concealed; units of an older epoch are stale.
    epoch: AtomicU32,
    /// Whether a unit with which a receiver may start has been sent in this epoch; other units may follow
    /// only then.
    flowing: AtomicBool,
    lagged: AtomicU64,
    /// What its link carries (see [`Capacity`]).
    bitrate_bps: AtomicU32,
    fps: AtomicU32,
    pause: AtomicBool,
}

/// What a link carries of pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Bits per second; `u32::MAX` if it is not known.
    pub bitrate_bps: u32,
    /// Pictures per second.
    pub fps: f32,
    /// Whether so much waits that no new picture should be encoded.
    pub pause: bool,
}

impl Capacity {
    /// That of a link of which nothing is known, and of subscribers without a link.
    pub const UNKNOWN: Self = Self { bitrate_bps: u32::MAX, fps: f32::MAX, pause: false };

    /// What is of use to one of two links at least.
    fn or(self, other: Self) -> Self {
        Self {
            bitrate_bps: self.bitrate_bps.max(other.bitrate_bps),
            fps: self.fps.max(other.fps),
            pause: self.pause && other.pause,
        }
    }
}

/// The receiving end, owned by a viewer's task.
pub struct Subscription<U: Unit> {
    hub: Arc<Hub<U>>,
    outlet: Arc<Outlet<U>>,
    queue: mpsc::Receiver<(u32, Arc<U>)>,
    /// The value of `agreed` before the subscription began.
    agreed_before: u64,
}

impl<U> Default for Hub<U> {
    fn default() -> Self {
        let state = State { subscribers: vec![], keyframes: Keyframes::default() };
        Self { state: Mutex::new(state), next_id: AtomicU64::new(0), agreed: AtomicU64::new(0) }
    }
}

impl<U: Unit> Hub<U> {
    /// Subscribes; the subscription starts with a keyframe, which is not delayed.
    pub fn subscribe(self: &Arc<Self>) -> Subscription<U> {
        self.enter(Keyframes::join)
    }

    fn enter(self: &Arc<Self>, ask: fn(&mut Keyframes)) -> Subscription<U> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(U::QUEUE);
        let outlet = Arc::new(Outlet {
            id,
            queue: sender,
            epoch: AtomicU32::new(0),
            flowing: false.into(),
            lagged: AtomicU64::new(0),
            bitrate_bps: AtomicU32::new(Capacity::UNKNOWN.bitrate_bps),
            fps: AtomicU32::new(Capacity::UNKNOWN.fps.to_bits()),
            pause: AtomicBool::new(Capacity::UNKNOWN.pause),
        });
        let mut state = self.lock();
        ask(&mut state.keyframes);
        state.subscribers.push(outlet.clone());
        let agreed_before = self.agreed.load(Ordering::Relaxed);
        drop(state);
        Subscription { hub: self.clone(), outlet, queue, agreed_before }
    }

    /// Number of subscribers. With none, no units need to be made.
    pub fn subscribers(&self) -> usize {
        self.lock().subscribers.len()
    }

    /// Publishes a unit to all subscribers.
    pub fn publish(&self, unit: &Arc<U>) {
        self.lock().publish(unit);
    }

    /// Publishes captured media, unless privacy is on.
    pub fn publish_captured(&self, unit: &Arc<U>, private: &Private) {
        // Checked under the lock: after `conceal`, which takes it, nothing that was captured earlier gets
        // past.
        let mut state = self.lock();
        if private.is_on() {
            state.keyframes.missed();
        } else {
            state.publish(unit);
        }
    }

    /// Discards what is waiting in all queues. Call it once privacy is on.
    pub fn conceal(&self) {
        for s in &self.lock().subscribers {
            s.epoch.fetch_add(1, Ordering::Relaxed);
            s.flowing.store(false, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<U>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub<VideoUnit> {
    /// Subscribes for a viewer that sees a different rung meanwhile: the first keyframe may be delayed.
    pub fn subscribe_next(self: &Arc<Self>) -> Subscription<VideoUnit> {
        self.enter(Keyframes::turn)
    }

    /// Decides whether the picture captured at `pts`, which is about to be encoded, becomes an IDR: because
    /// it is `forced` to, or because one is due. Subscribers learn this from [`Subscription::agreed`].
    pub fn begin(&self, pts: Pts, forced: bool, now: Pts) -> bool {
        let mut state = self.lock();
        let idr = forced || state.keyframes.due(now);
        if idr {
            state.keyframes.begin();
            self.agreed.store(pts.as_micros(), Ordering::Relaxed);
        }
        idr
    }

    /// What the best of its subscribers' links carries; `None` without subscribers.
    pub fn capacity(&self) -> Option<Capacity> {
        self.capacity_without(None)
    }

    fn capacity_without(&self, id: Option<SubscriberId>) -> Option<Capacity> {
        let state = self.lock();
        let others = state.subscribers.iter().filter(|s| Some(s.id) != id);
        others.map(|s| s.capacity()).reduce(Capacity::or)
    }

    /// Whether an IDR is due.
    pub fn keyframe_due(&self, now: Pts) -> bool {
        self.lock().keyframes.due(now)
    }

    /// A picture that should have become an IDR did not.
    pub fn missed(&self) {
        self.lock().keyframes.missed();
    }
}

impl<U> Outlet<U> {
    fn capacity(&self) -> Capacity {
        Capacity {
            bitrate_bps: self.bitrate_bps.load(Ordering::Relaxed),
            fps: f32::from_bits(self.fps.load(Ordering::Relaxed)),
            pause: self.pause.load(Ordering::Relaxed),
        }
    }
}

impl<U: Unit> State<U> {
    fn publish(&mut self, unit: &Arc<U>) {
        let (now, starts) = (unit.made(), unit.starts());
        let State { subscribers, keyframes } = self;
        if starts {
            keyframes.sent(now);
        }
        for s in subscribers.iter() {
            let flowing = s.flowing.load(Ordering::Relaxed);
            if !starts && !flowing {
                if s.queue.capacity() > 0 {
                    keyframes.wish(s.id, now); // until its IDR arrives it repeats the request, within its limit
                }
                continue;
            }
            let epoch = s.epoch.load(Ordering::Relaxed);
            let sent = s.queue.try_send((epoch, unit.clone())).is_ok();
            if !sent && flowing {
                s.epoch.fetch_add(1, Ordering::Relaxed);
                s.lagged.fetch_add(1, Ordering::Relaxed);
            }
            s.flowing.store(sent, Ordering::Relaxed);
        }
    }
}

impl<U: Unit> Subscription<U> {
    /// Returns the next unit. It never ends by itself, and dropping the future loses nothing.
    pub async fn recv(&mut self) -> Arc<U> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Like [`recv`](Self::recv), for a task that waits for several subscriptions.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Arc<U>> {
        loop {
            match std::task::ready!(self.queue.poll_recv(cx)) {
                Some((epoch, unit)) if self.is_current(epoch) => return Poll::Ready(unit),
                Some(_) => {}
                None => return Poll::Pending, // unreachable: `outlet` owns the sender
            }
        }
    }

    /// The next unit, if it is already there.
    pub fn try_recv(&mut self) -> Option<Arc<U>> {
        while let Ok((epoch, unit)) = self.queue.try_recv() {
            if self.is_current(epoch) {
                return Some(unit);
            }
        }
        None
    }

    /// How often the subscriber lagged and skipped units.
    pub fn lagged(&self) -> u64 {
        self.outlet.lagged.load(Ordering::Relaxed)
    }

    fn is_current(&self, epoch: u32) -> bool {
        epoch == self.outlet.epoch.load(Ordering::Relaxed)
    }
}

impl Subscription<VideoUnit> {
    /// Its viewer lost pictures (PLI, FIR): requests a keyframe, within the limits of [`Keyframes`]. Returns
    /// false above the limits.
    pub fn wish_keyframe(&self, now: Pts) -> bool {
        self.hub.lock().keyframes.wish(self.outlet.id, now)
    }

    /// Pictures were dropped on the way to its viewer, which sees nothing before the next keyframe. If it is the
    /// only subscriber, that concerns nobody else, and only the limit for all viewers holds. Returns false above the
    /// limits.
    pub fn need_keyframe(&self, now: Pts) -> bool {
        let mut state = self.hub.lock();
        match state.subscribers.len() {
            1 => state.keyframes.need(now),
            _ => state.keyframes.wish(self.outlet.id, now),
        }
    }

    /// Reports what its link carries.
    pub fn set_capacity(&self, capacity: Capacity) {
        let Capacity { bitrate_bps, fps, pause } = capacity;
        self.outlet.bitrate_bps.store(bitrate_bps, Ordering::Relaxed);
        self.outlet.fps.store(fps.to_bits(), Ordering::Relaxed);
        self.outlet.pause.store(pause, Ordering::Relaxed);
    }

    /// What the best of the other subscribers' links carries; `None` without others.
    pub fn capacity_of_others(&self) -> Option<Capacity> {
        self.hub.capacity_without(Some(self.outlet.id))
    }

    /// Requests a new first keyframe, because the subscriber could not start with the last one.
    pub fn ask_again(&self) {
        self.hub.lock().keyframes.turn();
    }

    /// Capture time of the last picture chosen to become an IDR, if that was after the start of this
    /// subscription. A viewer that has a picture of that time or later from another rung knows about this
    /// IDR.
    pub fn agreed(&self) -> Option<Pts> {
        let agreed = self.hub.agreed.load(Ordering::Relaxed);
        (agreed != self.agreed_before).then(|| Pts::from_micros(agreed))
    }
}

impl<U: Unit> Drop for Subscription<U> {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.subscribers.retain(|s| s.id != self.outlet.id);
        state.keyframes.leave(self.outlet.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Privacy;
    use tokio::sync::watch;

    fn unit(n: u32, idr: bool) -> Arc<VideoUnit> {
        let pts = Pts::from_micros(u64::from(n));
        Arc::new(VideoUnit::bare(pts, n, idr))
    }

    fn sound(n: u32) -> Arc<AudioUnit> {
        let payload = bytes::Bytes::from_static(b"opus");
        Arc::new(AudioUnit { pts: Pts::from_micros(u64::from(n)), rtp_time: n, payload })
    }

    fn drain(s: &mut Subscription<VideoUnit>) -> Vec<u32> {
        std::iter::from_fn(|| s.try_recv()).map(|u| u.rtp_time).collect()
    }

    #[tokio::test]
    async fn a_viewer_starts_at_an_idr() {
        let hub = Arc::new(Hub::default());
        let mut s = hub.subscribe();
        assert!(hub.keyframe_due(Pts::now()));
        for (n, idr) in [(1, false), (2, true), (3, false)] {
            hub.publish(&unit(n, idr));
        }
        assert_eq!((s.recv().await.rtp_time, drain(&mut s)), (2, vec![3]));
        assert!(!hub.keyframe_due(Pts::now()));
        assert_eq!(hub.subscribers(), 1);
        drop(s);
        assert_eq!(hub.subscribers(), 0);
    }

    #[test]
    fn a_lagging_viewer_resumes_at_an_idr_and_nobody_else_notices() {
        let hub = Arc::new(Hub::default());
        let (mut stalled, mut lively) = (hub.subscribe(), hub.subscribe());
        let mut seen = vec![];
        for n in 0..30 {
            hub.publish(&unit(n, n == 0 || n == 25));
            seen.extend(drain(&mut lively));
        }
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
        assert_eq!(drain(&mut stalled), [] as [u32; 0], "all stale, and the IDR found no room");
        assert_eq!(stalled.lagged(), 1);
        for n in 30..33 {
            hub.publish(&unit(n, n == 31));
        }
        assert_eq!(drain(&mut stalled), [31, 32]);
    }

    #[test]
    fn a_viewer_that_was_held_up_gets_a_keyframe_as_soon_as_it_reads_again() {
        let hub = Arc::new(Hub::default());
        let mut held_up = hub.subscribe();
        let (mut encoded, mut keyframes) = (0, 0);
        let mut encode = || {
            let pts = Pts::from_micros(encoded * 33_333);
            let idr = hub.begin(pts, false, pts);
            hub.publish(&Arc::new(VideoUnit::bare(pts, encoded as u32, idr)));
            encoded += 1;
            keyframes += u32::from(idr);
            keyframes
        };
        assert_eq!(encode(), 1);
        assert_eq!(drain(&mut held_up), [0]);
        (0..60).for_each(|_| _ = encode());
        assert_eq!(encode(), 1, "a subscriber that does not read causes no keyframes");
        assert_eq!(drain(&mut held_up), [] as [u32; 0]);
        encode();
        assert_eq!(encode(), 2);
        assert_eq!(drain(&mut held_up), [63], "the second picture after it started to read again");
    }

    #[test]
    fn a_listener_that_was_held_up_goes_on_with_the_newest_sound() {
        let hub = Arc::new(Hub::default());
        let mut s = hub.subscribe();
        for n in 0..40 {
            hub.publish(&sound(n));
        }
        assert!(s.try_recv().is_none(), "waiting units are stale");
        hub.publish(&sound(40));
        assert_eq!(s.try_recv().map(|u| u.rtp_time), Some(40));
    }

    #[test]
    fn privacy_holds_back_what_was_captured_and_what_waits() {
        let (pictures, sounds) = (Arc::new(Hub::default()), Arc::new(Hub::default()));
        let (switch, privacy) = watch::channel(Privacy::default());
        let private = Private::of(privacy, "front");
        let (mut s, mut listener) = (pictures.subscribe(), sounds.subscribe());
        let publish = |n, idr| pictures.publish_captured(&unit(n, idr), &private);
        publish(1, true);
        assert_eq!(drain(&mut s), [1], "without privacy the unit passes");
        publish(2, false);
        sounds.publish_captured(&sound(2), &private);
        switch.send_replace(Privacy { all: true, ..Privacy::default() });
        pictures.conceal();
        sounds.conceal();
        sounds.publish_captured(&sound(3), &private);
        publish(3, true);
        assert_eq!(drain(&mut s), [] as [u32; 0], "neither waiting units nor new ones");
        assert!(listener.try_recv().is_none());
        pictures.publish(&unit(4, false));
        pictures.publish(&unit(5, true)); // a slate
        assert_eq!(drain(&mut s), [5], "from its first keyframe on");
        assert_eq!(s.lagged(), 0);
        switch.send_replace(Privacy::default());
        publish(6, false);
        assert_eq!(drain(&mut s), [6]);
        sounds.publish_captured(&sound(7), &private);
        assert_eq!(listener.try_recv().map(|u| u.rtp_time), Some(7));
    }

    #[test]
    fn the_best_link_decides_and_one_that_is_not_known_is_not_held_back() {
        let hub = Arc::new(Hub::<VideoUnit>::default());
        assert_eq!(hub.capacity(), None);
        let (slow, fast) = (hub.subscribe(), hub.subscribe());
        assert_eq!(hub.capacity(), Some(Capacity::UNKNOWN));
        slow.set_capacity(Capacity { bitrate_bps: 100_000, fps: 10.0, pause: true });
        assert_eq!(hub.capacity(), Some(Capacity::UNKNOWN));
        fast.set_capacity(Capacity { bitrate_bps: 900_000, fps: 30.0, pause: false });
        assert_eq!(hub.capacity(), Some(Capacity { bitrate_bps: 900_000, fps: 30.0, pause: false }));
        assert_eq!(slow.capacity_of_others(), hub.capacity());
        drop(fast);
        assert_eq!(hub.capacity(), Some(Capacity { bitrate_bps: 100_000, fps: 10.0, pause: true }));
        assert_eq!(slow.capacity_of_others(), None);
    }

    #[test]
    fn a_keyframe_that_only_one_needs_comes_sooner() {
        let hub = Arc::new(Hub::<VideoUnit>::default());
        let alone = hub.subscribe();
        let at = |ms: u64| Pts::from_micros(1_000_000_000 + ms * 1000);
        hub.lock().keyframes.sent(at(0));
        assert!(!alone.need_keyframe(at(10)), "it has hardly seen the last one");
        assert!(alone.need_keyframe(at(300)) && !hub.keyframe_due(at(400)) && hub.keyframe_due(at(500)));
        hub.lock().keyframes.sent(at(500));
        let _other = hub.subscribe();
        hub.lock().keyframes.sent(at(500));
        assert!(alone.need_keyframe(at(1_000)), "a first request");
        hub.lock().keyframes.sent(at(1_000));
        assert!(!alone.need_keyframe(at(2_000)), "others watch");
    }

    #[test]
    fn what_is_agreed_is_known_to_those_who_were_there() {
        let hub = Arc::new(Hub::<VideoUnit>::default());
        let (at, now) = (Pts::from_micros, Pts::now());
        assert!(!hub.begin(at(1), false, now), "no subscriber waits for a keyframe");
        let first = hub.subscribe_next();
        assert_eq!(first.agreed(), None);
        assert!(hub.begin(at(2), false, now));
        assert_eq!(first.agreed(), Some(at(2)));
        let second = hub.subscribe_next();
        assert_eq!(second.agreed(), None, "agreed before it began");
        assert!(!hub.begin(at(3), false, now), "the keyframe on its way is enough");
        hub.missed();
        assert!(hub.begin(at(4), false, now));
        assert_eq!((first.agreed(), second.agreed()), (Some(at(4)), Some(at(4))));
        hub.publish(&unit(4, true));
        assert!(!hub.begin(at(5), false, now));
        assert!(hub.begin(at(6), true, now), "forced");
    }
}
