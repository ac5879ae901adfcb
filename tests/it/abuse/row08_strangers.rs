//! Row 8: strangers who keep connections open, or open them without pause, from one address or from
//! thousands.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Figures, Flat, OWNER, Scene};
use crate::daemon::{Daemon, PATTERN};
use crate::door;
use crate::flood::{Descriptors, claimed, connect_from};
use crate::http::{connect, exchange_over_tls, written};
use crate::lab::Switch;
use crate::ticker::Ticker;

const LOAD: Duration = Duration::from_secs(8);

/// Attacks, and runs `act` after `wait`, which may take no longer than the owner's acts; returns how long it
/// took.
fn in_the_midst(wait: Duration, attack: impl FnOnce(), act: impl FnOnce() + Send) -> Duration {
    let ticker = Ticker::start();
    let took = std::thread::scope(|scope| {
        let act = scope.spawn(|| {
            std::thread::sleep(wait);
            let start = Instant::now();
            act();
            ticker.took(start)
        });
        attack();
        act.join().expect("it succeeds")
    });
    assert!(took < OWNER, "{took:?}");
    took
}

#[test]
fn two_thousand_five_hundred_addresses_that_ask_three_times_a_second() {
    let scene = Scene::new();
    scene.under("2,500 addresses at 3 requests a second", Flat::FromStart, |target| {
        let mut asked = 0;
        // At first every address has sent as few requests as the phone, so the phone has no advantage.
        let attack = || asked = ask_from_everywhere(target.web);
        let phone = in_the_midst(LOAD * 3 / 4, attack, || scene.new_phone());
        format!("{asked} requests in {LOAD:?}; a new phone signed in within {phone:.1?}")
    });
}

/// Three requests a second from each of 2,500 addresses; returns the number of requests.
fn ask_from_everywhere(web: SocketAddr) -> u32 {
    let _room = Descriptors::room_for(2700);
    let request = format!("GET / HTTP/1.1\r\nHost: {web}\r\n\r\n");
    let (start, mut asked, mut room) = (Instant::now(), 0, vec![0; 64 * 1024]);
    let mut open: Vec<Option<TcpStream>> = (0..2500).map(|_| None).collect();
    while start.elapsed() < LOAD {
        let round = Instant::now();
        for (n, slot) in open.iter_mut().enumerate() {
            if slot.is_none() {
                *slot = connect_from(claimed(n as u32), web);
            }
            let Some(stream) = slot else { continue };
            let gone = loop {
                match stream.read(&mut room) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(e) => break !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
                }
            };
            if gone {
                *slot = None;
            } else if stream.write(request.as_bytes()).is_ok() {
                asked += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(333).saturating_sub(round.elapsed()));
    }
    asked
}

#[test]
fn one_neighbour_that_connects_sixty_times_a_second() {
    let scene = Scene::new();
    scene.attacker.sh("for n in $(seq 256 275); do ip addr add fd00::$(printf %x $n)/64 dev eth0; done");
    for sources in [1u16, 20] {
        scene.under(
            &format!("60 connects a second from {sources} addresses of the home's /64"),
            Flat::FromStart,
            |target| {
                let web = SocketAddr::from((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), target.web.port()));
                let (start, mut open) = (Instant::now(), vec![]);
                for n in 0..(LOAD.as_secs() as u32 * 60) {
                    let from = 0x100 + u16::try_from(n % 20).expect("small") % sources;
                    open.extend(connect_from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, from), web));
                    std::thread::sleep(
                        (LOAD / (LOAD.as_secs() as u32 * 60) * n).saturating_sub(start.elapsed()),
                    );
                }
                // Somebody else in the same network, meanwhile.
                let mut stream = connect(Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).into()), web)
                    .expect("a neighbour connects");
                let request = format!("GET /healthz HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("answered");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                format!("{} connections", open.len())
            },
        );
    }
}

#[test]
fn silent_connections_to_the_media_port_keep_no_viewer_out() {
    let scene = Scene::new();
    for (what, sources) in [("one address", 1), ("300 addresses", 300)] {
        scene.under(
            &format!("400 silent connections to the media port from {what}"),
            Flat::FromStart,
            |target| {
                let _room = Descriptors::room_for(700);
                let media = SocketAddr::from(target.media);
                let silent = |n| connect_from(claimed(n % sources), media);
                let attack = || {
                    let (start, mut open) = (Instant::now(), (0..400).filter_map(silent).collect::<Vec<_>>());
                    // Also while the viewer joins.
                    while start.elapsed() < LOAD {
                        open.extend(silent(open.len() as u32));
                        std::thread::sleep(Duration::from_millis(50));
                    }
                };
                let viewer = in_the_midst(LOAD / 4, attack, || scene.tcp_viewer());
                format!("a viewer over TCP had a picture within {viewer:.1?}")
            },
        );
    }
}

/// The first part of a TLS ClientHello, after which nothing follows.
const HALF_A_GREETING: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// A daemon on HTTPS.
struct Secure {
    web: SocketAddr,
    authority: Vec<u8>,
}

impl Secure {
    /// Sends a request from an address of this host.
    fn ask(&self, from: IpAddr, method: &str, path: &str, body: &str) -> Result<(), String> {
        let (web, origin) = (self.web, format!("https://{}", self.web));
        let headers = [("Origin", &*origin), ("Content-Type", "application/json")];
        let text = written(web, method, path, &headers, body);
        let answer = connect(Some(from), web)
            .and_then(|stream| exchange_over_tls(stream, &self.authority, &web.ip().to_string(), &text));
        answer
            .map_err(|e| e.to_string())
            .and_then(|a| if a.code == 200 { Ok(()) } else { Err(format!("{a:?}")) })
    }

    fn page(&self, from: IpAddr) -> Result<(), String> {
        self.ask(from, "GET", "/", "")
    }

    /// Signs in as the owner.
    fn sign_in(&self, from: IpAddr) -> Result<(), String> {
        let body = format!(r#"{{"password":"{}"}}"#, door::PASSWORD);
        self.ask(from, "POST", "/api/login", &body)
    }
}

/// Not a [`Scene`], whose daemon serves plain HTTP.
#[test]
fn a_hundred_half_open_handshakes_a_second_from_ten_addresses() {
    let switch = Switch::new();
    let camera = switch.join("camera", "10.0.0.2/24");
    let owner = switch.join("owner", "10.0.0.4/24 10.0.0.5/24");
    let attacker = switch.join("attacker", "10.0.0.9/24");
    attacker.sh("for n in $(seq 20 29); do ip addr add 10.0.0.$n/24 dev eth0; done");
    let config = format!("{PATTERN}[web]\naddress = \"0.0.0.0\"\ntls = \"auto\"\nhttp_port = 0\n");
    let daemon = camera.inside(|| Daemon::start(&config));
    let web = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), daemon.address().port()));
    let secure = Secure { web, authority: std::fs::read(daemon.state_dir().join("ca.pem")).expect("made") };
    let [desk, phone] = [4, 5].map(|n| IpAddr::from([10, 0, 0, n]));
    let figures = || {
        let status: Value = serde_json::from_str(&daemon.command(&["status", "--json"])).expect("JSON");
        Figures::of(daemon.id(), &status)
    };
    let (ticker, over) = (Ticker::start(), AtomicBool::new(false));
    owner.inside(|| secure.sign_in(desk)).expect("signed in");
    let (before, start) = (figures(), Instant::now());
    let attack = || {
        let _room = Descriptors::room_for(2000);
        let (begun, mut open) = (Instant::now(), vec![]);
        for round in 1.. {
            for n in 20..30 {
                let stream = connect(Some(Ipv4Addr::new(10, 0, 0, n).into()), web);
                open.extend(stream.and_then(|mut s| s.write_all(&HALF_A_GREETING).map(|()| s)));
            }
            if over.load(Ordering::Relaxed) || begun.elapsed() > 3 * LOAD {
                break;
            }
            std::thread::sleep((Duration::from_millis(100) * round).saturating_sub(begun.elapsed()));
        }
        open.len()
    };
    let timed = |done: &dyn Fn() -> Result<(), String>| {
        let start = Instant::now();
        done().map(|()| ticker.took(start))
    };
    let act = || {
        let again = (0..30).map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            timed(&|| secure.page(desk))
        });
        let mut times: Vec<_> = again.collect();
        times.push(timed(&|| secure.page(phone)));
        times.push(timed(&|| secure.sign_in(phone)));
        times
    };
    let (opened, times) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| attacker.inside(attack));
        std::thread::sleep(LOAD / 4);
        let times = owner.inside(act);
        over.store(true, Ordering::Relaxed);
        (attack.join().expect("it ended by itself"), times)
    });
    ticker.judge(start, Instant::now());
    let after = before.wait_for_flat("half-open handshakes", figures);
    let served: Vec<_> = times.iter().flatten().collect();
    println!(
        "{opened} half-open handshakes: {before} before, {after} after; of 30 requests at the owner's desk and 2 on a new \
         phone {} were served, the slowest within {:.1?}",
        served.len(),
        served.iter().max().map_or(Duration::ZERO, |t| **t)
    );
    assert!(times.iter().all(|t| t.as_ref().is_ok_and(|t| *t < OWNER)), "{times:?}");
}
