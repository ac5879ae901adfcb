//! WebSockets of a guest, opened by hand in hundreds, and filled with arbitrary frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Guest;
use crate::http::connect;

/// Flag in a frame's second byte: it is masked, as a client's must be. The mask that follows is zero.
const MASKED: u8 = 0x80;

/// A client's frame (RFC 6455 section 5.2) with less than 126 bytes.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, MASKED | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// A text message.
pub(super) fn text(message: &str) -> Vec<u8> {
    frame(0x81, message.as_bytes())
}

/// A text message of up to 64 KiB.
pub(super) fn long_text(message: &str) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("as much as a page may send").to_be_bytes();
    [&[0x81, MASKED | 126, length[0], length[1], 0, 0, 0, 0], message.as_bytes()].concat()
}

/// Opens the page's WebSocket; `None` if it is refused.
pub(super) fn open(from: Option<Ipv4Addr>, to: SocketAddr, guest: &Guest) -> Option<TcpStream> {
    let mut stream = connect(from.map(IpAddr::from), to).ok()?;
    let cookies = &guest.cookies;
    write!(
        stream,
        "GET /api/signal HTTP/1.1\r\nHost: {to}\r\nOrigin: http://{to}\r\nCookie: {cookies}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .ok()?;
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    head.starts_with(b"HTTP/1.1 101").then_some(stream)
}

/// Answers pings, and ignores the rest, until the time is over; returns how many sockets are still open then.
pub(super) fn hold(mut sockets: Vec<TcpStream>, time: Duration) -> usize {
    let start = Instant::now();
    for socket in &sockets {
        socket.set_nonblocking(true).expect("a socket");
    }
    let mut room = vec![0; 64 * 1024];
    while start.elapsed() < time {
        sockets.retain_mut(|socket| match socket.read(&mut room) {
            Ok(0) => false,
            // A pong is allowed at any time, whatever came.
            Ok(_) => socket.write(&frame(0x8a, &[])).is_ok(),
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    sockets.len()
}

/// Sends the same bytes repeatedly, and reads nothing, until the time is over or the socket is closed;
/// returns how many bytes were sent, and when it was closed.
pub(super) fn flood(socket: &mut TcpStream, bytes: &[u8], time: Duration) -> (usize, Option<Duration>) {
    let start = Instant::now();
    socket.set_nonblocking(true).expect("a socket");
    let (batch, mut sent) = (bytes.repeat(200), 0);
    let (mut at, mut room) = (0, vec![0; 64 * 1024]);
    while start.elapsed() < time {
        let ended = |e: &std::io::Error| e.kind() != ErrorKind::WouldBlock;
        match socket.write(&batch[at..]) {
            Ok(written) => {
                sent += written;
                at = (at + written) % batch.len();
            }
            Err(e) if ended(&e) => return (sent, Some(start.elapsed())),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        match socket.read(&mut room) {
            Ok(0) => return (sent, Some(start.elapsed())),
            Ok(_) => {}
            Err(e) if ended(&e) => return (sent, Some(start.elapsed())),
            Err(_) => {}
        }
    }
    (sent, None)
}
