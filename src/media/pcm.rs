//! Sound before encoding: 48 kHz interleaved `f32`, cut into packets of 20 ms on a fixed grid.
//!
//! Packet `n` contains the sound of `CLOCK_MONOTONIC` from `n * 20 ms` to `(n + 1) * 20 ms`, whatever the
//! source. So no anchor needs to be carried around: a source that stops, restarts or is replaced continues
//! with the next packet that it can fill, and its RTP time is right.

use std::fmt;
use std::time::Duration;

use crate::clock::{AUDIO_HZ, Pts};

/// Length of a packet: the usual compromise between delay and overhead for Opus (RFC 7587 section 4.2).
pub const PACKET: Duration = Duration::from_millis(20);
/// Samples of each channel in a packet.
pub const PACKET_FRAMES: usize = AUDIO_HZ as usize / 50;

const PACKET_US: u64 = PACKET.as_micros() as u64;

/// The number of the packet that contains `at`.
pub const fn packet_at(at: Pts) -> u64 {
    at.as_micros() / PACKET_US
}

/// The start time of packet `n`.
pub const fn packet_start(n: u64) -> Pts {
    Pts::from_micros(n * PACKET_US)
}

/// A device's sample format. All are little endian; peercam does not support big-endian machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16 bits.
    S16,
    /// 24 bits in three bytes.
    S24In3,
    /// 24 bits in the lower three of four bytes; the fourth may hold anything.
    S24,
    /// 32 bits.
    S32,
    /// 32 bits IEEE 754, full scale at 1.
    Float,
}

impl Format {
    /// Bytes of one sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::S24In3 => 3,
            Self::S24 | Self::S32 | Self::Float => 4,
        }
    }

    /// Appends interleaved samples of `from` channels in `bytes` to `out`, as interleaved samples of `to`
    /// channels (1 or 2).
    ///
    /// Stereo is averaged to mono. Of more than two channels the first are used unchanged: the others of
    /// microphone arrays and interfaces are raw capsules, playback echoes or unused inputs, not a room's
    /// sound.
    pub fn decode(self, bytes: &[u8], from: usize, to: usize, out: &mut Vec<f32>) {
        let size = self.bytes();
        let frames = bytes.chunks_exact(size * from);
        let at = |frame: &[u8], channel: usize| self.sample(&frame[channel * size..][..size]);
        match (from, to) {
            (1, _) => frames.for_each(|f| out.extend(std::iter::repeat_n(at(f, 0), to))),
            (2, 1) => out.extend(frames.map(|f| (at(f, 0) + at(f, 1)) / 2.0)),
            _ => frames.for_each(|f| out.extend((0..to).map(|c| at(f, c)))),
        }
    }

    fn sample(self, b: &[u8]) -> f32 {
        // 24 and 16 bits go to the top of 32, so that one factor fits all.
        let integer = match (self, b) {
            (Self::S16, &[b0, b1]) => [0, 0, b0, b1],
            (Self::S24In3, &[b0, b1, b2]) | (Self::S24, &[b0, b1, b2, _]) => [0, b0, b1, b2],
            (Self::Float, &[b0, b1, b2, b3]) => {
                let x = f32::from_le_bytes([b0, b1, b2, b3]);
                return if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 };
            }
            (_, &[b0, b1, b2, b3]) => [b0, b1, b2, b3],
            _ => [0; 4], // not reached: `decode` cuts the bytes to size
        };
        i32::from_le_bytes(integer) as f32 / 2_147_483_648.0
    }
}

/// In ALSA's notation.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S16 => "S16_LE",
            Self::S24In3 => "S24_3LE",
            Self::S24 => "S24_LE",
            Self::S32 => "S32_LE",
            Self::Float => "FLOAT_LE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_exact() {
        assert_eq!(packet_at(packet_start(7)), 7);
        assert_eq!(packet_at(packet_start(7) - Duration::from_micros(1)), 6);
        assert_eq!(packet_start(50).as_micros(), 1_000_000);
        assert_eq!(PACKET_FRAMES, 960);
    }

    fn decoded(format: Format, bytes: &[u8], from: usize, to: usize) -> Vec<f32> {
        let mut out = vec![];
        format.decode(bytes, from, to, &mut out);
        out
    }

    #[test]
    fn formats_agree_on_half_and_on_full_scale() {
        let float = |x: f32| x.to_le_bytes();
        for (format, half, low) in [
            (Format::S16, vec![0, 0x40], vec![0, 0x80]),
            (Format::S24In3, vec![0, 0, 0x40], vec![0, 0, 0x80]),
            (Format::S24, vec![0, 0, 0x40, 0xee], vec![0, 0, 0x80, 0]),
            (Format::S32, vec![0, 0, 0, 0x40], vec![0, 0, 0, 0x80]),
            (Format::Float, float(0.5).to_vec(), float(-7.0).to_vec()),
        ] {
            assert_eq!(decoded(format, &half, 1, 1), [0.5], "{format}");
            assert_eq!(decoded(format, &low, 1, 1), [-1.0], "{format}");
            assert_eq!(decoded(format, &half[1..], 1, 1), [] as [f32; 0], "{format}: half a frame");
        }
        assert_eq!(decoded(Format::S24, &[0xff, 0xff, 0xff, 0], 1, 1), [-1.0 / 8_388_608.0]);
        assert_eq!(decoded(Format::Float, &float(f32::NAN), 1, 1), [0.0]);
    }

    #[test]
    fn channels_are_mixed_down_and_up() {
        let bytes: Vec<u8> = [1i16, 3, 5, 7, 9, 11].iter().flat_map(|x| (x * 2_048).to_le_bytes()).collect();
        let mixed =
            |from, to| decoded(Format::S16, &bytes, from, to).iter().map(|x| x * 16.0).collect::<Vec<_>>();
        assert_eq!(mixed(1, 1), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
        assert_eq!(mixed(1, 2)[..4], [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(mixed(2, 1), [2.0, 6.0, 10.0]);
        assert_eq!(mixed(2, 2), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
        assert_eq!(mixed(3, 1), [1.0, 7.0]);
        assert_eq!(mixed(3, 2), [1.0, 3.0, 7.0, 9.0]);
    }
}
