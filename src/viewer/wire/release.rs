//! Releases packets: each gets its numbers and its seal here, and only here. Packets that were dropped before
//! have no number, so no receiver misses them.
//!
//! Today everything is released immediately. A pacer would hold back here what the link can't carry yet, the
//! sound first, then retransmissions, then pictures; an estimator would learn here which transport-wide
//! number was sent when, with how many bytes.

use rtc::crypto::CryptoError;

use super::batch::Batch;
use super::packet::Packet;
use super::seal::Seal;
use super::stream::Stream;
use crate::viewer::keys::Master;

/// Releases a viewer's packets.
#[derive(Default)]
pub(super) struct Release {
    /// `None` until the DTLS handshake is complete: without keys nothing is released.
    seal: Option<Seal>,
    /// The next number among all packets of all streams (draft-holmer-rmcat-transport-wide-cc-extensions-01
    /// section 2).
    transport_wide: u16,
    /// Released packets that are to be sent now.
    pub batch: Batch,
}

impl Release {
    /// Seals packets with these keys from now on.
    ///
    /// # Errors
    /// The cipher is not available.
    pub(super) fn secure(&mut self, ours: &Master) -> Result<(), CryptoError> {
        self.seal = Some(Seal::new(ours)?);
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
    pub(super) fn packet(&mut self, stream: &Stream, packet: &Packet<'_>) -> bool {
        let Some(seal) = &mut self.seal else { return false };
        let written = self.batch.add(|out| {
            let begin = out.len();
            let header = stream.write(packet, out);
            seal.rtp(out, begin, header, stream.ssrc, packet.number)
        });
        said(written)
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
