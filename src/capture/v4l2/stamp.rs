//! The capture time of a buffer: the driver's timestamp if it is plausible.

use std::time::Duration;

use v4l::v4l_sys::{V4L2_BUF_FLAG_TIMESTAMP_MASK, V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, timeval};

use crate::clock::Pts;

/// How far a driver's timestamp may be ahead of our clock: it is rounded, and some drivers use the middle of
/// the exposure.
const AHEAD: Duration = Duration::from_millis(1);
/// A frame older than this means a wrong clock, not a delay of the camera.
const OLDEST: Duration = Duration::from_secs(1);

/// The capture time of a buffer dequeued at `now`: the driver's `stamp` if it is plausible and monotonic
/// according to `flags`, otherwise `now`. Always later than `last`, the previous capture time.
pub(super) fn capture_time(flags: u32, stamp: Pts, now: Pts, last: Option<Pts>) -> Pts {
    let monotonic = flags & V4L2_BUF_FLAG_TIMESTAMP_MASK == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    let plausible =
        stamp <= now + AHEAD && now.since(stamp) <= OLDEST && last.is_none_or(|last| stamp > last);
    let pts = if monotonic && plausible { stamp } else { now };
    match last {
        Some(last) if pts <= last => last + Duration::from_micros(1),
        _ => pts,
    }
}

/// Converts the kernel's time; negative times become zero.
pub(super) fn pts(time: timeval) -> Pts {
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Pts::from_micros(whole.saturating_mul(1_000_000).saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONOTONIC: u32 = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    const SECOND: u64 = 1_000_000;

    fn at(micros: u64) -> Pts {
        Pts::from_micros(micros)
    }

    #[test]
    fn the_driver_is_believed_when_it_may_be() {
        let now = at(100 * SECOND);
        let stamp = at(100 * SECOND - 30_000);
        assert_eq!(capture_time(MONOTONIC, stamp, now, None), stamp);
        assert_eq!(capture_time(MONOTONIC, stamp, now, Some(at(99 * SECOND))), stamp);
        // A timestamp slightly ahead is due to rounding.
        assert_eq!(capture_time(MONOTONIC, at(100 * SECOND + 900), now, None), at(100 * SECOND + 900));
    }

    #[test]
    fn else_it_is_the_time_of_dequeueing() {
        let now = at(100 * SECOND);
        let stamp = at(100 * SECOND - 30_000);
        assert_eq!(capture_time(0, stamp, now, None), now, "unknown clock");
        assert_eq!(
            capture_time(V4L2_BUF_FLAG_TIMESTAMP_MASK, stamp, now, None),
            now,
            "copied or unknown clock"
        );
        assert_eq!(capture_time(MONOTONIC, at(100 * SECOND + 1_100), now, None), now, "from the future");
        assert_eq!(capture_time(MONOTONIC, at(98 * SECOND), now, None), now, "too old");
        assert_eq!(capture_time(MONOTONIC, at(0), now, None), now, "never set");
        assert_eq!(capture_time(MONOTONIC, stamp, now, Some(stamp)), now, "twice the same");
    }

    #[test]
    fn time_never_stands_still() {
        let last = at(100 * SECOND + 500);
        assert_eq!(
            capture_time(MONOTONIC, at(99 * SECOND), at(100 * SECOND), Some(last)),
            at(100 * SECOND + 501)
        );
        assert_eq!(capture_time(0, at(0), at(100 * SECOND + 500), Some(last)), at(100 * SECOND + 501));
    }

    #[test]
    fn a_time_before_zero_is_no_panic() {
        assert_eq!(pts(timeval { tv_sec: -5, tv_usec: -1 }), at(0));
        assert_eq!(pts(timeval { tv_sec: 2, tv_usec: 7 }), at(2 * SECOND + 7));
    }
}
