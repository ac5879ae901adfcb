//! What this room's tests share.

#[cfg(test)]
use crate::media::h264::ProfileLevelId;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::auth::Auth;
use super::places;
use super::server::{self, Limits};
use super::{Context, Door, Speaks, bind};
use crate::clock::{Clocks, RtpClock};
use crate::config;
use crate::pipeline::{hub::Hub, snapshot::Snapshots};
use crate::state::State;
use crate::status::Status;
use crate::viewer::Registry;

/// A daemon without media.
pub fn context() -> Arc<Context> {
    context_with(config::Web::default(), config::Ice::default())
}

/// The same, configured.
pub fn context_with(config: config::Web, ice: config::Ice) -> Arc<Context> {
    let (hub, status) = (Arc::new(Hub::default()), Arc::new(Status::default()));
    let clocks =
        Clocks { video: RtpClock { hz: 90_000, offset: 1 }, audio: RtpClock { hz: 48_000, offset: 2 } };
    let (_, h264) = tokio::sync::watch::channel(ProfileLevelId([0x42, 0xe0, 0x1f]));
    let registry = Registry::new(
        hub.clone(),
        status.clone(),
        clocks,
        ice.clone(),
        config.address,
        config.max_viewers,
        h264,
    );
    Arc::new(Context {
        registry,
        status,
        auth: auth(),
        snapshots: Arc::new(Snapshots::new(hub)),
        config,
        ice,
        clocks,
        tls: None,
        announced: tokio::sync::watch::channel(None).1,
    })
}

/// A device without an owner, whose folder is its own.
fn auth() -> Arc<Auth> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("peercam-web-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Auth::new(State::open(&std::env::temp_dir().join(name)).unwrap())
}

/// A server on a port of its own, until dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it serves.
    pub context: Arc<Context>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), server::Error>>,
}

impl Server {
    /// Starts one without TLS.
    pub fn start(limits: Limits, context: Arc<Context>) -> Self {
        Self::speaking(Speaks::Plain, limits, context)
    }

    /// Starts one.
    pub fn speaking(speaks: Speaks, limits: Limits, context: Arc<Context>) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let doors = vec![Door { listener, speaks }];
        let task = tokio::spawn(server::serve_with(limits, doors, context.clone(), stop.clone()));
        Self { address, context, stop, task }
    }

    /// Stops it, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Begins to stop it.
    pub fn cancel(&self) {
        self.stop.cancel();
    }
}

/// Longest that any test waits: far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An offer as Chromium makes it.
pub const OFFER: &str = include_str!("../../tests/data/offer-chromium-156.sdp");

/// Short enough for tests to wait for them; sizes are those of the daemon.
pub const QUICK: Limits = Limits {
    header: Duration::from_millis(300),
    body: Duration::from_millis(300),
    stalled: Duration::from_millis(500),
    ..Limits::STANDARD
};

/// [`QUICK`] with so few connections.
pub fn few(connections: usize) -> Limits {
    let places = places::Limits {
        connections,
        per_address: connections,
        handshakes: connections,
        handshakes_per_address: connections,
        kept: connections,
        ..places::Limits::STANDARD
    };
    Limits { places, ..QUICK }
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    head: String,
    /// The rest.
    pub body: String,
}

impl Reply {
    /// Parses what came until the connection ended.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }

    /// The value of a header, or "".
    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

impl Server {
    /// Sends `bytes` as they are and reads until the connection ends.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes.as_ref()).await; // may be refused before all is sent
        Reply::parse(&rest(&mut stream).await)
    }

    /// One request. `headers` are whole lines.
    pub async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        let (address, length) = (self.address, body.len());
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {headers}\r\n{body}"
        ))
        .await
    }
}

/// What comes until the connection ends.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = vec![];
    let read = stream.read_to_end(&mut all);
    // A reset ends it too.
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends in time");
    all
}
