//! What each picture shows about the link: its packets leave as a train, faster than the average, and the way
//! they arrive shows whether the link could carry more. Packet trains are an old idea (Jain and Dovrolis,
//! "Pathload", 2002). libwebrtc measures the same with its probe clusters
//! (`goog_cc/probe_bitrate_estimator`), which cost bytes; trains of pictures cost none.
//!
//! If the delay after a train is the same as before, the train was carried: its bitrate is free. A train that
//! arrives stretched shows the bitrate that the link carries.

use std::collections::VecDeque;

/// Minimum and maximum number of packets of a train.
const PACKETS: (usize, usize) = (3, 20);
/// Maximum length of a train, in seconds.
const LONGEST_S: f64 = 0.050;
/// A train was carried if its last packet's delay exceeds its first one's by no more than this many seconds
/// plus this part of the train's length.
const CARRIED: (f64, f64) = (0.0015, 0.08);
/// Maximum number of trains that are remembered.
const MOST: usize = 32;
/// Number of trains that are needed as evidence.
const LEAST: usize = 3;
/// How long a train counts as evidence, in seconds.
const KEPT_S: f64 = 0.8;

/// What a train has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// When its last packet was sent, by our clock.
    pub sent_s: f64,
    /// The bitrate at which it was sent.
    pub sent_bps: f64,
    /// The bitrate at which it arrived.
    pub arrived_bps: f64,
    /// Whether it arrived as fast as it was sent.
    pub carried: bool,
}

impl Shown {
    fn bps(&self) -> f64 {
        if self.carried { self.sent_bps } else { self.arrived_bps.min(self.sent_bps) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Train {
    number: u64,
    first: (f64, f64),
    last: (f64, f64),
    /// Bytes after the first packet.
    bytes: f64,
    packets: usize,
}

/// Sorts packets into trains and evaluates them.
#[derive(Debug, Default)]
pub(super) struct Trains {
    current: Option<Train>,
    shown: VecDeque<Shown>,
}

impl Trains {
    /// Records the arrival of a packet that is not sound. Packets leave together if they are at most `gap_s`
    /// apart.
    pub(super) fn arrived(
        &mut self,
        number: u64,
        sent_s: f64,
        arrived_s: f64,
        bytes: f64,
        gap_s: f64,
    ) -> Option<Shown> {
        let begin =
            Train { number, first: (sent_s, arrived_s), last: (sent_s, arrived_s), bytes: 0.0, packets: 1 };
        let Some(train) = &mut self.current else {
            self.current = Some(begin);
            return None;
        };
        // Up to two other packets may be in between: lost packets or sound.
        let follows = number > train.number && number - train.number <= 3 && arrived_s >= train.last.1;
        let together = sent_s - train.last.0 <= gap_s && sent_s - train.first.0 <= LONGEST_S;
        if follows && together && train.packets < PACKETS.1 {
            train.number = number;
            train.last = (sent_s, arrived_s);
            train.bytes += bytes;
            train.packets += 1;
            return None;
        }
        let done = std::mem::replace(train, begin);
        let shown = done.shown()?;
        if self.shown.len() == MOST {
            self.shown.pop_front();
        }
        self.shown.push_back(shown);
        Some(shown)
    }

    /// A bitrate that is free according to most of the recent trains.
    pub(super) fn free_bps(&self, now_s: f64) -> Option<f64> {
        let mut rates = [0.0; MOST];
        let recent = self.shown.iter().filter(|s| now_s - s.sent_s <= KEPT_S);
        let mut count = 0;
        for (to, shown) in rates.iter_mut().zip(recent) {
            *to = shown.bps();
            count += 1;
        }
        let rates = &mut rates[..count];
        rates.sort_by(f64::total_cmp);
        (count >= LEAST).then(|| rates[count / 4])
    }

    /// Forgets all trains, because they no longer apply.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Train {
    fn shown(&self) -> Option<Shown> {
        let (sent, arrived) = (self.last.0 - self.first.0, self.last.1 - self.first.1);
        if self.packets < PACKETS.0 {
            return None;
        }
        let longer = arrived - sent;
        let (sent_bps, arrived_bps) =
            (self.bytes * 8.0 / sent.max(0.001), self.bytes * 8.0 / arrived.max(0.0005));
        let carried = longer <= CARRIED.0 + CARRIED.1 * sent;
        Some(Shown { sent_s: self.last.0, sent_bps, arrived_bps, carried })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends trains of 8 packets at `sent` over a link of `link`, both in bits per second.
    fn free(sent: f64, link: f64) -> f64 {
        let mut trains = Trains::default();
        let mut number = 0;
        for picture in 0..10 {
            let begin = f64::from(picture) / 30.0;
            for packet in 0..8 {
                let packet = f64::from(packet) * 9600.0;
                let (sent_s, arrived_s) = (begin + packet / sent, 50.0 + begin + packet / link.min(sent));
                trains.arrived(number, sent_s, arrived_s, 1200.0, 0.009);
                number += 1;
            }
        }
        trains.free_bps(0.3).expect("known")
    }

    #[test]
    fn a_carried_train_shows_its_own_rate_and_a_stretched_one_the_links() {
        assert!((free(3e6, 10e6) - 3e6).abs() < 1e4);
        assert!((free(6e6, 4e6) - 4e6).abs() < 1e4);
    }
}
