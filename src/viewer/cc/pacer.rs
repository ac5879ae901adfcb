//! The pacer decides which packet leaves when: sound first and without delay, then retransmissions, then
//! pictures, then probes, all from one budget (the order is that of libwebrtc's `pacing_controller`).
//!
//! The budget is a bucket that fills at the pace and holds [`super::estimator::Drive::burst_s`] of it: on a
//! fast link a whole picture fits, and nothing waits. Sound is taken from the bucket as well, but does not
//! wait for it.
//!
//! Where pictures wait, the disposable ones are dropped first: nothing else refers to them. Pictures that are too late
//! are dropped up to the next clean point (an IDR) instead of being sent late: what follows the gap could not be
//! decoded. Packets get their sequence numbers when they are released, so
//! receivers do not miss the dropped ones. Pictures of several streams share the queue; each stream has its own
//! clean points.

use std::collections::VecDeque;

use super::Kind;
use super::estimator::Drive;

/// While a picture waits for longer than this, in seconds, the disposable ones are dropped.
const LONG_S: f64 = 0.20;
/// Pictures older than this are dropped, in seconds: with a longer delay no conversation is possible.
const LATE_S: f64 = 0.60;
/// The same limit for an IDR, in seconds. It is higher because without the IDR there is no picture at all.
const LATE_IDR_S: f64 = 3.0;
/// If the waiting retransmissions would take longer than this, in seconds, a new IDR is faster.
const MOST_REPEATS_S: f64 = 0.5;
/// Maximum number of waiting sound packets, retransmissions and picture packets. More pictures would be late;
/// of sound and retransmissions the oldest are dropped.
const MOST: (usize, usize, usize) = (16, 128, 1_024);
/// How far the bucket may be overdrawn by sound, in seconds of the pace.
const DEBT_S: f64 = 0.10;
/// Maximum size of a probe packet, in bytes.
const PROBE_BYTES: usize = 1_200;

/// A packet that waits.
#[derive(Debug)]
struct Item<T> {
    size: usize,
    queued_s: f64,
    place: Place,
    what: T,
}

impl<T> Item<T> {
    /// Whether it is the first packet of an IDR.
    fn is_clean(&self) -> bool {
        self.place.is_clean()
    }
}

/// What to send now.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<T> {
    /// This packet, as a part of this probe if one is running.
    Packet(Kind, T, Option<u32>),
    /// A copy of a recent packet, at most this many bytes long, for this probe. Call [`Pacer::copied`] then.
    Copy(usize, u32),
}

/// The position of a picture's packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of its stream, below 32.
    pub stream: usize,
    /// Whether it belongs to an IDR.
    pub idr: bool,
    /// Whether it is the first packet of its picture.
    pub first: bool,
    /// Whether no other picture refers to its picture.
    pub disposable: bool,
}

impl Place {
    fn is_clean(self) -> bool {
        self.idr && self.first
    }

    /// The bit of its stream.
    fn bit(self) -> u32 {
        bit(self.stream)
    }
}

fn bit(stream: usize) -> u32 {
    1 << (stream % 32)
}

/// Queues packets until they may leave.
#[derive(Debug)]
pub(crate) struct Pacer<T> {
    sound: VecDeque<Item<T>>,
    repeats: VecDeque<Item<T>>,
    video: VecDeque<Item<T>>,
    video_bytes: usize,
    repeat_bytes: usize,
    /// Bytes that may be sent; negative after sound that did not wait.
    bucket: f64,
    filled_s: f64,
    /// The streams of pictures, one bit each.
    streams: u32,
    /// Those of which pictures were dropped, so that only an IDR can follow.
    broken: u32,
    /// When the newest IDR of each stream began to leave.
    idr_s: [f64; 32],
    /// There is no packet to copy for this probe.
    no_copies: bool,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Self {
            sound: VecDeque::new(),
            repeats: VecDeque::new(),
            video: VecDeque::new(),
            video_bytes: 0,
            repeat_bytes: 0,
            bucket: 0.0,
            filled_s: 0.0,
            streams: 1,
            broken: 0,
            idr_s: [f64::MIN; 32],
            no_copies: false,
        }
    }
}

impl<T> Pacer<T> {
    /// Queues a sound packet or a retransmission.
    pub(crate) fn push(&mut self, kind: Kind, size: usize, what: T, now_s: f64) {
        let item = Item { size, queued_s: now_s, place: Place::default(), what };
        let (queue, most) = match kind {
            Kind::Sound => (&mut self.sound, MOST.0),
            _ => {
                self.repeat_bytes += size;
                (&mut self.repeats, MOST.1)
            }
        };
        if queue.len() == most
            && let Some(gone) = queue.pop_front()
            && kind != Kind::Sound
        {
            self.repeat_bytes -= gone.size;
        }
        queue.push_back(item);
    }

    /// Queues a packet of a picture. Returns false if it is refused because an IDR is needed first.
    pub(crate) fn push_video(&mut self, size: usize, place: Place, what: T, now_s: f64) -> bool {
        let stream = place.bit();
        self.streams |= stream;
        if place.is_clean() {
            // A receiver that gets this IDR needs nothing from before it.
            self.broken &= !stream;
        }
        if self.broken & stream != 0 {
            return false;
        }
        if self.video.len() == MOST.2 {
            self.drop_video();
            self.broken |= stream; // this packet is missing
            return false;
        }
        self.video_bytes += size;
        self.video.push_back(Item { size, queued_s: now_s, place, what });
        true
    }

    /// Whether an IDR of this stream is needed, because pictures were dropped.
    pub(crate) fn is_broken(&self, stream: usize) -> bool {
        self.broken & bit(stream) != 0
    }

    /// Drops the waiting pictures of each stream up to its newest clean point. Returns whether an IDR is needed
    /// now.
    fn drop_video(&mut self) -> bool {
        self.drop_pictures(self.streams)
    }

    /// What left before `sent_s` is of no use: drops what waits behind it. A stream whose newest IDR began to leave
    /// later needs nothing else. Returns whether an IDR is needed now.
    pub(crate) fn drop_behind(&mut self, sent_s: f64) -> bool {
        let old = |stream: &usize| self.idr_s[*stream] < sent_s;
        let streams = (0..self.idr_s.len()).filter(old).fold(0, |all, stream| all | bit(stream));
        self.drop_pictures(self.streams & streams)
    }

    /// Drops the waiting pictures of each of these streams up to its newest clean point. Returns whether an IDR is
    /// needed now.
    fn drop_pictures(&mut self, streams: u32) -> bool {
        let clean = self.video.iter().filter(|item| item.is_clean()).fold(0, |all, i| all | i.place.bit());
        // The streams of which no older packet is kept.
        let mut complete = streams & !clean;
        self.broken |= complete;
        let mut waiting = std::mem::take(&mut self.video);
        while let Some(item) = waiting.pop_back() {
            if complete & item.place.bit() != 0 {
                self.video_bytes -= item.size;
                continue;
            }
            if item.is_clean() {
                complete |= streams & item.place.bit();
            }
            self.video.push_front(item);
        }
        self.broken != 0
    }

    /// Removes waiting pictures and retransmissions without asking for an IDR.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(&T) -> bool) {
        for (queue, bytes) in
            [(&mut self.video, &mut self.video_bytes), (&mut self.repeats, &mut self.repeat_bytes)]
        {
            queue.retain(|item| {
                let gone = is_gone(&item.what);
                if gone {
                    *bytes -= item.size;
                }
                !gone
            });
        }
    }

    /// Drops the waiting retransmissions, because their pictures are no longer shown.
    pub(crate) fn drop_repeats(&mut self) {
        self.repeats.clear();
        self.repeat_bytes = 0;
    }

    /// Drops the waiting disposable pictures, except those that have begun to leave.
    fn drop_disposable(&mut self) {
        let mut begun = u32::MAX;
        let video_bytes = &mut self.video_bytes;
        self.video.retain(|item| {
            if item.place.first {
                begun &= !item.place.bit();
            }
            let gone = item.place.disposable && begun & item.place.bit() == 0;
            if gone {
                *video_bytes -= item.size;
            }
            !gone
        });
    }

    /// Drops what is too late or would be. Returns whether an IDR is needed because of that.
    pub(crate) fn drop_late(&mut self, now_s: f64, drive: &Drive) -> bool {
        if self.video.front().is_some_and(|item| now_s - item.queued_s > LONG_S) {
            self.drop_disposable();
        }
        if self.repeat_bytes as f64 * 8.0 > MOST_REPEATS_S * drive.estimate_bps {
            self.drop_repeats();
            return self.drop_video();
        }
        let late = |item: &Item<T>| now_s - item.queued_s > if item.place.idr { LATE_IDR_S } else { LATE_S };
        self.video.front().is_some_and(late) && self.drop_video()
    }

    /// Number of waiting bytes of pictures and retransmissions.
    pub(crate) fn waiting(&self) -> usize {
        self.video_bytes + self.repeat_bytes
    }

    fn fill(&mut self, now_s: f64, drive: &Drive) {
        let pace = drive.pace(self.waiting() as f64) / 8.0;
        let dt = (now_s - self.filled_s).clamp(0.0, 1.0);
        self.filled_s = now_s;
        let most = pace * drive.burst_s;
        self.bucket = (self.bucket + pace * dt).min(most).max(-pace * DEBT_S);
    }

    /// What to send now. Call it until it returns `None`.
    pub(crate) fn next(&mut self, now_s: f64, drive: &Drive) -> Option<Next<T>> {
        self.fill(now_s, drive);
        let probe = drive.probe.map(|p| p.id);
        if let Some(item) = self.sound.pop_front() {
            self.bucket -= item.size as f64;
            return Some(Next::Packet(Kind::Sound, item.what, None));
        }
        // A packet may overdraw the bucket, which then has to fill up again; otherwise a large packet would
        // never leave.
        if self.bucket < 0.0 {
            return None;
        }
        if drive.hold {
            return None;
        }
        if let Some(item) = self.repeats.pop_front() {
            self.bucket -= item.size as f64;
            self.repeat_bytes -= item.size;
            return Some(Next::Packet(Kind::Repeat, item.what, probe));
        }
        if let Some(item) = self.video.pop_front() {
            self.bucket -= item.size as f64;
            self.video_bytes -= item.size;
            if item.is_clean() {
                self.idr_s[item.place.stream % 32] = now_s;
            }
            return Some(Next::Packet(Kind::Video, item.what, probe));
        }
        match probe {
            Some(id) if !self.no_copies => Some(Next::Copy(PROBE_BYTES, id)),
            Some(_) => None,
            None => {
                self.no_copies = false;
                None
            }
        }
    }

    /// A copy of this size was sent for the probe. `None`: there was no packet to copy, so it consists of media alone.
    pub(crate) fn copied(&mut self, size: Option<usize>) {
        match size {
            Some(size) => self.bucket -= size as f64,
            None => self.no_copies = true,
        }
    }

    /// When something may be sent, if nothing is queued before.
    pub(crate) fn due_s(&self, now_s: f64, drive: &Drive) -> Option<f64> {
        if !self.sound.is_empty() {
            return Some(now_s);
        }
        let copies = drive.probe.is_some() && !self.no_copies;
        if self.repeats.is_empty() && self.video.is_empty() && !copies {
            return None;
        }
        if drive.hold {
            return Some(now_s + 0.005);
        }
        let pace = drive.pace(self.waiting() as f64) / 8.0;
        Some(now_s.max(self.filled_s + (-self.bucket).max(0.0) / pace.max(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::cc::probe::Active;

    const SLOW: Drive = Drive {
        estimate_bps: 1e6,
        pace_bps: 1.5e6,
        calm_bps: 1.1e6,
        burst_s: 0.01,
        hold: false,
        probe: None,
    };

    /// Sends what may leave between `from` and `to`; returns each packet with its send time.
    fn run(pacer: &mut Pacer<u32>, drive: &Drive, from: f64, to: f64) -> Vec<(f64, Kind, u32)> {
        let (mut out, mut now) = (vec![], from);
        while now < to {
            while let Some(Next::Packet(kind, what, _)) = pacer.next(now, drive) {
                out.push((now, kind, what));
            }
            now += 0.001;
        }
        out
    }

    #[test]
    fn sound_goes_first_and_does_not_wait() {
        let mut pacer = Pacer::default();
        for n in 0..50 {
            pacer.push_video(1200, Place::default(), n, 0.0);
        }
        pacer.push(Kind::Repeat, 1200, 100, 0.0);
        pacer.push(Kind::Sound, 120, 200, 0.0);
        let out = run(&mut pacer, &SLOW, 0.0, 0.05);
        assert_eq!(out[..2].iter().map(|o| o.2).collect::<Vec<_>>(), [200, 100]);
        pacer.push(Kind::Sound, 120, 201, 0.05);
        assert_eq!(run(&mut pacer, &SLOW, 0.05, 0.051)[0].2, 201);
    }

    #[test]
    fn a_keyframe_leaves_at_the_calm_pace() {
        let mut pacer = Pacer::default();
        for n in 0..50 {
            pacer.push_video(1200, Place { idr: true, first: n == 0, ..Place::default() }, n, 0.0);
        }
        let out = run(&mut pacer, &SLOW, 0.0, 1.0);
        assert_eq!(out.len(), 50);
        let rate = 45.0 * 9600.0 / (out[45].0 - out[0].0);
        assert!((0.9e6..1.2e6).contains(&rate), "{rate}");
    }

    #[test]
    fn nothing_waits_on_a_link_ten_times_as_fast() {
        let fast = Drive { pace_bps: 18e6, calm_bps: 18e6, estimate_bps: 2.5e6, ..SLOW };
        let mut pacer = Pacer::default();
        let mut waits = vec![];
        for picture in 0..300 {
            let now = f64::from(picture) / 30.0;
            for n in 0..8 {
                pacer.push_video(1200, Place::default(), n, now);
            }
            waits.extend(run(&mut pacer, &fast, now, now + 0.03).iter().map(|(at, ..)| at - now));
        }
        waits.sort_by(f64::total_cmp);
        assert!(waits[waits.len() * 99 / 100] < 0.002, "{:?}", waits.last());
    }

    #[test]
    fn a_probe_has_its_bitrate_whatever_the_size_of_the_copies() {
        for size in [100, 300, 1_200] {
            let (mut pacer, mut sent) = (Pacer::<u32>::default(), 0);
            let probe = Active { id: 1, rate_bps: 2e6 };
            let drive = Drive { probe: Some(probe), ..SLOW };
            for ms in 0..500 {
                while let Some(next) = pacer.next(f64::from(ms) / 1e3, &drive) {
                    assert_eq!(next, Next::Copy(PROBE_BYTES, 1));
                    pacer.copied(Some(size));
                    sent += size;
                }
            }
            let bps = sent as f64 * 8.0 / 0.5;
            assert!((bps / 2e6 - 1.0).abs() < 0.05, "{size}: {bps}");
        }
    }

    #[test]
    fn late_pictures_are_dropped_up_to_a_clean_point() {
        let mut pacer = Pacer::default();
        let held = Drive { hold: true, ..SLOW };
        for n in 0..10 {
            assert!(pacer.push_video(1200, Place::default(), n, 0.0));
        }
        assert!(run(&mut pacer, &held, 0.0, 0.5).is_empty());
        assert!(!pacer.drop_late(0.5, &SLOW));
        assert!(pacer.drop_late(0.7, &SLOW), "an IDR is needed");
        let picture = |idr| Place { idr, first: true, ..Place::default() };
        assert!(!pacer.push_video(1200, picture(false), 20, 0.7));
        assert!(pacer.push_video(1200, picture(true), 21, 0.8));
        assert!(pacer.push_video(1200, picture(false), 22, 0.8));
        assert_eq!(run(&mut pacer, &SLOW, 0.8, 0.9).iter().map(|o| o.2).collect::<Vec<_>>(), [21, 22]);
    }

    #[test]
    fn where_pictures_wait_the_disposable_ones_are_dropped_unless_they_have_begun() {
        let mut pacer = Pacer::default();
        // Each picture has two packets; every second picture is disposable.
        for n in 0..16 {
            let place = Place { first: n % 2 == 0, disposable: n / 2 % 2 == 1, ..Place::default() };
            assert!(pacer.push_video(1200, place, n, 0.0));
        }
        let sent = |out: Vec<(f64, Kind, u32)>| out.iter().map(|o| o.2).collect::<Vec<_>>();
        assert!(!pacer.drop_late(0.0, &SLOW), "nothing waits yet");
        let begun = sent(run(&mut pacer, &Drive { burst_s: 0.0, ..SLOW }, 0.0, 0.022));
        assert_eq!(begun, [0, 1, 2], "a disposable one has begun");
        assert!(!pacer.drop_late(0.3, &SLOW), "no IDR is needed");
        assert_eq!(pacer.waiting(), 7 * 1200);
        assert_eq!(sent(run(&mut pacer, &SLOW, 0.3, 0.5)), [3, 4, 5, 8, 9, 12, 13]);
    }

    #[test]
    fn each_stream_is_kept_from_its_own_clean_point_on() {
        let mut pacer = Pacer::default();
        let push = |pacer: &mut Pacer<u32>, stream, idr, what| {
            pacer.push_video(1200, Place { stream, idr, first: true, disposable: false }, what, 0.0)
        };
        for (stream, idr, what) in [(0, false, 1), (1, false, 2), (0, true, 3), (1, false, 4), (0, false, 5)]
        {
            assert!(push(&mut pacer, stream, idr, what));
        }
        assert!(pacer.drop_video());
        assert_eq!([0, 1].map(|stream| pacer.is_broken(stream)), [false, true]);
        assert!(!push(&mut pacer, 1, false, 6) && push(&mut pacer, 0, false, 7));
        assert!(push(&mut pacer, 1, true, 8));
        assert!(!pacer.is_broken(1));
        assert_eq!(pacer.waiting(), 4 * 1200);
        pacer.push(Kind::Repeat, 1200, 5, 0.0);
        pacer.remove(|what| *what == 5);
        assert_eq!(pacer.waiting(), 3 * 1200);
        assert_eq!(run(&mut pacer, &SLOW, 0.0, 0.5).iter().map(|o| o.2).collect::<Vec<_>>(), [3, 7, 8]);
    }

    #[test]
    fn an_idr_that_leaves_since_an_interruption_is_not_dropped() {
        let picture = |stream, idr, first| Place { stream, idr, first, disposable: false };
        let mut pacer = Pacer::default();
        for (what, stream) in [(1, 0), (2, 1)] {
            pacer.push_video(1200, picture(stream, true, true), what, 0.0);
        }
        assert_eq!(run(&mut pacer, &SLOW, 0.0, 0.5).len(), 2);
        // Both wait for the second part of an IDR; that of stream 0 began to leave at 3 s, when the path was back.
        pacer.push_video(1200, picture(0, true, true), 3, 3.0);
        assert_eq!(run(&mut pacer, &SLOW, 3.0, 3.001).len(), 1);
        pacer.push_video(1200, picture(0, true, false), 4, 3.0);
        pacer.push_video(1200, picture(1, true, false), 5, 3.0);
        assert!(pacer.drop_behind(2.9), "stream 1 needs an IDR");
        assert_eq!([0, 1].map(|stream| pacer.is_broken(stream)), [false, true]);
        assert_eq!(run(&mut pacer, &SLOW, 3.0, 3.5).iter().map(|o| o.2).collect::<Vec<_>>(), [4]);
        pacer.push_video(1200, picture(0, false, true), 6, 4.0);
        assert!(pacer.drop_behind(4.0) && pacer.is_broken(0), "its IDR left before");
    }

    #[test]
    fn queues_are_bounded() {
        let mut pacer = Pacer::default();
        for n in 0..10_000 {
            pacer.push(Kind::Sound, 100, n, 0.0);
            pacer.push(Kind::Repeat, 100, n, 0.0);
            pacer.push_video(100, Place { idr: true, first: true, ..Place::default() }, n, 0.0);
        }
        assert!(pacer.sound.len() <= MOST.0 && pacer.repeats.len() <= MOST.1 && pacer.video.len() <= MOST.2);
        assert_eq!(pacer.waiting(), (pacer.repeats.len() + pacer.video.len()) * 100);
    }
}
