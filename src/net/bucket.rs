//! Token buckets: budgets that refill with time. Pure logic: the time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How fast a budget refills, and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Amount refilled per second.
    pub per_second: f64,
    /// Size of the budget: the most that can be spent at once.
    pub burst: f64,
}

/// A budget, which starts full.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    left: f64,
    /// Time of last use.
    at: Option<Instant>,
}

impl Bucket {
    /// A full budget.
    pub const fn full(rate: Rate) -> Self {
        Self { rate, left: rate.burst, at: None }
    }

    /// The amount left at `now`.
    pub fn left(&self, now: Instant) -> f64 {
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (self.left + since * self.rate.per_second).min(self.rate.burst)
    }

    /// Spends `cost` if that leaves at least `reserve`; otherwise spends nothing and returns false.
    pub fn spend(&mut self, cost: f64, reserve: f64, now: Instant) -> bool {
        let left = self.left(now) - cost;
        if left >= reserve {
            (self.left, self.at) = (left, self.at.max(Some(now)));
        }
        left >= reserve
    }

    /// Spends `cost` if enough is left; otherwise spends nothing and returns false.
    pub fn take(&mut self, cost: f64, now: Instant) -> bool {
        self.spend(cost, 0.0, now)
    }

    /// Puts `amount` back.
    pub fn refill(&mut self, amount: f64) {
        self.left = (self.left + amount).min(self.rate.burst);
    }

    /// How long until `cost` can be spent.
    pub fn wait(&self, cost: f64, now: Instant) -> Duration {
        let missing = (cost.min(self.rate.burst) - self.left(now)).max(0.0);
        Duration::try_from_secs_f64(missing / self.rate.per_second).unwrap_or(Duration::MAX)
    }

    /// Whether the budget is full: then it can be forgotten without loss.
    pub fn is_full(&self, now: Instant) -> bool {
        self.left(now) >= self.rate.burst
    }
}

/// Budgets for a bounded number of keys.
#[derive(Debug)]
pub struct Buckets<K> {
    most: usize,
    buckets: HashMap<K, Bucket>,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    /// Starts empty; at most `most` budgets are remembered.
    pub fn new(most: usize) -> Self {
        Self { most, buckets: HashMap::new() }
    }

    /// The budget of `key`, which begins with `rate`. If there are too many budgets, full ones are forgotten, or else
    /// the fullest.
    pub fn of(&mut self, key: K, rate: Rate, now: Instant) -> &mut Bucket {
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= self.most {
                let fullest =
                    self.buckets.iter().max_by(|(_, a), (_, b)| a.left(now).total_cmp(&b.left(now)));
                let fullest = fullest.map(|(key, _)| *key);
                fullest.map(|key| self.buckets.remove(&key));
            }
        }
        self.buckets.entry(key).or_insert_with(|| Bucket::full(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::full(RATE);
        assert!((0..3).all(|_| bucket.spend(1.0, 0.0, start)) && !bucket.spend(1.0, 0.0, start));
        assert_eq!(bucket.wait(1.0, at(0)), Duration::from_millis(500));
        assert!(!bucket.spend(1.0, 0.0, at(499)) && bucket.spend(1.0, 0.0, at(501)));
        assert!(!bucket.spend(1.0, 0.0, at(501)));
        // Regardless of the time, a budget never exceeds its burst.
        let spent = (0..10).filter(|_| bucket.spend(1.0, 0.0, at(3_600_000))).count();
        assert_eq!(spent, 3);
        assert!(!bucket.is_full(at(3_601_000)) && bucket.is_full(at(3_602_000)));
    }

    #[test]
    fn a_reserve_is_for_others() {
        let now = Instant::now();
        let mut bucket = Bucket::full(RATE);
        assert!(bucket.spend(1.0, 2.0, now) && !bucket.spend(1.0, 2.0, now));
        assert!(bucket.spend(1.0, 0.0, now), "others may use the reserve");
        bucket.refill(100.0);
        assert!(bucket.is_full(now));
    }

    #[test]
    fn each_key_has_its_own_and_few_are_remembered() {
        let (mut buckets, now) = (Buckets::new(8), Instant::now());
        assert!((0..3).all(|_| buckets.of(0, RATE, now).take(1.0, now)));
        for key in 1..1000 {
            assert!(buckets.of(key, RATE, now).take(1.0, now));
            assert!(buckets.buckets.len() <= 8);
        }
        assert!(!buckets.of(0, RATE, now).take(1.0, now), "the emptiest is remembered longest");
        let later = now + Duration::from_secs(10);
        buckets.of(1000, RATE, later);
        assert_eq!(buckets.buckets.len(), 1, "the full ones were forgotten");
    }

    #[test]
    fn a_time_before_the_last_one_refills_nothing() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::full(RATE);
        assert!((0..3).all(|_| bucket.spend(1.0, 0.0, now)));
        assert!(!bucket.spend(1.0, 0.0, now - Duration::from_secs(5)));
        assert!(!bucket.spend(1.0, 0.0, now), "the same time refills only once");
    }
}
