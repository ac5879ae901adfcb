//! The recent use of each source: its connections and requests, which decay by half in `HALF`. Pure logic.
//!
//! This distinguishes sources with high and low use. It is not a limit: while there is room for all, no source is
//! refused because of its use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::net::{Bucket, Rate, Source};

/// Half-life of the use: long enough to distinguish minutes of use from opening a page.
const HALF: Duration = Duration::from_secs(30);
/// Most sources that are remembered, which takes about 400 KB. After that, those with the lowest use are forgotten, a
/// quarter at a time to keep the cost low; they then count as newcomers.
const REMEMBERED: usize = 4096;

/// All sources.
#[derive(Debug)]
pub struct Usage {
    rate: Rate,
    sources: HashMap<Source, Used>,
}

#[derive(Debug)]
struct Used {
    count: f64,
    at: Instant,
    rate: Bucket,
}

impl Used {
    fn now(&self, now: Instant) -> f64 {
        let halves = now.saturating_duration_since(self.at).as_secs_f64() / HALF.as_secs_f64();
        self.count * (-halves).exp2()
    }
}

impl Usage {
    /// Starts without any use. Each source may open connections at this rate.
    pub fn new(rate: Rate) -> Self {
        Self { rate, sources: HashMap::new() }
    }

    /// Counts a connection or request.
    pub fn count(&mut self, source: Source, now: Instant) {
        let used = self.used(source, now);
        (used.count, used.at) = (used.now(now) + 1.0, used.at.max(now));
    }

    /// Spends `cost` of the source's rate; false if not enough is left.
    pub fn spend(&mut self, source: Source, cost: f64, now: Instant) -> bool {
        self.used(source, now).rate.take(cost, now)
    }

    /// The recent use of a source.
    pub fn of(&self, source: Source, now: Instant) -> f64 {
        self.sources.get(&source).map_or(0.0, |used| used.now(now))
    }

    fn used(&mut self, source: Source, now: Instant) -> &mut Used {
        if self.sources.len() >= REMEMBERED && !self.sources.contains_key(&source) {
            let mut all: Vec<f64> = self.sources.values().map(|u| u.now(now)).collect();
            let (_, quarter, _) = all.select_nth_unstable_by(REMEMBERED / 4, f64::total_cmp);
            let (quarter, mut left) = (*quarter, REMEMBERED / 4);
            // Of sources with equal use, as many as needed are forgotten.
            self.sources.retain(|_, u| {
                let forget = left > 0 && u.now(now) <= quarter;
                left -= usize::from(forget);
                !forget
            });
        }
        let rate = self.rate;
        self.sources.entry(source).or_insert_with(|| Used { count: 0.0, at: now, rate: Bucket::full(rate) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const RATE: Rate = Rate { per_second: 1.0, burst: 4.0 };

    fn host(n: u32) -> Source {
        Source::Host(IpAddr::V4(Ipv4Addr::from(n)))
    }

    #[test]
    fn half_is_forgotten_in_half_a_minute() {
        let (mut usage, start) = (Usage::new(RATE), Instant::now());
        for _ in 0..8 {
            usage.count(host(1), start);
        }
        assert_eq!(usage.of(host(1), start), 8.0);
        assert!((usage.of(host(1), start + HALF) - 4.0).abs() < 0.01);
        usage.count(host(1), start + HALF);
        assert!((usage.of(host(1), start + HALF) - 5.0).abs() < 0.01);
        assert_eq!(usage.of(host(2), start), 0.0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_greedy_are_remembered_longest() {
        let (mut usage, now) = (Usage::new(RATE), Instant::now());
        for _ in 0..50 {
            usage.count(host(0), now);
        }
        for n in 1..100_000 {
            usage.count(host(n), now);
            assert!(usage.sources.len() <= REMEMBERED);
        }
        assert_eq!(usage.of(host(0), now), 50.0);
        assert!(usage.sources.len() > REMEMBERED / 2, "no more is forgotten than necessary");
    }

    #[test]
    fn each_has_a_rate_of_its_own() {
        let (mut usage, now) = (Usage::new(RATE), Instant::now());
        assert_eq!((0..9).filter(|_| usage.spend(host(1), 1.0, now)).count(), 4);
        assert_eq!((0..99).filter(|_| usage.spend(host(2), 0.25, now)).count(), 16);
    }
}
