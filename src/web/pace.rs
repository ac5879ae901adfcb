//! Limits how fast a page may send messages. Pure policy.

use std::time::{Duration, Instant};

use crate::net::{Bucket, Rate};

/// Rate of messages of a page. A page sends some forty when it joins (an offer, its candidates, clock exchanges), as
/// many when its network changes, and otherwise few.
const MESSAGES: Rate = Rate { per_second: 20.0, burst: 200.0 };
/// Breaches of the rate after which the socket is closed; our page never breaches it.
const BREACHES: u32 = 3;
/// Time after which a breach is forgotten if there was no other.
const FORGIVEN: Duration = Duration::from_secs(60);

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handle it.
    Handle,
    /// Refuse it with an error message.
    Refuse,
    /// Close the socket.
    Close,
}

/// Counts the messages of one socket.
#[derive(Debug)]
pub struct Pace {
    bucket: Bucket,
    breaches: u32,
    last: Instant,
}

impl Pace {
    /// Starts without messages.
    pub fn new(now: Instant) -> Self {
        Self { bucket: Bucket::full(MESSAGES), breaches: 0, last: now }
    }

    /// Counts a message of any kind. A breach refills half of the burst, so that one burst counts as one breach.
    pub fn message(&mut self, now: Instant) -> Verdict {
        if self.bucket.take(1.0, now) {
            return Verdict::Handle;
        }
        if now.saturating_duration_since(self.last) >= FORGIVEN {
            self.breaches = 0;
        }
        (self.breaches, self.last) = (self.breaches + 1, now);
        if self.breaches >= BREACHES {
            return Verdict::Close;
        }
        self.bucket.refill(MESSAGES.burst / 2.0);
        Verdict::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At a rate of messages per second: how many arrive before the socket is closed, and how many of them are refused.
    fn flood(per_second: u64, seconds: u64) -> (u64, u64, bool) {
        let start = Instant::now();
        let (mut pace, mut refused) = (Pace::new(start), 0);
        for n in 0..per_second * seconds {
            match pace.message(start + Duration::from_micros(n * 1_000_000 / per_second)) {
                Verdict::Handle => {}
                Verdict::Refuse => refused += 1,
                Verdict::Close => return (n, refused, true),
            }
        }
        (per_second * seconds, refused, false)
    }

    #[test]
    fn the_third_breach_closes() {
        let (count, refused, closed) = flood(200_000, 10);
        assert!(closed && refused == 2 && (400..450).contains(&count), "{count}, {refused}");
        let (count, refused, closed) = flood(100, 60);
        assert!(closed && refused == 2 && count < 600, "{count}, {refused}");
    }

    #[test]
    fn a_page_is_never_too_fast() {
        assert_eq!(flood(19, 3600), (19 * 3600, 0, false));
        // A page that joins repeatedly, each time with all its messages at once.
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for join in 0..100 {
            for _ in 0..60 {
                assert_eq!(pace.message(start + Duration::from_secs(3 * join)), Verdict::Handle);
            }
        }
    }

    #[test]
    fn a_breach_is_forgiven_after_a_minute() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for minute in 0..20 {
            let now = start + Duration::from_secs(61 * minute);
            let verdicts: Vec<_> = (0..250).map(|_| pace.message(now)).collect();
            assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Refuse).count(), 1);
            assert!(!verdicts.contains(&Verdict::Close));
        }
    }
}
