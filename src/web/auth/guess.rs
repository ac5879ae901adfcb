//! Limits how fast passwords can be guessed. Pure policy: the caller passes how long the board has been running.
//!
//! Each password is an account with its own counts ([`Guesses`]). Each source has some free attempts, and then waits
//! twice as long after each further one. All strangers together have a common count, with more free attempts and a
//! shorter longest wait, against guessing from many addresses. A source is an address (in IPv6 its /64, in which one
//! person has any number of addresses) or the cookie of a browser that has signed in before. **Such browsers are not
//! strangers**: they have their own count and never wait because of others, so nobody can lock the owner out.
//!
//! One field accepts both passwords, so each login is an attempt at both accounts ([`Accounts`]). A right password
//! clears the count of its own account only, and a browser is known only to the account whose password it has used.
//! Otherwise someone who knows the household's password could guess the owner's without limit, with successful logins
//! or new cookies in between. If one account has to wait, the login is an attempt at the other only.
//!
//! An attempt counts from its beginning, so that parallel attempts are as slow as sequential ones; a right one is taken
//! back. A refused attempt costs no hash and does not count.
//!
//! Right passwords cost hashes, too: each account has a rate for them, above which it has to wait as after wrong ones.

use std::collections::HashMap;
use std::time::Duration;

use crate::net;
use crate::state::{Digest, Role};

/// Attempts without a wait: enough for a person with three passwords and some typing errors.
const FREE: u32 = 5;
/// Wait after the first attempt that isn't free; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait of one source, which allows some 100 attempts per day.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Attempts without a wait for all strangers together.
const FREE_OVERALL: u32 = 30;
/// Longest wait that strangers can cause each other, such as a person who signs in on a new phone while somebody
/// guesses. It allows 1,440 attempts per day, which is hopeless against eight characters.
const LONGEST_OVERALL: Duration = Duration::from_secs(60);
/// Time after which wrong attempts are forgotten if there were no others: longer than any wait.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Most sources that are remembered. After that the longest inactive one is forgotten; the count of all strangers
/// stays.
const SOURCES: usize = 1024;
/// Sign-ins of an account without a wait, for instance when a whole household gets a new password.
const SIGN_INS: u32 = 20;
/// Time between further sign-ins of an account.
const EACH: Duration = Duration::from_secs(3);

/// Who attempts to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A browser that has signed in before, by its cookie.
    Known(Digest),
    /// Anybody else, by network source.
    Stranger(net::Source),
}

#[cfg(test)]
impl Source {
    /// A stranger who is not a neighbour.
    pub fn stranger(address: std::net::IpAddr) -> Self {
        Self::Stranger(net::Source::of(address, &[]))
    }
}

/// Wrong attempts of one source, or of all strangers.
#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    last: Duration,
    /// Earliest time of the next attempt.
    next: Duration,
}

impl Count {
    fn new(now: Duration) -> Self {
        Self { wrong: 0, last: now, next: now }
    }

    fn forget(&mut self, now: Duration) {
        if now.saturating_sub(self.last) >= MEMORY {
            *self = Self::new(now);
        }
    }

    fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    fn count(&mut self, now: Duration, free: u32, longest: Duration) {
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
        if let Some(over) = self.wrong.checked_sub(free) {
            let doubled = FIRST_WAIT.saturating_mul(1u32.checked_shl(over).unwrap_or(u32::MAX));
            self.next = now + doubled.min(longest);
        }
    }

    /// Takes an attempt back, but keeps the wait, which others may have caused.
    fn take_back(&mut self) {
        self.wrong = self.wrong.saturating_sub(1);
    }
}

/// All attempts at one password.
#[derive(Debug, Default)]
pub struct Guesses {
    sources: HashMap<Source, Count>,
    strangers: Option<Count>,
}

impl Guesses {
    /// Begins an attempt, which counts as wrong unless it is [`Self::right`] later; or returns how long it has to wait.
    pub fn begin(&mut self, source: Source, now: Duration) -> Result<(), Duration> {
        let mut count = self.sources.get(&source).copied().unwrap_or(Count::new(now));
        count.forget(now);
        let mut strangers = self.strangers.unwrap_or(Count::new(now));
        strangers.forget(now);
        let stranger = matches!(source, Source::Stranger(_));
        let wait = count.wait(now).max(if stranger { strangers.wait(now) } else { Duration::ZERO });
        if wait > Duration::ZERO {
            return Err(wait);
        }
        count.count(now, FREE, LONGEST);
        self.remember(source, count);
        if stranger {
            strangers.count(now, FREE_OVERALL, LONGEST_OVERALL);
            self.strangers = Some(strangers);
        }
        Ok(())
    }

    /// The attempt was right: resets the count of this source.
    pub fn right(&mut self, source: Source) {
        self.sources.remove(&source);
        self.take_back(source);
    }

    /// Takes an attempt back that could not be made (the queue for hashing was full).
    pub fn take_back(&mut self, source: Source) {
        self.sources.get_mut(&source).map(Count::take_back);
        if let (Source::Stranger(_), Some(strangers)) = (source, &mut self.strangers) {
            strangers.take_back();
        }
    }

    fn remember(&mut self, source: Source, count: Count) {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            let quiet = self.sources.iter().min_by_key(|(_, c)| c.last).map(|(s, _)| *s);
            quiet.map(|s| self.sources.remove(&s));
        }
        self.sources.insert(source, count);
    }
}

/// Attempts at one password.
#[derive(Debug, Default)]
struct Account {
    guesses: Guesses,
    /// Time until which the rate for right passwords is used up.
    paid: Duration,
}

impl Account {
    fn begin(&mut self, source: Source, now: Duration) -> Result<(), Duration> {
        let wait = self.paid.saturating_sub(now + EACH * (SIGN_INS - 1));
        if wait.is_zero() { self.guesses.begin(source, now) } else { Err(wait) }
    }

    fn right(&mut self, source: Source, now: Duration) {
        self.guesses.right(source);
        self.paid = self.paid.max(now) + EACH;
    }
}

/// Attempts at both passwords.
#[derive(Debug, Default)]
pub struct Accounts {
    owner: Account,
    household: Account,
}

/// An attempt that has begun.
#[derive(Debug)]
pub struct Try {
    at: Vec<(Role, Source)>,
    /// How long until the other accounts, which have to wait, can be tried.
    pub wait: Option<Duration>,
}

impl Try {
    /// The accounts that are tried.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.at.iter().map(|(role, _)| *role)
    }
}

impl Accounts {
    /// Begins an attempt at those of `accounts` that need not wait, each with its source. If all have to wait, returns
    /// how long.
    pub fn begin(&mut self, accounts: &[(Role, Source)], now: Duration) -> Result<Try, Duration> {
        let mut this = Try { at: vec![], wait: None };
        for &(role, source) in accounts {
            match self.of(role).begin(source, now) {
                Ok(()) => this.at.push((role, source)),
                Err(wait) => this.wait = Some(this.wait.map_or(wait, |least| least.min(wait))),
            }
        }
        match this.wait {
            Some(wait) if this.at.is_empty() => Err(wait),
            _ => Ok(this),
        }
    }

    /// The password was this account's: resets the source's count there, and takes the attempt at the other back.
    pub fn right(&mut self, begun: &Try, role: Role, now: Duration) {
        for &(tried, source) in &begun.at {
            let account = self.of(tried);
            if tried == role { account.right(source, now) } else { account.guesses.take_back(source) }
        }
    }

    /// Takes an attempt back that could not be made.
    pub fn take_back(&mut self, begun: &Try) {
        for &(account, source) in &begun.at {
            self.of(account).guesses.take_back(source);
        }
    }

    fn of(&mut self, role: Role) -> &mut Account {
        if role == Role::Owner { &mut self.owner } else { &mut self.household }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn at(address: &str) -> Source {
        Source::stranger(address.parse().unwrap())
    }

    /// Makes wrong attempts as fast as allowed; returns their times.
    fn tries(guesses: &mut Guesses, source: Source, start: Duration, many: usize) -> Vec<u64> {
        let mut now = start;
        let mut times = vec![];
        while times.len() < many {
            match guesses.begin(source, now) {
                Ok(()) => times.push((now - start).as_secs()),
                Err(wait) => now += wait,
            }
        }
        times
    }

    #[test]
    fn the_wait_doubles_after_the_free_tries_up_to_the_longest() {
        let (mut guesses, start) = (Guesses::default(), NOW);
        let times = tries(&mut guesses, at("192.0.2.1"), start, 30);
        assert_eq!(times[..10], [0, 0, 0, 0, 0, 1, 3, 7, 15, 31]);
        assert_eq!(times[29] - times[28], LONGEST.as_secs());
    }

    #[test]
    fn refused_tries_count_for_nothing() {
        let (mut guesses, now, source) = (Guesses::default(), NOW, at("192.0.2.1"));
        tries(&mut guesses, source, now, 5);
        for _ in 0..1000 {
            assert_eq!(guesses.begin(source, now), Err(Duration::from_secs(1)));
        }
        assert_eq!(guesses.begin(source, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_right_one_starts_afresh_and_a_quiet_hour_does_too() {
        let (mut guesses, now, source) = (Guesses::default(), NOW, at("192.0.2.1"));
        for _ in 0..100 {
            guesses.begin(source, now).unwrap();
            guesses.right(source);
        }
        assert!(guesses.sources.is_empty());
        let end = *tries(&mut guesses, source, now, 12).last().unwrap();
        let later = now + Duration::from_secs(end) + MEMORY;
        assert_eq!(tries(&mut guesses, source, later, 6), [0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        assert_eq!(at("2001:db8:1:2::3"), at("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8:1:2::3"), at("2001:db8:1:3::3"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[test]
    fn guessing_from_everywhere_is_slow_but_keeps_nobody_out_who_was_in() {
        let (mut guesses, start) = (Guesses::default(), NOW);
        let known = Source::Known(Digest::of("cookie"));
        let mut let_in = 0;
        for n in 0..100_000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 10); // 1,000 s, each from a different address
            let_in += u32::from(guesses.begin(Source::stranger(IpAddr::V4(n.into())), now).is_ok());
        }
        assert!((30..60).contains(&let_in), "{let_in}");
        assert!(guesses.sources.len() <= SOURCES);
        let now = start + Duration::from_secs(1000);
        guesses.begin(known, now).unwrap();
        guesses.right(known);
        // Its own attempts are still slowed, and don't affect strangers.
        assert_eq!(tries(&mut guesses, known, now, 7)[4..], [0, 1, 3]);
        let Err(wait) = guesses.begin(at("198.51.100.1"), now) else { panic!("let in") };
        assert!(wait <= LONGEST_OVERALL);
    }

    #[test]
    fn one_who_is_forgotten_for_lack_of_room_still_counts_among_strangers() {
        let (mut guesses, now) = (Guesses::default(), NOW);
        for n in 0..30u32 {
            guesses.begin(Source::stranger(IpAddr::V4(n.into())), now).unwrap();
        }
        assert_eq!(guesses.begin(at("192.0.2.1"), now), Err(FIRST_WAIT));
    }

    #[test]
    fn no_number_of_tries_overflows() {
        let now = NOW;
        let mut count = Count { wrong: u32::MAX - 1, last: now, next: now };
        for _ in 0..3 {
            count.count(now, FREE, LONGEST);
            assert_eq!(count.wait(now), LONGEST);
        }
    }

    const BOTH: [Role; 2] = [Role::Owner, Role::Viewer];

    /// What an attacker who knows the household's password does between two guesses at the owner's.
    type Between = fn(&mut Accounts, &mut u32, Duration) -> [Source; 2];

    /// Guesses the owner's password as fast as allowed for some time; returns the number of guesses.
    fn guesses_at_the_owners(between: Between, seconds: u64) -> u32 {
        let (mut accounts, mut logins, mut tried) = (Accounts::default(), 0, 0);
        for ms in (0..seconds * 1000).step_by(50) {
            let now = NOW + Duration::from_millis(ms);
            let sources = between(&mut accounts, &mut logins, now);
            let at = [(BOTH[0], sources[0]), (BOTH[1], sources[1])];
            if let Ok(begun) = accounts.begin(&at, now) {
                tried += u32::from(begun.roles().any(|role| role == Role::Owner));
            }
        }
        tried
    }

    fn login(accounts: &mut Accounts, sources: [Source; 2], now: Duration) {
        let at = [(BOTH[0], sources[0]), (BOTH[1], sources[1])];
        if let Ok(begun) = accounts.begin(&at, now)
            && begun.roles().any(|role| role == Role::Viewer)
        {
            accounts.right(&begun, Role::Viewer, now);
        }
    }

    #[test]
    fn who_knows_the_households_password_guesses_the_owners_no_faster_than_strangers() {
        let stranger = guesses_at_the_owners(|_, _, _| [at("192.0.2.1"); 2], 3600);
        let own_logins = guesses_at_the_owners(
            |accounts, _, now| {
                login(accounts, [at("192.0.2.1"); 2], now);
                [at("192.0.2.1"); 2]
            },
            3600,
        );
        // A new cookie for each guess: known to the household's account, but a stranger to the owner's.
        let fresh_cookies = guesses_at_the_owners(
            |accounts, logins, now| {
                *logins += 1;
                login(accounts, [at("192.0.2.1"); 2], now);
                [at("192.0.2.1"), Source::Known(Digest::of(&logins.to_string()))]
            },
            3600,
        );
        assert!((10..=20).contains(&stranger), "{stranger}");
        assert!(own_logins <= stranger && fresh_cookies <= stranger, "{own_logins} {fresh_cookies}");
    }

    #[test]
    fn an_honest_household_never_waits_for_its_own_logins() {
        let (mut accounts, sources) = (Accounts::default(), [at("192.0.2.1"); 2]);
        for n in 0..100 {
            // All at once after a new password, and then from time to time.
            let now = NOW + EACH * u32::saturating_sub(n, SIGN_INS - 1);
            let begun = accounts.begin(&[(BOTH[0], sources[0]), (BOTH[1], sources[1])], now).unwrap();
            assert_eq!((begun.roles().count(), begun.wait), (2, None));
            accounts.right(&begun, Role::Viewer, now);
        }
    }

    #[test]
    fn right_passwords_have_a_rate_for_each_account() {
        let (mut accounts, mut hashed) = (Accounts::default(), 0);
        let of = |n: u64| [(BOTH[0], at("192.0.2.1")), (BOTH[1], Source::Known(Digest::of(&n.to_string())))];
        for ms in (0..60_000).step_by(10) {
            // Ten devices that know the household's password.
            let now = NOW + Duration::from_millis(ms);
            let Ok(begun) = accounts.begin(&of(ms / 10 % 10), now) else { continue };
            hashed += 1;
            if begun.roles().any(|role| role == Role::Viewer) {
                accounts.right(&begun, Role::Viewer, now);
            }
        }
        let guesses = FREE as usize + 5; // at the owner's password, as many as any stranger may make in a minute
        assert!((39..=40 + guesses).contains(&hashed), "{hashed}");
        let now = NOW + Duration::from_secs(60);
        // The owner's new phone at a different place, and a known one.
        for phone in [at("198.51.100.1"), Source::Known(Digest::of("owner's"))] {
            let begun = accounts.begin(&BOTH.map(|role| (role, phone)), now).unwrap();
            assert!(begun.roles().any(|role| role == Role::Owner));
            accounts.right(&begun, Role::Owner, now);
        }
        for _ in 2..SIGN_INS {
            let begun = accounts.begin(&[(Role::Owner, at("198.51.100.1"))], now).unwrap();
            accounts.right(&begun, Role::Owner, now);
        }
        assert_eq!(accounts.begin(&[(Role::Owner, at("198.51.100.1"))], now).unwrap_err(), EACH);
    }

    #[test]
    fn an_account_that_has_to_wait_keeps_nobody_from_the_other() {
        let (mut accounts, stranger) = (Accounts::default(), at("192.0.2.1"));
        let household = Source::Known(Digest::of("household's"));
        for _ in 0..5 {
            accounts.begin(&[(Role::Owner, stranger)], NOW).unwrap();
        }
        let begun = accounts.begin(&[(Role::Owner, stranger), (Role::Viewer, household)], NOW).unwrap();
        assert_eq!(begun.roles().collect::<Vec<_>>(), [Role::Viewer]);
        assert_eq!(begun.wait, Some(FIRST_WAIT), "the answer is to wait, not that the password was wrong");
        accounts.right(&begun, Role::Viewer, NOW);
        // Guesses by others or the household don't lock out a browser that the owner has used.
        let owner = Source::Known(Digest::of("owner's"));
        accounts.begin(&[(Role::Owner, owner), (Role::Viewer, owner)], NOW).unwrap();
    }

    #[test]
    fn what_came_to_nothing_is_taken_back_everywhere() {
        let (mut accounts, stranger) = (Accounts::default(), at("192.0.2.1"));
        let at = BOTH.map(|role| (role, stranger));
        for _ in 0..100 {
            let begun = accounts.begin(&at, NOW).unwrap();
            accounts.take_back(&begun);
        }
    }
}
