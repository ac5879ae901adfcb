//! The acknowledged bitrate: bytes that arrived within a time window, by the viewer's clock. libwebrtc has
//! this as `goog_cc/robust_throughput_estimator`; here the caller chooses the window. While there is a queue,
//! the link is never idle, so even a short window shows what it carries.

use std::collections::VecDeque;

/// Maximum number of arrivals that are remembered.
const MOST: usize = 2_048;
/// How long an arrival is remembered, in seconds.
const KEPT_S: f64 = 1.2;

/// Recent arrivals.
#[derive(Debug, Default)]
pub(super) struct Acked {
    /// Arrival time and size in bytes.
    arrivals: VecDeque<(f64, f64)>,
    /// Bytes that probably arrived, although the report about them was lost.
    unknown: f64,
}

impl Acked {
    /// Records the arrival of a packet.
    pub(super) fn arrived(&mut self, at_s: f64, bytes: f64) {
        let newest = self.arrivals.back().map_or(at_s, |(at, _)| *at);
        if at_s < newest - KEPT_S || at_s > newest + 10.0 {
            self.arrivals.clear(); // the clock was reset
        }
        let newest = self.arrivals.back().map_or(at_s, |(at, _)| *at);
        let bytes = bytes + std::mem::take(&mut self.unknown);
        self.arrivals.push_back((at_s.max(newest), bytes));
        while self.arrivals.len() > MOST || self.arrivals.front().is_some_and(|(at, _)| at_s - at > KEPT_S) {
            self.arrivals.pop_front();
        }
    }

    /// The report about this many bytes was lost. They count as arrived with the next packet; otherwise every
    /// lost report would look like a slower link.
    pub(super) fn unknown(&mut self, bytes: f64) {
        self.unknown += bytes;
    }

    /// Bitrate over the last `window_s` seconds up to the newest arrival, if at least `least` packets arrived
    /// in them.
    pub(super) fn rate(&self, window_s: f64, least: usize) -> Option<f64> {
        let newest = self.arrivals.back()?.0;
        let (mut bytes, mut count, mut oldest) = (0.0, 0, newest);
        let mut last = 0.0;
        for (at, size) in self.arrivals.iter().rev() {
            if newest - at > window_s {
                break;
            }
            bytes += last;
            (last, oldest, count) = (*size, *at, count + 1);
        }
        let span = newest - oldest;
        (count >= least.max(2) && span > 0.01).then(|| bytes * 8.0 / span)
    }

    /// Arrival time of the newest packet, by the viewer's clock.
    pub(super) fn newest_s(&self) -> Option<f64> {
        self.arrivals.back().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_measured_between_arrivals() {
        let mut acked = Acked::default();
        assert_eq!(acked.rate(1.0, 2), None);
        for n in 0..200 {
            acked.arrived(7.0 + f64::from(n) * 0.01, 1250.0);
        }
        for window in [0.1, 0.5, 1.0] {
            assert!((acked.rate(window, 5).expect("known") - 1e6).abs() < 1.0);
        }
        assert_eq!(acked.rate(0.1, 50), None, "too few packets");
        for n in 0..20 {
            acked.arrived(9.0 + f64::from(n) * 0.02, 1250.0);
        }
        assert!((acked.rate(0.2, 5).expect("known") - 0.5e6).abs() < 1.0);
        assert!(acked.arrivals.len() < 200);
    }

    #[test]
    fn a_lost_report_does_not_look_like_a_slower_link() {
        let mut acked = Acked::default();
        for n in 0..100 {
            if (40..45).contains(&n) {
                acked.unknown(1250.0);
            } else {
                acked.arrived(f64::from(n) * 0.01, 1250.0);
            }
        }
        assert!((acked.rate(0.9, 5).expect("known") - 1e6).abs() < 15e3);
    }
}
