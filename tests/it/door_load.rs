//! Load on the daemon's doors while somebody watches: the picture does not freeze, and the owner still comes in.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::Client;
use crate::daemon::{Daemon, PATTERN};
use crate::door;
use crate::flood::{self, Victim};
use crate::http::anybody;
use crate::lab::{Host, Switch};

/// No longer without a picture, for whoever watches.
const FREEZE: Duration = Duration::from_millis(500);
/// From the owner's first request to the first picture.
const JOIN: Duration = Duration::from_secs(3);
/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(8);

const CAMERA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const MEDIA: u16 = 8189;

/// The camera, who watches it, its owner, and an attacker with 65,534 addresses, on one switch.
struct Scene {
    daemon: SocketAddr,
    viewer: Host,
    owner: Host,
    attacker: Host,
    _running: (Daemon, Host, Switch),
}

impl Scene {
    fn new() -> Self {
        let switch = Switch::new();
        let camera = Host::new("camera");
        switch.plug((&camera, "eth0", "10.0.0.2/24"));
        let plugged = |name, address: &str| {
            let host = Host::new(name);
            switch.plug((&host, "eth0", address));
            host
        };
        let (viewer, owner) = (plugged("viewer", "10.0.0.3/24"), plugged("owner", "10.0.0.4/24"));
        let attacker = plugged("attacker", "10.0.0.9/24");
        attacker.sh(&format!("ip route add local {} dev lo", flood::CLAIMED));
        camera.gateway("10.0.0.9");
        let daemon = camera.inside(|| {
            Daemon::start(&format!("{PATTERN}[ice]\nport = {MEDIA}\n[web]\naddress = \"0.0.0.0\"\n"))
        });
        let address = SocketAddr::from((CAMERA, daemon.address().port()));
        Self { daemon: address, viewer, owner, attacker, _running: (daemon, camera, switch) }
    }

    /// The viewer watches; two seconds later `load` begins, and after two more the owner signs in by password, at a browser
    /// that the owner has used before, and joins. Prints and judges how both fared.
    fn under(&self, what: &str, load: impl FnOnce(&Victim) -> String + Send) {
        let Self { daemon, viewer, owner, attacker, .. } = self;
        let device = owner.inside(|| sign_in(*daemon, ""));
        let stop = AtomicBool::new(false);
        let (watching, watched) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let stop = &stop;
            let watch = scope.spawn(move || {
                viewer.inside(|| {
                    let session = sign_in(*daemon, "");
                    block_on(async {
                        let mut viewer = Viewer::join(*daemon, "10.0.0.3:0", &session).await;
                        let calm = viewer.longest_gap(|since| since > Duration::from_secs(2)).await;
                        watching.send(viewer.victim.clone()).expect("somebody waits");
                        (calm, viewer.longest_gap(|_| stop.load(Ordering::Relaxed)).await)
                    })
                })
            });
            let victim = watched.recv_timeout(Duration::from_secs(20)).expect("a viewer watches");
            let load = scope.spawn(move || attacker.inside(|| load(&victim)));
            std::thread::sleep(Duration::from_secs(2));
            let joined = owner.inside(|| {
                block_on(async {
                    let start = Instant::now();
                    let session = sign_in(*daemon, &device);
                    let mut owner = Viewer::join(*daemon, "10.0.0.4:0", &session).await;
                    owner.longest_gap(|_| true).await;
                    start.elapsed()
                })
            });
            let load = load.join().expect("the load ended by itself");
            stop.store(true, Ordering::Relaxed);
            let (calm, gap) = watch.join().expect("the viewer watched to the end");
            println!(
                "{what}: {load}; longest gap {gap:.0?} (before: {calm:.0?}), the owner joined in {joined:.0?}"
            );
            assert!(gap < FREEZE, "{what}: no picture for {gap:?}");
            assert!(joined < JOIN, "{what}: the owner joined in {joined:?}");
        });
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    done
}

/// Signs in as the owner by password, from a browser with these cookies; those it has then.
fn sign_in(daemon: SocketAddr, cookies: &str) -> String {
    let origin = format!("http://{daemon}");
    let headers = [("Content-Type", "application/json"), ("Origin", &origin), ("Cookie", cookies)];
    let body = format!(r#"{{"password":"{}"}}"#, door::PASSWORD);
    let answer = anybody(daemon, "POST", "/api/login", &headers, &body).expect("an answer");
    assert_eq!(answer.code, 200, "{answer:?}");
    let set = answer.headers.lines().filter_map(|l| {
        let (name, value) = l.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().expect("at least one"))
    });
    set.collect::<Vec<_>>().join("; ")
}

/// Somebody who watches.
struct Viewer {
    client: Client,
    victim: Victim,
}

impl Viewer {
    /// Until it is connected.
    async fn join(daemon: SocketAddr, at: &'static str, cookies: &str) -> Self {
        let mut client = Client::at(at, false).await;
        let offer = client.offer().await;
        let origin = format!("http://{daemon}");
        let headers = [("Content-Type", "application/sdp"), ("Origin", &origin), ("Cookie", cookies)];
        let answer = anybody(daemon, "POST", "/whep", &headers, &offer).expect("an answer");
        assert_eq!(answer.code, 201, "{answer:?}");
        client.accept(&answer.body).await;
        client.until(Connected).await;
        let port = client.candidates().await[0].split(' ').nth(5).expect("a port").parse().expect("a number");
        let ip = at.split(':').next().expect("an address").parse().expect("IPv4");
        let ufrag =
            |sdp: &str| sdp.split("a=ice-ufrag:").nth(1).expect("ICE").lines().next().unwrap().to_owned();
        let username = format!("{}:{}", ufrag(&answer.body), ufrag(&offer));
        Self { client, victim: Victim { address: SocketAddrV4::new(ip, port), username } }
    }

    /// Counts the time between pictures, received whole, until `enough` of the time since the beginning.
    async fn longest_gap(&mut self, enough: impl Fn(Duration) -> bool) -> Duration {
        let start = Instant::now();
        let (mut last, mut longest) = (start, Duration::ZERO);
        loop {
            self.client
                .next("picture", |p| matches!(p, Packet::Rtp(p) if p.header.marker).then_some(()))
                .await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if enough(start.elapsed()) {
                return longest;
            }
        }
    }
}

#[test]
fn a_thousand_connections_that_never_come_to_a_request() {
    let scene = Scene::new();
    let daemon = scene.daemon;
    scene.under("1,000 slow connections", move |_| {
        let [early, late] = flood::slow_connections(daemon, 1000, LOAD);
        format!("{early} open after {:?}, {late} after {LOAD:?}", LOAD / 4)
    });
}

#[test]
fn two_hundred_guesses() {
    let scene = Scene::new();
    let daemon = scene.daemon;
    scene.under("200 guesses", move |_| {
        let codes = flood::guesses(daemon, 200, LOAD / 2);
        format!("answered by status {codes:?} within {:?}", LOAD / 2)
    });
}

#[test]
fn twenty_thousand_forged_datagrams_a_second() {
    let scene = Scene::new();
    scene.under("forged datagrams", |victim| {
        let sent = flood::datagrams(SocketAddrV4::new(CAMERA, MEDIA), victim, 20_000, LOAD);
        format!("{:.0} a second", f64::from(sent) / LOAD.as_secs_f64())
    });
}
