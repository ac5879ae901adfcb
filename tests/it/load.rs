//! Many viewers, slow viewers, greedy viewers, and viewers that come and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peercam::board::addresses;
use peercam::clock::{AUDIO_HZ, Clocks, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::frame::Size;
use peercam::pipeline::camera::{Camera, Cameras};
use peercam::pipeline::video::{self, Video};
use peercam::pipeline::worker::Threads;
use peercam::privacy::{Privacy, Private};
use peercam::status::Status;
use peercam::viewer::{Port, Registry, Signaling};
use rtc::interceptor::Packet;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::{self, Client};
use crate::daemon::{self, Daemon, PATTERN};
use crate::http::request;
use crate::ticker::Ticker;

/// The media part of a daemon in this process, so that a test can control a viewer's queue.
struct Spine {
    cameras: Arc<Cameras>,
    status: Arc<Status>,
    registry: Arc<Registry>,
    _video: Video,
}

impl Spine {
    fn start() -> Self {
        let (cameras, status) =
            (Cameras::new([Camera::new("camera", "Camera")]), Arc::new(Status::default()));
        let camera = cameras.all()[0].clone();
        let clock = |hz| RtpClock { hz, offset: 0x1234_5678 };
        let clocks = Clocks { video: clock(VIDEO_HZ), audio: clock(AUDIO_HZ) };
        let video = config::Video {
            device: config::CameraDevice::Pattern,
            // So small that there is one rung: each encoded frame is for all viewers.
            size: Size::new(160, 120),
            ..Default::default()
        };
        let video = Video::spawn(video::Context {
            threads: Threads::Only,
            config: watch::channel(video).1,
            stream: camera.video.clone(),
            status: status.source(),
            snapshots: camera.snapshots.clone(),
            clock: clocks.video,
            private: Private::of(watch::channel(Privacy::default()).1, "camera"),
            hotplug: watch::channel(0).1,
            pressure: watch::channel(None).1,
            budget: Arc::default(),
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        })
        .expect("threads");
        let ice = config::Ice { port: 0, ..Default::default() };
        let (_, addresses) = watch::channel(addresses::now());
        let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
        let registry = Registry::new(cameras.clone(), status.clone(), port, 50);
        Self { cameras, status, registry, _video: video }
    }

    /// A viewer whose frames are counted, and which requests keyframes this often.
    async fn viewer(&self, pli_every: Option<Duration>) -> Arc<AtomicU64> {
        let mut client = Client::new(false).await;
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let offer = client::offer(client.offer().await, from, Signaling::Whep, &self.cameras);
        let answer = self.registry.join(offer).await.expect("an answer");
        client.accept(&answer.sdp).await;
        client.until(Connected).await;
        let ssrc =
            client.next("video", |p| if let Packet::Rtp(p) = p { Some(p.header.ssrc) } else { None }).await;
        let frames = Arc::new(AtomicU64::new(0));
        let count = frames.clone();
        tokio::spawn(async move {
            let mut pli = tokio::time::interval(pli_every.unwrap_or(Duration::from_secs(3600)));
            pli.tick().await;
            loop {
                tokio::select! {
                    _ = pli.tick() => client.send_pli(ssrc).await,
                    packet = client.packets.recv() => match packet {
                        Some(Packet::Rtp(p)) if p.header.ssrc == ssrc && p.header.marker => { count.fetch_add(1, Ordering::Relaxed); }
                        Some(_) => {}
                        None => break,
                    }
                }
            }
            drop(answer);
        });
        frames
    }

    /// Frames that each viewer received in `time`, as a share of those encoded: a busy machine does not
    /// change it. Frames during which this process' tasks did not run, but its encoding threads may have,
    /// don't count.
    async fn received(&self, viewers: &[Arc<AtomicU64>], time: Duration) -> Vec<f64> {
        const TICK: Duration = Duration::from_millis(10);
        let stood_still = Arc::<AtomicU64>::default();
        let noted = stood_still.clone();
        let ticks = tokio::spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(TICK).await;
                let late = began.elapsed() - TICK;
                if late > Duration::from_millis(50) {
                    noted.fetch_add(late.as_millis() as u64, Ordering::Relaxed);
                }
            }
        });
        let now = || viewers.iter().map(|v| v.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let (encoded, before) = (self.status.counters.encoded.get(), now());
        tokio::time::sleep(time).await;
        let encoded = self.status.counters.encoded.get() - encoded;
        ticks.abort();
        let lost = stood_still.load(Ordering::Relaxed) as f64 / time.as_millis() as f64;
        println!("{encoded} frames encoded; tasks stood still for {:.1} % of the time", 100.0 * lost);
        assert!(lost < 0.5, "machine too busy: tasks stood still for {:.0} % of the time", 100.0 * lost);
        assert!(encoded > 10 * time.as_secs(), "{encoded} frames encoded in {time:?}");
        let part = |(after, before): (&u64, u64)| (after - before) as f64 / encoded as f64;
        now().iter().zip(before).map(|pair| part(pair).max((part(pair) + lost).min(1.0))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_viewer_and_a_greedy_one_cost_the_others_nothing() {
    let spine = Spine::start();
    let mut viewers = vec![];
    for _ in 0..8 {
        viewers.push(spine.viewer(None).await);
    }
    let window = Duration::from_secs(10);
    let undisturbed = spine.received(&viewers, window).await;

    // The ninth's task does not read its queue; the tenth requests a keyframe 50 times a second.
    let mut stalled = spine.cameras.all()[0].video.subscribe();
    let _greedy = spine.viewer(Some(Duration::from_millis(20))).await;
    let keyframes = spine.status.counters.keyframes.get();
    let disturbed = spine.received(&viewers, window).await;
    let keyframes = spine.status.counters.keyframes.get() - keyframes;

    println!("parts of all frames received: {undisturbed:?}, then {disturbed:?}; {keyframes} keyframes");
    for part in undisturbed.iter().chain(&disturbed) {
        assert!((0.98..1.02).contains(part), "within 2 %: {undisturbed:?}, then {disturbed:?}");
    }
    assert!(keyframes <= 20, "{keyframes} keyframes in 10 s");
    assert!(keyframes >= 3, "the greedy viewer gets the keyframes that one viewer may cause: {keyframes}");

    assert_eq!(stalled.lagged(), 1);
    assert!(stalled.recv().await.idr, "it resumes at a keyframe");
    spine.registry.close_all("the test is over").await;
}

/// Joins over WHEP in a separate runtime, so that dropping it is like a power cut.
fn watch(address: SocketAddr, goodbye: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::new(true).await;
        let resource = client.join(address).await;
        client.next("video", |p| matches!(p, Packet::Rtp(_)).then_some(())).await;
        if goodbye {
            assert_eq!(request(address, "DELETE", &resource, &[], "").expect("gone").code, 200);
            client.close().await;
        }
    });
    runtime.shutdown_background();
}

/// Resident bytes, threads, descriptors, tasks.
fn cost(status: &Value) -> [u64; 4] {
    ["resident_bytes", "threads", "descriptors", "tasks"]
        .map(|key| status["process"][key].as_u64().unwrap_or_else(|| panic!("{key} in {status:#}")))
}

/// The cost once all viewers are gone and at most `tasks` are left: the last sockets close a moment after the
/// viewer.
fn cost_of_nobody(address: SocketAddr, tasks: u64) -> [u64; 4] {
    let gone = |s: &Value| s["viewers"]["count"] == 0 && cost(s)[3] <= tasks;
    cost(&daemon::until(address, "everybody gone", Duration::from_secs(60), gone).1)
}

#[test]
fn three_hundred_viewers_come_and_go_and_nothing_of_them_stays() {
    // Viewers that vanish stay for some ten seconds.
    let config = PATTERN.replace("640x480", "320x240") + "[web]\nmax_viewers = 200\n";
    let daemon = Daemon::start(&config);
    let address = daemon.address();
    let [.., tasks] = cost(&daemon.status());
    for n in 0..10 {
        watch(address, n % 3 > 0);
    }
    let [_, threads, descriptors, tasks] = cost_of_nobody(address, tasks);
    // Three times the same hundred, so that equally many were there when memory is compared.
    let mut rounds = vec![];
    for _ in 0..3 {
        (0..100).for_each(|n| watch(address, n % 3 > 0));
        rounds.push(cost_of_nobody(address, tasks));
    }
    let [.., [_, rest @ ..]] = rounds[..] else { unreachable!("three rounds") };
    println!("resident bytes, threads, descriptors, tasks after each hundred viewers: {rounds:?}");
    // A leak for each viewer would show each time; the allocator's own share may grow once.
    let grown = rounds.windows(2).map(|pair| pair[1][0].saturating_sub(pair[0][0])).min();
    assert!(grown.is_some_and(|bytes| bytes < 1_000_000), "it grows each time: {rounds:?}");
    // Threads of the blocking pool and of the runtime may have come or gone; nothing else may.
    let [threads_end, descriptors_end, tasks_end] = rest;
    assert!(threads_end <= threads, "{threads} threads became {threads_end}");
    assert_eq!((descriptors_end, tasks_end), (descriptors, tasks), "descriptors, tasks");
}

/// An encoder and the pictures of a stream of this size take 12 MB.
#[test]
fn the_memory_of_pictures_goes_back_when_the_camera_rests() {
    let daemon = Daemon::start(&PATTERN.replace("640x480", "1280x720"));
    let address = daemon.address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let watched = runtime.block_on(async {
        let mut client = Client::new(true).await;
        let resource = client.join(address).await;
        for _ in 0..100 {
            client.next("video", |p| matches!(p, Packet::Rtp(_)).then_some(())).await;
        }
        let [watched, ..] = cost(&daemon.status());
        assert_eq!(request(address, "DELETE", &resource, &[], "").expect("gone").code, 200);
        client.close().await;
        watched
    });
    let went = |s: &Value| cost(s)[0] + 9_000_000 < watched;
    let (_, status) = daemon::until(address, "less memory", Duration::from_secs(60), went);
    println!("resident bytes: {watched} while somebody watched, {} when the camera rests", cost(&status)[0]);
}

#[test]
fn viewers_share_the_upload_that_is_allowed() {
    let daemon = Daemon::start(&format!("{PATTERN}[web]\nmax_upload_kbps = 240\n"));
    let address = daemon.address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut clients = vec![];
    for count in 1..=2u32 {
        clients.push(runtime.block_on(async {
            let mut client = Client::new(true).await;
            client.join(address).await;
            client
        }));
        let share = 240e3 / f64::from(count);
        let shared = |s: &Value| {
            let viewers = s["viewers"]["list"].as_array().cloned().unwrap_or_default();
            viewers.len() == clients.len()
                && viewers.iter().all(|viewer| {
                    let rate = viewer["rate_bps"].as_f64().expect("a rate");
                    (0.5 * share..share).contains(&rate)
                        && viewer["link"]["most_bps"] == share as u64
                        && viewer["link"]["state"] == "limited by max_upload_kbps"
                })
        };
        daemon::until(address, "an equal part for each", Duration::from_secs(20), shared);
    }
}

#[test]
fn nothing_is_encoded_while_nobody_watches_and_a_snapshot_is_one_picture() {
    let daemon = Daemon::start(PATTERN);
    std::thread::sleep(Duration::from_secs(1));
    let (code, jpeg) = daemon::get(daemon.address(), "/snapshot.jpg").expect("an answer");
    assert_eq!((code, &jpeg[..3]), (200, &[0xff, 0xd8, 0xff][..]));
    std::thread::sleep(Duration::from_secs(1));
    let status = daemon.status();
    assert_eq!([&status["counters"]["encoded"], &status["counters"]["opus_packets"]], [0, 0], "{status:#}");
}

#[test]
fn stopping_takes_no_time_even_with_viewers() {
    let mut daemon = Daemon::start(PATTERN);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _client = runtime.block_on(async {
        let mut client = Client::new(true).await;
        client.join(daemon.address()).await;
        client
    });
    let (ticker, start) = (Ticker::start(), Instant::now());
    daemon.terminate(Duration::from_secs(10));
    let took = ticker.took(start);
    assert!(took < Duration::from_secs(3), "{took:?}");
}
