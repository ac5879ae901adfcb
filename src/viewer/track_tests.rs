//! What is sent while a viewer goes from one rung to another.

use super::*;

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

/// A rung: its encoder takes the newest picture when it is done with the last, and sometimes fails.
struct Encoder {
    hub: Arc<crate::pipeline::hub::Hub<VideoUnit>>,
    slot: Option<(u64, bool)>,
    /// The picture in work, whether it becomes an IDR, and when that is done.
    work: Option<(u64, bool, u64)>,
    broken: bool,
}

impl Encoder {
    fn of(stream: &VideoStream, share: Share) -> Self {
        Self { hub: stream.hub(share).clone(), slot: None, work: None, broken: false }
    }

    fn turn(&mut self, now: u64, random: &mut impl FnMut(u64) -> u64) {
        if let Some((n, idr, _)) = self.work.take_if(|(_, _, done)| *done <= now) {
            let made = Pts::from_micros(1_000_000_000 + now);
            if random(60) == 0 {
                self.broken = true;
                self.hub.missed();
            } else {
                let unit = VideoUnit { ready: made, ..Arc::into_inner(unit(n, idr)).expect("one") };
                self.hub.publish(&Arc::new(unit));
            }
        }
        if self.work.is_none()
            && let Some((n, idr)) = self.slot.take()
        {
            // An IDR takes longer, and a new encoder begins with one.
            let idr = idr || std::mem::take(&mut self.broken);
            let time = INTERVAL / 4 + random(INTERVAL / 2) + if idr { random(INTERVAL) } else { 0 };
            self.work = Some((n, idr, now + time));
        }
    }
}

/// A walk over the rungs with encoders of random speed that fail now and then: what is sent is a stream that any decoder
/// takes, and nobody sees it stand still.
#[tokio::test]
async fn a_random_walk_over_the_rungs_is_one_stream() {
    for seed in 0..20u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let stream = Arc::new(VideoStream::default());
        stream.offer(Offered { size: Some(crate::media::frame::Size::new(1280, 720)), ..Offered::default() });
        let mut track = Track::new(stream.clone(), Quality::Full);
        let mut encoders = Share::ALL.map(|share| Encoder::of(&stream, share));
        // What was sent: when it was captured, whether it is an IDR, which rung it is of, and when it was sent.
        let mut sent: Vec<(u64, bool, Share, u64)> = vec![];
        let (mut wishes, mut switches) = (0, 0);
        // A millisecond each; a picture every 33.
        for ms in 0..120_000u64 {
            let now = ms * 1_000;
            if (now / INTERVAL) != (now.saturating_sub(1_000)) / INTERVAL {
                let n = now / INTERVAL;
                let active = encoders.each_ref().map(|e| e.hub.subscribers() > 0);
                let mut decided = [false; 3];
                for (e, idr) in encoders.iter_mut().zip(&mut decided) {
                    let replaced = e.slot.is_some_and(|(_, idr)| idr);
                    *idr = e.hub.subscribers() > 0
                        && e.hub.begin(at(n), replaced, Pts::from_micros(1_000_000_000 + now));
                }
                for ((e, idr), active) in encoders.iter_mut().zip(decided).zip(active) {
                    if active {
                        e.slot = Some((n, idr));
                    }
                }
            }
            for e in &mut encoders {
                e.turn(now, &mut random);
            }
            if random(300) == 0 {
                wishes += 1;
                track.wish([Quality::Full, Quality::Half, Quality::Quarter][random(3) as usize]);
            }
            while let Some(unit) = track.try_recv() {
                let n = (unit.pts.as_micros() - 1_000_000_000) / INTERVAL;
                // After it was taken: the first of a rung is what it switches by.
                sent.push((n, unit.idr, track.share(), now));
            }
            switches += usize::from(track.switched().is_some());
        }
        assert!(wishes > 300 && switches > 100, "{seed}: {switches} switches by {wishes} wishes");
        for (n, pair) in sent.windows(2).enumerate() {
            let [(before, _, old, then), (after, idr, new, now)] = pair else { unreachable!() };
            assert!(before < after, "{seed}: time goes back at {n}");
            assert!(old == new || *idr || sent[n + 1..].iter().take(3).any(|s| s.1), "{seed}: {n}");
            // A failed encoder leaves out a picture by itself, and another may be replaced while it is made anew.
            assert!(after - before <= 4, "{seed}: from {before} to {after}");
            assert!(now - then < 200_000, "{seed}: nothing for {} us", now - then);
        }
    }
}
