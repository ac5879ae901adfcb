//! The registry of all viewers: admits new ones, and passes requests on to existing ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::media;
use super::places::{Places, Refusal};
use super::port::{Gathered, Port};
use super::session::Session;
use super::shared::{Command, Shared, Viewer, Visit};
use super::task::{self, Task};
use super::wishes::{Section, Wishes};
use super::{Answer, Credential, Error, Facts, Fragment, Offer, Own, Signaling, ViewerId, Wanted, sdp};
use crate::clock::Pts;
use crate::hush::Hush;
use crate::media::h264::ProfileLevelId;
use crate::net::{Bucket, Rate, Source};
use crate::pipeline::camera::{Camera, Cameras};
use crate::pipeline::quality::Quality;
use crate::status::Status;

/// Capacity of a viewer's command queue, which its task reads immediately: a caller waits when it is full.
const COMMANDS: usize = 16;
/// Capacity of a viewer's event queue: the candidates of a connection and two more events.
const EVENTS: usize = 32;
/// How long an answer waits for STUN servers where the player can't be told candidates later (WHEP).
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer waits for STUN servers where candidates can follow.
const PATIENCE_PAGE: Duration = Duration::ZERO;

/// How long the tasks of all viewers may take to send what they hold when privacy is switched on.
const CONCEAL: Duration = Duration::from_secs(1);
/// Most video sections of one viewer: more cameras than a board can run. Each costs the uplink as much as a
/// viewer.
const MOST_WANTED: usize = 16;
/// Rate of new offers by one viewer: a few ICE restarts when its network changes, and one now and then.
const RESTARTS: Rate = Rate { per_second: 0.5, burst: 10.0 };

/// How many of the 32 digits of a viewer's id the owner is shown.
const SHOWN: usize = 8;

/// The registry of all viewers.
pub struct Registry {
    shared: Arc<Shared>,
    _stop: DropGuard,
    /// A place is taken from the offer on, and freed when the viewer's line is closed.
    places: Places,
    joined: AtomicU64,
    /// Limits log lines about refused offers, by source.
    refused: Mutex<Hush<Source>>,
}

impl Registry {
    /// Creates an empty registry. Media comes from `cameras`, which are looked up again by name whenever the
    /// list changes, and goes through `port`. Needs a tokio runtime.
    pub fn new(cameras: Arc<Cameras>, status: Arc<Status>, port: Arc<Port>, max_viewers: usize) -> Arc<Self> {
        let shared = Arc::new(Shared::new(cameras, status, port));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow(shared.clone())));
        Arc::new(Self {
            shared,
            _stop: stop.drop_guard(),
            places: Places::new(max_viewers),
            joined: AtomicU64::new(0),
            refused: Mutex::new(Hush::strangers()),
        })
    }

    /// Answers an offer. Media flows, and counts as demand, once the connection is up.
    pub async fn join(&self, offer: Offer) -> Result<Answer, Error> {
        let (address, via) = (offer.from.ip(), offer.via);
        let source = self.port().source(address);
        let answer = self.admit(offer).await;
        if let Err(error) = &answer {
            self.shared.status.counters.offers_refused.count();
            let mut hush = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(left_out) = hush.may_say(source, Pts::now()) {
                tracing::info!(%address, via = via.as_str(), %error, "offer refused{left_out}");
            }
        }
        answer
    }

    async fn admit(&self, offer: Offer) -> Result<Answer, Error> {
        let since = Instant::now();
        let refused = |refusal| match refusal {
            Refusal::Full(most) => Error::Full(most),
            Refusal::Share(share) => Error::Share(share),
            Refusal::TooFast(wait) => Error::TooFast(wait),
        };
        // Before the offer is parsed, because that has a cost, too.
        self.places.ask(offer.holder).map_err(refused)?;
        let mids: Vec<_> = offer.cameras.iter().map(|wanted| wanted.mid.as_deref()).collect();
        let own = profile(&offer.cameras)?;
        let playable = sdp::check(&offer.sdp, own, &mids)?;
        let changes = self.shared.cameras.changes();
        let wishes = self.wishes(&offer, &playable.pictures)?;
        let (sounds, goes_without) = (playable.audio.is_some(), playable.left_out.clone());
        let sound = offer.sound && sounds;
        let place = self.places.take(offer.holder).map_err(refused)?;
        let (named, usable) = sdp::count_candidates(&offer.sdp);
        let id = ViewerId::random()?;
        // Cameras and microphone open while the network path is being found.
        let expected = media::expect(&wishes, &changes.borrow(), sounds);
        let patience = if offer.via == Signaling::Page { PATIENCE_PAGE } else { PATIENCE };
        let port = self.port();
        let gathered = Gathered::new(&port, offer.from.ip(), offer.to, patience).await;
        let line = port.line();
        let (mailbox, families, ntp) = (line.mailbox().clone(), line.families(), self.shared.ntp);
        let session = Session::answer(playable, mailbox, families, ntp, sound, Instant::now())?;
        let (sdp, ice) = task::complete(&session, &gathered)?;
        line.credentials(&ice.ufrag, &ice.pwd);
        let (commands_tx, commands) = mpsc::channel(COMMANDS);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let viewer = Arc::new(Viewer {
            name: format!("viewer-{}", self.joined.fetch_add(1, Ordering::Relaxed) + 1),
            id: id.as_str().chars().take(SHOWN).collect(),
            since,
            sound: sound.into(),
            wishes: Mutex::new(wishes),
            live: false.into(),
            lagged: 0.into(),
            sent_bytes: 0.into(),
            rate_bps: 0.into(),
            link: Mutex::default(),
            named: named.into(),
            usable: usable.into(),
            gone: CancellationToken::new(),
            from: offer.from,
            to: offer.to,
            who: offer.who,
            holder: offer.holder,
            restarts: Mutex::new(Bucket::full(RESTARTS)),
            via: offer.via,
            commands: commands_tx,
        });
        if let Some(left_out) = self.shared.may_say(&viewer, Visit::Joined) {
            let Viewer { name, from, who, via, .. } = &*viewer;
            tracing::info!(viewer = name, address = %from.ip(), who, via = via.as_str(), "viewer joined{left_out}");
            for what in goes_without {
                tracing::info!(viewer = name, "not sent to this viewer: {what}");
            }
        }
        let task = Task {
            entry: self.shared.enter(id.clone(), viewer.clone()),
            viewer,
            shared: self.shared.clone(),
            port,
            session,
            line,
            mid: ice.mid,
            gathered,
            commands,
            events: events_tx,
            changes,
            expected,
            place,
            upload: self.shared.uplink.part(),
            path: None,
            carried: None,
        };
        tokio::spawn(task.run());
        Ok(Answer { id, sdp, events })
    }

    /// Adds a candidate of the viewer (RFC 8839 `candidate:...`). An empty one, which means that there are no
    /// more, is ignored.
    pub async fn add_candidate(
        &self,
        id: &ViewerId,
        candidate: &str,
        _mid: Option<&str>,
    ) -> Result<(), Error> {
        let viewer = self.shared.find(id)?;
        if candidate.is_empty() {
            return Ok(());
        }
        if !candidate.starts_with("candidate:") {
            return Err(Error::BadOffer("an ICE candidate must begin with \"candidate:\" (RFC 8839)".into()));
        }
        viewer.named.fetch_add(1, Ordering::Relaxed);
        match sdp::usable_candidate(candidate) {
            Some(usable) => {
                viewer.usable.fetch_add(1, Ordering::Relaxed);
                viewer.command(Command::Candidate(usable)).await
            }
            None => Ok(()), // TCP, a name, a second component: of no use, but no error
        }
    }

    /// Handles a new offer from a viewer: an ICE restart and, if it lists the `cameras` that it wants,
    /// different media sections. Returns the answer. What is sent now and still wanted continues.
    pub async fn renegotiate(
        &self,
        id: &ViewerId,
        sdp: &str,
        cameras: Option<Vec<Wanted>>,
    ) -> Result<String, Error> {
        cameras.as_deref().map_or(Ok(()), count)?;
        let (reply, answer) = oneshot::channel();
        let offer = Command::Offer { sdp: sdp.to_owned(), cameras, reply };
        self.restarting(id)?.command(offer).await?;
        answer.await.map_err(|_| Error::Unknown)?
    }

    /// Restarts ICE with new credentials and candidates alone (WHEP's PATCH, RFC 8840): (media section,
    /// candidate).
    pub async fn restart_fragment(
        &self,
        id: &ViewerId,
        ufrag: &str,
        pwd: &str,
        candidates: &[(String, String)],
    ) -> Result<Fragment, Error> {
        let (reply, answer) = oneshot::channel();
        let (ufrag, pwd, candidates) = (ufrag.to_owned(), pwd.to_owned(), candidates.to_vec());
        self.restarting(id)?.command(Command::RestartIce { ufrag, pwd, candidates, reply }).await?;
        answer.await.map_err(|_| Error::Unknown)?
    }

    /// The viewer switches its sound on or off, which changes the playout delay that is requested.
    pub fn set_sound(&self, id: &ViewerId, on: bool) -> Result<(), Error> {
        self.shared.find(id)?.sound.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the requested quality of the video section of that name, or of all.
    pub async fn set_quality(&self, id: &ViewerId, mid: Option<&str>, wish: Quality) -> Result<(), Error> {
        self.tune(id, |wishes| {
            wishes.sections(mid)?.iter_mut().for_each(|section| section.quality = wish);
            Ok(())
        })
        .await
    }

    /// Switches the video section of that name, or the first one, to a different camera without a gap.
    pub async fn set_camera(&self, id: &ViewerId, mid: Option<&str>, camera: &str) -> Result<(), Error> {
        let camera = self.camera(camera)?;
        self.tune(id, |wishes| {
            let mut sections = wishes.sections(mid)?.iter_mut();
            let section = sections.find(|section| section.camera.is_some()).ok_or(Error::Unknown)?;
            section.camera = Some(camera.name.clone());
            Ok(())
        })
        .await
    }

    /// Switches the viewer to the sound of this camera.
    pub async fn listen(&self, id: &ViewerId, camera: &str) -> Result<(), Error> {
        let camera = self.camera(camera)?;
        self.tune(id, |wishes| {
            wishes.listen.clone_from(&camera.name);
            Ok(())
        })
        .await
    }

    /// Pauses or resumes the video section of that name; it resumes with a keyframe.
    pub async fn set_paused(&self, id: &ViewerId, mid: &str, on: bool) -> Result<(), Error> {
        self.tune(id, |wishes| {
            wishes.section(mid)?.paused = on;
            Ok(())
        })
        .await
    }

    /// The names of the cameras from which the viewer may receive pictures or sound now.
    pub fn cameras_of(&self, id: &ViewerId) -> Result<Vec<String>, Error> {
        Ok(self.shared.find(id)?.wishes().cameras())
    }

    /// Ends a viewer; returns when its line is closed.
    pub async fn leave(&self, id: &ViewerId, why: &str) -> Result<(), Error> {
        self.shared.find(id)?.end(why).await;
        Ok(())
    }

    /// Privacy was switched on: returns once nothing that was captured before is waiting for any viewer, or
    /// false if that takes too long.
    pub async fn conceal(&self) -> bool {
        self.shared.cameras.all().iter().for_each(|camera| camera.conceal());
        self.concealed(None).await
    }

    /// Like [`conceal`](Self::conceal), for one camera.
    pub async fn conceal_camera(&self, camera: &str) -> bool {
        if let Some(camera) = self.shared.cameras.find(camera) {
            camera.conceal();
        }
        self.concealed(Some(camera)).await
    }

    /// The facts of all viewers, oldest first.
    pub fn list(&self) -> Vec<Facts> {
        let mut viewers = self.shared.all();
        viewers.sort_by_key(|v| v.since);
        viewers.iter().map(|v| v.facts()).collect()
    }

    /// The viewers that joined with this credential.
    pub fn own(&self, credential: Credential) -> Vec<Own> {
        let facts =
            self.shared.all().into_iter().filter(|v| v.holder.credential == credential).map(|v| v.facts());
        facts.map(|Facts { id, cameras, link, .. }| Own { id, cameras, link }).collect()
    }

    /// Number of viewers, including those that are connecting.
    pub fn count(&self) -> usize {
        self.shared.count()
    }

    /// The port for media.
    pub fn port(&self) -> Arc<Port> {
        self.shared.port.borrow().clone()
    }

    /// Moves media to `port`. Viewers on the old port end; their pages reconnect by themselves.
    pub fn move_to(&self, port: Arc<Port>) {
        self.shared.port.send_replace(port).retire();
    }

    /// Changes the maximum number of viewers; present viewers stay.
    pub fn set_max_viewers(&self, most: usize) {
        self.places.set(most);
    }

    /// Limits what all viewers are sent together, in bits per second; `None`: no limit. It is divided anew within a second.
    pub fn set_max_upload(&self, bps: Option<u32>) {
        self.shared.uplink.set(bps);
    }

    /// Ends all viewers, and admits no more.
    pub async fn close_all(&self, why: &str) {
        self.places.close();
        let viewers = self.shared.all();
        futures_util::future::join_all(viewers.iter().map(|v| v.end(why))).await;
    }

    async fn concealed(&self, camera: Option<&str>) -> bool {
        let viewers = self.shared.all();
        let concealed = futures_util::future::join_all(viewers.iter().map(|v| v.conceal(camera)));
        tokio::time::timeout(CONCEAL, concealed).await.is_ok()
    }

    /// Changes what a viewer wants, and tells its task.
    async fn tune(
        &self,
        id: &ViewerId,
        change: impl FnOnce(&mut Wishes) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let viewer = self.shared.find(id)?;
        change(&mut viewer.wishes())?;
        viewer.command(Command::Tune).await
    }

    fn camera(&self, name: &str) -> Result<Arc<Camera>, Error> {
        let camera = self.shared.cameras.find(name);
        camera.ok_or_else(|| Error::BadOffer(format!("there is no camera named {name:?}")))
    }

    /// What an offer wants in the accepted sections.
    fn wishes(&self, offer: &Offer, pictures: &[sdp::Picture]) -> Result<Wishes, Error> {
        let section = |picture: &sdp::Picture| {
            let wanted = offer.cameras.get(picture.wanted?)?;
            Some(Section::of(picture.mid.clone(), wanted))
        };
        let listen = match (&offer.listen, offer.cameras.first()) {
            (Some(listen), _) => self.camera(listen)?.name.clone(),
            (None, first) => first.map(|wanted| wanted.camera.name.clone()).unwrap_or_default(),
        };
        Ok(Wishes { sections: pictures.iter().filter_map(section).collect(), listen })
    }

    /// The viewer, if it may restart again now: each restart costs about as much as a join.
    fn restarting(&self, id: &ViewerId) -> Result<Arc<Viewer>, Error> {
        let (viewer, now) = (self.shared.find(id)?, Instant::now());
        let mut restarts = viewer.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = (!restarts.take(1.0, now)).then(|| restarts.wait(1.0, now));
        drop(restarts);
        wait.map_or(Ok(viewer), |wait| Err(Error::TooFast(wait)))
    }
}

/// The profile in the answer to a viewer of these cameras: of the profiles that their encoders emit, the one
/// with the highest level.
fn profile(cameras: &[Wanted]) -> Result<ProfileLevelId, Error> {
    count(cameras)?;
    let profiles = cameras.iter().map(|wanted| wanted.camera.video.profile());
    profiles
        .max_by_key(|profile| profile.0[2])
        .ok_or_else(|| Error::BadOffer("no camera is requested".into()))
}

/// Checks that there are not too many for one viewer.
fn count(cameras: &[Wanted]) -> Result<(), Error> {
    if cameras.len() > MOST_WANTED {
        return Err(Error::BadOffer(format!("a connection can have at most {MOST_WANTED} cameras")));
    }
    Ok(())
}

/// When our addresses change, asks all viewers on the page for an ICE restart, by which they learn the new
/// ones.
async fn follow(shared: Arc<Shared>) {
    let mut ports = shared.port.subscribe();
    loop {
        let port = ports.borrow_and_update().clone();
        tokio::select! {
            () = port.changed() => {}
            Ok(()) = ports.changed() => continue,
        }
        let viewers = shared.all();
        tracing::info!(
            viewers = viewers.len(),
            "this device's addresses have changed; asking viewers to restart ICE"
        );
        for viewer in viewers {
            // A full queue already contains a restart, or belongs to a lost viewer.
            let _ =
                viewer.commands.try_send(Command::AskRestart("the device's addresses have changed".into()));
        }
    }
}

#[cfg(test)]
mod tests;
