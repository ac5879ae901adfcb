//! With which estimate a viewer begins: with what its network carried when it last watched, as before a reload of the
//! page, or else with a guess. Pure policy; time is an argument.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Credential;

/// The first estimate, in bits per second: that of libwebrtc's `goog_cc` times three. A link that does not carry it is
/// rare, and one picture shows it.
pub(super) const GUESS_BPS: f64 = 1e6;
/// The same for a viewer in the same network, whose first picture should not wait.
const NEAR_BPS: f64 = 10e6;
/// The part of what a link carried with which a viewer begins: it may have become worse.
const PART: f64 = 0.8;
/// How long that is remembered: links change within hours.
const VALID: Duration = Duration::from_secs(3600);
/// Number of links that are remembered; the oldest is forgotten for a new one.
const MOST: usize = 64;

/// The links of viewers that have left.
#[derive(Debug, Default)]
pub(super) struct Starts {
    links: Mutex<VecDeque<Link>>,
}

/// A browser, as far as its credential shows, and the address at which its media arrived.
pub(super) type Key = (Credential, IpAddr);

/// What a link carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Carried {
    /// The last estimate, in bits per second.
    pub bps: f64,
    /// Whether that was all that the viewer could use, so that the link may carry more.
    pub is_all: bool,
}

#[derive(Debug)]
struct Link {
    key: Key,
    carried: Carried,
    at: Instant,
}

impl Starts {
    /// A viewer has left.
    pub(super) fn left(&self, key: Key, carried: Carried, now: Instant) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.key != key);
        if links.len() == MOST {
            links.pop_front();
        }
        links.push_back(Link { key, carried, at: now });
    }

    /// The estimate with which a viewer begins, in bits per second. `near` is whether the path is probably fast.
    pub(super) fn of(&self, key: Key, near: bool, now: Instant) -> f64 {
        let guess = if near { NEAR_BPS } else { GUESS_BPS };
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |link: &&Link| link.key == key && now.saturating_duration_since(link.at) < VALID;
        match links.iter().find(known).map(|link| link.carried) {
            Some(Carried { bps, is_all: true }) => guess.max(bps),
            Some(Carried { bps, is_all: false }) => PART * bps,
            None => guess,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(credential: u8, host: u8) -> Key {
        (Credential::new([credential; 32]), [192, 0, 2, host].into())
    }

    #[test]
    fn a_viewer_that_comes_back_begins_with_what_its_link_carried() {
        let (starts, now) = (Starts::default(), Instant::now());
        assert_eq!([true, false].map(|near| starts.of(key(1, 1), near, now)), [NEAR_BPS, GUESS_BPS]);
        starts.left(key(1, 1), Carried { bps: 400e3, is_all: false }, now);
        starts.left(key(1, 2), Carried { bps: 2.5e6, is_all: true }, now);
        assert_eq!([true, false].map(|near| starts.of(key(1, 1), near, now)), [320e3, 320e3]);
        assert_eq!([true, false].map(|near| starts.of(key(1, 2), near, now)), [NEAR_BPS, 2.5e6]);
        assert_eq!(starts.of(key(2, 1), false, now), GUESS_BPS, "somebody else there");
        assert_eq!(starts.of(key(1, 3), false, now), GUESS_BPS, "elsewhere");
        starts.left(key(1, 1), Carried { bps: 800e3, is_all: false }, now);
        assert_eq!(starts.of(key(1, 1), false, now), 640e3, "the last time counts");
        assert_eq!(starts.of(key(1, 1), false, now + VALID), GUESS_BPS);
    }

    #[test]
    fn few_links_are_remembered() {
        let (starts, now) = (Starts::default(), Instant::now());
        for n in 0..200 {
            starts.left(key(n, n), Carried { bps: 400e3, is_all: false }, now);
        }
        assert_eq!(starts.links.lock().expect("no panic").len(), MOST);
        assert_eq!(starts.of(key(199, 199), false, now), 320e3);
    }
}
