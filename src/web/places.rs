//! Assigns the slots for connections. Pure logic.
//!
//! Clients that open many connections must not keep others out, neither from other addresses nor from the same one,
//! which the owner may share. So when all slots are taken, a new connection is not simply refused: another one is
//! closed for it. Idle connections are closed first, and among them those of the source with the highest recent use
//! (connections and requests, [`Usage`]). If none is idle, one of a source with a higher use than the newcomer's is
//! closed. Two kinds are never closed:
//!
//! - a few connections of each credential, so that signed-in users can continue. Except for the owner's, these are at
//!   most half of all connections, and of those of one source, so that there is always room for others;
//! - WebSockets of authenticated users. They have their own limits: per credential, per source, and with a reserve for
//!   the owner. Each may send a burst of messages, so new ones have a rate per credential, except the owner's.
//!
//! Sources from which somebody has signed in recently are preferred to strangers, because users return from there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::usage::Usage;
use crate::net::{Bucket, Buckets, Rate, Source, descriptors};
use crate::viewer::{Credential, Holder};

/// Numbers and rates of slots.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at the same time, without WebSockets.
    pub connections: usize,
    /// Most of them from one source. A page with its assets takes six.
    pub per_source: usize,
    /// Most TLS handshakes at the same time; they are the most expensive work before a login.
    pub handshakes: usize,
    /// Most of them from one source.
    pub handshakes_per_source: usize,
    /// Rate of new connections from one source. On a small board a handshake takes a millisecond or two of one core, so
    /// this leaves most of it to viewers.
    pub rate: Rate,
    /// Rate of TLS handshakes from all sources together. Newcomers may use the first three quarters of the burst,
    /// sources from which somebody signed in all but the last eighth, and sources from which the owner signed in all of
    /// it. The higher the recent use of a source, the more it has to leave: up to three quarters if nobody signed in
    /// from there, and up to three eighths otherwise, so that there is always something left for newcomers.
    pub handshake_rate: Rate,
    /// Connections of one credential that are never closed for others: a browser's six, and two more.
    pub safe: usize,
    /// Most WebSockets of authenticated users.
    pub kept: usize,
    /// How many of them are reserved for the owner.
    pub kept_for_owner: usize,
    /// Most of them from one source, without the owner's: an office or a party behind one address.
    pub kept_per_source: usize,
}

impl Limits {
    /// The daemon's limits.
    pub const STANDARD: Self = Self {
        // As many as forty browsers open. Each connection may take some 50 KB, not all of which the allocator can
        // return.
        connections: 256,
        per_source: 64,
        handshakes: 64,
        handshakes_per_source: 32,
        rate: Rate { per_second: 40.0, burst: 160.0 },
        handshake_rate: Rate { per_second: 120.0, burst: 480.0 },
        safe: 8,
        // One page for each of the most viewers that can be configured, and some pages without a viewer.
        kept: 1088,
        kept_for_owner: 64,
        kept_per_source: 256,
    };

    /// These limits, reduced for a process that may have `descriptors` open files.
    pub fn within(self, descriptors: usize) -> Self {
        let share = |most| descriptors::share(most, descriptors);
        let kept = share(self.kept);
        Self {
            // If there are few, more are for WebSockets, because watching begins with one.
            connections: share(2 * self.connections).min(self.connections),
            kept,
            kept_for_owner: self.kept_for_owner.min(kept / 4),
            kept_per_source: self.kept_per_source.min(kept / 2),
            ..self
        }
    }
}

/// Time without progress after which a connection is idle. A browser opens six connections at once, and needs a moment
/// for each.
const IDLE: Duration = Duration::from_millis(750);
/// Age at which a connection without a credential may be closed even if it is not idle, when all slots of its own
/// source are taken.
const TURN: Duration = Duration::from_secs(2);
/// How much higher than the newcomer's the recent use of a source must be for its busy connections to be closed. It is
/// more than one connection, so that equal sources don't close each other's connections in turn.
const GREEDIER: f64 = 2.0;
/// Recent use at which a source is half way between the shares of the handshake rate that a newcomer and the most
/// active source have to leave: about the use of a browser that shows the page and signs in (six connections, twenty
/// requests).
const NEWCOMER: f64 = 32.0;
/// How long a source is preferred after somebody has signed in or used a session from there.
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Most preferred sources of one credential: a person's home, phone and work. The longest inactive one is replaced.
const PREFERRED_EACH: usize = 4;
/// Most preferred sources in total.
const PREFERRED: usize = 256;
/// Cost of a new connection from a preferred source, as a part of the normal cost in the rate of its source: its users
/// may share the address with clients that use up the rate.
const PREFERRED_COST: f64 = 0.25;
/// New WebSockets of one credential per second. The burst is as many as it may have, because all pages of a link return
/// at once after a restart. Each begins with a burst of messages, so reopening must not be faster than keeping them
/// open.
const SOCKETS: f64 = 2.0;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before its first byte, or in its TLS handshake.
    Handshake,
    /// Between and in requests.
    Http,
    /// A WebSocket of an authenticated user.
    Kept,
}

/// Why a connection gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All slots are taken by connections with an equal claim.
    Full,
    /// All slots of this source are taken.
    TooMany,
    /// This source opens connections too fast.
    TooFast,
}

/// Why a WebSocket can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The connection was closed for another one, or there are no slots left for this role.
    Full,
    /// There are too many with this credential or from this source.
    TooMany,
    /// This credential opens WebSockets too fast.
    TooFast,
}

#[derive(Debug)]
struct Taken<T> {
    source: Source,
    phase: Phase,
    since: Instant,
    progress: Instant,
    /// A request is being answered: the connection is not idle, regardless of time.
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

/// A source from which somebody has signed in recently.
#[derive(Clone, Copy, Debug)]
struct Preferred {
    by: Holder,
    at: Instant,
}

/// All slots. Dropping the `T` of a connection ends it.
#[derive(Debug)]
pub struct Places<T> {
    limits: Limits,
    taken: HashMap<u64, Taken<T>>,
    /// WebSockets, with the same numbering.
    kept: HashMap<u64, Taken<T>>,
    usage: Usage,
    preferred: HashMap<Source, Preferred>,
    handshakes: Bucket,
    sockets: Buckets<Credential>,
    next: u64,
}

impl<T> Places<T> {
    /// Starts with all slots free.
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

    /// Takes a slot for a connection from `source` that begins with `phase`. Returns its number, and the connection
    /// that is closed for it, if any.
    pub fn take(
        &mut self,
        source: Source,
        phase: Phase,
        now: Instant,
        end: T,
    ) -> Result<(u64, Vec<T>), Refusal> {
        // Programs on this machine can use its CPU anyway.
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

    /// Whether a connection is within the rates of its source and of all sources.
    fn in_time(&mut self, source: Source, phase: Phase, now: Instant) -> bool {
        let preferred = self.preferred_by(source, now);
        let cost = if preferred.is_some() { PREFERRED_COST } else { 1.0 };
        if !self.usage.spend(source, cost, now) {
            self.usage.count(source, now); // refused connections count, too
            return false;
        }
        if phase != Phase::Handshake {
            return true;
        }
        // The share to leave to others, which grows with the recent use.
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

    /// Makes room for one more of the `counted` connections within `most`. Returns the connection to close, if any;
    /// `None` if there is no room.
    fn room(
        &mut self,
        most: usize,
        counted: impl Fn(&Taken<T>) -> bool,
        newcomer: Newcomer,
    ) -> Option<Option<T>> {
        // Usually there is so much room that nothing has to be counted.
        if self.taken.len() < most || self.taken.values().filter(|t| counted(t)).count() < most {
            return Some(None);
        }
        let Newcomer { source, preferred, now } = newcomer;
        let limit = if preferred { f64::NEG_INFINITY } else { self.usage.of(source, now) + GREEDIER };
        let mut victim: Option<((bool, f64, Duration), u64)> = None;
        for (number, taken) in self.taken.iter().filter(|(_, t)| !t.safe && counted(t)) {
            // Connections of a proxy belong to many clients, and those of a preferred source to an authenticated user.
            let exempt = taken.source.is_proxy() || self.is_preferred(taken.source, now);
            let used = if exempt { 0.0 } else { self.usage.of(taken.source, now) };
            // Use is compared in powers of two: among sources with similar use, the connection that is idle longest
            // goes.
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

    /// Notes progress: the handshake is done, or a request arrived (`busy`) or was answered.
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

    /// Notes the valid credential of a request, or that it had none: an earlier one may have been revoked.
    pub fn known(&mut self, number: u64, holder: Option<Holder>, now: Instant) {
        let Some(taken) = self.taken.get_mut(&number) else { return };
        let source = taken.source;
        if source.is_proxy() {
            return; // a proxy's connection carries other clients, too
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
            // Other users of the same source must not replace the owner.
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

    /// Forgets the longest inactive preferred source for which `may` is true.
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

    /// Turns a connection into a WebSocket of `holder`, whose client is at `source`. One credential may have
    /// `per_credential` WebSockets.
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

    /// Frees a slot.
    pub fn leave(&mut self, number: u64) {
        if self.taken.remove(&number).is_none() {
            self.kept.remove(&number);
        }
    }

    /// The number of connections.
    pub fn count(&self) -> usize {
        self.taken.len() + self.kept.len()
    }
}

/// A connection that wants a slot.
#[derive(Clone, Copy)]
struct Newcomer {
    source: Source,
    preferred: bool,
    now: Instant,
}

#[cfg(test)]
mod tests;
