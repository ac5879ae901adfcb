//! Where packets are let go: here each gets its numbers and its seal, and nowhere else. What was dropped before has no number,
//! so that no receiver misses it.
//!
//! Today all goes at once. A pacer holds back here what the link can't carry yet, the sound first, then repetitions, then
//! pictures; an estimator learns here which transport-wide number left when, with how many bytes.

use rtc::crypto::CryptoError;

use super::batch::Batch;
use super::packet::Packet;
use super::seal::Seal;
use super::stream::Stream;
use crate::viewer::keys::Master;

/// The way out of one viewer's packets.
#[derive(Default)]
pub struct Release {
    /// Until the DTLS handshake is complete there are no keys, and nothing is let go.
    seal: Option<Seal>,
    /// The next number among all packets, of all streams (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 2).
    transport_wide: u16,
    /// What has been let go, and is to be sent now.
    pub batch: Batch,
}

impl Release {
    /// From now on packets are sealed with these keys.
    ///
    /// # Errors
    /// There is no such cipher.
    pub fn secure(&mut self, ours: &Master) -> Result<(), CryptoError> {
        self.seal = Some(Seal::new(ours)?);
        Ok(())
    }

    /// Whether there are keys.
    pub fn is_open(&self) -> bool {
        self.seal.is_some()
    }

    /// The next transport-wide number, for a packet of `stream`, if such have them.
    pub fn transport_wide(&mut self, stream: &Stream) -> Option<u16> {
        let number = self.transport_wide;
        stream.has_transport_wide().then(|| {
            self.transport_wide = number.wrapping_add(1);
            number
        })
    }

    /// Lets a packet go. False if nothing can be let go: there are no keys, or the cipher fails.
    pub fn packet(&mut self, stream: &Stream, packet: &Packet<'_>) -> bool {
        let Some(seal) = &mut self.seal else { return false };
        let written = self.batch.add(|out| {
            let begin = out.len();
            let header = stream.write(packet, out);
            seal.rtp(out, begin, header, stream.ssrc, packet.number)
        });
        said(written)
    }

    /// Lets a compound RTCP packet go. False as above.
    pub fn report(&mut self, compound: &[u8]) -> bool {
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
