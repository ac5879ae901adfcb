//! Browsers with unusual transceivers: each must accept our answer by its own rules, connect, and see and
//! hear the daemon.

use serde_json::Value;

use crate::browser::Browser;
use crate::daemon::{Daemon, PATTERN};
use crate::{door, file};

/// How the sections of an offer share transports before the answer.
const POLICIES: [&str; 3] = ["balanced", "max-bundle", "max-compat"];

fn plays_whatever_is_offered(name: &str) {
    let daemon = Daemon::start(PATTERN);
    let mut browser = Browser::start(name);
    browser.tell(&serde_json::json!({"do": "visit", "url": daemon.url("/healthz")}));
    let code = std::fs::read_to_string(file("browser/offers.js")).expect("a script");
    let names = browser.eval(&format!("({code}).names"));
    let names: Vec<&str> = names.as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let mut faults = vec![];
    for (at, arrangement) in names.iter().enumerate() {
        // Arrangements that could be refused because of the bundle are tried with each policy.
        let first = matches!(*arrangement, "microphone-first" | "second-video-receives");
        // A browser can't remove a bundle that it has created.
        let start = if *arrangement == "not-bundled" { 0 } else { at };
        for policy in POLICIES.iter().cycle().skip(start).take(if first { 3 } else { 1 }) {
            let seen =
                browser.eval(&format!("({code}).whep({arrangement:?}, {policy:?}, {:?})", door::token()));
            let deaf = seen["mute"] == false && seen["packets"].as_f64().is_none_or(|n| n < 10.);
            let blind = seen["frames"].as_f64().is_none_or(|n| n < 5.);
            if seen["state"] != "connected" || blind || deaf {
                faults.push(format!("{name}, {arrangement}, {policy}: {seen:#}"));
            } else {
                println!("{name}, {arrangement}, {policy}: {} {}", seen["frames"], seen["directions"]);
            }
        }
    }
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), daemon.log());
}

#[test]
fn chromium_plays_whatever_it_offers() {
    plays_whatever_is_offered("chromium");
}

#[test]
fn firefox_plays_whatever_it_offers() {
    plays_whatever_is_offered("firefox");
}
