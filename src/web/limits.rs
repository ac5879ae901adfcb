//! Sizes and deadlines of every connection.

use std::time::Duration;

use super::places;

/// Sizes and deadlines of every connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many at once, and from whom.
    pub places: places::Limits,
    /// From the connection to the end of its TLS handshake; three round trips over the slowest link, and the work of a
    /// busy board.
    pub handshake: Duration,
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
        places: places::Limits::STANDARD,
        handshake: Duration::from_secs(8),
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
