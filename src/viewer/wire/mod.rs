//! The way of one viewer's media from the hub to datagrams. Sans-IO, with the time as an argument; RTP and RTCP pass here and
//! nowhere else: webrtc's core never sees any.
//!
//! ```text
//!  unit ─────────► stream, packet ─┐
//!  feedback ─► resend ─────────────┼─► release (numbers, seal) ─► batch ─► the port
//!  time ─────► report ─────────────┘
//! ```
//!
//! Each picture is a [`Stream`] with its own [`Resend`]; transport-wide numbers and the seal are one for all.

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
use super::delay::PlayoutDelay;
use super::keys::Master;
use super::media::Unit;
use crate::media::unit::{AudioUnit, VideoUnit};

pub use self::batch::{Batch, Run};
pub use self::report::NtpClock;
pub use self::stream::{Extensions, Stream};

/// Browsers need two reports of each stream for lip sync.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The streams of one video section.
pub struct Picture {
    /// The picture.
    pub video: Stream,
    /// Its repetitions (RFC 4588), if they have a stream of their own; else they are the same packets to the bit.
    pub rtx: Option<Stream>,
    /// Whether repetitions are asked for (NACK).
    pub repeats: bool,
}

/// One viewer's media.
pub struct Wire {
    sections: Vec<Section>,
    audio: Option<Stream>,
    ntp: NtpClock,
    release: Release,
    /// When the next reports are due, once there are keys.
    reports: Option<Instant>,
}

/// What goes out in one video section.
struct Section {
    video: Stream,
    rtx: Option<Stream>,
    resend: Option<Resend>,
    delay: PlayoutDelay,
}

/// What went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Bytes of RTP: payloads and headers, without extensions and seals.
    pub bytes: u64,
}

impl Wire {
    /// No pictures yet; with sound, if the viewer wants any.
    pub fn new(audio: Option<Stream>, ntp: NtpClock) -> Self {
        Self { sections: vec![], audio, ntp, release: Release::default(), reports: None }
    }

    /// A picture begins in the video section of this number, one that there is or the next; `sound` is whether the viewer
    /// plays the sound now.
    pub fn begin(&mut self, number: usize, picture: Picture, sound: bool) {
        let Picture { video, rtx, repeats } = picture;
        let (resend, delay) = (repeats.then(Resend::new), PlayoutDelay::new(sound));
        let section = Section { video, rtx, resend, delay };
        match self.sections.get_mut(number) {
            Some(before) => *before = section,
            None => self.sections.push(section),
        }
    }

    /// The DTLS handshake is complete; packets are sealed with this.
    ///
    /// # Errors
    /// There is no such cipher.
    pub fn secure(&mut self, ours: &Master, now: Instant) -> Result<(), CryptoError> {
        self.release.secure(ours)?;
        self.reports = Some(now);
        Ok(())
    }

    /// Sends a picture or a sound, if the viewer wants such.
    pub fn unit(&mut self, unit: &Unit, sound: bool) -> Sent {
        let Self { sections, release, .. } = self;
        match unit {
            _ if !release.is_open() => Sent::default(),
            Unit::Video(section, video) => {
                sections.get_mut(*section).map(|s| s.picture(release, video, sound)).unwrap_or_default()
            }
            Unit::Audio(audio) => self.sound(audio),
        }
    }

    fn sound(&mut self, unit: &AudioUnit) -> Sent {
        let mut sent = Sent::default();
        let Some(audio) = &mut self.audio else { return sent };
        let packet = Packet {
            // A marker would begin a talkspurt (RFC 3551 section 4.1); without silence suppression there is one.
            marker: false,
            number: audio.number(),
            timestamp: unit.rtp_time,
            transport_wide: self.release.transport_wide(audio),
            payload: &unit.payload,
            ..Default::default()
        };
        if self.release.packet(audio, &packet) {
            audio.count(unit.payload.len(), unit.rtp_time, unit.pts);
            sent.count(unit.payload.len());
        }
        sent
    }

    /// The viewer says this, in RTCP that was opened. The sections in which it wishes for a keyframe are handed to `wish`.
    pub fn feedback(&mut self, compound: &[u8], now: Instant, mut wish: impl FnMut(usize)) {
        let Self { sections, release, .. } = self;
        for feedback in feedback::read(compound) {
            let of = |ssrc| sections.iter().position(|s| s.video.ssrc == ssrc);
            match feedback {
                Feedback::Keyframe(ssrc) => match of(ssrc) {
                    Some(section) => wish(section),
                    // Rather too many than one who waits for ever: players are free with this number.
                    None => (0..sections.len()).for_each(&mut wish),
                },
                Feedback::Lost(ssrc, numbers) => {
                    if let Some(section) = of(ssrc) {
                        sections[section].lost(release, numbers, now);
                    }
                }
                Feedback::Answered { ssrc, lsr, dlsr } => {
                    if let Some(resend) = of(ssrc).and_then(|section| sections[section].resend.as_mut()) {
                        resend.answered(lsr, dlsr, now);
                    }
                }
            }
        }
    }

    /// Time has passed: what is due goes out.
    pub fn timeout(&mut self, now: Instant) {
        if self.reports.is_none_or(|due| now < due) {
            return;
        }
        self.reports = Some(now + REPORT_INTERVAL);
        for Section { video, resend, .. } in &mut self.sections {
            let Some((ntp_time, report)) = report::of(video, self.ntp) else { continue };
            if let Some(resend) = resend {
                resend.reported(ntp_time, now);
            }
            self.release.report(&report);
        }
        if let Some((_, report)) = self.audio.as_ref().and_then(|audio| report::of(audio, self.ntp)) {
            self.release.report(&report);
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.reports
    }

    /// Nothing that was sent before in this video section is sent again.
    pub fn forget(&mut self, section: usize) {
        if let Some(section) = self.sections.get_mut(section) {
            section.forget();
        }
    }

    /// What is to be sent now; whoever has sent it clears it.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.release.batch
    }
}

impl Section {
    fn picture(&mut self, release: &mut Release, unit: &Arc<VideoUnit>, sound: bool) -> Sent {
        let mut sent = Sent::default();
        // For all of its packets: they are of one size then, and leave together.
        let playout_delay = self.delay.next(sound, unit.idr);
        for (part, payload) in unit.payloads.iter().enumerate() {
            let transport_wide = release.transport_wide(&self.video);
            let part = Part { unit: unit.clone(), part, transport_wide, playout_delay };
            let packet = Packet { number: self.video.number(), ..picture(&part) };
            if !release.packet(&self.video, &packet) {
                self.forget(); // what is kept must be without gaps
                return sent;
            }
            self.video.count(payload.len(), unit.rtp_time, unit.pts);
            sent.count(payload.len());
            if let Some(resend) = &mut self.resend {
                resend.sent(packet.number as u16, part);
            }
        }
        sent
    }

    fn lost(&mut self, release: &mut Release, numbers: Vec<u16>, now: Instant) {
        let Some(resend) = &mut self.resend else { return };
        for (number, part) in resend.lost(numbers, now) {
            self.repeat(release, number, &part);
        }
    }

    fn repeat(&mut self, release: &mut Release, number: u16, part: &Part) {
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
                release.packet(rtx, &packet);
            }
            None => {
                // To the bit: two different packets sealed under one number would give AES-GCM's key away (RFC 7714 section
                // 8.4, RFC 5116 section 5.1.1).
                let packet = Packet { number: self.video.unwrapped(number), ..picture(part) };
                release.packet(&self.video, &packet);
            }
        }
    }

    fn forget(&mut self) {
        if let Some(resend) = &mut self.resend {
            resend.forget();
        }
    }
}

impl Sent {
    fn count(&mut self, payload: usize) {
        self.packets += 1;
        self.bytes += (HEADER + payload) as u64;
    }
}

/// A packet of a picture, but for its number.
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
