//! The viewers: one WebRTC connection each, all known to one registry. The only module that uses webrtc.
//!
//! ```text
//!  web ──offer──► registry ──► sdp (is it playable?) ──► session ──► task (one per viewer, holds it)
//!                                                        │     │          │ subscribes when connected
//!                                       core (webrtc: ◄──┘     └─► wire   ▼
//!                                       ICE, DTLS)                 ▲      pipeline::stream
//!         port (one for all) ◄══ a line for each ══► task ─────────┘ units of its tracks (which camera, which rung), and sound
//! ```
//!
//! A viewer's task drives webrtc's core, which does no I/O, and sends its media past it (`wire`); everything
//! happens in the task's own turns. A data channel would pass through the core; `sdp` and the port's gate
//! don't allow one yet.
//!
//! webrtc's log lines are silenced by default (`cli::logging`): `rtc_ice` warns every 20 ms until the
//! browser's first packet.
//!
//! `cc` estimates what each viewer's link carries, from the viewer's reports about the packets that `wire`
//! releases. It sets the pace of the packets, the rung and layers of each track, and what the encoders are told.

mod cc;
mod codecs;
mod core;
mod delay;
mod keys;
mod ladder;
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
mod starts;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod track;
mod turn;
mod unconnected;
mod uplink;
pub mod wire;
mod wishes;

pub use ladder::Pictures;
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

/// Identifies a viewer. It is unguessable, because whoever knows it may end or change the connection (a WHEP
/// resource).
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ViewerId(String);

impl ViewerId {
    /// Creates an id: 128 random bits in hexadecimal.
    fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no random numbers: {e}")))?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// The id as it appears in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ViewerId {
    /// An id from a request; the registry knows whether it exists.
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
    /// Does not print the id itself: it is a capability and must not get into a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewerId(..)")
    }
}

/// The credential that admitted somebody, for limits. Unlike its name, it is unique.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential([u8; 32]);

impl Credential {
    /// Number of credentials whose rates are remembered: more than a household has links, tokens and
    /// sessions.
    pub const REMEMBERED: usize = 512;

    /// Creates it from the credential's digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Who makes a request, for limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The credential that admitted them.
    pub credential: Credential,
    /// Whether it belongs to the owner.
    pub owner: bool,
    /// Whether it is a sign-in with the household's password, which may have any number of them.
    pub household: bool,
}

/// A browser's or player's request to watch.
pub struct Offer {
    /// Session description (RFC 8866, RFC 9429), with or without candidates.
    pub sdp: String,
    /// Address that the request came from.
    pub from: SocketAddr,
    /// Our address that the request came to, if known: it is the first one offered to the viewer.
    pub to: Option<IpAddr>,
    /// Who asks: "owner", "household", "guest: LABEL" or "token: NAME".
    pub who: String,
    /// The same for limits.
    pub holder: Holder,
    /// How the viewer is connected for signaling.
    pub via: Signaling,
    /// Whether it plays the sound now, which decides the requested playout delay.
    pub sound: bool,
    /// The cameras that it wants, at least one; the caller has checked that it may.
    pub cameras: Vec<Wanted>,
    /// The camera whose sound it wants; `None` means the first of `cameras`.
    pub listen: Option<String>,
}

/// A camera that a viewer wants to see.
#[derive(Clone)]
pub struct Wanted {
    /// The video section for it (`a=mid`); `None` means the next section of the offer that no other camera
    /// names.
    pub mid: Option<String>,
    /// The camera.
    pub camera: Arc<Camera>,
    /// The requested quality.
    pub quality: Quality,
}

/// How a viewer sends requests and receives events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signaling {
    /// Our own page, over its WebSocket.
    Page,
    /// WHEP, over HTTP.
    Whep,
}

impl Signaling {
    /// Its name in lists and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Whep => "whep",
        }
    }
}

/// The progress of a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its offer was answered.
    Connecting,
    /// Media is or was flowing.
    Live,
}

/// The answer to an accepted viewer.
pub struct Answer {
    /// Its id.
    pub id: ViewerId,
    /// Session description with our candidates.
    pub sdp: String,
    /// Later events; closed when the viewer is gone.
    pub events: mpsc::Receiver<Event>,
}

/// An event for a viewer's signaling channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another local candidate (RFC 8839 `candidate:...`, without `a=`); an empty one means that there are no
    /// more.
    Candidate {
        /// The value of the candidate attribute.
        candidate: String,
        /// Media section (`a=mid`).
        mid: String,
    },
    /// Media is flowing.
    Connected,
    /// A different camera, size or frame rate is sent to it: [`Own`] says which.
    Gets,
    /// The viewer should restart ICE for this reason: our addresses, or its own, have changed.
    Restart(String),
    /// The connection ended, with the reason in one sentence.
    Closed(String),
}

/// Our side of a restarted ICE session, for a WHEP answer (RFC 8840 `application/trickle-ice-sdpfrag`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
    /// The media section that carries all of the transport.
    pub mid: String,
    /// All candidates, each with its media section (`candidate:...`, without `a=`).
    pub candidates: Vec<(String, String)>,
}

/// Why a request about a viewer is refused: each variant has a different HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400
    #[error("{0}")]
    BadOffer(String),
    /// 406: it can't play anything that we can send.
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
    /// 412: the ICE session in the request is not the current one (WHEP `If-Match`).
    #[error("this ICE session has ended")]
    Stale,
    /// 500
    #[error("{0}")]
    Internal(String),
}

/// A viewer in `/api/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// A short public name; not the id, which is a capability.
    pub name: String,
    /// The start of its id: enough for its own page to find itself in a list, too little to control it.
    pub id: String,
    /// Who is watching, as in [`Offer::who`].
    pub who: String,
    /// The address that it came from.
    pub address: String,
    /// How it is connected for signaling.
    pub via: Signaling,
    /// Its progress.
    pub state: Stage,
    /// Seconds since the offer.
    pub since_s: u64,
    /// Whether it plays the sound.
    pub sound: bool,
    /// What it sees, for each of its video sections.
    pub cameras: Vec<TrackFacts>,
    /// How often it lagged and skipped to a keyframe, over all sections.
    pub lagged: u64,
    /// Bitrate sent to it over the last two seconds, in bits per second of RTP without retransmissions.
    pub rate_bps: u64,
    /// Its link; `None` before there are keys.
    pub link: Option<LinkFacts>,
}

/// A viewer, for the person who watches with it.
#[derive(Clone, Debug, Serialize)]
pub struct Own {
    /// As in [`Facts`].
    pub id: String,
    /// What it sees, for each of its video sections.
    pub cameras: Vec<TrackFacts>,
    /// Its link; `None` before there are keys.
    pub link: Option<LinkFacts>,
}

/// In words: the link would carry more than the viewer's part of the upload.
const LIMITED: &str = "limited by max_upload_kbps";

/// The link to a viewer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkFacts {
    /// Estimate of what it carries, in bits per second including all headers. It does not rise much above
    /// what is used.
    pub estimate_bps: u64,
    /// Its part of the device's upload, in bits per second; `None`: that is not limited.
    pub most_bps: Option<u64>,
    /// Queueing delay in the network, in milliseconds.
    pub queue_ms: u64,
    /// Part of recent packets that was lost, in percent.
    pub loss_percent: f64,
    /// Round trip time in milliseconds. Where single packets are reported it includes the time that a report waits at
    /// the viewer.
    pub rtt_ms: u64,
    /// What the estimator is doing, in words.
    pub state: &'static str,
}

impl LinkFacts {
    /// `most_bps` is the viewer's part of the device's upload; `None`: that is not limited.
    fn of(figures: cc::Figures, most_bps: Option<f64>) -> Self {
        let limited = most_bps.is_some_and(|most_bps| most_bps < figures.estimate_bps);
        Self {
            estimate_bps: figures.estimate_bps as u64,
            most_bps: most_bps.map(|bps| bps as u64),
            queue_ms: figures.queue_ms.round() as u64,
            loss_percent: (figures.loss * 1000.0).round() / 10.0,
            rtt_ms: figures.rtt_ms.round() as u64,
            state: if limited { LIMITED } else { figures.state.words() },
        }
    }
}

/// A video section of a viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackFacts {
    /// The camera that it should show.
    pub camera: String,
    /// The requested quality.
    pub quality: Quality,
    /// The rung that it receives, once pictures arrive.
    pub rung: Option<Share>,
    /// Which of its pictures it receives.
    pub pictures: Pictures,
    /// Whether the viewer has paused it.
    pub paused: bool,
}
