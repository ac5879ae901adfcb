//! Wall-clock time, as far as it can be believed, and dates for people. Small boards have no clock that runs without
//! power: until they get the time from the network, their clock starts in 1970 or at the last shutdown. A certificate
//! with such a date would be expired for every browser.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub type Unix = i64;

/// One day.
pub const DAY: Unix = 24 * 3600;

/// Time of the release, 2026-11-01. A clock that shows less is wrong. Updated with each release.
pub const RELEASED: Unix = 1_793_491_200;

/// Latest plausible time, long after the release: a clock that shows more is wrong, too.
const LAST: Unix = RELEASED + 20 * 365 * DAY;

/// The time that the clock shows.
pub fn clock() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(Unix::MAX))
}

/// Whether a clock that shows this time can be right.
pub fn plausible(clock: Unix) -> bool {
    (RELEASED..LAST).contains(&clock)
}

/// The best guess of the time: the clock, or, if that can't be right, the latest time known to have passed: `known`
/// (the creation of the last certificate) or the release.
pub fn believed(clock: Unix, known: Option<Unix>) -> Unix {
    if plausible(clock) {
        return clock;
    }
    known.filter(|k| plausible(*k)).unwrap_or(RELEASED)
}

/// Formats a date: `2026-11-20`.
pub fn date(at: Unix) -> String {
    time::OffsetDateTime::from_unix_timestamp(at).map_or_else(|_| at.to_string(), |t| t.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_may_be_right_is_believed() {
        let now = RELEASED + 400 * DAY;
        assert_eq!(believed(now, None), now);
        assert_eq!(believed(now, Some(now + 9 * DAY)), now, "even if the clock was ahead before");
    }

    #[test]
    fn one_that_cannot_be_right_is_replaced_by_what_is_known() {
        for wrong in [0, RELEASED - 1, LAST, Unix::MAX] {
            assert_eq!(believed(wrong, None), RELEASED);
            assert_eq!(believed(wrong, Some(RELEASED + DAY)), RELEASED + DAY);
            assert_eq!(believed(wrong, Some(0)), RELEASED);
            assert_eq!(believed(wrong, Some(LAST)), RELEASED);
        }
        assert_eq!(date(RELEASED), "2026-11-01");
    }
}
