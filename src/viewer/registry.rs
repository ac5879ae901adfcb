//! All viewers: who may come, and what is asked of those who are there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::places::{Places, Refusal};
use super::port::{Gathered, Port};
use super::session::Session;
use super::shared::{Command, Shared, Viewer, Visit};
use super::task::{self, Task};
use super::{Answer, Error, Facts, Fragment, Offer, Signaling, ViewerId, sdp};
use crate::clock::Pts;
use crate::hush::Hush;
use crate::net::{Bucket, Rate, Source};
use crate::pipeline::demand::Demand;
use crate::pipeline::quality::{Quality, Share};
use crate::pipeline::stream::{Rung, Streams};
use crate::status::Status;

/// Commands waiting for one viewer's task, which reads them at once: a caller waits when it is full.
const COMMANDS: usize = 16;
/// Events waiting for one viewer's signaling channel: a connection's worth of candidates and two more.
const EVENTS: usize = 32;
/// How long an answer waits for STUN servers, where the player cannot be told later (WHEP)...
const PATIENCE: Duration = Duration::from_secs(1);
/// ... and where it can.
const PATIENCE_PAGE: Duration = Duration::ZERO;

/// How long all viewers' tasks may take to send what they hold when privacy is switched on.
const CONCEAL: Duration = Duration::from_secs(1);
/// ICE restarts of one viewer: a few when its network changes, and one now and then.
const RESTARTS: Rate = Rate { per_second: 0.5, burst: 10.0 };

/// All viewers.
pub struct Registry {
    shared: Arc<Shared>,
    _stop: DropGuard,
    /// A place is taken from the offer on, and given back when the viewer's line is closed.
    places: Places,
    joined: AtomicU64,
    /// Refused offers, by who makes them.
    refused: Mutex<Hush<Source>>,
}

impl Registry {
    /// Nobody yet. Media goes through `port`. Needs a tokio runtime.
    pub fn new(streams: Streams, status: Arc<Status>, port: Arc<Port>, max_viewers: usize) -> Arc<Self> {
        let shared = Arc::new(Shared::new(streams, status, port));
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

    /// Answers an offer. Media flows, and is asked for, once the connection is up.
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
        // Before the offer is read: that costs something, too.
        self.places.ask(offer.holder).map_err(refused)?;
        let playable = sdp::check(&offer.sdp, self.shared.streams.video.profile())?;
        let (sound, goes_without) = (offer.sound && playable.audio.is_some(), playable.left_out.clone());
        let place = self.places.take(offer.holder).map_err(refused)?;
        let (named, usable) = sdp::count_candidates(&offer.sdp);
        let id = ViewerId::random()?;
        // Camera and microphone open while the network path is being found.
        let expected = self.shared.streams.claim(playable.audio.is_some(), Demand::expect);
        let patience = if offer.via == Signaling::Page { PATIENCE_PAGE } else { PATIENCE };
        let port = self.port();
        let gathered = Gathered::new(&port, offer.from.ip(), offer.to, patience).await;
        let line = port.line();
        let (mailbox, families, ntp) = (line.mailbox().clone(), line.families(), self.shared.ntp);
        let (session, answer) = Session::answer(playable, mailbox, families, ntp, sound, Instant::now())?;
        let (sdp, ice) = task::complete(session.offer(), &answer, &gathered)?;
        line.credentials(&ice.ufrag, &ice.pwd);
        let (commands_tx, commands) = mpsc::channel(COMMANDS);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let viewer = Arc::new(Viewer {
            name: format!("viewer-{}", self.joined.fetch_add(1, Ordering::Relaxed) + 1),
            since,
            sound: sound.into(),
            pictures: Mutex::new((offer.quality, None)),
            live: false.into(),
            lagged: 0.into(),
            sent_bytes: 0.into(),
            rate_bps: 0.into(),
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
                tracing::info!(viewer = name, "the viewer goes without {what}");
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
            expected: Some(expected),
            place,
        };
        tokio::spawn(task.run());
        Ok(Answer { id, sdp, events })
    }

    /// One of the viewer's candidates (RFC 8839 `candidate:...`). An empty one, that there are no more, needs nothing.
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
            return Err(Error::BadOffer("an ICE candidate begins with \"candidate:\" (RFC 8839)".into()));
        }
        viewer.named.fetch_add(1, Ordering::Relaxed);
        match sdp::usable_candidate(candidate) {
            Some(usable) => {
                viewer.usable.fetch_add(1, Ordering::Relaxed);
                viewer.command(Command::Candidate(usable)).await
            }
            None => Ok(()), // TCP, a name, a second component: no use, no fault
        }
    }

    /// A new offer from a viewer: an ICE restart. Returns the answer. What was sent before is sent on.
    pub async fn restart(&self, id: &ViewerId, offer_sdp: &str) -> Result<String, Error> {
        let (reply, answer) = oneshot::channel();
        self.restarting(id)?.command(Command::Restart(offer_sdp.to_owned(), reply)).await?;
        answer.await.map_err(|_| Error::Unknown)?
    }

    /// An ICE restart by new credentials and candidates alone (WHEP's PATCH, RFC 8840): (media section, candidate).
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

    /// The viewer turns its sound on or off: another playout delay is asked for.
    pub fn set_sound(&self, id: &ViewerId, on: bool) -> Result<(), Error> {
        self.shared.find(id)?.sound.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// The viewer wishes for these pictures from now on.
    pub async fn set_quality(&self, id: &ViewerId, wish: Quality) -> Result<(), Error> {
        let viewer = self.shared.find(id)?;
        viewer.pictures().0 = wish;
        viewer.command(Command::Quality(wish)).await
    }

    /// Ends a viewer; returns when its line is closed.
    pub async fn leave(&self, id: &ViewerId, why: &str) -> Result<(), Error> {
        self.shared.find(id)?.end(why).await;
        Ok(())
    }

    /// There is privacy: nothing that was captured before waits for any viewer when this returns, or false if that took
    /// too long.
    pub async fn conceal(&self) -> bool {
        self.shared.streams.conceal();
        let viewers = self.shared.all();
        let concealed = futures_util::future::join_all(viewers.iter().map(|v| v.conceal()));
        tokio::time::timeout(CONCEAL, concealed).await.is_ok()
    }

    /// The sizes of pictures that there are, from large to small.
    pub fn qualities(&self) -> Vec<Share> {
        self.shared.streams.video.offered().borrow().shares().collect()
    }

    /// The rungs that there are, with how many are on each.
    pub fn rungs(&self) -> Vec<Rung> {
        self.shared.streams.video.rungs()
    }

    /// Everybody's facts, the longest there first.
    pub fn list(&self) -> Vec<Facts> {
        let mut viewers = self.shared.all();
        viewers.sort_by_key(|v| v.since);
        viewers.iter().map(|v| v.facts()).collect()
    }

    /// How many are there, connecting ones too.
    pub fn count(&self) -> usize {
        self.shared.count()
    }

    /// The port that media goes through.
    pub fn port(&self) -> Arc<Port> {
        self.shared.port.borrow().clone()
    }

    /// From now on media goes through `port`. Viewers by the one before end; their pages come back by themselves.
    pub fn move_to(&self, port: Arc<Port>) {
        self.shared.port.send_replace(port).retire();
    }

    /// So many may watch from now on; those who do stay.
    pub fn set_max_viewers(&self, most: usize) {
        self.places.set(most);
    }

    /// Ends all viewers, and lets no more in.
    pub async fn close_all(&self, why: &str) {
        self.places.close();
        let viewers = self.shared.all();
        futures_util::future::join_all(viewers.iter().map(|v| v.end(why))).await;
    }

    /// The viewer, if it may restart once more: each restart costs about as much as a join.
    fn restarting(&self, id: &ViewerId) -> Result<Arc<Viewer>, Error> {
        let (viewer, now) = (self.shared.find(id)?, Instant::now());
        let mut restarts = viewer.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = (!restarts.take(1.0, now)).then(|| restarts.wait(1.0, now));
        drop(restarts);
        wait.map_or(Ok(viewer), |wait| Err(Error::TooFast(wait)))
    }
}

/// When our addresses change, whoever watches on the page is asked for an ICE restart, by which it learns the new ones.
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
            "our addresses have changed; viewers are asked to look for new paths"
        );
        for viewer in viewers {
            // A queue that is full has a restart in it already, or a viewer that is lost.
            let _ =
                viewer.commands.try_send(Command::AskRestart("the device's addresses have changed".into()));
        }
    }
}
