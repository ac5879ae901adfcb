//! A receiver that computes an estimate itself and reports it (REMB), from the trend of the delay and the
//! arriving bitrate.

use super::super::acked::Acked;
use super::super::arrival::Groups;
use super::super::trend::{Trend, Usage};

#[derive(Default)]
pub(super) struct Remote {
    groups: Groups,
    trend: Trend,
    acked: Acked,
    estimate: f64,
    updated: f64,
    cut: f64,
    said: (f64, f64),
}

impl Remote {
    pub(super) fn arrived(&mut self, sent: f64, at: f64, bytes: f64) {
        self.acked.arrived(at, bytes);
        if let Some(delta) = self.groups.arrived(sent, at) {
            self.trend.add(delta);
        }
    }

    pub(super) fn says(&mut self, now: f64) -> Option<f64> {
        let arrives = self.acked.rate(0.5, 5)?;
        if self.estimate == 0.0 {
            self.estimate = 1.5 * arrives;
        }
        let dt = (now - self.updated).min(0.1);
        if dt < 0.02 {
            return None;
        }
        self.updated = now;
        match self.trend.usage() {
            Usage::Over if now - self.cut > 0.2 => {
                (self.estimate, self.cut) = (0.85 * arrives, now);
            }
            Usage::Normal if now - self.cut > 0.3 => self.estimate *= 1.0 + 0.08 * dt,
            _ => {}
        }
        self.estimate = self.estimate.clamp(30e3, 1.5 * arrives + 10e3);
        let (at, before) = self.said;
        if now - at >= 1.0 || self.estimate < 0.97 * before {
            self.said = (now, self.estimate);
            return Some(self.estimate);
        }
        None
    }
}
