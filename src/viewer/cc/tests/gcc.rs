//! Congestion control as in the webrtc stack: the trend of the delay, 0.85 of the acknowledged bitrate on
//! overuse, growth of 8 % per second, and a reaction to loss above 10 %. It has neither an absolute queueing
//! delay nor probes.

use super::super::acked::Acked;
use super::super::arrival::Groups;
use super::super::history::History;
use super::super::trend::{Trend, Usage};
use super::sender::Brain;
use super::{Drive, Kind, Report};

pub(super) struct Gcc {
    history: History,
    acked: Acked,
    groups: Groups,
    trend: Trend,
    estimate: f64,
    by_loss: f64,
    cut: f64,
    updated: f64,
}

impl Gcc {
    pub(super) fn new(start: f64) -> Self {
        Self {
            history: History::default(),
            acked: Acked::default(),
            groups: Groups::default(),
            trend: Trend::default(),
            estimate: start,
            by_loss: start,
            cut: 0.0,
            updated: 0.0,
        }
    }
}

impl Brain for Gcc {
    fn sent(&mut self, number: u16, size: usize, kind: Kind, _: Option<u32>, now: f64) {
        self.history.sent(number, size, kind, None, 0.0, now);
    }

    fn feedback(&mut self, reports: &[Report], now: f64) {
        let mut out = vec![];
        self.history.reported(reports, &mut out);
        for o in &out {
            let Some(at) = o.arrived_s else { continue };
            self.acked.arrived(at, o.size);
            if let Some(delta) = self.groups.arrived(o.sent_s, at) {
                self.trend.add(delta);
            }
        }
        let lost = out.iter().filter(|o| o.arrived_s.is_none()).count() as f64 / (out.len() as f64).max(1.0);
        let dt = (now - self.updated).min(1.0);
        self.updated = now;
        let arrives = self.acked.rate(0.5, 5).unwrap_or(self.estimate);
        match self.trend.usage() {
            Usage::Over if now - self.cut > 0.1 => (self.estimate, self.cut) = (0.85 * arrives, now),
            Usage::Normal => self.estimate *= 1.0 + 0.08 * dt,
            _ => {}
        }
        self.estimate = self.estimate.clamp(30e3, 1.5 * arrives + 10e3);
        if lost > 0.10 {
            self.by_loss = self.estimate.min(self.by_loss) * (1.0 - 0.5 * lost);
        } else if lost < 0.02 {
            self.by_loss = (self.by_loss * (1.0 + 0.05 * dt)).max(self.by_loss + 1e3 * dt);
        }
        self.by_loss = self.by_loss.clamp(30e3, 20e6);
    }

    fn drive(&mut self, _: f64) -> Drive {
        let estimate_bps = self.estimate();
        let pace = 1.1 * estimate_bps;
        Drive { estimate_bps, pace_bps: pace, calm_bps: pace, burst_s: 0.005, hold: false, probe: None }
    }

    fn estimate(&self) -> f64 {
        self.estimate.min(self.by_loss.max(30e3))
    }
}
