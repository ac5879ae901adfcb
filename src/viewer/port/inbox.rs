//! What has arrived for one viewer and waits for webrtc's driver, and how that sees it: as a UDP socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::gate::Gate;

/// Datagrams that wait; a further one is dropped. A browser sends some 50 a second, and the driver takes 64 at a time.
const DEPTH: usize = 256;

/// One queue for each socket that webrtc believes to have: IPv4 and IPv6.
#[derive(Default)]
pub struct Inbox {
    v4: Queue,
    v6: Queue,
    gate: Mutex<Gate>,
    /// A permit waits here when the viewer hears us again, after our address has changed.
    pub mended: Arc<Notify>,
}

impl Inbox {
    /// What may get in here, and out to webrtc.
    pub fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue of an address's family.
    pub fn of(&self, address: SocketAddr) -> &Queue {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

/// Datagrams, each with the address that it came from.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<VecDeque<(SocketAddr, Bytes)>>,
    waker: AtomicWaker,
}

impl Queue {
    /// Adds a copy; false when there is no room.
    pub fn push(&self, from: SocketAddr, bytes: &[u8]) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == DEPTH {
            return false;
        }
        waiting.push_back((from, Bytes::copy_from_slice(bytes)));
        drop(waiting);
        self.waker.wake();
        true
    }

    /// The next, or the task is woken when there is one.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        if let Some(next) = self.pop() {
            return Poll::Ready(next);
        }
        self.waker.register(cx.waker());
        match self.pop() {
            Some(next) => Poll::Ready(next), // came between the two
            None => Poll::Pending,
        }
    }

    fn pop(&self) -> Option<(SocketAddr, Bytes)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_full_queue_drops_the_newest_and_families_are_apart() {
        let inbox = Inbox::default();
        let [v4, v6]: [SocketAddr; 2] =
            ["192.0.2.1:1", "[2001:db8::1]:1"].map(|a| a.parse().expect("address"));
        for n in 0..DEPTH {
            assert!(inbox.of(v4).push(v4, &[n as u8]));
        }
        assert!(!inbox.of(v4).push(v4, b"one too many"));
        assert!(inbox.of(v6).push(v6, b"other"));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(inbox.of(v4).poll(&mut cx), Poll::Ready((v4, Bytes::from_static(&[0]))));
        assert_eq!(inbox.of(v6).poll(&mut cx), Poll::Ready((v6, Bytes::from_static(b"other"))));
        assert_eq!(inbox.of(v6).poll(&mut cx), Poll::Pending);
    }
}
