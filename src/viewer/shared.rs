//! What the registry and the viewers' tasks share: the list of viewers, and access to each one's task.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::port::Port;
use super::starts::Starts;
use super::uplink::Uplink;
use super::wire::NtpClock;
use super::wishes::Wishes;
use super::{Credential, Error, Facts, Fragment, Holder, LinkFacts, Signaling, Stage, ViewerId, Wanted};
use crate::clock::Pts;
use crate::hush::{Hush, LeftOut};
use crate::net::Bucket;
use crate::pipeline::camera::Cameras;
use crate::status::Status;

/// How long a viewer's end may take: its task sends a goodbye.
const LEAVE: Duration = Duration::from_secs(1);

/// What the registry and the viewers' tasks share.
pub(super) struct Shared {
    /// Source of the media.
    pub cameras: Arc<Cameras>,
    /// Destination of the counters.
    pub status: Arc<Status>,
    /// The wall clock for sender reports.
    pub ntp: NtpClock,
    /// The port for the media of new viewers.
    pub port: watch::Sender<Arc<Port>>,
    /// What all viewers may upload together.
    pub uplink: Arc<Uplink>,
    /// With which estimates viewers begin.
    pub starts: Starts,
    viewers: Mutex<HashMap<ViewerId, Arc<Viewer>>>,
    /// Limits log lines about viewers that come and go, by credential and event.
    visits: Mutex<Hush<(Credential, Visit)>>,
}

/// An event of a viewer that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Visit {
    /// Its offer was answered.
    Joined,
    /// It is connected.
    Watches,
    /// It switched to a different size or camera.
    Switched,
    /// It ended.
    Left,
}

/// The public side of a viewer.
pub(super) struct Viewer {
    /// Short name for lists and logs.
    pub name: String,
    /// The start of its id.
    pub id: String,
    /// Time of its offer.
    pub since: Instant,
    /// Whether it plays the sound.
    pub sound: AtomicBool,
    /// What it wants, and what it receives.
    pub wishes: Mutex<Wishes>,
    /// Whether it ever connected.
    pub live: AtomicBool,
    /// How often it lagged.
    pub lagged: AtomicU64,
    /// Bytes of RTP that it was sent.
    pub sent_bytes: AtomicU64,
    /// Bitrate that it is being sent, in bits per second.
    pub rate_bps: AtomicU64,
    /// The figures of its link; `None` before there are keys.
    pub link: Mutex<Option<LinkFacts>>,
    /// Number of addresses that it offered (candidates).
    pub named: AtomicUsize,
    /// Number of those to which we can send.
    pub usable: AtomicUsize,
    /// Cancelled when its line is closed.
    pub gone: CancellationToken,
    /// Address that its offer came from.
    pub from: SocketAddr,
    /// Our address that its offer came to.
    pub to: Option<IpAddr>,
    /// Who is watching, by the credential that admitted them.
    pub who: String,
    /// The same for limits.
    pub holder: Holder,
    /// Limits its restarts.
    pub restarts: Mutex<Bucket>,
    /// How it is connected for signaling.
    pub via: Signaling,
    /// The command queue of its task.
    pub commands: mpsc::Sender<Command>,
}

/// A viewer's entry in the list of viewers. Once it is dropped, requests about the viewer are answered with
/// [`Error::Unknown`].
pub(super) struct Entry {
    shared: Arc<Shared>,
    id: ViewerId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
    }
}

/// A command of the registry to a viewer's task.
pub(super) enum Command {
    /// A usable candidate of the viewer.
    Candidate(String),
    /// A new offer.
    Offer {
        /// Its session description.
        sdp: String,
        /// What it wants to see from now on; `None` if that does not change.
        cameras: Option<Vec<Wanted>>,
        /// Receives our answer.
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
        /// Receives our side of the session.
        reply: oneshot::Sender<Result<Fragment, Error>>,
    },
    /// What it wants has changed.
    Tune,
    /// Ask the viewer for an ICE restart, for this reason.
    AskRestart(String),
    /// Whatever waited for it from this camera, or from all, was discarded. To be answered when the task has
    /// nothing from before any more.
    Concealed(Option<String>, oneshot::Sender<()>),
    /// End the viewer, for this reason.
    Leave(String),
}

impl Shared {
    /// Creates an empty list. Media comes from `cameras` and goes through `port`.
    pub(super) fn new(cameras: Arc<Cameras>, status: Arc<Status>, port: Arc<Port>) -> Self {
        Self {
            cameras,
            status,
            ntp: NtpClock::now(),
            port: watch::Sender::new(port),
            uplink: Arc::default(),
            starts: Starts::default(),
            viewers: Mutex::default(),
            visits: Mutex::new(Hush::visits()),
        }
    }

    /// Whether to log a line about a viewer, with the number of lines left out before.
    pub(super) fn may_say(&self, viewer: &Viewer, visit: Visit) -> Option<LeftOut> {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.may_say((viewer.holder.credential, visit), Pts::now())
    }

    /// Adds a viewer, which is known by `id` until the entry is dropped.
    pub(super) fn enter(self: &Arc<Self>, id: ViewerId, viewer: Arc<Viewer>) -> Entry {
        self.lock().insert(id.clone(), viewer);
        Entry { shared: self.clone(), id }
    }

    /// The viewer with this `id`.
    pub(super) fn find(&self, id: &ViewerId) -> Result<Arc<Viewer>, Error> {
        self.lock().get(id).cloned().ok_or(Error::Unknown)
    }

    /// All viewers, in no particular order.
    pub(super) fn all(&self) -> Vec<Arc<Viewer>> {
        self.lock().values().cloned().collect()
    }

    /// Number of viewers.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ViewerId, Arc<Viewer>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// Sends a command to its task.
    pub(super) async fn command(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Unknown)
    }

    /// Waits until its task has nothing left from this camera, or from any.
    pub(super) async fn conceal(&self, camera: Option<&str>) {
        let (done, sent) = oneshot::channel();
        if self.command(Command::Concealed(camera.map(str::to_owned), done)).await.is_ok() {
            let _ = sent.await; // fails if the task has ended instead
        }
    }

    /// Ends the viewer; returns when its line is closed, or when that takes too long.
    pub(super) async fn end(&self, why: &str) {
        let ended = async {
            let _ = self.command(Command::Leave(why.to_owned())).await; // fails if it is ending by itself
            self.gone.cancelled().await;
        };
        if tokio::time::timeout(LEAVE, ended).await.is_err() {
            tracing::warn!(viewer = self.name, "viewer is slow to disconnect");
        }
    }

    /// What it wants, and what it receives.
    pub(super) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its facts for lists.
    pub(super) fn facts(&self) -> Facts {
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
            link: self.link.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
