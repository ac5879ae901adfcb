//! One direction of a link: a changing rate, a queue of bounded duration, propagation delay, jitter and loss.
//! A packet is sent at the rate of the moment in which it leaves the queue, even if it was queued before the
//! rate changed.

use std::collections::VecDeque;

use crate::testing::Random;

/// Values over time: each applies from the given second on.
pub(super) type Steps = Vec<(f64, f64)>;

/// The properties of one direction.
#[derive(Clone, Debug)]
pub(super) struct Road {
    /// Bits per second.
    pub rate: Steps,
    /// Capacity of the queue, in seconds at the current rate. Packets beyond it are lost.
    pub queue_s: f64,
    pub delay_s: f64,
    /// Maximum additional delay. Packets stay in order.
    pub jitter_s: f64,
    /// Part of the packets that are lost after the queue.
    pub loss: Steps,
}

fn at(steps: &Steps, s: f64) -> f64 {
    steps.iter().rev().find(|(from, _)| *from <= s).or(steps.first()).map_or(0.0, |(_, value)| *value)
}

pub(super) struct Link<T> {
    pub road: Road,
    random: Random,
    queue: VecDeque<(f64, T)>,
    queued_bits: f64,
    served_s: f64,
    arriving: VecDeque<(f64, T)>,
    newest_s: f64,
    /// Number of packets dropped because the queue was full.
    pub dropped: u64,
    pub pushed: u64,
}

impl<T> Link<T> {
    pub(super) fn new(road: Road, seed: u64) -> Self {
        Self {
            road,
            random: Random(seed),
            queue: VecDeque::new(),
            queued_bits: 0.0,
            served_s: 0.0,
            arriving: VecDeque::new(),
            newest_s: 0.0,
            dropped: 0,
            pushed: 0,
        }
    }

    pub(super) fn rate(&self, s: f64) -> f64 {
        at(&self.road.rate, s)
    }

    /// Queueing delay at the current rate, in seconds.
    pub(super) fn queue_s(&self, s: f64) -> f64 {
        self.queued_bits / self.rate(s)
    }

    /// Queues a packet. Returns false if it was dropped.
    pub(super) fn push(&mut self, size: usize, what: T, now: f64) -> bool {
        self.advance(now);
        self.pushed += 1;
        let bits = size as f64 * 8.0;
        if self.queued_bits + bits > (self.road.queue_s * self.rate(now)).max(2.0 * bits) {
            self.dropped += 1;
            return false;
        }
        self.queued_bits += bits;
        self.queue.push_back((bits, what));
        true
    }

    /// Serves the queue until `now`.
    pub(super) fn advance(&mut self, now: f64) {
        while self.served_s < now {
            let rate = self.rate(self.served_s);
            let change = self.road.rate.iter().map(|(from, _)| *from).find(|from| *from > self.served_s);
            let until = change.map_or(now, |c| c.min(now));
            let Some((left, _)) = self.queue.front_mut() else {
                self.served_s = until;
                continue;
            };
            let done = self.served_s + *left / rate;
            if done > until {
                let bits = (until - self.served_s) * rate;
                *left -= bits;
                self.queued_bits -= bits;
                self.served_s = until;
                continue;
            }
            self.queued_bits -= *left;
            self.served_s = done;
            let Some((_, what)) = self.queue.pop_front() else { return };
            if self.queue.is_empty() {
                self.queued_bits = 0.0;
            }
            let lost = at(&self.road.loss, done);
            if lost > 0.0 && self.random.part() < lost {
                continue;
            }
            let jitter = if self.road.jitter_s > 0.0 { self.road.jitter_s * self.random.part() } else { 0.0 };
            self.newest_s = self.newest_s.max(done + self.road.delay_s + jitter);
            self.arriving.push_back((self.newest_s, what));
        }
    }

    /// The next packet that has arrived by `now`, with its arrival time.
    pub(super) fn pop(&mut self, now: f64) -> Option<(f64, T)> {
        self.arriving.front().is_some_and(|(at, _)| *at <= now).then(|| self.arriving.pop_front())?
    }
}

#[test]
fn a_queued_packet_is_sent_at_the_rate_of_the_moment() {
    let rate = vec![(0.0, 1e6), (0.05, 0.5e6)];
    let road = Road { rate, queue_s: 0.3, delay_s: 0.02, jitter_s: 0.0, loss: vec![] };
    let mut link = Link::new(road, 1);
    let accepted = (0..100).filter(|_| link.push(1250, (), 0.0)).count();
    assert_eq!(accepted, 30);
    link.advance(10.0);
    let times: Vec<_> = std::iter::from_fn(|| link.pop(10.0)).map(|(at, ())| at).collect();
    assert!((times[4] - 0.07).abs() < 1e-6 && (times[5] - 0.09).abs() < 1e-6, "{times:?}");
}
