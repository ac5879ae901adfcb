//! Log lines about what strangers do: one a minute for each address, so that nobody can fill the journal. Pure logic.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Between two lines about one address.
const PAUSE: Duration = Duration::from_secs(60);
/// Addresses that are told apart; all further ones share one line a minute.
const APART: usize = 256;

/// Decides what is worth a line.
#[derive(Debug, Default)]
pub struct Hush {
    /// Of each address: when its last line was, and how much has been left out since. `None` is everybody else.
    said: HashMap<Option<IpAddr>, (Instant, u64)>,
}

impl Hush {
    /// Something that `from` did is worth a line: `Some` with how many were left out before it, or `None` if it has to
    /// be left out itself.
    pub fn may_say(&mut self, from: IpAddr, now: Instant) -> Option<u64> {
        let from = from.to_canonical();
        self.said.retain(|_, (last, _)| now.saturating_duration_since(*last) < 10 * PAUSE);
        let full = self.said.len() >= APART;
        let from = if full && !self.said.contains_key(&Some(from)) { None } else { Some(from) };
        match self.said.get_mut(&from) {
            Some((last, left_out)) if now.saturating_duration_since(*last) < PAUSE => {
                *left_out += 1;
                None
            }
            Some(said) => Some(std::mem::replace(said, (now, 0)).1),
            None => {
                self.said.insert(from, (now, 0));
                Some(0)
            }
        }
    }
}

/// ` (and 12 more like it)`, or nothing.
pub fn and_more(left_out: u64) -> String {
    if left_out == 0 { String::new() } else { format!(" (and {left_out} more before, not logged)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_each_address_with_a_count() {
        let (mut hush, t) = (Hush::default(), Instant::now());
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let s = Duration::from_secs;
        assert_eq!(hush.may_say(a, t), Some(0));
        for n in 0..500 {
            assert_eq!(hush.may_say(a, t + Duration::from_millis(n)), None);
        }
        assert_eq!(hush.may_say(b, t), Some(0));
        assert_eq!(hush.may_say(a, t + s(61)), Some(500));
        assert_eq!(hush.may_say(a, t + s(62)), None);
        assert_eq!(
            hush.may_say("::ffff:192.0.2.2".parse().unwrap(), t + s(59)),
            None,
            "the same in other clothes"
        );
    }

    #[test]
    fn more_addresses_than_can_be_told_apart_share_a_line() {
        let (mut hush, t) = (Hush::default(), Instant::now());
        let lines = (0..10_000u32).filter(|n| hush.may_say(n.to_be_bytes().into(), t).is_some()).count();
        assert_eq!(lines, APART + 1);
        assert!(hush.said.len() <= APART + 1);
        assert_eq!(and_more(3), " (and 3 more before, not logged)");
    }
}
