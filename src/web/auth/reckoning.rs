//! What time it is, for sessions and links. Pure policy: whoever asks says what the clocks show.
//!
//! Sessions and guest links outlast a restart, so they are dated by the wall clock. Small boards have none that runs
//! without power: until the network tells the time it shows 1970, or when the board was last shut down, and then jumps by
//! years. So the time here is reckoned:
//!
//! - A wall clock that can't be right, or shows a day before what was known at the last run, is not believed. Time then
//!   goes on from what was known, or from when this program was released, as fast as the board runs: nothing lives for
//!   ever, and nothing ends because of a clock. The time without power is not counted; a link may outlive its time by that,
//!   until a clock can be believed.
//! - A jump of a clock that is believed afterwards moves, by as much, whatever was dated in this run, or in runs before it
//!   that had no clock either: it keeps the time that it had left. What is older was dated by a clock that was believed,
//!   and ages by the jump.
//! - A clock that is set back revives nothing: what had ended by it is removed for good.
//! - A clock that was ahead, believed, until the end of a run is believed no more once it is right. Time goes on from the
//!   wrong date, at the right speed; that shows in lists only.

use std::time::Duration;

use super::principal::DAY_S;
use crate::clock::running;
use crate::state::Lasting;
use crate::wall::{RELEASED, clock, plausible};

/// A clock that differs by less was set a little, or ran a little fast: nothing is moved.
const JUMP_S: u64 = 60;

/// What the clocks show.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The wall clock, seconds since 1970.
    pub wall: u64,
    /// Since the board was started, asleep or not (CLOCK_BOOTTIME).
    pub running: Duration,
}

impl Look {
    /// Now.
    pub fn now() -> Self {
        Self { wall: clock().unsigned_abs(), running: running() }
    }
}

/// What was dated from `from` on is dated wrong by so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    from: u64,
    by: i64,
}

/// The time, reckoned.
#[derive(Debug)]
pub struct Reckoning {
    /// At the last look, and when that was.
    now: u64,
    at: Duration,
    /// What is dated from here on was dated by the clock that is jumping, not by an earlier one.
    since: u64,
    /// Known at the last run.
    known: u64,
    /// What is dated from here on was dated without a clock.
    adrift: Option<u64>,
}

impl Reckoning {
    /// Begins with what the last run left: the time known then, and whether it had no clock to believe.
    pub fn start(look: Look, lasting: &Lasting) -> (Self, Option<Correction>) {
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

    /// The time that has come by now if no clock was set since the last look.
    pub fn reached(&self, look: Look) -> u64 {
        self.now + look.running.saturating_sub(self.at).as_secs()
    }

    /// The time now, seconds since 1970; and what has to be corrected, before anything is judged by it.
    pub fn look(&mut self, look: Look) -> (u64, Option<Correction>) {
        let reckoned = self.reached(look);
        // Whole seconds are taken out of `running`, so that none gets lost however often it is looked.
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

    /// Since when there has been no clock to believe: for the next run.
    pub fn adrift(&self) -> Option<u64> {
        self.adrift
    }

    fn believes(&self, wall: u64) -> bool {
        i64::try_from(wall).is_ok_and(plausible) && wall + DAY_S >= self.known
    }
}

impl Lasting {
    /// Dates anew what was dated wrong.
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

    /// Nothing was dated later than now. What claims so, by a clock that was ahead at the last run, keeps the age that it
    /// had by that clock: it gains nothing.
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
        assert_eq!(r.look(look(NOW + 40, 16)), (NOW + 40, None), "set a little");
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
        assert_eq!(start(look(0, 5), 0, None).0.look(look(0, 6)).0, R + 1, "the first start of all");
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
        assert_eq!(r.look(look(40, 20)), (NOW + 15, None), "1970 again: it goes on without");
    }
}
