//! Tests of what is sent while a viewer switches rungs or cameras.

use std::time::Duration;

use super::*;
use crate::media::frame::Size;
use crate::testing::Random;

/// Time between two pictures, in microseconds.
const INTERVAL: u64 = 33_333;

fn at(n: u64) -> Pts {
    Pts::from_micros(1_000_000_000 + n * INTERVAL)
}

fn unit(n: u64, idr: bool) -> Arc<VideoUnit> {
    let pts = at(n);
    Arc::new(VideoUnit::bare(pts, n as u32, idr))
}

/// A switch, and what it has sent.
#[derive(Default)]
struct Scene {
    switch: Switch,
    out: VecDeque<Arc<VideoUnit>>,
}

impl Scene {
    fn old(&mut self, n: u64, agreed: Option<u64>) -> bool {
        self.switch.old(unit(n, false), agreed.map(at), &mut self.out)
    }

    /// An IDR was agreed.
    fn next(&mut self, n: u64, idr: bool) -> Arrival {
        self.switch.next(&unit(n, idr), idr.then(|| at(n)), &mut self.out)
    }

    fn sent(&mut self) -> Vec<u32> {
        self.out.drain(..).map(|u| u.rtp_time).collect()
    }
}

#[test]
fn from_the_agreed_time_on_only_the_target_is_sent() {
    let mut scene = Scene::default();
    assert!(scene.old(1, None) && scene.old(2, Some(3)));
    assert_eq!(scene.sent(), [1, 2]);
    assert!(scene.old(3, Some(3)));
    assert_eq!(scene.next(2, false), Arrival::Useless);
    assert_eq!(scene.sent(), [] as [u32; 0]);
    assert_eq!(scene.next(3, true), Arrival::Switched);
    assert_eq!(scene.sent(), [3]);
    assert!(scene.old(4, None));
    assert_eq!(scene.sent(), [4], "it continues from there");
}

#[test]
fn an_idr_that_does_not_come_keeps_nothing_back_for_long() {
    let mut scene = Scene::default();
    assert!(scene.old(5, Some(5)) && scene.old(6, Some(5)));
    assert_eq!(scene.sent(), [] as [u32; 0]);
    assert!(!scene.old(7, Some(5)), "two are enough");
    assert_eq!(scene.sent(), [5, 6, 7]);
    assert!(scene.old(8, Some(5)));
    assert_eq!(scene.sent(), [8], "it does not wait for this one again");
    assert_eq!(scene.next(5, true), Arrival::TooLate);
    assert_eq!(scene.sent(), [] as [u32; 0]);
    assert!(scene.old(9, Some(10)) && scene.old(10, Some(10)));
    assert_eq!(scene.next(10, true), Arrival::Switched);
    assert_eq!(scene.sent(), [9, 10]);
}

#[test]
fn where_an_idr_takes_longer_than_two_pictures_it_is_waited_for_longer() {
    // Four pictures from the agreed time to its IDR, each time.
    let (mut scene, mut agreed, mut n) = (Scene::default(), 1, 0);
    let attempts = loop {
        n += 1;
        scene.old(n, Some(agreed));
        if n < agreed + 4 {
            continue;
        }
        match scene.next(agreed, true) {
            Arrival::Switched => break n / 5,
            _ => agreed = n + 1,
        }
    };
    assert!(attempts <= 3, "{attempts}");
    assert!(scene.sent().windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn an_agreed_time_that_moves_on_sends_what_is_before_it() {
    let mut scene = Scene::default();
    scene.old(5, Some(5));
    scene.old(6, Some(7)); // its picture was replaced by the next but one
    assert_eq!(scene.sent(), [5, 6]);
    scene.old(7, Some(7));
    assert_eq!(scene.next(7, true), Arrival::Switched);
    assert_eq!(scene.sent(), [7]);
}

#[test]
fn an_idr_that_comes_unasked_is_as_good() {
    let mut scene = Scene::default();
    assert_eq!(scene.next(4, true), Arrival::Switched, "nothing was sent yet");
    scene.old(5, None);
    scene.old(6, Some(6));
    assert_eq!(scene.next(8, true), Arrival::Switched);
    assert_eq!(scene.sent(), [4, 5, 6, 8], "the pictures held back come first");
}

#[test]
fn who_stays_gets_what_was_held_back() {
    let mut scene = Scene::default();
    scene.old(5, Some(5));
    scene.switch.cancel(&mut scene.out);
    assert_eq!(scene.sent(), [5]);
}

#[test]
fn one_that_decides_later_than_the_old_one_delivers_is_met_by_keeping_pictures_back() {
    // The target's IDR becomes known only after this many later pictures of the old camera.
    for behind in 1..MOST_HELD as u64 {
        let mut scene = Scene::default();
        let mut attempts = 0;
        let mut n = 0;
        let begins = loop {
            attempts += 1;
            let agreed = n + 1;
            for _ in 0..=behind {
                n += 1;
                assert!(scene.old(n, None));
            }
            match scene.next(agreed, true) {
                Arrival::Switched => break agreed,
                arrival => assert_eq!(arrival, Arrival::TooLate),
            }
        };
        assert!(attempts <= 3, "{behind}: {attempts}");
        let sent = scene.sent();
        assert_eq!(sent, (1..=begins as u32).collect::<Vec<_>>(), "{behind}: all of them, and no later one");
    }
}

#[test]
fn one_that_decides_far_too_late_is_recognised() {
    let mut scene = Scene::default();
    for n in 0..u64::from(MOST_LATE) {
        assert!(scene.switch.late < MOST_LATE, "{n}");
        (0..20).for_each(|m| assert!(scene.old(n * 20 + m, None)));
        assert_eq!(scene.next(n * 20, true), Arrival::TooLate);
    }
    assert_eq!(scene.switch.late, MOST_LATE, "then there is a short freeze");
}

/// The rungs of a camera, on virtual time: each encoder takes the newest picture when it is done with the
/// last.
pub(crate) struct Rungs {
    pub camera: Arc<Camera>,
    encoders: [Encoder; 3],
    random: Random,
    /// Makes the unit of a picture.
    make: fn(Pts, bool, Share) -> VideoUnit,
    /// An encoder fails at one of this many pictures.
    fails: Option<u64>,
    /// Longest time for a picture; an IDR may take twice as long.
    time: Duration,
    /// Time from capture to the encoders' slots, and the pictures on their way there.
    decode: Duration,
    captured: VecDeque<Pts>,
}

#[derive(Default)]
struct Encoder {
    slot: Option<(Pts, bool)>,
    /// The picture in work, whether it becomes an IDR, and when it is done.
    work: Option<(Pts, bool, Pts)>,
    broken: bool,
}

impl Rungs {
    pub(crate) fn new(
        seed: u64,
        make: fn(Pts, bool, Share) -> VideoUnit,
        fails: Option<u64>,
        time: Duration,
    ) -> Self {
        Self::of("camera", seed, make, fails, time)
    }

    /// Creates the camera of that name.
    pub(crate) fn of(
        name: &str,
        seed: u64,
        make: fn(Pts, bool, Share) -> VideoUnit,
        fails: Option<u64>,
        time: Duration,
    ) -> Self {
        let camera = Arc::new(Camera::new(name, name));
        camera.video.offer(Offered { size: Some(Size::new(1280, 720)), ..Offered::default() });
        let (encoders, random) = (Default::default(), Random(seed));
        let (decode, captured) = (Duration::ZERO, VecDeque::new());
        Self { camera, encoders, random, make, fails, time, decode, captured }
    }

    /// The same, with this time from capture to the encoders.
    fn decoding(self, decode: Duration) -> Self {
        Self { decode, ..self }
    }

    fn track(&self, wish: Quality) -> Track {
        let mut track = Track::default();
        track.show(&self.camera, wish);
        track
    }

    /// A random quality.
    pub(crate) fn wish(&mut self) -> Quality {
        [Quality::Full, Quality::Half, Quality::Quarter][self.random.below(3) as usize]
    }

    /// A picture is captured at `at`.
    pub(crate) fn picture(&mut self, at: Pts) {
        self.captured.push_back(at);
    }

    /// Passes pictures that were captured long enough ago to the encoders, like the convert thread.
    fn hand_out(&mut self, now: Pts) {
        while let Some(pts) = self.captured.front().copied().filter(|pts| *pts + self.decode <= now) {
            self.captured.pop_front();
            self.decide(pts, now);
        }
    }

    fn decide(&mut self, pts: Pts, now: Pts) {
        let hubs = Share::ALL.map(|share| self.camera.video.hub(share));
        let watched = hubs.map(|hub| hub.subscribers() > 0);
        let decided: Vec<bool> = hubs
            .iter()
            .zip(&self.encoders)
            .zip(watched)
            .map(|((hub, e), watched)| watched && hub.begin(pts, e.slot.is_some_and(|(_, idr)| idr), now))
            .collect();
        for ((e, idr), watched) in self.encoders.iter_mut().zip(decided).zip(watched) {
            if watched {
                e.slot = Some((pts, idr));
            }
        }
    }

    /// Everything that the encoders do until now.
    pub(crate) fn turn(&mut self, now: Pts) {
        self.hand_out(now);
        for (e, share) in self.encoders.iter_mut().zip(Share::ALL) {
            let hub = self.camera.video.hub(share);
            if let Some((pts, idr, done)) = e.work.take_if(|(_, _, done)| *done <= now) {
                if self.fails.is_some_and(|of| self.random.below(of) == 0) {
                    e.broken = true;
                    hub.missed();
                } else {
                    hub.publish(&Arc::new(VideoUnit { ready: done, ..(self.make)(pts, idr, share) }));
                }
            }
            if e.work.is_none()
                && let Some((pts, idr)) = e.slot.take()
            {
                // A new encoder begins with an IDR.
                let idr = idr || std::mem::take(&mut e.broken);
                let most = self.time.as_micros() as u64 * if idr { 2 } else { 1 };
                let time = Duration::from_micros(most / 3 + self.random.below(most * 2 / 3));
                e.work = Some((pts, idr, now + time));
            }
        }
    }

    /// When the next encoder is ready, or has a picture to take.
    pub(crate) fn due(&self) -> Option<Pts> {
        let handed_out = self.captured.front().map(|pts| *pts + self.decode);
        self.encoders.iter().filter_map(|e| e.work.map(|(_, _, done)| done)).chain(handed_out).min()
    }
}

/// A tile that is enlarged is sharp at once, unless the link has shown that it carries less.
#[test]
fn a_larger_size_that_is_requested_later_comes_at_once() {
    let camera = Arc::new(Camera::new("camera", "Camera"));
    let size = Some(Size::new(1280, 720));
    camera.video.offer(Offered { size, bitrate_bps: 2_000_000, fps: 30.0, ..Offered::default() });
    for (carried_bps, expected) in [(10e6, Share::Full), (200e3, Share::Half)] {
        let mut track = Track::default();
        track.begin(carried_bps);
        let rungs = [Quality::Quarter, Quality::Full].map(|wish| {
            track.show(&camera, wish);
            track.choose(carried_bps, Instant::now());
            track.next.as_ref().map(|next| next.layers.share)
        });
        assert_eq!(rungs, [Some(Share::Quarter), Some(expected)]);
    }
}

/// A random walk over the rungs, with encoders of random speed that fail now and then: the result is a stream
/// that any decoder accepts, without freezes.
#[test]
fn a_random_walk_over_the_rungs_is_one_stream() {
    let make = |pts: Pts, idr, share: Share| VideoUnit::bare(pts, share.index() as u32, idr);
    for seed in 0..20u64 {
        let mut rungs = Rungs::new(seed, make, Some(60), Duration::from_millis(25));
        let (mut track, mut random) = (rungs.track(Quality::Full), Random(seed + 1_000));
        // What was sent: capture time, whether it is an IDR, the rung, and when it was sent.
        let mut sent: Vec<(Pts, bool, u32, Pts)> = vec![];
        let (mut wishes, mut switches) = (0, 0);
        for ms in 0..120_000u64 {
            let now = at(0) + Duration::from_millis(ms);
            if ms % 33 == 0 {
                rungs.picture(now);
            }
            rungs.turn(now);
            if random.below(300) == 0 {
                wishes += 1;
                let wish = rungs.wish();
                track.show(&rungs.camera, wish);
            }
            while let Some(unit) = track.try_recv() {
                sent.push((unit.pts, unit.idr, unit.rtp_time, now));
            }
            switches += usize::from(track.changed());
        }
        assert!(wishes > 300 && switches > 100, "{seed}: {switches} switches by {wishes} wishes");
        for pair in sent.windows(2) {
            let [(before, _, old, then), (after, idr, new, now)] = pair else { unreachable!() };
            assert!(before < after, "{seed}: time goes back at {after:?}");
            assert!(old == new || *idr, "{seed}: a rung begins without an IDR at {after:?}");
            // A failed encoder leaves out a picture, and another one may be replaced while a new encoder is
            // created.
            assert!(after.since(*before) <= Duration::from_millis(4 * 33), "{seed}: {before:?} to {after:?}");
            assert!(
                now.since(*then) < Duration::from_millis(200),
                "{seed}: nothing for {:?}",
                now.since(*then)
            );
        }
    }
}

/// A random walk over two cameras of any speed, and their rungs, is still one stream. They capture at
/// different times, so the time between two pictures may be two thirds longer, or a little shorter.
#[test]
fn a_random_walk_over_two_cameras_is_one_stream() {
    fn make<const CAMERA: u32>(pts: Pts, idr: bool, share: Share) -> VideoUnit {
        let rtp_time = CAMERA * 10 + share.index() as u32;
        VideoUnit::bare(pts, rtp_time, idr)
    }
    // Time from capture to the encoders: equal, one camera slower by more than a picture, and one so slow
    // that holding back does not help.
    for (seed, decode) in
        [(1, 0), (2, 20), (3, 80), (4, 400)].into_iter().flat_map(|(s, d)| [(s, d), (s + 10, d)])
    {
        let time = Duration::from_millis(25);
        let mut cameras = [
            Rungs::of("front", seed, make::<0>, None, time),
            Rungs::of("back", seed + 100, make::<1>, None, time).decoding(Duration::from_millis(decode)),
        ];
        let (mut track, mut random) = (cameras[0].track(Quality::Full), Random(seed + 1_000));
        let (mut sent, mut crossed, mut asked, mut waits) = (vec![], 0, None, vec![]);
        let (mut target, mut changes) = (0, 0);
        for ms in 0..120_000u64 {
            let now = at(0) + Duration::from_millis(ms);
            for (n, camera) in cameras.iter_mut().enumerate() {
                if ms % 33 == 20 * n as u64 {
                    camera.picture(now);
                }
                camera.turn(now);
            }
            if ms % 3_000 == 2_999 {
                changes += 1;
                target = random.below(2) as usize;
                let wish = cameras[target].wish();
                track.show(&cameras[target].camera, wish);
                asked = Some(now);
            }
            while let Some(unit) = track.try_recv() {
                sent.push((unit.pts, unit.idr, unit.rtp_time, now));
            }
            if asked.is_some() && track.next.is_none() {
                waits.extend(asked.take().map(|asked| now.since(asked)));
                let name = ["front", "back"][target];
                assert!(track.gets().is_some_and(|(camera, _)| camera == name), "{decode} ms");
            }
        }
        for pair in sent.windows(2) {
            let [(before, _, old, then), (after, idr, new, now)] = pair else { unreachable!() };
            assert!(before < after, "{decode} ms: time goes back at {after:?}");
            assert!(old == new || *idr, "{decode} ms: another begins without an IDR at {after:?}");
            crossed += usize::from(old / 10 != new / 10);
            let most = if decode < 400 { 400 } else { 1_500 };
            let still = now.since(*then);
            assert!(still < Duration::from_millis(most), "{decode} ms: nothing for {still:?}");
        }
        assert!(crossed > 8, "{decode} ms: {crossed}");
        let longest = waits.iter().max().expect("some");
        println!("{decode} ms behind: {crossed} times to another camera, at most after {longest:?}");
        assert!(
            waits.len() + 1 >= changes && *longest < Duration::from_millis(2_000),
            "{decode} ms: {longest:?}"
        );
    }
}
