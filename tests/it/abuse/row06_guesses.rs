//! Somebody who knows the household's password guesses the owner's: with successful logins of their own in
//! between, and with a fresh device cookie for every five guesses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Flat, Scene, Target};
use crate::door::PASSWORD;
use crate::http::{Response, exchange_from, request, written};

const HOUSEHOLD: &str = "tea for two";
/// How long they guess.
const TIME: Duration = Duration::from_secs(8);
/// Guesses that a stranger has in that time: five at once, and after 1, 3 and 7 s; and one for clock
/// differences.
const STRANGERS: u32 = 9;

#[test]
fn the_households_password_helps_nobody_to_guess_the_owners() {
    let scene = Scene::new();
    let owner = |web| {
        let body = format!(r#"{{"old":"{PASSWORD}","new":"{HOUSEHOLD}","role":"viewer"}}"#);
        request(web, "POST", "/api/password", &[("Content-Type", "application/json")], &body)
    };
    let mut set = None;
    let own = |target: &Target| guess(target.web, Ipv4Addr::new(10, 9, 1, 1), 1);
    let fresh = |target: &Target| guess(target.web, Ipv4Addr::new(10, 9, 1, 2), 5);
    let web = scene.web();
    scene.attacker.inside(|| set = Some(owner(web).expect("an answer").code));
    assert_eq!(set, Some(204));
    scene.under("guesses between own logins", Flat::FromStart, own);
    scene.under("guesses with fresh device cookies", Flat::FromStart, fresh);
}

/// Logs in with the household's password after every `each` guesses; returns the results of the guesses.
fn guess(web: SocketAddr, from: Ipv4Addr, each: usize) -> String {
    let (start, mut tried, mut refused, mut logins) = (Instant::now(), 0, 0, 0);
    while start.elapsed() < TIME {
        let in_between = login(web, from, "", HOUSEHOLD);
        let cookies = match in_between.code {
            200 => in_between.cookies(),
            429 | 503 => String::new(), // it waits, too; and at this rate even connections have to
            _ => panic!("{in_between:?}"),
        };
        logins += u32::from(in_between.code == 200);
        for _ in 0..each {
            let answer = login(web, from, &cookies, "a guess at it");
            match answer.code {
                401 => tried += 1,
                429 | 503 => refused += 1,
                _ => panic!("{answer:?}"),
            }
        }
    }
    assert!(
        tried <= STRANGERS,
        "{tried} guesses were looked at, {refused} refused, with {logins} own logins"
    );
    format!("{tried} guesses looked at, {refused} refused, {logins} own logins")
}

fn login(web: SocketAddr, from: Ipv4Addr, cookies: &str, password: &str) -> Response {
    let body = format!(r#"{{"password":"{password}"}}"#);
    let origin = format!("http://{web}");
    let mut headers = vec![("Origin", &*origin), ("Content-Type", "application/json")];
    headers.extend((!cookies.is_empty()).then_some(("Cookie", cookies)));
    let text = written(web, "POST", "/api/login", &headers, &body);
    exchange_from(from.into(), web, &text).expect("an answer")
}
