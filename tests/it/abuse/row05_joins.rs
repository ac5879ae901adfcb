//! Row 5: offers that nobody follows up, and viewers that join and leave as fast as they can.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Flat, Scene, Target, sockets};

const LOAD: Duration = Duration::from_secs(6);
/// An offer of Chromium.
const OFFER: &str = include_str!("../../data/offer-chromium-156.sdp");

/// Sends requests on four connections at once until the time is over; returns the number of each status.
fn by_whep(target: &Target, follow: impl Fn(&Target, &str) + Sync, pause: Duration) -> BTreeMap<u16, u32> {
    let codes = std::sync::Mutex::new(BTreeMap::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while start.elapsed() < LOAD {
                    let answer = target.guest.ask(target.web, "POST", "/whep", "application/sdp", OFFER);
                    let Ok(answer) = answer else { continue };
                    *codes.lock().unwrap().entry(answer.code).or_default() += 1;
                    if let Some(resource) = answer.header("location") {
                        follow(target, resource);
                    }
                    std::thread::sleep(pause);
                }
            });
        }
    });
    codes.into_inner().unwrap()
}

#[test]
fn bare_offers_by_whep() {
    Scene::new().under("bare offers by WHEP", Flat::FromFirstRound, |target| {
        let codes = by_whep(target, |_, _| (), Duration::from_millis(16));
        assert!(codes.get(&201).is_some_and(|n| *n < 80), "{codes:?}");
        format!("answered by status {codes:?} within {LOAD:?}")
    });
}

#[test]
fn joining_and_leaving_by_whep() {
    let scene = Scene::new();
    scene.under("joining and leaving by WHEP", Flat::FromFirstRound, |target| {
        let leave = |target: &Target, resource: &str| {
            let _ = target.guest.ask(target.web, "DELETE", resource, "application/sdp", "");
        };
        let codes = by_whep(target, leave, Duration::ZERO);
        assert!(codes.get(&201).is_some_and(|n| *n < 80), "{codes:?}");
        format!("answered by status {codes:?} within {LOAD:?}")
    });
    let lines = scene.count("viewer joined");
    assert!(lines < 40, "{lines} lines about joins");
}

/// Sends offers and leaves on one socket of the page, as fast as it is read; returns the number of answers.
fn by_page(socket: &mut TcpStream) -> usize {
    let offer = serde_json::json!({"type": "offer", "sdp": OFFER}).to_string();
    let both = [sockets::long_text(&offer), sockets::text(r#"{"type":"bye"}"#)].concat();
    let (start, mut answers, mut room) = (Instant::now(), 0, vec![0; 64 * 1024]);
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    while start.elapsed() < LOAD && socket.write_all(&both).is_ok() {
        match socket.read(&mut room) {
            Ok(0) => break,
            Ok(read) => {
                answers += String::from_utf8_lossy(&room[..read]).matches(r#""type":"answer""#).count()
            }
            Err(_) => {}
        }
    }
    answers
}

#[test]
fn joining_and_leaving_by_the_page() {
    Scene::new().under("joining and leaving by the page", Flat::FromFirstRound, |target| {
        let start = Instant::now();
        let (mut answers, mut opened) = (0, 0);
        while start.elapsed() < LOAD {
            let Some(mut socket) = sockets::open(None, target.web, &target.guest) else { continue };
            opened += 1;
            answers += by_page(&mut socket);
        }
        assert!(answers < 80, "{answers} joins");
        format!("{answers} joins on {opened} sockets within {LOAD:?}")
    });
}
