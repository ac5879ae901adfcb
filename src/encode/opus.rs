//! Opus encoding (RFC 6716) as WebRTC needs it (RFC 7587): 48 kHz, packets of 20 ms, in-band FEC.

use std::time::Duration;

use ::opus::{Application, Bitrate, Channels};
use bytes::Bytes;

use crate::clock::AUDIO_HZ;
use crate::media::pcm::PACKET_FRAMES;

/// Packet loss, in per cent, for which the in-band FEC is dimensioned. Zero would switch it off; more takes
/// bits from the sound itself. With this value a single lost packet, the most common loss on Wi-Fi, is
/// repaired.
const EXPECTED_LOSS: i32 = 5;
/// Encoder complexity, of ten. Above this value the CPU time still grows, but at our bitrates the sound does
/// not improve.
const COMPLEXITY: i32 = 5;
/// Longest possible Opus frame of 20 ms (RFC 6716 section 3.2.1).
const MAX_PACKET: usize = 1_275;
/// Packets of at most this size mean silence (DTX) and need not be sent.
const DTX_BYTES: usize = 2;

/// An error of libopus; with our fixed settings this is a fault of the library or its build.
#[derive(Debug, thiserror::Error)]
#[error("opus: {0}")]
pub struct Error(#[from] ::opus::Error);

/// An encoder for one stream.
pub struct Encoder {
    inner: ::opus::Encoder,
    lookahead: Duration,
    packet: [u8; MAX_PACKET],
}

impl Encoder {
    /// Creates an encoder for `channels` (1 or 2) interleaved channels at `bitrate_bps`.
    ///
    /// The application is VoIP, not audio: only the SILK layer carries in-band FEC, and in the audio
    /// application libopus stops using that layer above about 18 kbps, so FEC would be announced in the SDP
    /// but absent from the packets.
    pub fn new(channels: u32, bitrate_bps: u32, dtx: bool) -> Result<Self, Error> {
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let mut inner = ::opus::Encoder::new(AUDIO_HZ, layout, Application::Voip)?;
        inner.set_bitrate(Bitrate::Bits(bitrate_bps as i32))?;
        inner.set_complexity(COMPLEXITY)?;
        inner.set_inband_fec(true)?;
        inner.set_packet_loss_perc(EXPECTED_LOSS)?;
        inner.set_dtx(dtx)?;
        let samples = inner.get_lookahead()?.max(0) as u64;
        let lookahead = Duration::from_micros(samples * 1_000_000 / u64::from(AUDIO_HZ));
        Ok(Self { inner, lookahead, packet: [0; MAX_PACKET] })
    }

    /// The codec's delay: the first sample decoded from a packet was captured this long before the first
    /// sample that was encoded into it.
    pub fn lookahead(&self) -> Duration {
        self.lookahead
    }

    /// Encodes 20 ms: [`PACKET_FRAMES`] samples of each channel, interleaved. `None` means silence: nothing
    /// to send.
    pub fn encode(&mut self, samples: &[f32]) -> Result<Option<Bytes>, Error> {
        debug_assert_eq!(samples.len() % PACKET_FRAMES, 0);
        let len = self.inner.encode_float(samples, &mut self.packet)?;
        Ok((len > DTX_BYTES).then(|| Bytes::copy_from_slice(&self.packet[..len])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::tone::{BEEP_FRAMES, Tone, tests::level};

    fn tone(packet: u64, channels: usize) -> Vec<f32> {
        let mut samples = vec![0.0; PACKET_FRAMES * channels];
        Tone::default().fill(packet * PACKET_FRAMES as u64, channels, &mut samples);
        samples
    }

    /// Encodes `packets` packets of the tone and decodes them, except those for which `lost` returns true.
    fn round_trip(channels: u32, packets: u64, lost: impl Fn(u64) -> bool) -> Vec<f32> {
        let mut encoder = Encoder::new(channels, 48_000, false).expect("encoder");
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let mut decoder = ::opus::Decoder::new(AUDIO_HZ, layout).expect("decoder");
        let coded: Vec<Bytes> = (0..packets)
            .map(|n| encoder.encode(&tone(n, channels as usize)).expect("encodes").expect("no silence"))
            .collect();
        let mut heard = vec![];
        let mut out = vec![0.0; PACKET_FRAMES * channels as usize];
        for n in 0..packets as usize {
            let fec = lost(n as u64);
            let from = if fec { &coded[n + 1] } else { &coded[n] };
            assert_eq!(decoder.decode_float(from, &mut out, fec).expect("decodes"), PACKET_FRAMES);
            heard.extend(out.chunks_exact(channels as usize).map(|frame| frame[0]));
        }
        heard
    }

    #[test]
    fn the_tone_survives_mono_and_stereo() {
        for channels in [1, 2] {
            let heard = round_trip(channels, 50, |_| false);
            let steady = &heard[24_000..33_600];
            assert!((level(steady, 1e3) - 0.25).abs() < 0.03, "{channels}: {}", level(steady, 1e3));
            assert!(level(steady, 3e3) < 0.01);
        }
    }

    #[test]
    fn lookahead_says_where_the_beep_comes_out() {
        let heard = round_trip(1, 100, |_| false);
        let late =
            (Encoder::new(1, 48_000, false).expect("encoder").lookahead().as_micros() * 48 / 1_000) as usize;
        assert!((120..=480).contains(&late), "{late}");
        let beep = |from: usize| level(&heard[from..from + 240], 3e3) > 0.12;
        let onset = (40_000..60_000).find(|&n| beep(n)).expect("a beep") + 120;
        assert!((onset as i64 - (48_000 + late) as i64).abs() < 96, "{onset}, not {}", 48_000 + late);
        let end = (onset..60_000).find(|&n| !beep(n)).expect("its end") + 120;
        assert!((end as i64 - (48_000 + BEEP_FRAMES as usize + late) as i64).abs() < 96, "{end}");
    }

    #[test]
    fn a_lost_packet_is_repaired_from_the_next() {
        // The packet in which the beep begins: nothing heard before could be extended into it.
        let heard = round_trip(1, 60, |n| n == 50);
        let repaired = &heard[50 * PACKET_FRAMES + 480..51 * PACKET_FRAMES];
        assert!(level(repaired, 3e3) > 0.1, "{}", level(repaired, 3e3));
    }

    #[test]
    fn it_keeps_the_bitrate() {
        for bitrate_bps in [16_000, 48_000] {
            let mut encoder = Encoder::new(1, bitrate_bps, false).expect("encoder");
            let packets =
                (0..200).map(|n| encoder.encode(&tone(n, 1)).expect("encodes").expect("no silence"));
            let mean_bps = packets.map(|packet| packet.len() as u32 * 8).sum::<u32>() / 4;
            assert!(mean_bps < bitrate_bps * 5 / 4, "{mean_bps} bit/s, not {bitrate_bps}");
        }
    }

    #[test]
    fn silence_is_sent_unless_dtx() {
        let sent = |dtx| {
            let mut encoder = Encoder::new(1, 48_000, dtx).expect("encoder");
            (0..200).filter(|_| encoder.encode(&[0.0; PACKET_FRAMES]).expect("encodes").is_some()).count()
        };
        assert_eq!(sent(false), 200);
        assert!(sent(true) < 60, "{}", sent(true));
    }
}
