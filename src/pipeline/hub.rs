//! Fan-out: each access unit and each Opus packet goes, by reference, to every subscriber's bounded queue.
//!
//! Publishing never waits. A subscriber whose video queue is full is *lagging*: what it has not read yet is
//! worthless by then, so its queue is declared stale, a keyframe is wished for (within its own limit), and it
//! goes on at the next IDR. Nobody else notices. Audio overflow just drops the packet.
//!
//! What a device captured stops here when privacy is switched on ([`Hub::publish_captured`]), and what waits in a queue by
//! then goes no further ([`Hub::conceal`]).
//!
//! The hub is also where demand is known ([`Demand`]): nobody watching, no work upstream and no device open.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::demand::Demand;
use super::keyframe::{Keyframes, SubscriberId};
use crate::clock::Pts;
use crate::media::unit::{AudioUnit, VideoUnit};

/// Access units a subscriber may be behind: a quarter of a second at 30 fps, which a task that is alive never needs.
const VIDEO_QUEUE: usize = 8;
/// Opus packets a subscriber may be behind: 320 ms.
const AUDIO_QUEUE: usize = 16;

/// The meeting point of the media threads and the viewers.
#[derive(Default)]
pub struct Hub {
    state: Mutex<State>,
    demand: watch::Sender<Demand>,
    /// The viewers of `demand`, for those who only count them.
    viewers: watch::Sender<usize>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Arc<Outlet>>,
    keyframes: Keyframes,
}

/// The publishing end of one subscription.
struct Outlet {
    id: SubscriberId,
    video: mpsc::Sender<(u32, Arc<VideoUnit>)>,
    audio: mpsc::Sender<(u32, Arc<AudioUnit>)>,
    /// Raised whenever the queue overflows; pictures of an older epoch are stale.
    epoch: AtomicU32,
    /// Raised whenever all is concealed; sounds from before are stale.
    concealed: AtomicU32,
    /// Units may be sent only after an IDR of this epoch.
    flowing: AtomicBool,
    lagged: AtomicU64,
}

/// The receiving end, held by one viewer's task. Dropping it ends the demand.
pub struct Subscription {
    hub: Arc<Hub>,
    outlet: Arc<Outlet>,
    video: mpsc::Receiver<(u32, Arc<VideoUnit>)>,
    audio: mpsc::Receiver<(u32, Arc<AudioUnit>)>,
}

/// Demand without a subscription, as long as it lives.
pub struct Claim {
    hub: Arc<Hub>,
    part: fn(&mut Demand) -> &mut usize,
}

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum Unit {
    /// One coded picture.
    Video(Arc<VideoUnit>),
    /// One Opus packet.
    Audio(Arc<AudioUnit>),
}

impl Hub {
    /// Joins: demand from now on, starting with an IDR that is not held back.
    pub fn subscribe(self: &Arc<Self>) -> Subscription {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (video_tx, video) = mpsc::channel(VIDEO_QUEUE);
        let (audio_tx, audio) = mpsc::channel(AUDIO_QUEUE);
        let outlet = Arc::new(Outlet {
            id,
            video: video_tx,
            audio: audio_tx,
            epoch: AtomicU32::new(0),
            concealed: AtomicU32::new(0),
            flowing: false.into(),
            lagged: AtomicU64::new(0),
        });
        let mut state = self.lock();
        state.keyframes.join();
        state.subscribers.push(outlet.clone());
        self.count(state.subscribers.len());
        drop(state);
        Subscription { hub: self.clone(), outlet, video, audio }
    }

    /// A viewer is on its way: devices are opened meanwhile. To be dropped when it has subscribed, or won't.
    pub fn anticipate(self: &Arc<Self>) -> Claim {
        self.claim(|demand| &mut demand.expected)
    }

    /// Asks for pictures without subscribing, until the guard is dropped.
    pub fn interest(self: &Arc<Self>) -> Claim {
        self.claim(|demand| &mut demand.pictures)
    }

    fn claim(self: &Arc<Self>, part: fn(&mut Demand) -> &mut usize) -> Claim {
        self.demand.send_modify(|demand| *part(demand) += 1);
        Claim { hub: self.clone(), part }
    }

    /// How many want the coded streams. Zero: nothing needs to be encoded.
    pub fn demand(&self) -> usize {
        self.demand.borrow().viewers
    }

    /// Who wants what, at every change.
    pub fn demands(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    /// How many viewers media flows to, at every change.
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.viewers.subscribe()
    }

    fn count(&self, viewers: usize) {
        self.demand.send_modify(|demand| demand.viewers = viewers);
        self.viewers.send_replace(viewers);
    }

    /// Whether the frame about to be encoded must be an IDR.
    pub fn keyframe_due(&self, now: Pts) -> bool {
        self.lock().keyframes.due(now)
    }

    /// Hands a coded picture to everybody.
    pub fn publish_video(&self, unit: Arc<VideoUnit>) {
        self.lock().video(&unit);
    }

    /// Hands an Opus packet to everybody.
    pub fn publish_audio(&self, unit: Arc<AudioUnit>) {
        self.lock().audio(&unit);
    }

    /// Hands out what a camera or a microphone captured, unless there is privacy by now.
    pub fn publish_captured(&self, unit: &Unit, private: &watch::Receiver<bool>) {
        // Looked at under the lock: after `conceal`, which takes it, nothing gets past that was captured before.
        let mut state = self.lock();
        if !*private.borrow() {
            match unit {
                Unit::Video(unit) => state.video(unit),
                Unit::Audio(unit) => state.audio(unit),
            }
        }
    }

    /// Drops what waits in every queue. To be called once there is privacy.
    pub fn conceal(&self) {
        for s in &self.lock().subscribers {
            s.epoch.fetch_add(1, Ordering::Relaxed);
            s.concealed.fetch_add(1, Ordering::Relaxed);
            s.flowing.store(false, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn video(&mut self, unit: &Arc<VideoUnit>) {
        let now = Pts::now();
        let state = self;
        if unit.idr {
            state.keyframes.sent(now);
        }
        let State { subscribers, keyframes, .. } = state;
        for s in subscribers.iter() {
            if !unit.idr && !s.flowing.load(Ordering::Relaxed) {
                keyframes.wish(s.id, now); // until its IDR comes it keeps wishing, within its limit
                continue;
            }
            let epoch = s.epoch.load(Ordering::Relaxed);
            let sent = s.video.try_send((epoch, unit.clone())).is_ok();
            if !sent && s.flowing.load(Ordering::Relaxed) {
                s.epoch.fetch_add(1, Ordering::Relaxed);
                s.lagged.fetch_add(1, Ordering::Relaxed);
                keyframes.wish(s.id, now);
            }
            s.flowing.store(sent, Ordering::Relaxed);
        }
    }

    fn audio(&self, unit: &Arc<AudioUnit>) {
        for s in &self.subscribers {
            let concealed = s.concealed.load(Ordering::Relaxed);
            let _ = s.audio.try_send((concealed, unit.clone())); // full: 320 ms behind, dropped
        }
    }
}

impl Outlet {
    /// Whether a picture of that epoch is not stale.
    fn still_shows(&self, epoch: u32) -> bool {
        epoch == self.epoch.load(Ordering::Relaxed)
    }

    /// Whether a sound from after so many concealments is not stale.
    fn still_sounds(&self, concealed: u32) -> bool {
        concealed == self.concealed.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// The next unit, sound first. Never ends by itself.
    pub async fn recv(&mut self) -> Unit {
        loop {
            tokio::select! {
                biased;
                Some((concealed, unit)) = self.audio.recv() => {
                    if self.outlet.still_sounds(concealed) {
                        return Unit::Audio(unit);
                    }
                }
                Some((epoch, unit)) = self.video.recv() => {
                    if self.outlet.still_shows(epoch) {
                        return Unit::Video(unit);
                    }
                }
                else => std::future::pending::<()>().await, // unreachable: `outlet` holds both senders
            }
        }
    }

    /// The next unit that is there already, sound first.
    pub fn try_recv(&mut self) -> Option<Unit> {
        while let Ok((concealed, unit)) = self.audio.try_recv() {
            if self.outlet.still_sounds(concealed) {
                return Some(Unit::Audio(unit));
            }
        }
        while let Ok((epoch, unit)) = self.video.try_recv() {
            if self.outlet.still_shows(epoch) {
                return Some(Unit::Video(unit));
            }
        }
        None
    }

    /// Its viewer lost pictures (PLI, FIR): wishes for a keyframe, within the limits of [`Keyframes`]. False: over them.
    pub fn wish_keyframe(&self) -> bool {
        self.hub.lock().keyframes.wish(self.outlet.id, Pts::now())
    }

    /// How often it fell behind and skipped to a keyframe.
    pub fn lagged(&self) -> u64 {
        self.outlet.lagged.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.hub.demand.send_modify(|demand| *(self.part)(demand) -= 1);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.subscribers.retain(|s| s.id != self.outlet.id);
        self.hub.count(state.subscribers.len());
        state.keyframes.leave(self.outlet.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn unit(n: u32, idr: bool) -> Arc<VideoUnit> {
        let pts = Pts::from_micros(u64::from(n));
        Arc::new(VideoUnit { pts, taken: pts, ready: pts, rtp_time: n, idr, payloads: vec![] })
    }

    async fn drain(s: &mut Subscription) -> Vec<u32> {
        let mut got = vec![];
        while let Ok(Unit::Video(u)) = tokio::time::timeout(Duration::from_millis(5), s.recv()).await {
            got.push(u.rtp_time);
        }
        got
    }

    #[tokio::test]
    async fn a_viewer_starts_at_an_idr() {
        let hub = Arc::new(Hub::default());
        let mut s = hub.subscribe();
        assert!(hub.keyframe_due(Pts::now()));
        for (n, idr) in [(1, false), (2, true), (3, false)] {
            hub.publish_video(unit(n, idr));
        }
        assert_eq!(drain(&mut s).await, [2, 3]);
        assert!(!hub.keyframe_due(Pts::now()));
    }

    #[tokio::test]
    async fn a_lagging_viewer_resumes_at_an_idr_and_nobody_else_notices() {
        let hub = Arc::new(Hub::default());
        let (mut stalled, mut lively) = (hub.subscribe(), hub.subscribe());
        let mut seen = vec![];
        for n in 0..30 {
            hub.publish_video(unit(n, n == 0 || n == 25));
            seen.extend(drain(&mut lively).await);
        }
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
        assert_eq!(drain(&mut stalled).await, [] as [u32; 0], "all stale, and the IDR found no room");
        assert_eq!(stalled.lagged(), 1);
        for n in 30..33 {
            hub.publish_video(unit(n, n == 31));
        }
        assert_eq!(drain(&mut stalled).await, [31, 32]);
    }

    #[tokio::test]
    async fn what_is_there_is_had_at_once_sound_first() {
        let hub = Arc::new(Hub::default());
        let mut s = hub.subscribe();
        assert!(s.try_recv().is_none());
        hub.publish_video(unit(1, true));
        hub.publish_video(unit(2, false));
        let payload = bytes::Bytes::from_static(b"opus");
        hub.publish_audio(Arc::new(AudioUnit { pts: Pts::from_micros(1), rtp_time: 1, payload }));
        assert!(matches!(s.try_recv(), Some(Unit::Audio(_))));
        assert!(matches!(s.try_recv(), Some(Unit::Video(unit)) if unit.rtp_time == 1));
        hub.conceal();
        assert!(s.try_recv().is_none(), "what waited is from before");
    }

    #[tokio::test]
    async fn privacy_holds_back_what_was_captured_and_what_waits() {
        let hub = Arc::new(Hub::default());
        let (switch, private) = watch::channel(false);
        let mut s = hub.subscribe();
        let sound = || {
            let payload = bytes::Bytes::from_static(b"opus");
            Unit::Audio(Arc::new(AudioUnit { pts: Pts::from_micros(1), rtp_time: 1, payload }))
        };
        let picture = |n, idr| Unit::Video(unit(n, idr));
        let publish = |unit: Unit| hub.publish_captured(&unit, &private);
        publish(picture(1, true));
        assert!(matches!(s.recv().await, Unit::Video(_)), "without privacy it passes");
        publish(picture(2, false));
        publish(sound());
        switch.send_replace(true);
        hub.conceal();
        publish(sound());
        publish(picture(3, true));
        assert_eq!(drain(&mut s).await, [] as [u32; 0], "neither what waited nor what came");
        assert!(s.audio.is_empty());
        hub.publish_video(unit(4, false));
        hub.publish_video(unit(5, true)); // a slate
        assert_eq!(drain(&mut s).await, [5], "from its first keyframe on");
        assert_eq!(s.lagged(), 0);
        switch.send_replace(false);
        publish(picture(6, false));
        assert_eq!(drain(&mut s).await, [6]);
        publish(sound());
        assert!(matches!(s.recv().await, Unit::Audio(_)));
    }

    #[test]
    fn demand_ends_with_what_made_it() {
        let hub = Arc::new(Hub::default());
        let expected = hub.anticipate();
        let picture = hub.interest();
        assert_eq!(*hub.demands().borrow(), Demand { viewers: 0, expected: 1, pictures: 1 });
        assert_eq!((hub.demand(), *hub.viewers().borrow()), (0, 0));
        let viewer = hub.subscribe();
        drop((expected, picture));
        assert_eq!(*hub.demands().borrow(), Demand { viewers: 1, expected: 0, pictures: 0 });
        assert_eq!((hub.demand(), *hub.viewers().borrow()), (1, 1));
        drop(viewer);
        assert_eq!(*hub.demands().borrow(), Demand::default());
        assert_eq!(*hub.viewers().borrow(), 0);
    }
}
