//! Helpers for the tests of the web server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::auth::{Auth, Key, Principal, Role};
use super::limits::Limits;
use super::places;
use super::{Context, Listener, Settings, Speaks, bind};
use super::{server, sessions};
use crate::clock::{Clocks, RtpClock};
use crate::config;
use crate::net::Links;
use crate::pipeline::camera::{Camera, Cameras};
use crate::state::{Digest, Scope, Session, State};
use crate::status::{self, Status};
use crate::viewer::{Port, Registry};

/// A temporary folder, removed when dropped.
pub(super) struct Dir(PathBuf);

impl Dir {
    /// Chooses a name; the folder does not exist yet.
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("peercam-web-{}-{n}", std::process::id())))
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A daemon without media, with an owner and an owner's token.
pub(super) struct Daemon {
    /// The parts that the web server uses.
    pub context: Arc<Context>,
    /// The owner's token.
    pub token: String,
    _dir: Dir,
}

impl Daemon {
    /// The first camera.
    pub(super) fn camera(&self) -> Arc<Camera> {
        self.context.cameras.all()[0].clone()
    }
}

/// A principal with this role, which may watch these cameras.
pub(super) fn principal(role: Role, cameras: Scope) -> Principal {
    Principal { role, cameras, who: role.as_str().into(), key: Key::Token(Digest::of(role.as_str())) }
}

impl std::ops::Deref for Daemon {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}

/// A stored session of the owner.
pub(super) fn session(secret: &str) -> Session {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    Session { digest: Digest::of(secret), role: Role::Owner, created_unix: now, seen_unix: now }
}

/// A daemon without media.
pub(super) fn context() -> Daemon {
    context_with(config::Web::default(), config::Ice::default())
}

/// A daemon without media, with this configuration.
pub(super) fn context_with(config: config::Web, ice: config::Ice) -> Daemon {
    context_for(&["camera"], config, ice)
}

/// A daemon without media, with cameras of these names.
pub(super) fn context_of(cameras: &[&str]) -> Daemon {
    context_for(cameras, config::Web::default(), config::Ice::default())
}

fn context_for(cameras: &[&str], config: config::Web, ice: config::Ice) -> Daemon {
    let status = Arc::new(Status::default());
    let told = |name: &&str| status::Camera {
        name: (*name).into(),
        label: name.to_uppercase(),
        video: status.source(),
        audio: status.source(),
    };
    status.set_cameras(cameras.iter().map(told).collect());
    let cameras = Cameras::new(cameras.iter().map(|name| Camera::new(name, &name.to_uppercase())));
    let clocks =
        Clocks { video: RtpClock { hz: 90_000, offset: 1 }, audio: RtpClock { hz: 48_000, offset: 2 } };
    let (_, addresses) = tokio::sync::watch::channel(vec![("lo".to_owned(), [127, 0, 0, 1].into())]);
    let any = config::Ice { port: 0, ..ice.clone() };
    let links = Links::new(addresses.clone());
    let port = Port::open(&any, addresses, status.clone()).unwrap();
    let registry = Registry::new(cameras.clone(), status.clone(), port, config.max_viewers);
    let dir = Dir::new();
    let auth = Auth::new(State::open(dir.path()).unwrap());
    auth.state().change(|l| l.owner = Some("no password fits".into())).unwrap();
    let token = auth.add_token("test", Role::Owner, Scope::ALL).unwrap();
    let announced = tokio::sync::watch::channel(None).1;
    let settings = Settings { web: config, ice, tls: None, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let settings = tokio::sync::watch::channel(Arc::new(settings)).1;
    let context = Arc::new(Context { registry, status, auth, cameras, settings, clocks, links, announced });
    Daemon { context, token, _dir: dir }
}

/// A server on a free port, until dropped.
pub(super) struct Server {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The daemon that it serves.
    pub context: Daemon,
    stop: CancellationToken,
    server: server::Server,
    _door: server::Open,
}

impl Server {
    /// Starts a server without TLS.
    pub(super) fn start(limits: Limits, context: Daemon) -> Self {
        Self::speaking(Speaks::Plain, limits, context)
    }

    /// Starts a server.
    pub(super) fn speaking(speaks: Speaks, limits: Limits, context: Daemon) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &[]).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = server::Server::with(limits, context.context.clone(), stop.clone());
        let _door = server.open(Listener { listener, speaks }).unwrap();
        Self { address, context, stop, server, _door }
    }

    /// Stops the server, and waits until it has ended.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.server.ended().await;
    }

    /// A viewer that has joined.
    pub(super) fn session(&self, viewer: &str) -> Arc<sessions::Session> {
        let principal = self.context.auth.by_token(&self.context.token).expect("the test's token");
        self.server.sessions().get(viewer, &principal).expect("it has joined")
    }

    /// Begins to stop the server.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }
}

/// Longest wait of any test: far more than needed on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An offer as Chromium makes it.
pub(super) const OFFER: &str = include_str!("../../tests/data/offer-chromium-156.sdp");

/// Limits with times short enough for tests; sizes are those of the daemon.
pub(super) const QUICK: Limits = Limits {
    handshake: Duration::from_millis(300),
    header: Duration::from_millis(300),
    body: Duration::from_millis(300),
    stalled: Duration::from_millis(500),
    ..Limits::STANDARD
};

/// [`QUICK`] with only this many connections.
pub(super) fn few(connections: usize) -> Limits {
    let places = places::Limits {
        connections,
        per_source: connections,
        handshakes: connections,
        handshakes_per_source: connections,
        kept: connections,
        ..places::Limits::STANDARD
    };
    Limits { places, ..QUICK }
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    /// Status code.
    pub status: u16,
    head: String,
    /// The rest.
    pub body: String,
}

impl Reply {
    /// Parses everything received until the connection ended.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// All values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }

    /// The value of a header, or "".
    pub(super) fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

impl Server {
    /// Sends `bytes` unchanged and reads until the connection ends.
    pub(super) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes.as_ref()).await; // it may be refused before all is sent
        Reply::parse(&rest(&mut stream).await)
    }

    /// The header line with the owner's token.
    pub(super) fn owner(&self) -> String {
        format!("Authorization: Bearer {}", self.context.token)
    }

    /// Sends a request as the owner. `headers` are whole lines.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        self.ask_as(&[&[self.owner().as_str()], headers].concat(), method, path, body).await
    }

    /// Sends a request without a credential. `headers` are whole lines.
    pub(super) async fn ask_as(&self, headers: &[&str], method: &str, path: &str, body: &str) -> Reply {
        let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        let (address, length) = (self.address, body.len());
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {headers}\r\n{body}"
        ))
        .await
    }
}

/// Reads until the connection ends.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = vec![];
    let read = stream.read_to_end(&mut all);
    // A reset ends the connection, too.
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends in time");
    all
}
