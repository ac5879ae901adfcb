//! What is sent while a viewer goes from one rung to another.

use std::time::Duration;

use super::*;
use crate::media::frame::Size;

/// Between two pictures, microseconds.
const INTERVAL: u64 = 33_333;

fn at(n: u64) -> Pts {
    Pts::from_micros(1_000_000_000 + n * INTERVAL)
}

fn unit(n: u64, idr: bool) -> Arc<VideoUnit> {
    let pts = at(n);
    Arc::new(VideoUnit { pts, taken: pts, ready: pts, rtp_time: n as u32, idr, payloads: vec![] })
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

    fn next(&mut self, n: u64, idr: bool) -> Arrival {
        self.switch.next(&unit(n, idr), &mut self.out)
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
    assert_eq!(scene.sent(), [4], "it goes on from there");
}

#[test]
fn an_idr_that_does_not_come_keeps_nothing_back_for_long() {
    let mut scene = Scene::default();
    assert!(scene.old(5, Some(5)) && scene.old(6, Some(5)));
    assert_eq!(scene.sent(), [] as [u32; 0]);
    assert!(!scene.old(7, Some(5)), "two are enough");
    assert_eq!(scene.sent(), [5, 6, 7]);
    assert!(scene.old(8, Some(5)));
    assert_eq!(scene.sent(), [8], "it is not waited for again");
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
    assert_eq!(scene.sent(), [4, 5, 6, 8], "what was held back is before it");
}

#[test]
fn who_stays_gets_what_was_held_back() {
    let mut scene = Scene::default();
    scene.old(5, Some(5));
    scene.switch.cancel(&mut scene.out);
    assert_eq!(scene.sent(), [5]);
}

/// Random numbers below a limit.
pub fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// The rungs of a camera, on virtual time: each encoder takes the newest picture when it is done with the last.
pub struct Rungs {
    stream: Arc<VideoStream>,
    encoders: [Encoder; 3],
    random: Box<dyn FnMut(u64) -> u64>,
    /// What it makes of a picture.
    make: fn(Pts, bool, Share) -> VideoUnit,
    /// An encoder fails at one of so many pictures.
    fails: Option<u64>,
    /// A picture takes up to so much, and an IDR up to twice as much.
    time: Duration,
}

#[derive(Default)]
struct Encoder {
    slot: Option<(Pts, bool)>,
    /// The picture in work, whether it becomes an IDR, and when that is done.
    work: Option<(Pts, bool, Pts)>,
    broken: bool,
}

impl Rungs {
    pub fn new(
        seed: u64,
        make: fn(Pts, bool, Share) -> VideoUnit,
        fails: Option<u64>,
        time: Duration,
    ) -> Self {
        let stream = Arc::new(VideoStream::default());
        stream.offer(Offered { size: Some(Size::new(1280, 720)), ..Offered::default() });
        Self { stream, encoders: Default::default(), random: Box::new(random(seed)), make, fails, time }
    }

    pub fn track(&self, wish: Quality) -> Track {
        Track::new(self.stream.clone(), wish)
    }

    /// A wish like any other.
    pub fn wish(&mut self) -> Quality {
        [Quality::Full, Quality::Half, Quality::Quarter][(self.random)(3) as usize]
    }

    /// A picture is captured, as the convert thread hands it out.
    pub fn picture(&mut self, now: Pts) {
        let hubs = Share::ALL.map(|share| self.stream.hub(share));
        let watched = hubs.map(|hub| hub.subscribers() > 0);
        let decided: Vec<bool> = hubs
            .iter()
            .zip(&self.encoders)
            .zip(watched)
            .map(|((hub, e), watched)| watched && hub.begin(now, e.slot.is_some_and(|(_, idr)| idr), now))
            .collect();
        for ((e, idr), watched) in self.encoders.iter_mut().zip(decided).zip(watched) {
            if watched {
                e.slot = Some((now, idr));
            }
        }
    }

    /// All that the encoders do until now.
    pub fn turn(&mut self, now: Pts) {
        for (e, share) in self.encoders.iter_mut().zip(Share::ALL) {
            let hub = self.stream.hub(share);
            if let Some((pts, idr, done)) = e.work.take_if(|(_, _, done)| *done <= now) {
                if self.fails.is_some_and(|of| (self.random)(of) == 0) {
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
                let time = Duration::from_micros(most / 3 + (self.random)(most * 2 / 3));
                e.work = Some((pts, idr, now + time));
            }
        }
    }

    /// When the next encoder is ready.
    pub fn due(&self) -> Option<Pts> {
        self.encoders.iter().filter_map(|e| e.work.map(|(_, _, done)| done)).min()
    }
}

/// A walk over the rungs with encoders of random speed that fail now and then: what is sent is a stream that any decoder
/// takes, and nobody sees it stand still.
#[test]
fn a_random_walk_over_the_rungs_is_one_stream() {
    let make = |pts: Pts, idr, share: Share| VideoUnit {
        pts,
        taken: pts,
        ready: pts,
        rtp_time: share.index() as u32,
        idr,
        payloads: vec![],
    };
    for seed in 0..20u64 {
        let mut rungs = Rungs::new(seed, make, Some(60), Duration::from_millis(25));
        let (mut track, mut random) = (rungs.track(Quality::Full), random(seed + 1_000));
        // What was sent: when it was captured, whether it is an IDR, which rung it is of, and when it was sent.
        let mut sent: Vec<(Pts, bool, u32, Pts)> = vec![];
        let (mut wishes, mut switches) = (0, 0);
        for ms in 0..120_000u64 {
            let now = at(0) + Duration::from_millis(ms);
            if ms % 33 == 0 {
                rungs.picture(now);
            }
            rungs.turn(now);
            if random(300) == 0 {
                wishes += 1;
                track.wish(rungs.wish());
            }
            while let Some(unit) = track.try_recv() {
                sent.push((unit.pts, unit.idr, unit.rtp_time, now));
            }
            switches += usize::from(track.switched().is_some());
        }
        assert!(wishes > 300 && switches > 100, "{seed}: {switches} switches by {wishes} wishes");
        for pair in sent.windows(2) {
            let [(before, _, old, then), (after, idr, new, now)] = pair else { unreachable!() };
            assert!(before < after, "{seed}: time goes back at {after:?}");
            assert!(old == new || *idr, "{seed}: a rung begins without an IDR at {after:?}");
            // A failed encoder leaves out a picture by itself, and another may be replaced while it is made anew.
            assert!(after.since(*before) <= Duration::from_millis(4 * 33), "{seed}: {before:?} to {after:?}");
            assert!(
                now.since(*then) < Duration::from_millis(200),
                "{seed}: nothing for {:?}",
                now.since(*then)
            );
        }
    }
}
