//! Decides when to send a keyframe: requests of all viewers become few IDRs. Pure policy; time is an
//! argument.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Pts;

/// Shortest time between keyframes for PLI and FIR of all viewers together: an IDR is some ten times as large
/// as another frame, and one serves everybody.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// Shortest time between keyframes for one viewer, so that a bad link costs the others little.
const MIN_INTERVAL_PER_VIEWER: Duration = Duration::from_secs(3);

/// A subscriber's number, assigned by the hub.
pub type SubscriberId = u64;

/// Collects requests and grants them within the limits above.
#[derive(Debug, Default)]
pub struct Keyframes {
    wished: bool,
    at_once: bool,
    /// Whether a picture that should become a keyframe is on its way; if it does, it answers all requests.
    coming: bool,
    last: Option<Pts>,
    caused: HashMap<SubscriberId, Pts>,
}

impl Keyframes {
    /// A viewer joined: it sees nothing before a keyframe, so this one is not delayed. It does not count as a
    /// request: a busy browser may start to listen only after it has passed, and its first request must not
    /// wait.
    pub fn join(&mut self) {
        self.at_once = true;
    }

    /// A viewer comes from another rung, which it sees meanwhile: this keyframe can be delayed, so that
    /// repeated changes cost the others no more than requests do.
    pub fn turn(&mut self) {
        self.wished = true;
    }

    /// A viewer lost something (PLI, FIR, or it lagged). A request above its own limit is dropped: browsers
    /// repeat theirs. Returns whether it was accepted.
    pub fn wish(&mut self, who: SubscriberId, now: Pts) -> bool {
        if self.at_once || self.coming {
            return true; // the next picture answers it
        }
        let free = self.caused.get(&who).is_none_or(|t| now.since(*t) >= MIN_INTERVAL_PER_VIEWER);
        if free {
            self.caused.insert(who, now);
            self.wished = true;
        }
        free
    }

    /// The only viewer sees nothing before the next keyframe. Returns whether the request was accepted: it may not
    /// have seen a keyframe that was sent just now.
    pub fn need(&mut self, now: Pts) -> bool {
        let just_sent = self.last.is_some_and(|t| now.since(t) < MIN_INTERVAL / 2);
        self.wished |= !just_sent;
        !just_sent || self.at_once || self.coming
    }

    /// Forgets a viewer.
    pub fn leave(&mut self, who: SubscriberId) {
        self.caused.remove(&who);
    }

    /// Whether the frame about to be encoded must be an IDR.
    pub fn due(&self, now: Pts) -> bool {
        let may = self.last.is_none_or(|t| now.since(t) >= MIN_INTERVAL);
        !self.coming && (self.at_once || self.wished && may)
    }

    /// The frame about to be encoded is to become an IDR.
    pub fn begin(&mut self) {
        self.coming = true;
    }

    /// It did not: all requests remain.
    pub fn missed(&mut self) {
        self.coming = false;
    }

    /// An IDR was encoded, whether requested or not: it answers all requests.
    pub fn sent(&mut self, now: Pts) {
        self.wished = false;
        self.at_once = false;
        self.coming = false;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn at(ms: u64) -> Pts {
        Pts::from_micros(1_000_000_000 + ms * 1000)
    }

    /// The times of keyframes, in ms, while each of some viewers requests one every 20 ms.
    fn sent(k: &mut Keyframes, viewers: Range<SubscriberId>, ms: Range<u64>) -> Vec<u64> {
        let wish = |ms: &u64| {
            for who in viewers.clone() {
                k.wish(who, at(*ms));
            }
            let due = k.due(at(*ms));
            if due {
                k.sent(at(*ms));
            }
            due
        };
        ms.step_by(20).filter(wish).collect()
    }

    #[test]
    fn fifty_wishes_a_second_from_ten_viewers_cost_two_keyframes_a_second() {
        let sent = sent(&mut Keyframes::default(), 0..10, 0..10_000);
        assert!(sent.windows(2).all(|w| w[1] - w[0] >= 500), "{sent:?}");
        assert!(sent.len() >= 4, "{sent:?}");
    }

    #[test]
    fn one_viewer_causes_one_in_three_seconds() {
        assert_eq!(sent(&mut Keyframes::default(), 7..8, 0..9_000), [0, 3000, 6000]);
    }

    #[test]
    fn a_join_is_not_held_back_and_one_keyframe_serves_several() {
        let mut k = Keyframes::default();
        k.sent(at(0));
        k.join();
        k.join();
        assert!(k.due(at(12)));
        k.sent(at(12));
        assert!(!k.due(at(13)));
    }

    #[test]
    fn one_on_its_way_answers_all_wishes_unless_it_fails() {
        let mut k = Keyframes::default();
        k.join();
        k.begin();
        k.join();
        assert!(k.wish(7, at(1)));
        assert!(!k.due(at(2)), "not a second keyframe");
        k.missed();
        assert!(k.due(at(3)), "the waiting viewers still wait");
        k.begin();
        k.sent(at(4));
        assert!(!k.due(at(5_000)));
        assert!(k.wish(7, at(5_000)), "the keyframe that answered it did not count");
    }

    #[test]
    fn changes_of_rung_cost_two_keyframes_a_second() {
        let mut k = Keyframes::default();
        let sent = (0..10_000).step_by(20).filter(|ms| {
            k.turn();
            let due = k.due(at(*ms));
            if due {
                k.sent(at(*ms));
            }
            due
        });
        assert_eq!(sent.collect::<Vec<_>>(), (0..20).map(|n| n * 500).collect::<Vec<_>>());
    }

    #[test]
    fn a_browser_that_missed_its_first_keyframe_soon_gets_another() {
        let mut k = Keyframes::default();
        k.join();
        assert!(k.wish(7, at(10)), "answered by the coming keyframe");
        k.sent(at(20));
        assert_eq!(sent(&mut k, 7..8, 40..6_000), [520, 3040]);
    }
}
