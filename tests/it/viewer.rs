//! Viewers over real sockets: a registry with synthetic units, watched by [`Client`].

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peercam::board::addresses;
use peercam::clock::{AUDIO_HZ, Clocks, Pts, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::unit::{AudioUnit, VideoUnit};
use peercam::net::Addresses;
use peercam::pipeline::camera::{Camera, Cameras};
use peercam::pipeline::quality::Share;
use peercam::status::Status;
use peercam::viewer::{Answer, Error, Event, Port, Registry, Signaling, Stage, ViewerId};
use rtc::interceptor::Packet;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};
use webrtc::peer_connection::RTCPeerConnectionState;

use super::client::{self, Client, PATIENCE};
use super::process::settled;
use super::ticker::Ticker;

const CLOCKS: Clocks = Clocks {
    video: RtpClock { hz: VIDEO_HZ, offset: 0xffff_0000 },
    audio: RtpClock { hz: AUDIO_HZ, offset: 12_345 },
};
/// The age of pictures when they are published, as if their encoding took this long.
const VIDEO_AGE: Duration = Duration::from_millis(150);
const PAYLOADS: usize = 3;

/// A registry, and a stream of 30 pictures and 50 Opus packets a second of each camera while somebody watches.
pub(crate) struct House {
    pub registry: Arc<Registry>,
    pub cameras: Arc<Cameras>,
    pub status: Arc<Status>,
    /// This machine's addresses as the registry knows them.
    pub addresses: tokio::sync::watch::Sender<Addresses>,
    _feed: DropGuard,
}

pub(crate) fn house(max_viewers: usize) -> House {
    house_with(max_viewers, config::Ice { port: 0, ..Default::default() })
}

pub(crate) fn house_with(max_viewers: usize, ice: config::Ice) -> House {
    house_of(&[("camera", 900)], max_viewers, ice)
}

/// A house of these cameras, each with the size of the first packet of its pictures.
pub(crate) fn house_of(all: &[(&str, usize)], max_viewers: usize, ice: config::Ice) -> House {
    let cameras = Cameras::new(all.iter().map(|(name, _)| Camera::new(name, name)));
    let status = Arc::new(Status::default());
    let (addresses, seen) = tokio::sync::watch::channel(addresses::now());
    let port = Port::open(&ice, seen, status.clone()).expect("a free port");
    let registry = Registry::new(cameras.clone(), status.clone(), port, max_viewers);
    let stop = CancellationToken::new();
    for (name, size) in all {
        let camera = cameras.find(name).expect("there");
        tokio::spawn(stop.clone().run_until_cancelled_owned(feed(camera, *size)));
    }
    House { registry, cameras, status, addresses, _feed: stop.drop_guard() }
}

/// Publishes pictures, with a first packet of `size` bytes and slightly larger others, and sounds.
async fn feed(camera: Arc<Camera>, size: usize) {
    let (pictures, sounds) = (camera.video.hub(Share::Full), &camera.audio.hub);
    let mut video = tokio::time::interval(Duration::from_micros(33_333));
    // Like a camera: of the pictures that came while the machine was busy, only the newest is encoded.
    video.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut audio = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            _ = video.tick() => {
                let ready = Pts::now();
                let pts = ready - VIDEO_AGE;
                let idr = pictures.begin(pts, false, ready);
                let payloads = (0..PAYLOADS).map(|n| Bytes::from(vec![if idr { 0x65 } else { 0x41 }; size + n])).collect();
                let rtp_time = CLOCKS.video.ticks(pts);
                pictures.publish(&Arc::new(VideoUnit { pts, taken: pts, ready, rtp_time, idr, disposable: false, payloads }));
            }
            _ = audio.tick() => {
                let pts = Pts::now() - Duration::from_millis(20);
                let payload = Bytes::from_static(&[0xfc; 80]);
                sounds.publish(&Arc::new(AudioUnit { pts, rtp_time: CLOCKS.audio.ticks(pts), payload }));
            }
        }
    }
}

impl House {
    /// Number of viewers that receive media.
    fn viewers(&self) -> usize {
        *self.cameras.all()[0].video.demand.viewers().borrow()
    }

    pub(crate) async fn try_join(&self, sdp: String) -> Result<Answer, Error> {
        let from = "127.0.0.1:5000".parse().expect("address");
        self.registry.join(client::offer(sdp, from, Signaling::Page, &self.cameras)).await
    }

    /// A connected client.
    pub(crate) async fn watch(&self, audio: bool) -> (Client, Answer) {
        let mut client = Client::new(audio).await;
        let answer = self.try_join(client.offer().await).await.expect("accepted");
        client.accept(&answer.sdp).await;
        client.until(RTCPeerConnectionState::Connected).await;
        (client, answer)
    }
}

pub(crate) fn video(packet: Packet) -> Option<rtp::Packet> {
    // Video payloads begin with our 0x65 or 0x41; those of RTX with a sequence number.
    let is = |p: &rtp::Packet| {
        p.payload.len() >= 900 && matches!(p.payload[0], 0x65 | 0x41) && p.payload[0] == p.payload[3]
    };
    if let Packet::Rtp(p) = packet { Some(p).filter(is) } else { None }
}

fn report(packet: Packet) -> Option<SenderReport> {
    let Packet::Rtcp(packets) = packet else { return None };
    packets.iter().find_map(|p| p.as_any().downcast_ref::<SenderReport>().cloned())
}

/// Waits until `done`; fails the test after `limit`.
pub(crate) async fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs this test alone in a process, where descriptors can be counted. Returns false in the process that
/// should return.
fn alone(test: &str) -> bool {
    if std::env::var_os("PEERCAM_TEST_ALONE").is_some() {
        return true;
    }
    let me = std::env::current_exe().expect("this program");
    let name = format!("viewer::{test}");
    let run = std::process::Command::new(me)
        .args([&name, "--exact", "--nocapture"])
        .env("PEERCAM_TEST_ALONE", "1")
        .output();
    let run = run.expect("started");
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Descriptors and tasks of this process.
fn held() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    (descriptors, Handle::current().metrics().num_alive_tasks())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_units_as_they_are_and_demand_begins_when_it_is_connected() {
    let house = house(2);
    let mut client = Client::new(true).await;
    let mut answer = house.try_join(client.offer().await).await.expect("accepted");
    assert!(
        answer.sdp.contains("profile-level-id=42c01f") && answer.sdp.contains("a=end-of-candidates"),
        "{}",
        answer.sdp
    );
    assert_eq!(answer.sdp.matches("a=sendonly").count(), 2, "{}", answer.sdp);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((house.viewers(), house.registry.list()[0].state), (0, Stage::Connecting));

    client.accept(&answer.sdp).await;
    client.until(RTCPeerConnectionState::Connected).await;
    assert_eq!(
        tokio::time::timeout(PATIENCE, answer.events.recv()).await.expect("told"),
        Some(Event::Connected)
    );
    assert_eq!((house.viewers(), house.registry.list()[0].state), (1, Stage::Live));

    let mut packets = vec![];
    while packets.len() < 45 * PAYLOADS {
        packets.push(client.next("video", video).await);
    }
    assert_eq!(packets[0].payload[0], 0x65, "it begins with an IDR");
    let now = Pts::now();
    for (n, unit) in packets.chunks(PAYLOADS).enumerate() {
        for (i, packet) in unit.iter().enumerate() {
            assert_eq!(packet.payload.len(), 900 + i);
            assert_eq!(packet.header.timestamp, unit[0].header.timestamp);
            assert_eq!(packet.header.marker, i == PAYLOADS - 1);
            assert_eq!(
                packet.header.sequence_number,
                packets[0].header.sequence_number.wrapping_add((n * PAYLOADS + i) as u16)
            );
        }
        let age = now.since(CLOCKS.video.pts(unit[0].header.timestamp, now));
        assert!(age > VIDEO_AGE && age < PATIENCE, "{age:?}");
    }
    // The number and the playout delay, which is sent only at first.
    let extensions = |n: usize| packets[n].header.extensions.len();
    assert_eq!((extensions(0), extensions(packets.len() - 1)), (2, 1));
    let sound = client.next("sound", |p| match p {
        Packet::Rtp(p) if p.payload.len() == 80 => Some(p),
        _ => None,
    });
    let sound = sound.await;
    let age = Pts::now().since(CLOCKS.audio.pts(sound.header.timestamp, Pts::now()));
    assert!(age < PATIENCE, "{age:?}");
    assert!(house.status.counters.rtp_packets.get() >= 90);
    assert_eq!(house.status.counters.viewers_joined.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_reports_name_the_time_of_capture() {
    let house = house(1);
    let (mut client, _answer) = house.watch(true).await;
    let mut seen = [false; 2];
    let mut ssrc = None;
    while seen != [true; 2] {
        let (r, v) = client
            .next("reports of both streams", |p| {
                if let Some(p) = video(p.clone()) {
                    ssrc = Some(p.header.ssrc);
                }
                report(p).zip(ssrc)
            })
            .await;
        let clock = if r.ssrc == v { CLOCKS.video } else { CLOCKS.audio };
        seen[usize::from(r.ssrc == v)] = true;
        let captured = clock.pts(r.rtp_time, Pts::now()).unix();
        let ntp_s =
            (r.ntp_time >> 32) as f64 - 2_208_988_800.0 + (r.ntp_time & 0xffff_ffff) as f64 / 4_294_967_296.0;
        let error = ntp_s - captured.as_secs_f64();
        assert!(error.abs() < 0.005, "{error} s, where video is {VIDEO_AGE:?} old when sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_without_audio_gets_only_video() {
    let house = house(1);
    let (mut client, answer) = house.watch(false).await;
    assert!(!answer.sdp.contains("m=audio"));
    client.next("video", video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pli_brings_a_keyframe() {
    let house = house(1);
    let (mut client, _answer) = house.watch(false).await;
    let mut last = client.next("IDR", |p| video(p).filter(|p| p.payload[0] == 0x65)).await;
    let mut took = vec![];
    for _ in 0..2 {
        let start = Instant::now();
        loop {
            client.send_pli(last.header.ssrc).await;
            let end = client.next("video", |p| video(p).filter(|p| p.header.marker)).await;
            if end.payload[0] == 0x65 && end.header.timestamp != last.header.timestamp {
                last = end;
                break;
            }
            assert!(start.elapsed() < PATIENCE, "no IDR");
        }
        took.push(start.elapsed());
    }
    assert!(took[1] > Duration::from_secs(2), "a viewer causes one in 3 s: {took:?}");
    assert!(took[0] < took[1], "but the first soon after its join, whose IDR it may have missed: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_are_sent_again_as_rtx() {
    let house = house(1);
    let (mut client, answer) = house.watch(false).await;
    assert!(answer.sdp.contains("a=ssrc-group:FID") && answer.sdp.contains("rtx/90000"), "{}", answer.sdp);
    let lost = client.next("video", video).await;
    client.loss.store(20, Ordering::Relaxed);
    for _ in 0..3 {
        let again = client.next("RTX", |p| match p {
            Packet::Rtp(p) if p.payload.len() >= 902 && p.header.ssrc != lost.header.ssrc => Some(p),
            _ => None,
        });
        let again = again.await;
        let original = u16::from_be_bytes([again.payload[0], again.payload[1]]);
        assert!(
            original.wrapping_sub(lost.header.sequence_number) < 10_000
                && again.payload[2] == again.payload[5]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turning_the_sound_on_asks_for_another_playout_delay() {
    let house = house(1);
    let (mut client, answer) = house.watch(true).await;
    let delay = |p: Packet| {
        video(p)?.header.extensions.iter().find(|e| e.payload.len() == 3).map(|e| e.payload.to_vec())
    };
    assert_eq!(client.next("playout delay", delay).await, [0, 0, 0]);
    house.registry.set_sound(&answer.id, true).expect("there");
    let changed = |p: Packet| delay(p).filter(|d| *d != [0, 0, 0]);
    assert_eq!(client.next("another", changed).await, [0, 0x10, 40], "10 to 400 ms");
    assert!(house.registry.list()[0].sound);
    assert!(matches!(house.registry.set_sound(&ViewerId::from("no"), true), Err(Error::Unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_may_trickle_and_names_cost_nothing() {
    let house = house(1);
    let mut client = Client::new(false).await;
    let answer = house.try_join(client.offer().await).await.expect("accepted");
    // The client does not learn our candidates, so only its own, which we know, can connect them.
    let silent: String =
        answer.sdp.lines().filter(|l| !l.starts_with("a=candidate")).flat_map(|l| [l, "\r\n"]).collect();
    client.accept(&silent).await;
    let name = "candidate:1 1 udp 2113937151 d8b46c57-0bda-413e-86dd-f791e2209737.local 47502 typ host";
    house.registry.add_candidate(&answer.id, name, Some("0")).await.expect("ignored");
    house.registry.add_candidate(&answer.id, "", None).await.expect("no more");
    let refused = house.registry.add_candidate(&answer.id, "rubbish", None).await;
    assert!(matches!(refused, Err(Error::BadOffer(_))));
    for candidate in client.candidates().await {
        house.registry.add_candidate(&answer.id, &candidate, Some("0")).await.expect("taken");
    }
    client.until(RTCPeerConnectionState::Connected).await;
    client.next("video", video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_limited_and_given_back() {
    let house = house(1);
    let mut client = Client::new(false).await;
    let mut first = house.try_join(client.offer().await).await.expect("accepted");
    let second = Client::new(false).await;
    let offer = second.offer().await;
    let beyond = house.try_join(offer.clone()).await.expect("the owner's second, as after a reload");
    assert!(matches!(house.try_join(offer.clone()).await, Err(Error::Full(1))), "connecting ones count");
    assert_eq!(house.status.counters.offers_refused.get(), 1);
    house.registry.leave(&beyond.id, "enough").await.expect("there");
    client.accept(&first.sdp).await;
    client.until(RTCPeerConnectionState::Connected).await;
    house.registry.leave(&first.id, "enough").await.expect("there");
    assert!(matches!(house.registry.leave(&first.id, "enough").await, Err(Error::Unknown)));
    let mut last = None;
    while let Some(event) = first.events.recv().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Closed("enough".into())));
    assert_eq!(house.viewers(), 0);
    house.try_join(offer).await.expect("its place is free");
    house.registry.close_all("stopping").await;
    assert_eq!(house.registry.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ice_restart_by_a_full_offer_keeps_the_media() {
    let house = house(1);
    let (mut client, answer) = house.watch(false).await;
    let before = client.next("video", video).await;
    let restarted =
        house.registry.renegotiate(&answer.id, &client.restart_offer().await, None).await.expect("answered");
    assert_ne!(line(&restarted, "a=ice-ufrag:"), line(&answer.sdp, "a=ice-ufrag:"));
    assert_eq!(line(&restarted, "a=fingerprint:"), line(&answer.sdp, "a=fingerprint:"));
    client.accept(&restarted).await;
    while client.packets.try_recv().is_ok() {}
    let after = client.next("video after the restart", video).await;
    assert_eq!(after.header.ssrc, before.header.ssrc);
    assert_eq!(house.registry.count(), 1);
    assert!(matches!(house.registry.renegotiate(&answer.id, "rubbish", None).await, Err(Error::BadOffer(_))));
    client.next("video after a bad offer", video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ice_restart_by_credentials_alone_keeps_the_media() {
    let house = house(1);
    let (mut client, answer) = house.watch(true).await;
    client.next("video", video).await;
    let offer = client.restart_offer().await;
    let candidates: Vec<_> = client.candidates().await.into_iter().map(|c| ("0".to_owned(), c)).collect();
    let (ufrag, pwd) = (line(&offer, "a=ice-ufrag:"), line(&offer, "a=ice-pwd:"));
    let ours = house.registry.restart_fragment(&answer.id, ufrag, pwd, &candidates).await.expect("answered");
    assert!(!ours.candidates.is_empty());
    let mut new = answer.sdp.replace(line(&answer.sdp, "a=ice-ufrag:"), &ours.ufrag);
    new = new.replace(line(&answer.sdp, "a=ice-pwd:"), &ours.pwd);
    assert_ne!(new, answer.sdp);
    client.accept(&new).await;
    while client.packets.try_recv().is_ok() {}
    client.next("video after the restart", video).await;
    let bad = house.registry.restart_fragment(&answer.id, "a b", pwd, &[]).await;
    assert!(matches!(bad, Err(Error::BadOffer(_))));
}

fn line<'a>(sdp: &'a str, prefix: &str) -> &'a str {
    sdp.lines().find_map(|l| l.strip_prefix(prefix)).unwrap_or_else(|| panic!("no {prefix} in {sdp}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_goodbye_is_gone_at_once() {
    let house = house(1);
    let (client, mut answer) = house.watch(false).await;
    client.close().await; // DTLS close_notify
    assert_eq!(closed(&mut answer).await, "the viewer closed the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_without_a_word_is_gone_soon() {
    let house = house(1);
    // Its sockets are in a separate runtime, whose end is like a pulled plug.
    let elsewhere = tokio::runtime::Runtime::new().expect("a runtime");
    let mut client = elsewhere.spawn(Client::new(false)).await.expect("a client");
    let mut answer = house.try_join(client.offer().await).await.expect("accepted");
    client.accept(&answer.sdp).await;
    client.until(RTCPeerConnectionState::Connected).await;
    elsewhere.shutdown_background();
    drop(client);
    let gone = Instant::now();
    assert_eq!(closed(&mut answer).await, "the viewer stopped answering");
    let after = gone.elapsed(); // 5 s of silence, 5 s of grace
    assert!((8..15).contains(&after.as_secs()), "{after:?}");
    assert_eq!(house.registry.count(), 0);
}

/// Why a viewer ended, once it has.
async fn closed(answer: &mut Answer) -> String {
    let told = async {
        loop {
            if let Event::Closed(why) = answer.events.recv().await.expect("an event before the end") {
                return why;
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, told).await.expect("told")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_connects_is_gone_soon() {
    let house = house(1);
    let client = Client::new(false).await;
    house.try_join(client.offer().await).await.expect("accepted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.registry.count(), 1);
    until("its end", Duration::from_secs(10), || house.registry.count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_that_leave_leave_nothing() {
    if !alone("viewers_that_leave_leave_nothing") {
        return;
    }
    let house = house(20);
    let (client, answer) = house.watch(true).await; // what webrtc creates once for all exists now
    house.registry.leave(&answer.id, "test").await.expect("there");
    client.close().await;
    let before = tokio::task::block_in_place(|| settled(held));
    for _ in 0..10 {
        let (client, answer) = house.watch(true).await;
        house.registry.leave(&answer.id, "test").await.expect("there");
        client.close().await;
    }
    let offer = Client::new(true).await;
    let sdp = offer.offer().await;
    for _ in 0..10 {
        let answer = house.try_join(sdp.clone()).await.expect("accepted");
        house.registry.leave(&answer.id, "test").await.expect("there");
    }
    offer.close().await;
    assert_eq!(tokio::task::block_in_place(|| settled(held)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_offers_leave_nothing() {
    if !alone("bad_offers_leave_nothing") {
        return;
    }
    let house = house(4);
    let client = Client::new(true).await;
    let good = client.offer().await;
    client.close().await;
    let before = tokio::task::block_in_place(|| settled(held));
    let mut refused = 0;
    let lines: Vec<&str> = good.lines().collect();
    for n in 0..lines.len() {
        // Each line missing, cut off, or duplicated with junk; what is accepted nevertheless must leave, too.
        for damage in 0..3 {
            let mut damaged: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
            match damage {
                0 => drop(damaged.remove(n)),
                1 => damaged[n].truncate(lines[n].len() * 2 / 3),
                _ => damaged[n] = damaged[n].replace(|c: char| c.is_ascii_digit(), "999999"),
            }
            match house.try_join(damaged.join("\r\n")).await {
                Err(Error::Full(_)) => panic!("a refused offer kept its place"),
                Err(_) => refused += 1,
                Ok(answer) => house.registry.leave(&answer.id, "test").await.expect("there"),
            }
        }
    }
    // Most lines are not read, so damage in them has no effect.
    assert!(refused >= 5, "{refused}");
    assert_eq!(house.status.counters.offers_refused.get(), refused);
    assert_eq!(tokio::task::block_in_place(|| settled(held)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stun_server_adds_our_public_address_and_a_dead_one_delays_no_page() {
    // Answers as if this machine were behind NAT: 203.0.113.9 (RFC 8489 sections 5 and 14.2).
    let stun = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = |port| config::IceServer { urls: vec![format!("stun:127.0.0.1:{port}")], ..Default::default() };
    let servers = vec![url(stun.local_addr().expect("bound").port())];
    let server = async move {
        let mut request = [0; 1500];
        loop {
            let (_, from) = stun.recv_from(&mut request).await.expect("a request");
            let mut reply = vec![1, 1, 0, 12];
            reply.extend(&request[4..20]);
            reply.extend([0, 0x20, 0, 8, 0, 1]);
            reply.extend((from.port() ^ 0x2112).to_be_bytes());
            reply.extend((u32::from(Ipv4Addr::new(203, 0, 113, 9)) ^ 0x2112_a442).to_be_bytes());
            stun.send_to(&reply, from).await.expect("sent");
        }
    };
    let server = tokio::spawn(server);
    let house = house_with(1, config::Ice { port: 0, servers, ..Default::default() });
    let client = Client::new(false).await;
    let from = "192.0.2.9:5000".parse().expect("address");
    let offer = client::offer(client.offer().await, from, Signaling::Whep, &house.cameras);
    let answer = house.registry.join(offer).await.expect("accepted");
    assert!(answer.sdp.contains(" 203.0.113.9 ") && answer.sdp.contains("typ srflx"), "{}", answer.sdp);
    server.abort();

    let house = house_with(1, config::Ice { port: 0, servers: vec![url(9)], ..Default::default() });
    let (ticker, start) = (Ticker::start(), Instant::now());
    let mut client = Client::new(false).await;
    let answer = house.try_join(client.offer().await).await.expect("accepted");
    let took = ticker.took(start);
    assert!(answer.sdp.contains("typ host") && took < Duration::from_millis(500), "{took:?}");
    client.accept(&answer.sdp).await;
    client.until(RTCPeerConnectionState::Connected).await;
}
