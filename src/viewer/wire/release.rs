//! Releases packets: each gets its numbers and its seal here, and only here. Packets that were dropped before
//! have no number, so no receiver misses them.
//!
//! Each packet is announced to the estimator here, with its transport-wide number, send time and size. Today
//! everything is released immediately. A pacer would hold back here what the link can't carry yet; sound
//! would leave first, then retransmissions, then pictures.

use std::time::Instant;

use rtc::crypto::CryptoError;

use super::batch::Batch;
use super::packet::Packet;
use super::seal::Seal;
use super::stream::Stream;
use crate::viewer::cc::{Estimator, Figures, Kind, Limits, Report, Said, Timeline};
use crate::viewer::keys::Master;

/// Size of the IPv4 and UDP headers of each datagram, in bytes (RFC 791, RFC 768); those of IPv6 and TCP are
/// somewhat larger.
const BELOW: usize = 28;
/// The limits of the estimate. Nothing depends on it yet, so they are not taken from the viewer's streams.
const LIMITS: Limits = Limits { least_bps: 60e3, start_bps: 1e6, wanted_bps: 8e6 };

/// Releases a viewer's packets.
#[derive(Default)]
pub(super) struct Release {
    /// `None` until the DTLS handshake is complete: without keys nothing is released.
    seal: Option<Seal>,
    /// The next number among all packets of all streams (draft-holmer-rmcat-transport-wide-cc-extensions-01
    /// section 2).
    transport_wide: u16,
    /// The link; `None` before there are keys.
    link: Option<Link>,
    /// Released packets that are to be sent now.
    pub batch: Batch,
}

/// The link of one viewer.
struct Link {
    estimator: Estimator,
    timeline: Timeline,
}

impl Release {
    /// Seals packets with these keys from now on.
    ///
    /// # Errors
    /// The cipher is not available.
    pub(super) fn secure(&mut self, ours: &Master, now: Instant) -> Result<(), CryptoError> {
        self.seal = Some(Seal::new(ours)?);
        self.link = Some(Link { estimator: Estimator::new(LIMITS), timeline: Timeline::new(now) });
        Ok(())
    }

    /// Whether there are keys.
    pub(super) fn is_open(&self) -> bool {
        self.seal.is_some()
    }

    /// The next transport-wide number for a packet of `stream`, if its packets have them.
    pub(super) fn transport_wide(&mut self, stream: &Stream) -> Option<u16> {
        let number = self.transport_wide;
        stream.has_transport_wide().then(|| {
            self.transport_wide = number.wrapping_add(1);
            number
        })
    }

    /// Releases a packet. Returns false if that is not possible: there are no keys, or the cipher fails.
    pub(super) fn packet(&mut self, stream: &Stream, packet: &Packet<'_>, kind: Kind, now: Instant) -> bool {
        let Some(seal) = &mut self.seal else { return false };
        let mut size = BELOW;
        let written = self.batch.add(|out| {
            let begin = out.len();
            let header = stream.write(packet, out);
            let sealed = seal.rtp(out, begin, header, stream.ssrc, packet.number);
            size += out.len() - begin;
            sealed
        });
        let written = said(written);
        if let Some(Link { estimator, timeline }) = self.link.as_mut().filter(|_| written) {
            estimator.sent(packet.transport_wide, size, kind, None, timeline.seconds(now));
        }
        written
    }

    /// Processes transport-wide feedback about released packets.
    pub(super) fn arrived(&mut self, reports: &[Report], now: Instant) {
        if let Some(Link { estimator, timeline }) = &mut self.link {
            estimator.feedback(reports, timeline.seconds(now));
        }
    }

    /// Processes a report about the link that does not name individual packets.
    pub(super) fn said(&mut self, said: Said, now: Instant) {
        if let Some(Link { estimator, timeline }) = &mut self.link {
            estimator.said(said, timeline.seconds(now));
        }
    }

    /// Processes the passing of time: detects that the reports have stopped.
    pub(super) fn timeout(&mut self, now: Instant) {
        if let Some(Link { estimator, timeline }) = &mut self.link {
            estimator.drive(timeline.seconds(now)); // nothing depends on the result yet
        }
    }

    /// The figures of the link; `None` before there are keys.
    pub(super) fn figures(&self, now: Instant) -> Option<Figures> {
        let Link { estimator, timeline } = self.link.as_ref()?;
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
