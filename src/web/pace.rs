//! How fast a page may send messages. Pure policy.

use std::time::{Duration, Instant};

use crate::net::{Bucket, Rate};

/// Messages of a page. It sends some forty when it joins (an offer, its candidates, clock exchanges), as many when its
/// network changes, and then one now and then.
const MESSAGES: Rate = Rate { per_second: 20.0, burst: 200.0 };
/// Faster than that for the third time, and the socket is closed: our page never is.
const BREACHES: u32 = 3;
/// A breach is forgotten after this time without another.
const FORGIVEN: Duration = Duration::from_secs(60);

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Handle,
    /// It is refused, and the page is told so.
    Refuse,
    /// The socket is closed.
    Close,
}

/// The messages of one socket.
#[derive(Debug)]
pub struct Pace {
    bucket: Bucket,
    breaches: u32,
    last: Instant,
}

impl Pace {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { bucket: Bucket::full(MESSAGES), breaches: 0, last: now }
    }

    /// One more, of any kind. After a breach there is room for half a burst, so that one burst is one breach.
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

    /// How many messages come before the socket is closed, at so many in a second, and how many of them are refused.
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
        // A page that joins again and again, each time with all that it has to say at once.
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
