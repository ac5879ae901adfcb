//! A viewer changes rungs and cameras over a real connection: it decodes every picture, and sees no gap. A
//! rung without viewers costs nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use peercam::board::addresses;
use peercam::clock::{Pts, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::frame::Size;
use peercam::media::h264::is_reference;
use peercam::media::stamp::Stamp;
use peercam::pipeline::camera::{self, Cameras};
use peercam::pipeline::quality::{Quality, Share};
use peercam::pipeline::video::{Context, Video};
use peercam::pipeline::worker::Threads;
use peercam::privacy::{Privacy, Private};
use peercam::status::Status;
use peercam::viewer::{Event, Port, Registry, Signaling};
use rtc::interceptor::Packet;
use rtc::rtp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::{self, Client};
use crate::live::annex_b;
use crate::process::{Dir, run};
use crate::random::Random;
use crate::ticker::Ticker;

/// Two cameras, and the size of each: a picture's size tells its camera and rung.
const FULL: Size = Size::new(640, 480);
const CAMERAS: [(&str, Size); 2] = [("front", FULL), ("back", Size::new(640, 360))];
/// Longer than anything takes here on a busy machine.
const SOON: Duration = Duration::from_secs(8);
/// Longest gap between two pictures.
const GAP: Duration = Duration::from_millis(300);
/// Number of random changes of quality, camera or both, and of whether disposable pictures are left out.
const CHANGES: usize = 300;
const SEED: u32 = 0x2001_2026;
/// Longest time for a change that is not taken back: its keyframe may have to wait for half a second after
/// the previous one.
const MET: Duration = Duration::from_secs(1);
/// Longer than it takes until a viewer that is silent has ended.
const GONE: Duration = Duration::from_secs(30);

const WISHES: [(Share, Quality); 3] =
    [(Share::Full, Quality::Full), (Share::Half, Quality::Half), (Share::Quarter, Quality::Quarter)];

/// The media threads, which show the test picture.
struct Camera {
    camera: camera::Camera,
    _video: Video,
}

impl Camera {
    fn start(name: &str, size: Size, status: &Status) -> Self {
        let camera = camera::Camera::new(name, name);
        let config = config::Video { device: config::CameraDevice::Pattern, size, ..Default::default() };
        let video = Video::spawn(Context {
            threads: Threads::Camera(name.to_owned()),
            config: watch::channel(config).1,
            stream: camera.video.clone(),
            status: status.source(),
            snapshots: camera.snapshots.clone(),
            clock: RtpClock { hz: VIDEO_HZ, offset: 0xffff_0000 },
            private: Private::of(watch::channel(Privacy::default()).1, name),
            hotplug: watch::channel(0).1,
            pressure: watch::channel(None).1,
            budget: Arc::default(),
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        });
        Self { camera, _video: video.expect("threads") }
    }
}

/// What a picture shows: its size, and the test picture's stamp.
fn shown(decoder: &mut Decoder, unit: &[u8]) -> (Size, Option<Stamp>) {
    let decoded = decoder.decode(unit).expect("decodes").expect("a picture");
    let ((width, height), stride) = (decoded.dimensions(), decoded.strides().0);
    let luma: Vec<u8> =
        decoded.y().chunks(stride).take(height).flat_map(|row| &row[..width]).copied().collect();
    let size = Size::new(width as u32, height as u32);
    (size, Stamp::read(&luma, size))
}

/// What a viewer has received: one stream of complete pictures, all of which decode.
struct Received {
    decoder: Decoder,
    last: Option<rtp::Header>,
    payloads: Vec<Bytes>,
    /// The whole stream, with start codes.
    stream: Vec<u8>,
    /// Time of arrival, size and number of each picture.
    pictures: Vec<(Instant, Size, u16)>,
    /// Whether disposable pictures are left out now, as a sender does where the link does not carry them.
    leaves_out: bool,
    /// How many were.
    left_out: u32,
}

impl Received {
    fn new() -> Self {
        let decoder = Decoder::new().expect("a decoder");
        let (last, payloads, stream, pictures) = (None, vec![], vec![], vec![]);
        Self { decoder, last, payloads, stream, pictures, leaves_out: false, left_out: 0 }
    }

    /// Takes the next packet. Returns the size of the picture that ends with it.
    fn packet(&mut self, packet: rtp::Packet) -> Option<Size> {
        let h = packet.header;
        if let Some(last) = &self.last {
            assert_eq!(h.sequence_number, last.sequence_number.wrapping_add(1), "numbers without gaps");
            let ahead = h.timestamp.wrapping_sub(last.timestamp) as i32;
            assert!(if last.marker { ahead > 0 } else { ahead == 0 }, "times rise: {ahead}");
        }
        self.payloads.push(packet.payload);
        let ends = h.marker;
        self.last = Some(h);
        if !ends {
            return None;
        }
        let payloads = std::mem::take(&mut self.payloads);
        // Packets of each kind have it as a NAL unit has it (RFC 6184, section 5.3).
        if self.leaves_out && !is_reference(&payloads[0]) {
            self.left_out += 1;
            return None;
        }
        let unit = annex_b(&payloads);
        let (size, stamp) = shown(&mut self.decoder, &unit);
        let number = stamp.expect("the test picture").frame;
        self.pictures.push((Instant::now(), size, number));
        self.stream.extend(unit);
        Some(size)
    }

    fn sizes(&self) -> Vec<Size> {
        self.pictures.iter().map(|(_, size, _)| *size).collect()
    }
}

/// The sizes of the pictures that FFmpeg decodes from a stream. It leaves out a picture with an error, and
/// prints a message, which fails the test.
fn decoded_by_ffmpeg(stream: &[u8]) -> Vec<Size> {
    const PROBE: &str = "exec ffprobe -v warning -err_detect explode -f h264 -show_entries frame=width,height \
                         -of csv=p=0 \"$0\" 2>&1";
    let dir = Dir::new();
    let file = dir.path().join("received.h264");
    std::fs::write(&file, stream).unwrap();
    let out = run("ffprobe", Command::new("sh").args(["-c", PROBE]).arg(file), Duration::from_secs(60));
    let size = |line: &str| {
        // After an IDR's size there is a comma: it has side data, which is not printed.
        let (width, height) = line.trim_end_matches(',').split_once(',')?;
        Some(Size::new(width.parse().ok()?, height.parse().ok()?))
    };
    let lines = out.lines().filter(|line| !line.is_empty());
    lines.map(|line| size(line).unwrap_or_else(|| panic!("FFmpeg says: {line}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_changes_are_one_stream_that_any_decoder_takes() {
    let status = Arc::new(Status::default());
    let both = CAMERAS.map(|(name, size)| Camera::start(name, size, &status));
    let cameras = Cameras::new(both.each_ref().map(|one| one.camera.clone()));
    let ice = config::Ice { port: 0, ..Default::default() };
    let (_, addresses) = watch::channel(addresses::now());
    let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
    let registry = Registry::new(cameras.clone(), status.clone(), port, 5);
    let mut client = Client::new(false).await;
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let offer = client::offer(client.offer().await, from, Signaling::Whep, &cameras);
    let mut answer = registry.join(offer).await.expect("an answer");
    client.accept(&answer.sdp).await;
    client.until(Connected).await;

    let (ticker, start, mut received) = (Ticker::start(), Instant::now(), Received::new());
    let (mut random, mut changes, mut waits) = (Random::new(SEED), 0, vec![]);
    let targets = CAMERAS.map(|camera| WISHES.map(|wish| (camera, wish)));
    let mut target = (CAMERAS[0], WISHES[0]);
    // Since when the change is awaited, and for how many pictures at most, if it may be taken back.
    let (mut asked, mut patience) = (start, None);
    loop {
        let packet = tokio::time::timeout(SOON, client.packets.recv()).await.expect("it goes on");
        let Packet::Rtp(packet) = packet.expect("open") else { continue };
        let Some(size) = received.packet(packet) else { continue };
        let ((_, full), (share, _)) = target;
        if size == share.of(full) {
            waits.push((asked, Instant::now()));
            if changes == CHANGES {
                break;
            }
        } else if patience != Some(0) {
            patience = patience.map(|pictures: u32| pictures - 1);
            continue;
        }
        let others: Vec<_> = targets.iter().flatten().filter(|other| **other != target).collect();
        target = *others[random.below(5) as usize];
        changes += 1;
        // A third of the changes, but not the last two, are taken back after a moment: about when the
        // target's IDR arrives.
        patience = (changes + 1 < CHANGES && random.below(3) == 0).then(|| random.below(4));
        asked = Instant::now();
        received.leaves_out ^= random.below(3) == 0;
        let ((name, _), (_, wish)) = target;
        registry.set_camera(&answer.id, None, name).await.expect("it is there");
        registry.set_quality(&answer.id, None, wish).await.expect("it is there");
    }
    let (took, pictures, sizes) = (start.elapsed(), &received.pictures, received.sizes());
    let ran = |spans: Vec<(Instant, Instant)>| {
        let mut ran: Vec<_> = spans.into_iter().map(|span| ticker.longest([span])).collect();
        ran.sort_by(|a, b| b.cmp(a));
        ran
    };
    let (gaps, waits) = (ran(pictures.windows(2).map(|w| (w[0].0, w[1].0)).collect()), ran(waits));
    let switches = sizes.windows(2).filter(|w| w[0] != w[1]).count();
    println!(
        "{changes} changes (seed {SEED:#x}) in {took:.1?}: {switches} times another size, {} pictures, longest gaps \
         {:.0?}, longest waits {:.3?}",
        pictures.len(),
        &gaps[..3],
        &waits[..waits.len() / 10],
    );
    // A busy machine may delay a thread now and then, especially in a wait: it is for an encoder that starts,
    // while those of the other rungs continue. A change that is not seamless, or takes too long, would show
    // each time.
    assert!(gaps[2] < GAP, "gaps of {:.0?}", &gaps[..3]);
    assert!(
        waits[waits.len() / 20] < MET,
        "one in twenty waited for {:.0?} and longer",
        waits[waits.len() / 20]
    );
    // Two cameras may number the same moment equally.
    let left_out: u32 =
        pictures.windows(2).map(|w| (w[1].2.wrapping_sub(w[0].2) as i16 - 1).max(0) as u32).sum();
    let busy = (ticker.lost(start, Instant::now()).as_secs_f64() * 30.0) as u32;
    let disposable = received.left_out;
    println!("{left_out} pictures left out, {disposable} by this test, the machine was busy for {busy}");
    assert!(disposable > 100 && left_out <= switches as u32 + disposable + busy + 10);
    // It is reported after the picture has left.
    let told = || {
        let facts = registry.list().remove(0).cameras.remove(0);
        let (_, full) = CAMERAS.into_iter().find(|(name, _)| *name == facts.camera).expect("one of them");
        facts.rung.map(|share| share.of(full))
    };
    while told() != sizes.last().copied() {
        assert!(asked.elapsed() < SOON, "{:?}", told());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut events = std::iter::from_fn(|| answer.events.try_recv().ok());
    assert!(events.any(|event| event == Event::Gets));
    registry.close_all("the test is over").await;
    assert!(decoded_by_ffmpeg(&received.stream) == sizes, "FFmpeg decodes different pictures than OpenH264");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_that_nobody_is_on_encodes_nothing() {
    let status = Status::default();
    let camera = Camera::start("front", FULL, &status);
    let video = &camera.camera.video;
    let (_claim, mut half) = (video.demand.watch(), video.hub(Share::Half).subscribe());
    let mut decoder = Decoder::new().expect("a decoder");
    let mut next = async || tokio::time::timeout(SOON, half.recv()).await.expect("it goes on");
    let first = next().await;
    assert!(first.idr);
    assert_eq!(shown(&mut decoder, &annex_b(&first.payloads)).0, Size::new(320, 240));
    let (before, mut last) = (status.counters.encoded.get(), first.pts);
    for _ in 0..60 {
        let unit = next().await;
        let (size, stamp) = shown(&mut decoder, &annex_b(&unit.payloads));
        assert!(size == Size::new(320, 240) && stamp.is_some(), "{size}: the picture as a whole, smaller");
        last = unit.pts;
    }
    let encoded = status.counters.encoded.get() - before;
    // On a busy machine some wait here at first, and this test may miss others.
    let captured = (last.since(first.pts).as_secs_f64() * 30.0).round() as u64;
    assert!((30..=captured + 2).contains(&encoded), "{encoded} encoded of {captured} that were captured");
    let rungs = video.rungs();
    assert_eq!(
        rungs.iter().map(|r| (r.name, r.viewers)).collect::<Vec<_>>(),
        [(Share::Full, 0), (Share::Half, 1), (Share::Quarter, 0)]
    );
}

/// A viewer on a link that does not carry all of a rung is sent some of the disposable pictures, or none, as it changes.
#[tokio::test(flavor = "multi_thread")]
async fn any_decoder_takes_a_stream_without_some_of_its_disposable_pictures() {
    let status = Status::default();
    let camera = Camera::start("front", FULL, &status);
    let video = &camera.camera.video;
    let (_claim, mut pictures) = (video.demand.watch(), video.subscribe());
    let (mut decoder, mut random) = (Decoder::new().expect("a decoder"), Random::new(SEED));
    let (mut stream, mut sizes, mut left_out, mut leaves_out) = (vec![], vec![], 0, false);
    while sizes.len() < 300 {
        let unit = tokio::time::timeout(SOON, pictures.recv()).await.expect("it goes on");
        leaves_out ^= random.below(8) == 0;
        if unit.disposable && leaves_out {
            left_out += 1;
            continue;
        }
        if random.below(60) == 0 {
            let _ = pictures.wish_keyframe(Pts::now()); // refused if it comes too soon
        }
        let unit = annex_b(&unit.payloads);
        let (size, stamp) = shown(&mut decoder, &unit);
        assert!(stamp.is_some(), "the picture as a whole");
        sizes.push(size);
        stream.extend(unit);
    }
    println!("{left_out} pictures left out of {}", sizes.len() + left_out);
    assert!(left_out > 50 && status.counters.keyframes.get() > 1);
    assert!(decoded_by_ffmpeg(&stream) == sizes, "FFmpeg decodes different pictures than OpenH264");
}

/// What a link carries is not known while its viewer reports nothing: one that is gone moves to no rung of its own,
/// which would be encoded for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_goes_without_a_word_has_nothing_encoded_for_it() {
    let status = Arc::new(Status::default());
    let camera = Camera::start("front", FULL, &status);
    let cameras = Cameras::new([camera.camera.clone()]);
    let ice = config::Ice { port: 0, ..Default::default() };
    let (_, addresses) = watch::channel(addresses::now());
    let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
    let registry = Registry::new(cameras.clone(), status, port, 5);
    let join = async |client: &mut Client| {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let offer = client::offer(client.offer().await, from, Signaling::Whep, &cameras);
        client.accept(&registry.join(offer).await.expect("an answer").sdp).await;
        client.until(Connected).await;
    };
    let mut stays = Client::new(true).await;
    join(&mut stays).await;
    // Its sockets are in a separate runtime, whose end is like a pulled plug.
    let elsewhere = tokio::runtime::Runtime::new().expect("a runtime");
    let mut goes = elsewhere.spawn(Client::new(true)).await.expect("a client");
    join(&mut goes).await;
    let watched = tokio::time::Instant::now() + Duration::from_secs(2);
    while let Ok(packet) = tokio::time::timeout_at(watched, goes.packets.recv()).await {
        packet.expect("open"); // its link is known by now
    }
    elsewhere.shutdown_background();
    drop(goes);
    let rungs = || registry.list().iter().map(|viewer| viewer.cameras[0].rung).collect::<Vec<_>>();
    let (before, gone) = (rungs(), Instant::now());
    while let [_, rung] = rungs()[..] {
        assert_eq!(rung, before[1]);
        assert!(gone.elapsed() < GONE);
        assert!(stays.packets.recv().await.is_some());
    }
    registry.close_all("the test is over").await;
}
