//! The one port of all viewers: over IPv4, IPv6 and TCP, with strangers, floods, NATs and networks that
//! change.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peercam::config;
use peercam::viewer::{Answer, Event, Signaling};
use rtc::interceptor::Packet;
use rtc::rtcp::receiver_report::ReceiverReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use webrtc::data_channel::DataChannelEvent;
use webrtc::peer_connection::RTCIceCandidateInit;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use super::client::{self, Client, PATIENCE};
use super::flood;
use super::ticker::Ticker;
use super::viewer::{House, house, house_with, until, video};

impl House {
    fn number(&self) -> u16 {
        self.registry.port().number()
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number()))
    }

    /// Number of entries in the port's tables.
    fn entries(&self) -> usize {
        let usage = self.registry.port().usage();
        usage.entries + usage.tcp_connections
    }

    async fn watch_by(&self, mut client: Client, tcp: bool) -> (Client, Answer) {
        let answer = self.try_join(client.offer().await).await.expect("accepted");
        if tcp {
            client.connect_tcp(&answer.sdp, None).await;
        } else {
            client.accept(&answer.sdp).await;
        }
        client.until(Connected).await;
        (client, answer)
    }
}

fn candidates(sdp: &str) -> Vec<&str> {
    sdp.lines().filter(|l| l.starts_with("a=candidate:")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_viewers_over_one_port_by_ipv4_ipv6_and_tcp() {
    let house = house(12);
    let mut clients = vec![];
    for n in 0..12 {
        let (client, tcp) = match n % 3 {
            0 => (Client::new(true).await, false),
            1 => (Client::at("[::1]:0", true).await, false),
            _ => (Client::over_tcp(true).await, true),
        };
        let (mut client, answer) = house.watch_by(client, tcp).await;
        let port = format!(" {} typ ", house.number());
        let offered = candidates(&answer.sdp);
        assert!(offered.len() >= 4 && offered.iter().all(|c| c.contains(&port)), "{offered:?}");
        client.next("video", video).await;
        clients.push((client, answer));
    }
    for (client, _) in &mut clients {
        while client.packets.try_recv().is_ok() {}
        client.next("video", video).await;
    }
    assert_eq!(house.status.counters.datagrams_dropped.get(), 0);
    for (_, answer) in clients {
        house.registry.leave(&answer.id, "enough").await.expect("there");
    }
    until("no entry is left in any table", PATIENCE, || house.entries() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_and_go_leave_no_entry() {
    let house = house(4);
    for n in 0..40 {
        let tcp = n % 4 == 3;
        let client = if tcp { Client::over_tcp(false).await } else { Client::new(false).await };
        let (mut client, answer) = house.watch_by(client, tcp).await;
        client.next("video", video).await;
        if n % 2 == 0 {
            house.registry.leave(&answer.id, "enough").await.expect("there");
        } else {
            client.close().await;
            until("it is gone", PATIENCE, || house.registry.count() == 0).await;
        }
    }
    until("no entry is left in any table", PATIENCE, || house.entries() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_can_be_taken_again_at_once() {
    let first = house(1);
    let ice = config::Ice { port: first.number(), ..Default::default() };
    let (_client, _answer) = first.watch_by(Client::over_tcp(false).await, true).await;
    first.registry.close_all("the end").await;
    drop(first);
    let start = Instant::now();
    let free = || std::net::UdpSocket::bind(("0.0.0.0", ice.port)).is_ok();
    until("the port is free", PATIENCE, free).await;
    println!("free again after {} ms", start.elapsed().as_millis());
    let again = house_with(1, ice);
    let (mut client, _answer) = again.watch_by(Client::over_tcp(false).await, true).await;
    client.next("video", video).await;
}

/// Datagrams of an attacker who knows a viewer's username fragment but not its password.
fn forgeries(ufrag: &str) -> Vec<Vec<u8>> {
    let stun = |user: &str| {
        let mut m = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6];
        m.extend((user.len() as u16).to_be_bytes());
        m.extend(user.as_bytes());
        m.resize(m.len().next_multiple_of(4), 0);
        m.extend([0, 0x25, 0, 0, 0, 8, 0, 20]);
        m.extend([0x5a; 20]);
        let length = (m.len() - 20) as u16;
        m[2..4].copy_from_slice(&length.to_be_bytes());
        m
    };
    let hello = [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1][..], &[7; 199]].concat();
    let response = [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    vec![stun(&format!("{ufrag}:any")), stun("nobody:any"), hello, response, vec![128; 1200], vec![0; 20]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forgeries_freezes_nobody() {
    const RATE: u32 = 20_000;
    const LASTS: Duration = Duration::from_secs(5);
    let house = house(2);
    let (mut client, answer) = house.watch(true).await;
    client.next("video", video).await;
    let ufrag = answer.sdp.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).expect("one").to_owned();
    let (to, stop) = (house.local(), Arc::new(AtomicBool::new(false)));
    let entries = house.entries();
    let flood = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let forged = forgeries(&ufrag);
            let sockets: Vec<_> = (0..50)
                .map(|n| {
                    std::net::UdpSocket::bind(SocketAddr::from(([127, 0, 0, 2 + n], 0))).expect("a socket")
                })
                .collect();
            let (start, mut sent) = (Instant::now(), 0_u32);
            while !stop.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * f64::from(RATE)) as u32;
                while sent < due {
                    let at = sent as usize;
                    let _ = sockets[at % sockets.len()].send_to(&forged[at % forged.len()], to);
                    sent += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            f64::from(sent) / start.elapsed().as_secs_f64()
        })
    };
    let (ticker, begun) = (Ticker::start(), Instant::now());
    let (mut last, mut gaps, mut joined) = (begun, vec![], None);
    while !ticker.enough(begun, LASTS) {
        client.next("video", video).await;
        gaps.push((last, Instant::now()));
        last = Instant::now();
        if joined.is_none() && begun.elapsed() > LASTS / 3 {
            let start = Instant::now();
            let (second, _) = house.watch(false).await;
            joined = Some((ticker.took(start), second));
            last = Instant::now(); // this test reads late what arrived meanwhile
        }
    }
    stop.store(true, Ordering::Relaxed);
    let rate = flood.join().expect("no panic");
    let longest = ticker.longest(gaps);
    let (join, _second) = joined.expect("joined");
    let strays = house.status.counters.stray_datagrams.get();
    println!(
        "{rate:.0} forged datagrams a second, {strays} seen: the longest gap in the video was {} ms, joining took {} ms",
        longest.as_millis(),
        join.as_millis()
    );
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    assert!(join < Duration::from_secs(3), "{join:?}");
    assert!(strays > 10_000, "{strays}");
    // The second viewer's line, user fragment and address, and a few requests under way.
    assert!(house.entries() < entries + 20, "forgeries leave nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_over_tcp_are_soon_gone() {
    let house = house(1);
    let closed = async |stream: &mut TcpStream, within| {
        let read = tokio::time::timeout(within, stream.read_u8()).await;
        read.unwrap_or_else(|_| panic!("still open after {within:?}")).is_err()
    };
    for bytes in
        [&[0xff, 0xff, 0][..], &[0, 3, 22, 254, 253], b"\0\x14\0\x01\0\0\x21\x12\xa4\x42............"]
    {
        let mut stream = TcpStream::connect(house.local()).await.expect("connected");
        stream.write_all(bytes).await.expect("sent");
        assert!(closed(&mut stream, Duration::from_secs(2)).await, "{bytes:?}");
    }
    let mut many = vec![];
    for _ in 0..100 {
        many.push(TcpStream::connect(house.local()).await.expect("connected"));
    }
    let (mut silent, start) = (many.pop().expect("the last one"), Instant::now());
    let strays = || house.status.counters.stray_datagrams.get();
    until("the first make room for the last", PATIENCE, || strays() >= 100 - 64).await;
    assert!(closed(&mut many[0], Duration::from_secs(1)).await);
    assert!(house.entries() <= 64);
    assert!(closed(&mut silent, Duration::from_secs(7)).await);
    assert!(start.elapsed() > Duration::from_secs(4), "it had its time to connect");
    until("all are gone", PATIENCE, || house.entries() == 0).await;
    let (mut client, _answer) = house.watch_by(Client::over_tcp(false).await, true).await;
    client.next("video", video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_stops_reading_tcp_harms_nobody() {
    let house = house(2);
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (by, to) = (proxy.local_addr().expect("bound").port(), house.local());
    let (stall, stalled) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let (viewer, _) = proxy.accept().await.expect("the viewer");
        let daemon = TcpStream::connect(to).await.expect("the daemon");
        let (mut from_viewer, mut to_viewer) = viewer.into_split();
        let (mut from_daemon, mut to_daemon) = daemon.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_viewer, &mut to_daemon).await });
        let mut bytes = [0; 4096];
        while !*stalled.borrow() {
            let n = from_daemon.read(&mut bytes).await.expect("open");
            to_viewer.write_all(&bytes[..n]).await.expect("open");
        }
        std::future::pending::<()>().await;
    });
    let mut slow = Client::over_tcp(true).await;
    let answer = house.try_join(slow.offer().await).await.expect("accepted");
    slow.connect_tcp(&answer.sdp, Some(by)).await;
    slow.until(Connected).await;
    slow.next("video", video).await;
    let (mut quick, _answer) = house.watch(true).await;
    stall.send_replace(true);
    let (ticker, start) = (Ticker::start(), Instant::now());
    let (mut last, mut gaps) = (start, vec![]);
    while start.elapsed() < Duration::from_secs(15) {
        quick.next("video", video).await;
        gaps.push((last, Instant::now()));
        last = Instant::now();
    }
    ticker.judge(start, Instant::now());
    let longest = ticker.longest(gaps);
    let [stalled, quick] = &house.registry.list()[..] else { panic!("both are there") };
    let estimates = [stalled, quick].map(|facts| facts.link.as_ref().expect("known").estimate_bps);
    println!("estimates {estimates:?}; the other's longest gap was {} ms", longest.as_millis());
    assert!(estimates[0] < estimates[1] / 4, "it is sent next to nothing: {estimates:?}");
    // Who waits for the stalled one waits until it is given up. A busy machine takes half a second at times.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// A NAT for one viewer: its packets leave by a socket that can be replaced.
async fn nat(to: SocketAddr) -> (SocketAddr, tokio::sync::mpsc::Sender<()>) {
    let inside = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = inside.local_addr().expect("bound");
    let (change, mut changes) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut outside = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let (mut viewer, mut there, mut back) = (None, [0; 2000], [0; 2000]);
        loop {
            tokio::select! {
                Some(()) = changes.recv() => outside = UdpSocket::bind("127.0.0.1:0").await.expect("a socket"),
                Ok((n, from)) = inside.recv_from(&mut there) => {
                    viewer = Some(from);
                    let _ = outside.send_to(&there[..n], to).await;
                }
                Ok((n, _)) = outside.recv_from(&mut back) => {
                    if let Some(viewer) = viewer {
                        let _ = inside.send_to(&back[..n], viewer).await;
                    }
                }
            }
        }
    });
    (address, change)
}

#[tokio::test(flavor = "multi_thread")]
async fn media_follows_a_viewer_whose_address_changes() {
    let house = house(1);
    let (outside, change) = nat(house.local()).await;
    let mut client = Client::new(true).await;
    let answer = house.try_join(client.offer().await).await.expect("accepted");
    let silent: String =
        answer.sdp.lines().filter(|l| !l.starts_with("a=candidate")).flat_map(|l| [l, "\r\n"]).collect();
    client.accept(&silent).await;
    let candidate = format!("candidate:1 1 udp 2130706431 127.0.0.1 {} typ host", outside.port());
    let candidate = RTCIceCandidateInit { candidate, ..Default::default() };
    client.connection.add_ice_candidate(candidate).await.expect("taken");
    client.until(Connected).await;
    client.next("video", video).await;
    for _ in 0..2 {
        change.send(()).await.expect("alive");
        tokio::time::sleep(Duration::from_millis(100)).await;
        while client.packets.try_recv().is_ok() {}
        let start = Instant::now();
        client.next("video by the new address", video).await;
        println!("back after {} ms", start.elapsed().as_millis());
    }
    tokio::time::sleep(Duration::from_secs(12)).await; // longer than silence on the first path is tolerated
    while client.packets.try_recv().is_ok() {}
    client.next("video", |p: Packet| video(p)).await;
    assert_eq!(house.registry.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_our_addresses_asks_for_a_restart() {
    let house = house(1);
    let mut client = Client::new(false).await;
    let mut answer = house.try_join(client.offer().await).await.expect("accepted");
    client.accept(&answer.sdp).await;
    client.until(Connected).await;
    assert_eq!(answer.events.recv().await, Some(Event::Connected));
    house.addresses.send_modify(|a| a.push(("eth7".into(), "169.254.9.9".parse().expect("address"))));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others = std::iter::from_fn(|| answer.events.try_recv().ok()).find(|event| *event != Event::Gets);
    assert_eq!(others, None, "no viewer is told about that address");
    house.addresses.send_modify(|a| a.push(("eth7".into(), "192.0.2.77".parse().expect("address"))));
    let told = async {
        loop {
            match answer.events.recv().await {
                Some(Event::Gets) => {}
                event => break event,
            }
        }
    };
    let event = tokio::time::timeout(PATIENCE, told).await.expect("told");
    assert_eq!(event, Some(Event::Restart("the device's addresses have changed".into())));
    let offer = client.restart_offer().await;
    let restarted = house.registry.renegotiate(&answer.id, &offer, None).await.expect("answered");
    assert!(restarted.contains(" 192.0.2.77 "), "{restarted}");
    client.accept(&restarted).await;
    while client.packets.try_recv().is_ok() {}
    client.next("video", video).await;
    let other = offer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:");
    house.registry.renegotiate(&answer.id, &other, None).await.expect_err("another certificate");
    while client.packets.try_recv().is_ok() {}
    client.next("video after a refused restart", video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_is_offered() {
    let public = |ip: &str, port| config::Public { ip: ip.parse().expect("address"), port };
    let ice = config::Ice {
        port: 0,
        tcp: false,
        exclude_interfaces: vec!["*".into()],
        public_addresses: vec![public("203.0.113.7", None), public("203.0.113.8", Some(50_000))],
        ..Default::default()
    };
    let house = house_with(1, ice);
    let client = Client::new(false).await;
    let from = "192.0.2.9:5000".parse().expect("address");
    let offer = client::offer(client.offer().await, from, Signaling::Whep, &house.cameras);
    let answer = house.registry.join(offer).await.expect("accepted");
    let offered: Vec<_> =
        candidates(&answer.sdp).iter().map(|c| c.split(' ').skip(2).collect::<Vec<_>>()).collect();
    assert!(offered.iter().all(|c| c[0] == "udp"), "{offered:?}");
    let at = |ip: &str, port: u16| offered.iter().any(|c| c[2] == ip && c[3] == port.to_string());
    assert!(at("203.0.113.7", house.number()) && at("203.0.113.8", 50_000), "{offered:?}");
    assert!(TcpStream::connect(house.local()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_reports_get_through_while_somebody_speaks_in_its_name() {
    let house = house(1);
    let mut client = Client::new(false).await;
    let answer = house.try_join(client.offer().await).await.expect("accepted");
    let candidates = client.candidates().await;
    let words: Vec<_> = candidates[0].split(' ').collect();
    let from = SocketAddrV4::new(words[4].parse().expect("IPv4"), words[5].parse().expect("a port"));
    let SocketAddr::V4(to) = house.local() else { unreachable!("it is 127.0.0.1") };
    // From before the first genuine report on: reports under the flood's own SSRCs, and other forgeries.
    let flood = std::thread::spawn(move || {
        flood::forge(to, from, 5000, Duration::from_secs(6), |n, random| match n % 4 {
            0 => [&[0x80, 96][..], &random.bytes(60)].concat(),
            1 => [&[0x80, 201, 0, 1][..], &random.bytes(4), &[0, 0, 0, 9], &random.bytes(10)].concat(),
            2 => [&[0x80, 206, 0, 2][..], &random.bytes(20), &[0x80, 0, 0, 9], &random.bytes(10)].concat(),
            _ => [&[23, 0xfe, 0xfd, 0, 2, 0, 0, 0, 0, 0, 9, 0, 60][..], &random.bytes(60)].concat(),
        })
    });
    client.accept(&answer.sdp).await;
    client.until(Connected).await;
    let mut last = client.next("IDR", |p| video(p).filter(|p| p.payload[0] == 0x65)).await;
    let start = Instant::now();
    let mut pictures = 0;
    while !flood.is_finished() {
        client.send_pli(last.header.ssrc).await;
        let end = client.next("video", |p| video(p).filter(|p| p.header.marker)).await;
        if end.payload[0] == 0x65 && end.header.timestamp != last.header.timestamp {
            (last, pictures) = (end, pictures + 1);
        }
    }
    let sent = flood.join().expect("no panic");
    assert!(sent > 1000, "{sent} forged");
    assert!(pictures >= 1, "no keyframe was sent within {:?}", start.elapsed());
    // A forger can't send requests in the viewer's name, and its packets were dropped before they reached a
    // queue: all but a few of those that came before the viewer's first report, which a busy machine lets pile up.
    assert!(house.status.counters.stray_datagrams.get() > 1000);
    let dropped = house.status.counters.datagrams_dropped.get();
    assert!(dropped * 50 < u64::from(sent), "{dropped} of {sent} filled a queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_reports_under_many_names_is_heard_under_few() {
    let house = house(1);
    let (mut client, _answer) = house.watch(false).await;
    let strays = || house.status.counters.stray_datagrams.get();
    // One SSRC is known before, and its reports are accepted all the time.
    let mut last = client.next("IDR", |p| video(p).filter(|p| p.payload[0] == 0x65)).await;
    client.send_pli(last.header.ssrc).await;
    let mut sent = 0_u32;
    while strays() < 2000 {
        assert!(sent < 20_000, "of {sent} reports {} were dropped", strays());
        let report = ReceiverReport { ssrc: 1000 + sent, ..Default::default() };
        client.send_rtcp(vec![Box::new(report)]).await;
        sent += 1;
    }
    let (first, start) = (last.header.timestamp, Instant::now());
    while last.header.timestamp == first || last.payload[0] != 0x65 {
        assert!(start.elapsed() < PATIENCE, "no keyframe");
        client.send_pli(last.header.ssrc).await;
        last = client.next("video", |p| video(p).filter(|p| p.header.marker)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_channels_never_open() {
    let house = house(1);
    let mut client = Client::new(false).await;
    let channel = client.connection.create_data_channel("data", None).await.expect("a channel");
    let answer = house.try_join(client.offer().await).await.expect("accepted");
    client.accept(&answer.sdp.replace("m=application 0 ", "m=application 9 ")).await;
    client.until(Connected).await;
    let opened = async {
        while let Some(event) = channel.poll().await {
            if matches!(event, DataChannelEvent::OnOpen) {
                return;
            }
        }
        std::future::pending().await
    };
    assert!(tokio::time::timeout(Duration::from_secs(4), opened).await.is_err(), "it opened");
    while client.packets.try_recv().is_ok() {}
    client.next("video all the same", video).await;
}

/// Why it ended, which takes a while.
async fn ended(mut answer: Answer) -> String {
    let told = async {
        loop {
            if let Event::Closed(why) = answer.events.recv().await.expect("an event before it is gone") {
                return why;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(45), told).await.expect("it ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_with_another_certificate_is_told_so() {
    let house = house(1);
    let client = Client::new(false).await;
    let offer = client.offer().await;
    let at = offer.find("sha-256 ").expect("a fingerprint") + "sha-256 ".len();
    let other = if offer[at..].starts_with("00") { "11" } else { "00" };
    let forged = offer.replace(&offer[at..at + 95], &format!("{other}{}", &offer[at + 2..at + 95]));
    let answer = house.try_join(forged).await.expect("accepted");
    client.accept(&answer.sdp).await;
    let start = Instant::now();
    let why = ended(answer).await;
    assert!(
        why.starts_with(
            "the encryption (DTLS) failed: this device refused it, because the viewer's certificate"
        ),
        "{why}"
    );
    assert!(
        start.elapsed() < PATIENCE,
        "without waiting for the end of half a minute: {:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_without_an_address_is_told_so() {
    let house = house(2);
    let (named, hidden) = (Client::new(false).await, Client::new(false).await);
    let [none, name] = [
        house.try_join(named.offer().await).await.expect("accepted"),
        house.try_join(hidden.offer().await).await.expect("accepted"),
    ];
    let mdns = "candidate:1 1 udp 2113937151 d8b46c57-0bda-413e-86dd-f791e2209737.local 47502 typ host";
    house.registry.add_candidate(&name.id, mdns, Some("0")).await.expect("ignored");
    let (none, name) = tokio::join!(ended(none), ended(name));
    assert!(none.starts_with("the viewer offered no address of its own, and nothing arrived"), "{none}");
    assert!(name.starts_with("the viewer offered no address that this device can send to"), "{name}");
}
