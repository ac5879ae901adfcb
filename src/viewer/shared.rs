//! What the registry and the viewers' tasks have in common: who is there, and the way to each one's task.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::port::Port;
use super::wire::NtpClock;
use super::wishes::Wishes;
use super::{Credential, Error, Facts, Fragment, Holder, Signaling, Stage, ViewerId, Wanted};
use crate::clock::Pts;
use crate::hush::{Hush, LeftOut};
use crate::net::Bucket;
use crate::pipeline::camera::Cameras;
use crate::status::Status;

/// How long one leave may take: its task sends a goodbye.
const LEAVE: Duration = Duration::from_secs(1);

/// What the registry and the viewers' tasks have in common.
pub struct Shared {
    /// Where media comes from.
    pub cameras: Arc<Cameras>,
    /// Where counters go.
    pub status: Arc<Status>,
    /// The wall clock of sender reports.
    pub ntp: NtpClock,
    /// Through which the media of new viewers goes.
    pub port: watch::Sender<Arc<Port>>,
    viewers: Mutex<HashMap<ViewerId, Arc<Viewer>>>,
    /// Lines about viewers that come and go, by what was let in and what happened.
    visits: Mutex<Hush<(Credential, Visit)>>,
}

/// What happens to a viewer, as a line in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visit {
    /// Its offer was answered.
    Joined,
    /// It is connected.
    Watches,
    /// It gets other pictures: of another size, or of another camera.
    Switched,
    /// It ended.
    Left,
}

/// The public side of one viewer.
pub struct Viewer {
    /// Short, for lists and logs.
    pub name: String,
    /// How its id begins.
    pub id: String,
    /// When it offered.
    pub since: Instant,
    /// Whether it plays the sound.
    pub sound: AtomicBool,
    /// What it wishes for, and what it gets of it.
    pub wishes: Mutex<Wishes>,
    /// Whether it ever connected.
    pub live: AtomicBool,
    /// Times it fell behind.
    pub lagged: AtomicU64,
    /// What it was sent, bytes of RTP.
    pub sent_bytes: AtomicU64,
    /// What it is being sent.
    pub rate_bps: AtomicU64,
    /// Addresses that it named (candidates).
    pub named: AtomicUsize,
    /// Those of them that we can send to.
    pub usable: AtomicUsize,
    /// Cancelled when its line is closed.
    pub gone: CancellationToken,
    /// Where its offer came from.
    pub from: SocketAddr,
    /// The address of ours at which it asked.
    pub to: Option<IpAddr>,
    /// By what it was let in.
    pub who: String,
    /// The same for limits.
    pub holder: Holder,
    /// Further restarts.
    pub restarts: Mutex<Bucket>,
    /// By which way it asked.
    pub via: Signaling,
    /// To its task.
    pub commands: mpsc::Sender<Command>,
}

/// A viewer's entry among all viewers. Dropped, it is gone, and requests about the viewer are answered with [`Error::Unknown`].
pub struct Entry {
    shared: Arc<Shared>,
    id: ViewerId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
    }
}

/// What the registry asks of a viewer's task.
pub enum Command {
    /// One of its candidates, usable.
    Candidate(String),
    /// A new offer.
    Offer {
        /// Its session description.
        sdp: String,
        /// What it wishes to see from now on; `None`: as before.
        cameras: Option<Vec<Wanted>>,
        /// For our answer.
        reply: oneshot::Sender<Result<String, Error>>,
    },
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
    /// It wishes for something else.
    Tune,
    /// It is to be asked for an ICE restart, and why.
    AskRestart(String),
    /// What waited for it of this camera, or of all, was dropped; to be answered when nothing from before is in hand.
    Concealed(Option<String>, oneshot::Sender<()>),
    /// The end, and why.
    Leave(String),
}

impl Shared {
    /// Nobody yet. Media comes from `cameras` and goes through `port`.
    pub fn new(cameras: Arc<Cameras>, status: Arc<Status>, port: Arc<Port>) -> Self {
        Self {
            cameras,
            status,
            ntp: NtpClock::now(),
            port: watch::Sender::new(port),
            viewers: Mutex::default(),
            visits: Mutex::new(Hush::visits()),
        }
    }

    /// Whether the journal gets a line about a viewer, with what was left out before.
    pub fn may_say(&self, viewer: &Viewer, visit: Visit) -> Option<LeftOut> {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.may_say((viewer.holder.credential, visit), Pts::now())
    }

    /// Enters a viewer, who is known by `id` until the entry is dropped.
    pub fn enter(self: &Arc<Self>, id: ViewerId, viewer: Arc<Viewer>) -> Entry {
        self.lock().insert(id.clone(), viewer);
        Entry { shared: self.clone(), id }
    }

    /// The viewer known by `id`.
    pub fn find(&self, id: &ViewerId) -> Result<Arc<Viewer>, Error> {
        self.lock().get(id).cloned().ok_or(Error::Unknown)
    }

    /// All viewers, in no order.
    pub fn all(&self) -> Vec<Arc<Viewer>> {
        self.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ViewerId, Arc<Viewer>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// Hands its task a command.
    pub async fn command(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Unknown)
    }

    /// Waits until its task has nothing of this camera in hand, or of any.
    pub async fn conceal(&self, camera: Option<&str>) {
        let (done, sent) = oneshot::channel();
        if self.command(Command::Concealed(camera.map(str::to_owned), done)).await.is_ok() {
            let _ = sent.await; // it has ended instead
        }
    }

    /// Ends it; returns when its line is closed, or that takes too long.
    pub async fn end(&self, why: &str) {
        let ended = async {
            let _ = self.command(Command::Leave(why.to_owned())).await; // it may be ending by itself
            self.gone.cancelled().await;
        };
        if tokio::time::timeout(LEAVE, ended).await.is_err() {
            tracing::warn!(viewer = self.name, "viewer is slow to disconnect");
        }
    }

    /// What it wishes for, and what it gets of it.
    pub fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lists tell of it.
    pub fn facts(&self) -> Facts {
        Facts {
            name: self.name.clone(),
            id: self.id.clone(),
            who: self.who.clone(),
            address: self.from.ip().to_string(),
            via: self.via,
            state: if self.live.load(Ordering::Relaxed) { Stage::Live } else { Stage::Connecting },
            since_s: self.since.elapsed().as_secs(),
            sound: self.sound.load(Ordering::Relaxed),
            cameras: self.wishes().facts(),
            lagged: self.lagged.load(Ordering::Relaxed),
            rate_bps: self.rate_bps.load(Ordering::Relaxed),
        }
    }
}
