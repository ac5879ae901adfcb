//! One viewer's task: from its answer to its end, it alone holds the connection.
//!
//! Each turn of its loop is one pass: all that has come is taken, all that follows from it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use webrtc::peer_connection::RTCPeerConnectionState;

use super::media::{self, Media, Unit};
use super::meter::Meter;
use super::places::Place;
use super::port::{Gathered, Line, Port, Progress, Route};
use super::sdp::Playable;
use super::session::{Change, Session};
use super::shared::{Command, Entry, Shared, Viewer, Visit};
use super::track::Track;
use super::unconnected::{self, Attempt};
use super::{Error, Event, Fragment};
use crate::clock::Pts;
use crate::pipeline::camera::List;
use crate::pipeline::demand::Claim;

/// From the offer, or a restart, to a connection. Browsers give up after as long.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a viewer of which no packet has arrived yet may stay after its offer, or after its last request: browsers send
/// their first packets within a moment of the answer. Whoever only offers takes a place no longer than this.
const SILENT: Duration = Duration::from_secs(8);
/// From losing the path (5 s of silence by then) to the end. A browser that changes networks notices within that
/// and restarts ICE; one that is gone without a word costs a place, and uplink, for 10 s in all.
const GRACE: Duration = Duration::from_secs(5);
/// How often to see how it goes.
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

/// Everything the task owns.
pub struct Task {
    /// Its entry among all viewers, until its line is closed...
    pub entry: Entry,
    /// ... and its public side.
    pub viewer: Arc<Viewer>,
    /// What all viewers share.
    pub shared: Arc<Shared>,
    /// Through which its media goes.
    pub port: Arc<Port>,
    /// Its connection...
    pub session: Session,
    /// ... and the way to it.
    pub line: Line,
    /// The media section that our candidates belong to.
    pub mid: String,
    /// Our candidates for it.
    pub gathered: Gathered,
    /// From the registry.
    pub commands: mpsc::Receiver<Command>,
    /// To its signaling channel; what does not fit is dropped, because that channel does not read.
    pub events: mpsc::Sender<Event>,
    /// Wakes when there are other cameras.
    pub changes: watch::Receiver<List>,
    /// Until it is live: devices are opened for it.
    pub expected: Vec<Claim>,
    /// Its place among `max_viewers`, until its line is closed.
    pub place: Place,
}

/// How a viewer ended.
enum End {
    /// It left, or was told to.
    Left(String),
    /// No connection came about.
    Unconnected(String),
}

/// What changes while a viewer is served.
struct Course {
    /// Once it is connected.
    media: Option<Media>,
    /// It counts among those who watch.
    audience: Option<Claim>,
    /// The way of its media.
    route: Route,
    /// When it has to be connected again at the latest.
    deadline: Option<Instant>,
    /// For each video section, when to wish for a keyframe again.
    owed: Vec<Option<Instant>>,
    /// When to see how it goes.
    look: Instant,
    /// The last request of its.
    last_sign: Instant,
    /// Candidates in this ICE session.
    trickled: usize,
    meter: Meter,
}

impl Task {
    /// Until the viewer is gone.
    pub async fn run(mut self) {
        let end = self.watch().await;
        self.session.close();
        self.send_control();
        drop(self.line);
        drop(self.place);
        drop(self.entry);
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
        let now = Instant::now();
        let mut course = Course {
            media: None,
            audience: None,
            route: Route::default(),
            deadline: Some(now + CONNECT),
            owed: vec![None; self.session.offer().pictures.len()],
            look: now + LOOK,
            last_sign: now,
            trickled: 0,
            meter: Meter::default(),
        };
        let mailbox = self.line.mailbox().clone();
        // All but units is rare, so these wait all the time instead of anew for each unit.
        let (room, retired) = (self.place.end.clone(), self.port.retired());
        let (mut room, mut retired) = (std::pin::pin!(room.cancelled()), std::pin::pin!(retired.cancelled()));
        let mut others = std::pin::pin!(changed(self.changes.clone()));
        let mut arrived = std::pin::pin!(mailbox.arrived());
        let mut timer = std::pin::pin!(tokio::time::sleep_until(now.into()));
        loop {
            // The first pass sends the first checks.
            let now = Instant::now();
            if let Some(end) = self.pass(&mut course, now) {
                return end;
            }
            let due = [self.session.due(), course.deadline, Some(course.look)];
            let due = due.into_iter().chain(course.owed.iter().copied()).flatten().min();
            set(timer.as_mut(), due.unwrap_or(course.look), now);
            loop {
                tokio::select! {
                    biased;
                    // Nothing follows from units but media, so there is nothing else to do after them.
                    unit = next(&mut course.media) => {
                        self.show(unit, &mut course);
                        continue;
                    }
                    () = arrived.as_mut() => arrived.set(mailbox.arrived()),
                    () = timer.as_mut() => {}
                    Some(command) = self.commands.recv() => {
                        course.last_sign = Instant::now();
                        if let Err(why) = self.obey(command, &mut course).await {
                            return End::Left(why);
                        }
                    }
                    changes = others.as_mut() => {
                        others.set(changed(changes));
                        self.tune(&mut course);
                    }
                    () = room.as_mut() => {
                        return End::Left("it did not connect in time and made room for another viewer".into());
                    }
                    () = retired.as_mut() => {
                        return End::Left("the device's media port has changed".into());
                    }
                    late = self.gathered.late() => {
                        for candidate in late {
                            let _ = self.events.try_send(Event::Candidate { candidate, mid: self.mid.clone() });
                        }
                    }
                }
                break;
            }
        }
    }

    /// Takes what has arrived, does what is due and sends what follows from it. The end, if it is there.
    fn pass(&mut self, course: &mut Course, now: Instant) -> Option<End> {
        self.session.receive(now);
        for change in self.session.pass(now) {
            match change {
                Change::Selected(to) => self.line.select(to),
                Change::Goodbye => return Some(End::Left("the viewer closed the connection".into())),
                Change::State(state) => {
                    if let Some(end) = self.state(state, course, now) {
                        return Some(end);
                    }
                }
            }
        }
        self.send_control();
        self.line.send_media(&mut course.route, self.session.media());
        self.session.media().clear();
        for (section, owed) in course.owed.iter_mut().enumerate() {
            if self.session.wishes_keyframe(section) || owed.is_some_and(|owed| owed <= now) {
                let track = course.media.as_ref().and_then(|media| media.tracks.get(section));
                let refused = track.is_some_and(|track| !track.wish_keyframe(Pts::now()));
                *owed = refused.then(|| now + WISH_AGAIN);
            }
        }
        if course.look <= now {
            course.look = now + LOOK;
            if let Some(end) = self.look(course, now) {
                return Some(end);
            }
        }
        course.deadline.filter(|deadline| *deadline <= now).map(|_| match course.media {
            None => self.unconnected(),
            Some(_) => End::Left("the viewer stopped answering".into()),
        })
    }

    fn state(&mut self, state: RTCPeerConnectionState, course: &mut Course, now: Instant) -> Option<End> {
        course.deadline = match state {
            RTCPeerConnectionState::Connected => None,
            RTCPeerConnectionState::Disconnected => {
                let why = "the path to the viewer is interrupted";
                let _ = self.events.try_send(Event::Restart(why.into()));
                Some(now + GRACE)
            }
            RTCPeerConnectionState::Failed if course.media.is_none() => {
                return Some(self.unconnected());
            }
            RTCPeerConnectionState::Failed => {
                return Some(End::Left("the network path to the viewer failed".into()));
            }
            RTCPeerConnectionState::Closed => {
                return Some(End::Left("the viewer closed the connection".into()));
            }
            _ => Some(now + CONNECT),
        };
        if state == RTCPeerConnectionState::Connected {
            self.connected(course);
        }
        None
    }

    /// Once in a while.
    fn look(&mut self, course: &mut Course, now: Instant) -> Option<End> {
        let rate = course.meter.bps(self.viewer.sent_bytes.load(Ordering::Relaxed), Pts::now());
        self.viewer.rate_bps.store(rate, Ordering::Relaxed);
        if let Some(media) = &mut course.media {
            media.tracks.iter_mut().for_each(Track::follow);
            return None;
        }
        let failed = self.session.handshake_failure();
        let failed = failed.is_some_and(|a| now.saturating_duration_since(a.at) > HANDSHAKE_FAILED);
        let silent = self.line.progress() == Progress::Silent;
        let silent = silent && now.saturating_duration_since(course.last_sign) >= SILENT;
        (failed || silent).then(|| self.unconnected())
    }

    fn send_control(&mut self) {
        for (to, datagram) in self.session.control() {
            self.line.send(to, &datagram);
        }
    }

    /// Sends a unit, and all others that are there by now.
    fn show(&mut self, unit: Unit, course: &mut Course) {
        let sound = self.viewer.sound.load(Ordering::Relaxed);
        let mut unit = Some(unit);
        while let Some(next) = unit {
            let sent = self.session.send(&next, sound);
            self.viewer.sent_bytes.fetch_add(sent.bytes, Ordering::Relaxed);
            self.shared.status.counters.rtp_packets.add(sent.packets);
            self.line.send_media(&mut course.route, self.session.media());
            self.session.media().clear();
            unit = course.media.as_mut().and_then(Media::try_recv);
        }
        if let Some(media) = &mut course.media {
            self.tell(media);
        }
    }

    fn unconnected(&self) -> End {
        let Viewer { since, named, usable, .. } = &*self.viewer;
        End::Unconnected(unconnected::why(&Attempt {
            progress: self.line.progress(),
            failure: self.session.handshake_failure(),
            named: named.load(Ordering::Relaxed),
            usable: usable.load(Ordering::Relaxed),
            port: self.port.number(),
            tcp: self.port.has_tcp(),
            waited: since.elapsed(),
        }))
    }

    /// The connection is up, for the first time or again: only now is there demand, and an IDR.
    fn connected(&mut self, course: &mut Course) {
        if let Some(media) = &course.media {
            for track in &media.tracks {
                let _ = track.wish_keyframe(Pts::now()); // what was sent meanwhile is lost; it repeats its own wish
            }
            return;
        }
        let Playable { pictures, audio, .. } = self.session.offer();
        course.media = Some(Media::new(pictures.len(), audio.is_some()));
        self.tune(course);
        self.expected.clear(); // only now, so that there is demand all the time
        self.viewer.live.store(true, Ordering::Relaxed);
        self.place.live();
        self.shared.status.counters.viewers_joined.count();
        let _ = self.events.try_send(Event::Connected);
        let Viewer { name, since, .. } = &*self.viewer;
        if let Some(left_out) = self.shared.may_say(&self.viewer, Visit::Watches) {
            tracing::info!(
                viewer = name,
                ms = since.elapsed().as_millis() as u64,
                "viewer is watching{left_out}"
            );
        }
    }

    /// An error is why the viewer ends.
    async fn obey(&mut self, command: Command, course: &mut Course) -> Result<(), String> {
        match command {
            Command::Leave(why) => return Err(why),
            Command::Concealed(camera, done) => {
                self.tune(course); // a private camera is not heard any more
                let sent = course.media.as_mut().and_then(|media| media.conceal(camera.as_deref()));
                if let Some(sections) = sent {
                    sections.into_iter().for_each(|section| self.session.forget(section));
                    self.line.conceal().await;
                }
                let _ = done.send(()); // whoever asked may have waited long enough
            }
            Command::Tune => self.tune(course),
            Command::AskRestart(why) => {
                let _ = self.events.try_send(Event::Restart(why)); // full: that channel does not read
            }
            Command::Candidate(candidate) => {
                course.trickled += 1;
                if course.trickled <= MOST_CANDIDATES
                    && let Err(error) = self.session.add_candidate(&candidate)
                {
                    tracing::debug!(viewer = self.viewer.name, %error, candidate);
                }
            }
            Command::Offer { sdp, cameras, reply } => {
                let mids = cameras.as_ref().map(|c| c.iter().map(|w| w.mid.as_deref()).collect::<Vec<_>>());
                let offer = self.session.offer().later(&sdp, mids.as_deref());
                let answer = self.renegotiate(offer, course).await;
                if let (Ok(_), Some(cameras)) = (&answer, cameras) {
                    self.viewer.wishes().renew(&self.session.offer().pictures, &cameras);
                    self.tune(course);
                }
                return answered(answer.map(|(answer, _)| answer), reply);
            }
            Command::RestartIce { ufrag, pwd, candidates, reply } => {
                let offer = self.session.offer().restarted(&ufrag, &pwd, &candidates);
                let answer = self.renegotiate(offer, course).await;
                return answered(answer.map(|(_, ice)| ice), reply);
            }
        }
        Ok(())
    }

    /// Answers a new offer, which differs from the one in effect in its ICE session and in its sections for pictures, if at
    /// all. With an error: whether the connection is lost by it.
    async fn renegotiate(
        &mut self,
        offer: Result<Playable, Error>,
        course: &mut Course,
    ) -> Result<(String, Fragment), (Error, bool)> {
        let offer = offer.map_err(|e| (e, false))?;
        let restarts = offer.restarts(self.session.offer());
        if restarts {
            course.trickled = 0;
            let Viewer { from, to, .. } = &*self.viewer;
            self.gathered = Gathered::new(&self.port, from.ip(), *to, RESTART_PATIENCE).await;
        }
        let sound = self.viewer.sound.load(Ordering::Relaxed);
        // webrtc has no way back from an offer that it has half applied.
        self.session.renegotiate(offer, sound, Instant::now()).map_err(|e| (e, true))?;
        let pictures = self.session.offer().pictures.len();
        course.owed.resize(pictures, None);
        if let Some(media) = &mut course.media {
            media.tracks.resize_with(pictures, Track::default);
        }
        let (answer, ice) = complete(&self.session, &self.gathered).map_err(|e| (e, true))?;
        if restarts {
            self.line.credentials(&ice.ufrag, &ice.pwd);
        }
        self.mid.clone_from(&ice.mid);
        Ok((answer, ice))
    }

    /// Takes what the viewer wishes for of the cameras that there are. There is demand for it from now on, or the devices are
    /// opened for it until it is connected.
    fn tune(&mut self, course: &mut Course) {
        let (wishes, cameras) = (self.viewer.wishes().clone(), self.shared.cameras.all());
        match &mut course.media {
            Some(media) => {
                media.tune(&wishes, &cameras);
                if media.is_watched() != course.audience.is_some() {
                    course.audience = media.is_watched().then(|| self.shared.cameras.audience.watch());
                }
                self.tell(media);
            }
            None => {
                let sound = self.session.offer().audio.is_some();
                self.expected = media::expect(&wishes, &cameras, sound);
            }
        }
    }

    /// Tells how it goes with what it gets, as far as that is new.
    fn tell(&self, media: &mut Media) {
        let lagged = media.lagged();
        let known = self.viewer.lagged.swap(lagged, Ordering::Relaxed);
        self.shared.status.counters.viewer_lags.add(lagged.saturating_sub(known));
        for (section, gets) in media.changed() {
            let mut wishes = self.viewer.wishes();
            let Some(section) = wishes.sections.get_mut(section) else { continue };
            let before = std::mem::replace(&mut section.gets, gets);
            let (Some((camera_before, rung_before)), Some((camera, rung))) = (before, &section.gets) else {
                continue;
            };
            let what = if camera_before != *camera {
                "a different camera"
            } else if rung_before != *rung {
                "a different size"
            } else {
                continue;
            };
            if let Some(left_out) = self.shared.may_say(&self.viewer, Visit::Switched) {
                let (viewer, wish) = (&self.viewer.name, section.quality.name());
                let rung = rung.name();
                tracing::info!(viewer, camera, rung, wish, "viewer switched to {what}{left_out}");
            }
        }
    }
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

/// Our answer as it goes out, and our side of the ICE session in it.
pub fn complete(session: &Session, gathered: &Gathered) -> Result<(String, Fragment), Error> {
    let answer = session.description(&gathered.lines(), gathered.complete())?;
    let ice = session.offer().ice_of(&answer);
    let ice = ice.ok_or_else(|| Error::Internal("webrtc's answer has no ICE credentials".into()))?;
    Ok((answer, ice))
}

/// Sets a timer that is over, or too late. One that is early is left: setting it takes a lock that all tasks share, and it
/// would be taken for each picture.
fn set(mut timer: Pin<&mut Sleep>, due: Instant, now: Instant) {
    /// As tokio's own timers have it: what is due earlier waits for the next turn.
    const TICK: Duration = Duration::from_millis(1);
    let due = due.max(now + TICK);
    let armed = timer.deadline().into_std();
    if timer.is_elapsed() || armed <= now || due < armed {
        timer.as_mut().reset(due.into());
    }
}

/// Waits until there are other cameras.
async fn changed(mut changes: watch::Receiver<List>) -> watch::Receiver<List> {
    match changes.changed().await {
        Ok(()) => changes,
        Err(_) => std::future::pending().await, // all ends
    }
}

async fn next(media: &mut Option<Media>) -> Unit {
    match media {
        Some(media) => media.recv().await,
        None => std::future::pending().await,
    }
}
