//! A rate with a burst (token bucket). Pure, with the time as an argument.

use std::time::Instant;

/// What may still be had.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// Full.
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, level: burst, at: None }
    }

    /// Takes so much if it is there.
    pub fn take(&mut self, now: Instant, amount: f64) -> bool {
        let passed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(self.at.map_or(now, |at| at.max(now))); // a clock that went back gives nothing twice
        self.level = (self.level + passed * self.per_second).min(self.burst);
        let there = self.level >= amount;
        if there {
            self.level -= amount;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (start, mut bucket) = (Instant::now() + Duration::from_secs(9), Bucket::new(4.0, 8.0));
        let mut taken = |ms: i64| {
            let offset = Duration::from_millis(ms.unsigned_abs());
            bucket.take(if ms < 0 { start - offset } else { start + offset }, 1.0)
        };
        assert_eq!((0..100).filter(|_| taken(0)).count(), 8);
        assert_eq!((0..10_000).filter(|ms| taken(*ms)).count(), 39);
        assert_eq!((0..100).filter(|_| taken(-5_000)).count(), 0);
        assert_eq!((0..100).filter(|_| taken(10_000)).count(), 1);
        assert_eq!((0..100).filter(|_| taken(60_000)).count(), 8);
    }
}
