//! How long a browser may delay pictures (the `playout-delay` RTP header extension).
//!
//! Otherwise a browser's jitter buffer adds about 30 ms that an even network does not need. With minimum and
//! maximum 0, each frame is shown as soon as it is complete. That also keeps the browser from delaying the
//! picture until its sound is there, so a viewer with sound gets a range instead, within which lip sync
//! decides.
//!
//! The newest value that arrived applies, so it is sent only around changes and keyframes.
//!
//! A minimum of 0 also makes browsers show frames without a presentation time. After a change from a range to
//! that, Firefox drops all further frames as older than those it has shown with a time: it continues to
//! decode, but shows nothing. So with sound the minimum is 10 ms, and it stays so for a viewer that mutes
//! again: Firefox then shows pictures within 5-7 ms.
//!
//! Measured in November 2026 with the test picture in 640x480 and the tone, over loopback, on a busy two-core
//! machine: the median time from capture to display, and how much later than the picture the sound is.
//!
//! | asked for | Chromium 156 | Firefox 153 |
//! |---|---|---|
//! | 0 to 0, muted | 6-12 ms | 5-12 ms |
//! | 0 to 0, with sound | 7 ms, sound +107 ms | 7 ms, sound +149 ms |
//! | 0 to 0 muted, then nothing, with sound | 8 ms, sound +261 ms | 4 ms, sound +110 ms |
//! | 0 to 100 ms, with sound | 92 ms, sound +91 ms (at the limit) | 101 ms, sound +94 ms (at the limit) |
//! | 0 to 200 ms, with sound | 117 ms, sound -13 ms | 112-197 ms, sound -46 to -12 ms |
//! | 0 to 400 ms, with sound | 55-57 ms, sound +16 to +23 ms | 84-200 ms, sound -32 to +24 ms |
//!
//! So the delay with sound is the browser's own for sound, in any range that is wide enough. Short of CPU
//! (load 9 on two cores), Firefox once delayed the picture by 340 ms, 245 ms too long; Chromium did not.

/// The extension's URI in SDP.
pub(super) const URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Value for a viewer without sound: show pictures immediately.
const MUTED: [u8; 3] = pack(0, 0);
/// Value for a viewer that has muted again; see above.
const MUTED_AGAIN: [u8; 3] = pack(1, 1);
/// Value for a viewer with sound: from 10 to 400 ms. A browser delays sound by 50 to 200 ms on an even
/// network, and by more where packets arrive unevenly; above the limit the sound would come later than the
/// picture.
const WITH_SOUND: [u8; 3] = pack(1, 40);
/// Number of pictures that carry a new value: more than a second of them, so that a lossy start does not miss
/// it.
const REPEATS: u8 = 40;

/// Minimum and maximum delay in units of 10 ms, 12 bits each.
const fn pack(min: u16, max: u16) -> [u8; 3] {
    [(min >> 4) as u8, ((min << 4) | (max >> 8)) as u8, max as u8]
}

/// Decides which pictures carry which value, for one viewer.
#[derive(Debug)]
pub(super) struct PlayoutDelay {
    sound: bool,
    asked: &'static [u8; 3],
    left: u8,
}

impl PlayoutDelay {
    /// Creates the state for a viewer that starts with sound, or muted.
    pub(super) fn new(sound: bool) -> Self {
        Self { sound, asked: if sound { &WITH_SOUND } else { &MUTED }, left: REPEATS }
    }

    /// The extension's value for all packets of the next picture, if they need one.
    pub(super) fn next(&mut self, sound: bool, idr: bool) -> Option<&'static [u8; 3]> {
        if sound != self.sound {
            let asked = if sound { &WITH_SOUND } else { &MUTED_AGAIN };
            *self = Self { sound, asked, left: REPEATS };
        }
        let needed = idr || self.left > 0;
        self.left = self.left.saturating_sub(1);
        needed.then_some(self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_bits_each() {
        assert_eq!(pack(0, 0), [0, 0, 0]);
        assert_eq!(pack(0x123, 0xabc), [0x12, 0x3a, 0xbc]);
        assert_eq!(pack(0, 40), [0, 0, 40]);
    }

    #[test]
    fn sent_at_the_start_on_a_switch_and_with_each_keyframe() {
        let mut delay = PlayoutDelay::new(false);
        let sent = (0..100).filter_map(|_| delay.next(false, false)).collect::<Vec<_>>();
        assert_eq!(sent, vec![&MUTED; REPEATS.into()]);
        assert!(delay.next(false, true).is_some());
        let sent = (0..100).filter_map(|_| delay.next(true, false)).collect::<Vec<_>>();
        assert_eq!(sent, vec![&WITH_SOUND; REPEATS.into()]);
        assert!(delay.next(true, false).is_none());
        assert_eq!(delay.next(false, false), Some(&MUTED_AGAIN));
    }
}
