//! A viewer's wire, pacer and encoder together, controlled by the estimator or by a different controller.

use std::collections::VecDeque;

use super::encoder::Encoder;
use super::receiver::{Packet, Part, Says, What};
use super::{Applied, Drive, Estimator, Figures, Kind, Next, Pacer, Place, Report, Said, Share, State};

/// A congestion controller of a sender.
pub(super) trait Brain {
    fn sent(&mut self, number: u16, size: usize, kind: Kind, probe: Option<u32>, now: f64);
    fn feedback(&mut self, reports: &[Report], now: f64);
    fn said(&mut self, _said: Said, _now: f64) {}
    fn unsent(&mut self, _bytes: usize) {}
    fn drive(&mut self, now: f64) -> Drive;
    fn estimate(&self) -> f64;
    fn useless_before_s(&mut self) -> Option<f64> {
        None
    }
    fn figures(&self, _now: f64) -> Figures {
        Figures::default()
    }
    /// Whether retransmissions are subtracted from the encoder's share.
    fn is_ours(&self) -> bool {
        false
    }
}

impl Brain for Estimator {
    fn sent(&mut self, number: u16, size: usize, kind: Kind, probe: Option<u32>, now: f64) {
        Estimator::sent(self, Some(number), size, kind, probe, now);
    }
    fn feedback(&mut self, reports: &[Report], now: f64) {
        Estimator::feedback(self, reports, now);
    }
    fn said(&mut self, said: Said, now: f64) {
        Estimator::said(self, said, now);
    }
    fn unsent(&mut self, bytes: usize) {
        Estimator::unsent(self, Some(bytes));
    }
    fn drive(&mut self, now: f64) -> Drive {
        Estimator::drive(self, now)
    }
    fn estimate(&self) -> f64 {
        self.estimate_bps()
    }
    fn useless_before_s(&mut self) -> Option<f64> {
        Estimator::useless_before_s(self)
    }
    fn figures(&self, now: f64) -> Figures {
        Estimator::figures(self, now)
    }
    fn is_ours(&self) -> bool {
        true
    }
}

const HEADERS: usize = 64;
const SOUND_S: f64 = 0.020;
/// Size of a sound packet's payload in bytes: usually, and on bad links.
const SOUND: (usize, usize) = (80, 40);
/// Sound packets are small below this estimate, in bits per second.
const BAD_LINK: f64 = 200e3;
const FPS: f64 = 30.0;
const CODING_S: f64 = 0.008;
/// Minimum interval between IDRs that we request ourselves, and between IDRs that the viewer requests, in
/// seconds.
const IDR_S: (f64, f64) = (0.5, 3.0);
/// A packet is retransmitted at most this long after its first transmission, in seconds.
const USEFUL_S: f64 = 1.2;
/// A packet that was sent longer ago than this is retransmitted twice, in seconds.
const URGENT_S: f64 = 0.150;
const KEPT: usize = 1_024;

/// A packet that waits in the pacer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    Sound(f64),
    Part { index: u64, count: u64, idr: bool, captured: f64, size: usize, queued: f64 },
    Repeat(u64),
}

struct Picture {
    size: usize,
    /// Most bytes of a packet's payload.
    payload: usize,
    idr: bool,
    disposable: bool,
    captured: f64,
}

struct Kept {
    part: Part,
    size: usize,
    sent: f64,
    again: Option<f64>,
    /// Whether it waits for retransmission.
    waits: bool,
}

pub(super) struct Sender {
    pub brain: Box<dyn Brain>,
    pacer: Pacer<Waits>,
    encoder: Encoder,
    applied: Applied,
    /// The pictures that are being encoded, with the time when each is ready.
    coding: VecDeque<(f64, Picture)>,
    pub begins: f64,
    pub ends: f64,
    next_picture: f64,
    next_sound: f64,
    most_bps: f64,
    wants_idr: bool,
    idr_not_before: f64,
    last_idr: f64,
    number: u64,
    wide: u16,
    first_of_picture: u64,
    kept: VecDeque<Kept>,
    /// The media packet that each transport-wide sequence number carried.
    carried: Vec<Option<u64>>,
    /// Packets before this one are not retransmitted.
    useful: u64,
    repeats: f64,
    /// Bytes of first transmissions in each tenth of a second.
    pub firsts: Vec<f64>,
    /// When each picture packet left, and its delay in the pacer.
    pub delays: Vec<(f64, f64)>,
    pub probes: f64,
    pub bytes: f64,
    pub pictures: Vec<f64>,
    pub idrs: u32,
    pub rates: Vec<(f64, f64)>,
}

impl Sender {
    pub(super) fn new(
        brain: Box<dyn Brain>,
        encoder: Encoder,
        most_bps: f64,
        begins: f64,
        ends: f64,
    ) -> Self {
        Self {
            brain,
            pacer: Pacer::default(),
            encoder,
            applied: Applied::default(),
            coding: VecDeque::new(),
            begins,
            ends,
            next_picture: begins,
            next_sound: begins + 0.003,
            most_bps,
            wants_idr: true,
            idr_not_before: 0.0,
            last_idr: -10.0,
            number: 0,
            wide: 65_000,
            first_of_picture: 0,
            kept: VecDeque::new(),
            carried: vec![None; 65_536],
            useful: 0,
            repeats: 0.0,
            firsts: vec![],
            delays: vec![],
            probes: 0.0,
            bytes: 0.0,
            pictures: vec![],
            idrs: 0,
            rates: vec![],
        }
    }

    pub(super) fn hears(&mut self, says: &Says, now: f64) {
        match says {
            Says::Wide(reports) => {
                self.brain.feedback(reports, now);
                if self.brain.is_ours() {
                    let lost = reports.iter().filter(|r| r.arrived.is_none());
                    let lost: Vec<_> =
                        lost.filter_map(|r| self.carried[usize::from(r.number)].take()).collect();
                    lost.into_iter().for_each(|number| self.lost(number, now));
                }
            }
            Says::Nack(numbers) => numbers.iter().for_each(|number| self.lost(*number, now)),
            Says::Pli => {
                if now - self.last_idr > IDR_S.1 || self.idrs == 0 {
                    self.wants_idr = true;
                }
            }
            Says::Report { loss, sent } => {
                let said = Said { rtt_s: Some(now - sent), loss: Some(*loss), remb_bps: None };
                self.brain.said(said, now);
            }
            Says::Remb(bps) => self.brain.said(Said { remb_bps: Some(*bps), ..Said::default() }, now),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.pacer.waiting()
    }

    fn lost(&mut self, number: u64, now: f64) {
        let Some(back) = self.number.checked_sub(number + 1) else { return };
        let Some(at) = self.kept.len().checked_sub(back as usize + 1) else { return };
        let pause = 0.060;
        let Some(kept) = self.kept.get_mut(at) else { return };
        let soon = kept.again.is_some_and(|again| now - again < pause);
        if number < self.useful || soon || kept.waits || now - kept.sent > USEFUL_S {
            return;
        }
        // A packet whose retransmission was lost, or that is late, is sent twice: that costs little and
        // almost certainly arrives.
        let urgent = self.brain.is_ours() && (kept.again.is_some() || now - kept.sent > URGENT_S);
        kept.waits = true;
        let size = kept.size + 2;
        for _ in 0..=usize::from(urgent) {
            self.pacer.push(Kind::Repeat, size, Waits::Repeat(number), now);
        }
    }

    /// Stops retransmission of everything that was sent so far.
    fn forget(&mut self) {
        self.useful = self.number;
        self.kept.iter_mut().for_each(|kept| kept.waits = false);
    }

    fn fps_share(&mut self, now: f64) -> Share {
        let estimate = self.brain.estimate();
        let sound = if estimate < BAD_LINK { SOUND.1 } else { SOUND.0 } + HEADERS;
        let repeats = if self.brain.is_ours() { self.repeats } else { 0.0 };
        let mut share =
            Share::of(estimate, sound as f64 * 8.0 / SOUND_S, repeats, self.pacer.waiting() as f64, FPS);
        share.video_bps = self.applied.follow(share.video_bps.min(self.most_bps), now);
        share
    }

    /// Does everything that is due at `now`, and passes each packet that leaves to `send`.
    pub(super) fn turn(&mut self, now: f64, mut send: impl FnMut(Packet)) {
        if now < self.begins || now >= self.ends {
            return;
        }
        self.repeats *= 1.0 - 0.002;
        if let Some(at) = self.brain.useless_before_s()
            && self.pacer.drop_behind(at)
        {
            self.pacer.drop_repeats();
            self.forget();
            self.coding.clear();
            self.wants_idr = true;
            self.idr_not_before = self.last_idr + IDR_S.0;
        }
        let drive = self.brain.drive(now);
        if self.pacer.drop_late(now, &drive) && !self.wants_idr {
            self.forget();
            self.wants_idr = true;
            self.idr_not_before = self.last_idr + IDR_S.0;
        }
        while now >= self.next_sound {
            let size = if self.brain.estimate() < BAD_LINK { SOUND.1 } else { SOUND.0 } + HEADERS;
            self.pacer.push(Kind::Sound, size, Waits::Sound(self.next_sound), now);
            self.next_sound += SOUND_S;
        }
        if now >= self.next_picture {
            let share = self.fps_share(now);
            self.next_picture += 1.0 / share.fps;
            if self.next_picture < now {
                self.next_picture = now + 1.0 / share.fps;
            }
            self.rates.push((now, self.brain.estimate()));
            if !share.pause || self.wants_idr {
                let silent = self.brain.figures(now).state == State::Silent;
                let idr = self.wants_idr && !silent && now >= self.idr_not_before;
                let (size, disposable) = self.encoder.encode(share.video_bps, share.fps, idr, now);
                if idr {
                    (self.wants_idr, self.last_idr) = (false, now);
                    self.idrs += 1;
                }
                self.pictures.push(now);
                let picture = Picture { size, payload: share.payload, idr, disposable, captured: now };
                self.coding.push_back((now + CODING_S, picture));
            }
        }
        while self.coding.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, picture)) = self.coding.pop_front() else { break };
            let Picture { size, payload, idr, disposable, captured } = picture;
            let count = size.div_ceil(payload);
            for index in 0..count {
                let size = size / count + HEADERS;
                let place = Place { stream: 0, idr, first: index == 0, disposable };
                let part = Waits::Part {
                    index: index as u64,
                    count: count as u64,
                    idr,
                    captured,
                    size,
                    queued: now,
                };
                if !self.pacer.push_video(size, place, part, now) {
                    self.wants_idr = true;
                    break;
                }
            }
        }
        let mut drive = self.brain.drive(now);
        while let Some(next) = self.pacer.next(now, &drive) {
            match next {
                Next::Packet(kind, what, probe) => self.leave(kind, what, probe, now, &mut send),
                Next::Copy(most, id) => {
                    let recent = self.kept.iter().rev().take(60).filter(|k| k.size + 2 <= most);
                    let copy = recent.max_by_key(|k| (k.size.min(300), k.part.number));
                    let copy = copy.map(|k| (k.part.number, k.size + 2));
                    self.pacer.copied(copy.map(|(_, size)| size));
                    let Some((number, _)) = copy else { continue };
                    self.leave(Kind::Probe, Waits::Repeat(number), Some(id), now, &mut send);
                    drive = self.brain.drive(now);
                }
            }
        }
    }

    fn leave(
        &mut self,
        kind: Kind,
        what: Waits,
        probe: Option<u32>,
        now: f64,
        send: &mut impl FnMut(Packet),
    ) {
        let (what, size) = match what {
            Waits::Sound(captured) => {
                let size = if self.brain.estimate() < BAD_LINK { SOUND.1 } else { SOUND.0 } + HEADERS;
                (What::Sound(captured), size)
            }
            Waits::Part { index, count, idr, captured, size, queued } => {
                let number = self.number;
                if index == 0 {
                    self.first_of_picture = number;
                    if idr {
                        self.useful = number;
                        self.pacer.drop_repeats();
                    }
                }
                let part = Part { number, first: self.first_of_picture, count, idr, captured };
                self.number += 1;
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back(Kept { part, size, sent: now, again: None, waits: false });
                self.delays.push((now, now - queued));
                (What::Part(part), size)
            }
            Waits::Repeat(number) => {
                let back = (self.number - number) as usize;
                let at = self.kept.len().checked_sub(back);
                let Some(kept) = at.and_then(|at| self.kept.get_mut(at)) else { return };
                if kind == Kind::Repeat {
                    (kept.waits, kept.again) = (false, Some(now));
                }
                let size = kept.size + 2;
                if kind == Kind::Probe {
                    self.probes += size as f64;
                } else {
                    // Decays by 0.002 per millisecond, so this averages over half a second.
                    self.repeats += size as f64 * 8.0 * 2.0;
                }
                (What::Part(kept.part), size)
            }
        };
        let wide = self.wide;
        self.wide = wide.wrapping_add(1);
        self.carried[usize::from(wide)] = match (kind, what) {
            (Kind::Video | Kind::Repeat, What::Part(part)) => Some(part.number),
            _ => None,
        };
        self.bytes += size as f64;
        if matches!(kind, Kind::Sound | Kind::Video) {
            let bin = (now * 10.0) as usize;
            if self.firsts.len() <= bin {
                self.firsts.resize(bin + 1, 0.0);
            }
            self.firsts[bin] += size as f64;
        }
        self.brain.sent(wide, size, kind, probe, now);
        send(Packet { wide, size, what });
    }
}

/// Sends at a fixed bitrate, whatever happens.
pub(super) struct Fixed(pub f64);

impl Brain for Fixed {
    fn sent(&mut self, _: u16, _: usize, _: Kind, _: Option<u32>, _: f64) {}
    fn feedback(&mut self, _: &[Report], _: f64) {}
    fn drive(&mut self, _: f64) -> Drive {
        let pace = 2.5 * self.0;
        Drive {
            estimate_bps: self.0,
            pace_bps: pace,
            calm_bps: pace,
            burst_s: 0.01,
            hold: false,
            probe: None,
        }
    }
    fn estimate(&self) -> f64 {
        self.0
    }
}
