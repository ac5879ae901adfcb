//! The people watching: one WebRTC connection each, all known to one registry. The only room that names webrtc.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::config;
use crate::pipeline::hub::Hub;
use crate::status::Status;

/// Names one viewer; unguessable, because whoever knows it may end or change the connection (a WHEP resource).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ViewerId(String);

/// A browser's or player's wish to watch.
pub struct Offer {
    /// Session description (RFC 8866, RFC 9429), with candidates or without.
    pub sdp: String,
    /// Who asks.
    pub from: SocketAddr,
    /// "page" or "whep", for lists.
    pub via: &'static str,
    /// Whether it plays the sound now: decides the playout delay asked for.
    pub sound: bool,
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
#[derive(Clone, Debug)]
pub enum Event {
    /// One more local candidate (RFC 8839 `candidate:...`, without `a=`).
    Candidate {
        /// The candidate attribute's value.
        candidate: String,
        /// Media section.
        mid: String,
    },
    /// Media flows.
    Connected,
    /// It ended, and why, in one sentence.
    Closed(String),
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
    #[error("all {0} places are taken; try again later")]
    Full(usize),
    /// 404
    #[error("no such viewer; it may have left")]
    Unknown,
    /// 412: the ICE session named is not the current one (WHEP `If-Match`).
    #[error("that ICE session is over")]
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
    /// Address it came from.
    pub address: String,
    /// "page" or "whep".
    pub via: &'static str,
    /// "connecting" or "live".
    pub state: &'static str,
    /// Seconds since the offer.
    pub since_s: u64,
    /// Whether it plays the sound.
    pub sound: bool,
    /// Times it fell behind and skipped to a keyframe.
    pub lagged: u64,
}

/// All viewers.
pub struct Registry {
    hub: Arc<Hub>,
    status: Arc<Status>,
    ice: config::Ice,
    max_viewers: usize,
}
