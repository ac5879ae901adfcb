//! Sizes and deadlines of every connection.

use std::time::Duration;

use super::places;

/// Sizes and deadlines of every connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Numbers and rates of connections, in total and per source.
    pub places: places::Limits,
    /// Time limit for the TLS handshake, from the start of the connection: three round trips over the slowest link, on
    /// a busy board.
    pub handshake: Duration,
    /// Time limit for the headers of a request, from the start of the connection or the last response. Idle connections
    /// are closed after this time, too.
    pub header: Duration,
    /// Largest request line and headers, bytes.
    pub header_bytes: usize,
    /// Time limit for the body, from the end of the headers.
    pub body: Duration,
    /// Largest body, bytes; an SDP has 2 to 10 kB.
    pub body_bytes: usize,
    /// How long sent data may stay unacknowledged, or the receive window closed (TCP_USER_TIMEOUT): clients that stop
    /// reading are disconnected.
    pub stalled: Duration,
    /// Largest WebSocket message, bytes; a larger one closes the socket (1009).
    pub message_bytes: usize,
    /// Longest time between status messages on a WebSocket: figures change, and the message shows that the daemon is
    /// alive.
    pub status: Duration,
    /// Time between pings on a WebSocket.
    pub ping: Duration,
    /// How long a WebSocket may be silent before it is closed: three pings.
    pub idle: Duration,
    /// Time limit for passing one WebSocket message to the kernel.
    pub write: Duration,
    /// Time limit for the answer to a WebSocket close.
    pub close: Duration,
    /// Time limit for all connections to end when the daemon stops.
    pub stop: Duration,
}

impl Limits {
    /// The daemon's limits.
    pub const STANDARD: Self = Self {
        places: places::Limits::STANDARD,
        handshake: Duration::from_secs(8),
        header: Duration::from_secs(5),
        header_bytes: 16 * 1024,
        body: Duration::from_secs(10),
        body_bytes: 64 * 1024,
        stalled: Duration::from_secs(20),
        message_bytes: 64 * 1024,
        status: Duration::from_secs(2),
        ping: Duration::from_secs(15),
        idle: Duration::from_secs(45),
        write: Duration::from_secs(10),
        close: Duration::from_secs(1),
        stop: Duration::from_millis(1800),
    };
}
