//! Turns a viewer's media into datagrams. Sans-IO, with the time as an argument. All RTP and RTCP passes
//! through here: webrtc's core sees none of it.
//!
//! ```text
//!  unit ─────────► stream, packet ─┐
//!  feedback ─► resend ─────────────┼─► release (numbers, seal) ─► batch ─► the port
//!  time ─────► report ─────────────┘
//! ```
//!
//! Each picture is a [`Stream`] with its own [`Resend`]; all share the transport-wide numbers and the seal.

mod arrivals;
mod batch;
mod feedback;
mod packet;
mod release;
mod report;
mod resend;
mod seal;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::CryptoError;

use self::feedback::Feedback;
use self::packet::{HEADER, Packet};
use self::release::Release;
use self::resend::{Part, Resend};
use super::cc::{Figures, Kind, Report, Said};
use super::delay::PlayoutDelay;
use super::keys::Master;
use super::media::Unit;
use crate::media::unit::{AudioUnit, VideoUnit};

pub(super) use self::batch::{Batch, Run};
pub(super) use self::report::NtpClock;
pub(super) use self::stream::{Extensions, Stream};

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
}

/// The outgoing state of a video section.
struct Section {
    video: Stream,
    rtx: Option<Stream>,
    resend: Resend,
    /// Whether packets are kept for retransmission.
    repeats: bool,
    delay: PlayoutDelay,
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
    pub(super) fn new(audio: Option<Stream>, ntp: NtpClock) -> Self {
        let (release, clock) = (Release::default(), arrivals::Clock::default());
        Self { sections: vec![], audio, ntp, release, reports: None, clock, arrived: vec![] }
    }

    /// Begins a picture in the video section with this number, an existing one or the next; `sound` is
    /// whether the viewer plays the sound now.
    pub(super) fn begin(&mut self, number: usize, picture: Picture, sound: bool) {
        let Picture { video, rtx, repeats } = picture;
        let (resend, delay) = (Resend::new(), PlayoutDelay::new(sound));
        let section = Section { video, rtx, resend, repeats, delay };
        match self.sections.get_mut(number) {
            Some(before) => *before = section,
            None => self.sections.push(section),
        }
    }

    /// The DTLS handshake is complete: packets are sealed with these keys.
    ///
    /// # Errors
    /// The cipher is not available.
    pub(super) fn secure(&mut self, ours: &Master, now: Instant) -> Result<(), CryptoError> {
        self.release.secure(ours, now)?;
        self.reports = Some(now);
        Ok(())
    }

    /// Sends a picture or a sound packet, if the viewer receives that kind.
    pub(super) fn unit(&mut self, unit: &Unit, sound: bool, now: Instant) -> Sent {
        let Self { sections, release, .. } = self;
        match unit {
            _ if !release.is_open() => Sent::default(),
            Unit::Video(section, video) => {
                sections.get_mut(*section).map(|s| s.picture(release, video, sound, now)).unwrap_or_default()
            }
            Unit::Audio(audio) => self.sound(audio, now),
        }
    }

    fn sound(&mut self, unit: &AudioUnit, now: Instant) -> Sent {
        let mut sent = Sent::default();
        let Some(audio) = &mut self.audio else { return sent };
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
        if self.release.packet(audio, &packet, Kind::Sound, now) {
            audio.count(unit.payload.len(), unit.rtp_time, unit.pts);
            sent.count(unit.payload.len());
        }
        sent
    }

    /// Processes decrypted RTCP of the viewer. Calls `wish` for each section in which it requests a keyframe.
    pub(super) fn feedback(&mut self, compound: &[u8], now: Instant, mut wish: impl FnMut(usize)) {
        let Self { sections, release, clock, arrived, .. } = self;
        arrived.clear();
        let others = arrivals::read(compound, clock, arrived);
        if !arrived.is_empty() {
            release.arrived(arrived, now);
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
                        sections[section].lost(release, numbers, now);
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
        if self.reports.is_none_or(|due| now < due) {
            return;
        }
        self.reports = Some(now + REPORT_INTERVAL);
        self.release.timeout(now);
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
        self.reports
    }

    /// Packets that were sent before in this video section are not retransmitted any more.
    pub(super) fn forget(&mut self, section: usize) {
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
    fn picture(&mut self, release: &mut Release, unit: &Arc<VideoUnit>, sound: bool, now: Instant) -> Sent {
        let mut sent = Sent::default();
        // In all of its packets: they have the same size then, and leave together.
        let playout_delay = self.delay.next(sound, unit.idr);
        for (part, payload) in unit.payloads.iter().enumerate() {
            let transport_wide = release.transport_wide(&self.video);
            let part = Part { unit: unit.clone(), part, transport_wide, playout_delay };
            let packet = Packet { number: self.video.number(), ..picture(&part) };
            if !release.packet(&self.video, &packet, Kind::Video, now) {
                self.forget(); // what is kept must have no gaps
                return sent;
            }
            self.video.count(payload.len(), unit.rtp_time, unit.pts);
            sent.count(payload.len());
            if self.repeats {
                self.resend.sent(packet.number as u16, part);
            }
        }
        sent
    }

    fn lost(&mut self, release: &mut Release, numbers: Vec<u16>, now: Instant) {
        for (number, part) in self.resend.lost(numbers, now) {
            self.repeat(release, number, &part, now);
        }
    }

    fn repeat(&mut self, release: &mut Release, number: u16, part: &Part, now: Instant) {
        match &mut self.rtx {
            Some(rtx) => {
                let transport_wide = release.transport_wide(rtx);
                let packet = Packet {
                    number: rtx.number(),
                    transport_wide,
                    playout_delay: None,
                    repeats: Some(number),
                    ..picture(part)
                };
                release.packet(rtx, &packet, Kind::Repeat, now);
            }
            None => {
                // Identical: two different packets sealed with one number would reveal AES-GCM's key (RFC
                // 7714 section 8.4, RFC 5116 section 5.1.1).
                let packet = Packet { number: self.video.unwrapped(number), ..picture(part) };
                release.packet(&self.video, &packet, Kind::Repeat, now);
            }
        }
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
