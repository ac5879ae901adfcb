//! Fan-out: each access unit and each Opus packet goes, by reference, to every subscriber's bounded queue.
//!
//! Publishing never waits. A subscriber whose video queue is full is *lagging*: what it has not read yet is
//! worthless by then, so its queue is declared stale, a keyframe is wished for (within its own limit), and it
//! goes on at the next IDR. Nobody else notices. Audio overflow just drops the packet.
//!
//! The hub is also where demand is known: no subscriber, no work upstream.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

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
    /// Signalled when the first subscriber comes.
    demanded: Condvar,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Arc<Outlet>>,
    /// Others who need frames for a moment (snapshots).
    interests: usize,
    keyframes: Keyframes,
}

/// The publishing end of one subscription.
struct Outlet {
    id: SubscriberId,
    video: mpsc::Sender<(u32, Arc<VideoUnit>)>,
    audio: mpsc::Sender<Arc<AudioUnit>>,
    /// Raised whenever the queue overflows; units of an older epoch are stale.
    epoch: AtomicU32,
    /// Units may be sent only after an IDR of this epoch.
    flowing: AtomicBool,
    lagged: AtomicU64,
}

/// The receiving end, held by one viewer's task. Dropping it ends the demand.
pub struct Subscription {
    hub: Arc<Hub>,
    outlet: Arc<Outlet>,
    video: mpsc::Receiver<(u32, Arc<VideoUnit>)>,
    audio: mpsc::Receiver<Arc<AudioUnit>>,
}

/// Demand for raw frames alone, as long as it lives.
pub struct Interest(Arc<Hub>);

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
            flowing: false.into(),
            lagged: AtomicU64::new(0),
        });
        let mut state = self.lock();
        state.keyframes.join(id, Pts::now());
        state.subscribers.push(outlet.clone());
        drop(state);
        self.demanded.notify_all();
        Subscription { hub: self.clone(), outlet, video, audio }
    }

    /// Asks for frames without subscribing, until the guard is dropped.
    pub fn interest(self: &Arc<Self>) -> Interest {
        self.lock().interests += 1;
        self.demanded.notify_all();
        Interest(self.clone())
    }

    /// How many want the coded streams. Zero: nothing needs to be encoded.
    pub fn demand(&self) -> usize {
        self.lock().subscribers.len()
    }

    /// Waits until somebody wants frames, at most `timeout`; says whether somebody does.
    pub fn wait_demand(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| !s.subscribers.is_empty() || s.interests > 0)
    }

    /// Waits until somebody wants the coded streams, at most `timeout`; says whether somebody does.
    pub fn wait_viewers(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| !s.subscribers.is_empty())
    }

    fn wait_until(&self, timeout: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let waited = self.demanded.wait_timeout_while(self.lock(), timeout, |s| !holds(s));
        holds(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Whether the frame about to be encoded must be an IDR.
    pub fn keyframe_due(&self, now: Pts) -> bool {
        self.lock().keyframes.due(now)
    }

    /// Hands a coded picture to everybody.
    pub fn publish_video(&self, unit: Arc<VideoUnit>) {
        let now = Pts::now();
        let mut state = self.lock();
        if unit.idr {
            state.keyframes.sent(now);
        }
        let State { subscribers, keyframes, .. } = &mut *state;
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

    /// Hands an Opus packet to everybody.
    pub fn publish_audio(&self, unit: Arc<AudioUnit>) {
        for s in &self.lock().subscribers {
            let _ = s.audio.try_send(unit.clone()); // full: 320 ms behind, dropped
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next unit, sound first. Never ends by itself.
    pub async fn recv(&mut self) -> Unit {
        loop {
            tokio::select! {
                biased;
                Some(unit) = self.audio.recv() => return Unit::Audio(unit),
                Some((epoch, unit)) = self.video.recv() => {
                    if epoch == self.outlet.epoch.load(Ordering::Relaxed) {
                        return Unit::Video(unit);
                    }
                }
                else => std::future::pending::<()>().await, // unreachable: `outlet` holds both senders
            }
        }
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

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.lock().interests -= 1;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.subscribers.retain(|s| s.id != self.outlet.id);
        state.keyframes.leave(self.outlet.id);
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn demand_ends_with_the_subscription() {
        let hub = Arc::new(Hub::default());
        let s = hub.subscribe();
        assert_eq!(hub.demand(), 1);
        assert!(hub.wait_demand(Duration::ZERO));
        drop(s);
        assert!(!hub.wait_demand(Duration::ZERO));
    }
}
