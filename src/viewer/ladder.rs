//! Chooses a viewer's rung among those that it requests, and how many of its layers. Pure policy; time is an argument.
//!
//! A rung is encoded at the bitrate that its strongest viewer carries. A viewer that carries less than the others
//! on its rung would see few of its pictures, so it soon gets only the base layer, every second picture; if that is
//! too much as well, it moves to a smaller rung, and below the smallest one it gets no pictures. It moves back up only
//! when it has carried more than it needs there for a while. A viewer that is alone on a rung gets all of its pictures,
//! and stays there until they would have too few bits for their size.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::media::unit::BASE_PART;
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
/// How long there must be room before the first move up from where a viewer began without knowing its link.
const FIRST: Duration = Duration::from_secs(2);
/// How long there must be room before a move up: at first, and the longest, to which each failure doubles it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// For how long after the viewer has requested a larger rung there is no such wait: the person looks at it, and probes
/// show within that time what the link carries.
const ASKED: Duration = Duration::from_secs(5);
/// A move up failed if it is followed by one down within this time.
const FAILED: Duration = Duration::from_secs(10);

/// Fewest pictures a second of a base layer that is preferred to a smaller rung.
const LEAST_FPS: f64 = 12.0;

/// Which pictures of a rung a viewer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pictures {
    /// All of them.
    All,
    /// Those of the base layer: every second one.
    Base,
    /// None, because the link does not carry even the base layer of the smallest rung.
    None,
}

impl Pictures {
    /// The word for logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Base => "every second",
            Self::None => "none",
        }
    }
}

/// What a viewer is sent of a camera; the most comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layers {
    /// The rung.
    pub share: Share,
    /// Which of its pictures.
    pub pictures: Pictures,
}

impl Layers {
    /// All layers of this rung.
    pub(super) fn all(share: Share) -> Self {
        Self { share, pictures: Pictures::All }
    }
}

/// What the viewer may be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// The rung and its layers.
    pub layers: Layers,
    /// The bitrate of these layers as they are encoded for others, in bits per second; 0 if nobody else is on the
    /// rung.
    pub others_bps: f64,
    /// Their configured bitrate.
    pub most_bps: f64,
}

impl Step {
    /// The steps of these rungs, from the most to the least. Each rung has its bitrate for others and its configured
    /// one; `fps` is the number of pictures a second.
    pub(super) fn of(rungs: &[(Share, f64, f64)], fps: f64) -> Vec<Self> {
        let steps = rungs.iter().enumerate().flat_map(|(at, &(share, others_bps, most_bps))| {
            let smallest = at + 1 == rungs.len();
            let base_is_of_use = smallest || fps / 2.0 >= LEAST_FPS;
            let step = |pictures, part| Self {
                layers: Layers { share, pictures },
                others_bps: part * others_bps,
                most_bps: part * most_bps,
            };
            // Where it is alone, the encoder adapts to it.
            let shared = others_bps > 0.0;
            [
                Some(step(Pictures::All, 1.0)),
                (shared && base_is_of_use).then(|| step(Pictures::Base, BASE_PART)),
                (shared && smallest).then(|| step(Pictures::None, 0.0)),
            ]
        });
        steps.flatten().collect()
    }

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
    /// The chosen rung and layers.
    at: Layers,
    /// Since when the link has not carried it.
    short: Option<Instant>,
    /// Since when there has been room for a move up, and the most that there has been room for all this time.
    room: Option<(Instant, Layers)>,
    /// Since when it has been without pictures.
    dark: Option<Instant>,
    /// When it last moved up.
    up: Option<Instant>,
    patience: Duration,
    /// Whether a larger rung was requested since the last choice.
    asked: bool,
    /// Until when a move up is not waited for.
    at_once_until: Option<Instant>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            at: Layers::all(Share::Full),
            short: None,
            room: None,
            dark: None,
            up: None,
            patience: PATIENCE.0,
            asked: false,
            at_once_until: None,
        }
    }
}

impl Ladder {
    /// What is chosen; a different rung is sent if that one is not offered.
    pub(super) fn at(&self) -> Layers {
        self.at
    }

    /// Chooses where to begin on a link that probably carries this much: the largest rung whose keyframe, about five
    /// pictures large, arrives within 150 ms.
    pub(super) fn begin(&mut self, steps: &[Step], carried_bps: f64) {
        let mut all = steps.iter().filter(|step| step.layers.pictures == Pictures::All);
        if let Some(step) = all.clone().find(|step| step.fits(carried_bps)).or(all.next_back()) {
            (self.at, self.patience) = (step.layers, FIRST);
        }
    }

    /// The viewer requests a larger rung from now on.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Chooses among these steps, from the most to the least, for a viewer whose link carries this much. Call it about
    /// once a second.
    pub(super) fn choose(&mut self, steps: &[Step], carried_bps: f64, now: Instant) {
        let at = steps.iter().rposition(|step| step.layers <= self.at).unwrap_or(0);
        if let Some(Step { layers, .. }) = steps.get(at)
            && layers.share == self.at.share
        {
            self.at = *layers; // all of them, if it is alone on the rung now
        }
        if std::mem::take(&mut self.asked) {
            self.at_once_until = Some(now + ASKED);
        }
        if steps.get(at + 1).is_some() && !steps[at].fits(carried_bps) {
            (self.room, self.dark) = (None, None);
            if now.saturating_duration_since(*self.short.get_or_insert(now)) < SHORT {
                return;
            }
            self.short = None;
            if self.up.take().is_some_and(|up| now.saturating_duration_since(up) < FAILED) {
                self.patience = (self.patience * 2).min(PATIENCE.1);
            }
            let below = &steps[at + 1..];
            let next = below.iter().find(|step| step.fits(carried_bps)).or(below.last());
            self.at = next.map_or(self.at, |step| step.layers);
            return;
        }
        self.short = None;
        if self.up.is_some_and(|up| now.saturating_duration_since(up) >= FAILED) {
            (self.up, self.patience) = (None, PATIENCE.0);
        }
        self.rise(&steps[..at], carried_bps, now);
    }

    /// Moves to one of the steps above if there has been room for long enough.
    fn rise(&mut self, above: &[Step], carried_bps: f64, now: Instant) {
        let largest = above.iter().find(|step| step.has_room(carried_bps)).map(|step| step.layers);
        self.room = largest.map(|layers| match self.room {
            Some((since, before)) => (since, before.max(layers)),
            None => (now, layers),
        });
        self.dark = (self.at.pictures == Pictures::None).then(|| self.dark.unwrap_or(now));
        let waited = |since: Instant, at_least| now.saturating_duration_since(since) >= at_least;
        let patience = match self.at_once_until {
            Some(until) if now < until => Duration::ZERO,
            _ if self.dark.is_some() => FIRST,
            _ => self.patience,
        };
        let ready = self.room.filter(|(since, _)| waited(*since, patience)).map(|(_, layers)| layers);
        // Without pictures it may be that nothing shows what the link carries, so they are tried.
        let tries = self.dark.is_some_and(|since| waited(since, self.patience));
        let tried = above.last().filter(|_| tries).map(|step| step.layers);
        if self.dark.is_some() && ready.is_some() {
            self.patience = FIRST; // the link is known now, and the tries that failed say nothing about it
        }
        if let Some(layers) = ready.or(tried) {
            (self.at, self.room, self.dark, self.up) = (layers, None, None, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Layers = Layers { share: Share::Full, pictures: Pictures::All };
    const HALF: Layers = Layers { share: Share::Half, pictures: Pictures::All };
    const QUARTER: Layers = Layers { share: Share::Quarter, pictures: Pictures::All };

    /// Only the base layer.
    fn base(all: Layers) -> Layers {
        Layers { pictures: Pictures::Base, ..all }
    }

    /// Sound only.
    fn none(all: Layers) -> Layers {
        Layers { pictures: Pictures::None, ..all }
    }

    /// A stream of 2 Mbit/s, with these bitrates of its rungs for others.
    fn steps(others_bps: [f64; 3]) -> Vec<Step> {
        steps_at(30.0, others_bps)
    }

    fn steps_at(fps: f64, others_bps: [f64; 3]) -> Vec<Step> {
        let rungs = Share::ALL.into_iter().zip(others_bps);
        let rungs = rungs.map(|(share, others_bps)| (share, others_bps, share.bitrate_bps(2_000_000).into()));
        Step::of(&rungs.collect::<Vec<_>>(), fps)
    }

    /// Chooses once a second while the link carries `carried_bps`; returns what is chosen.
    fn run(
        ladder: &mut Ladder,
        steps: &[Step],
        carried_bps: f64,
        from: &mut Instant,
        seconds: u64,
    ) -> Vec<Layers> {
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
        assert_eq!(run(&mut ladder, &alone, 400e3, &mut now, 20), [FULL]);
        assert_eq!(run(&mut ladder, &alone, 200e3, &mut now, 20), [FULL, HALF]);
        assert_eq!(run(&mut ladder, &alone, 100e3, &mut now, 20), [HALF, QUARTER]);
        assert_eq!(run(&mut ladder, &alone, 20e3, &mut now, 20), [QUARTER], "there is nothing smaller");
        assert_eq!(run(&mut ladder, &alone, 300e3, &mut now, 20), [QUARTER, HALF]);
        assert_eq!(run(&mut ladder, &alone, 700e3, &mut now, 20), [HALF, FULL]);
    }

    #[test]
    fn among_stronger_ones_it_gets_the_base_layer_and_below_that_a_smaller_rung() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 0.0, 0.0]);
        assert_eq!(run(&mut ladder, &others, 1.4e6, &mut now, 60), [FULL, base(FULL)]);
        assert_eq!(run(&mut ladder, &others, 1.2e6, &mut now, 60), [base(FULL), HALF]);
        // Another one holds the half rung up as well.
        let both = steps([2e6, 800e3, 0.0]);
        assert_eq!(run(&mut ladder, &both, 600e3, &mut now, 60), [HALF, base(HALF)]);
        assert_eq!(run(&mut ladder, &both, 400e3, &mut now, 60), [base(HALF), QUARTER]);
        assert_eq!(run(&mut ladder, &both, 2e6, &mut now, 7), [QUARTER, FULL], "without steps between");
        // Only to what there has been room for all the time.
        run(&mut ladder, &both, 400e3, &mut now, 20);
        run(&mut ladder, &both, 2e6, &mut now, 4);
        assert_eq!(run(&mut ladder, &both, 900e3, &mut now, 20), [QUARTER, HALF]);
    }

    #[test]
    fn it_begins_where_a_keyframe_arrives_soon_and_soon_moves_up() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        ladder.begin(&steps([0.0; 3]), 1e6);
        assert_eq!(ladder.at(), FULL, "the encoder adapts to it");
        let others = steps([2e6, 0.0, 0.0]);
        ladder.begin(&others, 1e6);
        assert_eq!(ladder.at(), HALF);
        assert_eq!(run(&mut ladder, &others, 1.5e6, &mut now, 12), [HALF, base(FULL)]);
        assert_eq!(run(&mut ladder, &others, 2e6, &mut now, 12), [base(FULL), FULL]);
        ladder.begin(&steps([2e6, 800e3, 300e3]), 100e3);
        assert_eq!(ladder.at(), QUARTER);
        ladder.begin(&others, 10e6);
        assert_eq!(ladder.at(), FULL);
    }

    #[test]
    fn a_larger_rung_that_is_requested_comes_as_soon_as_the_link_is_known_to_carry_it() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 800e3, 300e3]);
        ladder.begin(&others, 400e3);
        ladder.ask();
        assert_eq!(run(&mut ladder, &others, 400e3, &mut now, 2), [QUARTER]);
        assert_eq!(run(&mut ladder, &others, 2.4e6, &mut now, 1), [FULL], "without steps between");
        ladder.begin(&others, 400e3);
        ladder.ask();
        run(&mut ladder, &others, 400e3, &mut now, 6);
        assert_eq!(run(&mut ladder, &others, 2.4e6, &mut now, 2), [QUARTER], "the request is long ago");
        // To no more than the link carries.
        ladder.begin(&others, 400e3);
        ladder.ask();
        assert_eq!(run(&mut ladder, &others, 1.5e6, &mut now, 4), [base(FULL)]);
    }

    #[test]
    fn alone_again_it_gets_all_pictures_at_once() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        run(&mut ladder, &steps([2e6, 0.0, 0.0]), 1.4e6, &mut now, 5);
        assert_eq!(ladder.at(), base(FULL));
        assert_eq!(run(&mut ladder, &steps([0.0; 3]), 1.4e6, &mut now, 1), [FULL]);
    }

    #[test]
    fn a_base_layer_with_few_pictures_is_the_choice_only_where_there_is_no_other() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let slow = steps_at(15.0, [2e6, 0.0, 0.0]);
        assert_eq!(run(&mut ladder, &slow, 1.4e6, &mut now, 9), [FULL, HALF]);
        let mut ladder = Ladder::default();
        let only = Step::of(&[(Share::Full, 2e6, 2e6)], 15.0);
        assert_eq!(run(&mut ladder, &only, 1.4e6, &mut now, 9), [FULL, base(FULL)]);
        assert_eq!(run(&mut ladder, &only, 0.4e6, &mut now, 6), [base(FULL), none(FULL)]);
    }

    #[test]
    fn below_the_smallest_rung_of_others_it_gets_no_pictures_and_tries_them_again() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let all = steps([2e6, 800e3, 300e3]);
        ladder.begin(&all, 100e3);
        let tried = run(&mut ladder, &all, 100e3, &mut now, 60);
        assert_eq!(tried[..2], [QUARTER, none(QUARTER)]);
        assert!(tried[2..].chunks(2).all(|tries| tries[0] == base(QUARTER)), "{tried:?}");
        assert!((6..=12).contains(&tried.len()), "ever more seldom: {tried:?}");
        assert_eq!(
            run(&mut ladder, &all, 250e3, &mut now, 4),
            [none(QUARTER), base(QUARTER)],
            "there is room"
        );
        run(&mut ladder, &all, 100e3, &mut now, 3);
        assert_eq!(ladder.at(), none(QUARTER));
        let alone = steps([2e6, 800e3, 0.0]);
        assert_eq!(run(&mut ladder, &alone, 100e3, &mut now, 1), [QUARTER], "the encoder adapts to it");
    }

    #[test]
    fn below_a_requested_size_it_chooses_as_well() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let half = steps([2e6, 800e3, 0.0]).split_off(2);
        assert_eq!(run(&mut ladder, &half, 900e3, &mut now, 9), [FULL], "it would not be in the way");
        assert_eq!(run(&mut ladder, &half, 400e3, &mut now, 9), [FULL, QUARTER]);
        assert_eq!(run(&mut ladder, &half, 900e3, &mut now, 13), [QUARTER, HALF]);
    }

    #[test]
    fn each_move_up_that_fails_is_tried_more_seldom() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let others = steps([2e6, 0.0, 0.0]);
        run(&mut ladder, &others, 1.4e6, &mut now, 3);
        let mut waits = vec![];
        for _ in 0..6 {
            let begin = now;
            while ladder.at() == base(FULL) {
                run(&mut ladder, &others, 2e6, &mut now, 1);
            }
            waits.push((now - begin).as_secs());
            run(&mut ladder, &others, 1.4e6, &mut now, 3);
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
            assert_eq!(run(&mut ladder, &others, 0.5e6, &mut now, 2), [FULL], "as after joining");
            assert_eq!(run(&mut ladder, &others, 2e6, &mut now, 1), [FULL]);
        }
    }

    #[test]
    fn where_the_board_has_no_small_rungs_there_is_no_choice() {
        let (mut ladder, mut now) = (Ladder::default(), Instant::now());
        let alone = Step::of(&[(Share::Full, 0.0, 2e6)], 30.0);
        assert_eq!(run(&mut ladder, &alone, 100e3, &mut now, 9), [FULL]);
    }
}
