//! How much picture the board carries: when encoding does not keep up, or the board is too hot or short of power, fewer
//! pictures are taken, then smaller ones, and more again once that is sure to go well. Pure policy.
//!
//! All that can be asked for is a ladder of [`Step`]s, each of which costs less than the one before: at each size the
//! rates from high to low, at smaller sizes only what is cheaper than the slowest of the larger size. A step down goes as
//! far as what was measured says is needed, and a step up waits until what was measured says that it fits, with a margin.
//! One that failed makes the next one wait twice as long.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Pts;
use crate::media::frame::Size;
use crate::status::Pressure;

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
}

impl Step {
    /// Pixels per second.
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
/// It is made for what the source gives when it is asked for everything, and lives as long as that does, also while
/// the source is closed. What it learnt, a smaller size that can't be had for example, would else be tried again.
#[derive(Debug)]
pub struct Governor {
    /// All steps, each cheaper than the one before.
    ladder: Vec<Step>,
    at: usize,
    /// Of sizes that were asked for: what came.
    came: Vec<(Size, Size)>,
    /// The pictures of late: when each was done, and how long it took.
    window: VecDeque<(Pts, Duration)>,
    /// Why it is not all; of the last step down.
    reason: Option<Reason>,
    /// Since when a step up fits.
    fits: Option<Pts>,
    patience: Duration,
    /// The last step up, until the next step down.
    up: Option<Pts>,
    /// When the board was under pressure for the last time, and when that led to a step for the last time.
    pressed: Option<Pts>,
    relieved: Option<Pts>,
}

impl Governor {
    /// For a source that gives at most `full`, which is the step to begin with.
    pub fn new(full: Step) -> Self {
        Self {
            ladder: ladder(full),
            at: 0,
            came: vec![],
            window: VecDeque::new(),
            reason: None,
            fits: None,
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

    /// To be called once for each encoded picture: `busy` is what was spent on it, decoding and conversion included.
    pub fn observe(&mut self, now: Pts, busy: Duration, pressure: Option<Pressure>) -> Option<Change> {
        if self.window.back().is_some_and(|(last, _)| now.since(*last).saturating_sub(busy) > ASLEEP) {
            self.forget();
        }
        self.window.push_back((now, busy));
        let old = |(done, _): &(Pts, Duration)| now.since(*done) > LONG;
        while self.window.len() > FEWEST + 1 && self.window.front().is_some_and(old) {
            self.window.pop_front();
        }
        if pressure.is_some() {
            self.pressed = Some(now);
        }
        let (busy, load) = self.load()?;
        if load > OVERLOAD {
            let reason = Reason::Slow { busy, interval: Duration::from_secs_f64(1.0 / self.step().fps) };
            return self.step_down(now, self.relief(busy), reason);
        }
        if let Some(pressure) = pressure {
            self.fits = None;
            let soon = self.relieved.is_some_and(|last| now.since(last) < PRESSURE_PAUSE);
            if load < LITTLE || soon {
                return None;
            }
            self.relieved = Some(now);
            return self.step_down(now, self.at + 1, Reason::Board(pressure));
        }
        self.step_up(now, busy)
    }

    /// To be called when the source was asked for the size of [`Governor::step`] and gave `size`, whether that is
    /// what was asked or not. A camera that has nothing smaller is not asked again: then the step is another one.
    pub fn came(&mut self, size: Size) -> Option<Change> {
        let asked = self.step().size;
        let larger = self.ladder[..self.at].iter().rev().find(|s| s.size != asked)?.size;
        self.forget();
        if size.area() as f64 > CHEAPER * self.real(larger).area() as f64 {
            let steps = self.ladder[..self.at].iter().filter(|s| s.size == asked).count();
            self.at -= steps + 1;
            self.ladder.retain(|s| s.size != asked);
            return Some(self.change());
        }
        self.came.retain(|(a, _)| *a != asked);
        self.came.push((asked, size));
        // Whatever lies between would come as this one does.
        let at = self.at;
        let mut n = 0..;
        self.ladder.retain(|s| {
            n.next().is_some_and(|n| n <= at)
                || s.size == asked
                || (s.size.area() as f64) < CHEAPER * size.area() as f64
        });
        None
    }

    /// What came when `asked` was asked for, as far as that is known.
    fn real(&self, asked: Size) -> Size {
        self.came.iter().find(|(a, _)| *a == asked).map_or(asked, |(_, came)| *came)
    }

    /// What was measured before is no measure of what comes.
    fn forget(&mut self) {
        self.window.clear();
        self.fits = None;
    }

    /// What a picture takes, and which part of the time between two that is; `None` before enough was seen. It is of late, or
    /// for longer where only that is too much.
    fn load(&mut self) -> Option<(Duration, f64)> {
        let pictures = &*self.window.make_contiguous();
        let (now, _) = pictures.last()?;
        let late = pictures.iter().rev().take_while(|(done, _)| now.since(*done) <= WINDOW).count();
        let late = &pictures[pictures.len().saturating_sub(late.max(FEWEST + 1))..];
        let late = measure(late, WINDOW, late.len().saturating_sub(1).div_ceil(10))?;
        let long = measure(pictures, LONG, 0).filter(|(_, load)| late.1 <= OVERLOAD && *load > OVERLOAD);
        Some(long.unwrap_or(late))
    }

    /// The load expected at the `n`th step, from what a picture takes at this one.
    fn expected(&self, n: usize, busy: Duration) -> f64 {
        let pixels = |step: &Step| self.real(step.size).area() as f64;
        let (here, there) = (&self.ladder[self.at], &self.ladder[n]);
        busy.as_secs_f64() * pixels(there) / pixels(here) * there.fps
    }

    /// The nearest step down that is expected to be one.
    fn relief(&self, busy: Duration) -> usize {
        let mut below = self.at + 1..self.ladder.len();
        below.find(|n| self.expected(*n, busy) <= RELIEF).unwrap_or(self.ladder.len())
    }

    fn step_down(&mut self, now: Pts, to: usize, reason: Reason) -> Option<Change> {
        let to = to.min(self.ladder.len() - 1);
        if to == self.at {
            return None; // there is nothing less
        }
        if let Some(up) = self.up.take() {
            let failed = now.since(up) < MEMORY;
            self.patience = if failed { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        }
        self.forget();
        self.at = to;
        self.reason = Some(reason);
        Some(self.change())
    }

    fn step_up(&mut self, now: Pts, busy: Duration) -> Option<Change> {
        let next = self.at.checked_sub(1)?;
        let pressed = |time| self.pressed.is_some_and(|last| now.since(last) < time);
        let fits = |n: usize| self.expected(n, busy) <= COMFORT;
        if !fits(next) || pressed(PRESSURE_GONE) {
            self.fits = None;
            return None;
        }
        let careful = pressed(MEMORY);
        let patience = if careful { self.patience.max(PRESSURE_GONE) } else { self.patience };
        // What a picture takes can be told before; how hot the board gets can't.
        let to = if careful { next } else { (0..next).find(|n| fits(*n)).unwrap_or(next) };
        if now.since(*self.fits.get_or_insert(now)) < patience {
            return None;
        }
        self.forget();
        self.at = to;
        self.up = Some(now);
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
fn measure(pictures: &[(Pts, Duration)], time: Duration, slowest: usize) -> Option<(Duration, f64)> {
    // The first only says since when.
    let ((first, _), pictures) = pictures.split_first()?;
    let passed = pictures.last()?.0.since(*first);
    if pictures.len() < FEWEST || passed < time * 3 / 4 {
        return None;
    }
    let spacing = passed.as_secs_f64() / pictures.len() as f64;
    let mut busy: Vec<Duration> = pictures.iter().map(|(_, busy)| *busy).collect();
    busy.sort_unstable();
    busy.truncate(busy.len() - slowest);
    let mean = busy.iter().sum::<Duration>() / busy.len() as u32;
    Some((mean, mean.as_secs_f64() / spacing))
}

/// What led to a step down.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Slow { busy: Duration, interval: Duration },
    Board(Pressure),
}

impl Reason {
    fn tell(self, past: bool) -> String {
        let verb = |now: &'static str, then: &'static str| if past { then } else { now };
        let is = verb("is", "was");
        match self {
            Self::Slow { busy, interval } => {
                let (takes, are) = (verb("takes", "took"), verb("are", "were"));
                let of = if busy > interval { "more than" } else { "nearly all of" };
                let [busy, interval] = [busy, interval].map(|d| (d.as_secs_f64() * 1e3).round());
                format!("encoding {takes} {busy} ms for each picture, {of} the {interval} ms there {are}")
            }
            Self::Board(Pressure::Heat) => format!("the board {is} too hot"),
            Self::Board(Pressure::UnderVoltage) => format!("the power supply {is} too weak"),
        }
    }
}

/// Everything from `full` down.
fn ladder(full: Step) -> Vec<Step> {
    let mut all = vec![full];
    let lower = RATES.into_iter().filter(|rate| *rate < CHEAPER * full.fps);
    let rates: Vec<f64> = std::iter::once(full.fps).chain(lower).collect();
    for size in sizes(full.size) {
        for &fps in &rates {
            let step = Step { size, fps };
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
    let even = |pixels: u32, (part, of): (u64, u64)| (u64::from(pixels) * part / of) as u32 & !1;
    parts
        .map(move |p| if p == (1, 1) { full } else { Size::new(even(full.width, p), even(full.height, p)) })
        .take_while(move |size| *size == full || size.area() >= SMALLEST.area())
}

#[cfg(test)]
mod tests;
