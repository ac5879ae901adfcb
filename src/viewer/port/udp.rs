//! The port's UDP sockets, one for each address family.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::Inner;

/// Messages per system call, each of up to 64 datagrams that the kernel has joined (UDP GRO).
const BATCH: usize = 16;
/// Buffer for each message: the largest UDP payload. Untouched pages cost nothing.
pub(super) const MESSAGE: usize = 65_536;
/// Batches before other tasks get their turn.
const ROUNDS: usize = 4;
/// Kernel buffers, if the system allows it: for what arrives while we are busy, and for bursts of keyframes
/// to many viewers.
const KERNEL_BUFFER: usize = 4 << 20;
/// Limits for data that waits for room in the kernel, for all viewers together and for one; above them the
/// newest is dropped.
const BACKLOG: usize = 8 << 20;
const BACKLOG_OF_ONE: usize = 512 << 10;

/// A UDP socket.
pub(super) struct Udp {
    io: UdpSocket,
    /// What the kernel supports. Renewed after a wrong result: see [`Udp::put`].
    able: Mutex<Able>,
    /// How often it was renewed.
    renewals: AtomicU64,
    backlog: Mutex<Backlog>,
    waiting: Notify,
}

#[derive(Default)]
struct Backlog {
    queue: VecDeque<Waiting>,
    bytes: usize,
}

impl Backlog {
    fn drop_first(&mut self) {
        if let Some(first) = self.queue.pop_front() {
            self.bytes -= first.content.len();
            first.share.0.fetch_sub(first.content.len(), Ordering::Relaxed);
        }
    }
}

struct Waiting {
    to: SocketAddr,
    from: Option<IpAddr>,
    segment: Option<usize>,
    content: Bytes,
    share: Arc<Share>,
}

/// What the kernel supports, as known at some time; cheap to copy. A frequent sender keeps a copy, so that it
/// takes no lock that all viewers share.
#[derive(Clone, Debug)]
pub(super) struct Able {
    state: Arc<UdpSocketState>,
    renewal: u64,
}

impl Able {
    /// Datagrams that one call can carry (UDP GSO); 1 if the kernel or an interface does not support it.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments()
    }
}

/// How much of the backlog belongs to one viewer.
#[derive(Debug, Default)]
pub(super) struct Share(AtomicUsize);

impl Udp {
    /// Prepares a bound socket. Needs a tokio runtime.
    pub(super) fn new(socket: socket2::Socket) -> io::Result<Self> {
        enlarge(&socket);
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = Arc::new(UdpSocketState::new(UdpSockRef::from(&io))?);
        let able = Mutex::new(Able { state, renewal: 0 });
        let (backlog, waiting) = (Mutex::default(), Notify::new());
        Ok(Self { io, able, renewals: AtomicU64::new(0), backlog, waiting })
    }

    /// What the kernel supports now.
    pub(super) fn able(&self) -> Able {
        self.able.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `able` is still current.
    pub(super) fn is_current(&self, able: &Able) -> bool {
        able.renewal == self.renewals.load(Ordering::Relaxed)
    }

    /// Sends without waiting: what the kernel has no room for waits in the backlog, and what has no room
    /// there is dropped. Returns false if it was dropped.
    pub(super) fn send(
        &self,
        able: &Able,
        to: SocketAddr,
        from: Option<IpAddr>,
        content: &[u8],
        segment: Option<usize>,
        share: &Arc<Share>,
    ) -> bool {
        // In order: nothing overtakes what waits. The check without a lock is right except for a race that
        // may swap two datagrams.
        if share.0.load(Ordering::Relaxed) == 0 {
            match self.put(able, to, from, content, segment) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Unreachable, refused, too large: the datagram is lost like any other.
                other => return other.is_ok(),
            }
        }
        let mut backlog = self.backlog();
        let ours = share.0.load(Ordering::Relaxed);
        if backlog.bytes + content.len() > BACKLOG || ours + content.len() > BACKLOG_OF_ONE {
            return false;
        }
        share.0.fetch_add(content.len(), Ordering::Relaxed);
        backlog.bytes += content.len();
        let content = Bytes::copy_from_slice(content);
        backlog.queue.push_back(Waiting { to, from, segment, content, share: share.clone() });
        drop(backlog);
        self.waiting.notify_one();
        true
    }

    fn put(
        &self,
        able: &Able,
        to: SocketAddr,
        from: Option<IpAddr>,
        content: &[u8],
        segment: Option<usize>,
    ) -> io::Result<()> {
        let send = |able: &Able, from| {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: content,
                segment_size: segment,
                src_ip: from,
            };
            let send = || able.state.try_send(UdpSockRef::from(&self.io), &transmit);
            // Through tokio, which otherwise would not learn that there is no room.
            self.io.try_io(Interest::WRITABLE, send)
        };
        match send(able, from) {
            // That address is not ours any more. quinn-udp takes this error for a kernel without
            // segmentation.
            Err(error) if from.is_some() && error.raw_os_error() == Some(libc::EINVAL) => {
                self.renew();
                send(&self.able(), None)
            }
            other => other,
        }
    }

    fn renew(&self) {
        if let Ok(fresh) = UdpSocketState::new(UdpSockRef::from(&self.io)) {
            let mut able = self.able.lock().unwrap_or_else(PoisonError::into_inner);
            *able = Able { state: Arc::new(fresh), renewal: able.renewal + 1 };
            self.renewals.store(able.renewal, Ordering::Relaxed);
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits whenever the kernel has room, until cancelled. Only this task waits for it: tokio
    /// wakes only one that does.
    pub(super) async fn drain(&self) {
        loop {
            self.waiting.notified().await;
            while self.send_waiting() {
                // The next attempt returns the error, as that of its datagram.
                let _ = self.io.writable().await;
            }
        }
    }

    /// Sends what waits for as long as the kernel has room. Returns whether something still waits. Holds the
    /// lock, so that what is discarded meanwhile is not sent.
    fn send_waiting(&self) -> bool {
        let (able, mut backlog) = (self.able(), self.backlog());
        while let Some(next) = backlog.queue.front() {
            match self.put(&able, next.to, next.from, &next.content, next.segment) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                _ => backlog.drop_first(),
            }
        }
        false
    }

    /// Discards what waits for one viewer.
    pub(super) fn drop_waiting(&self, share: &Arc<Share>) {
        let mut backlog = self.backlog();
        let Backlog { queue, bytes } = &mut *backlog;
        queue.retain(|waiting| {
            let theirs = Arc::ptr_eq(&waiting.share, share);
            if theirs {
                *bytes -= waiting.content.len();
                share.0.fetch_sub(waiting.content.len(), Ordering::Relaxed);
            }
            !theirs
        });
    }

    /// Receives until cancelled.
    pub(super) async fn receive(&self, port: &Inner) {
        let mut room = vec![0; BATCH * MESSAGE];
        let mut metas = [RecvMeta::default(); BATCH];
        let able = self.able(); // receiving uses nothing of it that changes
        loop {
            if let Err(error) = self.io.readable().await {
                tracing::error!(%error, "the media port failed");
                return;
            }
            for _ in 0..ROUNDS {
                let mut chunks = room.chunks_mut(MESSAGE);
                let mut messages: [_; BATCH] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().expect("room was made for BATCH")));
                let received = self.io.try_io(Interest::READABLE, || {
                    able.state.recv(UdpSockRef::from(&self.io), &mut messages, &mut metas)
                });
                match received {
                    Ok(n) => port.take(&metas[..n], &room),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => tracing::trace!(%error, "the media port"),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Enlarges the buffer beyond the system's limit if permitted, otherwise up to it.
fn enlarge(socket: &socket2::Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    if setsockopt(socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_for_a_viewer_is_dropped_and_others_get_theirs() {
        let bind = || socket2::Socket::from(std::net::UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let udp = Udp::new(bind()).expect("a socket");
        let (one, other) = (Arc::new(Share::default()), Arc::new(Share::default()));
        let viewer = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let to = viewer.local_addr().expect("bound");
        // As if the kernel had no room: what belongs to a viewer with a share of the backlog does not
        // overtake it.
        for share in [&one, &other] {
            share.0.store(1, Ordering::Relaxed);
            for _ in 0..3 {
                assert!(udp.send(&udp.able(), to, None, b"recorded before", None, share));
            }
        }
        udp.drop_waiting(&one);
        assert_eq!((one.0.load(Ordering::Relaxed), udp.backlog().queue.len()), (1, 3));
        assert_eq!(udp.backlog().bytes, 3 * 15);
        assert!(udp.send(&udp.able(), to, None, b"a card", None, &one), "what comes later is sent");
        while udp.send_waiting() {
            udp.io.writable().await.expect("room"); // tokio asks the kernel first
        }
        let mut room = [0; 100];
        for expected in [&b"recorded before"[..], b"recorded before", b"recorded before", b"a card"] {
            let length = viewer.recv(&mut room).await.expect("a datagram");
            assert_eq!(&room[..length], expected);
        }
        assert!(viewer.try_recv(&mut room).is_err(), "nothing more");
        assert_eq!((udp.backlog().bytes, other.0.load(Ordering::Relaxed)), (0, 1));
    }
}
