//! Who gets one of the places for connections. Pure logic.
//!
//! Whoever opens connections must not keep others out, neither from elsewhere nor from the same address, behind which the
//! owner may sit too. So a newcomer is not simply refused when all places are taken: another connection gives way to it.
//! Idle connections go first, and among them those of the source that used most lately (connections and requests,
//! [`Usage`]); where none is idle, one of a source that uses more than the newcomer's. Two kinds never give way:
//!
//! - a few connections of each credential that was shown on them, so whoever is signed in keeps on working; but for the
//!   owner's, at most half of all connections, and of one source's, so that there is room for others in any case;
//! - WebSockets of whoever was let in. They are counted apart: for each credential, for each source, and with a reserve
//!   for the owner. Each has a burst of messages, so new ones have a rate for each credential but the owner's.
//!
//! A source from which somebody signed in lately is preferred over all strangers, for it is where they come from next.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::usage::Usage;
use crate::net::{Bucket, Buckets, Rate, Source, descriptors};
use crate::viewer::{Credential, Holder};

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, WebSockets not counted.
    pub connections: usize,
    /// Of them from one source. A page with its assets takes six.
    pub per_source: usize,
    /// TLS handshakes at once, of all; each costs the most that anybody can ask for before a login.
    pub handshakes: usize,
    /// Of them from one source.
    pub handshakes_per_source: usize,
    /// New connections from one source. On a small board a handshake costs a millisecond or two of one core, so this
    /// leaves most of it to those who watch.
    pub rate: Rate,
    /// TLS handshakes from all sources together. Of the burst, newcomers may take the first three quarters, sources from
    /// which somebody signed in all but the last eighth, and those from which the owner did all of it. The more a source has
    /// used lately the more it has to leave: three quarters if nobody signed in from there, else three eighths, so that
    /// newcomers find something left whoever asks for all.
    pub handshake_rate: Rate,
    /// Connections of one credential that never give way: a browser's six, and two.
    pub safe: usize,
    /// WebSockets of whoever was let in.
    pub kept: usize,
    /// Of them for the owner alone.
    pub kept_for_owner: usize,
    /// Of them from one source, the owner's not counted: an office or a party behind one address.
    pub kept_per_source: usize,
}

impl Limits {
    /// What the daemon runs with.
    pub const STANDARD: Self = Self {
        // As many as forty browsers open. Each connection may take some 50 KB, and the allocator can't give back all of that.
        connections: 256,
        per_source: 64,
        handshakes: 64,
        handshakes_per_source: 32,
        rate: Rate { per_second: 40.0, burst: 160.0 },
        handshake_rate: Rate { per_second: 120.0, burst: 480.0 },
        safe: 8,
        // The page of each of the most viewers that can be configured, and some of people who look at the page only.
        kept: 1088,
        kept_for_owner: 64,
        kept_per_source: 256,
    };

    /// The same for a process that may have `descriptors` open at once.
    pub fn within(self, descriptors: usize) -> Self {
        let share = |most| descriptors::share(most, descriptors);
        let kept = share(self.kept);
        Self {
            // Of few, more for these: whoever wants to watch begins with one.
            connections: share(2 * self.connections).min(self.connections),
            kept,
            kept_for_owner: self.kept_for_owner.min(kept / 4),
            kept_per_source: self.kept_per_source.min(kept / 2),
            ..self
        }
    }
}

/// A connection without progress for this long is idle. A browser opens six connections at once, and needs a moment for
/// each.
const IDLE: Duration = Duration::from_millis(750);
/// A connection that was open for this long, and on which nobody showed a credential, has had its turn: when all places
/// of its own source are taken, it gives way even if it is not idle.
const TURN: Duration = Duration::from_secs(2);
/// How much more than the newcomer's source another must have used lately to give way without being idle. More than one
/// connection, so that equals don't push each other out in turn.
const GREEDIER: f64 = 2.0;
/// A source that used this much lately is half way from what a newcomer has to leave of the rate of handshakes to the most
/// that it ever has to: about what a browser takes to show the page and sign in (six connections and twenty requests).
const NEWCOMER: f64 = 32.0;
/// How long a source is preferred after somebody signed in from there, or used a session.
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Sources preferred for one credential: a person's home, phone and work. The one that was quiet longest is replaced.
const PREFERRED_EACH: usize = 4;
/// Sources preferred in all.
const PREFERRED: usize = 256;
/// A new connection from a preferred source costs this part of another's in the rate of its source: it shares an address
/// with whoever uses that up.
const PREFERRED_COST: f64 = 0.25;
/// New WebSockets of one credential in a second, after as many at once as it may have: all pages of a link come back at once
/// after a restart. As each begins with a burst of messages, faster ones would be worth more than those that stay open.
const SOCKETS: f64 = 2.0;

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
    /// All places are taken, by connections that have as good a claim.
    Full,
    /// The same, of those of this source.
    TooMany,
    /// This source opens connections too fast.
    TooFast,
}

/// Why a WebSocket can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// It had to make room, or there are no places left for this role.
    Full,
    /// By this credential, or from this source, there are too many.
    TooMany,
    /// This credential opens them too fast.
    TooFast,
}

#[derive(Debug)]
struct Taken<T> {
    source: Source,
    phase: Phase,
    since: Instant,
    progress: Instant,
    /// A request is being answered: it is not idle, however long that takes.
    busy: bool,
    holder: Option<Holder>,
    safe: bool,
    end: T,
}

impl<T> Taken<T> {
    fn is_idle(&self, now: Instant) -> bool {
        !self.busy && now.saturating_duration_since(self.progress) >= IDLE
    }

    fn is_owners(&self) -> bool {
        self.holder.is_some_and(|h| h.owner)
    }
}

/// A source from which somebody signed in lately.
#[derive(Clone, Copy, Debug)]
struct Preferred {
    by: Holder,
    at: Instant,
}

/// All places. A connection whose `T` is dropped ends.
#[derive(Debug)]
pub struct Places<T> {
    limits: Limits,
    taken: HashMap<u64, Taken<T>>,
    /// WebSockets, by the same numbers.
    kept: HashMap<u64, Taken<T>>,
    usage: Usage,
    preferred: HashMap<Source, Preferred>,
    handshakes: Bucket,
    sockets: Buckets<Credential>,
    next: u64,
}

impl<T> Places<T> {
    /// All free.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: HashMap::new(),
            kept: HashMap::new(),
            usage: Usage::new(limits.rate),
            preferred: HashMap::new(),
            handshakes: Bucket::full(limits.handshake_rate),
            sockets: Buckets::new(Credential::REMEMBERED),
            next: 0,
        }
    }

    /// Takes a place for a connection from `source` that begins with `phase`: its number, and who has to make room for it.
    pub fn take(
        &mut self,
        source: Source,
        phase: Phase,
        now: Instant,
        end: T,
    ) -> Result<(u64, Vec<T>), Refusal> {
        // Whoever is on this machine can keep its CPU busy without us.
        if !source.is_proxy() && !source.is_loopback() && !self.in_time(source, phase, now) {
            return Err(Refusal::TooFast);
        }
        if !source.is_proxy() {
            self.usage.count(source, now);
        }
        let mut ended = vec![];
        let Limits { connections, per_source, handshakes, handshakes_per_source, .. } = self.limits;
        let newcomer = Newcomer { source, preferred: self.is_preferred(source, now), now };
        if !source.is_proxy() {
            if phase == Phase::Handshake {
                let own = |t: &Taken<T>| t.source == source && t.phase == Phase::Handshake;
                ended.extend(self.room(handshakes_per_source, own, newcomer).ok_or(Refusal::TooMany)?);
            }
            ended.extend(self.room(per_source, |t| t.source == source, newcomer).ok_or(Refusal::TooMany)?);
        }
        if phase == Phase::Handshake {
            let shaking = |t: &Taken<T>| t.phase == Phase::Handshake;
            ended.extend(self.room(handshakes, shaking, newcomer).ok_or(Refusal::Full)?);
        }
        ended.extend(self.room(connections, |_| true, newcomer).ok_or(Refusal::Full)?);
        let number = self.next;
        self.next += 1;
        let taken =
            Taken { source, phase, since: now, progress: now, busy: false, holder: None, safe: false, end };
        self.taken.insert(number, taken);
        Ok((number, ended))
    }

    /// Whether a connection is within the rates, of its source and of all.
    fn in_time(&mut self, source: Source, phase: Phase, now: Instant) -> bool {
        let preferred = self.preferred_by(source, now);
        let cost = if preferred.is_some() { PREFERRED_COST } else { 1.0 };
        if !self.usage.spend(source, cost, now) {
            self.usage.count(source, now); // also what is refused was asked for
            return false;
        }
        if phase != Phase::Handshake {
            return true;
        }
        // What it has to leave to others: the more it has used lately, the more.
        let (least, most) = match preferred {
            Some(by) if by.owner => (0.0, 0.375),
            Some(_) => (0.125, 0.375),
            None => (0.25, 0.75),
        };
        let used = self.usage.of(source, now);
        let reserve = least + (most - least) * used / (used + NEWCOMER);
        let reserve = self.limits.handshake_rate.burst * reserve;
        let in_time = self.handshakes.spend(1.0, reserve, now);
        if !in_time {
            self.usage.count(source, now);
        }
        in_time
    }

    /// Makes sure that one more of those `counted` is within `most`: who has to go for it, if anybody. `None`: there is no
    /// room.
    fn room(
        &mut self,
        most: usize,
        counted: impl Fn(&Taken<T>) -> bool,
        newcomer: Newcomer,
    ) -> Option<Option<T>> {
        // Most of the time there is so much room that nobody has to be counted.
        if self.taken.len() < most || self.taken.values().filter(|t| counted(t)).count() < most {
            return Some(None);
        }
        let Newcomer { source, preferred, now } = newcomer;
        let limit = if preferred { f64::NEG_INFINITY } else { self.usage.of(source, now) + GREEDIER };
        let mut victim: Option<((bool, f64, Duration), u64)> = None;
        for (number, taken) in self.taken.iter().filter(|(_, t)| !t.safe && counted(t)) {
            // A proxy's connections are many clients', and a preferred source's somebody's who was let in.
            let exempt = taken.source.is_proxy() || self.is_preferred(taken.source, now);
            let used = if exempt { 0.0 } else { self.usage.of(taken.source, now) };
            // In powers of two: among those that used about the same, the longest without progress goes.
            let class = (used + 1.0).log2().round();
            let idle = taken.is_idle(now);
            let had_its_turn =
                taken.source == source && (preferred || now.saturating_duration_since(taken.since) >= TURN);
            if idle || had_its_turn || used > limit {
                let key = (idle, class, now.saturating_duration_since(taken.progress));
                let worse = |(than, n): &((bool, f64, Duration), u64)| {
                    key.0
                        .cmp(&than.0)
                        .then(key.1.total_cmp(&than.1))
                        .then(key.2.cmp(&than.2))
                        .then(n.cmp(number))
                        == std::cmp::Ordering::Greater
                };
                if victim.as_ref().is_none_or(worse) {
                    victim = Some((key, *number));
                }
            }
        }
        let (_, number) = victim?;
        self.taken.remove(&number).map(|t| Some(t.end))
    }

    /// It did something: its handshake is done, a request came (then it is `busy`), or was answered.
    pub fn progress(&mut self, number: u64, busy: bool, now: Instant) {
        let Some(taken) = self.taken.get_mut(&number) else { return };
        (taken.progress, taken.busy) = (now, busy);
        if taken.phase == Phase::Handshake {
            taken.phase = Phase::Http;
        }
        if busy && !taken.source.is_proxy() {
            self.usage.count(taken.source, now);
        }
    }

    /// A request on it showed a credential that is good, or none: one that was good before may have been revoked.
    pub fn known(&mut self, number: u64, holder: Option<Holder>, now: Instant) {
        let Some(taken) = self.taken.get_mut(&number) else { return };
        let source = taken.source;
        if source.is_proxy() {
            return; // others come by the same connection
        }
        if taken.holder != holder {
            (taken.holder, taken.safe) = (holder, false);
            let safe = holder.is_some_and(|holder| self.may_be_safe(source, holder));
            if let Some(taken) = self.taken.get_mut(&number) {
                taken.safe = safe;
            }
        }
        if let Some(holder) = holder {
            self.prefer(source, holder, now);
        }
    }

    fn may_be_safe(&self, source: Source, holder: Holder) -> bool {
        let Limits { connections, per_source, safe, .. } = self.limits;
        let count =
            |counts: &dyn Fn(&Taken<T>) -> bool| self.taken.values().filter(|t| t.safe && counts(t)).count();
        count(&|t| t.holder == Some(holder)) < safe
            && (holder.owner
                || count(&|t| !t.is_owners()) < connections / 2
                    && count(&|t| !t.is_owners() && t.source == source) < per_source / 2)
    }

    fn prefer(&mut self, source: Source, by: Holder, now: Instant) {
        if let Some(preferred) = self.preferred.get_mut(&source) {
            // Whoever else signs in from there takes nothing from the owner.
            let by = if preferred.by.owner { preferred.by } else { by };
            *preferred = Preferred { by, at: now };
            return;
        }
        let same = |p: &Preferred| p.by.credential == by.credential;
        if self.preferred.values().filter(|p| same(p)).count() >= PREFERRED_EACH {
            self.forget_preferred(same);
        } else if self.preferred.len() >= PREFERRED {
            self.forget_preferred(|p| by.owner || !p.by.owner);
        }
        if self.preferred.len() < PREFERRED {
            self.preferred.insert(source, Preferred { by, at: now });
        }
    }

    /// Forgets the preferred source that was quiet longest, of those that `may` be forgotten.
    fn forget_preferred(&mut self, may: impl Fn(&Preferred) -> bool) {
        let quiet = self.preferred.iter().filter(|(_, p)| may(p)).min_by_key(|(_, p)| p.at).map(|(s, _)| *s);
        quiet.map(|s| self.preferred.remove(&s));
    }

    fn preferred_by(&self, source: Source, now: Instant) -> Option<Holder> {
        let preferred = self.preferred.get(&source)?;
        (now.saturating_duration_since(preferred.at) < LATELY).then_some(preferred.by)
    }

    fn is_preferred(&self, source: Source, now: Instant) -> bool {
        self.preferred_by(source, now).is_some()
    }

    /// It becomes a WebSocket of `holder`, whose client is at `source`. One credential may have `per_credential`.
    pub fn keep(
        &mut self,
        number: u64,
        holder: Holder,
        source: Source,
        per_credential: usize,
        now: Instant,
    ) -> Result<(), NotKept> {
        let Limits { kept, kept_for_owner, kept_per_source, .. } = self.limits;
        let most = if holder.owner { kept } else { kept.saturating_sub(kept_for_owner) };
        let by = |credential: Credential| {
            self.kept.values().filter(|t| t.holder.is_some_and(|h| h.credential == credential)).count()
        };
        let from = || self.kept.values().filter(|t| t.source == source && !t.is_owners()).count();
        if by(holder.credential) >= per_credential
            || (!holder.owner && !source.is_proxy() && from() >= kept_per_source)
        {
            return Err(NotKept::TooMany);
        }
        if self.kept.len() >= most {
            return Err(NotKept::Full);
        }
        let rate = Rate { per_second: SOCKETS, burst: per_credential as f64 };
        if !holder.owner && !self.sockets.of(holder.credential, rate, now).take(1.0, now) {
            return Err(NotKept::TooFast);
        }
        let taken = self.taken.remove(&number).ok_or(NotKept::Full)?;
        self.kept.insert(number, Taken { phase: Phase::Kept, source, holder: Some(holder), ..taken });
        Ok(())
    }

    /// It ended.
    pub fn leave(&mut self, number: u64) {
        if self.taken.remove(&number).is_none() {
            self.kept.remove(&number);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.taken.len() + self.kept.len()
    }
}

/// Who wants a place.
#[derive(Clone, Copy)]
struct Newcomer {
    source: Source,
    preferred: bool,
    now: Instant,
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
