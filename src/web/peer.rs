//! What routes get in addition to the request: the daemon's parts, and the request's connection.

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
    /// The parts of the daemon.
    pub context: Arc<Context>,
    /// Viewers that joined through the web server.
    pub sessions: Arc<Sessions>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
}

/// The connection of a request.
#[derive(Clone)]
pub(super) struct Connection {
    /// Address of the client, also of one behind a proxy; never IPv4-mapped.
    pub remote: SocketAddr,
    /// The source that the connection counts for.
    pub source: Source,
    /// The local address.
    pub local: IpAddr,
    /// The scheme that the browser has used.
    pub scheme: Scheme,
    /// Whether there is a proxy.
    pub via: Via,
    /// The slot of the connection; a WebSocket keeps it after HTTP.
    pub place: Arc<Place>,
    /// Cancelled when the listener is closed.
    pub door: CancellationToken,
}

impl Connection {
    /// The connection with the facts of its client that a trusted proxy has reported.
    pub(super) fn of(mut self, client: &Client, links: &Links) -> Self {
        if client.address != self.remote.ip() {
            self.remote = SocketAddr::new(client.address, 0); // proxies don't report the port
            self.source = links.source(client.address);
        }
        self.scheme = client.scheme;
        self.via = client.via.clone();
        self
    }
}
