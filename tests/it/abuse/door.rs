//! Load on the daemon's ports while somebody watches: the picture does not freeze, and the owner can still
//! sign in.

use std::time::Duration;

use super::{Flat, Scene};
use crate::flood;

/// Duration of the load.
const LOAD: Duration = Duration::from_secs(8);

#[test]
fn a_thousand_connections_that_never_come_to_a_request() {
    Scene::new().under("1,000 slow connections", Flat::FromStart, |target| {
        let [early, late] = flood::slow_connections(target.web, 1000, LOAD);
        format!("{early} open after {:?}, {late} after {LOAD:?}", LOAD / 4)
    });
}

#[test]
fn two_hundred_guesses() {
    Scene::new().under("200 guesses", Flat::FromStart, |target| {
        let codes = flood::guesses(target.web, 200, LOAD / 2);
        format!("answered by status {codes:?} within {:?}", LOAD / 2)
    });
}

#[test]
fn twenty_thousand_forged_datagrams_a_second() {
    Scene::new().under("forged datagrams", Flat::FromStart, |target| {
        let sent = flood::datagrams(target.media, &target.victim, 20_000, LOAD);
        format!("{:.0} a second", f64::from(sent) / LOAD.as_secs_f64())
    });
}
