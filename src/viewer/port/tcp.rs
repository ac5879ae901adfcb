//! Passive ICE over TCP (RFC 6544), for viewers whose network blocks UDP. Each datagram is a frame of a
//! length in two bytes and its content (RFC 4571).
//!
//! A new connection must soon prove that it is a viewer. A viewer that does not read loses data, as over UDP,
//! without effect on others.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Queue};
use super::demux::{Inbound, LineId};
use super::guests::Place;
use super::{Inner, LARGEST};

/// Time limit from the connection to its first complete frame, a genuine STUN request.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Silence after which a connection is closed. Browsers check their paths every few seconds.
const IDLE: Duration = Duration::from_secs(60);
/// How long sent data may stay unacknowledged.
const STALLED: Duration = Duration::from_secs(10);
/// Most unsent bytes in the kernel; above this we wait, and begin to drop. More would only add delay.
const UNSENT: u32 = 64 * 1024;
/// Bytes written at once.
const WRITE: usize = 64 * 1024;
/// How long data in the kernel may take to arrive once privacy is on; a connection that takes longer is
/// reset.
const DRAIN: Duration = Duration::from_millis(200);
/// How often to check that.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// How often to ask the kernel what it holds, while it holds anything.
const HELD_LOOK: Duration = Duration::from_millis(20);
/// Pause after an accept failed for lack of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until cancelled.
pub(super) async fn accept(port: Arc<Inner>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match port.guests.admit(port.links.source(remote.ip())) {
                Some(place) => {
                    let connection = port.stop.clone().run_until_cancelled_owned(serve(
                        port.clone(),
                        stream,
                        remote,
                        place,
                    ));
                    tokio::spawn(connection);
                }
                None => port.status.counters.stray_datagrams.count(),
            },
            Err(error) => {
                tracing::debug!(%error, "cannot accept a TCP connection for media");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(port: Arc<Inner>, stream: TcpStream, remote: SocketAddr, mut place: Place) {
    let socket = socket2::SockRef::from(&stream);
    let set = [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_notsent_lowat(UNSENT),
        socket.set_tcp_user_timeout(Some(STALLED)),
    ];
    if let Some(error) = set.into_iter().find_map(Result::err) {
        tracing::debug!(%error, "a TCP connection cannot be set up");
        return;
    }
    let (read, write) = stream.into_split();
    let (connection, queue) = Connection::new();
    let mut line = None;
    let room = place.end.clone();
    {
        let reading = reading(&port, Frames::new(read), remote, &connection, &mut line, &mut place);
        let why = tokio::select! {
            why = reading => why,
            () = room.cancelled() => {
                port.status.counters.stray_datagrams.count();
                Err(io::Error::other("closed to make room for a new connection"))
            }
            why = writing(write, queue, connection.over.clone()) => why,
        };
        tracing::trace!(%remote, error = why.err().map(tracing::field::display), "TCP connection ended");
    }
    if let Some(line) = line {
        port.demux().closed(line, &connection);
    }
}

async fn reading(
    port: &Inner,
    mut frames: Frames<OwnedReadHalf>,
    remote: SocketAddr,
    connection: &Connection,
    line: &mut Option<LineId>,
    place: &mut Place,
) -> io::Result<()> {
    loop {
        let patience = if line.is_some() { IDLE } else { FIRST_FRAME };
        let frame = timeout(patience, frames.next()).await??;
        let Some(frame) = frame else { return Ok(()) };
        let now = std::time::Instant::now();
        let whose = port.demux().tcp(now, remote, connection, *line, frame);
        match whose {
            Inbound::Line(id, mailbox, label) => {
                if line.replace(id).is_none() && !place.known(id) {
                    return Err(io::Error::other("this viewer has too many connections"));
                }
                if !port.deliver(now, &mailbox, label, frame) {
                    port.status.counters.stray_datagrams.count();
                }
            }
            _ => {
                port.status.counters.stray_datagrams.count();
                // A stranger has one try, and a viewer that has left has nothing more to send.
                if line.is_none_or(|id| !port.demux().has(id)) {
                    return Ok(());
                }
            }
        }
    }
}

async fn writing(mut to: OwnedWriteHalf, mut queue: Queue, over: CancellationToken) -> io::Result<()> {
    let (mut out, unsent) = (BytesMut::with_capacity(WRITE), queue.unsent.clone());
    loop {
        let holds = held(&to)?;
        unsent.set_held(holds);
        tokio::select! {
            biased; // first what waits
            Some(done) = queue.concealed.recv() => {
                while let Ok(frame) = queue.frames.try_recv() {
                    unsent.done(frame.len());
                }
                drained(&to).await?;
                let _ = done.send(()); // the caller may have stopped waiting
                continue;
            }
            Some(frame) = queue.frames.recv() => out.extend_from_slice(&frame),
            () = over.cancelled() => return Ok(()),
            () = tokio::time::sleep(HELD_LOOK), if holds > 0 => continue,
        }
        // Everything that waits goes in one write.
        while out.len() + 2 + LARGEST <= WRITE
            && let Ok(frame) = queue.frames.try_recv()
        {
            out.extend_from_slice(&frame);
        }
        let bytes = out.len();
        tokio::select! {
            biased;
            written = to.write_all_buf(&mut out) => written?,
            // Part of a frame may have been sent, and only its rest could follow.
            Some(_done) = queue.concealed.recv() => return Err(reset(&to)),
            () = over.cancelled() => return Err(reset(&to)),
        }
        unsent.done(bytes);
    }
}

/// Waits until the kernel holds no written data, or resets the connection.
async fn drained(to: &OwnedWriteHalf) -> io::Result<()> {
    let empty = async {
        while held(to)? > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        Ok(())
    };
    timeout(DRAIN, empty).await.unwrap_or_else(|_| Err(reset(to)))
}

/// Number of written bytes that have not been acknowledged (tcp(7), SIOCOUTQ).
fn held(to: &OwnedWriteHalf) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor stays open while `to` is borrowed, and the kernel writes one int.
    let asked = unsafe { libc::ioctl(to.as_ref().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if asked == 0 { Ok(bytes.unsigned_abs() as usize) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel discard its data when the connection is closed, which must follow.
fn reset(to: &OwnedWriteHalf) -> io::Error {
    let _ = socket2::SockRef::from(to.as_ref()).set_linger(Some(Duration::ZERO)); // can't fail on a TCP socket
    io::Error::other("privacy was switched on before all sent data had arrived")
}

/// Reads frames from a stream of bytes.
struct Frames<R> {
    from: R,
    buffer: BytesMut,
    /// Size of the frame that was returned last.
    used: usize,
}

impl<R: AsyncReadExt + Unpin> Frames<R> {
    fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::with_capacity(2 * LARGEST), used: 0 }
    }

    /// The next non-empty frame; `None` at the end. A frame that is larger than anything useful is an error.
    async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let _ = self.buffer.split_to(std::mem::take(&mut self.used));
        loop {
            if let [high, low, ..] = self.buffer[..] {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if length > LARGEST {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too large"));
                }
                if self.buffer.len() >= 2 + length {
                    if length == 0 {
                        let _ = self.buffer.split_to(2);
                        continue;
                    }
                    self.used = 2 + length;
                    return Ok(Some(&self.buffer[2..2 + length]));
                }
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::QUEUE;
    use super::*;

    async fn frames(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        let mut frames = Frames::new(theirs);
        let bytes = bytes.to_vec();
        let feed = async move {
            for piece in bytes.chunks(piece) {
                ours.write_all(piece).await.expect("room");
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            let mut all = vec![];
            loop {
                match frames.next().await {
                    Ok(Some(frame)) => all.push(frame.to_vec()),
                    Ok(None) => return (all, true),
                    Err(_) => return (all, false),
                }
            }
        };
        tokio::join!(feed, read).1
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_the_bytes_arrive() {
        let (sender, mut queue) = Connection::new();
        let sent: Vec<Vec<u8>> = [1, 2, 200, LARGEST, 7].map(|n| vec![n as u8; n]).to_vec();
        assert!(sent.iter().all(|s| sender.send(s)));
        let mut stream = vec![0, 0]; // an empty one is allowed (RFC 4571 section 2) and ignored
        while let Ok(frame) = queue.frames.try_recv() {
            stream.extend_from_slice(&frame);
        }
        for piece in [1, 2, 3, 999, 60_000] {
            assert_eq!(frames(&stream, piece).await, (sent.clone(), true));
        }
        let torn = &stream[..stream.len() - 1];
        assert_eq!(frames(torn, 100).await, (sent[..4].to_vec(), true));
    }

    #[tokio::test]
    async fn a_frame_too_large_is_refused_before_it_is_read() {
        assert_eq!(frames(&[0, 1, 5, 0xff, 0xff, 0], 10).await, (vec![vec![5]], false));
    }

    /// A connection that we write to and nobody reads, and the result of writing.
    async fn connection() -> (Connection, TcpStream, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let theirs = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (read, write) = listener.accept().await.expect("accepted").0.into_split();
        let (sender, queue) = Connection::new();
        let over = sender.over.clone();
        let ended = tokio::spawn(async move {
            let ended = writing(write, queue, over).await;
            drop(read);
            ended
        });
        (sender, theirs, ended)
    }

    #[tokio::test]
    async fn what_a_viewer_has_not_taken_is_never_sent_once_there_is_privacy() {
        let (sender, mut theirs, ended) = connection().await;
        let frame = [7; LARGEST];
        let mut sent = 0;
        // Until the kernel accepts no more, and the queue is full.
        for _ in 0..200 {
            while sender.send(&frame) {
                sent += 2 + LARGEST;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        timeout(Duration::from_secs(5), sender.conceal()).await.expect("an answer");
        assert!(ended.await.expect("no panic").is_err(), "reset");
        let mut bytes = vec![];
        let error = theirs.read_to_end(&mut bytes).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(bytes.len() < sent - QUEUE * LARGEST / 2, "{} of {sent} came", bytes.len());
    }

    #[tokio::test]
    async fn a_viewer_that_reads_keeps_its_connection_when_there_is_privacy() {
        let (sender, mut theirs, ended) = connection().await;
        let reading = tokio::spawn(async move {
            let mut bytes = vec![];
            theirs.read_to_end(&mut bytes).await.map(|_| bytes.len())
        });
        assert!(sender.send(b"before"));
        timeout(Duration::from_secs(5), sender.conceal()).await.expect("an answer");
        assert!(sender.send(b"after"));
        sender.close();
        assert!(ended.await.expect("no panic").is_ok());
        let read = reading.await.expect("no panic").expect("no reset");
        assert!([2 + 5, 2 + 6 + 2 + 5].contains(&read), "{read}");
        timeout(Duration::from_secs(5), sender.conceal()).await.expect("nothing to wait for");
    }

    #[tokio::test]
    async fn it_is_known_how_much_has_not_arrived() {
        let (sender, mut theirs, _ended) = connection().await;
        let mut sent = 0;
        for _ in 0..200 {
            while sender.send(&[7; LARGEST]) {
                sent += 2 + LARGEST;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let unsent = sender.unsent();
        assert!((QUEUE * LARGEST..=sent).contains(&unsent), "{unsent} of {sent}");
        theirs.read_exact(&mut vec![0; sent]).await.expect("all of it");
        let empty = async {
            while sender.unsent() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        timeout(Duration::from_secs(5), empty).await.expect("all has arrived");
    }

    #[test]
    fn whoever_does_not_read_loses_the_newest() {
        let (sender, _queue) = Connection::new();
        assert!((0..QUEUE).all(|_| sender.send(b"frame")));
        assert!(!sender.send(b"frame"));
        let (sender, queue) = Connection::new();
        drop(queue);
        assert!(!sender.send(b"frame"));
    }
}
