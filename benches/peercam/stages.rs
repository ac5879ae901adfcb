//! Measures the delay inside the daemon, stage by stage: capture to conversion, conversion and encoding, and from there
//! to a viewer's socket on loopback (queue, SRTP, UDP). Also measures the cost of scaling.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use peercam::board::addresses;
use peercam::capture::VideoSource as _;
use peercam::capture::pattern::Pattern;
use peercam::clock::{AUDIO_HZ, Clocks, Pts, RtpClock, VIDEO_HZ};
use peercam::config::{self, Effort};
use peercam::encode::candidates::Candidates;
use peercam::encode::video::Settings;
use peercam::media::convert::Converter;
use peercam::media::frame::Size;
use peercam::media::i420::I420;
use peercam::media::scale::scale;
use peercam::pipeline::camera::{Camera, Cameras};
use peercam::pipeline::quality::Share;
use peercam::pipeline::video::{Context, Video};
use peercam::pipeline::worker::Threads;
use peercam::privacy::{Privacy, Private};
use peercam::status::Status;
use peercam::viewer::{Port, Registry, Signaling};
use rtc::interceptor::Packet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::{self, Client};
use crate::{quantile, row};

const CLOCKS: Clocks =
    Clocks { video: RtpClock { hz: VIDEO_HZ, offset: 7 }, audio: RtpClock { hz: AUDIO_HZ, offset: 7 } };
const FRAMES: usize = 300;

/// Measures all sizes.
pub(crate) fn measure() {
    scaling();
    rungs();
    for size in [Size::new(640, 480), Size::new(1280, 720)] {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(one(size));
    }
}

/// Measures scaling before encoding, in one thread, on a picture of noise.
fn scaling() {
    for size in [Size::new(1280, 720), Size::new(1920, 1080)] {
        let mut from = I420::new(size);
        let planes = from.planes_mut();
        for (n, sample) in planes.y.iter_mut().chain(planes.u).chain(planes.v).enumerate() {
            *sample = ((n as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
        }
        for (part, of) in [(1, 2), (1, 4), (3, 4)] {
            let mut to = I420::new(Size::new(size.width * part / of, size.height * part / of));
            let mut times: Vec<f64> = (0..FRAMES)
                .map(|_| {
                    let start = Instant::now();
                    scale(&from, black_box(&mut to));
                    start.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
            row(&format!("scaling {size} to {part}/{of}, p50 / p99"), &format!("{p50:.2} / {p99:.2} ms"));
        }
    }
}

/// Measures the encoding of each picture in one, two and three rungs, with scaling, in one thread: of the test picture,
/// and of one with noise, which needs all of its bitrate.
fn rungs() {
    for size in [Size::new(640, 480), Size::new(1280, 720)] {
        rungs_of("the test picture", Pattern::new(size, 30));
        rungs_of("noise", Pattern::new(size, 30).with_noise());
    }
}

fn rungs_of(what: &str, mut pattern: Pattern) {
    let (size, mut converter) = (pattern.mode().size, Converter::default());
    let mut pictures: Vec<_> = (0..30).map(|_| I420::new(size)).collect();
    for picture in &mut pictures {
        let frame = pattern.next(Duration::from_secs(1)).expect("no error").expect("a frame");
        converter.convert(&frame, picture).expect("converted");
    }
    let candidates = Candidates::default();
    let full_bps = config::Video::default().bitrate_bps;
    let mut rungs = Share::ALL.map(|share| {
        let (size, bitrate_bps) = (share.of(size), share.bitrate_bps(full_bps));
        let settings = Settings { size, fps: 30.0, bitrate_bps, effort: Effort::Low, level: None };
        (I420::new(size), candidates.make(settings).expect("an encoder"), Duration::ZERO)
    });
    for n in 0..FRAMES {
        let (pts, picture) = (Pts::from_micros(n as u64 * 33_333), &pictures[n % pictures.len()]);
        for (scaled, encoder, spent) in &mut rungs {
            let start = Instant::now();
            let picture = if scaled.size() == size {
                picture
            } else {
                scale(picture, scaled);
                scaled
            };
            black_box(encoder.encode(picture, pts, false).expect("encoded"));
            *spent += start.elapsed();
        }
    }
    let spent = rungs.map(|(_, _, spent)| spent.as_secs_f64() * 1e3 / FRAMES as f64);
    for count in 1..=spent.len() {
        let all: f64 = spent[..count].iter().sum();
        let figure = format!("{all:.2} ms, {:.2} of one", all / spent[0]);
        row(&format!("encoding {what}, {size} at {full_bps} bit/s, rungs: {count}"), &figure);
    }
}

async fn one(size: Size) {
    let (cameras, status) = (Cameras::new([Camera::new("camera", "Camera")]), Arc::new(Status::default()));
    let camera = cameras.all()[0].clone();
    let config = config::Video { device: config::CameraDevice::Pattern, size, ..Default::default() };
    let _video = Video::spawn(Context {
        threads: Threads::Only,
        config: watch::channel(config).1,
        stream: camera.video.clone(),
        status: status.source(),
        snapshots: camera.snapshots.clone(),
        clock: CLOCKS.video,
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
    let registry = Registry::new(cameras.clone(), status, port, 10);
    let mut client = Client::new(false).await;
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let offer = client::offer(client.offer().await, from, Signaling::Whep, &cameras);
    let answer = registry.join(offer).await.expect("an answer");
    client.accept(&answer.sdp).await;
    client.until(Connected).await;

    let mut beside = camera.video.subscribe();
    let (mut wait, mut work, mut wire, mut all) = (vec![], vec![], vec![], vec![]);
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let mut units = std::collections::HashMap::new();
    while all.len() < FRAMES {
        tokio::select! {
            unit = beside.recv() => { units.insert(unit.rtp_time, unit); }
            packet = client.packets.recv() => {
                let Some(Packet::Rtp(packet)) = packet else { continue };
                if !packet.header.marker {
                    continue;
                }
                let Some(unit) = units.remove(&packet.header.timestamp) else { continue };
                let now = Pts::now();
                wait.push(ms(unit.taken.since(unit.pts)));
                work.push(ms(unit.ready.since(unit.taken)));
                wire.push(ms(now.since(unit.ready)));
                all.push(ms(now.since(unit.pts)));
            }
        }
    }
    registry.close_all("measured").await;
    for (what, times) in [
        ("capture to last packet received", &mut all),
        ("of it: drawing and the slot", &mut wait),
        ("of it: conversion and encoding", &mut work),
        ("of it: hub, viewer, SRTP, UDP", &mut wire),
    ] {
        let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
        row(&format!("{what}, {size} at 30 fps, p50 / p99"), &format!("{p50:.1} / {p99:.1} ms"));
    }
}
