//! Limits TCP connections to the media port. Pure logic, except for [`Guests`] around it.
//!
//! Anybody can connect, and until the first genuine request nobody knows whether it is a viewer. Places for
//! strangers are few; when they are taken, a newcomer replaces the stranger that has been silent longest, of
//! the source with most of them: so connections without requests keep nobody out. Viewers keep their
//! connections.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::demux::LineId;
use crate::memory;
use crate::net::{Source, descriptors};

/// Limits for connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once. Each viewer has one or two, so viewers never reach it.
    pub all: usize,
    /// Connections that have not yet proven to be viewers.
    pub strangers: usize,
    /// Such connections of one source, such as an office behind one NAT.
    pub strangers_per_source: usize,
    /// Connections of one viewer: its interfaces and both address families, and twice that while it changes
    /// networks.
    pub per_viewer: usize,
}

impl Limits {
    /// The limits of the daemon.
    pub(super) const STANDARD: Self =
        Self { all: 2048, strangers: 256, strangers_per_source: 64, per_viewer: 8 };

    /// The limits for a process that may open `descriptors` files.
    pub(super) fn within(self, descriptors: usize) -> Self {
        let all = descriptors::share(self.all, descriptors);
        Self { all, strangers: self.strangers.min(all.div_ceil(2)), ..self }
    }
}

/// The policy. A connection whose `T` is returned must make room. `V` identifies viewers.
#[derive(Debug)]
struct Seats<T, V> {
    limits: Limits,
    /// Connections by number; older ones have smaller numbers.
    strangers: HashMap<u64, (Source, T)>,
    viewers: HashMap<u64, V>,
    next: u64,
}

impl<T, V: Eq + Hash> Seats<T, V> {
    fn new(limits: Limits) -> Self {
        Self { limits, strangers: HashMap::new(), viewers: HashMap::new(), next: 0 }
    }

    /// Admits a connection from `source`: returns its number, and the connection that must make room; `None`
    /// if there is no room.
    fn admit(&mut self, source: Source, end: T) -> Option<(u64, Option<T>)> {
        let of = self.strangers.values().filter(|(s, _)| *s == source).count();
        let full = self.strangers.len() >= self.limits.strangers
            || self.strangers.len() + self.viewers.len() >= self.limits.all;
        let mut gone = None;
        if of >= self.limits.strangers_per_source {
            gone = self.end_oldest(source);
        } else if full {
            let mut counts: HashMap<Source, (usize, u64)> = HashMap::new();
            for (number, (source, _)) in &self.strangers {
                let (count, first) = counts.entry(*source).or_insert((0, *number));
                (*count, *first) = (*count + 1, (*first).min(*number));
            }
            // Among equal sources, the one with the oldest connection.
            let most = counts.into_iter().max_by_key(|(_, (count, first))| (*count, u64::MAX - first));
            gone = Some(self.end_oldest(most?.0)?);
        }
        let number = self.next;
        self.next += 1;
        self.strangers.insert(number, (source, end));
        Some((number, gone))
    }

    fn end_oldest(&mut self, source: Source) -> Option<T> {
        let those = self.strangers.iter().filter(|(_, (s, _))| *s == source);
        let number = *those.min_by_key(|(number, _)| **number)?.0;
        self.strangers.remove(&number).map(|(_, end)| end)
    }

    /// The connection belongs to this viewer; returns false if the viewer has too many, or the connection had
    /// to make room.
    fn known(&mut self, number: u64, viewer: V) -> bool {
        let few = self.viewers.values().filter(|v| **v == viewer).count() < self.limits.per_viewer;
        let known = few && self.strangers.remove(&number).is_some();
        if known {
            self.viewers.insert(number, viewer);
        }
        known
    }

    fn leave(&mut self, number: u64) {
        self.strangers.remove(&number);
        self.viewers.remove(&number);
    }

    fn count(&self) -> usize {
        self.strangers.len() + self.viewers.len()
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Guests(Mutex<Seats<CancellationToken, LineId>>);

/// A connection's place, freed on drop.
pub(super) struct Place {
    guests: Arc<Guests>,
    number: u64,
    /// Cancelled when the connection must make room.
    pub end: CancellationToken,
}

impl Guests {
    /// Creates an empty set of connections.
    pub(super) fn new(limits: Limits) -> Self {
        Self(Mutex::new(Seats::new(limits)))
    }

    /// Number of connections.
    pub(super) fn count(&self) -> usize {
        self.seats().count()
    }

    /// Admits a connection; another one may have to make room for it.
    pub(super) fn admit(self: &Arc<Self>, source: Source) -> Option<Place> {
        let end = CancellationToken::new();
        let (number, gone) = self.seats().admit(source, end.clone())?;
        if let Some(gone) = gone {
            gone.cancel();
        }
        Some(Place { guests: self.clone(), number, end })
    }

    fn seats(&self) -> MutexGuard<'_, Seats<CancellationToken, LineId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection belongs to a viewer; returns false if that has too many.
    pub(super) fn known(&self, viewer: LineId) -> bool {
        self.guests.seats().known(self.number, viewer)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.seats().leave(self.number);
        memory::freed();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const SMALL: Limits = Limits { all: 8, strangers: 4, strangers_per_source: 2, per_viewer: 2 };

    fn host(n: u32) -> Source {
        Source::Host(IpAddr::V4(Ipv4Addr::from(n)))
    }

    #[test]
    fn silent_strangers_give_way_the_oldest_of_the_source_with_the_most() {
        let mut seats: Seats<u32, u8> = Seats::new(SMALL);
        assert_eq!(seats.admit(host(9), 0), Some((0, None)));
        assert_eq!(seats.admit(host(1), 1), Some((1, None)));
        assert_eq!(seats.admit(host(1), 2), Some((2, None)));
        assert_eq!(seats.admit(host(1), 3), Some((3, Some(1))), "of its own source");
        assert_eq!(seats.admit(host(2), 4), Some((4, None)));
        assert_eq!(seats.admit(host(3), 5), Some((5, Some(2))), "not connection 0, which is older");
        assert_eq!(seats.admit(host(4), 6), Some((6, Some(0))), "all have one");
        assert_eq!(seats.count(), 4);
    }

    #[test]
    fn viewers_stay_and_one_of_them_has_a_few() {
        let mut seats: Seats<u32, u8> = Seats::new(SMALL);
        for n in 0..6 {
            let (number, gone) = seats.admit(host(1), n).expect("room");
            assert!(gone.is_none() && seats.known(number, n as u8 / 2));
        }
        let (number, _) = seats.admit(host(1), 6).expect("room");
        assert!(!seats.known(number, 0), "the viewer has two already");
        assert!(!seats.known(77, 9), "the connection had to make room");
        seats.leave(number);
        // Strangers get what is left, and replace no viewer.
        for n in 0..100 {
            let (_, gone) = seats.admit(host(n), 100 + n).expect("room");
            assert!(gone.is_none_or(|gone| gone >= 100));
        }
        assert_eq!(seats.count(), 8);
        for number in 0..200 {
            seats.leave(number);
        }
        assert_eq!(seats.count(), 0);
        // With viewers alone there is no room for strangers.
        let mut seats: Seats<u32, u32> = Seats::new(SMALL);
        for n in 0..8 {
            let (number, _) = seats.admit(host(n), n).expect("room");
            assert!(seats.known(number, n));
        }
        assert_eq!(seats.admit(host(9), 9), None);
    }

    #[test]
    fn hundreds_of_silent_ones_leave_a_viewer_its_moment() {
        let mut seats: Seats<u32, u32> = Seats::new(Limits::STANDARD);
        for sources in [1, 10, 200] {
            (0..2000).for_each(|n| _ = seats.admit(host(n % sources), n));
            let (number, _) = seats.admit(host(0xffff), 1).expect("room");
            // As many as arrive in half a second, at 100 a second.
            (0..50).for_each(|n| _ = seats.admit(host(n % sources), n));
            assert!(seats.known(number, sources), "{sources} sources");
        }
    }
}
