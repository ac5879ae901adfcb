//! The queue of a TCP connection: frames, each of a length in two bytes and its content (RFC 4571).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Most frames that wait to be written; a further one is dropped. An IDR of 300 KB fits, a second of video
/// does not.
pub(super) const QUEUE: usize = 256;

/// A handle on a connection: frames that it sends wait in a bounded queue.
#[derive(Clone, Debug)]
pub struct Connection {
    id: u64,
    frames: mpsc::Sender<Bytes>,
    concealed: mpsc::Sender<oneshot::Sender<()>>,
    unsent: Arc<Unsent>,
    /// Cancelled when the connection is to be closed.
    pub(super) over: CancellationToken,
}

/// Bytes on their way to the other end.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Bytes that wait to be written.
    waiting: AtomicUsize,
    /// Written bytes that had not arrived when the kernel was asked last.
    held: AtomicUsize,
}

impl Unsent {
    /// These bytes do not wait any more: they were written, or discarded.
    pub(super) fn done(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The kernel holds this many.
    pub(super) fn set_held(&self, bytes: usize) {
        self.held.store(bytes, Ordering::Relaxed);
    }
}

/// The other end of a [`Connection`].
pub struct Queue {
    /// Frames to write.
    pub(super) frames: mpsc::Receiver<Bytes>,
    /// Requests to discard what waits, each to be answered when nothing of it is on its way.
    pub(super) concealed: mpsc::Receiver<oneshot::Sender<()>>,
    /// Where to report what was written.
    pub(super) unsent: Arc<Unsent>,
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Connection {
    /// Creates a handle, and the queue for the task that writes to the connection.
    pub fn new() -> (Self, Queue) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (frames, waiting) = mpsc::channel(QUEUE);
        let (concealed, orders) = mpsc::channel(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (over, unsent) = (CancellationToken::new(), Arc::<Unsent>::default());
        let queue = Queue { frames: waiting, concealed: orders, unsent: unsent.clone() };
        (Self { id, frames, concealed, unsent, over }, queue)
    }

    /// Discards what waits. Returns when nothing from before is on its way any more: it has arrived, or the
    /// connection was reset.
    pub async fn conceal(&self) {
        let (done, drained) = oneshot::channel();
        if self.concealed.send(done).await.is_ok() {
            let _ = drained.await; // fails if the connection has ended instead
        }
    }

    /// Closes the connection, once what waits is written, or immediately if the other end does not accept it.
    pub fn close(&self) {
        self.over.cancel();
    }

    /// Number of bytes that were sent and have not arrived, as far as that is known.
    pub fn unsent(&self) -> usize {
        self.unsent.waiting.load(Ordering::Relaxed) + self.unsent.held.load(Ordering::Relaxed)
    }

    /// Sends a datagram as a frame; returns false if it was dropped.
    pub fn send(&self, datagram: &[u8]) -> bool {
        self.frames.try_reserve().is_ok_and(|place| {
            let Ok(length) = u16::try_from(datagram.len()) else { return false };
            let mut frame = BytesMut::with_capacity(2 + datagram.len());
            frame.put_u16(length);
            frame.put_slice(datagram);
            self.unsent.waiting.fetch_add(frame.len(), Ordering::Relaxed);
            place.send(frame.freeze());
            true
        })
    }
}
