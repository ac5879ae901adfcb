//! What waits to be written to one TCP connection: frames of two bytes of length and their content (RFC 4571).

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Frames that wait to be written; a further one is dropped. An IDR of 300 KB fits, a second of video does not.
pub(super) const QUEUE: usize = 256;

/// A handle on one connection: what is sent by it waits, within a bound, to be written.
#[derive(Clone, Debug)]
pub struct Connection {
    id: u64,
    frames: mpsc::Sender<Bytes>,
    concealed: mpsc::Sender<oneshot::Sender<()>>,
    /// Cancelled when it is to be closed.
    pub(super) over: CancellationToken,
}

/// The other end of a [`Connection`].
pub struct Queue {
    /// Frames to write.
    pub(super) frames: mpsc::Receiver<Bytes>,
    /// Orders to drop what waits, each to be answered when nothing of it is on its way.
    pub(super) concealed: mpsc::Receiver<oneshot::Sender<()>>,
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Connection {
    /// A handle, and the queue that whoever writes to the connection takes from.
    pub fn new() -> (Self, Queue) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (frames, waiting) = mpsc::channel(QUEUE);
        let (concealed, orders) = mpsc::channel(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let over = CancellationToken::new();
        (Self { id, frames, concealed, over }, Queue { frames: waiting, concealed: orders })
    }

    /// Drops what waits. When this returns nothing from before is on its way any more: it has arrived, or the connection
    /// was reset.
    pub async fn conceal(&self) {
        let (done, drained) = oneshot::channel();
        if self.concealed.send(done).await.is_ok() {
            let _ = drained.await; // the connection has ended instead
        }
    }

    /// Closes the connection, once what waits is written or at once where the other end does not take it.
    pub fn close(&self) {
        self.over.cancel();
    }

    /// Sends a datagram as a frame, or drops it; false if it was dropped.
    pub fn send(&self, datagram: &[u8]) -> bool {
        self.frames.try_reserve().is_ok_and(|place| {
            let Ok(length) = u16::try_from(datagram.len()) else { return false };
            let mut frame = BytesMut::with_capacity(2 + datagram.len());
            frame.put_u16(length);
            frame.put_slice(datagram);
            place.send(frame.freeze());
            true
        })
    }
}
