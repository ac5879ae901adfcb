//! Turns a viewer's media into datagrams. Sans-IO, with the time as an argument. All RTP and RTCP passes
//! through here: webrtc's core sees none of it.
//!
//! ```text
//!  unit ───────────────► pacer ─► release (numbers, seal) ─► batch ─► the port
//!  feedback ─► resend ──► ▲                      ▲
//!  time ─────► report ───────────────────────────┘
//! ```
//!
//! What the viewer reports goes to the estimator (see `viewer::cc`), which sets the pace.
//!
//! Each picture is a `Stream` with its own `Resend`; all share the transport-wide numbers and the seal.

pub mod arrivals;
mod batch;
mod carried;
pub mod feedback;
mod packet;
mod rate;
mod release;
mod report;
mod resend;
mod seal;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::CryptoError;

use self::carried::Carried;
use self::feedback::Feedback;
use self::packet::{HEADER, Packet};
use self::release::{Release, Waiting};
use self::resend::{LONGER, Part, Resend};
use super::cc::{Figures, Kind, Next, Report, Said, Share};
use super::delay::PlayoutDelay;
use super::keys::Master;
use super::media::Unit;
use crate::media::unit::{AudioUnit, VideoUnit};

pub(super) use self::batch::{Batch, Run};
pub(super) use self::packet::Extensions;
pub(super) use self::report::NtpClock;
pub(super) use self::stream::Stream;

/// Time between sender reports; browsers need two of each stream for lip sync.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The streams of a video section.
pub(super) struct Picture {
    /// The stream of the picture.
    pub video: Stream,
    /// The stream of its retransmissions (RFC 4588), if there is a separate one; otherwise they are identical
    /// packets.
    pub rtx: Option<Stream>,
    /// Whether retransmissions were negotiated (NACK).
    pub repeats: bool,
}

/// A viewer's media.
pub(super) struct Wire {
    sections: Vec<Section>,
    audio: Option<Stream>,
    ntp: NtpClock,
    release: Release,
    /// When the next reports are due, once there are keys.
    reports: Option<Instant>,
    /// The clock of the viewer's transport-wide feedback.
    clock: arrivals::Clock,
    /// The reports being processed; kept to reuse the allocation.
    arrived: Vec<Report>,
    /// What was sent since [`Self::take_sent`].
    sent: Sent,
    /// When packets that wait may be released.
    paced: Option<Instant>,
}

/// The outgoing state of a video section.
struct Section {
    video: Stream,
    rtx: Option<Stream>,
    resend: Resend,
    /// Whether packets are kept for retransmission.
    repeats: bool,
    delay: PlayoutDelay,
    /// What the transport-wide numbers of its packets carried.
    carried: Carried,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Number of packets.
    pub packets: u64,
    /// Bytes of RTP: payloads and headers, without extensions and authentication tags.
    pub bytes: u64,
}

impl Wire {
    /// Creates the wire without pictures; with sound, if the viewer receives any.
    /// `reports` is whether the viewer reports single packets (transport-wide feedback).
    pub(super) fn new(audio: Option<Stream>, ntp: NtpClock, reports: bool) -> Self {
        Self {
            sections: vec![],
            audio,
            ntp,
            release: Release::new(reports),
            reports: None,
            clock: arrivals::Clock::default(),
            arrived: vec![],
            sent: Sent::default(),
            paced: None,
        }
    }

    /// Begins a picture in the video section with this number, an existing one or the next; `sound` is
    /// whether the viewer plays the sound now.
    pub(super) fn begin(&mut self, number: usize, picture: Picture, sound: bool) {
        let Picture { video, rtx, repeats } = picture;
        let (resend, delay) = (Resend::new(), PlayoutDelay::new(sound));
        let section = Section { video, rtx, resend, repeats, delay, carried: Carried::default() };
        self.release.remove(number);
        match self.sections.get_mut(number) {
            Some(before) => *before = section,
            None => self.sections.push(section),
        }
    }

    /// The DTLS handshake is complete: packets are sealed with these keys. `start_bps` is the first estimate of the
    /// link, in bits per second.
    ///
    /// # Errors
    /// The cipher is not available.
    pub(super) fn secure(&mut self, ours: &Master, start_bps: f64, now: Instant) -> Result<(), CryptoError> {
        self.release.secure(ours, start_bps, now)?;
        self.reports = Some(now);
        Ok(())
    }

    /// Sends a picture or a sound packet, if the viewer receives that kind, as soon as the link can carry it.
    pub(super) fn unit(&mut self, unit: &Unit, sound: bool, now: Instant) {
        match unit {
            _ if !self.release.is_open() => {}
            Unit::Video(number, unit) => self.picture(*number, unit, sound, now),
            Unit::Audio(unit) if self.audio.is_some() => self.release.sound(unit, now),
            Unit::Audio(_) => {}
        }
        self.release(now);
    }

    fn picture(&mut self, number: usize, unit: &Arc<VideoUnit>, sound: bool, now: Instant) {
        let Some(section) = self.sections.get_mut(number) else { return };
        // In all of its packets: they have the same size then, and leave together.
        let playout_delay = section.delay.next(sound, unit.idr);
        for part in 0..unit.payloads.len() {
            let part = Part { unit: unit.clone(), part, transport_wide: None, playout_delay };
            if !self.release.part(number, part, now) {
                return;
            }
        }
    }

    /// Sends what may leave now.
    fn release(&mut self, now: Instant) {
        let Some(mut drive) = self.release.drive(now) else { return };
        if let Some(sent) = self.release.drop_late(&drive, now) {
            let Self { sections, release, .. } = self;
            sections.iter_mut().for_each(|section| section.resend.forget_before(sent));
            release.remove_repeats(|section, number| {
                sections.get(section).is_none_or(|section| !section.resend.has(number))
            });
        }
        while let Some(next) = self.release.next(&drive, now) {
            match next {
                Next::Packet(_, waiting, probe) => self.leave(waiting, probe, now),
                Next::Copy(most, probe) => {
                    let Self { sections, release, .. } = self;
                    let copied =
                        sections.iter_mut().find_map(|section| section.copy(release, most, probe, now));
                    release.copied(copied);
                    drive = release.drive(now).unwrap_or(drive); // the probe may be complete
                }
            }
        }
        self.paced = self.release.due(&drive, now);
    }

    /// Sends a packet, as a part of this probe if there is one.
    fn leave(&mut self, waiting: Waiting, probe: Option<u32>, now: Instant) {
        let Self { sections, release, sent, .. } = self;
        match waiting {
            Waiting::Sound(unit) => self.sound(&unit, now),
            Waiting::Part(number, part) => {
                let Some(section) = sections.get_mut(number) else { return };
                if part.begins_idr() {
                    // A viewer that gets this picture needs nothing from before it.
                    section.forget();
                    release.remove_repeats(|section, _| section == number);
                }
                section.part(release, part, probe, sent, now);
            }
            Waiting::Repeat(section, number) => {
                if let Some(section) = sections.get_mut(section) {
                    section.repeat(release, number, probe, now);
                }
            }
        }
    }

    fn sound(&mut self, unit: &AudioUnit, now: Instant) {
        let Some(audio) = &mut self.audio else { return };
        let packet = Packet {
            // A marker would begin a talkspurt (RFC 3551 section 4.1); without silence suppression there is
            // one only.
            marker: false,
            number: audio.number(),
            timestamp: unit.rtp_time,
            transport_wide: self.release.transport_wide(audio),
            payload: &unit.payload,
            ..Default::default()
        };
        if self.release.packet(audio, &packet, Kind::Sound, None, now) {
            audio.count(unit.payload.len(), unit.rtp_time, unit.pts);
            self.sent.count(unit.payload.len());
        }
    }

    /// What was sent since the previous call, without retransmissions.
    pub(super) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// Processes decrypted RTCP of the viewer. Calls `wish` for each section in which it requests a keyframe.
    pub(super) fn feedback(&mut self, compound: &[u8], now: Instant, mut wish: impl FnMut(usize)) {
        let Self { sections, release, clock, arrived, .. } = self;
        arrived.clear();
        let others = arrivals::read(compound, clock, arrived);
        if !arrived.is_empty() {
            release.arrived(arrived, now);
            for (number, section) in sections.iter_mut().enumerate() {
                let Section { carried, .. } = section;
                let lost = arrived.iter().filter_map(|r| carried.reported(r.number, r.arrived.is_some()));
                let lost: Vec<_> = lost.collect();
                section.lost(release, number, lost, now);
            }
        }
        if !others {
            return; // browsers send these reports alone, ten to twenty times a second
        }
        for feedback in feedback::read(compound) {
            let of = |ssrc| sections.iter().position(|s| s.video.ssrc == ssrc);
            match feedback {
                Feedback::Keyframe(ssrc) => match of(ssrc) {
                    Some(section) => wish(section),
                    // Better too many than a viewer that waits for ever: players choose this number freely.
                    None => (0..sections.len()).for_each(&mut wish),
                },
                Feedback::Lost(ssrc, numbers) => {
                    if let Some(section) = of(ssrc) {
                        sections[section].lost(release, section, numbers, now);
                    }
                }
                Feedback::Answered { ssrc, lsr, dlsr, lost } => {
                    if let Some(section) = of(ssrc) {
                        let rtt = sections[section].resend.answered(lsr, dlsr, now);
                        let rtt_s = rtt.map(|rtt| rtt.as_secs_f64());
                        let loss = Some(f64::from(lost) / 256.0);
                        release.said(Said { rtt_s, loss, remb_bps: None }, now);
                    }
                }
                Feedback::Estimate(bps) => {
                    let remb_bps = Some(f64::from(bps)).filter(|bps| bps.is_finite());
                    release.said(Said { remb_bps, ..Said::default() }, now);
                }
            }
        }
    }

    /// Sends what is due.
    pub(super) fn timeout(&mut self, now: Instant) {
        self.release(now);
        if self.reports.is_none_or(|due| now < due) {
            return;
        }
        self.reports = Some(now + REPORT_INTERVAL);
        for Section { video, resend, .. } in &mut self.sections {
            let Some((ntp_time, report)) = report::of(video, self.ntp) else { continue };
            resend.reported(ntp_time, now);
            self.release.report(&report);
        }
        if let Some((_, report)) = self.audio.as_ref().and_then(|audio| report::of(audio, self.ntp)) {
            self.release.report(&report);
        }
    }

    /// The figures of the viewer's link; `None` before there are keys.
    pub(super) fn link(&self, now: Instant) -> Option<Figures> {
        self.release.figures(now)
    }

    /// When [`Self::timeout`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.reports.into_iter().chain(self.paced).min()
    }

    /// What the pictures may use, if they could use this many bits, and come this many times, a second at most;
    /// `None` before there are keys.
    pub(super) fn share(&mut self, most: (f64, f64), now: Instant) -> Option<Share> {
        self.release.share(most, now)
    }

    /// How much the viewer could use of the device's upload, in bits per second.
    pub(super) fn useful_bps(&self) -> f64 {
        self.release.useful_bps()
    }

    /// Limits what is sent, in bits per second; `None`: only the link does.
    pub(super) fn limit(&mut self, bps: Option<f64>) {
        self.release.limit(bps);
    }

    /// The TCP connection to the viewer holds this many bytes that have not arrived; `None` over UDP.
    pub(super) fn unsent(&mut self, bytes: Option<usize>) {
        self.release.unsent(bytes);
    }

    /// Whether pictures of this section were dropped because the link is too slow, so that an IDR is needed.
    pub(super) fn is_broken(&self, section: usize) -> bool {
        self.release.is_broken(section)
    }

    /// Nothing that was passed in before for this video section is sent any more.
    pub(super) fn forget(&mut self, section: usize) {
        self.release.remove(section);
        if let Some(section) = self.sections.get_mut(section) {
            section.forget();
        }
    }

    /// What is to be sent now; the caller clears it after sending.
    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.release.batch
    }
}

impl Section {
    fn part(
        &mut self,
        release: &mut Release,
        mut part: Part,
        probe: Option<u32>,
        sent: &mut Sent,
        now: Instant,
    ) {
        part.transport_wide = release.transport_wide(&self.video);
        let packet = Packet { number: self.video.number(), ..picture(&part) };
        if !release.packet(&self.video, &packet, Kind::Video, probe, now) {
            self.forget(); // what is kept must have no gaps
            return;
        }
        let payload = part.payload().len();
        self.video.count(payload, part.unit.rtp_time, part.unit.pts);
        sent.count(payload);
        if self.repeats {
            let number = packet.number as u16;
            // What is reported as missing may be on its way: a copy of it must be known as one.
            self.carried.sent(part.transport_wide.filter(|_| self.rtx.is_some()), number);
            self.resend.sent(number, part, now);
        }
    }

    /// Queues what the viewer reports as lost, as far as that is of use.
    fn lost(&mut self, release: &mut Release, section: usize, numbers: Vec<u16>, now: Instant) {
        for lost in self.resend.lost(numbers, now) {
            release.repeat(section, lost, now);
        }
    }

    fn repeat(&mut self, release: &mut Release, number: u16, probe: Option<u32>, now: Instant) {
        let Some(part) = self.resend.leaves(number, now) else { return };
        if self.rtx.is_some() {
            self.again(release, number, &part, Kind::Repeat, probe, now);
        } else {
            // Identical: two different packets sealed with one number would reveal AES-GCM's key (RFC 7714
            // section 8.4, RFC 5116 section 5.1.1).
            let packet = Packet { number: self.video.unwrapped(number), ..picture(&part) };
            release.packet(&self.video, &packet, Kind::Repeat, probe, now);
        }
    }

    /// Sends a copy of a recent packet of at most this size for a probe; returns the size of its payload. `None`: there
    /// is no such packet, or retransmissions have no stream of their own, and without one the viewer could not tell
    /// copies apart.
    fn copy(&mut self, release: &mut Release, most: usize, probe: u32, now: Instant) -> Option<usize> {
        self.rtx.as_ref()?;
        let (number, part) = self.resend.to_copy(Release::payload_of(most))?;
        self.again(release, number, &part, Kind::Probe, Some(probe), now);
        Some(part.payload().len() + LONGER)
    }

    /// Sends a packet in the stream of retransmissions.
    fn again(
        &mut self,
        release: &mut Release,
        number: u16,
        part: &Part,
        kind: Kind,
        probe: Option<u32>,
        now: Instant,
    ) {
        let Some(rtx) = &mut self.rtx else { return };
        let transport_wide = release.transport_wide(rtx);
        if kind == Kind::Repeat {
            self.carried.sent(transport_wide, number);
        }
        let packet = Packet {
            number: rtx.number(),
            transport_wide,
            playout_delay: None,
            repeats: Some(number),
            ..picture(part)
        };
        release.packet(rtx, &packet, kind, probe, now);
    }

    fn forget(&mut self) {
        self.resend.forget();
    }
}

impl Sent {
    fn count(&mut self, payload: usize) {
        self.packets += 1;
        self.bytes += (HEADER + payload) as u64;
    }
}

/// A packet of a picture, without its number.
fn picture(part: &Part) -> Packet<'_> {
    Packet {
        marker: part.is_last(),
        timestamp: part.unit.rtp_time,
        transport_wide: part.transport_wide,
        playout_delay: part.playout_delay,
        payload: part.payload(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
