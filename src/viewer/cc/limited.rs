//! Detects whether the source sends less than the link could carry. Then the acknowledged bitrate says
//! nothing about the link, and a higher estimate would be of no use. This is libwebrtc's
//! `pacing/alr_detector`.

use std::collections::VecDeque;

/// The window over which the sent bitrate is measured, in seconds.
const WINDOW_S: f64 = 0.5;
/// A source that uses less than this part of the estimate is the limit...
const ENTER: f64 = 0.70;
/// ... until it uses more than this part.
const LEAVE: f64 = 0.80;
/// Maximum number of bursts that are remembered, each of several packets: more than there are in that time.
const MOST: usize = 256;
/// Packets sent within this time are one burst, in seconds.
const TOGETHER_S: f64 = 0.005;

/// Measures the sent bitrate.
#[derive(Debug, Default)]
pub(super) struct Limited {
    sent: VecDeque<(f64, f64)>,
    limited: bool,
}

impl Limited {
    /// Records that this many bytes are sent.
    pub(super) fn sent(&mut self, bytes: f64, now_s: f64) {
        match self.sent.back_mut() {
            Some((at, sum)) if now_s - *at < TOGETHER_S => *sum += bytes,
            _ => {
                if self.sent.len() == MOST {
                    self.sent.pop_front();
                }
                self.sent.push_back((now_s, bytes));
            }
        }
        while self.sent.front().is_some_and(|(at, _)| now_s - at > 2.0 * WINDOW_S) {
            self.sent.pop_front();
        }
    }

    /// Bitrate sent over the last `window_s` seconds.
    pub(super) fn rate(&self, window_s: f64, now_s: f64) -> f64 {
        let recent = self.sent.iter().rev().take_while(|(at, _)| now_s - at <= window_s);
        recent.map(|(_, bytes)| bytes * 8.0).sum::<f64>() / window_s
    }

    /// Whether the source is the limit at this estimate.
    pub(super) fn judge(&mut self, estimate_bps: f64, now_s: f64) -> bool {
        let part = self.rate(WINDOW_S, now_s) / estimate_bps.max(1.0);
        self.limited = part < if self.limited { LEAVE } else { ENTER };
        self.limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_sends_little_is_limited() {
        let mut limited = Limited::default();
        let steps = [(900.0, false), (750.0, false), (600.0, true), (750.0, true), (850.0, false)];
        for (n, (kbps, is)) in steps.into_iter().enumerate() {
            let begin = 10.0 * n as f64;
            for n in 0..60 {
                limited.sent(kbps * 1000.0 / 8.0 / 60.0, begin + f64::from(n) / 60.0);
            }
            assert_eq!(limited.judge(1e6, begin + 1.0), is, "{kbps}");
        }
    }
}
