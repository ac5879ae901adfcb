//! A viewer's task: from its answer to its end, it alone owns the connection.
//!
//! Each turn of its loop is one pass: it takes everything that has arrived, and sends everything that follows
//! from it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use webrtc::peer_connection::RTCPeerConnectionState;

use super::cc::State;
use super::ladder::Pictures;
use super::media::{self, Media, Unit};
use super::meter::Meter;
use super::places::Place;
use super::port::{Gathered, Line, Port, Progress, Route};
use super::sdp::Playable;
use super::session::{Change, Session};
use super::shared::{Command, Entry, Shared, Viewer, Visit};
use super::starts::Carried;
use super::track::Track;
use super::unconnected::{self, Attempt};
use super::uplink::Part;
use super::{Error, Event, Fragment, LinkFacts};
use crate::clock::Pts;
use crate::pipeline::camera::List;
use crate::pipeline::demand::Claim;

/// Longest time from the offer, or from a restart, to a connection. Browsers give up after the same time.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a viewer that has sent no packet may stay after its offer, or after its last request: browsers
/// send their first packets within a moment of the answer. An offer without packets takes a place no longer
/// than this.
const SILENT: Duration = Duration::from_secs(8);
/// How long a disconnected viewer (already silent for 5 s) may take to come back. A browser that changes
/// networks notices within that time and restarts ICE; one that vanished costs a place, and uplink, for 10 s
/// in all.
const GRACE: Duration = Duration::from_secs(5);
/// Time between checks of the connection.
const LOOK: Duration = Duration::from_secs(1);
/// How long a DTLS handshake may still succeed after an alert that it has failed: the alert may be forged.
const HANDSHAKE_FAILED: Duration = Duration::from_secs(3);
/// How long after its offer a viewer's estimate says something about its link.
const LEARNED: Duration = Duration::from_secs(8);
/// A keyframe request that comes too soon after the last one is repeated after this time: a viewer that moves
/// to a different network sends two in a row, and the second one counts.
const WISH_AGAIN: Duration = Duration::from_millis(200);
/// Candidates that a viewer may add in one ICE session; each is pinged from each of our sockets.
const MOST_CANDIDATES: usize = 32;
/// How long the answer to a restart waits for STUN servers: only the page can be told candidates later.
const RESTART_PATIENCE: Duration = Duration::from_millis(200);

/// The state of the task.
pub(super) struct Task {
    /// Its entry in the list of viewers, until its line is closed.
    pub entry: Entry,
    /// Its public side.
    pub viewer: Arc<Viewer>,
    /// What all viewers share.
    pub shared: Arc<Shared>,
    /// The port for its media.
    pub port: Arc<Port>,
    /// Its connection.
    pub session: Session,
    /// Its line through the port.
    pub line: Line,
    /// The media section of our candidates.
    pub mid: String,
    /// Our candidates for it.
    pub gathered: Gathered,
    /// Commands of the registry.
    pub commands: mpsc::Receiver<Command>,
    /// Events for its signaling channel; one that does not fit is dropped, because that channel is not
    /// reading.
    pub events: mpsc::Sender<Event>,
    /// Wakes when the list of cameras changes.
    pub changes: watch::Receiver<List>,
    /// Demand until it is live: devices are opened for it.
    pub expected: Vec<Claim>,
    /// Its place among `max_viewers`, until its line is closed.
    pub place: Place,
    /// Its part of the device's upload.
    pub upload: Part,
    /// The address at which its media arrives.
    pub path: Option<IpAddr>,
    /// What its link carried when that was last known.
    pub carried: Option<Carried>,
}

/// How a viewer ended.
enum End {
    /// It left, or was ended.
    Left(String),
    /// It never connected.
    Unconnected(String),
}

/// State that changes while a viewer is served.
struct Course {
    /// Its media, once it is connected.
    media: Option<Media>,
    /// Counts it as watching.
    audience: Option<Claim>,
    /// The route of its media.
    route: Route,
    /// The latest time by which it must be connected again.
    deadline: Option<Instant>,
    /// For each video section, when to request a keyframe again.
    owed: Vec<Option<Instant>>,
    /// Time of the next check of the connection.
    look: Instant,
    /// Time of its last request.
    last_sign: Instant,
    /// Number of candidates added in this ICE session.
    trickled: usize,
    meter: Meter,
}

impl Task {
    /// Runs until the viewer is gone.
    pub(super) async fn run(mut self) {
        let end = self.watch().await;
        if let (Some(path), Some(carried)) = (self.path, self.carried) {
            self.shared.starts.left((self.viewer.holder.credential, path), carried, Instant::now());
        }
        self.session.close();
        self.send_control();
        drop(self.line);
        drop(self.place);
        drop(self.upload);
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
        // Everything except units is rare, so these futures are kept, not created for each unit.
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
                    // Units lead to media only, so nothing else is to be done after them.
                    unit = next(&mut course.media) => {
                        self.show(unit, &mut course);
                        if let Some(due) = self.session.media_due() {
                            set(timer.as_mut(), due, Instant::now());
                        }
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

    /// Takes what has arrived, does what is due and sends the result. Returns how the viewer ended, if it
    /// did.
    fn pass(&mut self, course: &mut Course, now: Instant) -> Option<End> {
        self.session.unsent(course.route.unsent());
        self.session.receive(now);
        for change in self.session.pass(now) {
            match change {
                Change::Selected(to) => {
                    self.line.select(to);
                    let (ip, credential) = (to.ip(), self.viewer.holder.credential);
                    let start_bps = self.shared.starts.of((credential, ip), self.port.is_near(ip), now);
                    self.session.start_with(start_bps);
                    self.path = Some(ip);
                }
                Change::Goodbye => return Some(End::Left("the viewer closed the connection".into())),
                Change::State(state) => {
                    if let Some(end) = self.state(state, course, now) {
                        return Some(end);
                    }
                }
            }
        }
        self.send_control();
        self.send_media(course);
        self.steer(course, now, false);
        for (section, owed) in course.owed.iter_mut().enumerate() {
            let (wishes, broken) = (self.session.wishes_keyframe(section), self.session.is_broken(section));
            if wishes || broken || owed.is_some_and(|owed| owed <= now) {
                let track = course.media.as_ref().and_then(|media| media.tracks.get(section));
                let refused = track.is_some_and(|track| match broken {
                    true => !track.need_keyframe(Pts::now()),
                    false => !track.wish_keyframe(Pts::now()),
                });
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

    /// Regular checks.
    fn look(&mut self, course: &mut Course, now: Instant) -> Option<End> {
        let rate = course.meter.bps(self.viewer.sent_bytes.load(Ordering::Relaxed), Pts::now());
        self.viewer.rate_bps.store(rate, Ordering::Relaxed);
        let watches = course.media.as_ref().is_some_and(Media::is_watched);
        let most_bps = self.upload.most(if watches { self.session.useful_bps() } else { 0.0 });
        self.session.limit(most_bps);
        let link = self.session.link(now);
        *self.viewer.link.lock().unwrap_or_else(PoisonError::into_inner) =
            link.map(|link| LinkFacts::of(link, most_bps));
        // For a viewer that may be gone nothing is encoded that nobody else watches.
        let known = link.filter(|link| link.state != State::Silent);
        if let Some(link) = known.filter(|_| self.viewer.since.elapsed() > LEARNED) {
            let is_all = self.session.useful_bps() < link.estimate_bps;
            self.carried = Some(Carried { bps: link.estimate_bps, is_all });
        }
        if let Some(media) = &mut course.media {
            media.tracks.iter_mut().for_each(Track::follow);
            known
                .iter()
                .for_each(|link| media.hear_over(link.estimate_bps.min(most_bps.unwrap_or(f64::MAX))));
            self.steer(course, now, known.is_some());
            if let Some(media) = &mut course.media {
                self.tell(media);
            }
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

    /// Sends the media that may leave now.
    fn send_media(&mut self, course: &mut Course) {
        let sent = self.session.take_sent();
        self.viewer.sent_bytes.fetch_add(sent.bytes, Ordering::Relaxed);
        self.shared.status.counters.rtp_packets.add(sent.packets);
        self.line.send_media(&mut course.route, self.session.media());
        self.session.media().clear();
    }

    /// Sends a unit, and all others that are available by now.
    fn show(&mut self, unit: Unit, course: &mut Course) {
        let sound = self.viewer.sound.load(Ordering::Relaxed);
        let (mut unit, now, mut pictures) = (Some(unit), Instant::now(), false);
        while let Some(next) = unit {
            pictures |= matches!(next, Unit::Video(..));
            self.session.unsent(course.route.unsent());
            self.session.send(&next, sound, now);
            self.send_media(course);
            unit = course.media.as_mut().and_then(Media::try_recv);
        }
        if pictures {
            self.steer(course, now, false); // so much waits now
        }
        if let Some(media) = &mut course.media {
            self.tell(media);
        }
    }

    /// Tells the encoders what the link carries now; `chooses` is whether each picture also moves to the rung that
    /// this suffices for.
    fn steer(&mut self, course: &mut Course, now: Instant, chooses: bool) {
        let Some(media) = &mut course.media else { return };
        let most = media.most();
        if most.0 == 0.0 {
            return; // no camera has delivered yet
        }
        if let Some(share) = self.session.share(most, now) {
            media.set_capacity(&share, most, chooses.then_some(now));
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
                let _ = track.wish_keyframe(Pts::now()); // a refused request is repeated by the track
            }
            return;
        }
        let Playable { pictures, audio, .. } = self.session.offer();
        let mut media = Media::new(pictures.len(), audio.is_some());
        if let Some(link) = self.session.link(Instant::now()) {
            media.begin(link.estimate_bps);
        }
        course.media = Some(media);
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

    /// Executes a command. An error is the reason why the viewer ends.
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
                let _ = done.send(()); // the caller may have stopped waiting
            }
            Command::Tune => self.tune(course),
            Command::AskRestart(why) => {
                let _ = self.events.try_send(Event::Restart(why)); // full if that channel does not read
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

    /// Answers a new offer, which may differ from the current one only in its ICE session and its video
    /// sections. The error says whether the connection is lost.
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
        // webrtc can't undo a half-applied offer.
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

    /// Applies what the viewer wants of the current cameras. It counts as demand from now on, or, until the
    /// viewer is connected, opens the devices.
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

    /// Reports changes in what it receives.
    fn tell(&self, media: &mut Media) {
        let lagged = media.lagged();
        let known = self.viewer.lagged.swap(lagged, Ordering::Relaxed);
        self.shared.status.counters.viewer_lags.add(lagged.saturating_sub(known));
        let mut differs = false;
        for (section, gets) in media.changed() {
            differs = true;
            let mut wishes = self.viewer.wishes();
            let Some(section) = wishes.sections.get_mut(section) else { continue };
            let before = std::mem::replace(&mut section.gets, gets);
            let (Some((camera_before, before)), Some((camera, now))) = (before, &section.gets) else {
                continue;
            };
            let what = match now.pictures {
                _ if camera_before != *camera => "a different camera",
                Pictures::None if before.pictures != Pictures::None => "sound only",
                _ if before.pictures == Pictures::None => "pictures again",
                _ if before.share != now.share => "a different size",
                pictures if pictures == before.pictures => continue,
                Pictures::All => "all pictures",
                _ => "every second picture",
            };
            if let Some(left_out) = self.shared.may_say(&self.viewer, Visit::Switched) {
                let (viewer, wish) = (&self.viewer.name, section.quality.name());
                let (rung, pictures) = (now.share.name(), now.pictures.name());
                tracing::info!(viewer, camera, rung, pictures, wish, "viewer switched to {what}{left_out}");
            }
        }
        if differs {
            let _ = self.events.try_send(Event::Gets);
        }
    }
}

/// Passes the result on. An error is the reason why the viewer ends.
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
    let _ = reply.send(result); // the caller may be gone
    end
}

/// Our complete answer, and our side of the ICE session in it.
pub(super) fn complete(session: &Session, gathered: &Gathered) -> Result<(String, Fragment), Error> {
    let answer = session.description(&gathered.lines(), gathered.complete())?;
    let ice = session.offer().ice_of(&answer);
    let ice = ice.ok_or_else(|| Error::Internal("webrtc's answer has no ICE credentials".into()))?;
    Ok((answer, ice))
}

/// Sets a timer if it has expired or is too late. An early one is left: setting it takes a lock that all
/// tasks share, for each picture.
fn set(mut timer: Pin<&mut Sleep>, due: Instant, now: Instant) {
    /// Resolution of tokio's timers: what is due earlier waits for the next turn.
    const TICK: Duration = Duration::from_millis(1);
    let due = due.max(now + TICK);
    let armed = timer.deadline().into_std();
    if timer.is_elapsed() || armed <= now || due < armed {
        timer.as_mut().reset(due.into());
    }
}

/// Waits until the list of cameras changes.
async fn changed(mut changes: watch::Receiver<List>) -> watch::Receiver<List> {
    match changes.changed().await {
        Ok(()) => changes,
        Err(_) => std::future::pending().await, // everything is ending
    }
}

async fn next(media: &mut Option<Media>) -> Unit {
    match media {
        Some(media) => media.recv().await,
        None => std::future::pending().await,
    }
}
