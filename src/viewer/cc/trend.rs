//! The trend of the delay: libwebrtc's `goog_cc/trendline_estimator` with its adaptive threshold (Carlucci et
//! al., "Analysis and design of the Google congestion control", MMSys 2016).
//!
//! It detects a growing queue early, below the noise of individual packets. It does not detect a constant
//! one, since a full queue has no slope. For that there is [`super::queue`].

use std::collections::VecDeque;

use super::arrival::Delta;

/// Number of samples in a line.
const POINTS: usize = 20;
/// Weight of the previous smoothed delay in the new one.
const SMOOTHING: f64 = 0.9;
/// The slope is multiplied by this before it is compared with the threshold...
const GAIN: f64 = 4.0;
/// ... and by the number of samples, up to this.
const MOST_SAMPLES: f64 = 60.0;
/// The initial threshold and its minimum and maximum, in milliseconds.
const THRESHOLD_MS: (f64, f64, f64) = (12.5, 6.0, 600.0);
/// How fast the threshold adapts upward and downward, per millisecond.
const FOLLOW: (f64, f64) = (0.0087, 0.039);
/// A value that exceeds the threshold by more than this does not change it, in milliseconds.
const OUTLIER_MS: f64 = 15.0;
/// Time above the threshold after which there is overuse, in milliseconds.
const OVERUSE_MS: f64 = 10.0;

/// The state of the queue according to the trend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    /// The queue neither grows nor shrinks.
    #[default]
    Normal,
    /// The queue grows.
    Over,
    /// The queue shrinks.
    Under,
}

/// Computes the trend of the delay.
#[derive(Debug)]
pub(super) struct Trend {
    points: VecDeque<(f64, f64)>,
    count: f64,
    accumulated_ms: f64,
    smoothed_ms: f64,
    first_s: Option<f64>,
    threshold_ms: f64,
    over_ms: f64,
    over_count: u32,
    slope: f64,
    updated_s: Option<f64>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: VecDeque::with_capacity(POINTS),
            count: 0.0,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            first_s: None,
            threshold_ms: THRESHOLD_MS.0,
            over_ms: 0.0,
            over_count: 0,
            slope: 0.0,
            updated_s: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// Adds a sample.
    pub(super) fn add(&mut self, delta: Delta) {
        let first = *self.first_s.get_or_insert(delta.arrived_s);
        self.count = (self.count + 1.0).min(1000.0);
        self.accumulated_ms += delta.delay_s * 1000.0;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(((delta.arrived_s - first) * 1000.0, self.smoothed_ms));
        let before = self.slope;
        if self.points.len() == POINTS
            && let Some(slope) = slope(&self.points)
        {
            self.slope = slope;
        }
        self.judge(before, delta.arrived_s);
    }

    fn judge(&mut self, before: f64, now_s: f64) {
        let value = self.slope * self.count.min(MOST_SAMPLES) * GAIN;
        let dt = self.updated_s.map_or(0.0, |at| (now_s - at) * 1000.0).clamp(0.0, 100.0);
        self.updated_s = Some(now_s);
        if value > self.threshold_ms {
            self.over_ms += dt;
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && self.slope >= before {
                self.usage = Usage::Over;
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.usage = if value < -self.threshold_ms { Usage::Under } else { Usage::Normal };
        }
        if value.abs() <= self.threshold_ms + OUTLIER_MS {
            let k = if value.abs() < self.threshold_ms { FOLLOW.1 } else { FOLLOW.0 };
            self.threshold_ms += k * (value.abs() - self.threshold_ms) * dt;
            self.threshold_ms = self.threshold_ms.clamp(THRESHOLD_MS.1, THRESHOLD_MS.2);
        }
    }

    /// The current state of the queue.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }
}

/// The slope of the line through these points, by least squares.
fn slope(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), (px, py)| {
        (over + (px - x) * (py - y), under + (px - x) * (px - x))
    });
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of samples, 10 ms apart, until overuse is detected, where the delay grows by `growth_s`
    /// with each.
    fn until_over(growth_s: f64) -> Option<u32> {
        let mut trend = Trend::default();
        for n in 0..2000 {
            let delay_s = if n < 100 { 0.0 } else { growth_s };
            trend.add(Delta { delay_s, arrived_s: f64::from(n) * 0.01 });
            if trend.usage() == Usage::Over {
                return Some(n - 100);
            }
        }
        None
    }

    #[test]
    fn fast_growth_is_detected_soon_and_slow_growth_never() {
        assert!(until_over(0.002).expect("overuse at 20 % too much") < 20);
        assert!(until_over(0.005).expect("overuse at 50 % too much") < 12);
        assert_eq!(until_over(0.0001), None, "1 % is too slow for the trend");
        assert_eq!(until_over(0.0), None);
    }
}
