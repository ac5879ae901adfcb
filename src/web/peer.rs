//! What routes get beside the request itself: the daemon's parts, and the connection by which it came.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Context;
use super::limits::Limits;
use super::proxy::{Client, Scheme, Via};
use super::seats::Place;
use super::sessions::Sessions;
use crate::net::{Links, Source};

/// Shared by all routes.
pub struct State {
    /// The rest of the daemon.
    pub context: Arc<Context>,
    /// Viewers that came through the web.
    pub sessions: Arc<Sessions>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
}

/// The connection by which a request came.
#[derive(Clone)]
pub struct Peer {
    /// The other end, or the client behind a proxy; never IPv4 in IPv6 clothes.
    pub remote: SocketAddr,
    /// Whom it is counted for.
    pub source: Source,
    /// Our end.
    pub local: IpAddr,
    /// How the browser reached us.
    pub scheme: Scheme,
    /// Whether a proxy is between.
    pub via: Via,
    /// Its place among the connections allowed; kept by a WebSocket after HTTP is done with it.
    pub place: Arc<Place>,
    /// Cancelled when the door that it came through is closed.
    pub door: CancellationToken,
}

impl Peer {
    /// With what a trusted proxy says of its client.
    pub fn of(mut self, client: &Client, links: &Links) -> Self {
        if client.address != self.remote.ip() {
            self.remote = SocketAddr::new(client.address, 0); // its port nobody tells
            self.source = links.source(client.address);
        }
        self.scheme = client.scheme;
        self.via = client.via.clone();
        self
    }
}
