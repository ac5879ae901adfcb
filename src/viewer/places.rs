//! Limits how many may watch, and who.
//!
//! A viewer has a place from its offer on. So that nobody takes all places:
//!
//! - Each credential except the owner's has a share of the places, and all sign-ins of the household together
//!   leave some for guest links and tokens: whoever knows its password can sign in any number of times.
//! - Viewers that are still connecting give way to newcomers, so unused offers keep nobody out.
//! - After a connected viewer leaves, its place is kept for its credential for [`RETURNS`], so that nobody
//!   who waits gets ahead of a page that is reloaded or continues in a different tab.
//! - Where no place is left, each of the owner's credentials may have two, even beyond the limit, up to
//!   [`FOR_OWNER`].
//! - Offers are rate-limited for each credential except the owner's: each costs the set-up of a connection,
//!   and may start camera and encoder; a bad one has to be parsed before it is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Credential, Holder};
use crate::memory;
use crate::net::{Buckets, Rate};

/// Rate of joins by one credential. After a restart of the daemon all pages of a shared link come back at
/// once; the burst is raised to the share of the places where that is larger.
const JOINS: Rate = Rate { per_second: 4.0, burst: 32.0 };
/// How long a viewer may take to connect before it gives way to a newcomer; genuine viewers are faster.
const CONNECTS: Duration = Duration::from_secs(3);
/// How long the place of a connected viewer that left is kept for its credential.
const RETURNS: Duration = Duration::from_secs(1);
/// Places beyond the limit for the owner: phone, desk, a player, and one more.
const FOR_OWNER: usize = 4;
/// Such places for one of the owner's credentials: after a reload, the earlier viewer remains until it has
/// been silent for seconds.
const FOR_OWNER_EACH: usize = 2;

/// How many of `most` places one credential may have, unless it is the owner's.
pub fn share(most: usize) -> usize {
    most.div_ceil(2)
}

/// How many of `most` places all sign-ins of the household may have together.
fn household(most: usize) -> usize {
    (most - most.div_ceil(8)).max(1)
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All places are taken; their number.
    Full(usize),
    /// This credential, or the household, has its share; the size of the share.
    Share(usize),
    /// This credential joins too fast; the time until it may again.
    TooFast(Duration),
}

/// The policy, with a clock of the caller's. A viewer whose `T` is returned must make room.
#[derive(Debug)]
struct Seats<T> {
    most: usize,
    closed: bool,
    taken: HashMap<u64, Taken<T>>,
    rates: Buckets<Credential>,
    next: u64,
}

#[derive(Debug)]
struct Taken<T> {
    holder: Holder,
    since: Instant,
    live: bool,
    /// When its viewer left: the place is kept for the next one with its credential.
    left: Option<Instant>,
    end: T,
}

impl<T> Seats<T> {
    fn new(most: usize) -> Self {
        Self {
            most,
            closed: false,
            taken: HashMap::new(),
            rates: Buckets::new(Credential::REMEMBERED),
            next: 0,
        }
    }

    /// Whether somebody may make an offer now; counts it.
    fn ask(&mut self, holder: Holder, now: Instant) -> Result<(), Refusal> {
        if holder.owner { Ok(()) } else { self.in_time(holder.credential, now) }
    }

    /// Takes a place for an offer that was admitted by `ask`. Returns its number, and the viewer that must
    /// make room.
    fn take(&mut self, holder: Holder, now: Instant, end: T) -> Result<(u64, Option<T>), Refusal> {
        if self.closed {
            return Err(Refusal::Full(self.most));
        }
        let mine = |t: &Taken<T>| t.holder.credential == holder.credential;
        self.taken.retain(|_, t| t.left.is_none_or(|left| now.saturating_duration_since(left) < RETURNS));
        let own = self.taken.iter().filter(|(_, t)| t.left.is_some() && mine(t)).min_by_key(|(_, t)| t.left);
        if let Some(number) = own.map(|(number, _)| *number) {
            self.taken.remove(&number);
        }
        let ours = |t: &Taken<T>| holder.household && t.holder.household;
        let (share, of_household) = (share(self.most), household(self.most));
        let slow = |t: &Taken<T>| now.saturating_duration_since(t.since) >= CONNECTS;
        let mut victim = None;
        if !holder.owner && self.count(mine) >= share {
            victim = Some(self.oldest_connecting(|t| slow(t) && mine(t)).ok_or(Refusal::Share(share))?);
        } else if self.count(ours) >= of_household {
            let own = self.oldest_connecting(|t| slow(t) && ours(t));
            victim = Some(own.ok_or(Refusal::Share(of_household))?);
        } else if self.taken.len() >= self.most {
            // Each viewer has a moment to connect; the owner need not wait for that.
            victim = self.oldest_connecting(|t| slow(t) || (holder.owner && !t.holder.owner));
            let few = self.count(mine) < FOR_OWNER_EACH && self.taken.len() < self.most + FOR_OWNER;
            let beyond = holder.owner && few;
            if victim.is_none() && !beyond {
                return Err(Refusal::Full(self.most));
            }
        }
        let ended = victim.and_then(|number| self.taken.remove(&number)).map(|t| t.end);
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Taken { holder, since: now, live: false, left: None, end });
        Ok((number, ended))
    }

    /// The viewer in this place has left.
    fn leave(&mut self, number: u64, now: Instant) {
        match self.taken.get_mut(&number) {
            Some(taken) if taken.live => taken.left = Some(now),
            _ => drop(self.taken.remove(&number)),
        }
    }

    fn in_time(&mut self, credential: Credential, now: Instant) -> Result<(), Refusal> {
        let rate = Rate { burst: JOINS.burst.max(share(self.most) as f64), ..JOINS };
        let bucket = self.rates.of(credential, rate, now);
        if bucket.take(1.0, now) { Ok(()) } else { Err(Refusal::TooFast(bucket.wait(1.0, now))) }
    }

    /// The viewer that has been connecting longest, among those that `may` give way.
    fn oldest_connecting(&self, may: impl Fn(&Taken<T>) -> bool) -> Option<u64> {
        let connecting = self.taken.iter().filter(|(_, t)| !t.live && may(t));
        connecting.min_by_key(|(number, t)| (t.since, **number)).map(|(number, _)| *number)
    }

    fn count(&self, counts: impl Fn(&Taken<T>) -> bool) -> usize {
        self.taken.values().filter(|t| counts(t)).count()
    }
}

/// All places.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<Seats<CancellationToken>>>);

/// A taken place; dropping it frees it.
pub(super) struct Place {
    places: Places,
    number: u64,
    /// Cancelled when the viewer must make room.
    pub end: CancellationToken,
}

impl Places {
    /// Creates `most` places.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Seats::new(most))))
    }

    /// Changes the number of places to `most`. Taken places are kept.
    pub(super) fn set(&self, most: usize) {
        self.seats().most = most;
    }

    /// Closes all free places.
    pub(super) fn close(&self) {
        self.seats().closed = true;
    }

    /// Asks whether somebody may make an offer now. It counts, even if it turns out to be a bad one.
    pub(super) fn ask(&self, holder: Holder) -> Result<(), Refusal> {
        self.seats().ask(holder, Instant::now())
    }

    /// Takes a place for an offer that was admitted by [`ask`](Self::ask).
    pub(super) fn take(&self, holder: Holder) -> Result<Place, Refusal> {
        let end = CancellationToken::new();
        let (number, ended) = self.seats().take(holder, Instant::now(), end.clone())?;
        if let Some(ended) = ended {
            ended.cancel();
        }
        Ok(Place { places: self.clone(), number, end })
    }

    fn seats(&self) -> MutexGuard<'_, Seats<CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The viewer is connected, and does not give way any more.
    pub(super) fn live(&self) {
        if let Some(taken) = self.places.seats().taken.get_mut(&self.number) {
            taken.live = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.seats().leave(self.number, Instant::now());
        memory::freed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn guest(n: u8) -> Holder {
        Holder { credential: Credential::new([n; 32]), owner: false, household: false }
    }

    fn household(n: u8) -> Holder {
        Holder { household: true, ..guest(n) }
    }

    fn owner(n: u8) -> Holder {
        Holder { owner: true, ..guest(n) }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn fewer_places_take_nobodys_and_more_are_there_at_once() {
        let places = Places::new(2);
        let take = |by| {
            let taken = places.take(guest(by));
            taken.inspect(|p| p.live())
        };
        let (first, second) = (take(1).expect("free"), take(2).expect("free"));
        assert_eq!(take(3).err(), Some(Refusal::Full(2)));
        places.set(1);
        drop(first);
        assert_eq!(take(1).err(), Some(Refusal::Full(1)), "one viewer is still there");
        places.set(2);
        let third = take(3).expect("free");
        assert!(!second.end.is_cancelled() && !third.end.is_cancelled());
        places.close();
        places.set(9);
        assert_eq!(take(4).err(), Some(Refusal::Full(9)), "no new viewers any more");
    }

    #[test]
    fn one_credential_has_a_share_and_its_bare_offers_keep_nobody_out() {
        let (mut seats, now) = (Seats::new(50), Instant::now());
        // 50 offers in 0.2 s that nobody follows up.
        let taken = |n: u64| seats.take(guest(1), now + ms(4 * n), n);
        let (few, more): (Vec<_>, Vec<_>) = (0..50).map(taken).partition(Result::is_ok);
        assert_eq!((few.len(), more[0]), (25, Err(Refusal::Share(25))), "no more than its share");
        let later = seats.take(guest(1), now + ms(3100), 100);
        assert_eq!(later.map(|(_, gone)| gone), Ok(Some(0)), "the oldest gives way to the next");
        // Others get places immediately, and when all are taken, those that never connect give way.
        for by in 2..27 {
            assert!(seats.take(guest(by), now + ms(3300), 100).is_ok_and(|(_, gone)| gone.is_none()), "{by}");
        }
        assert!(seats.take(guest(30), now + ms(3300), 100).is_ok_and(|(_, gone)| gone.is_some()));
    }

    #[test]
    fn who_is_connected_stays_and_the_owner_always_gets_one() {
        let (mut seats, now) = (Seats::new(4), Instant::now());
        for by in [1, 1, 2, 2] {
            let (number, _) = seats.take(guest(by), now, ()).expect("free");
            seats.taken.get_mut(&number).expect("it is there").live = true;
        }
        let later = now + ms(60_000);
        assert_eq!(seats.take(guest(1), later, ()), Err(Refusal::Share(2)));
        assert_eq!(seats.take(guest(3), later, ()), Err(Refusal::Full(4)));
        // One for each of the owner's credentials.
        for by in 10..10 + FOR_OWNER as u8 {
            assert!(seats.take(owner(by), later, ()).is_ok_and(|(_, gone)| gone.is_none()));
        }
        assert_eq!(seats.take(owner(20), later, ()), Err(Refusal::Full(4)));
        // The owner's own viewers that never connected give way.
        assert!(seats.take(owner(20), later + CONNECTS, ()).is_ok_and(|(_, gone)| gone.is_some()));
        assert_eq!(seats.taken.len(), 4 + FOR_OWNER);
    }

    #[test]
    fn a_place_that_a_viewer_left_is_its_credentials_for_a_moment() {
        let (mut seats, now) = (Seats::new(1), Instant::now());
        let (first, _) = seats.take(guest(1), now, ()).expect("free");
        seats.taken.get_mut(&first).expect("it is there").live = true;
        seats.leave(first, now);
        assert_eq!(
            seats.take(guest(2), now + ms(900), ()),
            Err(Refusal::Full(1)),
            "the first viewer may come back"
        );
        let (second, _) = seats.take(guest(1), now + ms(900), ()).expect("its own");
        // A place that never connected is not kept, and a viewer that does not come back keeps nobody out for
        // longer.
        seats.leave(second, now + ms(950));
        let (third, _) = seats.take(guest(2), now + ms(960), ()).expect("free");
        seats.taken.get_mut(&third).expect("it is there").live = true;
        seats.leave(third, now + ms(1000));
        assert!(seats.take(guest(3), now + ms(2000), ()).is_ok());
        assert_eq!(seats.taken.len(), 1);
    }

    /// Viewers that come back in time find their place, whatever others do meanwhile, and there are never too
    /// many.
    #[test]
    fn nobody_overtakes_who_comes_back() {
        for seed in 1..200_u64 {
            let mut random = Random(seed);
            let (most, mut seats, mut now) = (1 + random.below(6) as usize, Seats::new(6), Instant::now());
            seats.most = most;
            let mut there: Vec<(u64, u8)> = vec![];
            let mut left: Vec<(u8, Instant)> = vec![];
            for _ in 0..300 {
                now += ms(random.below(400));
                left.retain(|(_, at)| now.saturating_duration_since(*at) < RETURNS);
                if !there.is_empty() && random.below(2) == 0 {
                    let (number, by) = there.remove(random.below(there.len() as u64) as usize);
                    seats.leave(number, now);
                    left.push((by, now));
                    continue;
                }
                let by = random.below(9) as u8;
                let returns = left.iter().position(|(who, _)| *who == by);
                match seats.take(guest(by), now, ()) {
                    Ok((number, victim)) => {
                        assert!(victim.is_none(), "all are connected");
                        seats.taken.get_mut(&number).expect("it is there").live = true;
                        there.push((number, by));
                        returns.map(|at| left.remove(at));
                    }
                    Err(refusal) => assert_eq!(returns, None, "seed {seed}: {refusal:?}"),
                }
                assert!(there.len() + left.len() <= most, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_owner_who_reloads_need_not_wait_for_the_viewer_from_before() {
        let (mut seats, now) = (Seats::new(2), Instant::now());
        for by in [owner(4), guest(1)] {
            let (number, _) = seats.take(by, now, ()).expect("free");
            seats.taken.get_mut(&number).expect("it is there").live = true;
        }
        assert_eq!(seats.take(guest(2), now, ()), Err(Refusal::Full(2)));
        assert!(seats.take(owner(4), now, ()).is_ok_and(|(_, gone)| gone.is_none()));
        assert_eq!(seats.take(owner(4), now, ()), Err(Refusal::Full(2)), "one more, not many");
    }

    #[test]
    fn the_household_leaves_places_to_guests_however_often_it_signs_in() {
        for (most, theirs) in [(1, 1), (2, 1), (4, 3), (8, 7), (50, 43), (1000, 875)] {
            let (mut seats, now) = (Seats::new(most), Instant::now());
            let mut come = |holder: fn(u8) -> Holder, at| {
                let came = (0..2000u32).filter(|n| seats.take(holder((n % 200) as u8), at, *n).is_ok());
                came.count()
            };
            assert_eq!(come(household, now), theirs, "of {most}");
            assert_eq!(come(guest, now), most - theirs);
        }
        // Among the owner's viewers, those that never connect give way.
        let (mut seats, now) = (Seats::new(4), Instant::now());
        assert!((0..3).all(|n| seats.take(household(n), now, n).is_ok()));
        assert_eq!(seats.take(household(9), now, 9), Err(Refusal::Share(3)));
        assert_eq!(seats.take(household(9), now + CONNECTS, 9), Ok((3, Some(0))));
    }

    #[test]
    fn the_owner_waits_for_no_guest_that_connects() {
        let (mut seats, now) = (Seats::new(2), Instant::now());
        assert!(seats.take(guest(1), now, 1).is_ok());
        assert!(seats.take(owner(4), now, 2).is_ok());
        assert_eq!(seats.take(guest(3), now, 3), Err(Refusal::Full(2)));
        assert_eq!(seats.take(owner(4), now, 4), Ok((2, Some(1))));
        assert_eq!(seats.take(owner(4), now, 5), Err(Refusal::Full(2)), "these places are its own");
    }

    #[test]
    fn offers_have_a_rate_for_each_credential() {
        let (mut seats, now) = (Seats::<()>::new(50), Instant::now());
        // 427 offers a second, good or bad.
        let may = (0..4270).filter(|n| seats.ask(guest(1), now + Duration::from_micros(n * 2342)).is_ok());
        assert_eq!(may.count(), 32 + 4 * 10 - 1);
        let Err(Refusal::TooFast(wait)) = seats.ask(guest(1), now + ms(10_000)) else { panic!("it may") };
        assert!(wait <= ms(250));
        assert!(seats.ask(guest(2), now + ms(10_000)).is_ok());
        assert!((0..500).all(|_| seats.ask(owner(1), now).is_ok()));
        assert!(seats.taken.is_empty(), "no place is taken by asking");
        // Many places, and many viewers of one link at once.
        let mut seats = Seats::<()>::new(1000);
        assert!((0..500).all(|_| seats.ask(guest(1), now).is_ok()));
    }
}
