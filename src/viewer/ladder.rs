//! Chooses a viewer's rung among those that it requests. Pure policy; time is an argument.
//!
//! A rung is encoded at the bitrate that its strongest viewer carries. A viewer that carries less than the others
//! on its rung would see few of its pictures, so it moves to a smaller rung soon; and back up only when it has
//! carried more than that rung needs for a while. A viewer that is alone on a rung stays there until its pictures
//! would have too few bits for their size.

use std::time::{Duration, Instant};

use crate::pipeline::quality::Share;

/// A rung fits if the link carries this part of the bitrate at which it is encoded for others.
const FITS: f64 = 0.95;
/// The part of its configured bitrate that a rung needs at least, to stay on it and to move up to it.
const LEAST: (f64, f64) = (0.15, 0.30);
/// A move up needs this much more than the rung's bitrate, or this part of its configured one: the estimate hardly
/// exceeds that.
const ROOM: (f64, f64) = (1.15, 0.97);
/// How long a rung must not fit before a move down: a viewer that has just joined does not know yet what its link
/// carries.
const SHORT: Duration = Duration::from_millis(1500);
/// How long there must be room before a move up: at first, and the longest, to which each failure doubles it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// A move up failed if it is followed by one down within this time.
const FAILED: Duration = Duration::from_secs(10);

/// A rung that the viewer may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Which one.
    pub share: Share,
    /// The bitrate at which it is encoded for others, in bits per second; 0 if nobody else is on it.
    pub others_bps: f64,
    /// Its configured bitrate.
    pub most_bps: f64,
}

impl Step {
    /// Whether a viewer that carries this much can stay on it.
    fn fits(self, carried_bps: f64) -> bool {
        carried_bps >= FITS * self.others_bps && carried_bps >= LEAST.0 * self.most_bps
    }

    /// Whether a viewer that carries this much can move up to it.
    fn has_room(self, carried_bps: f64) -> bool {
        let needed = (ROOM.0 * self.others_bps).min(ROOM.1 * self.most_bps);
        carried_bps >= needed && carried_bps >= LEAST.1 * self.most_bps
    }
}

/// The choice for one video section.
#[derive(Debug)]
pub(super) struct Ladder {
    /// The chosen rung.
    at: Share,
    /// Since when the link has not carried it.
    short: Option<Instant>,
    /// Since when there has been room for a move up.
    room: Option<Instant>,
    /// When it last moved up.
    up: Option<Instant>,
    patience: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { at: Share::Full, short: None, room: None, up: None, patience: PATIENCE.0 }
    }
}

impl Ladder {
    /// The chosen rung; a different one if that is not offered.
    pub(super) fn at(&self) -> Share {
        self.at
    }

    /// Chooses among these rungs, from large to small, for a viewer whose link carries this much. Call it about once
    /// a second.
    pub(super) fn choose(&mut self, steps: &[Step], carried_bps: f64, now: Instant) {
        let at = steps.iter().rposition(|step| step.share <= self.at).unwrap_or(0);
        if steps.get(at + 1).is_some() && !steps[at].fits(carried_bps) {
            self.room = None;
            if now.saturating_duration_since(*self.short.get_or_insert(now)) < SHORT {
                return;
            }
            self.short = None;
            if self.up.take().is_some_and(|up| now.saturating_duration_since(up) < FAILED) {
                self.patience = (self.patience * 2).min(PATIENCE.1);
            }
            let below = &steps[at + 1..];
            let next = below.iter().find(|step| step.fits(carried_bps)).or(below.last());
            self.at = next.map_or(self.at, |step| step.share);
            return;
        }
        self.short = None;
        if self.up.is_some_and(|up| now.saturating_duration_since(up) >= FAILED) {
            (self.up, self.patience) = (None, PATIENCE.0);
        }
        let Some(above) = at.checked_sub(1).map(|above| steps[above]) else {
            self.room = None;
            return;
        };
        if !above.has_room(carried_bps) {
            self.room = None;
        } else if now.saturating_duration_since(*self.room.get_or_insert(now)) >= self.patience {
            (self.at, self.room, self.up) = (above.share, None, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rungs of a stream with 2 Mbit/s, with these bitrates for others.
    fn steps(others_bps: [f64; 3]) -> Vec<Step> {
        let shares = Share::ALL.into_iter().zip(others_bps);
        shares
            .map(|(share, others_bps)| Step {
                share,
                others_bps,
                most_bps: share.bitrate_bps(2_000_000).into(),
            })
            .collect()
    }

    /// Chooses once a second while the link carries `carried_bps`; returns the rungs.
    fn run(
        ladder: &mut Ladder,
        steps: &[Step],
        carried_bps: f64,
        from: &mut Instant,
        seconds: u64,
    ) -> Vec<Share> {
        let mut chosen = vec![];
        for _ in 0..seconds {
            ladder.choose(steps, carried_bps, *from);
            *from += Duration::from_secs(1);
            chosen.push(ladder.at());
        }
        chosen.dedup();
        chosen
    }

    #[test]
    fn alone_it_stays_while_its_pictures_have_enough_bits() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let alone = steps([0.0; 3]);
        assert_eq!(run(&mut ladder, &alone, 400e3, &mut now, 20), [Share::Full]);
        assert_eq!(run(&mut ladder, &alone, 200e3, &mut now, 20), [Share::Full, Share::Half]);
        assert_eq!(run(&mut ladder, &alone, 100e3, &mut now, 20), [Share::Half, Share::Quarter]);
        assert_eq!(
            run(&mut ladder, &alone, 20e3, &mut now, 20),
            [Share::Quarter],
            "there is nothing smaller"
        );
        let up = run(&mut ladder, &alone, 700e3, &mut now, 20);
        assert_eq!(up, [Share::Quarter, Share::Half, Share::Full]);
    }

    #[test]
    fn among_stronger_ones_it_goes_where_it_sees_all_pictures() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 0.0, 0.0]);
        assert_eq!(run(&mut ladder, &others, 1.2e6, &mut now, 3), [Share::Full, Share::Half]);
        assert_eq!(run(&mut ladder, &others, 1.2e6, &mut now, 60), [Share::Half]);
        // Another one holds the half rung up as well.
        let both = steps([2e6, 800e3, 0.0]);
        assert_eq!(run(&mut ladder, &both, 500e3, &mut now, 5), [Share::Half, Share::Quarter]);
        assert_eq!(run(&mut ladder, &others, 2e6, &mut now, 20), [Share::Quarter, Share::Half, Share::Full]);
    }

    #[test]
    fn below_a_requested_size_it_chooses_as_well() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let half = &steps([2e6, 800e3, 0.0])[1..];
        assert_eq!(run(&mut ladder, half, 900e3, &mut now, 9), [Share::Full], "it would not be in the way");
        assert_eq!(run(&mut ladder, half, 400e3, &mut now, 9), [Share::Full, Share::Quarter]);
        assert_eq!(run(&mut ladder, half, 900e3, &mut now, 9), [Share::Quarter, Share::Half]);
    }

    #[test]
    fn each_move_up_that_fails_is_tried_more_seldom() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 0.0, 0.0]);
        run(&mut ladder, &others, 1e6, &mut now, 3);
        let mut waits = vec![];
        for _ in 0..6 {
            let begin = now;
            while ladder.at() == Share::Half {
                run(&mut ladder, &others, 2e6, &mut now, 1);
            }
            waits.push((now - begin).as_secs());
            run(&mut ladder, &others, 1e6, &mut now, 3);
        }
        assert_eq!(waits, [6, 11, 21, 41, 61, 61]);
        run(&mut ladder, &others, 2e6, &mut now, 120);
        assert_eq!(ladder.patience, PATIENCE.0, "it stayed up");
    }

    #[test]
    fn a_moment_without_bits_moves_nobody() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 0.0, 0.0]);
        for _ in 0..10 {
            assert_eq!(run(&mut ladder, &others, 0.5e6, &mut now, 2), [Share::Full], "as after joining");
            assert_eq!(run(&mut ladder, &others, 2e6, &mut now, 1), [Share::Full]);
        }
    }

    #[test]
    fn where_the_board_has_no_small_rungs_there_is_no_choice() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let full = &steps([2e6, 0.0, 0.0])[..1];
        assert_eq!(run(&mut ladder, full, 100e3, &mut now, 9), [Share::Full]);
    }
}
