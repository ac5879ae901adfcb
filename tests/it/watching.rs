//! Who watches is visible: devices are open only then, privacy closes them, and programs and web services are
//! notified.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use peercam::capture::microphones;
use peercam::clock::{AUDIO_HZ, Clocks, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::frame::Size;
use peercam::pipeline::audio;
use peercam::pipeline::camera::Camera;
use peercam::pipeline::video::{self, Video};
use peercam::pipeline::worker::Threads;
use peercam::privacy::{Privacy, Private};
use peercam::status::Status;
use rtc::interceptor::Packet;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::board::Board;
use crate::client::{Client, OPUS};
use crate::daemon::{Daemon, PATTERN, status, until};
use crate::http::request;
use crate::jpeg;
use crate::process::Dir;
use crate::ticker::Ticker;

/// Longer than anything takes here except the linger time of 10 s.
const SOON: Duration = Duration::from_secs(8);
const LINGER: Duration = Duration::from_secs(10);

/// A viewer over WHEP.
struct Viewer {
    client: Client,
    /// The URL of its resource.
    url: String,
    /// Time from the offer to the first packet of video.
    first: Duration,
}

async fn join(address: SocketAddr, from: &str) -> Viewer {
    let mut client = Client::at(from, true).await;
    let offer = client.offer().await;
    let start = Instant::now();
    let answer =
        request(address, "POST", "/whep", &[("Content-Type", "application/sdp")], &offer).expect("an answer");
    assert_eq!(answer.code, 201, "{answer:?}");
    let url = answer.header("location").expect("a resource").to_owned();
    client.accept(&answer.body).await;
    client.until(Connected).await;
    client.next("video", |p| packet_of(VIDEO, &p)).await;
    Viewer { client, url, first: start.elapsed() }
}

impl Viewer {
    async fn leave(self, address: SocketAddr) {
        let left = request(address, "DELETE", &self.url, &[], "").expect("an answer");
        assert_eq!(left.code, 200, "{left:?}");
        self.client.close().await;
    }
}

/// Payload types of video in the client's offer.
const VIDEO: std::ops::RangeInclusive<u8> = 96..=127;

fn packet_of(types: std::ops::RangeInclusive<u8>, packet: &Packet) -> Option<()> {
    match packet {
        Packet::Rtp(p) if p.header.payload_type != OPUS || *types.start() == OPUS => {
            types.contains(&p.header.payload_type).then_some(())
        }
        _ => None,
    }
}

/// Number of sound packets in this time.
async fn sounds(client: &mut Client, time: Duration) -> usize {
    let (end, mut count) = (Instant::now() + time, 0);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Ok(Some(packet)) = tokio::time::timeout(left, client.packets.recv()).await {
            count += usize::from(packet_of(OPUS..=OPUS, &packet).is_some());
        }
    }
    count
}

fn state(part: &'static str, state: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status[part]["state"] == state
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// The board's devices that the daemon has open, according to the kernel.
fn open_devices(board: &mut Board) -> Vec<String> {
    let list = board.run("ls -l /proc/$(cat /tmp/pid)/fd | grep -oE '/dev/(video|snd).*' || true");
    list.lines().map(str::to_owned).collect()
}

fn has(open: &[String], camera: bool, microphone: bool) -> bool {
    let one = |dir| open.iter().any(|d| d.starts_with(dir));
    one("/dev/video") == camera && one("/dev/snd/pcm") == microphone
}

#[test]
fn nobody_watching_costs_nothing() {
    let daemon = Daemon::start(PATTERN);
    until(daemon.address(), "idle", SOON, |s| state("video", "idle")(s) && state("audio", "idle")(s));
    assert_eq!(daemon.status()["video"]["negotiated"]["width"], 640);
    let switches = || -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap().flatten();
        let of = |path: std::path::PathBuf| {
            let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        threads.map(|t| of(t.path())).sum()
    };
    // What the requests above have used is freed a moment later.
    std::thread::sleep(Duration::from_secs(4));
    let before = switches();
    std::thread::sleep(Duration::from_secs(4));
    let woken = switches() - before;
    println!("woken {woken} times in 4 s");
    assert!(woken <= 4, "{woken} times in 4 s");
}

#[test]
fn the_first_picture_from_rest_and_not() {
    let daemon = Daemon::start(PATTERN);
    let (mut cold, mut warm) = (vec![], vec![]);
    runtime().block_on(async {
        for _ in 0..3 {
            until(daemon.address(), "idle", LINGER + SOON, state("video", "idle"));
            let viewer = join(daemon.address(), "127.0.0.1:0").await;
            cold.push(viewer.first);
            viewer.leave(daemon.address()).await;
            let viewer = join(daemon.address(), "127.0.0.1:0").await;
            warm.push(viewer.first);
            viewer.leave(daemon.address()).await;
        }
    });
    println!("test picture: offer to first packet of video {cold:.0?} from rest, {warm:.0?} open");
    let (code, jpeg) = crate::daemon::get(daemon.address(), "/snapshot.jpg").unwrap();
    assert!(code == 200 && jpeg.starts_with(&[0xff, 0xd8]), "{code}");
}

#[test]
fn privacy_of_the_file_hides_everything_and_says_so() {
    let mut daemon = Daemon::start(&format!("{PATTERN}[watching]\nprivacy = true\n"));
    for _ in 0..2 {
        until(daemon.address(), "private", SOON, |s| {
            state("video", "private")(s) && state("audio", "private")(s)
        });
        let snapshot = request(daemon.address(), "GET", "/snapshot.jpg", &[], "").expect("an answer");
        assert_eq!(snapshot.code, 503, "{snapshot:?}");
        assert!(snapshot.body.contains("Privacy is on"), "{snapshot:?}");
        daemon.kill();
        daemon.restart(); // it is as before
    }
    runtime().block_on(async {
        let mut viewer = join(daemon.address(), "127.0.0.1:0").await; // a slate
        assert_eq!(sounds(&mut viewer.client, Duration::from_secs(1)).await, 0);
    });
    let status = daemon.status();
    assert_eq!(status["video"]["reason"], "Privacy is on: camera and microphone are closed");
    assert_eq!(status["counters"]["opus_packets"], 0);
}

/// Both media threads in this process, so that the test controls the switch.
#[test]
fn privacy_comes_and_goes_in_mid_stream() {
    runtime().block_on(async {
        let (camera, status) = (Camera::new("camera", "Camera"), Status::default());
        let (picture, sound) = (status.source(), status.source());
        let (switch, privacy) = watch::channel(Privacy::default());
        let private = Private::of(privacy, "camera");
        let clock = |hz| RtpClock { hz, offset: 7 };
        let clocks = Clocks { video: clock(VIDEO_HZ), audio: clock(AUDIO_HZ) };
        let stop = CancellationToken::new();
        let config = config::Video {
            device: config::CameraDevice::Pattern,
            size: Size::new(320, 240),
            ..Default::default()
        };
        let _video = Video::spawn(video::Context {
            threads: Threads::Only,
            config: watch::channel(config).1,
            stream: camera.video.clone(),
            status: picture.clone(),
            snapshots: camera.snapshots.clone(),
            clock: clocks.video,
            private: private.clone(),
            hotplug: watch::channel(0).1,
            pressure: watch::channel(None).1,
            budget: Arc::default(),
            heartbeats: Arc::default(),
            stop: stop.clone(),
        })
        .expect("threads");
        let tone = config::Audio { device: config::Microphone::Tone, ..Default::default() };
        let _audio = audio::spawn(audio::Context {
            threads: Threads::Only,
            why: microphones::NAMED,
            config: watch::channel(tone).1,
            stream: camera.audio.clone(),
            status: sound.clone(),
            clocks,
            private,
            hotplug: watch::channel(0).1,
            heartbeats: Arc::default(),
            stop: stop.clone(),
        })
        .expect("a thread");
        let states = || [picture.now().state.as_str(), sound.now().state.as_str()];
        let ticker = Ticker::start();
        let become_both = async |state: &str| {
            let start = Instant::now();
            while states() != [state, state] {
                assert!(start.elapsed() < SOON, "{:?}, not {state} within {SOON:?}", states());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            ticker.took(start)
        };
        // A viewer that reads all the time: one that lags would receive nothing before the next keyframe.
        let seen = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let _claims = (camera.video.demand.watch(), camera.audio.demand.watch());
        let (mut pictures, mut sounds) = (camera.video.subscribe(), camera.audio.hub.subscribe());
        let counted = seen.clone();
        tokio::spawn(async move {
            loop {
                let kind = tokio::select! { _ = pictures.recv() => 0, _ = sounds.recv() => 1 };
                counted[kind].fetch_add(1, Ordering::Relaxed);
            }
        });
        // Numbers of pictures and sounds in this time.
        let counts = || seen.each_ref().map(|n| n.load(Ordering::Relaxed));
        let count = async |time: Duration| {
            let before = counts();
            tokio::time::sleep(time).await;
            let after = counts();
            (after[0] - before[0], after[1] - before[1])
        };
        become_both("live").await;
        let mut took = vec![];
        assert!(camera.snapshots.take().await.is_ok());
        for _ in 0..3 {
            switch.send_replace(Privacy { all: true, ..Privacy::default() });
            took.push(become_both("private").await);
            count(Duration::from_millis(100)).await; // what was on its way
            let (slates, sounds) = count(Duration::from_secs(2)).await;
            println!("{slates} pictures and {sounds} sounds in 2 s of privacy");
            assert!((1..=6).contains(&slates) && sounds == 0, "{slates} pictures, {sounds} sounds");
            let refused = camera.snapshots.take().await.expect_err("privacy").to_string();
            assert!(refused.starts_with("Privacy is on"), "{refused}");
            switch.send_replace(Privacy::default());
            become_both("live").await;
            let (start, before) = (Instant::now(), counts());
            while counts().iter().zip(before).any(|(now, before)| now - before < 10) {
                assert!(start.elapsed() < SOON, "{:?} pictures and sounds, {before:?} before", counts());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(camera.snapshots.take().await.is_ok());
        }
        // Once in three times the machine may have delayed one of the two threads.
        took.sort();
        assert!(took[1] < Duration::from_millis(200), "private after {took:?}");
    });
}

/// Answers every request with 204, and passes their bodies on.
fn web_service() -> (SocketAddr, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (bodies, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            if bodies.send(serde_json::from_slice(&body).unwrap_or(Value::Null)).is_err() {
                break;
            }
        }
    });
    (address, seen)
}

#[test]
fn the_first_and_the_last_viewer_are_told() {
    let dir = Dir::new();
    let (script, log) = (dir.path().join("told"), dir.path().join("log"));
    std::fs::write(&script, format!("#!/bin/sh\necho \"$1 $PEERCAM_VIEWERS\" >> {}\n", log.display()))
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (service, bodies) = web_service();
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut daemon = Daemon::start(&format!(
        "{PATTERN}[watching]\non_first = [{script:?}, \"some body\"]\non_last = [{script:?}, \"nobody\"]\n\
         webhook = \"http://{service}/hook\"\nled = \"no-such-light\"\n"
    ));
    let says = |event: &str, viewers: u64| {
        let body = bodies.recv_timeout(SOON).expect("the webhook is called");
        assert_eq!((&body["event"], &body["viewers"]), (&json!(event), &json!(viewers)), "{body}");
        assert!(body["at_unix"].as_u64().is_some_and(|at| at > 1_700_000_000), "{body}");
    };
    let logs = |expected: &str| {
        let end = Instant::now() + SOON;
        while told() != expected {
            assert!(Instant::now() < end, "{:?}, not {expected:?}", told());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let runtime = runtime();
    runtime.block_on(async {
        let first = join(daemon.address(), "127.0.0.1:0").await;
        says("first", 1);
        logs("some body 1\n");
        let second = join(daemon.address(), "127.0.0.1:0").await;
        let rates = |s: &Value| -> Vec<u64> {
            let list = s["viewers"]["list"].as_array().into_iter().flatten();
            list.filter_map(|v| v["rate_bps"].as_u64()).collect()
        };
        let (_, now) = until(daemon.address(), "telling the rates", SOON, |s| {
            rates(s).len() == 2 && rates(s).iter().all(|r| *r > 100_000)
        });
        println!("rates: {:?} bit/s", rates(&now));
        first.leave(daemon.address()).await;
        second.leave(daemon.address()).await;
        says("last", 0);
        logs("some body 1\nnobody 0\n");
        let _third = join(daemon.address(), "127.0.0.1:0").await;
        says("first", 1);
        daemon.terminate(Duration::from_secs(3)); // stopping, it tells that nobody watches any more
        says("last", 0);
        logs("some body 1\nnobody 0\nsome body 1\nnobody 0\n");
    });
    assert!(bodies.try_recv().is_err(), "called once each");
    let log = daemon.log();
    assert!(log.contains("there is no LED /sys/class/leds/no-such-light"), "{log}");
    for line in ["viewer joined", "viewer is watching", "viewer left"] {
        assert_eq!(log.matches(line).count(), 3, "{line}: {log}");
    }
    assert!(log.contains("megabytes="), "{log}");
}

const BOARD_CONFIG: &str = "[video]\nsize = \"320x180\"\nframe_rate = 10\nbitrate_kbps = 1500\n\
                            [audio]\ndevice = \"hw:Loopback,1,0\"\n";

#[test]
fn a_board_opens_its_devices_only_while_somebody_watches() {
    let mut board = Board::boot("snd-aloop");
    board.plug_vivid();
    let address = board.start_daemon(BOARD_CONFIG);
    let (_, idle) = until(address, "idle", SOON, |s| state("video", "idle")(s) && state("audio", "idle")(s));
    assert_eq!(
        (&idle["video"]["source"], &idle["audio"]["source"]),
        (&"camera".into(), &"microphone".into())
    );
    assert_eq!(idle["video"]["negotiated"]["width"], 320, "{idle:#}");
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));

    // Opening begins with the offer, long before a connection: this one never connects.
    let runtime = runtime();
    let _entered = runtime.enter();
    let waiting = runtime.block_on(async {
        let client = Client::at("10.77.0.1:0", true).await;
        client.ask(address).await.header("location").expect("a resource").to_owned()
    });
    until(address, "live", SOON, |s| state("video", "live")(s) && state("audio", "live")(s));
    assert!(has(&open_devices(&mut board), true, true), "{:?}", open_devices(&mut board));
    assert_eq!(status(address)["counters"]["encoded"], 0);
    request(address, "DELETE", &waiting, &[], "").expect("an answer");

    // Ten seconds longer, and no more.
    let start = Instant::now();
    until(address, "closed", LINGER + SOON, |s| state("video", "idle")(s) && state("audio", "idle")(s));
    assert!(start.elapsed() > LINGER - Duration::from_secs(2), "closed after {:?}", start.elapsed());
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));

    // From rest, and again immediately.
    runtime.block_on(async {
        let viewer = join(address, "10.77.0.1:0").await;
        let cold = viewer.first;
        viewer.leave(address).await;
        let viewer = join(address, "10.77.0.1:0").await;
        println!("vivid: offer to first packet of video {cold:.0?} from rest, {:.0?} open", viewer.first);
        viewer.leave(address).await;
    });
    until(address, "closed", LINGER + SOON, state("video", "idle"));

    // A snapshot opens the camera, but not the microphone.
    let (code, jpeg) = crate::daemon::get(address, "/snapshot.jpg").unwrap();
    assert!(code == 200 && jpeg.starts_with(&[0xff, 0xd8]), "{code}");
    assert!(has(&open_devices(&mut board), true, false), "{:?}", open_devices(&mut board));

    // Removed and added again while it is closed: that is reported immediately, though nobody watches.
    until(address, "closed", LINGER + SOON, state("video", "idle"));
    let plug = |board: &mut Board, how: &str| {
        board.run(&format!("echo vivid.0 > /sys/bus/platform/drivers/vivid/{how}"));
    };
    plug(&mut board, "unbind");
    until(address, "gone", SOON, state("video", "gone"));
    plug(&mut board, "bind");
    until(address, "back", SOON, state("video", "idle"));
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));
    // And once more before a viewer.
    plug(&mut board, "unbind");
    until(address, "gone", SOON, state("video", "gone"));
    runtime.block_on(async {
        let _viewer = join(address, "10.77.0.1:0").await; // a slate
        plug(&mut board, "bind");
        until(address, "live", SOON, state("video", "live"));
    });

    let keep = BOARD_CONFIG.replace("[audio]", "keep_open = true\n[audio]\nkeep_open = true");
    let address = board.start_daemon(&keep);
    until(address, "live", SOON, |s| state("video", "live")(s) && state("audio", "live")(s));
    assert!(has(&open_devices(&mut board), true, true), "{:?}", open_devices(&mut board));

    // The owner's switch: takes effect immediately, lasts over a restart, and is undone.
    let both = |wanted: &'static str| move |s: &Value| state("video", wanted)(s) && state("audio", wanted)(s);
    let switch =
        |board: &mut Board, to: &str| board.run(&format!("/tmp/peercam privacy {to} --state-dir /tmp/state"));
    switch(&mut board, "on");
    until(address, "private", SOON, both("private"));
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));
    let (code, _) = crate::daemon::get(address, "/snapshot.jpg").unwrap();
    assert_eq!(code, 503);
    let address = board.start_daemon(&keep);
    until(address, "private after a restart", SOON, both("private"));
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));
    switch(&mut board, "off");
    until(address, "live again", SOON, both("live"));
    assert!(has(&open_devices(&mut board), true, true), "{:?}", open_devices(&mut board));

    let address = board.start_daemon(&format!("{keep}[watching]\nprivacy = true\n"));
    until(address, "private", SOON, |s| state("video", "private")(s) && state("audio", "private")(s));
    runtime.block_on(async {
        let mut viewer = join(address, "10.77.0.1:0").await; // a slate
        assert_eq!(sounds(&mut viewer.client, Duration::from_secs(2)).await, 0);
    });
    assert!(has(&open_devices(&mut board), false, false), "{:?}", open_devices(&mut board));
}

#[test]
fn a_webcam_of_a_board_from_rest() {
    let mut board = Board::boot("vhci-hcd,uvcvideo,snd-aloop");
    board.put("fake_uvc.py", &std::fs::read(crate::file("board/fake_uvc.py")).unwrap());
    board.put("movie.mjpeg", &jpeg::movie(320, 240, 100));
    board.plug_webcam("--size 320x240 --fps 10 --name 'Imaginary Webcam'");
    let address =
        board.start_daemon("[video]\nsize = \"320x240\"\nframe_rate = 10\n[audio]\ndevice = \"off\"\n");
    let (_, idle) = until(address, "idle", SOON, state("video", "idle"));
    assert_eq!(idle["video"]["negotiated"]["format"], "MJPG", "{idle:#}");
    assert!(has(&open_devices(&mut board), false, false));
    runtime().block_on(async {
        for _ in 0..2 {
            until(address, "closed", LINGER + SOON, state("video", "idle"));
            let viewer = join(address, "10.77.0.1:0").await;
            let cold = viewer.first;
            viewer.leave(address).await;
            let viewer = join(address, "10.77.0.1:0").await;
            println!(
                "webcam: offer to first packet of video {cold:.0?} from rest, {:.0?} open",
                viewer.first
            );
            viewer.leave(address).await;
        }
    });
}
