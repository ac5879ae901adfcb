//! A simulated link between two peers, on virtual time and from a seed: rate, queue, propagation, jitter,
//! loss.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::testing::Random;

/// Which datagrams are lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Each with this probability.
    Random(f64),
    /// All while the link is bad; at each datagram that begins with the first probability, and ends with the
    /// second (Gilbert).
    Bursty(f64, f64),
}

/// The properties of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Properties {
    /// Bits per second.
    pub rate: f64,
    /// Propagation time.
    pub delay: Duration,
    /// Most additional time, different for each datagram; none overtakes another.
    pub jitter: Duration,
    pub loss: Loss,
}

/// Longest queue, in time at the current rate; what does not fit is lost.
const QUEUE: Duration = Duration::from_millis(300);

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub(crate) struct Link {
    pub properties: Properties,
    random: Random,
    bad: bool,
    /// When the last bit in the queue has left.
    busy: Instant,
    newest: Instant,
    waiting: BTreeMap<(Instant, u64), Parcel>,
    count: u64,
    /// Number of lost datagrams.
    pub lost: u64,
}

impl Link {
    pub(crate) fn new(properties: Properties, seed: u64, now: Instant) -> Self {
        let waiting = BTreeMap::new();
        Self {
            properties,
            random: Random(seed),
            bad: false,
            busy: now,
            newest: now,
            waiting,
            count: 0,
            lost: 0,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, parcel: Parcel) {
        let Properties { rate, delay, jitter, loss } = self.properties;
        self.count += 1;
        let begin = self.busy.max(now);
        let chance = self.random.part();
        let lost = match loss {
            Loss::Random(part) => chance < part,
            Loss::Bursty(enter, leave) => {
                self.bad = if self.bad { chance >= leave } else { chance < enter };
                self.bad
            }
        };
        if begin - now > QUEUE || lost {
            self.lost += 1;
            return;
        }
        let bits = (parcel.bytes.len() + 28) as f64 * 8.0;
        self.busy = begin + Duration::from_secs_f64(bits / rate);
        self.newest = self.newest.max(self.busy + delay + jitter.mul_f64(self.random.part()));
        self.waiting.insert((self.newest, self.count), parcel);
    }

    /// How long a datagram that is sent now would wait.
    pub(crate) fn queue(&self, now: Instant) -> Duration {
        self.busy.saturating_duration_since(now)
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// A datagram that has arrived by now.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Parcel> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
