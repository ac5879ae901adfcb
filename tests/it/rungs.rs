//! A viewer goes from rung to rung, by a real connection: it decodes every picture, and sees no gap. A rung that nobody is on
//! costs nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use peercam::board::addresses;
use peercam::clock::{RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::frame::Size;
use peercam::media::stamp::Stamp;
use peercam::pipeline::quality::{Quality, Share};
use peercam::pipeline::snapshot::Snapshots;
use peercam::pipeline::stream::Streams;
use peercam::pipeline::video::{Context, Video};
use peercam::status::Status;
use peercam::viewer::{Port, Registry, Signaling};
use rtc::interceptor::Packet;
use rtc::rtp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::{self, Client};
use crate::live::annex_b;
use crate::ticker::Ticker;

const FULL: Size = Size::new(640, 480);
/// Longer than anything takes here on a busy machine.
const SOON: Duration = Duration::from_secs(8);
/// No gap between two pictures is longer, and no change takes as long.
const GAP: Duration = Duration::from_millis(300);

const WISHES: [(Share, Quality); 3] =
    [(Share::Full, Quality::Full), (Share::Half, Quality::Half), (Share::Quarter, Quality::Quarter)];

/// The media threads, which show the test picture.
struct Camera {
    streams: Streams,
    status: Arc<Status>,
    _video: Video,
}

impl Camera {
    fn start() -> Self {
        let (streams, status) = (Streams::default(), Arc::new(Status::default()));
        let config = config::Video { device: config::Camera::Pattern, size: FULL, ..Default::default() };
        let video = Video::spawn(Context {
            config: watch::channel(config).1,
            stream: streams.video.clone(),
            status: status.clone(),
            snapshots: Arc::new(Snapshots::new(streams.video.demand.clone())),
            clock: RtpClock { hz: VIDEO_HZ, offset: 0xffff_0000 },
            private: watch::channel(false).1,
            hotplug: watch::channel(0).1,
            pressure: watch::channel(None).1,
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        });
        Self { streams, status, _video: video.expect("threads") }
    }
}

/// What a picture shows: its size, and the test picture's stamp.
fn shown(decoder: &mut Decoder, payloads: &[Bytes]) -> (Size, Option<Stamp>) {
    let decoded = decoder.decode(&annex_b(payloads)).expect("decodes").expect("a picture");
    let ((width, height), stride) = (decoded.dimensions(), decoded.strides().0);
    let luma: Vec<u8> =
        decoded.y().chunks(stride).take(height).flat_map(|row| &row[..width]).copied().collect();
    let size = Size::new(width as u32, height as u32);
    (size, Stamp::read(&luma, size))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_changes_are_one_stream_that_any_decoder_takes() {
    let camera = Camera::start();
    let ice = config::Ice { port: 0, ..Default::default() };
    let (_, addresses) = watch::channel(addresses::now());
    let port = Port::open(&ice, addresses, camera.status.clone()).expect("a free port");
    let registry = Registry::new(camera.streams.clone(), camera.status.clone(), port, 5);
    let mut client = Client::new(false).await;
    let offer =
        client::offer(client.offer().await, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), Signaling::Whep);
    let answer = registry.join(offer).await.expect("an answer");
    client.accept(&answer.sdp).await;
    client.until(Connected).await;

    let (ticker, start) = (Ticker::start(), Instant::now());
    let (mut decoder, mut payloads) = (Decoder::new().expect("a decoder"), vec![]);
    let (mut last, mut before, mut stamps): (Option<rtp::Header>, Option<Instant>, Vec<u16>) =
        (None, None, vec![]);
    let (mut sizes, mut gaps, mut wished, mut changes) = (vec![], vec![], 0u32, 0);
    while changes < 100 {
        let packet =
            tokio::time::timeout(SOON, client.packets.recv()).await.expect("it goes on").expect("open");
        let Packet::Rtp(packet) = packet else { continue };
        let h = packet.header;
        if let Some(last) = &last {
            assert_eq!(h.sequence_number, last.sequence_number.wrapping_add(1), "numbers without gaps");
            let ahead = h.timestamp.wrapping_sub(last.timestamp) as i32;
            assert!(if last.marker { ahead > 0 } else { ahead == 0 }, "times rise: {ahead}");
        }
        payloads.push(packet.payload);
        let ends = h.marker;
        last = Some(h);
        if !ends {
            continue;
        }
        let (size, stamp) = shown(&mut decoder, &std::mem::take(&mut payloads));
        let now = Instant::now();
        gaps.extend(before.replace(now).map(|before| (before, now)));
        stamps.extend(stamp.map(|stamp| stamp.frame));
        if sizes.last() != Some(&size) {
            changes += usize::from(!sizes.is_empty());
            sizes.push(size);
            // One of the two others, in an order that only seems to be random.
            wished += 1;
            let others: Vec<_> = WISHES.iter().filter(|(share, _)| share.of(FULL) != size).collect();
            let (_, wish) = others[(wished * wished % 7 % 2) as usize];
            registry.set_quality(&answer.id, *wish).await.expect("it is there");
        }
    }
    let (took, mut gaps) =
        (start.elapsed(), gaps.into_iter().map(|gap| ticker.longest([gap])).collect::<Vec<_>>());
    gaps.sort();
    let (longest, all_but_two) = (gaps[gaps.len() - 1], gaps[gaps.len() - 3]);
    println!("{changes} changes in {took:.1?}, {} pictures, longest gap {longest:.0?}", stamps.len());
    // A busy machine may keep one thread waiting now and then; a change that is not seamless would show each time.
    assert!(all_but_two < GAP, "{all_but_two:?}, at most {longest:?}");
    let left_out: u32 = stamps.windows(2).map(|w| u32::from(w[1].wrapping_sub(w[0])) - 1).sum();
    let busy = (ticker.lost(start, Instant::now()).as_secs_f64() * 30.0) as u32;
    println!("{left_out} pictures left out, the machine was busy for {busy}");
    assert!(left_out <= changes as u32 + busy + 10, "{left_out} pictures left out");
    let facts = registry.list().remove(0);
    assert_eq!(facts.rung.map(|share| share.of(FULL)), sizes.last().copied());
    registry.close_all("the test is over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_that_nobody_is_on_encodes_nothing() {
    let camera = Camera::start();
    let video = &camera.streams.video;
    let (_claim, mut half) = (video.demand.watch(), video.hub(Share::Half).subscribe());
    let mut decoder = Decoder::new().expect("a decoder");
    let mut next = async || tokio::time::timeout(SOON, half.recv()).await.expect("it goes on");
    let first = next().await;
    assert!(first.idr);
    assert_eq!(shown(&mut decoder, &first.payloads).0, Size::new(320, 240));
    let before = camera.status.counters.encoded.get();
    for _ in 0..60 {
        let (size, stamp) = shown(&mut decoder, &next().await.payloads);
        assert!(size == Size::new(320, 240) && stamp.is_some(), "{size}: the picture as a whole, smaller");
    }
    let encoded = camera.status.counters.encoded.get() - before;
    assert!((58..=62).contains(&encoded), "{encoded} encoded, 60 of them for the half rung");
    let rungs = video.rungs();
    assert_eq!(
        rungs.iter().map(|r| (r.name, r.viewers)).collect::<Vec<_>>(),
        [(Share::Full, 0), (Share::Half, 1), (Share::Quarter, 0)]
    );
}
