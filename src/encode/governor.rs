//! Decides how much video the board can encode. When encoding does not keep up, or the board is too hot or
//! short of power, the smaller rungs are stopped, then the frame rate is reduced, then the size; all of it
//! comes back once it is sure to fit. Pure policy.
//!
//! The choices are a list of [`Step`]s, each cheaper than the one before: all rungs, the full rung alone,
//! then at each size the frame rates from high to low, at smaller sizes only those that are cheaper than the
//! slowest rate of the larger size. A step down goes as far as the measurements say is needed; a step up
//! waits until the measurements say that it fits, with a margin. After a step up that failed, the next one
//! waits twice as long.
//!
//! Where the CPU is too slow for all cameras, they step down together ([`super::budget`]): none reduces its
//! frame rate while another still has its smaller rungs, and none reduces its size while another still has
//! its full frame rate.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::{Others, Stand, Tier};
use crate::clock::Pts;
use crate::media::frame::Size;
use crate::pressure::Pressure;

/// Time over which the load is measured: a real overload is noticed before it is seen as delay.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewest pictures to measure. The slowest tenth of them, but at least one, is ignored: a single slow picture
/// (a page fault, another program) means nothing.
const FEWEST: usize = 4;
/// Time over which no picture is ignored: where other programs compete for the CPU, few pictures take nearly
/// all the time.
const LONG: Duration = Duration::from_secs(8);
/// The largest share of the frame interval that encoding may take. Above it, nothing is left for the rest of
/// the system.
const OVERLOAD: f64 = 0.9;
/// The load expected after a step down must be below this share.
const RELIEF: f64 = 0.85;
/// The load expected after a step up must be below this share.
const COMFORT: f64 = 0.62;
/// A camera whose load is below this share is not what heats the board, so smaller pictures would not help.
const LITTLE: f64 = 0.2;
/// How long a step up must fit before it is taken; the time doubles after each one that failed.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// A step down within this time after a step up means that the step up failed.
const MEMORY: Duration = Duration::from_secs(30 * 60);
/// Time between steps down while the board is under pressure: each needs time to show its effect.
const PRESSURE_PAUSE: Duration = Duration::from_secs(20);
/// How long the pressure must be gone before a step up, and the time between such steps.
const PRESSURE_GONE: Duration = Duration::from_secs(60);
/// After this long without encoding, the earlier measurements no longer count.
const ASLEEP: Duration = Duration::from_secs(2);
/// How long viewers may take to leave a rung: it ends with a keyframe of another rung, and keyframes are
/// limited. Other cameras have as long to step down when asked.
const MOVING: Duration = Duration::from_secs(3);
/// Time without a step up after a step of another camera, whose new load is not measured yet.
const ONE_AT_A_TIME: Duration = Duration::from_secs(2);
/// If threads wait for a CPU core for more than this share of their working time, the CPU is too slow for
/// all, and a step down of another camera helps this one.
const SHORT: f64 = 0.2;
/// The frame rates on the way down, in pictures per second.
const RATES: [f64; 4] = [30.0, 20.0, 15.0, 10.0];
/// The smallest size: in anything smaller nothing can be recognised.
const SMALLEST: Size = Size::new(320, 180);
/// A step must cost less than this share of the one before, or it is not worth a change.
const CHEAPER: f64 = 0.9;

/// The limits for encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Largest size.
    pub size: Size,
    /// Highest frame rate, in pictures per second.
    pub fps: f64,
    /// Whether smaller rungs may run beside the full one.
    pub smaller: bool,
}

/// The time that one picture took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Time until the picture was converted, which does not depend on the rungs.
    pub fixed: Duration,
    /// Time from then until the last rung was ready.
    pub encoding: Duration,
    /// How much of both a thread was ready to run and waited for a CPU core.
    pub waited: Duration,
    /// The encoded pixels as a share of a full picture: 1.25 means a full one and one of half size.
    pub share: f64,
}

impl Spent {
    fn busy(&self) -> Duration {
        self.fixed + self.encoding
    }

    /// Whether it took long because the CPU is too slow for all threads.
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

/// A change to a different step.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The new step.
    pub step: Step,
    /// Why the video is reduced, in words for the viewer; `None` if it is not reduced any more.
    pub why: Option<String>,
}

/// Decides which step to use, from the time that encoding takes.
///
/// It is created for the source's format and lives as long as that stays the same, also while the source is
/// closed.
#[derive(Debug)]
pub struct Governor {
    /// All steps, each cheaper than the one before.
    ladder: Vec<Step>,
    at: usize,
    /// The tier that it needs because the CPU is too slow, or too hot.
    needs: Tier,
    /// Since when the other cameras are asked to step down before this one goes further.
    asked: Option<Pts>,
    /// The last [`Spent::share`] while all rungs could run: what viewers want.
    wished: f64,
    /// Recent pictures: when each was done, and what it took.
    window: VecDeque<(Pts, Spent)>,
    /// The reason for the last step down, while the video is reduced.
    reason: Option<Reason>,
    /// Since when a step up fits.
    fits: Option<Pts>,
    /// Time of the last step.
    changed: Option<Pts>,
    patience: Duration,
    /// Time of the last step up, until the next step down.
    up: Option<Pts>,
    /// When the board was last under pressure, and when that last led to a step.
    pressed: Option<Pts>,
    relieved: Option<Pts>,
}

impl Governor {
    /// Creates a governor for a source of this size and rate, starting without reductions.
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

    /// The step to use now.
    pub fn step(&self) -> Step {
        self.ladder[self.at]
    }

    /// The state to report to the other cameras.
    pub fn stand(&self) -> Stand {
        Stand { at: self.tier(self.at), needs: self.needs, changed: self.changed }
    }

    /// Call this once for each encoded picture.
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
            // A camera without anything of this tier has nothing to give up.
            if let Some(to) = to {
                return self.step_down(now, to, Reason::Others);
            }
        }
        let (spent, load) = self.load()?;
        if self.step().smaller {
            self.wished = spent.share;
        }
        if load > OVERLOAD {
            // Viewers take a moment to leave the smaller rungs; if the load fits after that, no further step
            // is needed.
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

    /// Asks the other cameras to give up nearly as much as the `n`th step does. Returns the step to take:
    /// until they have done so, it gives up no more than they are asked for.
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
        self.forget(); // what is measured until then does not count
        (self.at..n).find(|n| self.tier(*n) == needs.above()).unwrap_or(self.at)
    }

    /// Discards the measurements: they don't apply to what comes next.
    fn forget(&mut self) {
        self.window.clear();
        self.fits = None;
    }

    /// The time that a picture takes, and its share of the frame interval; `None` before there are enough
    /// measurements. Uses the recent pictures, or a longer time if only that shows an overload.
    fn load(&mut self) -> Option<(Spent, f64)> {
        let pictures = &*self.window.make_contiguous();
        let (now, _) = pictures.last()?;
        let late = pictures.iter().rev().take_while(|(done, _)| now.since(*done) <= WINDOW).count();
        let late = &pictures[pictures.len().saturating_sub(late.max(FEWEST + 1))..];
        let late = measure(late, WINDOW, late.len().saturating_sub(1).div_ceil(10))?;
        if late.1 > OVERLOAD {
            return Some(late);
        }
        Some(measure(pictures, LONG, 0).filter(|(_, load)| *load > OVERLOAD).unwrap_or(late))
    }

    /// The load expected at the `n`th step, from the cost of a picture at the current one. Without smaller
    /// rungs all viewers get the full one, also those who had only a smaller one.
    fn expected(&self, n: usize, spent: &Spent) -> f64 {
        let (here, there) = (&self.ladder[self.at], &self.ladder[n]);
        let share = if there.smaller { self.wished } else { 1.0 };
        let pixels = there.size.area() as f64 * share / (here.size.area() as f64 * spent.share);
        (spent.fixed.as_secs_f64() + spent.encoding.as_secs_f64() * pixels) * there.fps
    }

    /// The nearest step down that is expected to be enough.
    fn relief(&self, spent: &Spent) -> usize {
        let mut below = self.at + 1..self.ladder.len();
        below.find(|n| self.expected(*n, spent) <= RELIEF).unwrap_or(self.ladder.len())
    }

    /// The other cameras have given up enough: once there is room, they may have it back.
    fn release(&mut self, now: Pts, spent: &Spent) {
        if self.expected(self.at, spent) > COMFORT {
            self.fits = None;
        } else if now.since(*self.fits.get_or_insert(now)) >= self.patience {
            self.forget();
            (self.up, self.needs) = (Some(now), self.tier(self.at));
        }
    }

    /// If there was a step up, it failed.
    fn step_up_failed(&mut self, now: Pts) {
        if let Some(up) = self.up.take() {
            let failed = now.since(up) < MEMORY;
            self.patience = if failed { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        }
    }

    fn step_down(&mut self, now: Pts, to: usize, reason: Reason) -> Option<Change> {
        if to == self.at {
            return None; // there is no lower step
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
        // The time for a picture can be predicted; the board's temperature can't.
        let mut to = if careful { next } else { (0..next).find(|n| fits(*n)).unwrap_or(next) };
        // Also take what costs nothing more.
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
        // After a step up the situation is better, but this is still why the video is reduced.
        let why = |reason: Reason| reason.describe(self.up.is_some());
        Change { step: self.step(), why: self.reason.filter(|_| self.at > 0).map(why) }
    }
}

/// The mean time of these pictures without the `slowest` ones, and its share of the frame interval; `None` if
/// there are too few, or they span much less than `time`. Uses the interval of the pictures that arrived, not
/// the negotiated one: in the dark a camera may deliver fewer.
fn measure(pictures: &[(Pts, Spent)], time: Duration, slowest: usize) -> Option<(Spent, f64)> {
    // The first one only marks the start.
    let ((first, _), pictures) = pictures.split_first()?;
    let passed = pictures.last()?.0.since(*first);
    if pictures.len() < FEWEST || passed < time * 3 / 4 {
        return None;
    }
    let spacing = passed.as_secs_f64() / pictures.len() as f64;
    let mut spent: Vec<&Spent> = pictures.iter().map(|(_, spent)| spent).collect();
    if slowest > 0 {
        spent.sort_unstable_by_key(|spent| spent.busy());
        spent.truncate(spent.len() - slowest);
    }
    let count = spent.len() as u32;
    let mean = Spent {
        fixed: spent.iter().map(|s| s.fixed).sum::<Duration>() / count,
        encoding: spent.iter().map(|s| s.encoding).sum::<Duration>() / count,
        waited: spent.iter().map(|s| s.waited).sum::<Duration>() / count,
        share: spent.iter().map(|s| s.share).sum::<f64>() / f64::from(count),
    };
    Some((mean, mean.busy().as_secs_f64() / spacing))
}

/// The reason for a step down.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Slow { busy: Duration, interval: Duration },
    Board(Pressure),
    Others,
}

impl Reason {
    fn describe(self, past: bool) -> String {
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

/// All steps, from full pictures in all rungs down.
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

/// `full`, then 3/4, 1/2, 3/8, 1/4 of it and so on, rounded to even numbers.
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
