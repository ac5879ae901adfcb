//! Changes while streaming: the configuration, what is plugged in, and how much the board can encode. The
//! media threads run in this process; the viewer decodes what the hub publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use peercam::clock::{Pts, RtpClock, VIDEO_HZ};
use peercam::config::{self, CameraDevice, Effort};
use peercam::heartbeat::{DEVICE, Heartbeats, WORK};
use peercam::media::frame::Size;
use peercam::media::stamp::Stamp;
use peercam::media::unit::VideoUnit;
use peercam::pipeline::demand::Claim;
use peercam::pipeline::hub::Subscription;
use peercam::pipeline::snapshot::Snapshots;
use peercam::pipeline::stream::VideoStream;
use peercam::pipeline::video::{Context, Video};
use peercam::pipeline::worker::Threads;
use peercam::privacy::{Privacy, Private};
use peercam::status::{self, Source, Status};
use rtc::interceptor::Packet;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::board::Board;
use crate::client::Client;
use crate::daemon::{status, until};
use crate::process::Dir;
use crate::ticker::Ticker;

/// Longer than anything takes here on a busy machine.
const SOON: Duration = Duration::from_secs(8);
const SMALL: Size = Size::new(320, 240);

/// The two threads, and all their inputs.
struct Picture {
    config: watch::Sender<config::Video>,
    hotplug: watch::Sender<u64>,
    heartbeats: Arc<Heartbeats>,
    stream: Arc<VideoStream>,
    status: Arc<Source<status::Video>>,
    _video: Video,
}

impl Picture {
    fn start(config: config::Video) -> Self {
        let (stream, status, heartbeats) =
            (Arc::new(VideoStream::default()), Status::default().source(), Arc::<Heartbeats>::default());
        let (config, hotplug) = (watch::Sender::new(config), watch::Sender::new(0));
        let video = Video::spawn(Context {
            threads: Threads::Only,
            config: config.subscribe(),
            stream: stream.clone(),
            status: status.clone(),
            snapshots: Arc::new(Snapshots::new(stream.demand.clone())),
            clock: RtpClock { hz: VIDEO_HZ, offset: 7 },
            private: Private::of(watch::channel(Privacy::default()).1, "camera"),
            hotplug: hotplug.subscribe(),
            pressure: watch::channel(None).1,
            budget: Arc::default(),
            heartbeats: heartbeats.clone(),
            stop: CancellationToken::new(),
        });
        Self { config, hotplug, heartbeats, stream, status, _video: video.expect("threads") }
    }

    fn says(&self, key: &str) -> Value {
        serde_json::to_value(self.status.now()).expect("JSON")[key].clone()
    }

    /// The threads that would be reported as hanging if they gave no sign of life for `time` from now on.
    fn silent_in(&self, time: Duration) -> Vec<String> {
        self.heartbeats.silent(Pts::now() + time).into_iter().map(|(name, _)| name.to_string()).collect()
    }

    async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            let report = serde_json::to_value(self.status.now()).expect("JSON");
            assert!(start.elapsed() < within, "not {what} within {within:?}: {report:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }

    async fn until_state(&self, state: &str) {
        self.until(state, SOON, |p| p.says("state") == state).await;
    }
}

/// A viewer that reads everything and decodes it.
struct Viewer {
    subscription: Subscription<VideoUnit>,
    _claim: Claim,
    decoder: Decoder,
    last: Option<Pts>,
}

/// What a viewer sees of a unit.
struct Seen {
    unit: Arc<VideoUnit>,
    size: Size,
    stamp: Option<Stamp>,
}

impl Viewer {
    fn of(picture: &Picture) -> Self {
        let decoder = Decoder::new().expect("a decoder");
        let (subscription, _claim) = (picture.stream.subscribe(), picture.stream.demand.watch());
        Self { subscription, _claim, decoder, last: None }
    }

    /// The next picture: every one decodes, and none is older than the one before.
    async fn next(&mut self) -> Seen {
        let unit = tokio::time::timeout(SOON, self.subscription.recv()).await.expect("the stream goes on");
        assert!(self.last.replace(unit.pts).is_none_or(|last| last < unit.pts), "time goes back");
        let decoded = self.decoder.decode(&annex_b(&unit.payloads)).expect("decodes").expect("a picture");
        let (width, height) = decoded.dimensions();
        let stride = decoded.strides().0;
        let mut luma = Vec::with_capacity(width * height);
        decoded.y().chunks(stride).take(height).for_each(|row| luma.extend_from_slice(&row[..width]));
        let size = Size::new(width as u32, height as u32);
        Seen { unit, size, stamp: Stamp::read(&luma, size) }
    }

    /// Reads until a picture meets a condition.
    async fn until(&mut self, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let start = Instant::now();
        loop {
            let seen = self.next().await;
            if holds(&seen) {
                return seen;
            }
            assert!(start.elapsed() < SOON, "no picture {what}");
        }
    }

    /// The pictures that arrive during `time`.
    async fn during(&mut self, time: Duration) -> Vec<Seen> {
        let (end, mut all) = (Instant::now() + time, vec![]);
        while Instant::now() < end {
            all.push(self.next().await);
        }
        all
    }
}

/// Converts RTP payloads (RFC 6184: single NAL units, STAP-A, FU-A) to a stream with start codes.
pub(crate) fn annex_b(payloads: &[Bytes]) -> Vec<u8> {
    let mut stream = vec![];
    let mut nal = |header: Option<u8>, rest: &[u8]| {
        if let Some(header) = header {
            stream.extend([0, 0, 0, 1, header]);
        }
        stream.extend(rest);
    };
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let [high, low, tail @ ..] = rest {
                    let (one, others) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                    nal(Some(one[0]), &one[1..]);
                    rest = others;
                }
            }
            28 => {
                let starts = payload[1] & 0x80 != 0;
                nal(starts.then_some(payload[0] & 0xe0 | payload[1] & 0x1f), &payload[2..]);
            }
            _ => nal(Some(payload[0]), &payload[1..]),
        }
    }
    stream
}

fn pattern(size: Size, frame_rate: u32) -> config::Video {
    config::Video { device: CameraDevice::Pattern, size, frame_rate, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_the_picture_changes_in_mid_stream() {
    let picture = Picture::start(pattern(SMALL, 30));
    let mut viewer = Viewer::of(&picture);
    viewer.until("at first", |seen| seen.size == SMALL && seen.stamp.is_some()).await;

    let large = Size::new(640, 480);
    picture.config.send_modify(|c| c.size = large);
    let first = viewer.until("of the new size", |seen| seen.size == large).await;
    assert!(first.unit.idr && first.stamp.is_some());
    assert_eq!(picture.says("wanted")["width"], 640);
    assert_eq!(picture.says("negotiated")["height"], 480);

    let rate = |pictures: &[Seen]| {
        let time = pictures.last().expect("some").unit.pts.since(pictures[0].unit.pts);
        (pictures.len() - 1) as f64 / time.as_secs_f64()
    };
    picture.config.send_modify(|c| c.frame_rate = 10);
    picture.until("at 10 fps", SOON, |p| p.says("negotiated")["fps"] == 10.0).await;
    viewer.during(Duration::from_millis(500)).await;
    let slow = viewer.during(Duration::from_secs(2)).await;
    assert!((7.0..11.0).contains(&rate(&slow)), "{}", rate(&slow));

    // A new bitrate for the same encoder: it continues without a keyframe.
    let keyframes = picture.status.counters.keyframes.get();
    picture.config.send_modify(|c| c.bitrate_bps = 400_000);
    picture.until("at 400 kbps", SOON, |p| p.says("bitrate_bps") == 400_000).await;
    let same = viewer.during(Duration::from_secs(1)).await;
    assert!(same.len() >= 2 && same.iter().all(|seen| !seen.unit.idr), "{} pictures", same.len());
    assert_eq!(picture.status.counters.keyframes.get(), keyframes);

    // A new encoder for the same camera: no frames are lost.
    picture.config.send_modify(|c| (c.bitrate_bps, c.effort) = (300_000, Effort::Medium));
    picture.until("at 300 kbps", SOON, |p| p.says("bitrate_bps") == 300_000).await;
    let (ticker, start) = (Ticker::start(), Instant::now());
    let mut cheap = vec![];
    while !ticker.enough(start, Duration::from_secs(3)) {
        cheap.extend(viewer.during(Duration::from_millis(500)).await);
    }
    let busy = ticker.lost(start, Instant::now());
    assert!(picture.status.counters.keyframes.get() > keyframes, "a new encoder begins with a keyframe");
    let numbers: Vec<u16> = cheap.iter().map(|seen| seen.stamp.expect("a stamp").frame).collect();
    let missed = numbers.last().expect("some").wrapping_sub(numbers[0]) as usize + 1 - numbers.len();
    let allowed = 4 + (busy.as_secs_f64() * 10.0) as usize;
    assert!(
        missed <= allowed,
        "{missed} frames missed, and the machine was busy for {busy:.1?}: {numbers:?}"
    );

    // A camera that does not exist, then the test picture again.
    picture.config.send_modify(|c| c.device = CameraDevice::Device("/dev/no-such-camera".into()));
    picture.until_state("gone").await;
    viewer.until("of a slate", |seen| seen.stamp.is_none()).await;
    picture.config.send_modify(|c| *c = pattern(SMALL, 30));
    viewer.until("after the slate", |seen| seen.stamp.is_some() && seen.size == SMALL).await;
    picture.until_state("live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_watches_is_reconfigured_as_well() {
    let picture = Picture::start(pattern(SMALL, 30));
    picture.until_state("idle").await;
    picture.until("asleep on purpose", SOON, |p| p.silent_in(Duration::from_secs(86_400)).is_empty()).await;
    picture.config.send_modify(|c| c.size = Size::new(640, 360));
    picture.until("negotiated again", SOON, |p| p.says("negotiated")["height"] == 360).await;
    picture.config.send_modify(|c| c.bitrate_bps = 700_000);
    picture.until("at the new bitrate", SOON, |p| p.says("bitrate_bps") == 700_000).await;
    assert_eq!(picture.says("state"), "idle");
    picture.config.send_modify(|c| c.keep_open = true);
    picture.until_state("live").await;
    let missed = picture.silent_in(WORK + DEVICE + Duration::from_secs(1));
    assert!(missed.iter().any(|name| name == "video-capture"), "it would be reported: {missed:?}");
    picture.config.send_modify(|c| c.keep_open = false);
    picture.until_state("idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_plugged_in_is_looked_at_at_once() {
    let dir = Dir::new();
    let node = dir.path().join("camera");
    let device = CameraDevice::Device(node.display().to_string());
    let picture = Picture::start(config::Video { device, ..Default::default() });
    let missing = |p: &Picture| p.says("reason").as_str().is_some_and(|why| why.contains("not plugged in"));
    picture.until("missing", SOON, missing).await;
    // It looks again in half a minute, and nobody expects it earlier.
    picture.until("at rest", SOON, |p| p.silent_in(Duration::from_secs(25)).is_empty()).await;
    std::fs::write(&node, "no camera").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(missing(&picture), "nobody watches, and nothing was plugged in");
    picture.hotplug.send_modify(|count| *count += 1);
    // What was plugged in is not a camera, and that is reported.
    let took = picture.until("looked at", Duration::from_secs(1), |p| !missing(p)).await;
    println!("looked at after {took:.0?}, nobody watching");

    // While somebody watches it is tried every second, and also when something is plugged in.
    std::fs::remove_file(&node).unwrap();
    picture.hotplug.send_modify(|count| *count += 1);
    picture.until("missing again", SOON, missing).await;
    let mut viewer = Viewer::of(&picture);
    viewer.until("of a slate", |seen| seen.stamp.is_none()).await;
    let (ticker, start) = (Ticker::start(), Instant::now());
    let mut times = vec![];
    for there in [true, false, true, false] {
        if there {
            std::fs::write(&node, "no camera").unwrap()
        } else {
            std::fs::remove_file(&node).unwrap()
        }
        picture.hotplug.send_modify(|count| *count += 1);
        times.push(picture.until("looked at", SOON, |p| missing(p) != there).await);
    }
    println!("looked at after {times:.0?} with a viewer");
    assert!(ticker.took(start) < Duration::from_secs(2), "{times:?}");
}

/// More than any machine encodes in one thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_can_t_keep_up_shows_less_and_stays_in_time() {
    let config = config::Video { effort: Effort::High, ..pattern(Size::new(3840, 2160), 60) };
    let picture = Picture::start(config);
    let mut viewer = Viewer::of(&picture);
    let start = Instant::now();
    // Until nothing has changed for a while.
    let (told, pictures, encoded) = loop {
        viewer.during(Duration::from_secs(1)).await; // what is still on its way
        let (told, encoded) = (picture.says("reduced"), picture.status.counters.encoded.get());
        let pictures = viewer.during(Duration::from_secs(5)).await;
        println!("{:.1?}: {told}", start.elapsed());
        if !told.is_null() && picture.says("reduced") == told {
            break (told, pictures, picture.status.counters.encoded.get() - encoded);
        }
        assert!(start.elapsed() < Duration::from_secs(90), "it does not settle: {told}");
    };
    let mut delay: Vec<Duration> = pictures.iter().map(|seen| seen.unit.ready.since(seen.unit.pts)).collect();
    delay.sort();
    let (fps, typical, most) =
        (told["fps"].as_f64().expect("a rate"), delay[delay.len() / 2], delay[delay.len() - 1]);
    println!("{encoded} pictures in 5 s at {told}; delay {typical:.0?}, at most {most:.0?}");
    assert!(told["why"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
    assert!(pictures.iter().all(|seen| seen.stamp.is_some() && told["width"] == seen.size.width), "{told}");
    assert!(encoded as f64 > 5.0 * fps * 0.6, "{encoded} pictures in 5 s at {told}");
    assert!(typical < Duration::from_secs_f64(2.0 / fps), "{typical:?} at {told}");

    // Less is requested, and all of it is delivered.
    picture.config.send_replace(pattern(SMALL, 30));
    viewer.until("of the new size", |seen| seen.size == SMALL).await;
    picture.until("at its full size", SOON, |p| p.says("reduced").is_null()).await;
    assert_eq!(picture.says("negotiated")["fps"], 30.0);
}

/// A board with other work. However fast this machine is: six other processes that want the board's two cores
/// leave too little for the full size. Pictures are scaled: the camera is not reopened for it.
#[test]
fn a_slow_board_scales_its_pictures_down() {
    let mut board = Board::boot("");
    board.plug_vivid();
    let config =
        "[video]\nsize = \"1920x1080\"\nframe_rate = 30\neffort = \"high\"\n[audio]\ndevice = \"off\"\n";
    let address = board.start_daemon(config);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut viewer = runtime.block_on(async {
        let mut client = Client::at("10.77.0.1:0", false).await;
        client.join(address).await;
        client
    });
    board.run("for n in 1 2 3 4 5 6; do setsid sh -c 'while :; do :; done' > /dev/null 2>&1 & done");
    let smaller = |s: &Value| s["video"]["reduced"]["width"].as_u64().is_some_and(|width| width < 1920);
    let (took, reduced) = until(address, "reduced", Duration::from_secs(60), smaller);
    println!("after {took:.1?}: {}", reduced["video"]["reduced"]);
    let agreed = |s: &Value| s["video"]["negotiated"]["width"].as_u64().unwrap();
    assert!(agreed(&reduced) > reduced["video"]["reduced"]["width"].as_u64().unwrap(), "{reduced:#}");
    assert_eq!(reduced["video"]["rungs"][0]["width"], reduced["video"]["reduced"]["width"], "{reduced:#}");
    assert_eq!(
        reduced["video"]["rungs"].as_array().map(Vec::len),
        Some(1),
        "smaller rungs go first: {reduced:#}"
    );
    assert!(board.daemon_log().contains("video: reduced to "), "{}", board.daemon_log());
    assert_eq!(
        board.daemon_log().matches("video: vivid").count(),
        1,
        "opened in one mode: {}",
        board.daemon_log()
    );
    let before = reduced["counters"]["encoded"].as_u64().unwrap();
    // A busy host may leave it three pictures a second.
    until(address, "going on", Duration::from_secs(60), |s| {
        s["counters"]["encoded"].as_u64().unwrap() > before + 20
    });
    // A smaller picture loses no camera. The driver, which is short of CPU too, may be late by itself.
    let late = board.daemon_log().matches("camera stopped sending data; trying again").count();
    assert_eq!(status(address)["counters"]["camera_lost"], late);
    // The same connection receives it.
    runtime.block_on(viewer.next("video", |p| matches!(p, Packet::Rtp(_)).then_some(())));
    assert_eq!(*viewer.state.borrow(), Connected);
}
