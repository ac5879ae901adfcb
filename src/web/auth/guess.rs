//! How fast passwords may be guessed. Pure policy: whoever asks says for how long the board has been running.
//!
//! Each password is an account with counts of its own ([`Guesses`]): each source has some tries free, then waits twice as
//! long after each further one; so do all strangers together, with more tries free and a shorter longest wait, against
//! guessing from many addresses. A source is an address (its /64 in IPv6, of which one person has as many addresses as he
//! likes) or something that we handed out after a right password: the cookie of a browser that was signed in once. **Those
//! are not strangers**: they have a count of their own and nothing that others do makes them wait, so nobody can lock the
//! owner out.
//!
//! One field takes both passwords, so each login is a try at both accounts ([`Accounts`]). A right password clears the
//! count of its own account only, and a browser is known only to the account whose password it had: else whoever knows
//! the household's password could guess the owner's without end, by good logins or fresh cookies in between. Where one
//! account has to wait, the login is a try at the other alone.
//!
//! A try counts from its beginning, so that many at once are as slow as one after the other; a right one is taken back.
//! A try that is refused costs no hash and counts for nothing.
//!
//! Right passwords cost hashes, too: each account has a rate of them, after which it has to wait as after wrong ones.

use std::collections::HashMap;
use std::time::Duration;

use crate::net;
use crate::state::{Digest, Role};

/// Tries without a wait: what a person needs who has three passwords and a loose finger.
const FREE: u32 = 5;
/// The wait after the first that isn't free; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait of one source: some 100 tries a day.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// For all strangers together.
const FREE_OVERALL: u32 = 30;
/// The longest wait that strangers can cause each other: a person who signs in on a new phone while somebody guesses has
/// to wait for it. 1,440 tries a day are hopeless against eight characters.
const LONGEST_OVERALL: Duration = Duration::from_secs(60);
/// Wrong tries are forgotten after so long without another: longer than any wait.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Sources remembered. When full, the one that was quiet longest is forgotten; all strangers' count goes on.
const SOURCES: usize = 1024;
/// So often an account's right password signs in without a wait, as when a whole household is told a new one...
const SIGN_INS: u32 = 20;
/// ... and then once in this time.
const EACH: Duration = Duration::from_secs(3);

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A browser that was signed in once, by its cookie.
    Known(Digest),
    /// Anybody else, by the network that they come from.
    Stranger(net::Source),
}

#[cfg(test)]
impl Source {
    /// A stranger who is no neighbour.
    pub fn stranger(address: std::net::IpAddr) -> Self {
        Self::Stranger(net::Source::of(address, &[]))
    }
}

/// Wrong tries of one source, or of all strangers.
#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    last: Duration,
    /// The next try is not before.
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

    /// Leaves the wait, which others may have caused.
    fn take_back(&mut self) {
        self.wrong = self.wrong.saturating_sub(1);
    }
}

/// All tries.
#[derive(Debug, Default)]
pub struct Guesses {
    sources: HashMap<Source, Count>,
    strangers: Option<Count>,
}

impl Guesses {
    /// A try begins, and counts as wrong unless it is [`Self::right`] later; or it has to wait for so long.
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

    /// That try was right: this source starts afresh.
    pub fn right(&mut self, source: Source) {
        self.sources.remove(&source);
        self.take_back(source);
    }

    /// That try came to nothing (the line for hashing was full): it is as if it had not been.
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

/// Tries at one password.
#[derive(Debug, Default)]
struct Account {
    guesses: Guesses,
    /// When all right ones so far have had their time.
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

/// All tries at both passwords.
#[derive(Debug, Default)]
pub struct Accounts {
    owner: Account,
    household: Account,
}

/// A try that has begun.
#[derive(Debug)]
pub struct Try {
    at: Vec<(Role, Source)>,
    /// How long until the accounts can be tried that could not be now.
    pub wait: Option<Duration>,
}

impl Try {
    /// The accounts that are tried.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.at.iter().map(|(role, _)| *role)
    }
}

impl Accounts {
    /// A try at these accounts begins, by what its source is to each; at those that need not wait. Or all have to, for so
    /// long.
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

    /// It was this account's password: the source starts afresh there, and has not guessed at the other.
    pub fn right(&mut self, begun: &Try, role: Role, now: Duration) {
        for &(tried, source) in &begun.at {
            let account = self.of(tried);
            if tried == role { account.right(source, now) } else { account.guesses.take_back(source) }
        }
    }

    /// It came to nothing: it is as if it had not been.
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

    /// Tries as fast as it is let, wrong each time; the times at which it was let.
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
            let now = start + Duration::from_millis(u64::from(n) * 10); // 1,000 s, each from another address
            let_in += u32::from(guesses.begin(Source::stranger(IpAddr::V4(n.into())), now).is_ok());
        }
        assert!((30..60).contains(&let_in), "{let_in}");
        assert!(guesses.sources.len() <= SOURCES);
        let now = start + Duration::from_secs(1000);
        guesses.begin(known, now).unwrap();
        guesses.right(known);
        // Its own tries are slowed all the same, and cost strangers nothing.
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

    /// What happens between two guesses at the owner's password by somebody who knows the household's.
    type Between = fn(&mut Accounts, &mut u32, Duration) -> [Source; 2];

    /// Tries the owner's password as fast as it may, for so long; how often it was tried.
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
        // A fresh cookie for each guess: known to the household's account, and a stranger to the owner's.
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
            // All at once after a new password, and then now and then.
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
        let guesses = FREE as usize + 5; // at the owner's password, as of any stranger in a minute
        assert!((39..=40 + guesses).contains(&hashed), "{hashed}");
        let now = NOW + Duration::from_secs(60);
        // The owner's new phone elsewhere, and one that was here.
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
        assert_eq!(begun.wait, Some(FIRST_WAIT), "a wrong one is told to wait, not that it was wrong");
        accounts.right(&begun, Role::Viewer, NOW);
        // Neither others' guesses nor the household's keep out a browser that the owner has used.
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
