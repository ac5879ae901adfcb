//! A camera, a bystander who watches it, its owner, and an attacker, each on a host of its own, on one
//! switch.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use serde_json::Value;
use tokio::sync::mpsc;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use super::figures::{self, Figures, Flat, megabytes};
use crate::client::Client;
use crate::daemon::{Daemon, PATTERN};
use crate::door;
use crate::flood::{self, Victim};
use crate::http::{Response, anybody, exchange_from};
use crate::lab::{Host, Switch};
use crate::ticker::Ticker;

/// Longest time without a picture for the bystander.
const FREEZE: Duration = Duration::from_millis(500);
/// Longest time for everything that the owner does ([`Owner::acts`], [`Scene::new_phone`]).
pub(crate) const OWNER: Duration = Duration::from_secs(3);
/// The owner may also take this many times what it took undisturbed, if that is longer.
const OWNER_RATIO: u32 = 4;
/// How long the undisturbed bystander is observed.
const CALM: Duration = Duration::from_secs(2);
/// Shortest time of observation from an attack's start: of less, a busy machine may take more than half.
const WATCHED: Duration = Duration::from_secs(4);
/// Longest time for any answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The network of the owner's new phones, each of which has its own address.
const PHONES: &str = "10.8.0.0/16";
const PHONES_FROM: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 0);

/// The daemon's address, and the number of its media port.
const CAMERA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const MEDIA: u16 = 8189;

/// The scene.
pub(crate) struct Scene {
    /// What the attacker knows.
    target: Target,
    process: u32,
    viewer: Host,
    owner: Host,
    /// The source of attacks: 10.0.0.9 and fd00::9, and all of [`flood::CLAIMED`].
    pub attacker: Host,
    /// Cookies of the owner's browser, which has signed in before.
    known: String,
    /// Number of phones so far ([`Scene::new_phone`]).
    phones: AtomicU32,
    daemon: Daemon,
    camera: Host,
    _switch: Switch,
}

/// What an attack is aimed at.
#[derive(Clone)]
pub(crate) struct Target {
    /// The page's address.
    pub web: SocketAddr,
    /// The media port's address.
    pub media: SocketAddrV4,
    /// The bystander, as known from an intercepted offer and answer.
    pub victim: Victim,
    /// A guest link that the attacker has.
    pub guest: Guest,
}

/// A guest with a guest link.
#[derive(Clone)]
pub(crate) struct Guest {
    /// Cookies.
    pub cookies: String,
}

impl Guest {
    /// A request of the guest's browser.
    pub(crate) fn ask(
        &self,
        to: SocketAddr,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> std::io::Result<Response> {
        let origin = format!("http://{to}");
        let headers = [("Content-Type", kind), ("Origin", &*origin), ("Cookie", &*self.cookies)];
        anybody(to, method, path, &headers, body)
    }
}

impl Scene {
    /// A scene with the test picture and the tone.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with further lines for `[web]`.
    pub(crate) fn with(web: &str) -> Self {
        Self::around(|config| Daemon::start(&format!("{config}{web}")))
    }

    /// The same with a daemon that may open only this many files.
    pub(crate) fn with_files(files: u32) -> Self {
        Self::around(|config| Daemon::start_with_files(config, files))
    }

    fn around(start: impl FnOnce(&str) -> Daemon + Send) -> Self {
        let switch = Switch::new();
        let camera = switch.join("camera", "10.0.0.2/24 fd00::2/64");
        let viewer = switch.join("viewer", "10.0.0.3/24 fd00::3/64");
        let owner = switch.join("owner", "10.0.0.4/24 fd00::4/64");
        let attacker = switch.join("attacker", "10.0.0.9/24 fd00::9/64");
        attacker.sh(&format!("ip route add local {} dev lo", flood::CLAIMED));
        camera.gateway("10.0.0.9");
        owner.sh(&format!("ip route add local {PHONES} dev lo"));
        camera.sh(&format!("ip route add {PHONES} via 10.0.0.4"));
        let config = format!("{PATTERN}[ice]\nport = {MEDIA}\n[web]\naddress = \"::\"\n");
        let daemon = camera.inside(|| start(&config));
        let web = SocketAddr::from((CAMERA, daemon.address().port()));
        let known = owner.inside(|| sign_in(web, ""));
        let guest = owner.inside(|| guest(web, &known, "the attacker"));
        let victim = Victim { address: SocketAddrV4::new(CAMERA, 0), username: String::new() };
        let target = Target { web, media: SocketAddrV4::new(CAMERA, MEDIA), victim, guest };
        Self {
            target,
            process: daemon.id(),
            viewer,
            owner,
            attacker,
            known,
            phones: AtomicU32::new(0),
            daemon,
            camera,
            _switch: switch,
        }
    }

    /// A guest with a new guest link.
    pub(crate) fn guest(&self, label: &str) -> Guest {
        let (web, known) = (self.target.web, &self.known);
        self.owner.inside(|| guest(web, known, label))
    }

    /// The page's address.
    pub(crate) fn web(&self) -> SocketAddr {
        self.target.web
    }

    /// Runs `act` on the camera's host.
    pub(crate) fn at_camera<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.camera.inside(act)
    }

    /// Runs a command of the owner on the camera's host.
    pub(crate) fn command(&self, args: &[&str]) {
        self.camera.inside(|| self.daemon.command(args));
    }

    /// Number of log lines of the daemon with `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.daemon.count(text)
    }

    /// The owner opens the page on a phone that was never here before, and signs in.
    pub(crate) fn new_phone(&self) {
        let n = self.phones.fetch_add(1, Ordering::Relaxed) + 1;
        let from = Ipv4Addr::from(PHONES_FROM.to_bits() + n).into();
        let web = self.target.web;
        self.owner.inside(|| {
            let page = format!("GET / HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
            assert_eq!(exchange_from(from, web, &page).expect("the page").code, 200);
            let body = format!(r#"{{"password":"{}"}}"#, door::PASSWORD);
            let login = format!(
                "POST /api/login HTTP/1.1\r\nHost: {web}\r\nOrigin: http://{web}\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = exchange_from(from, web, &login).expect("an answer");
            assert_eq!(answer.code, 200, "{answer:?}");
        });
    }

    /// Somebody whose network allows only TCP joins, and sees a picture.
    pub(crate) fn tcp_viewer(&self) {
        let web = self.target.web;
        self.viewer.inside(|| {
            let cookies = sign_in(web, "");
            block_on(async {
                let mut viewer = Viewer::join_over_tcp(web, "10.0.0.3:0", &cookies).await;
                viewer.picture().await;
                viewer.leave(web, &cookies).await;
            });
        });
    }

    /// Runs the attack and checks its effects, as described at the top of the module. `attack` runs on the
    /// attacker's host, ends by itself and returns a description for the report.
    pub(crate) fn under(&self, what: &str, flat: Flat, attack: impl Fn(&Target) -> String + Send + Sync) {
        let (process, web) = (self.process, self.target.web);
        let (attacker, owner) = (&self.attacker, Owner { host: &self.owner, web, known: &self.known });
        let ticker = Ticker::start();
        let bystander = Bystander::watch(&self.viewer, self.target.web);
        let target = Target { victim: bystander.victim.clone(), ..self.target.clone() };
        let calm_from = Instant::now();
        std::thread::sleep(CALM);
        let calm = bystander.longest_gap(&ticker, calm_from, Instant::now());
        let undisturbed = owner.acts(&ticker, || ());
        if flat == Flat::FromFirstRound {
            attacker.inside(|| attack(&target));
            // Viewers that joined must be gone: a silent one stays for some seconds.
            owner.until_alone();
        }
        let now = || owner.host.inside(|| Figures::of(process, &crate::daemon::status(web)));
        let before = now();
        let (most, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let start = Instant::now();
        let (report, gap, acted) = std::thread::scope(|scope| {
            let _over = Over(&over); // even if something fails
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(figures::memory(process), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let attacking = scope.spawn(|| attacker.inside(|| attack(&target)));
            std::thread::sleep(Duration::from_millis(500)); // the attack has started by then
            let mut gap = Duration::ZERO;
            // Privacy stops all pictures, so it comes last, and the bystander is observed until then.
            let acted = owner.acts(&ticker, || {
                gap = bystander.longest_gap(&ticker, start, Instant::now());
            });
            let resumed = Instant::now();
            let report = attacking.join().expect("the attack ended by itself");
            std::thread::sleep(WATCHED.saturating_sub(start.elapsed()));
            if resumed.elapsed() > CALM {
                bystander.until_picture_after(resumed);
                gap = gap.max(bystander.longest_gap(&ticker, bystander.next_after(resumed), Instant::now()));
            }
            (report, gap, acted)
        });
        if flat == Flat::FromFirstRound {
            // One whose goodbye was lost in the flood has left when the device notices, ten seconds later.
            owner.until_alone();
        }
        let after = before.wait_for_flat(what, now);
        println!(
            "{what}: {report}\n  memory {} MB before, {} at most, {} after; descriptors {} and {}, tasks {} and {}\n  \
             longest gap {gap:.0?} (undisturbed {calm:.0?}); owner {acted} (undisturbed {undisturbed})",
            megabytes(before.memory),
            megabytes(most.into_inner()),
            megabytes(after.memory),
            before.descriptors,
            after.descriptors,
            before.tasks,
            after.tasks,
        );
        ticker.judge(start, Instant::now());
        assert!(gap < FREEZE.max(calm * 10), "{what}: no picture for {gap:.0?}");
        let most = OWNER.max(undisturbed.all() * OWNER_RATIO);
        assert!(acted.all() < most, "{what}: the owner needed {acted}; {most:.1?} are allowed");
    }
}

/// Sets the flag at the end of its scope.
pub(crate) struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The owner, with a browser that has signed in before.
struct Owner<'a> {
    host: &'a Host,
    web: SocketAddr,
    known: &'a str,
}

impl Owner<'_> {
    /// Signs in with the password, watches, revokes a guest link, and switches privacy on and off. `watched`
    /// is called when everything except privacy is done.
    fn acts(&self, ticker: &Ticker, watched: impl FnOnce() + Send) -> OwnerTime {
        let (web, known) = (self.web, self.known);
        let timed = |from: Instant| ticker.took(from);
        self.host.inside(|| {
            let start = Instant::now();
            let cookies = sign_in(web, known);
            let signed_in = timed(start);
            let start = Instant::now();
            block_on(async {
                let mut viewer = Viewer::join(web, "10.0.0.4:0", &cookies).await;
                viewer.picture().await;
                viewer.leave(web, &cookies).await;
            });
            let watched_in = timed(start);
            let start = Instant::now();
            let link = make_link(web, &cookies, "to be revoked");
            let path = format!("/api/guests/{}", link["id"].as_str().expect("a name"));
            assert_eq!(owner_asks(web, &cookies, "DELETE", &path, "").code, 204);
            let revoked = timed(start);
            watched();
            let start = Instant::now();
            for on in [true, false] {
                let body = format!(r#"{{"on":{on}}}"#);
                assert_eq!(owner_asks(web, &cookies, "POST", "/api/privacy", &body).code, 204);
            }
            OwnerTime { signed_in, watched: watched_in, revoked, privacy: timed(start) }
        })
    }

    /// Waits until only the bystander watches.
    fn until_alone(&self) {
        let web = self.web;
        self.host.inside(|| {
            crate::daemon::until(web, "the attacker's viewers gone", Duration::from_secs(60), |s| {
                s["viewers"]["count"] == 1
            });
        });
    }
}

/// How long each of the owner's acts took.
struct OwnerTime {
    signed_in: Duration,
    watched: Duration,
    revoked: Duration,
    privacy: Duration,
}

impl OwnerTime {
    fn all(&self) -> Duration {
        self.signed_in + self.watched + self.revoked + self.privacy
    }
}

impl std::fmt::Display for OwnerTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { signed_in, watched, revoked, privacy } = self;
        let all = self.all();
        write!(
            f,
            "{all:.1?}: signed in {signed_in:.1?}, watched {watched:.1?}, revoked {revoked:.1?}, privacy {privacy:.1?}"
        )
    }
}

/// A viewer that watches from beginning to end, and the time of each picture.
struct Bystander {
    victim: Victim,
    pictures: Arc<Mutex<Vec<Instant>>>,
    _runtime: Runtime,
}

impl Bystander {
    fn watch(host: &Host, web: SocketAddr) -> Self {
        let pictures = Arc::<Mutex<Vec<_>>>::default();
        let noted = pictures.clone();
        let (victim, runtime) = host.inside(|| {
            let cookies = sign_in(web, "");
            let runtime = Runtime::new(host);
            let victim = runtime.0.as_ref().expect("until drop").block_on(async move {
                let mut viewer = Viewer::join(web, "10.0.0.3:0", &cookies).await;
                viewer.picture().await;
                let victim = viewer.victim.clone();
                tokio::spawn(async move {
                    loop {
                        viewer.picture().await;
                        noted.lock().unwrap().push(Instant::now());
                    }
                });
                victim
            });
            (victim, runtime)
        });
        Self { victim, pictures, _runtime: runtime }
    }

    /// The longest time without a picture between two moments, not counting time that the machine lost.
    fn longest_gap(&self, ticker: &Ticker, from: Instant, to: Instant) -> Duration {
        let pictures = self.pictures.lock().unwrap();
        let mut edges = vec![from];
        edges.extend(pictures.iter().filter(|at| (from..to).contains(&**at)).copied());
        edges.push(to);
        ticker.longest(edges.windows(2).map(|pair| (pair[0], pair[1])))
    }

    fn next_after(&self, from: Instant) -> Instant {
        self.pictures.lock().unwrap().iter().find(|at| **at > from).copied().unwrap_or(from)
    }

    fn until_picture_after(&self, from: Instant) {
        while self.next_after(from) == from {
            assert!(from.elapsed() < PATIENCE, "the bystander has no picture for {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A runtime whose threads are on one host; dropping it ends everything on it, like a power cut.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// Created on its host: the threads that it starts inherit the network of the creating thread.
    fn new(_on: &Host) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(Some(runtime.expect("a runtime")))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a future on a new runtime, which ends with it.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    done
}

/// Signs in as the owner with the password, from a browser with these cookies; returns its cookies
/// afterwards.
pub(super) fn sign_in(web: SocketAddr, cookies: &str) -> String {
    let body = format!(r#"{{"password":"{}"}}"#, door::PASSWORD);
    let answer = owner_asks(web, cookies, "POST", "/api/login", &body);
    assert_eq!(answer.code, 200, "{answer:?}");
    answer.cookies()
}

fn owner_asks(web: SocketAddr, cookies: &str, method: &str, path: &str, body: &str) -> Response {
    let origin = format!("http://{web}");
    let headers = [("Content-Type", "application/json"), ("Origin", &*origin), ("Cookie", cookies)];
    anybody(web, method, path, &headers, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

/// Sends an offer like a WHEP player; returns the offer and the response.
async fn offered(web: SocketAddr, client: &Client, cookies: &str) -> (String, Response) {
    let offer = client.offer().await;
    let origin = format!("http://{web}");
    let headers = [("Content-Type", "application/sdp"), ("Origin", &*origin), ("Cookie", cookies)];
    let answer = anybody(web, "POST", "/whep", &headers, &offer).expect("an answer");
    assert_eq!(answer.code, 201, "{answer:?}");
    (offer, answer)
}

fn make_link(web: SocketAddr, cookies: &str, label: &str) -> Value {
    let body = format!(r#"{{"label":"{label}","hours":1}}"#);
    let made = owner_asks(web, cookies, "POST", "/api/guests", &body);
    assert_eq!(made.code, 201, "{made:?}");
    serde_json::from_str(&made.body).expect("JSON")
}

fn guest(web: SocketAddr, owner: &str, label: &str) -> Guest {
    let link = make_link(web, owner, label);
    let body = format!(r#"{{"secret":{}}}"#, link["secret"]);
    let came = owner_asks(web, "", "POST", "/api/guest", &body);
    assert_eq!(came.code, 200, "{came:?}");
    Guest { cookies: came.cookies() }
}

/// Somebody who watches.
struct Viewer {
    client: Client,
    resource: String,
    victim: Victim,
}

impl Viewer {
    /// Joins and waits for the connection. `at` is the viewer's address.
    async fn join(web: SocketAddr, at: &str, cookies: &str) -> Self {
        let client = Client::at(at, false).await;
        let (offer, answer) = offered(web, &client, cookies).await;
        client.accept(&answer.body).await;
        Self::connected(client, at, &offer, &answer).await
    }

    /// The same over TCP.
    async fn join_over_tcp(web: SocketAddr, at: &str, cookies: &str) -> Self {
        let client = Client::over_tcp_at(at, false).await;
        let (offer, answer) = offered(web, &client, cookies).await;
        client.connect_tcp(&answer.body, None).await;
        Self::connected(client, at, &offer, &answer).await
    }

    async fn connected(mut client: Client, at: &str, offer: &str, answer: &Response) -> Self {
        client.until(Connected).await;
        let port = client.candidates().await[0].split(' ').nth(5).expect("a port").parse().expect("a number");
        let Ok(IpAddr::V4(ip)) = at.split(':').next().expect("an address").parse() else {
            panic!("{at} is not IPv4")
        };
        let ufrag =
            |sdp: &str| sdp.split("a=ice-ufrag:").nth(1).expect("ICE").lines().next().unwrap().to_owned();
        let username = format!("{}:{}", ufrag(&answer.body), ufrag(offer));
        let resource = answer.header("location").expect("a resource").to_owned();
        Self { client, resource, victim: Victim { address: SocketAddrV4::new(ip, port), username } }
    }

    /// Waits for the end of the next picture.
    async fn picture(&mut self) {
        // Not `Client::next`, whose time limit is shorter than what privacy takes.
        let packets: &mut mpsc::UnboundedReceiver<Packet> = &mut self.client.packets;
        while !matches!(packets.recv().await.expect("it is connected"), Packet::Rtp(p) if p.header.marker) {}
    }

    async fn leave(self, web: SocketAddr, cookies: &str) {
        assert_eq!(owner_asks(web, cookies, "DELETE", &self.resource, "").code, 200);
        self.client.close().await;
    }
}
