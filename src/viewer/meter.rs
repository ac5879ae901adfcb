//! Measures how fast a total grows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Pts;

/// Time over which the rate is measured, if it is read often enough.
const WINDOW: Duration = Duration::from_secs(2);

/// Computes a rate from a total that is read now and then.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Earlier totals, oldest first: one from at least [`WINDOW`] ago, and all since.
    seen: VecDeque<(Pts, u64)>,
}

impl Meter {
    /// Bits per second over the last two seconds, or since the last call if that is longer; `bytes` is the
    /// total.
    pub(super) fn bps(&mut self, bytes: u64, now: Pts) -> u64 {
        self.seen.push_back((now, bytes));
        while self.seen.get(1).is_some_and(|(then, _)| now.since(*then) >= WINDOW) {
            self.seen.pop_front();
        }
        let Some((then, before)) = self.seen.front() else { return 0 };
        let passed = now.since(*then).as_secs_f64();
        if passed > 0.0 { (bytes.saturating_sub(*before) as f64 * 8.0 / passed) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let at = |s: u64| Pts::from_micros(7_000_000 + s * 1_000_000);
        let mut meter = Meter::default();
        assert_eq!(meter.bps(0, at(0)), 0, "nothing is known yet");
        assert_eq!(meter.bps(125_000, at(1)), 1_000_000);
        assert_eq!(meter.bps(250_000, at(2)), 1_000_000);
        assert_eq!(meter.bps(250_000, at(3)), 500_000);
        assert_eq!(meter.bps(250_000, at(4)), 0);
        assert_eq!(meter.bps(1_250_000, at(12)), 1_000_000, "not read for long");
        for s in 13..1000 {
            meter.bps(1_250_000, at(s));
        }
        assert!(meter.seen.len() <= 3);
    }
}
