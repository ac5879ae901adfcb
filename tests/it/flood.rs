//! Load on the daemon's ports, from hosts of [`crate::lab`] only. Each generator is bounded in rate, number
//! and time, and ends by itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::http::{exchange_from, written};
use crate::random::Random;

/// Addresses of the attacking host: 10.9.0.0/16.
pub(crate) const CLAIMED: &str = "10.9.0.0/16";

/// One of the addresses of the attacking host.
pub(crate) fn claimed(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a09_0000 | (n % 0xfffe + 1))
}

/// What an attacker knows about a viewer: with luck its address, and the ICE names from an intercepted offer
/// and answer.
#[derive(Clone)]
pub(crate) struct Victim {
    pub address: SocketAddrV4,
    pub username: String,
}

/// Sends `per_second` forged datagrams to `to` for `time`, each from a new sender's address or the victim's;
/// returns their number.
pub(crate) fn datagrams(to: SocketAddrV4, victim: &Victim, per_second: u32, time: Duration) -> u32 {
    send(to, per_second, time, |n, random| forged(n, victim, random))
}

/// The same from a single address and with these contents.
pub(crate) fn forge(
    to: SocketAddrV4,
    from: SocketAddrV4,
    per_second: u32,
    time: Duration,
    mut payload: impl FnMut(u32, &mut Random) -> Vec<u8>,
) -> u32 {
    send(to, per_second, time, |n, random| (from, payload(n, random)))
}

fn send(
    to: SocketAddrV4,
    per_second: u32,
    time: Duration,
    mut forged: impl FnMut(u32, &mut Random) -> (SocketAddrV4, Vec<u8>),
) -> u32 {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))).expect("as root");
    let mut random = Random::new(0x1234_5678);
    let start = Instant::now();
    let (mut sent, mut handed) = (0, 0);
    while start.elapsed() < time {
        // As many as are due by now, but never above the rate: what was missed in a pause is not made up for.
        let due = (start.elapsed().as_secs_f64() * f64::from(per_second)) as u32;
        sent = sent.max(due.saturating_sub(per_second / 50));
        while sent < due {
            sent += 1;
            let (from, payload) = forged(sent, &mut random);
            let to_any = SocketAddr::from((*to.ip(), 0)).into();
            handed += u32::from(raw.send_to(&datagram(from, to, &payload), &to_any).is_ok());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    handed
}

fn forged(n: u32, victim: &Victim, random: &mut Random) -> (SocketAddrV4, Vec<u8>) {
    let stranger = SocketAddrV4::new(claimed(random.next()), (random.next() % 60_000 + 1024) as u16);
    match n % 8 {
        0 | 1 => (stranger, stun_request(&format!("{:08x}:abcd", random.next()), random)),
        2 => (stranger, stun_request(&victim.username, random)),
        3 | 4 => (stranger, client_hello(random)),
        5 => {
            let length = random.next() as usize % 1200 + 1;
            (stranger, random.bytes(length))
        }
        // In the viewer's name: a request, and what looks like its media, but fits no key.
        6 => (victim.address, stun_request(&victim.username, random)),
        _ => (victim.address, [&[0x80, 0xe0][..], &random.bytes(200)].concat()),
    }
}

/// A binding request (RFC 8489) with a wrong integrity attribute.
fn stun_request(username: &str, random: &mut Random) -> Vec<u8> {
    let mut attributes = vec![];
    let mut add = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    add(0x0006, username.as_bytes());
    add(0x0024, &0x6e7f_00ff_u32.to_be_bytes()); // PRIORITY
    add(0x802a, &random.bytes(8)); // ICE-CONTROLLING
    add(0x0008, &random.bytes(20)); // MESSAGE-INTEGRITY
    let mut message = vec![0, 1];
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend(0x2112_a442_u32.to_be_bytes());
    message.extend(random.bytes(12));
    message.extend(attributes);
    message
}

/// A ClientHello of DTLS 1.2 (RFC 6347), without a cookie.
fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend(random.bytes(32));
    body.extend([0, 0]); // no session, no cookie
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]); // two cipher suites, no compression
    let length = &(body.len() as u32).to_be_bytes()[1..];
    let handshake = [&[1][..], length, &[0, 0], &[0, 0, 0], length, &body].concat();
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

/// The IPv4 packet (RFC 791) of a datagram (RFC 768) without checksum; the kernel fills in the header's
/// checksum.
fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (20 + 8 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Connections to the page's port that never complete a request, kept open for `time`: a third sends nothing,
/// a third the head of a request and a third a TLS ClientHello, both one byte at a time. Half come from one
/// address, half from one each. Returns how many the daemon had not closed after a quarter of the time, when
/// somebody joins, and at the end.
pub(crate) fn slow_connections(to: SocketAddr, count: u32, time: Duration) -> [usize; 2] {
    let _room = Descriptors::room_for(u64::from(count) + 200);
    let start = Instant::now();
    let mut open: Vec<(u32, TcpStream)> = (0..count).filter_map(|n| Some((n, connect(n, to)?))).collect();
    let mut early = 0;
    let head = b"GET / HTTP/1.1\r\nHost: camera\r\nX-Long: ".iter().chain(b"a".iter().cycle());
    let greeting = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].iter().chain([7].iter().cycle());
    for (head, greeting) in head.zip(greeting) {
        open.retain_mut(|(n, stream)| {
            let written = match *n % 3 {
                0 => Ok(0),
                1 => stream.write(&[*head]),
                _ => stream.write(&[*greeting]),
            };
            let closed = matches!(stream.read(&mut [0; 512]), Ok(0))
                || written.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
            !closed
        });
        if start.elapsed() <= time / 4 {
            early = open.len();
        }
        if start.elapsed() > time {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    [early, open.len()]
}

/// Guesses at the owner's password, at pairing and at guest links, each from a new address, spread over
/// `time` and at most 16 at once; returns the number of each status (0: none).
pub(crate) fn guesses(to: SocketAddr, count: u32, time: Duration) -> BTreeMap<u16, u32> {
    let start = Instant::now();
    let next = AtomicU32::new(0);
    let answers = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    std::thread::sleep((time / count * n).saturating_sub(start.elapsed()));
                    *answers.lock().unwrap().entry(guess(n, to).unwrap_or(0)).or_default() += 1;
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

fn guess(n: u32, to: SocketAddr) -> Option<u16> {
    let (path, body) = match n % 4 {
        0 | 1 => ("/api/login", format!(r#"{{"password":"guess number {n}"}}"#)),
        2 => ("/api/pair", format!(r#"{{"secret":"{n:022}","password":"an owner's"}}"#)),
        _ => ("/api/guest", format!(r#"{{"secret":"{n:022}"}}"#)),
    };
    let origin = format!("http://{to}");
    let headers = [("Origin", &*origin), ("Content-Type", "application/json")];
    let text = written(to, "POST", path, &headers, &body);
    Some(exchange_from(claimed(n + 1).into(), to, &text).ok()?.code)
}

/// Connects without waiting for the result.
fn connect(n: u32, to: SocketAddr) -> Option<TcpStream> {
    connect_from(if n % 2 == 1 { claimed(n) } else { Ipv4Addr::UNSPECIFIED }, to)
}

/// Connects from an address of this host, without waiting for the result; reads and writes never wait either.
pub(crate) fn connect_from(from: impl Into<IpAddr>, to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::new(from.into(), 0).into()).ok()?;
    socket.set_nonblocking(true).ok()?;
    let _ = socket.connect(&to.into()); // in progress
    Some(socket.into())
}

/// Allows this process more descriptors than usual until dropped.
pub(crate) struct Descriptors(libc::rlimit);

impl Descriptors {
    /// Makes room for at least `count`.
    pub(crate) fn room_for(count: u64) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a complete rlimit of this function.
        let raised = unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut before);
            let wanted = libc::rlimit { rlim_cur: before.rlim_cur.max(count), ..before };
            libc::setrlimit(libc::RLIMIT_NOFILE, &wanted)
        };
        assert_eq!(raised, 0, "{count} descriptors: {}", std::io::Error::last_os_error());
        Self(before)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: it gets a complete rlimit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.0) };
    }
}
