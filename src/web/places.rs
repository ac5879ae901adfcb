//! Who gets one of the places for connections. Pure logic.
//!
//! Whoever opens connections and says nothing on them must not keep others out, neither from elsewhere nor from the
//! same address, behind which the owner may sit too. So a newcomer is not simply refused when all is taken: the
//! connection that has been without any progress for longest gives way to it. One that speaks makes progress with every
//! request; a WebSocket of somebody who was let in is kept, come what may, and counted apart.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, kept ones not counted.
    pub connections: usize,
    /// Of them from one address, or one IPv6 network of 64 bits, which is what one customer has at least. A page with
    /// its assets takes six.
    pub per_address: usize,
    /// TLS handshakes at once, of all; each costs the most that anybody can ask for before a login.
    pub handshakes: usize,
    /// Of them from one address.
    pub handshakes_per_address: usize,
    /// New connections from one address in a second, after as many as `burst` at once. On a small board a handshake
    /// costs a millisecond or two of one core, so this leaves most of it to those who watch.
    pub per_second: f64,
    /// See `per_second`.
    pub burst: f64,
    /// WebSockets of those who were let in.
    pub kept: usize,
}

impl Limits {
    /// What the daemon runs with.
    pub const STANDARD: Self = Self {
        connections: 512,
        per_address: 64,
        handshakes: 64,
        handshakes_per_address: 32,
        per_second: 40.0,
        burst: 160.0,
        // The page of each of the most viewers that can be configured, and some of people who look at the page only.
        kept: 1024,
    };
}

/// Without progress for less than this nobody gives way: a browser opens six connections at once, and needs a moment
/// for each.
const GRACE: Duration = Duration::from_millis(750);
/// Addresses whose rate is remembered. Above that the one that came longest ago is forgotten.
const REMEMBERED: usize = 1024;

/// Whom a connection is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// A client's address or network.
    Client(IpAddr),
    /// A trusted proxy, which brings many clients.
    Proxy,
}

impl Source {
    fn of(address: IpAddr, trusted: bool) -> Self {
        if trusted {
            return Self::Proxy;
        }
        Self::Client(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before its first byte, or in its TLS handshake.
    Handshake,
    /// Between and in requests.
    Http,
    /// A WebSocket of somebody who was let in.
    Kept,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken by connections that do something.
    Full,
    /// The same, of those of this address.
    TooMany,
    /// This address opens connections too fast.
    TooFast,
}

#[derive(Debug)]
struct Taken<T> {
    source: Source,
    phase: Phase,
    progress: Instant,
    end: T,
}

/// When a source's next connection is due, as a bucket that fills with time.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// All places. A connection whose `T` is dropped ends.
#[derive(Debug)]
pub struct Places<T> {
    limits: Limits,
    taken: HashMap<u64, Taken<T>>,
    buckets: HashMap<Source, Bucket>,
    next: u64,
}

impl<T> Places<T> {
    /// All free.
    pub fn new(limits: Limits) -> Self {
        Self { limits, taken: HashMap::new(), buckets: HashMap::new(), next: 0 }
    }

    /// Takes a place for a connection from `address`, `trusted` if that is a proxy of ours, that begins with `phase`: its
    /// number, and who has to make room for it.
    pub fn take(
        &mut self,
        address: IpAddr,
        trusted: bool,
        phase: Phase,
        now: Instant,
        end: T,
    ) -> Result<(u64, Vec<T>), Refusal> {
        let source = Source::of(address, trusted);
        // Whoever is on this machine can keep its CPU busy without us.
        if source != Source::Proxy && !address.to_canonical().is_loopback() && !self.in_time(source, now) {
            return Err(Refusal::TooFast);
        }
        let mut ended = vec![];
        let Limits { connections, per_address, handshakes, handshakes_per_address, .. } = self.limits;
        let shaking = |t: &Taken<T>| t.phase == Phase::Handshake;
        let counted = |t: &Taken<T>| t.phase != Phase::Kept;
        let own = |t: &Taken<T>| t.source == source;
        if source != Source::Proxy {
            if phase == Phase::Handshake {
                let over = self.room(handshakes_per_address, |t| own(t) && shaking(t), now);
                ended.extend(over.map_err(|()| Refusal::TooMany)?);
            }
            let over = self.room(per_address, |t| own(t) && counted(t), now);
            ended.extend(over.map_err(|()| Refusal::TooMany)?);
        }
        if phase == Phase::Handshake {
            ended.extend(self.room(handshakes, shaking, now).map_err(|()| Refusal::Full)?);
        }
        ended.extend(self.room(connections, counted, now).map_err(|()| Refusal::Full)?);
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Taken { source, phase, progress: now, end });
        Ok((number, ended))
    }

    /// Makes sure that one more of those `counted` is within `most`; that one which has made no progress for longest,
    /// of the source with the most, has to go if need be.
    fn room(
        &mut self,
        most: usize,
        counted: impl Fn(&Taken<T>) -> bool,
        now: Instant,
    ) -> Result<Option<T>, ()> {
        let mut of: HashMap<Source, usize> = HashMap::new();
        for taken in self.taken.values().filter(|t| counted(t)) {
            *of.entry(taken.source).or_default() += 1;
        }
        if of.values().sum::<usize>() < most {
            return Ok(None);
        }
        let idle = |t: &&Taken<T>| now.saturating_duration_since(t.progress) >= GRACE;
        let longest = self.taken.iter().filter(|(_, t)| counted(t) && idle(t)).max_by_key(|(number, t)| {
            (of.get(&t.source).copied(), now.saturating_duration_since(t.progress), u64::MAX - **number)
        });
        let number = *longest.ok_or(())?.0;
        Ok(self.taken.remove(&number).map(|t| t.end))
    }

    fn in_time(&mut self, source: Source, now: Instant) -> bool {
        if self.buckets.len() >= REMEMBERED && !self.buckets.contains_key(&source) {
            let oldest = self.buckets.iter().min_by_key(|(_, b)| b.at).map(|(s, _)| *s);
            oldest.map(|s| self.buckets.remove(&s));
        }
        let Limits { per_second, burst, .. } = self.limits;
        let bucket = self.buckets.entry(source).or_insert(Bucket { left: burst, at: now });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * per_second).min(burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    /// It did something: its handshake is done, or a request came, or was answered.
    pub fn progress(&mut self, number: u64, now: Instant) {
        if let Some(taken) = self.taken.get_mut(&number) {
            taken.progress = now;
            if taken.phase == Phase::Handshake {
                taken.phase = Phase::Http;
            }
        }
    }

    /// It becomes a WebSocket of somebody who was let in; false if there are too many of those, or if it had to make
    /// room.
    pub fn keep(&mut self, number: u64) -> bool {
        let kept = self.taken.values().filter(|t| t.phase == Phase::Kept).count();
        match self.taken.get_mut(&number) {
            Some(taken) if kept < self.limits.kept => {
                taken.phase = Phase::Kept;
                true
            }
            _ => false,
        }
    }

    /// It ended.
    pub fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        connections: 6,
        per_address: 3,
        handshakes: 6,
        handshakes_per_address: 3,
        per_second: 10.0,
        burst: 100.0,
        kept: 2,
    };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_longest_silent_one_of_the_same_address_gives_way() {
        let (mut places, t) = (Places::new(SMALL), Instant::now());
        for n in 0..3 {
            assert_eq!(places.take(ip(1), false, Phase::Handshake, at(t, n), n), Ok((n, vec![])));
        }
        // Nobody has been silent for long.
        assert_eq!(places.take(ip(1), false, Phase::Handshake, at(t, 10), 9), Err(Refusal::TooMany));
        // The first one speaks.
        places.progress(0, at(t, 500));
        assert_eq!(places.take(ip(1), false, Phase::Handshake, at(t, 1000), 3), Ok((3, vec![1])));
        // Others have their own.
        assert_eq!(places.take(ip(2), false, Phase::Handshake, at(t, 1000), 4), Ok((4, vec![])));
    }

    #[test]
    fn when_all_is_taken_the_address_with_the_most_gives_way() {
        let (mut places, t) = (Places::new(SMALL), Instant::now());
        for (n, from) in [(0, 9), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
            assert_eq!(places.take(ip(from), false, Phase::Handshake, at(t, n), n), Ok((n, vec![])));
        }
        assert_eq!(places.take(ip(3), false, Phase::Handshake, at(t, 10), 6), Err(Refusal::Full));
        assert_eq!(
            places.take(ip(3), false, Phase::Handshake, at(t, 2000), 6),
            Ok((6, vec![1])),
            "not 0, which is older"
        );
        assert_eq!(places.count(), 6);
        places.leave(6);
        assert_eq!(places.count(), 5);
    }

    #[test]
    fn a_thousand_silent_ones_keep_nobody_out() {
        let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
        for n in 0..1000 {
            let _ = places.take(ip((n % 20) as u8), false, Phase::Handshake, at(t, n), n);
        }
        for from in [0, 100] {
            assert!(places.take(ip(from), false, Phase::Handshake, at(t, 3000), 1000).is_ok(), "from {from}");
        }
    }

    #[test]
    fn kept_ones_never_give_way_and_have_their_own_limit() {
        let (mut places, t) = (Places::new(SMALL), Instant::now());
        for n in 0..3 {
            assert!(places.take(ip(1), false, Phase::Handshake, t, n).is_ok());
        }
        assert!(places.keep(0) && places.keep(1) && !places.keep(2) && !places.keep(77));
        for n in 3..5 {
            assert_eq!(
                places.take(ip(1), false, Phase::Handshake, at(t, 5000), n),
                Ok((n, vec![])),
                "kept ones are not counted"
            );
        }
        assert_eq!(places.take(ip(1), false, Phase::Handshake, at(t, 9000), 5), Ok((5, vec![2])));
    }

    #[test]
    fn handshakes_are_fewer_than_connections() {
        let limits = Limits { handshakes: 2, handshakes_per_address: 1, ..SMALL };
        let (mut places, t) = (Places::new(limits), Instant::now());
        assert!(places.take(ip(1), false, Phase::Handshake, t, 0).is_ok());
        assert_eq!(places.take(ip(1), false, Phase::Handshake, t, 1), Err(Refusal::TooMany));
        places.progress(0, t);
        assert!(
            places.take(ip(1), false, Phase::Handshake, t, 1).is_ok()
                && places.take(ip(2), false, Phase::Handshake, t, 2).is_ok()
        );
        assert_eq!(places.take(ip(3), false, Phase::Handshake, t, 3), Err(Refusal::Full));
        assert_eq!(places.take(ip(3), false, Phase::Handshake, at(t, 1000), 3), Ok((3, vec![1])));
    }

    #[test]
    fn nobody_opens_connections_without_pause() {
        let limits = Limits { per_second: 2.0, burst: 3.0, per_address: 100, ..SMALL };
        let (mut places, t) = (Places::new(limits), Instant::now());
        let mut take = |from, ms| {
            let taken = places.take(from, false, Phase::Handshake, at(t, ms), ());
            taken.map(|(number, _)| places.leave(number))
        };
        for _ in 0..3 {
            assert_eq!(take(ip(1), 0), Ok(()));
        }
        assert_eq!(take(ip(1), 0), Err(Refusal::TooFast));
        assert_eq!(take(ip(2), 0), Ok(()));
        assert_eq!(take(ip(1), 600), Ok(()));
        assert_eq!(take(ip(1), 600), Err(Refusal::TooFast));
        for _ in 0..10 {
            assert_eq!(take(IpAddr::from([127, 0, 0, 1]), 600), Ok(()), "this machine's own");
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_proxy_as_none() {
        let (mut places, t) = (Places::new(SMALL), Instant::now());
        for n in 0..3u16 {
            let from = IpAddr::from([0x2001, 0xdb8, 0, 0, n, 0, 0, 1]);
            assert!(places.take(from, false, Phase::Handshake, t, ()).is_ok());
        }
        let next = |s: &str| s.parse::<IpAddr>().unwrap();
        assert_eq!(places.take(next("2001:db8::9"), false, Phase::Handshake, t, ()), Err(Refusal::TooMany));
        assert!(places.take(next("2001:db8:0:1::9"), false, Phase::Handshake, t, ()).is_ok());
        let (mut places, t) = (Places::new(SMALL), Instant::now());
        for n in 0..6 {
            assert!(places.take(ip(1), true, Phase::Handshake, t, n).is_ok());
        }
        assert_eq!(places.take(ip(1), true, Phase::Handshake, t, 6), Err(Refusal::Full));
    }

    #[test]
    fn what_is_remembered_of_addresses_is_bounded() {
        let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
        for n in 0..5000u32 {
            let from = IpAddr::from(n.to_be_bytes());
            if let Ok((number, _)) = places.take(from, false, Phase::Handshake, at(t, u64::from(n)), ()) {
                places.leave(number);
            }
        }
        assert!(places.buckets.len() <= REMEMBERED && places.taken.is_empty());
    }
}
