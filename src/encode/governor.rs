//! How much picture the board carries: when encoding does not keep up, or the board is too hot or short of power, the smaller
//! rungs are left out, then fewer pictures are taken, then smaller ones, and more again once that is sure to go well. Pure
//! policy.
//!
//! All that can be asked for is a list of [`Step`]s: all rungs, then the full one alone, each step cheaper than the one before:
//! at each size the rates from high to low, at smaller sizes only what is cheaper than the slowest of the larger size. A step down goes as
//! far as what was measured says is needed, and a step up waits until what was measured says that it fits, with a margin.
//! One that failed makes the next one wait twice as long.
//!
//! Where it is the processors that are too few, all cameras give up together ([`super::budget`]): none goes down to fewer frames
//! while another has its smaller rungs, and none to smaller pictures while another has all its frames.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::{Others, Stand, Tier};
use crate::clock::Pts;
use crate::media::frame::Size;
use crate::pressure::Pressure;

/// Load is measured over this time: a real overload is seen within it, before anybody calls it a delay.
const WINDOW: Duration = Duration::from_secs(1);
/// And over so many pictures at least, because the slowest tenth of them, but one in any case, does not count: a single
/// picture that took long (a page fault, another program) says nothing.
const FEWEST: usize = 4;
/// Over this time all count: where other programs want the processors too, it is few pictures that take nearly all the time.
const LONG: Duration = Duration::from_secs(8);
/// The part of the time between two pictures that encoding may take. More is too much: nothing is left for what else runs.
const OVERLOAD: f64 = 0.9;
/// A step down leads to where less than this is expected.
const RELIEF: f64 = 0.85;
/// A step up leads to where less than this is expected.
const COMFORT: f64 = 0.62;
/// Who encodes for less than this part of the time is not what heats the board: smaller pictures would not help it.
const LITTLE: f64 = 0.2;
/// A step up has to fit for so long before it is taken; twice as long after each one that failed.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// A step down within this time after a step up means that the latter failed.
const MEMORY: Duration = Duration::from_secs(30 * 60);
/// While the board is under pressure, a step down is taken so often: it needs time to show its effect.
const PRESSURE_PAUSE: Duration = Duration::from_secs(20);
/// No step up before pressure has been gone for so long, and one at a time.
const PRESSURE_GONE: Duration = Duration::from_secs(60);
/// Who has not encoded for so long was asleep: what was measured before says nothing.
const ASLEEP: Duration = Duration::from_secs(2);
/// Viewers may take so long to leave a rung: it ends with a keyframe of another, and those have their limits. Other cameras have
/// as long to give up what they are asked for.
const MOVING: Duration = Duration::from_secs(3);
/// No step up so soon after another camera's step: what that one takes now is not measured yet.
const ONE_AT_A_TIME: Duration = Duration::from_secs(2);
/// Threads that wait for a processor for more than this part of their work's time: the processors are too few, and what another
/// camera gives up helps this one.
const SHORT: f64 = 0.2;
/// The rates on the way down, pictures per second.
const RATES: [f64; 4] = [30.0, 20.0, 15.0, 10.0];
/// No smaller pictures than these: less can't be recognised.
const SMALLEST: Size = Size::new(320, 180);
/// What costs more than this part of another is no relief worth a change.
const CHEAPER: f64 = 0.9;

/// What may be asked of the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// At most so large.
    pub size: Size,
    /// At most so many pictures per second.
    pub fps: f64,
    /// Whether smaller rungs may run beside the full one.
    pub smaller: bool,
}

/// What one picture took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Whatever sizes are made of it: until it was converted.
    pub fixed: Duration,
    /// From then on until the last rung was ready.
    pub encoding: Duration,
    /// How much of both a thread was ready to run and had no processor.
    pub waited: Duration,
    /// The pixels that were encoded, as a part of those of a full picture: 1.25 are a full and a half one.
    pub share: f64,
}

impl Spent {
    fn busy(&self) -> Duration {
        self.fixed + self.encoding
    }

    /// Whether it took so long because the processors are too few.
    fn is_short(&self) -> bool {
        self.waited > self.busy().mul_f64(SHORT)
    }
}

impl Step {
    /// Pixels per second of the full rung.
    fn cost(&self) -> f64 {
        self.size.area() as f64 * self.fps
    }
}

/// Another step from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The one to take.
    pub step: Step,
    /// Why it is less than all, in words for the viewer; `None`: it is all again.
    pub why: Option<String>,
}

/// Decides which step to take, by what encoding took.
///
/// It is made for what the source gives, and lives as long as that does, also while the source is closed.
#[derive(Debug)]
pub struct Governor {
    /// All steps, each cheaper than the one before.
    ladder: Vec<Step>,
    at: usize,
    /// What it gives up because the processors are too few, or too hot.
    needs: Tier,
    /// Since when the others are to give up as much before it goes further down.
    asked: Option<Pts>,
    /// [`Spent::share`] where all rungs may run, as it was last: what viewers wish for.
    wished: f64,
    /// The pictures of late: when each was done, and what it took.
    window: VecDeque<(Pts, Spent)>,
    /// Why it is not all; of the last step down.
    reason: Option<Reason>,
    /// Since when a step up fits.
    fits: Option<Pts>,
    /// The last step of any kind.
    changed: Option<Pts>,
    patience: Duration,
    /// The last step up, until the next step down.
    up: Option<Pts>,
    /// When the board was under pressure for the last time, and when that led to a step for the last time.
    pressed: Option<Pts>,
    relieved: Option<Pts>,
}

impl Governor {
    /// For a source that gives this, with which it begins.
    pub fn new(size: Size, fps: f64) -> Self {
        Self {
            ladder: ladder(size, fps),
            at: 0,
            needs: Tier::All,
            asked: None,
            wished: 1.0,
            window: VecDeque::new(),
            reason: None,
            fits: None,
            changed: None,
            patience: PATIENCE,
            up: None,
            pressed: None,
            relieved: None,
        }
    }

    /// The step to take now.
    pub fn step(&self) -> Step {
        self.ladder[self.at]
    }

    /// Where it stands, for the other cameras.
    pub fn stand(&self) -> Stand {
        Stand { at: self.tier(self.at), needs: self.needs, changed: self.changed }
    }

    /// To be called once for each encoded picture.
    pub fn observe(
        &mut self,
        now: Pts,
        spent: Spent,
        pressure: Option<Pressure>,
        others: Others,
    ) -> Option<Change> {
        if self.window.back().is_some_and(|(last, _)| now.since(*last).saturating_sub(spent.busy()) > ASLEEP)
        {
            self.forget();
        }
        self.window.push_back((now, spent));
        let old = |(done, _): &(Pts, Spent)| now.since(*done) > LONG;
        while self.window.len() > FEWEST + 1 && self.window.front().is_some_and(old) {
            self.window.pop_front();
        }
        if pressure.is_some() {
            self.pressed = Some(now);
        }
        if self.tier(self.at) < others.needs.above() {
            let to = (self.at..self.ladder.len()).find(|n| self.tier(*n) == others.needs.above());
            // One that has nothing of the kind has nothing to give.
            if let Some(to) = to {
                return self.step_down(now, to, Reason::Others);
            }
        }
        let (spent, load) = self.load()?;
        if self.step().smaller {
            self.wished = spent.share;
        }
        if load > OVERLOAD {
            // Viewers that leave the smaller rungs take a moment; what will be well then needs no further step.
            let moving = self.changed.is_some_and(|at| now.since(at) < MOVING);
            if moving && self.expected(self.at, &spent) <= RELIEF {
                return None;
            }
            let interval = Duration::from_secs_f64(1.0 / self.step().fps);
            let mut to = self.relief(&spent).min(self.ladder.len() - 1);
            if spent.is_short() {
                to = self.with_others(now, to, others);
            }
            return self.step_down(now, to, Reason::Slow { busy: spent.busy(), interval });
        }
        self.asked = None;
        if let Some(pressure) = pressure {
            self.fits = None;
            let soon = self.relieved.is_some_and(|last| now.since(last) < PRESSURE_PAUSE);
            if load < LITTLE || soon {
                return None;
            }
            self.relieved = Some(now);
            let mut below = self.at + 1..self.ladder.len();
            let cheaper = CHEAPER * self.expected(self.at, &spent);
            let next = below.find(|n| self.expected(*n, &spent) < cheaper)?;
            self.needs = self.needs.max(self.tier(next));
            return self.step_down(now, next, Reason::Board(pressure));
        }
        if self.needs > self.tier(self.at) {
            self.release(now, &spent);
            return None;
        }
        self.step_up(now, &spent, others)
    }

    fn tier(&self, n: usize) -> Tier {
        let (full, step) = (&self.ladder[0], &self.ladder[n]);
        match step {
            step if step.size != full.size => Tier::Size,
            step if step.fps < full.fps => Tier::Frames,
            step if !step.smaller => Tier::Rungs,
            _ => Tier::All,
        }
    }

    /// It needs the `n`th step, and all others are asked to give up nearly as much. The step to take: until they have, it gives
    /// up no more than they are asked for.
    fn with_others(&mut self, now: Pts, n: usize, others: Others) -> usize {
        let needs = self.tier(n);
        if self.needs < needs {
            self.needs = needs;
            self.step_up_failed(now);
        }
        let asked = *self.asked.get_or_insert(now);
        if others.least >= needs.above() || now.since(asked) >= MOVING {
            return n;
        }
        self.forget(); // what it takes until then is no measure
        (self.at..n).find(|n| self.tier(*n) == needs.above()).unwrap_or(self.at)
    }

    /// What was measured before is no measure of what comes.
    fn forget(&mut self) {
        self.window.clear();
        self.fits = None;
    }

    /// What a picture takes, and which part of the time between two that is; `None` before enough was seen. It is of late, or
    /// for longer where only that is too much.
    fn load(&mut self) -> Option<(Spent, f64)> {
        let pictures = &*self.window.make_contiguous();
        let (now, _) = pictures.last()?;
        let late = pictures.iter().rev().take_while(|(done, _)| now.since(*done) <= WINDOW).count();
        let late = &pictures[pictures.len().saturating_sub(late.max(FEWEST + 1))..];
        let late = measure(late, WINDOW, late.len().saturating_sub(1).div_ceil(10))?;
        let long = measure(pictures, LONG, 0).filter(|(_, load)| late.1 <= OVERLOAD && *load > OVERLOAD);
        Some(long.unwrap_or(late))
    }

    /// The load expected at the `n`th step, from what a picture takes at this one. Where there are no smaller rungs, all
    /// viewers have the full one, also those who had nothing but a smaller one.
    fn expected(&self, n: usize, spent: &Spent) -> f64 {
        let (here, there) = (&self.ladder[self.at], &self.ladder[n]);
        let share = if there.smaller { self.wished } else { 1.0 };
        let pixels = there.size.area() as f64 * share / (here.size.area() as f64 * spent.share);
        (spent.fixed.as_secs_f64() + spent.encoding.as_secs_f64() * pixels) * there.fps
    }

    /// The nearest step down that is expected to be one.
    fn relief(&self, spent: &Spent) -> usize {
        let mut below = self.at + 1..self.ladder.len();
        below.find(|n| self.expected(*n, spent) <= RELIEF).unwrap_or(self.ladder.len())
    }

    /// What the others have given up was enough: once there is room for it, they may have it back.
    fn release(&mut self, now: Pts, spent: &Spent) {
        if self.expected(self.at, spent) > COMFORT {
            self.fits = None;
        } else if now.since(*self.fits.get_or_insert(now)) >= self.patience {
            self.forget();
            (self.up, self.needs) = (Some(now), self.tier(self.at));
        }
    }

    /// If there was one.
    fn step_up_failed(&mut self, now: Pts) {
        if let Some(up) = self.up.take() {
            let failed = now.since(up) < MEMORY;
            self.patience = if failed { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        }
    }

    fn step_down(&mut self, now: Pts, to: usize, reason: Reason) -> Option<Change> {
        if to == self.at {
            return None; // there is nothing less
        }
        self.step_up_failed(now);
        self.forget();
        (self.at, self.changed) = (to, Some(now));
        self.reason = Some(reason);
        Some(self.change())
    }

    fn step_up(&mut self, now: Pts, spent: &Spent, others: Others) -> Option<Change> {
        let next = self.at.checked_sub(1)?;
        let pressed = |time| self.pressed.is_some_and(|last| now.since(last) < time);
        let fits = |n: usize| self.expected(n, spent) <= COMFORT && self.tier(n) >= others.needs.above();
        if !fits(next) || pressed(PRESSURE_GONE) {
            self.fits = None;
            return None;
        }
        let careful = pressed(MEMORY);
        let patience = if careful { self.patience.max(PRESSURE_GONE) } else { self.patience };
        // What a picture takes can be told before; how hot the board gets can't.
        let mut to = if careful { next } else { (0..next).find(|n| fits(*n)).unwrap_or(next) };
        // What costs no more is given as well.
        while to > 0 && self.expected(to - 1, spent) <= self.expected(to, spent) && fits(to - 1) {
            to -= 1;
        }
        let settling = others.changed.is_some_and(|at| now.since(at) < ONE_AT_A_TIME);
        if now.since(*self.fits.get_or_insert(now)) < patience || settling {
            return None;
        }
        self.forget();
        (self.at, self.changed) = (to, Some(now));
        (self.up, self.needs) = (Some(now), self.needs.min(self.tier(to)));
        Some(self.change())
    }

    fn change(&self) -> Change {
        // After a step up it is better by now, but still why there was not more of them.
        let why = |reason: Reason| reason.tell(self.up.is_some());
        Change { step: self.step(), why: self.reason.filter(|_| self.at > 0).map(why) }
    }
}

/// What each of these pictures takes but the `slowest`, and which part of the time between two that is; `None` where they are
/// too few, or of much less than `time`. It goes by the pictures that came, not by those agreed with the camera: in the dark
/// it may give fewer.
fn measure(pictures: &[(Pts, Spent)], time: Duration, slowest: usize) -> Option<(Spent, f64)> {
    // The first only says since when.
    let ((first, _), pictures) = pictures.split_first()?;
    let passed = pictures.last()?.0.since(*first);
    if pictures.len() < FEWEST || passed < time * 3 / 4 {
        return None;
    }
    let spacing = passed.as_secs_f64() / pictures.len() as f64;
    let mut spent: Vec<&Spent> = pictures.iter().map(|(_, spent)| spent).collect();
    spent.sort_unstable_by_key(|spent| spent.busy());
    spent.truncate(spent.len() - slowest);
    let count = spent.len() as u32;
    let mean = Spent {
        fixed: spent.iter().map(|s| s.fixed).sum::<Duration>() / count,
        encoding: spent.iter().map(|s| s.encoding).sum::<Duration>() / count,
        waited: spent.iter().map(|s| s.waited).sum::<Duration>() / count,
        share: spent.iter().map(|s| s.share).sum::<f64>() / f64::from(count),
    };
    Some((mean, mean.busy().as_secs_f64() / spacing))
}

/// What led to a step down.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Slow { busy: Duration, interval: Duration },
    Board(Pressure),
    Others,
}

impl Reason {
    fn tell(self, past: bool) -> String {
        let verb = |now: &'static str, then: &'static str| if past { then } else { now };
        let is = verb("is", "was");
        match self {
            Self::Slow { busy, interval } => {
                let takes = verb("takes", "took");
                let of = if busy > interval { "more than" } else { "nearly all of" };
                let [busy, interval] = [busy, interval].map(|d| (d.as_secs_f64() * 1e3).round());
                format!("encoding {takes} {busy} ms per picture, {of} the {interval} ms available")
            }
            Self::Board(Pressure::Heat) => format!("the board {is} too hot"),
            Self::Board(Pressure::UnderVoltage) => format!("the power supply {is} too weak"),
            Self::Others => {
                format!("the board's CPU {is} too slow for all cameras")
            }
        }
    }
}

/// Everything from full pictures in all rungs down.
fn ladder(full: Size, fps: f64) -> Vec<Step> {
    let mut all = vec![Step { size: full, fps, smaller: true }, Step { size: full, fps, smaller: false }];
    let lower = RATES.into_iter().filter(|rate| *rate < CHEAPER * fps);
    let rates: Vec<f64> = std::iter::once(fps).chain(lower).collect();
    for size in sizes(full) {
        for &fps in &rates {
            let step = Step { size, fps, smaller: false };
            if all.last().is_none_or(|last| step.cost() < CHEAPER * last.cost()) {
                all.push(step);
            }
        }
    }
    all
}

/// `full`, and 3/4, 1/2, 3/8, 1/4 of it and so on, in even numbers.
fn sizes(full: Size) -> impl Iterator<Item = Size> {
    let parts = (0..).flat_map(|n| [(1, 1 << n), (3, 4 << n)]);
    let share = |pixels: u32, (part, of): (u64, u64)| (u64::from(pixels) * part / of) as u32;
    parts
        .map(
            move |p| {
                if p == (1, 1) { full } else { Size::new(share(full.width, p), share(full.height, p)).even() }
            },
        )
        .take_while(move |size| *size == full || size.area() >= SMALLEST.area())
}

#[cfg(test)]
mod tests;
