//! Releases packets: the pacer decides when each leaves, and it gets its numbers and its seal here, and only
//! here. Packets that were dropped before have no number, so no receiver misses them.
//!
//! Each packet is announced to the estimator here, with its transport-wide number, send time and size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::CryptoError;

use super::batch::Batch;
use super::packet::{HEADER, Packet};
use super::rate::Rate;
use super::resend::{Lost, Part};
use super::seal::Seal;
use super::stream::Stream;
use crate::media::unit::{AudioUnit, VideoUnit};
use crate::viewer::cc::{
    Applied, Drive, Estimator, Figures, Kind, Limits, Next, Pacer, Place, Report, Said, Share, State,
    Timeline,
};
use crate::viewer::keys::Master;

/// Size of the IPv4 and UDP headers of each datagram, in bytes (RFC 791, RFC 768); those of IPv6 and TCP are
/// somewhat larger.
const BELOW: usize = 28;
/// Size of all headers and the tag of a packet, in bytes: those below, of RTP, of its extensions, and the tag
/// of AES-GCM.
const AROUND: usize = BELOW + HEADER + 8 + 16;
/// Smallest estimate, in bits per second.
const LEAST_BPS: f64 = 60e3;
/// What can be used, in bits per second, before that is known.
const WANTED_BPS: f64 = 2.5e6;
/// Shortest time until waiting packets are looked at again: the resolution of timers.
const TURN: Duration = Duration::from_millis(1);
/// Part of a stream of pictures that its headers add to it.
const HEADERS: f64 = 1.06;

/// A packet that waits to be released.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Sound.
    Sound(Arc<AudioUnit>),
    /// A part of a picture, for the section with this number.
    Part(usize, Part),
    /// The packet of this number in this section, again.
    Repeat(usize, u16),
}

impl Waiting {
    /// The section that it belongs to, if it is a part of a picture.
    fn section(&self) -> Option<usize> {
        match self {
            Self::Sound(_) => None,
            Self::Part(section, _) | Self::Repeat(section, _) => Some(*section),
        }
    }
}

/// Releases a viewer's packets.
pub(super) struct Release {
    /// `None` until the DTLS handshake is complete: without keys nothing is released.
    seal: Option<Seal>,
    /// The next number among all packets of all streams (draft-holmer-rmcat-transport-wide-cc-extensions-01
    /// section 2).
    transport_wide: u16,
    /// Whether the viewer reports single packets.
    reports: bool,
    /// The link; `None` before there are keys.
    link: Option<Link>,
    /// Released packets that are to be sent now.
    pub batch: Batch,
}

/// The link of one viewer.
struct Link {
    timeline: Timeline,
    estimator: Estimator,
    pacer: Pacer<Waiting>,
    /// The bitrates of sound and of retransmissions.
    sound: Rate,
    repeats: Rate,
    applied: Applied,
    /// What sound and pictures could use, in bits per second with all headers.
    wanted_bps: f64,
    /// What may be sent, in bits per second; `None`: only the link is the limit.
    limit_bps: Option<f64>,
}

impl Release {
    /// Creates the release of a viewer; `reports` is whether it reports single packets (transport-wide
    /// feedback).
    pub(super) fn new(reports: bool) -> Self {
        Self { seal: None, transport_wide: 0, reports, link: None, batch: Batch::default() }
    }

    /// Seals packets with these keys from now on. `start_bps` is the first estimate of the link, in bits per second.
    ///
    /// # Errors
    /// The cipher is not available.
    pub(super) fn secure(&mut self, ours: &Master, start_bps: f64, now: Instant) -> Result<(), CryptoError> {
        self.seal = Some(Seal::new(ours)?);
        let limits =
            Limits { least_bps: LEAST_BPS, start_bps: start_bps.max(LEAST_BPS), wanted_bps: WANTED_BPS };
        self.link = Some(Link {
            timeline: Timeline::new(now),
            estimator: Estimator::new(limits),
            pacer: Pacer::default(),
            sound: Rate::default(),
            repeats: Rate::default(),
            applied: Applied::default(),
            wanted_bps: 0.0,
            limit_bps: None,
        });
        Ok(())
    }

    /// Whether there are keys.
    pub(super) fn is_open(&self) -> bool {
        self.seal.is_some()
    }

    /// Queues a sound packet.
    pub(super) fn sound(&mut self, unit: &Arc<AudioUnit>, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let (size, now_s) = (AROUND + unit.payload.len(), link.timeline.seconds(now));
        link.sound.add(size, now_s);
        link.pacer.push(Kind::Sound, size, Waiting::Sound(unit.clone()), now_s);
    }

    /// Queues a part of a picture, for the section with this number. Returns false if it is refused, because an
    /// IDR is needed first or there are no keys.
    pub(super) fn part(&mut self, section: usize, part: Part, now: Instant) -> bool {
        let Some(link) = &mut self.link else { return false };
        let VideoUnit { idr, disposable, .. } = *part.unit;
        let place = Place { stream: section, idr, first: part.part == 0, disposable };
        let size = AROUND + part.payload().len();
        link.pacer.push_video(size, place, Waiting::Part(section, part), link.timeline.seconds(now))
    }

    /// Queues a packet of this section for retransmission.
    pub(super) fn repeat(&mut self, section: usize, lost: Lost, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let (size, now_s) = (AROUND + lost.payload, link.timeline.seconds(now));
        for _ in 0..if lost.twice { 2 } else { 1 } {
            link.repeats.add(size, now_s);
            link.pacer.push(Kind::Repeat, size, Waiting::Repeat(section, lost.number), now_s);
        }
    }

    /// The instructions for the pacer, once a turn and after each copy; `None` before there are keys.
    pub(super) fn drive(&mut self, now: Instant) -> Option<Drive> {
        let Link { timeline, estimator, limit_bps, .. } = self.link.as_mut()?;
        let drive = estimator.drive(timeline.seconds(now));
        Some(limit_bps.map_or(drive, |bps| drive.within(bps)))
    }

    /// What leaves now; call it until it returns `None`.
    pub(super) fn next(&mut self, drive: &Drive, now: Instant) -> Option<Next<Waiting>> {
        let Link { timeline, pacer, .. } = self.link.as_mut()?;
        pacer.next(timeline.seconds(now), drive)
    }

    /// A copy with this payload was sent for the probe; `None`: there was no packet to copy.
    pub(super) fn copied(&mut self, payload: Option<usize>) {
        if let Some(link) = &mut self.link {
            link.pacer.copied(payload.map(|payload| AROUND + payload));
        }
    }

    /// Largest payload of a copy of at most this size.
    pub(super) fn payload_of(most: usize) -> usize {
        most.saturating_sub(AROUND)
    }

    /// Drops pictures that are too late, or that an interruption or a sudden fall of the link has made useless. What
    /// left before the returned time is of no use any more.
    pub(super) fn drop_late(&mut self, drive: &Drive, now: Instant) -> Option<Instant> {
        let Link { timeline, estimator, pacer, .. } = self.link.as_mut()?;
        if let Some(sent_s) = estimator.useless_before_s() {
            pacer.drop_behind(sent_s);
            return Some(timeline.moment(sent_s));
        }
        pacer.drop_late(timeline.seconds(now), drive).then_some(now)
    }

    /// Whether pictures of this section were dropped, so that an IDR is needed. Not while the viewer reports nothing:
    /// an IDR would probably be lost, and the next one has to wait.
    pub(super) fn is_broken(&self, section: usize) -> bool {
        let Some(Link { estimator, pacer, .. }) = &self.link else { return false };
        pacer.is_broken(section) && estimator.state() != State::Silent
    }

    /// Removes everything that waits for this section.
    pub(super) fn remove(&mut self, section: usize) {
        if let Some(link) = &mut self.link {
            link.pacer.remove(|waiting| waiting.section() == Some(section));
        }
    }

    /// Removes the waiting retransmissions for which `is_gone` returns true, by section and number.
    pub(super) fn remove_repeats(&mut self, is_gone: impl Fn(usize, u16) -> bool) {
        if let Some(link) = &mut self.link {
            let is_gone =
                |waiting: &Waiting| matches!(waiting, Waiting::Repeat(of, number) if is_gone(*of, *number));
            link.pacer.remove(is_gone);
        }
    }

    /// When [`Self::next`] may have something, if nothing is queued before.
    pub(super) fn due(&self, drive: &Drive, now: Instant) -> Option<Instant> {
        let Link { timeline, pacer, .. } = self.link.as_ref()?;
        let due_s = pacer.due_s(timeline.seconds(now), drive)?;
        Some(timeline.moment(due_s).max(now + TURN))
    }

    /// What the pictures may use, if they could use this many bits, and come this many times, a second at most;
    /// `None` before there are keys.
    pub(super) fn share(&mut self, (most_bps, fps): (f64, f64), now: Instant) -> Option<Share> {
        let Link { timeline, estimator, pacer, sound, repeats, applied, wanted_bps, limit_bps } =
            self.link.as_mut()?;
        let now_s = timeline.seconds(now);
        let (sound_bps, repeats_bps) = (sound.bps(now_s), repeats.bps(now_s));
        *wanted_bps = HEADERS * most_bps + sound_bps;
        let limit_bps = limit_bps.unwrap_or(f64::MAX);
        estimator.want(wanted_bps.min(limit_bps));
        if !self.reports {
            // From reports of loss alone it would take many seconds to learn that the link carries more.
            estimator.assume(wanted_bps.min(limit_bps));
        }
        let waiting = pacer.waiting() as f64;
        let carried_bps = estimator.estimate_bps().min(limit_bps);
        let share = Share::of(carried_bps, sound_bps, repeats_bps, waiting, fps);
        Some(Share { video_bps: applied.follow(share.video_bps.min(most_bps), now_s), ..share })
    }

    /// How much the viewer could use of the device's upload, in bits per second.
    pub(super) fn useful_bps(&self) -> f64 {
        self.link.as_ref().map_or(0.0, |link| link.wanted_bps.min(link.estimator.estimate_bps()))
    }

    /// Limits what is sent, in bits per second; `None`: only the link does.
    pub(super) fn limit(&mut self, bps: Option<f64>) {
        if let Some(link) = &mut self.link {
            link.limit_bps = bps;
        }
    }

    /// The next transport-wide number for a packet of `stream`, if its packets have them.
    pub(super) fn transport_wide(&mut self, stream: &Stream) -> Option<u16> {
        let number = self.transport_wide;
        stream.has_transport_wide().then(|| {
            self.transport_wide = number.wrapping_add(1);
            number
        })
    }

    /// Releases a packet, as a part of this probe if there is one. Returns false if that is not possible: there
    /// are no keys, or the cipher fails.
    pub(super) fn packet(
        &mut self,
        stream: &Stream,
        packet: &Packet<'_>,
        kind: Kind,
        probe: Option<u32>,
        now: Instant,
    ) -> bool {
        let (Some(seal), Some(link)) = (&mut self.seal, &mut self.link) else { return false };
        let (now_s, mut size) = (link.timeline.seconds(now), BELOW);
        let written = self.batch.add(|out| {
            let begin = out.len();
            let header = stream.write(packet, now_s, out);
            let sealed = seal.rtp(out, begin, header, stream.ssrc, packet.number);
            size += out.len() - begin;
            sealed
        });
        let written = said(written);
        if written {
            // An identical packet has the number of the original, which says nothing about the copy.
            let is_identical = kind == Kind::Repeat && packet.repeats.is_none();
            let number = packet.transport_wide.filter(|_| !is_identical);
            link.estimator.sent(number, size, kind, probe, now_s);
        }
        written
    }

    /// Processes transport-wide feedback about released packets.
    pub(super) fn arrived(&mut self, reports: &[Report], now: Instant) {
        if let Some(Link { estimator, timeline, .. }) = &mut self.link {
            estimator.feedback(reports, timeline.seconds(now));
        }
    }

    /// Processes a report about the link that does not name individual packets.
    pub(super) fn said(&mut self, said: Said, now: Instant) {
        if let Some(Link { estimator, timeline, .. }) = &mut self.link {
            estimator.said(said, timeline.seconds(now));
        }
    }

    /// The TCP connection to the viewer holds this many bytes that have not arrived; `None` over UDP.
    pub(super) fn unsent(&mut self, bytes: Option<usize>) {
        if let Some(link) = &mut self.link {
            link.estimator.unsent(bytes);
        }
    }

    /// The figures of the link; `None` before there are keys.
    pub(super) fn figures(&self, now: Instant) -> Option<Figures> {
        let Link { estimator, timeline, .. } = self.link.as_ref()?;
        Some(estimator.figures(timeline.seconds(now)))
    }

    /// Releases a compound RTCP packet. Returns false as for [`packet`](Self::packet).
    pub(super) fn report(&mut self, compound: &[u8]) -> bool {
        let Some(seal) = &mut self.seal else { return false };
        let written = self.batch.add(|out| {
            let begin = out.len();
            out.extend_from_slice(compound);
            seal.rtcp(out, begin)
        });
        said(written)
    }
}

fn said(written: Result<(), CryptoError>) -> bool {
    if let Err(error) = &written {
        tracing::debug!(%error, "can't encrypt a packet");
    }
    written.is_ok()
}
