//! Estimates the time of day for sessions and links. Pure policy: the caller passes the clocks.
//!
//! Sessions and guest links outlast a restart, so they are dated by the wall clock. Small boards have no clock that
//! runs without power: until they get the time from the network, their clock shows 1970 or the time of the last
//! shutdown, and then jumps by years. So the time is estimated:
//!
//! - A wall clock is not believed if it can't be right, or if it shows a time a day before the latest known from the
//!   last run. Time then continues from the latest known time, or from the release of this program, at the speed of the
//!   board's running time. So everything expires eventually, and nothing expires because of a wrong clock. Time without
//!   power is not counted; a link may live longer by that time, until a clock can be believed.
//! - If the clock jumps and is believed afterwards, everything that was dated in this run, or in earlier runs without a
//!   clock, is moved by the jump and keeps its remaining time. Older dates were made by a believed clock, and age by
//!   the jump.
//! - A clock that is set back revives nothing: expired credentials are removed for good.
//! - If a clock that was ahead was believed until the end of a run, it is not believed once it is right. Time continues
//!   from the wrong date, at the right speed, which shows only in lists.

use std::time::Duration;

use super::principal::DAY_S;
use crate::clock::running;
use crate::state::Lasting;
use crate::wall::{RELEASED, clock, plausible};

/// Smallest jump of the clock, seconds. Smaller differences are small corrections, and move nothing.
const JUMP_S: u64 = 60;

/// A reading of the clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The wall clock, seconds since 1970.
    pub wall: u64,
    /// Time since the board started, including sleep (CLOCK_BOOTTIME).
    pub running: Duration,
}

impl Look {
    /// Reads the clocks now.
    pub(super) fn now() -> Self {
        Self { wall: clock().unsigned_abs(), running: running() }
    }
}

/// A correction: dates from `from` on are wrong by `by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    from: u64,
    by: i64,
}

/// The estimated time.
#[derive(Debug)]
pub(super) struct Reckoning {
    /// The estimated time at the last reading, and the running time then.
    now: u64,
    at: Duration,
    /// Dates from this time on were made by the current clock, not by an earlier one.
    since: u64,
    /// The latest time known from the last run.
    known: u64,
    /// Dates from this time on were made without a clock.
    adrift: Option<u64>,
}

impl Reckoning {
    /// Starts from the state of the last run: the latest known time, and whether it had no clock to believe.
    pub(super) fn start(look: Look, lasting: &Lasting) -> (Self, Option<Correction>) {
        let (known, adrift) = (lasting.known_unix, lasting.adrift_unix);
        let reckoned = known.max(RELEASED as u64);
        let since = adrift.unwrap_or(reckoned);
        let mut this = Self { now: reckoned, at: look.running, since, known, adrift: Some(since) };
        if adrift.is_none() && this.believes(look.wall) {
            (this.now, this.since, this.adrift) = (look.wall, look.wall, None);
            return (this, None);
        }
        let (_, correction) = this.look(look);
        (this, correction)
    }

    /// The time now, if no clock was set since the last reading.
    pub(super) fn reached(&self, look: Look) -> u64 {
        self.now + look.running.saturating_sub(self.at).as_secs()
    }

    /// The time now, seconds since 1970, and a correction to apply before anything is compared with it.
    pub(super) fn look(&mut self, look: Look) -> (u64, Option<Correction>) {
        let reckoned = self.reached(look);
        // Only whole seconds are taken from `running`, so that frequent readings lose no time.
        if !self.believes(look.wall) {
            self.at += Duration::from_secs(reckoned - self.now);
            self.now = reckoned;
            self.adrift.get_or_insert(reckoned);
            return (self.now, None);
        }
        let by = look.wall as i64 - reckoned as i64;
        (self.now, self.at, self.adrift) = (look.wall, look.running, None);
        if by.unsigned_abs() <= JUMP_S {
            return (self.now, None);
        }
        let correction = Correction { from: self.since, by };
        self.since = self.since.saturating_add_signed(by);
        (self.now, Some(correction))
    }

    /// Since when there has been no clock to believe, for the next run.
    pub(super) fn adrift(&self) -> Option<u64> {
        self.adrift
    }

    fn believes(&self, wall: u64) -> bool {
        i64::try_from(wall).is_ok_and(plausible) && wall + DAY_S >= self.known
    }
}

impl Lasting {
    /// Corrects wrong dates.
    pub fn correct(&mut self, Correction { from, by }: Correction) {
        let moved = |date: u64| if date >= from { date.saturating_add_signed(by) } else { date };
        for token in &mut self.tokens {
            token.created_unix = moved(token.created_unix);
        }
        for session in &mut self.sessions {
            (session.created_unix, session.seen_unix) =
                (moved(session.created_unix), moved(session.seen_unix));
        }
        for device in &mut self.devices {
            device.seen_unix = moved(device.seen_unix);
        }
        for guest in &mut self.guests {
            let lasts = guest.expires_unix.saturating_sub(guest.created_unix);
            guest.created_unix = moved(guest.created_unix);
            guest.expires_unix = guest.created_unix.saturating_add(lasts);
        }
    }

    /// Corrects dates that are later than now, because a clock was ahead in the last run. They keep the age that they
    /// had by that clock, so they gain nothing.
    pub fn settle(&mut self, now: u64) {
        let ahead = self.known_unix.saturating_sub(now);
        let moved = |date: u64| if date > now { date.saturating_sub(ahead).min(now) } else { date };
        for session in &mut self.sessions {
            session.created_unix = moved(session.created_unix);
            session.seen_unix = moved(session.seen_unix);
        }
        for device in &mut self.devices {
            device.seen_unix = moved(device.seen_unix);
        }
        for guest in &mut self.guests {
            let lasts = guest.expires_unix.saturating_sub(guest.created_unix);
            guest.created_unix = moved(guest.created_unix);
            guest.expires_unix = guest.created_unix.saturating_add(lasts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: u64 = RELEASED as u64;
    const NOW: u64 = R + 400 * DAY_S;

    fn look(wall: u64, running_s: u64) -> Look {
        Look { wall, running: Duration::from_millis(running_s * 1000 + 700) }
    }

    fn start(look: Look, known_unix: u64, adrift_unix: Option<u64>) -> (Reckoning, Option<Correction>) {
        let mut lasting = Lasting::default();
        (lasting.known_unix, lasting.adrift_unix) = (known_unix, adrift_unix);
        Reckoning::start(look, &lasting)
    }

    #[test]
    fn a_clock_that_is_right_is_followed() {
        let (mut r, correction) = start(look(NOW, 5), NOW - 90 * DAY_S, None);
        assert_eq!((correction, r.adrift()), (None, None));
        assert_eq!(r.look(look(NOW + 10, 15)), (NOW + 10, None));
        assert_eq!(r.look(look(NOW + 40, 16)), (NOW + 40, None), "a small correction");
        assert_eq!(r.look(look(NOW + 39, 16)), (NOW + 39, None), "and back");
    }

    #[test]
    fn without_a_clock_time_goes_on_from_what_was_known() {
        for wall in [0, 40, R - 1, NOW - 2 * DAY_S, u64::MAX] {
            let (mut r, correction) = start(look(wall, 5), NOW, None);
            assert_eq!((correction, r.adrift()), (None, Some(NOW)));
            for second in 1..=100 {
                assert_eq!(r.look(look(wall.saturating_add(second), 5 + second)), (NOW + second, None));
            }
        }
        assert_eq!(start(look(0, 5), 0, None).0.look(look(0, 6)).0, R + 1, "the very first start");
    }

    #[test]
    fn when_the_clock_gets_right_what_was_dated_before_is_moved() {
        let (mut r, _) = start(look(3, 5), 0, None);
        assert_eq!(r.look(look(63, 65)), (R + 60, None));
        let (now, correction) = r.look(look(NOW, 75));
        assert_eq!((now, correction), (NOW, Some(Correction { from: R, by: (NOW - R - 70) as i64 })));
        assert_eq!((r.look(look(NOW + 1, 76)), r.adrift()), ((NOW + 1, None), None));
    }

    #[test]
    fn also_in_a_later_run() {
        let (mut r, _) = start(look(3, 5), R + 60, Some(R));
        assert_eq!(r.adrift(), Some(R), "two runs without a clock");
        let (_, correction) = r.look(look(NOW, 15));
        assert_eq!(correction, Some(Correction { from: R, by: (NOW - R - 70) as i64 }));
        let (r, correction) = start(look(NOW, 5), R + 60, Some(R));
        assert_eq!(correction, Some(Correction { from: R, by: (NOW - R - 60) as i64 }));
        assert_eq!(r.adrift(), None);
    }

    #[test]
    fn a_jump_there_and_back_ends_where_it_began() {
        let (mut r, _) = start(look(NOW, 5), NOW - DAY_S, None);
        let year = 365 * DAY_S;
        let (_, there) = r.look(look(NOW + year, 5));
        assert_eq!(there, Some(Correction { from: NOW, by: year as i64 }));
        let (now, back) = r.look(look(NOW + 10, 15));
        assert_eq!((now, back), (NOW + 10, Some(Correction { from: NOW + year, by: -(year as i64) })));
        assert_eq!(r.look(look(40, 20)), (NOW + 15, None), "1970 again: time continues without the clock");
    }
}
