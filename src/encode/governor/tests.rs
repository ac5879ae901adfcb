//! Scenarios on virtual time: a board with a given encoding time per picture, and a camera.

use std::sync::Arc;

use super::*;
use crate::encode::budget::{Account, Budget};

const HD: Step = Step { size: Size::new(1280, 720), fps: 30.0, smaller: true };

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// The board's work: as soon as it is done with a picture, it takes the newest one, at the rate of the step.
struct Board {
    governor: Governor,
    start: Pts,
    now: Pts,
    /// Frame rate of the camera.
    camera: f64,
    /// The pixels that viewers want, as a share of those of the full rung.
    wished: f64,
    /// Time for each picture before it is encoded.
    fixed: Duration,
    changes: Vec<(f64, Change)>,
}

impl Board {
    fn new(full: Step) -> Self {
        let start = Pts::from_micros(77_000_000_000);
        let (governor, camera) = (Governor::new(full.size, full.fps), full.fps);
        let (wished, fixed) = (1.0, Duration::ZERO);
        Self { governor, start, now: start, camera, wished, fixed, changes: vec![] }
    }

    fn seconds(&self) -> f64 {
        self.now.since(self.start).as_secs_f64()
    }

    /// Runs for `seconds`, with full pictures that take `busy(size, seconds since the start)`, and others
    /// proportionally less.
    fn run(&mut self, seconds: f64, busy: impl Fn(Size, f64) -> Duration, pressure: Option<Pressure>) {
        let end = self.seconds() + seconds;
        while self.seconds() < end {
            let step = self.governor.step();
            let interval = ms(1e3 / self.camera.min(step.fps));
            let share = if step.smaller { self.wished } else { 1.0 };
            let encoding = busy(step.size, self.seconds()).mul_f64(share);
            let spent = Spent { fixed: self.fixed, encoding, share, ..Default::default() };
            let busy = spent.busy();
            let change = self.governor.observe(self.now + busy, spent, pressure, Others::NONE);
            self.now = self.now + busy.max(interval);
            let at = self.seconds();
            self.changes.extend(change.map(|change| (at, change)));
        }
    }

    fn steps(&self) -> Vec<(u32, f64)> {
        self.changes.iter().map(|(_, c)| (c.step.size.height, c.step.fps)).collect()
    }
}

/// A board that takes `ns` nanoseconds per pixel.
fn pixels(ns: f64) -> impl Fn(Size, f64) -> Duration {
    move |size, _| ms(size.area() as f64 * ns / 1e6)
}

fn told(ladder: &[Step]) -> String {
    let told = |s: &Step| format!("{} {}", s.size, s.fps);
    ladder.iter().map(told).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_step_of_every_ladder_is_cheaper_and_of_even_size() {
    assert_eq!(
        told(&ladder(HD.size, HD.fps)[1..]),
        "1280x720 30, 1280x720 20, 1280x720 15, 1280x720 10, 960x540 15, 960x540 10, \
         640x360 20, 640x360 15, 640x360 10, 480x270 15, 480x270 10, 320x180 20, 320x180 15, 320x180 10"
    );
    assert_eq!(
        told(&ladder(Size::new(640, 480), 60.0)[1..]),
        "640x480 60, 640x480 30, 640x480 20, 640x480 15, 640x480 10, 480x360 15, 480x360 10, \
         320x240 20, 320x240 15, 320x240 10"
    );
    for (width, height, fps) in [(1920, 1080, 25.0), (3840, 2160, 30.0), (720, 1280, 24.0), (177, 99, 9.0)] {
        let size = Size::new(width, height);
        let ladder = ladder(size, fps);
        assert_eq!(ladder[0], Step { size, fps, smaller: true });
        assert_eq!(ladder[1], Step { smaller: false, ..ladder[0] }, "the smaller rungs go first");
        for pair in ladder[1..].windows(2) {
            assert!(pair[1].cost() < CHEAPER * pair[0].cost(), "{pair:?}");
            assert_eq!((pair[1].size.width & 1, pair[1].size.height & 1), (0, 0), "{pair:?}");
        }
    }
    assert_eq!(told(&ladder(Size::new(176, 144), 10.0)[1..]), "176x144 10");
}

#[test]
fn overload_is_seen_within_a_second_and_said_in_figures() {
    for (busy, step, why) in [
        (41.0, (720, 20.0), "encoding takes 41 ms per picture, more than the 33 ms available"),
        (32.0, (720, 20.0), "encoding takes 32 ms per picture, nearly all of the 33 ms available"),
        (50.0, (720, 15.0), "encoding takes 50 ms per picture, more than the 33 ms available"),
        (80.0, (720, 10.0), "encoding takes 80 ms per picture, more than the 33 ms available"),
    ] {
        let mut board = Board::new(HD);
        board.run(20.0, |_, _| ms(busy), None);
        assert_eq!(board.steps(), [step], "{busy}");
        assert_eq!(board.changes[0].1.why.as_deref(), Some(why));
        // Also after a time without load.
        let mut board = Board::new(HD);
        board.run(60.0, |_, _| ms(10.0), None);
        board.run(20.0, |_, _| ms(busy), None);
        assert!(board.changes[0].0 < 61.1, "{:?}", board.changes);
        assert_eq!(board.steps().last(), Some(&step), "{busy}");
    }
}

#[test]
fn a_board_of_any_speed_finds_what_it_carries_and_stays_there() {
    // Nanoseconds per pixel for everything; a Raspberry Pi 4 takes about 15.
    for (ns, step) in [
        (15.0, (720, 30.0)),
        (32.0, (720, 30.0)),
        (40.0, (720, 20.0)),
        (55.0, (720, 15.0)),
        (80.0, (720, 10.0)),
        (105.0, (540, 15.0)),
        (150.0, (540, 10.0)),
        (230.0, (360, 15.0)),
        (600.0, (270, 10.0)),
        (1_000.0, (180, 10.0)),
        (9_000.0, (180, 10.0)),
    ] {
        let mut board = Board::new(HD);
        board.run(4.0 * 3_600.0, pixels(ns), None);
        let at = board.governor.step();
        assert_eq!((at.size.height, at.fps), step, "{ns} ns: {:?}", board.changes);
        assert!(board.changes.len() <= 2, "{ns} ns: {:?}", board.changes);
        // A very slow board needs some time for four pictures.
        let found = board.changes.last().map_or(0.0, |(at, _)| *at);
        assert!(found < 1.1 || found * 1e3 < 6.0 * ns * HD.size.area() as f64 / 1e6, "{ns} ns: {found} s");
    }
}

#[test]
fn slow_pictures_now_and_then_are_no_overload() {
    let mut board = Board::new(HD);
    let spikes = |_, at: f64| if at % 1.7 < 0.03 { ms(900.0) } else { ms(15.0) };
    board.run(3_600.0, spikes, None);
    assert_eq!(board.steps(), []);
    // But they are found where no time is left between them.
    let mut starved = Board::new(HD);
    starved.run(20.0, |_, at| if at % 1.2 < 0.2 { ms(700.0) } else { ms(50.0) }, None);
    let (at, _) = starved.changes.first().expect("a step down");
    assert!((5.0..9.0).contains(at), "{:?}", starved.changes);
    // A camera in the dark delivers half the rate, so there is twice the time.
    board.camera = 15.0;
    board.run(600.0, |_, _| ms(45.0), None);
    assert_eq!(board.steps(), []);
}

#[test]
fn it_comes_back_when_the_load_has_gone() {
    let mut board = Board::new(HD);
    board.run(30.0, pixels(130.2), None);
    assert_eq!(board.steps(), [(540, 10.0)]);
    board.run(30.0, pixels(40.0), None);
    assert_eq!(board.steps()[1..], [(720, 15.0)], "{:?}", board.changes);
    let why = board.changes[1].1.why.as_deref();
    assert_eq!(why, Some("encoding took 120 ms per picture, more than the 33 ms available"));
    board.run(30.0, pixels(10.0), None);
    let (at, change) = board.changes.last().unwrap();
    assert_eq!(*change, Change { step: HD, why: None });
    assert!((10.0..11.5).contains(&(at - 60.0)), "{at}");
}

#[test]
fn it_never_swings() {
    // A higher rate makes each picture slower: the prediction for a step up is always wrong.
    let mut board = Board::new(HD);
    board.run(60.0, |_, _| ms(45.0), None);
    let (mut hours, mut before) = (vec![], board.changes.len());
    for _ in 0..12 {
        for _ in 0..3_600 {
            let busy = if board.governor.step().fps > 20.0 { 45.0 } else { 15.0 };
            board.run(1.0, |_, _| ms(busy), None);
        }
        hours.push(board.changes.len() - before);
        before = board.changes.len();
    }
    assert!(hours[0] <= 20, "{hours:?}");
    assert!(hours[1..].iter().all(|changes| *changes <= 10), "{hours:?}");
    // A load right at the limit, with noise.
    let mut board = Board::new(HD);
    let noise = |n: f64| (n * 12.9898).sin() * 43_758.545 % 1.0;
    board.run(6.0 * 3_600.0, |_, at| ms(29.0 + 6.0 * noise(at)), None);
    assert!(board.changes.len() < 40, "{}: {:?}", board.changes.len(), board.steps());
}

#[test]
fn an_old_failure_is_forgotten() {
    let mut board = Board::new(HD);
    for _ in 0..5 {
        board.run(20.0, |_, _| ms(41.0), None);
        board.run(2.0 * 3_600.0, |_, _| ms(10.0), None);
    }
    let up: Vec<f64> = board.changes.chunks(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(up.iter().all(|time| (20.0..32.0).contains(time)), "{up:?}");
}

#[test]
fn pressure_takes_a_step_every_so_often_and_gives_back_with_care() {
    let mut board = Board::new(HD);
    board.run(30.0, pixels(20.0), None);
    board.run(45.0, pixels(20.0), Some(Pressure::Heat));
    assert_eq!(board.steps(), [(720, 20.0), (720, 15.0), (720, 10.0)]);
    assert_eq!(board.changes[0].1.why.as_deref(), Some("the board is too hot"));
    let gone = board.seconds();
    board.run(15.0 * 60.0, pixels(20.0), None);
    let up: Vec<f64> = board.changes[3..].iter().map(|(at, _)| at - gone).collect();
    assert_eq!(board.steps()[3..], [(720, 15.0), (720, 20.0), (720, 30.0)]);
    assert!(up[0] > 60.0 && up.windows(2).all(|pair| pair[1] - pair[0] >= 60.0), "{up:?}");
    assert_eq!(board.changes[3].1.why.as_deref(), Some("the board was too hot"));
    assert_eq!(board.changes[5].1.why, None);
    // The pressure comes back each time: the pauses grow.
    for _ in 0..6 {
        board.run(5.0, pixels(20.0), Some(Pressure::UnderVoltage));
        board.run(20.0 * 60.0, pixels(20.0), None);
    }
    let last: Vec<_> = board.changes.iter().rev().take(2).collect();
    assert_eq!(last[1].1.why.as_deref(), Some("the power supply is too weak"));
    assert!(last[0].0 - last[1].0 > 600.0, "{last:?}");
}

#[test]
fn a_board_that_is_hot_for_other_reasons_keeps_its_picture() {
    let mut board = Board::new(HD);
    board.run(3_600.0, pixels(5.0), Some(Pressure::Heat));
    assert_eq!(board.steps(), []);
    board.run(3_600.0, pixels(20.0), Some(Pressure::Heat));
    assert_eq!(board.steps(), [(720, 20.0), (720, 15.0), (720, 10.0)], "the load is little by then");
}

#[test]
fn smaller_rungs_go_first_and_come_back_last() {
    // A picture of full size and one of half size: 26 ms and 6.5 ms.
    let mut board = Board::new(HD);
    board.wished = 1.25;
    board.run(30.0, |_, _| ms(26.0), None);
    let [(at, change)] = &board.changes[..] else { panic!("{:?}", board.changes) };
    assert_eq!(change.step, Step { smaller: false, ..HD });
    assert!(*at < 1.1 && change.why.as_deref().is_some_and(|why| why.contains("33 ms")), "{change:?}");
    // Slower, and then as before: the full rate fits again, the half rung would not.
    board.run(30.0, |_, _| ms(41.0), None);
    assert_eq!(board.governor.step(), Step { fps: 20.0, smaller: false, ..HD });
    board.run(600.0, |_, _| ms(20.0), None);
    assert_eq!(board.governor.step(), Step { smaller: false, ..HD });
    board.run(600.0, |_, _| ms(10.0), None);
    assert_eq!(board.governor.step(), HD);
    assert_eq!(board.changes.last().expect("changes").1.why, None);
}

#[test]
fn where_all_see_the_half_one_the_full_one_is_no_relief() {
    let mut board = Board::new(HD);
    board.wished = 0.25;
    // 129 ms for full size, 32 ms for half size: full pictures gain nothing.
    board.run(30.0, pixels(140.0), None);
    assert_eq!(board.steps(), [(540, 10.0)], "{:?}", board.changes);
}

#[test]
fn who_takes_a_moment_to_leave_a_rung_costs_no_further_step() {
    let (mut board, mut left) = (Board::new(HD), None);
    for n in 0..900u32 {
        let step = board.governor.step();
        left = left.or((!step.smaller).then_some(n));
        // The half rung is still encoded for a second.
        let share = if left.is_some_and(|at| n > at + 30) { 1.0 } else { 1.25 };
        let spent = Spent { encoding: ms(26.0 * share), share, ..Default::default() };
        board.now = board.now + ms(33.3);
        let change = board.governor.observe(board.now, spent, None, Others::NONE);
        board.changes.extend(change.map(|change| (0.0, change)));
    }
    assert_eq!(board.steps(), [(720, 30.0)], "{:?}", board.changes);
}

#[test]
fn what_conversion_takes_is_the_same_at_any_size() {
    // 12 ms fixed per picture, and 50 ms in full size: in half size it is 24.5 ms, not 15.5.
    let mut board = Board::new(HD);
    board.fixed = ms(12.0);
    board.run(60.0, pixels(54.25), None);
    let step = board.governor.step();
    assert_eq!((step.size.height, step.fps), (720, 10.0), "{:?}", board.changes);
    assert_eq!(board.changes.len(), 1);
}

#[test]
fn sleep_is_no_measure() {
    let mut board = Board::new(HD);
    board.run(20.0, |_, _| ms(41.0), None);
    assert_eq!(board.steps(), [(720, 20.0)]);
    // Nobody watches for an hour; then somebody does for a few seconds at a time.
    for _ in 0..10 {
        board.now = board.now + Duration::from_secs(3_600);
        board.run(8.0, |_, _| ms(10.0), None);
    }
    assert_eq!(board.changes.len(), 1, "{:?}", board.changes);
    board.run(8.0, |_, _| ms(10.0), None);
    assert_eq!(board.governor.step(), HD);
}

/// Two cameras on one board. A picture takes a given time alone; where more threads run at once than there
/// are CPU cores, it takes longer and its threads wait.
struct Two {
    cameras: [Camera; 2],
    now: Pts,
    processors: f64,
    /// Times at which each camera changed its tier.
    steps: Vec<(f64, usize, Tier)>,
}

struct Camera {
    governor: Governor,
    account: Account,
    /// Time for a full picture alone, and the pixels that viewers want.
    alone: Duration,
    wished: f64,
    /// The share of the time that its threads run or wait.
    load: f64,
    due: Pts,
}

impl Camera {
    fn share(&self) -> f64 {
        if self.governor.step().smaller { self.wished } else { 1.0 }
    }

    /// Time for a picture of the current step alone.
    fn alone(&self) -> Duration {
        let pixels = self.governor.step().size.area() as f64 / HD.size.area() as f64;
        self.alone.mul_f64(self.share() * pixels)
    }
}

impl Two {
    fn new(processors: f64, alone: [f64; 2]) -> Self {
        let (budget, now) = (Arc::<Budget>::default(), Pts::from_micros(5_000_000_000));
        let camera = |alone| {
            let (governor, account) = (Governor::new(HD.size, HD.fps), budget.open());
            Camera { governor, account, alone: ms(alone), wished: 1.25, load: 0.0, due: now }
        };
        Self { cameras: alone.map(camera), now, processors, steps: vec![] }
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now + ms(seconds * 1e3);
        while self.now < end {
            self.now = self.cameras[0].due.min(self.cameras[1].due).max(self.now);
            for n in 0..2 {
                let running = 1.0 + self.cameras[1 - n].load;
                let camera = &mut self.cameras[n];
                if camera.due > self.now {
                    continue;
                }
                let (alone, interval) = (camera.alone(), ms(1e3 / camera.governor.step().fps));
                let encoding = alone.mul_f64((running / self.processors).max(1.0));
                let (waited, share) = (encoding - alone, camera.share());
                camera.load = (encoding.as_secs_f64() / interval.as_secs_f64()).min(1.0);
                camera.due = self.now + encoding.max(interval);
                let spent = Spent { fixed: Duration::ZERO, encoding, waited, share };
                let change = camera.governor.observe(self.now, spent, None, camera.account.others());
                camera.account.report(camera.governor.stand());
                if change.is_some() {
                    let at = self.now.since(Pts::from_micros(5_000_000_000)).as_secs_f64();
                    self.steps.push((at, n, camera.governor.stand().at));
                }
            }
        }
    }

    fn tiers(&self) -> [Tier; 2] {
        [0, 1].map(|n| self.cameras[n].governor.stand().at)
    }
}

#[test]
fn cameras_that_share_processors_give_up_together() {
    // Stopping the smaller rungs of both is enough.
    let mut two = Two::new(1.0, [14.0, 14.0]);
    two.cameras.iter_mut().for_each(|camera| camera.wished = 1.5);
    two.run(30.0);
    assert_eq!(two.tiers(), [Tier::Rungs; 2], "{:?}", two.steps);
    // One needs a lower frame rate; the other stops its smaller rungs.
    let mut two = Two::new(1.0, [26.0, 8.0]);
    two.run(60.0);
    assert_eq!(two.tiers(), [Tier::Frames, Tier::Rungs], "{:?}", two.steps);
    let mut two = Two::new(0.15, [16.0, 16.0]);
    two.run(60.0);
    assert_eq!(two.tiers(), [Tier::Size; 2], "{:?}", two.steps);
    // Everything comes back, size first, without flipping back and forth.
    two.processors = 4.0;
    two.run(300.0);
    assert_eq!(two.tiers(), [Tier::All; 2], "{:?}", two.steps);
    assert!(two.steps.len() <= 16, "{:?}", two.steps);
    // They were never more than a tier apart for longer than it may take one to follow the other.
    let (mut at, mut apart) = ([Tier::All; 2], None);
    for (when, camera, tier) in two.steps {
        assert!(apart.is_none_or(|since| when - since < 3.0), "since {apart:?}");
        at[camera] = tier;
        let far = at[0].max(at[1]).above() > at[0].min(at[1]);
        apart = if far { apart.or(Some(when)) } else { None };
    }
}

#[test]
fn one_that_is_slow_by_itself_costs_the_other_nothing() {
    let mut two = Two::new(4.0, [60.0, 5.0]);
    two.run(60.0);
    assert_eq!(two.tiers(), [Tier::Frames, Tier::All], "{:?}", two.steps);
}

#[test]
fn what_helped_is_given_back_with_care() {
    let mut two = Two::new(1.0, [26.0, 8.0]);
    two.run(4.0 * 3_600.0);
    let hour = two.steps.iter().filter(|(at, ..)| *at > 3.0 * 3_600.0).count();
    assert!(two.steps.len() < 60 && hour <= 12, "{}: {:?}", two.steps.len(), two.steps);
    // The other camera is closed.
    two.cameras[0].account.rest();
    (two.cameras[0].alone, two.cameras[0].due) = (Duration::ZERO, two.now + Duration::from_secs(86_400));
    two.run(3_600.0);
    assert_eq!(two.tiers()[1], Tier::All, "{:?}", two.steps);
}
