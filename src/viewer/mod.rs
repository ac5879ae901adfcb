//! The people watching: one WebRTC connection each, all known to one registry. The only room that names webrtc.
//!
//! ```text
//!  web ──offer──► registry ──► sdp (is it playable?) ──► session ──► task (one per viewer, holds it)
//!                                                        │     │          │ subscribes when connected
//!                                       core (webrtc: ◄──┘     └─► wire   ▼
//!                                       ICE, DTLS)                 ▲      pipeline::stream
//!         port (one for all) ◄══ a line for each ══► task ─────────┘ units of its tracks (which camera, which rung), and sound
//! ```
//!
//! A viewer's task drives webrtc's core, which does no I/O, and sends its media past it (`wire`); all of it happens in the
//! task's own turns. A data channel would come out of the core and go in there; `sdp` and the port's gate let none through yet.
//!
//! webrtc's log lines are silenced by default (`cli::logging`): `rtc_ice` warns every 20 ms until the browser's first
//! packet.

mod codecs;
mod core;
mod delay;
mod keys;
mod media;
mod meter;
mod nomination;
mod places;
pub mod port;
mod registry;
pub mod sdp;
mod session;
mod shared;
mod sources;
mod task;
#[cfg(test)]
mod testing;
mod track;
mod turn;
mod unconnected;
#[cfg(test)]
mod virtual_tests;
mod wire;
mod wishes;

pub use places::share;
pub use port::{Change, Error as PortError, Port};
pub use registry::Registry;
pub use turn::servers as ice_servers;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::pipeline::camera::Camera;
use crate::pipeline::quality::{Quality, Share};

/// Names one viewer; unguessable, because whoever knows it may end or change the connection (a WHEP resource).
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ViewerId(String);

impl ViewerId {
    /// A new one: 128 random bits in hexadecimal.
    fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no random numbers: {e}")))?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ViewerId {
    /// A name that somebody claims; whether it exists, the registry says.
    fn from(claimed: &str) -> Self {
        Self(claimed.to_owned())
    }
}

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ViewerId {
    /// Not the id itself: it is a capability and must not come into a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewerId(..)")
    }
}

/// The credential that somebody was let in by, as limits tell it apart: not its name, which several may share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential([u8; 32]);

impl Credential {
    /// So many are remembered by rates: more than there are links, tokens and sessions of one household.
    pub const REMEMBERED: usize = 512;

    /// By its digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Who makes a request, as limits count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// What they were let in by.
    pub credential: Credential,
    /// Whether it is the owner's.
    pub owner: bool,
    /// Whether it is a sign-in by the household's password, which may have any number of them.
    pub household: bool,
}

/// A browser's or player's wish to watch.
pub struct Offer {
    /// Session description (RFC 8866, RFC 9429), with candidates or without.
    pub sdp: String,
    /// Where it asks from.
    pub from: SocketAddr,
    /// Our address that the request came to, where that is known: viewers are offered it first.
    pub to: Option<IpAddr>,
    /// Who asks: "owner", "household", "guest: LABEL", "token: NAME".
    pub who: String,
    /// The same for limits.
    pub holder: Holder,
    /// By which way it asks.
    pub via: Signaling,
    /// Whether it plays the sound now: decides the playout delay asked for.
    pub sound: bool,
    /// What it wishes to see, at least one; that it may was decided before.
    pub cameras: Vec<Wanted>,
    /// The camera whose sound it hears; `None`: the first of `cameras`.
    pub listen: Option<String>,
}

/// A camera that a viewer wishes to see.
#[derive(Clone)]
pub struct Wanted {
    /// The video section for it (`a=mid`); `None`: the next in the order of the offer that no other one names.
    pub mid: Option<String>,
    /// Which camera.
    pub camera: Arc<Camera>,
    /// Which pictures of it.
    pub quality: Quality,
}

/// The way by which a viewer asks, and is told what happens later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signaling {
    /// Our own page, over its WebSocket.
    Page,
    /// WHEP, over HTTP.
    Whep,
}

impl Signaling {
    /// As lists and the journal have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Whep => "whep",
        }
    }
}

/// How far a viewer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its offer was answered.
    Connecting,
    /// Media flows, or did.
    Live,
}

/// What an accepted viewer gets back.
pub struct Answer {
    /// Its name from now on.
    pub id: ViewerId,
    /// Session description with our candidates.
    pub sdp: String,
    /// What happens to it later. Closed when it is gone.
    pub events: mpsc::Receiver<Event>,
}

/// What a viewer's signaling channel must tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One more local candidate (RFC 8839 `candidate:...`, without `a=`); empty: there are no more.
    Candidate {
        /// The candidate attribute's value.
        candidate: String,
        /// Media section.
        mid: String,
    },
    /// Media flows.
    Connected,
    /// It should restart ICE, and why: our addresses, or its own, have changed.
    Restart(String),
    /// It ended, and why, in one sentence.
    Closed(String),
}

/// Our side of a restarted ICE session, for a WHEP answer (RFC 8840 `application/trickle-ice-sdpfrag`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// The media section that it belongs to, for all.
    pub mid: String,
    /// Media section and candidate (`candidate:...`, without `a=`). All there are.
    pub candidates: Vec<(String, String)>,
}

/// Why a request about a viewer is refused: each variant is another HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400
    #[error("{0}")]
    BadOffer(String),
    /// 406: nothing we can send that it can play.
    #[error("{0}")]
    NotPlayable(String),
    /// 503
    #[error("too many people are watching (limit {0})")]
    Full(usize),
    /// 503
    #[error("too many viewers use this link, token or password (limit {0})")]
    Share(usize),
    /// 429
    #[error("too many offers in a short time; try again in {} s", .0.as_secs() + 1)]
    TooFast(Duration),
    /// 404
    #[error("no such viewer; it may have left")]
    Unknown,
    /// 412: the ICE session named is not the current one (WHEP `If-Match`).
    #[error("this ICE session has ended")]
    Stale,
    /// 500
    #[error("{0}")]
    Internal(String),
}

/// One viewer's facts, for `/api/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// A short public name; not the id, which is a capability.
    pub name: String,
    /// How its id begins: enough for its own page to find itself in a list, and too little to command it.
    pub id: String,
    /// Who watches, as in [`Offer::who`].
    pub who: String,
    /// Address it came from.
    pub address: String,
    /// By which way it asked.
    pub via: Signaling,
    /// How far it has come.
    pub state: Stage,
    /// Seconds since the offer.
    pub since_s: u64,
    /// Whether it plays the sound.
    pub sound: bool,
    /// What it sees, by its video sections.
    pub cameras: Vec<TrackFacts>,
    /// Times it fell behind and skipped to a keyframe, in any section.
    pub lagged: u64,
    /// What was sent to it over the last two seconds, repetitions not counted, bits per second of RTP.
    pub rate_bps: u64,
}

/// The facts of one video section of a viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackFacts {
    /// The camera that it is to show.
    pub camera: String,
    /// Which pictures of it are wished for...
    pub quality: Quality,
    /// ... and which it gets, once they come.
    pub rung: Option<Share>,
    /// Whether it is sent nothing now, because it asked for that.
    pub paused: bool,
}
