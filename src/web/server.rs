//! The listeners and their limits: every connection ends, regardless of what its client does.
//!
//! warp's own server has no TLS, no deadline for headers, no limit of connections and no deadline for a graceful
//! shutdown, so hyper serves warp's filters directly. A connection gets a slot ([`super::places`]); its first byte
//! distinguishes TLS from plain HTTP; then come the TLS handshake and the requests.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use warp::filters::BoxedFilter;
use warp::reply;

use super::limits::Limits;
use super::machine::Here;
use super::peer::{Connection, State};
use super::places::{Phase, Refusal};
use super::proxy::{self, Scheme, Via};
use super::seats::Connections;
use super::sessions::Sessions;
use super::{Context, redirect, routes};
use crate::clock::Pts;
use crate::hush::Hush;
use crate::listen::{self, Protocol};
use crate::net::{Source, descriptors};

/// Pause after an accept that failed for lack of resources (EMFILE, ENOMEM): some become free when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// First byte of a TLS connection: a handshake record (RFC 8446 section 5.1). No HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why the server can't listen.
#[derive(Debug)]
pub struct Error {
    address: SocketAddr,
    source: io::Error,
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        match source.kind() {
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "can't listen on {address}: this machine has no address {}", address.ip())
            }
            _ => {
                let why = listen::why(source, Protocol::Tcp, address.port());
                write!(f, "can't listen on {address}: {why}")
            }
        }
    }
}

/// Listens on `address`. `[::]` includes IPv4, regardless of the system's default (bindv6only), and means IPv4 only on
/// a kernel without IPv6. The listeners `ours` don't conflict: a different address with the same port can be added.
pub fn bind(address: SocketAddr, ours: &[&TcpListener]) -> Result<TcpListener, Error> {
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match take(address, ours) {
        Err(e) if address.ip() == all && listen::is_without_ipv6(&e) => {
            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            tracing::info!("this machine has no IPv6; listening on {v4} instead of {address}");
            take(v4, ours).map_err(|source| Error { address: v4, source })
        }
        other => other.map_err(|source| Error { address, source }),
    }
}

fn take(address: SocketAddr, ours: &[&TcpListener]) -> io::Result<TcpListener> {
    use socket2::{Domain, SockRef, Socket, Type};
    /// Most connections that wait to be accepted; usually the kernel's own limit is lower.
    const BACKLOG: i32 = 1024;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Like std: connections of a previous daemon in TIME_WAIT must not prevent the start.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // SO_REUSEPORT must be set on both sockets, and only now: no other program may share the port.
    let sharing = |on| ours.iter().try_for_each(|l| SockRef::from(*l).set_reuse_port(on));
    socket.set_reuse_port(!ours.is_empty())?;
    sharing(true)?;
    let bound = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
    sharing(false)?;
    socket.set_reuse_port(false)?;
    bound.map(|()| socket.into())
}

/// The protocol of a listener.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// HTTPS; plain HTTP is redirected to it.
    Tls(Arc<ServerConfig>),
    /// Plain HTTP.
    Plain,
    /// Plain HTTP that is only redirected to HTTPS at this port.
    Redirect(u16),
}

/// A listener and its protocol.
#[derive(Debug)]
pub struct Listener {
    /// The listener.
    pub listener: TcpListener,
    /// The protocol.
    pub speaks: Speaks,
}

/// The page's server; clones refer to the same one.
#[derive(Clone)]
pub struct Server {
    routes: BoxedFilter<(reply::Response,)>,
    state: Arc<State>,
    seats: Arc<Connections>,
    hush: Arc<Mutex<Hush<Source>>>,
}

/// A listener that accepts connections until it is closed or dropped.
#[derive(Debug)]
pub struct Open {
    door: DropGuard,
    accepting: JoinHandle<()>,
}

impl Open {
    /// Stops accepting connections. When this returns, the listener is closed, except for duplicates of it. Its
    /// connections end after their current request. WebSockets stay open: their users are authenticated, and the page
    /// does not know the new address.
    pub async fn close(self) {
        drop(self.door);
        let _ = self.accepting.await; // it can't panic
    }
}

impl Server {
    /// A server without listeners, with as many slots as the limit of descriptors allows. All connections end when
    /// `stop` is cancelled.
    pub fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        let places = Limits::STANDARD.places.within(descriptors::limit());
        Self::with(Limits { places, ..Limits::STANDARD }, context, stop)
    }

    /// Like [`Self::new`], with other limits.
    pub fn with(limits: Limits, context: Arc<Context>, stop: CancellationToken) -> Self {
        let sessions = Sessions::new(context.registry.clone(), context.auth.clone());
        let state = Arc::new(State { context, sessions, limits, stop });
        let (routes, seats) = (routes::routes(&state), Connections::new(limits.places));
        Self { routes, state, seats, hush: Arc::new(Mutex::new(Hush::strangers())) }
    }

    /// All viewers that joined through it.
    #[cfg(test)]
    pub(super) fn sessions(&self) -> &Sessions {
        &self.state.sessions
    }

    /// Accepts connections at `door`. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub fn open(&self, door: Listener) -> Result<Open, Error> {
        let Listener { listener, speaks } = door;
        let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener))
            .map_err(|source| Error { address, source })?;
        let door = self.state.stop.child_token();
        let accepting = tokio::spawn(self.clone().accept(listener, speaks, door.clone()));
        Ok(Open { door: door.drop_guard(), accepting })
    }

    /// Waits until the server is stopped and all connections have ended; after at most 2 s they are cut off.
    pub async fn ended(&self) {
        self.state.stop.cancelled().await;
        if tokio::time::timeout(self.state.limits.stop, self.seats.empty()).await.is_err() {
            tracing::debug!("{} connections did not end in time", self.seats.count());
        }
    }

    async fn accept(self, listener: tokio::net::TcpListener, speaks: Speaks, door: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = door.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote, &speaks, &door),
                // These errors concern only the pending connection, which is gone (accept(2)).
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(e) => {
                    tracing::warn!("can't accept a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Gives a connection a slot, or refuses it.
    fn admit(&self, stream: TcpStream, remote: SocketAddr, speaks: &Speaks, door: &CancellationToken) {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let context = &self.state.context;
        let source = match proxy::trusts(&context.settings().web.trusted_proxies, remote.ip()) {
            true => Source::Proxy(remote.ip()),
            false => context.links.source(remote.ip()),
        };
        let phase = if matches!(speaks, Speaks::Tls(_)) { Phase::Handshake } else { Phase::Http };
        let place = match self.seats.take(source, phase) {
            Ok(place) => place,
            Err(refusal) => {
                self.warn(source, refusal);
                if !matches!(speaks, Speaks::Tls(_)) {
                    refuse(&stream);
                }
                return;
            }
        };
        let local = stream.local_addr().map_or(remote.ip(), |a| a.ip());
        let scheme = if matches!(speaks, Speaks::Tls(_)) { Scheme::Https } else { Scheme::Http };
        let place = Arc::new(place);
        let peer = Connection { remote, source, local, scheme, via: Via::Direct, place, door: door.clone() };
        let (server, speaks) = (self.clone(), speaks.clone());
        tokio::spawn(async move {
            let (end, stop) = (peer.place.end.clone(), peer.door.clone());
            let asked = AtomicBool::new(false);
            tokio::select! {
                () = server.connection(stream, peer, speaks, &asked) => {}
                () = end.cancelled() => tracing::debug!("connection from {remote}: closed for another one"),
                // hyper would wait for the request of a connection that a browser opened to have it ready
                () = async { stop.cancelled().await; if asked.load(Ordering::Relaxed) { std::future::pending().await } } => {}
            }
        });
    }

    fn warn(&self, from: Source, refusal: Refusal) {
        let left_out = self.hush.lock().unwrap_or_else(PoisonError::into_inner).may_say(from, Pts::now());
        if let Some(more) = left_out {
            match refusal {
                Refusal::Full => {
                    tracing::warn!("refused a connection from {from}: all connections are in use{more}")
                }
                Refusal::TooMany => {
                    tracing::warn!("refused a connection from {from}: too many from this address{more}")
                }
                Refusal::TooFast => {
                    tracing::warn!("refused a connection from {from}: it opens connections too fast{more}")
                }
            }
        }
    }

    /// Serves one connection, from its first byte to its end or its upgrade.
    async fn connection(&self, stream: TcpStream, peer: Connection, speaks: Speaks, asked: &AtomicBool) {
        let limits = self.state.limits;
        // Neither can fail on a TCP socket; without them the connection is only slower, or ends later.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(limits.stalled));
        let remote = peer.remote;
        let config = match speaks {
            Speaks::Plain => return self.routes(stream, peer, asked).await,
            Speaks::Redirect(port) => return self.redirect(stream, peer, Some(port), asked).await,
            Speaks::Tls(config) => config,
        };
        let shaken = tokio::time::timeout(limits.handshake, async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Ok(Shaken::Nothing);
            }
            match first[0] {
                TLS_HANDSHAKE => Ok(Shaken::Tls(Box::new(TlsAcceptor::from(config).accept(stream).await?))),
                b'A'..=b'Z' => Ok(Shaken::Plain(stream)),
                _ => Ok::<_, io::Error>(Shaken::Nothing),
            }
        });
        match shaken.await {
            Ok(Ok(Shaken::Tls(stream))) => {
                peer.place.progress(false);
                self.routes(stream, peer, asked).await;
            }
            Ok(Ok(Shaken::Plain(stream))) => self.redirect(stream, peer, None, asked).await,
            Ok(Ok(Shaken::Nothing)) => tracing::debug!("connection from {remote}: neither TLS nor HTTP"),
            // Browsers that don't trust the certificate cause this, too.
            Ok(Err(e)) => tracing::debug!("connection from {remote}: no TLS: {e}"),
            Err(_) => tracing::debug!("connection from {remote}: no TLS in time"),
        }
    }

    async fn routes(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Connection,
        asked: &AtomicBool,
    ) {
        self.http(stream, peer, asked, |server, peer, request| {
            let service = TowerToHyperService::new(warp::service(server.routes));
            routes::answer(service, server.state, peer, request)
        })
        .await;
    }

    async fn redirect(&self, stream: TcpStream, peer: Connection, port: Option<u16>, asked: &AtomicBool) {
        let peer = Connection { scheme: Scheme::Http, ..peer };
        peer.place.progress(false);
        self.http(stream, peer, asked, move |server, peer, request| async move {
            let machine = Here { local: peer.local, announced: server.state.context.announced.clone() };
            redirect::answer(&request, &server.state.context.settings().web, &machine, port)
        })
        .await;
    }

    /// Serves the requests of a connection.
    async fn http<S, F, R>(&self, stream: S, peer: Connection, asked: &AtomicBool, answer: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(Self, Connection, http::Request<hyper::body::Incoming>) -> R,
        R: Future<Output = reply::Response>,
    {
        let (limits, stop) = (self.state.limits, peer.door.clone());
        let service = service_fn(|request| {
            asked.store(true, Ordering::Relaxed);
            peer.place.progress(true);
            let (answer, place) = (answer(self.clone(), peer.clone(), request), peer.place.clone());
            async move {
                let response = answer.await;
                place.progress(false);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // Dropping the connection cuts off what is not done by then.
                tokio::time::timeout(limits.stop, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(e) = ended {
            tracing::debug!("connection from {}: {e}", peer.remote);
        }
    }
}

/// How a connection to the HTTPS port began.
enum Shaken {
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    Plain(TcpStream),
    Nothing,
}

/// Answers that all slots are taken. The socket's buffer is empty, so this never waits; a client that is still sending
/// may see a connection reset instead. Over TLS there is no answer, because it would need the handshake that should be
/// saved.
fn refuse(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
        Content-Length: 93\r\nRetry-After: 5\r\nConnection: close\r\n\r\n\
        {\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"too many connections; try again later\"}";
    let _ = stream.try_write(FULL);
}

#[cfg(test)]
mod tests;
