//! Invalid input to the daemon gets an error or is dropped; nothing of it remains in memory, and the stream
//! continues.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use serde_json::Value;

use crate::client::Client;
use crate::daemon::{self, Daemon, PATTERN};
use crate::door;
use crate::http::{exchange, request};
use crate::process::settled;
use crate::ticker::Ticker;

const SDP: (&str, &str) = ("Content-Type", "application/sdp");
const GOOD: &str = include_str!("../data/offer-chromium-156.sdp");

fn post(to: SocketAddr, body: &str) -> (u16, String) {
    let answer = request(to, "POST", "/whep", &[SDP], body).expect("an answer");
    (answer.code, answer.body)
}

/// The detail of a problem response.
fn detail(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    problem["detail"].as_str().expect("a sentence").to_owned()
}

/// Descriptors, tasks and UDP sockets of the daemon.
fn held(daemon: &Daemon) -> (u64, u64, usize) {
    let status = daemon.status();
    let number = |key: &str| status["process"][key].as_u64().expect("a number");
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/udp", daemon.id())).expect("a list");
    (number("descriptors"), number("tasks"), sockets.lines().count())
}

/// Checks that the daemon uses no more than before. Resources that were closed just before a count disappear
/// a moment later; leaks stay, and each of these tests does everything at least twice.
fn assert_held(daemon: &Daemon, before: (u64, u64, usize)) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = held(daemon);
        if now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2 {
            return;
        }
        assert!(Instant::now() < end, "descriptors, tasks, UDP sockets: {before:?} before, now {now:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn bad_offers_are_refused_with_a_sentence_and_leave_nothing_behind() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    post(to, "warm up");
    let before = settled(|| held(&daemon));

    let without = |what: &str| GOOD.lines().filter(|l| !l.contains(what)).flat_map(|l| [l, "\r\n"]).collect();
    let cases: Vec<(u16, String)> = vec![
        (400, "v=0\r\n".into()),
        (400, "nonsense".into()),
        (400, "\u{fffd}\0\r\n\r\n=====".into()),
        (400, without("ice-ufrag")),
        (400, without("ice-pwd")),
        (400, without("fingerprint")),
        (406, without("H264")),
        (406, GOOD.replace("packetization-mode=1", "packetization-mode=0")),
        (413, "v=0\r\n".repeat(20_000)),
    ];
    for (code, offer) in cases.iter().chain(&cases) {
        let (got, body) = post(to, offer);
        assert_eq!(got, *code, "{body} for {:?}", offer.get(..200).unwrap_or(offer));
        assert!(detail(&body).len() > 10, "{body}");
    }
    let wrong = request(to, "POST", "/whep", &[("Content-Type", "text/plain")], GOOD).expect("an answer");
    assert_eq!(wrong.code, 415);
    for (method, path, code) in [
        ("PUT", "/whep", 405),
        ("PUT", "/whep/0123456789abcdef0123456789abcdef", 405),
        ("DELETE", "/whep/0123456789abcdef0123456789abcdef", 404),
        ("POST", "/api/status", 405),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/nothing", 404),
    ] {
        let answer = request(to, method, path, &[], "").expect("an answer");
        assert_eq!(answer.code, code, "{method} {path}: {answer:?}");
    }
    daemon::until(to, "clean", Duration::from_secs(5), |s| s["viewers"]["count"] == 0);
    assert_held(&daemon, before);
}

#[test]
fn foreign_hosts_and_origins_are_refused_everywhere() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for path in ["/", "/api/status", "/healthz", "/snapshot.jpg", "/api/signal", "/whep", "/nothing"] {
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]:80"] {
            let answer = request(to, "GET", path, &[("Host", host)], "").expect("an answer");
            assert!([400, 421].contains(&answer.code), "{path} for {host:?}: {answer:?}");
        }
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"] {
            let headers: Vec<_> = upgrade.iter().copied().chain([("Origin", origin)]).collect();
            let answer = request(to, "GET", path, &headers, "").expect("an answer");
            assert_eq!(answer.code, 403, "{path} from {origin}: {answer:?}");
        }
    }
    let from_evil = [SDP, ("Origin", "http://evil.example")];
    assert_eq!(request(to, "POST", "/whep", &from_evil, GOOD).expect("an answer").code, 403);
    assert_eq!(daemon.status()["viewers"]["count"], 0);
}

#[test]
fn the_stream_goes_on_whatever_arrives() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = runtime.block_on(async {
        let mut client = Client::new(false).await;
        client.join(to).await;
        client
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let before = settled(|| held(&daemon));

    let half_open: Vec<TcpStream> = (0..50)
        .map(|n| {
            let mut stream = TcpStream::connect(to).expect("connected");
            let _ = stream
                .write_all(&b"POST /whep HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\nv="[..n]);
            stream
        })
        .collect();
    for text in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        &format!(
            "POST /whep HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\nContent-Type: application/sdp\r\n\r\nzz\r\n",
            door::token()
        ),
        &format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
    ] {
        if let Ok(answer) = exchange(to, text) {
            assert!((400..500).contains(&answer.code), "{answer:?}");
        }
    }
    let ports = std::fs::read_to_string(format!("/proc/{}/net/udp", daemon.id())).expect("a list");
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for port in ports.lines().skip(1).filter_map(|l| u16::from_str_radix(l.get(15..19)?, 16).ok()) {
        for n in 0..2_000usize {
            let datagram: Vec<u8> = (0..n % 200)
                .map(|i| {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    // First bytes of every protocol on the port: STUN, DTLS, RTP, RTCP (RFC 7983).
                    if i == 0 { [0, 1, 22, 23, 128, 129, 200, noise as u8][n % 8] } else { noise as u8 }
                })
                .collect();
            let _ = socket.send_to(&datagram, ("127.0.0.1", port));
        }
    }

    const LASTS: Duration = Duration::from_secs(3);
    let (ticker, start) = (Ticker::start(), Instant::now());
    let frames = runtime.block_on(async {
        while client.packets.try_recv().is_ok() {}
        let mut frames = 0;
        while !ticker.enough(start, LASTS) {
            let end = tokio::time::Instant::now() + LASTS / 10;
            while let Ok(Some(packet)) = tokio::time::timeout_at(end, client.packets.recv()).await {
                frames += u32::from(matches!(packet, Packet::Rtp(p) if p.header.marker));
            }
        }
        frames
    });
    let ran = ticker.took(start);
    assert!(f64::from(frames) > 20.0 * ran.as_secs_f64(), "{frames} frames in {ran:.1?}");
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        let mut rest = vec![];
        let _ = stream.read_to_end(&mut rest); // 408, 400 or nothing; but it is closed
    }
    assert_held(&daemon, before);
}
