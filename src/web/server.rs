//! The listener and its limits: every connection ends by itself, whatever its other end does or doesn't.
//!
//! warp's own server has no deadline for headers, no cap on connections and no end to its graceful shutdown, so
//! warp's filters are served by hyper directly.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::routes::{self, Peer, Scheme, State};
use super::sessions::Sessions;

/// Sizes and deadlines of every connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, WebSockets included. One more is answered 503 and closed at once, so that nobody waits
    /// in an invisible queue.
    pub connections: usize,
    /// From the connection, or the last response, to the end of the next request's headers: also what an idle
    /// connection is kept for.
    pub header: Duration,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// From the end of the headers to the end of the body.
    pub body: Duration,
    /// Bytes of a body; an SDP has 2 to 10 kB.
    pub body_bytes: usize,
    /// For what we sent to be acknowledged, or room made for what we want to send (TCP_USER_TIMEOUT): whoever stops
    /// reading is cut off.
    pub stalled: Duration,
    /// Bytes of a WebSocket message; a larger one closes the socket (1009).
    pub message_bytes: usize,
    /// Between our pings on a WebSocket.
    pub ping: Duration,
    /// Without any sign of life on a WebSocket before it is closed: three pings.
    pub idle: Duration,
    /// For one WebSocket message to be handed to the kernel.
    pub write: Duration,
    /// For the other end of a WebSocket to answer our close.
    pub close: Duration,
    /// For everything to end once the daemon stops.
    pub stop: Duration,
}

impl Limits {
    /// What the daemon runs with.
    pub const STANDARD: Self = Self {
        connections: 256,
        header: Duration::from_secs(5),
        header_bytes: 16 * 1024,
        body: Duration::from_secs(10),
        body_bytes: 64 * 1024,
        stalled: Duration::from_secs(20),
        message_bytes: 64 * 1024,
        ping: Duration::from_secs(15),
        idle: Duration::from_secs(45),
        write: Duration::from_secs(10),
        close: Duration::from_secs(1),
        stop: Duration::from_millis(1800),
    };
}

/// Pause after an accept that failed for want of resources (EMFILE, ENOMEM): some come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why we can't listen.
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
        write!(f, "can't listen on {address}: ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(f, "another program uses port {}", address.port()),
            io::ErrorKind::AddrNotAvailable => write!(f, "this machine has no address {}", address.ip()),
            io::ErrorKind::PermissionDenied if address.port() < 1024 => {
                write!(
                    f,
                    "no permission for ports below 1024; choose a higher one or give CAP_NET_BIND_SERVICE"
                )
            }
            io::ErrorKind::PermissionDenied => write!(f, "no permission"),
            _ => write!(f, "{source}"),
        }
    }
}

/// Takes the address. `[::]` takes IPv4 as well, unless the system was set up otherwise.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| Error { address, source })
}

/// Serves until `stop` is cancelled and all connections have ended, or had to: at most 2 s later.
/// Fails only if `listener` can't be used at all.
pub async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    stop: CancellationToken,
) -> Result<(), Error> {
    serve_with(Limits::STANDARD, listener, context, stop).await
}

/// [`serve`] with limits of one's own.
pub async fn serve_with(
    limits: Limits,
    listener: TcpListener,
    context: Arc<Context>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| Error { address, source })?;
    let sessions = Sessions::new(context.registry.clone(), context.auth.clone());
    let state = Arc::new(State { context, sessions, limits, stop: stop.clone() });
    let service = TowerToHyperService::new(warp::service(routes::routes(&state)));
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            // These are of the connection that was to be, and so past (accept(2)).
            Err(e)
                if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) =>
            {
                continue;
            }
            Err(e) => {
                tracing::warn!("can't accept a connection: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = places.clone().try_acquire_owned();
        if place.is_err() != full {
            full = place.is_err();
            if full {
                tracing::warn!("all {} connections are in use; refusing further ones", limits.connections);
            }
        }
        let Ok(place) = place else {
            refuse(&stream);
            continue;
        };
        let local = stream.local_addr().map_or(address.ip(), |a| a.ip());
        let peer = Peer { remote, local, scheme: Scheme::Http, _place: Arc::new(place) };
        let (state, service) = (state.clone(), service.clone());
        tokio::spawn(connection(stream, peer, state, move |state, peer, request| {
            routes::answer(service.clone(), state, peer, request)
        }));
    }
    drop(listener);
    let everybody = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(limits.stop, places.acquire_many(everybody)).await.is_err() {
        tracing::debug!(
            "{} connections did not end in time",
            limits.connections - places.available_permits()
        );
    }
    Ok(())
}

/// One connection, from its first request to its end or its upgrade.
async fn connection<F, R>(stream: TcpStream, peer: Peer, state: Arc<State>, answer: F)
where
    F: Fn(Arc<State>, Peer, http::Request<hyper::body::Incoming>) -> R,
    R: Future<Output = warp::reply::Response>,
{
    // Neither can fail on a TCP socket; without them it is merely slower, or ends later.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(state.limits.stalled));
    let (limits, stop, remote) = (state.limits, state.stop.clone(), peer.remote);
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let answer = answer(state.clone(), peer.clone(), request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
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
            if !asked.load(Ordering::Relaxed) {
                return; // hyper would wait for the request of a connection that a browser opened to have it ready
            }
            connection.as_mut().graceful_shutdown();
            // What is not done by then is cut off by dropping it.
            tokio::time::timeout(limits.stop, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(e) = ended {
        tracing::debug!("connection from {remote}: {e}");
    }
}

/// Says that all places are taken. The socket's buffer is empty, so this never waits; a peer that is still sending
/// may see the connection reset instead.
fn refuse(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
        Content-Length: 93\r\nRetry-After: 5\r\nConnection: close\r\n\r\n\
        {\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"too many connections; try again later\"}";
    let _ = stream.try_write(FULL);
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
