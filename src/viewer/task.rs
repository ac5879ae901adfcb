//! One viewer's task: from its answer to its end, it alone holds the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use webrtc::peer_connection::RTCPeerConnectionState;

use super::delay::PlayoutDelay;
use super::meter::Meter;
use super::peer::Peer;
use super::places::Place;
use super::port::{Gathered, Port, Progress};
use super::registry::{Shared, Viewer, Visit};
use super::sdp::{self, Playable};
use super::unconnected::{self, Attempt};
use super::{Error, Event, Fragment, ViewerId};
use crate::clock::Pts;
use crate::media::h264::ProfileLevelId;
use crate::pipeline::hub::{Claim, Subscription, Unit};

/// From the offer, or a restart, to a connection. Browsers give up after as long.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a viewer of which no packet has arrived yet may stay after its offer, or after its last request: browsers send
/// their first packets within a moment of the answer. Whoever only offers takes a place no longer than this.
const SILENT: Duration = Duration::from_secs(8);
/// How long webrtc may take to send what was handed to it: its queues empty as fast as the processor runs.
const HANDED_OVER: Duration = Duration::from_millis(50);
/// From losing the path (5 s of silence by then) to the end. A browser that changes networks notices within that
/// and restarts ICE; one that is gone without a word costs a socket, and uplink, for 10 s in all.
const GRACE: Duration = Duration::from_secs(5);
/// How often to see whether it said goodbye, of which webrtc tells nothing by itself.
const LOOK: Duration = Duration::from_secs(1);
/// How long a DTLS handshake may still succeed after an alert that it has failed: the alert may be forged.
const HANDSHAKE_FAILED: Duration = Duration::from_secs(3);
/// A wish for a keyframe that comes too soon after the last waits in steps of this: a viewer that moves asks for two in a
/// row, and the second is the one that counts.
const WISH_AGAIN: Duration = Duration::from_millis(200);
/// Candidates a viewer may trickle in one ICE session; each is pinged from each of our sockets.
const MOST_CANDIDATES: usize = 32;
/// How long a restarted answer waits for STUN servers: only the page can be told later.
const RESTART_PATIENCE: Duration = Duration::from_millis(200);

/// Of each packet (RFC 3550 section 5.1), without extensions.
const RTP_HEADER: usize = 12;

/// What the registry asks of a viewer's task.
pub enum Command {
    /// One of its candidates, usable.
    Candidate(String),
    /// A new offer.
    Restart(String, oneshot::Sender<Result<String, Error>>),
    /// New ICE credentials and candidates.
    RestartIce {
        /// `a=ice-ufrag`
        ufrag: String,
        /// `a=ice-pwd`
        pwd: String,
        /// Media section and candidate.
        candidates: Vec<(String, String)>,
        /// For ours.
        reply: oneshot::Sender<Result<Fragment, Error>>,
    },
    /// It is to be asked for an ICE restart, and why.
    AskRestart(String),
    /// What waited for it was dropped; to be answered when nothing from before is in hand.
    Concealed(oneshot::Sender<()>),
    /// The end, and why.
    Leave(String),
}

/// Everything the task owns.
pub struct Task {
    /// Its name in the registry.
    pub id: ViewerId,
    /// Its public side.
    pub viewer: Arc<Viewer>,
    /// What all viewers share.
    pub shared: Arc<Shared>,
    /// Through which its media goes.
    pub port: Arc<Port>,
    /// Its connection.
    pub peer: Peer,
    /// Our candidates for it.
    pub gathered: Gathered,
    /// From the registry.
    pub commands: mpsc::Receiver<Command>,
    /// To its signaling channel; what does not fit is dropped, because that channel does not read.
    pub events: mpsc::Sender<Event>,
    /// Until it is live: devices are opened for it.
    pub expected: Option<Claim>,
    /// Its place among `max_viewers`, until its sockets are closed.
    pub place: Place,
}

/// How a viewer ended.
enum End {
    /// It left, or was told to.
    Left(String),
    /// No connection came about.
    Unconnected(String),
}

impl Task {
    /// Until the viewer is gone.
    pub async fn run(mut self) {
        let end = self.watch().await;
        self.shared.forget(&self.id);
        self.peer.close().await;
        drop(self.place);
        let (End::Left(why) | End::Unconnected(why)) = &end;
        let _ = self.events.try_send(Event::Closed(why.clone()));
        let Viewer { name, from, since, sent_bytes, .. } = &*self.viewer;
        let (address, seconds) = (from.ip(), since.elapsed().as_secs());
        if let Some(left_out) = self.shared.may_say(&self.viewer, Visit::Left) {
            if let End::Unconnected(why) = &end {
                tracing::warn!(viewer = name, %address, seconds, why, "viewer could not connect{left_out}");
            } else {
                let megabytes = sent_bytes.load(Ordering::Relaxed) as f64 / 1e6;
                let megabytes = (megabytes * 10.0).round() / 10.0;
                tracing::info!(viewer = name, %address, seconds, megabytes, why, "viewer left{left_out}");
            }
        }
        self.viewer.gone.cancel();
    }

    /// Serves the viewer until it ends.
    async fn watch(&mut self) -> End {
        let mut subscription: Option<Subscription> = None;
        let mut deadline = Some(Instant::now() + CONNECT);
        let mut delay = PlayoutDelay::new(self.viewer.sound.load(Ordering::Relaxed));
        let (mut trickled, mut last_sign) = (0, Instant::now());
        let mut meter = Meter::default();
        let mut owed = None;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => {
                    last_sign = Instant::now();
                    if let Err(why) = self.obey(command, &mut trickled).await {
                        return End::Left(why);
                    }
                }
                Ok(()) = self.peer.state.changed() => {
                    let state = *self.peer.state.borrow_and_update();
                    let now = Instant::now();
                    deadline = match state {
                        RTCPeerConnectionState::Connected => None,
                        RTCPeerConnectionState::Disconnected => {
                            let _ = self.events.try_send(Event::Restart("the path to the viewer is interrupted".into()));
                            Some(now + GRACE)
                        }
                        RTCPeerConnectionState::Failed if subscription.is_none() => return self.unconnected(),
                        RTCPeerConnectionState::Failed => return End::Left("the network path to the viewer failed".into()),
                        RTCPeerConnectionState::Closed => return End::Left("the viewer closed the connection".into()),
                        _ => Some(now + CONNECT),
                    };
                    if state == RTCPeerConnectionState::Connected {
                        self.connected(&mut subscription);
                    }
                }
                () = self.place.end.cancelled() => {
                    return End::Left("it did not connect in time and made room for another viewer".into());
                }
                () = self.port.retired() => return End::Left("the device's media port has changed".into()),
                late = self.gathered.late() => {
                    for candidate in late {
                        let _ = self.events.try_send(Event::Candidate { candidate, mid: self.peer.mid.clone() });
                    }
                }
                () = self.peer.wish.notified() => {
                    owed = subscription.as_ref().and_then(wish_keyframe);
                }
                () = sleep_until(owed) => owed = subscription.as_ref().and_then(wish_keyframe),
                _ = look.tick() => {
                    let rate = meter.bps(self.viewer.sent_bytes.load(Ordering::Relaxed), Pts::now());
                    self.viewer.rate_bps.store(rate, Ordering::Relaxed);
                    if self.peer.is_closed_by_viewer().await {
                        return End::Left("the viewer closed the connection".into());
                    }
                    let failed = self.peer.handshake_failure().filter(|_| subscription.is_none());
                    if failed.is_some_and(|alert| alert.at.elapsed() > HANDSHAKE_FAILED) {
                        return self.unconnected();
                    }
                    let silent = subscription.is_none() && self.peer.progress() == Progress::Silent;
                    if silent && last_sign.elapsed() >= SILENT {
                        return self.unconnected();
                    }
                }
                () = sleep_until(deadline) => {
                    return match subscription {
                        None => self.unconnected(),
                        Some(_) => End::Left("the viewer stopped answering".into()),
                    };
                }
                unit = next(&mut subscription) => {
                    if let Err(error) = self.send(unit, &mut delay).await {
                        tracing::debug!(viewer = self.viewer.name, %error, "the connection broke");
                        return End::Left("the connection broke".into());
                    }
                    if let Some(s) = &subscription {
                        self.count_lags(s);
                    }
                }
            }
        }
    }

    fn unconnected(&self) -> End {
        let Viewer { since, named, usable, .. } = &*self.viewer;
        End::Unconnected(unconnected::why(&Attempt {
            progress: self.peer.progress(),
            failure: self.peer.handshake_failure(),
            named: named.load(Ordering::Relaxed),
            usable: usable.load(Ordering::Relaxed),
            port: self.port.number(),
            tcp: self.port.has_tcp(),
            waited: since.elapsed(),
        }))
    }

    /// The connection is up, for the first time or again: only now is there demand, and an IDR.
    fn connected(&mut self, subscription: &mut Option<Subscription>) {
        if let Some(s) = subscription {
            let _ = s.wish_keyframe(); // what was sent meanwhile is lost; it repeats its own wish
            return;
        }
        *subscription = Some(self.shared.hub.subscribe());
        self.expected = None; // only now, so that there is demand all the time
        self.viewer.live.store(true, Ordering::Relaxed);
        self.place.live();
        self.shared.status.counters.viewers_joined.count();
        let _ = self.events.try_send(Event::Connected);
        let Viewer { name, since, .. } = &*self.viewer;
        if let Some(left_out) = self.shared.may_say(&self.viewer, Visit::Watches) {
            tracing::info!(
                viewer = name,
                ms = since.elapsed().as_millis() as u64,
                "viewer watches{left_out}"
            );
        }
    }

    /// An error is why the viewer ends.
    async fn obey(&mut self, command: Command, trickled: &mut usize) -> Result<(), String> {
        match command {
            Command::Leave(why) => return Err(why),
            Command::Concealed(done) => {
                tokio::time::sleep(HANDED_OVER).await;
                self.peer.conceal().await;
                let _ = done.send(()); // whoever asked may have waited long enough
            }
            Command::AskRestart(why) => {
                let _ = self.events.try_send(Event::Restart(why)); // full: that channel does not read
            }
            Command::Candidate(candidate) => {
                *trickled += 1;
                if *trickled <= MOST_CANDIDATES
                    && let Err(error) = self.peer.add_candidate(&candidate).await
                {
                    tracing::debug!(viewer = self.viewer.name, %error, candidate);
                }
            }
            Command::Restart(offer, reply) => {
                *trickled = 0;
                let answer = match sdp::check(&offer, own(&self.shared)) {
                    Ok(offer) => self.restart(sdp::renewed(self.peer.offer(), &offer)).await,
                    Err(error) => Err((error, false)),
                };
                return answered(answer, reply);
            }
            Command::RestartIce { ufrag, pwd, candidates, reply } => {
                *trickled = 0;
                let answer = self.restart(self.peer.offer().restarted(&ufrag, &pwd, &candidates)).await;
                let lost = || (Error::Internal("webrtc's answer has no ICE credentials".into()), true);
                let ice = answer.and_then(|a| self.peer.offer().ice_of(&a).ok_or_else(lost));
                return answered(ice, reply);
            }
        }
        Ok(())
    }

    /// Answers a new offer, which differs from the one in effect only in its ICE session. With an error: whether the
    /// connection is lost by it.
    async fn restart(&mut self, offer: Result<Playable, Error>) -> Result<String, (Error, bool)> {
        let offer = offer.map_err(|e| (e, false))?;
        self.gathered =
            Gathered::new(&self.port, self.viewer.from.ip(), self.viewer.to, RESTART_PATIENCE).await;
        // webrtc has no way back from an offer that it has half applied.
        self.peer.renegotiate(offer, &self.gathered).await.map_err(|e| (e, true))
    }

    async fn send(&mut self, unit: Unit, delay: &mut PlayoutDelay) -> Result<(), webrtc::error::Error> {
        match unit {
            Unit::Audio(audio) => {
                self.peer.send_audio(audio.rtp_time, audio.payload.clone()).await?;
                self.sent(&audio.payload);
                self.shared.status.counters.rtp_packets.count();
            }
            Unit::Video(video) => {
                let sound = self.viewer.sound.load(Ordering::Relaxed);
                let mut payloads = video.payloads.iter().peekable();
                while let Some(payload) = payloads.next() {
                    let delay = delay.next(sound, video.idr);
                    let last = payloads.peek().is_none();
                    self.sent(payload);
                    self.peer.send_video(video.rtp_time, last, payload.clone(), delay).await?;
                }
                self.shared.status.counters.rtp_packets.add(video.payloads.len() as u64);
            }
        }
        Ok(())
    }

    fn sent(&self, payload: &Bytes) {
        self.viewer.sent_bytes.fetch_add((RTP_HEADER + payload.len()) as u64, Ordering::Relaxed);
    }

    fn count_lags(&self, subscription: &Subscription) {
        let lagged = subscription.lagged();
        let known = self.viewer.lagged.swap(lagged, Ordering::Relaxed);
        self.shared.status.counters.viewer_lags.add(lagged.saturating_sub(known));
    }
}

/// What the encoder emits now.
fn own(shared: &Shared) -> ProfileLevelId {
    *shared.h264.borrow()
}

/// Passes the result on. An error returned is why the viewer ends.
fn answered<T>(
    result: Result<T, (Error, bool)>,
    reply: oneshot::Sender<Result<T, Error>>,
) -> Result<(), String> {
    let (result, end) = match result {
        Ok(answer) => (Ok(answer), Ok(())),
        Err((error, false)) => (Err(error), Ok(())),
        Err((error, true)) => {
            let why = format!("the connection could not be restarted: {error}");
            (Err(error), Err(why))
        }
    };
    let _ = reply.send(result); // whoever asked may be gone
    end
}

/// When to wish again, if it was too early.
fn wish_keyframe(subscription: &Subscription) -> Option<Instant> {
    (!subscription.wish_keyframe()).then(|| Instant::now() + WISH_AGAIN)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn next(subscription: &mut Option<Subscription>) -> Unit {
    match subscription {
        Some(s) => s.recv().await,
        None => std::future::pending().await,
    }
}
