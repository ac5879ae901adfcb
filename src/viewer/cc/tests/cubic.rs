//! A TCP flow with CUBIC (RFC 9438): a competing download, or the socket that carries our media (ICE-TCP). It
//! models slow start with a delay-based exit (HyStart), fast retransmission, and a congestion window that
//! grows with the cube of time.

use std::collections::{BTreeMap, VecDeque};

/// Size of a segment with its headers, in bytes.
pub(super) const SEGMENT: usize = 1_500;
const C: f64 = 0.4;
const BETA: f64 = 0.7;

pub(super) struct Cubic<T> {
    /// Unacknowledged segments: send time, size and content.
    flying: BTreeMap<u64, (f64, usize, T)>,
    next: u64,
    again: VecDeque<u64>,
    pub window: f64,
    threshold: f64,
    most: f64,
    epoch: Option<f64>,
    recover: u64,
    highest: u64,
    least_rtt: f64,
    rtt: f64,
    heard: f64,
    /// Segments that wait to be sent.
    waiting: VecDeque<(usize, T)>,
    pub waiting_bytes: usize,
    pub flying_bytes: usize,
}

impl<T: Clone> Default for Cubic<T> {
    fn default() -> Self {
        Self {
            flying: BTreeMap::new(),
            next: 0,
            again: VecDeque::new(),
            window: 10.0,
            threshold: f64::MAX,
            most: 0.0,
            epoch: None,
            recover: 0,
            highest: 0,
            least_rtt: f64::MAX,
            rtt: 0.1,
            heard: 0.0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flying_bytes: 0,
        }
    }
}

impl<T: Clone> Cubic<T> {
    pub(super) fn write(&mut self, size: usize, what: T) {
        self.waiting_bytes += size;
        self.waiting.push_back((size, what));
    }

    /// The next segment to send: its number, size and content.
    pub(super) fn send(&mut self, now: f64) -> Option<(u64, usize, T)> {
        if !self.flying.is_empty() && now - self.heard > (3.0 * self.rtt).max(1.0) {
            (self.threshold, self.window) = ((self.window * BETA).max(2.0), 2.0);
            (self.epoch, self.heard, self.recover) = (None, now, self.next);
            self.again = self.flying.keys().copied().collect();
        }
        let outside = self.flying.len() - self.again.len().min(self.flying.len());
        if outside as f64 >= self.window {
            return None;
        }
        while let Some(number) = self.again.pop_front() {
            if let Some((sent, size, what)) = self.flying.get_mut(&number) {
                *sent = now;
                return Some((number, *size, what.clone()));
            }
        }
        let (size, what) = self.waiting.pop_front()?;
        if self.flying.is_empty() {
            self.heard = now;
        }
        self.waiting_bytes -= size;
        self.flying_bytes += size;
        let number = self.next;
        self.next += 1;
        self.flying.insert(number, (now, size, what.clone()));
        Some((number, size, what))
    }

    /// Processes a selective acknowledgement of a segment.
    pub(super) fn acked(&mut self, number: u64, now: f64) {
        let Some((sent, size, _)) = self.flying.remove(&number) else { return };
        self.flying_bytes -= size;
        self.heard = now;
        self.highest = self.highest.max(number);
        let rtt = now - sent;
        self.least_rtt = self.least_rtt.min(rtt);
        self.rtt += (rtt - self.rtt) / 8.0;
        // Segments are lost if three later ones have arrived.
        let lost: Vec<_> = self
            .flying
            .range(..self.highest.saturating_sub(2))
            .filter(|(n, (at, ..))| now - at > 0.9 * self.rtt && !self.again.contains(n))
            .map(|(n, _)| *n)
            .collect();
        if let Some(first) = lost.first() {
            if *first >= self.recover {
                self.most = self.window;
                self.window = (self.window * BETA).max(2.0);
                (self.threshold, self.epoch, self.recover) = (self.window, None, self.next);
            }
            self.again.extend(lost);
            return;
        }
        if self.window < self.threshold {
            self.window += 1.0;
            if rtt > self.least_rtt + (self.least_rtt / 8.0).clamp(0.004, 0.016) && self.window > 16.0 {
                self.threshold = self.window;
            }
            return;
        }
        let epoch = *self.epoch.get_or_insert(now);
        self.most = self.most.max(self.window * if now == epoch { 1.0 } else { 0.0 });
        let k = (self.most * (1.0 - BETA) / C).cbrt();
        let target = C * (now - epoch + rtt - k).powi(3) + self.most;
        if target > self.window {
            self.window += ((target - self.window) / self.window).min(0.5);
        } else {
            self.window += 0.01 / self.window;
        }
    }
}
