//! CPU and memory for each further viewer: access units of 2 Mbit/s at 30 frames a second and Opus packets go through the
//! hub and the viewers' WebRTC connections; the viewers are a process of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peercam::board::addresses;
use peercam::clock::{AUDIO_HZ, Clocks, Pts, RtpClock, VIDEO_HZ};
use peercam::config;
use peercam::media::h264::ProfileLevelId;
use peercam::media::unit::{AudioUnit, VideoUnit};
use peercam::net::Links;
use peercam::pipeline::hub::Hub;
use peercam::pipeline::snapshot::Snapshots;
use peercam::state::State;
use peercam::status::Status;
use peercam::viewer::{Port, Registry};
use peercam::web;
use peercam::web::auth::Auth;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::Client;
use crate::door;
use crate::http::request;
use crate::process::{Dir, Process};
use crate::{cpu, row};

const CLOCKS: Clocks =
    Clocks { video: RtpClock { hz: VIDEO_HZ, offset: 7 }, audio: RtpClock { hz: AUDIO_HZ, offset: 7 } };
/// Payloads of one access unit: 7 of 1,190 bytes, 30 times a second, are 2.0 Mbit/s.
const PAYLOADS: usize = 7;
const PAYLOAD: [u8; 1_190] = [0x41; 1_190];
const WINDOW: Duration = Duration::from_secs(15);

/// One viewer over WHEP; it receives as long as it is kept.
pub async fn join(address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let mut client = Client::new(true).await;
    client.join(address).await;
    tokio::spawn(async move { while client.packets.recv().await.is_some() {} })
}

/// The other process: joins so many viewers, says so, and receives until its input ends.
pub fn watch(address: &str, viewers: usize) {
    let address = address.parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _viewers: Vec<_> = (0..viewers).map(|_| runtime.block_on(join(address))).collect();
    println!("all there");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// 1, 10 and 50 viewers.
pub fn measure() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let (hub, status) = (Arc::new(Hub::default()), Arc::new(Status::default()));
    let web = config::Web {
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tls: config::Tls::Off,
        max_viewers: 100,
        ..Default::default()
    };
    let (_profile, profile_seen) = watch::channel(ProfileLevelId([0x42, 0xc0, 0x1f]));
    let ice = config::Ice { port: 0, ..Default::default() };
    let (_, addresses) = watch::channel(addresses::now());
    let links = Links::new(addresses.clone());
    let port = Port::open(&ice, addresses, status.clone()).expect("a free port");
    let registry = Registry::new(hub.clone(), status.clone(), CLOCKS, port, 100, profile_seen);
    let snapshots = Arc::new(Snapshots::new(hub.clone()));
    let listener = web::bind((web.address, 0).into(), &[]).expect("a port");
    let address = listener.local_addr().expect("an address");
    let door = web::Door { listener, speaks: web::Speaks::Plain };
    let dir = Dir::new();
    door::furnish(dir.path());
    let auth = Auth::new(State::open(dir.path()).expect("a state"));
    let (clocks, announced) = (CLOCKS, watch::channel(None).1);
    let settings = watch::channel(Arc::new(web::Settings { web, ice, tls: None, address })).1;
    let context = web::Context { registry, status, auth, snapshots, settings, clocks, links, announced };
    let stop = CancellationToken::new();
    let server = web::Server::new(Arc::new(context), stop.clone());
    let _door = server.open(door).expect("a listener");
    std::thread::spawn(move || publish(&hub));

    let mut figures = vec![];
    for viewers in [1, 10, 50] {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["crowd", &address.to_string(), &viewers.to_string()]).envs(door::keys());
        let mut crowd = Process::start("crowd", &mut command);
        crowd.said("all there", Duration::from_secs(120));
        std::thread::sleep(Duration::from_secs(2));
        let before = cpu(std::process::id());
        std::thread::sleep(WINDOW);
        let used = 100.0 * (cpu(std::process::id()) - before).as_secs_f64() / WINDOW.as_secs_f64();
        figures.push((f64::from(viewers), used, resident()));
        row(&format!("viewers at 2 Mbit/s: {viewers}"), &format!("{used:.1} % of a core"));
        drop(crowd);
        std::thread::sleep(Duration::from_secs(20)); // they left without a word
    }
    let [_, (few, cpu_few, rss_few), (many, cpu_many, rss_many)] = figures[..] else { return };
    let each = |a: f64, b: f64| (b - a) / (many - few);
    row(
        "each further viewer at 2 Mbit/s",
        &format!("{:.2} % of a core, {:.2} MB", each(cpu_few, cpu_many), each(rss_few, rss_many)),
    );
    stop.cancel();
}

fn publish(hub: &Hub) {
    let payload = Bytes::from_static(&PAYLOAD);
    let start = Pts::now();
    for n in 0u64.. {
        let due = start + Duration::from_millis(n * 20);
        std::thread::sleep(due.since(Pts::now()));
        let rtp_time = CLOCKS.audio.ticks(due);
        hub.publish_audio(Arc::new(AudioUnit { pts: due, rtp_time, payload: payload.slice(..120) }));
        // 30 pictures a second on a grid of 50 packets of sound: three of five.
        if [0, 2, 4].contains(&(n % 5)) {
            let payloads = vec![payload.clone(); PAYLOADS];
            let (rtp_time, idr) = (CLOCKS.video.ticks(due), hub.keyframe_due(due));
            hub.publish_video(Arc::new(VideoUnit {
                pts: due,
                taken: due,
                ready: due,
                rtp_time,
                idr,
                payloads,
            }));
        }
    }
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: f64 = text.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("pages");
    pages * 4096.0 / 1e6
}
