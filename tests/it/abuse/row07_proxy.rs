//! An address that the attacker makes up, sent through an nginx that the daemon trusts: guesses count for
//! their real source, and list and journal show the true address.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{Flat, Scene, Target};
use crate::daemon::status;
use crate::http::anybody;
use crate::nginx::{Nginx, documented_lines, forwarded_lines};

/// nginx, on the camera's host.
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 8080);
const ATTACKER: &str = "10.0.0.9";
/// More guesses than one source has in a minute: five at once, then after 1, 2, 4, 8 and 16 seconds.
const GUESSES_LET: u32 = 11;
const OFFER: &str = include_str!("../../data/offer-chromium-156.sdp");

/// Each request claims to come from elsewhere, in every possible way.
fn made_up(n: u32) -> [(&'static str, String); 3] {
    let address = format!("198.51.100.{}", n % 250);
    [
        ("Forwarded", format!("for={address};proto=https")),
        ("X-Forwarded-For", address.clone()),
        ("X-Real-IP", address),
    ]
}

fn ask(n: u32, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> (u16, String) {
    let made_up = made_up(n);
    let lines: Vec<_> =
        made_up.iter().map(|(name, value)| (*name, &**value)).chain(more.iter().copied()).collect();
    let answer = anybody(PROXY, method, path, &lines, body).expect("an answer");
    (answer.code, answer.header("location").unwrap_or_default().to_owned())
}

/// Guesses the owner's password.
fn guesses(_: &Target) -> String {
    let mut codes = BTreeMap::new();
    for n in 0..120 {
        let json = [("Content-Type", "application/json")];
        let (code, _) = ask(n, "POST", "/api/login", &json, "{\"password\":\"not the password\"}");
        *codes.entry(code).or_insert(0) += 1;
    }
    let (judged, refused) = (codes.get(&401).copied().unwrap_or(0), codes.get(&429).copied().unwrap_or(0));
    assert!(judged <= GUESSES_LET && judged + refused == 120, "answered by status {codes:?}");
    codes.iter().fold("120 guesses were answered".into(), |mut said, (code, times)| {
        let _ = write!(said, " {times} times {code}");
        said
    })
}

/// Joins by WHEP and leaves.
fn joins(target: &Target) -> String {
    let origin = format!("http://{PROXY}");
    let guest =
        [("Cookie", &*target.guest.cookies), ("Origin", &*origin), ("Content-Type", "application/sdp")];
    for n in 0..3 {
        let (code, resource) = ask(n, "POST", "/whep", &guest, OFFER);
        assert_eq!(code, 201);
        let status = status(target.web);
        let list = status["viewers"]["list"].as_array().expect("a list");
        let addresses: Vec<_> = list.iter().filter_map(|v| v["address"].as_str()).collect();
        assert!(addresses.contains(&ATTACKER), "{addresses:?}");
        assert!(!addresses.iter().any(|a| a.starts_with("198.51.100.")), "{addresses:?}");
        assert_eq!(ask(n, "DELETE", &format!("/{resource}"), &guest, "").0, 200);
    }
    "3 joins, listed under the true address".into()
}

fn row(web: &str, lines: fn(SocketAddr) -> String) {
    let scene = Scene::with(&format!("trusted_proxies = [\"127.0.0.1\"]\n{web}"));
    let upstream = SocketAddr::from(([127, 0, 0, 1], scene.web().port()));
    let _nginx = scene.at_camera(|| Nginx::start(&[(PROXY, lines(upstream))], false));
    scene.under("made-up addresses, guesses", Flat::FromFirstRound, guesses);
    scene.under("made-up addresses, joins", Flat::FromFirstRound, joins);
    assert_ne!(scene.count(ATTACKER), 0, "lines about the attacker");
    assert_eq!(scene.count("198.51.100."), 0, "lines about forged addresses");
}

#[test]
fn through_the_readmes_nginx() {
    row("", documented_lines);
}

#[test]
fn through_an_nginx_that_writes_forwarded() {
    row("proxy_header = \"forwarded\"\n", forwarded_lines);
}
