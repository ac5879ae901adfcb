//! Passwords, hashed with argon2id (RFC 9106) and the parameters that OWASP recommends for small machines: 19 MiB, two
//! passes, one lane.
//!
//! Only one hash is computed at a time, so that hashing never takes more than 19 MiB ([`Blocks`]) and one core. A few
//! requests wait in a queue; further ones are refused.
//!
//! Right passwords are not limited as guesses, so the household's devices could keep a common queue full. So each kind
//! of [`Who`] has its own places in the queue, and likely owners are served sooner: one household device at a time
//! waits among the strangers, and one of both together waits before the owner.

use std::mem::discriminant;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, Version};
use tokio::sync::Semaphore;

use super::memory::Blocks;
use super::{Error, Role};
use crate::net::Source;

/// Shortest new password, characters.
pub(super) const SHORTEST: usize = 8;
/// Longest password, bytes: far more than a person types, and cheap to hash.
pub(super) const LONGEST: usize = 1024;
/// Parameters of argon2id: KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Most memory that a stored hash may need, KiB.
const MOST_KIB: u32 = 64 * 1024;
/// Bytes of salt, as RFC 9106 section 3.1 recommends.
const SALT: usize = 16;
/// Places in the queue for all strangers, for one source of them, and for each other kind. On a slow board, with some
/// 0.5 s per hash, the last stranger waits a few seconds.
const STRANGERS: usize = 8;
const STRANGERS_PER_SOURCE: usize = 2;
const KNOWN: usize = 4;

/// Who wants a password to be hashed, as far as known in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A browser that has signed in with the household's password, and never as the owner.
    Household,
    /// A new browser, by its source: it may be the owner's new phone.
    Stranger(Source),
    /// A browser that has signed in as the owner, or somebody who may set a password.
    Owner,
}

impl Who {
    /// Whether there is a place in the queue for it.
    fn has_place(self, line: &[Self]) -> bool {
        let count = |counts: &dyn Fn(&Self) -> bool| line.iter().filter(|who| counts(who)).count();
        let all = count(&|who| discriminant(who) == discriminant(&self));
        match self {
            Self::Stranger(_) => all < STRANGERS && count(&|who| *who == self) < STRANGERS_PER_SOURCE,
            Self::Household | Self::Owner => all < KNOWN,
        }
    }
}

/// Hashes passwords, one at a time.
#[derive(Debug)]
pub(super) struct Passwords {
    line: Arc<Mutex<Vec<Who>>>,
    /// Each allows one at a time: of the household's devices, of these and strangers, and of all. A request acquires
    /// the one of its kind and those after it.
    turns: [Arc<Semaphore>; 3],
}

/// A place in the queue; dropping it frees it.
struct Place {
    line: Arc<Mutex<Vec<Who>>>,
    who: Who,
}

impl Place {
    fn take(line: &Arc<Mutex<Vec<Who>>>, who: Who) -> Option<Self> {
        let mut those = line.lock().unwrap_or_else(PoisonError::into_inner);
        who.has_place(&those).then(|| those.push(who))?;
        Some(Self { line: line.clone(), who })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let place = line.iter().position(|who| *who == self.who);
        place.map(|at| line.swap_remove(at));
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self { line: Arc::default(), turns: std::array::from_fn(|_| Arc::new(Semaphore::new(1))) }
    }
}

impl Passwords {
    /// Checks a new password: its length matters, not its kinds of characters (NIST SP 800-63B).
    pub(super) fn check(password: &str) -> Result<(), Error> {
        if password.chars().count() < SHORTEST {
            return Err(Error::Refused("the password must have at least 8 characters"));
        }
        if password.len() > LONGEST {
            return Err(Error::Refused("the password is too long"));
        }
        Ok(())
    }

    /// Hashes a password with a new salt; returns a PHC string.
    pub(super) async fn hash(&self, who: Who, password: &str) -> Result<String, Error> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt)?;
        let password = password.to_owned();
        self.one(who, move || {
            let (memory, passes, lanes) = COST;
            let params = Params::new(memory, passes, lanes, None).map_err(hashing)?;
            let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
            argon2id(Version::V0x13, &params, &password, &salt, &mut output)?;
            let hash = PasswordHash {
                algorithm: ARGON2ID_IDENT,
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params).map_err(hashing)?,
                salt: Some(Salt::new(&salt).map_err(hashing)?),
                hash: Some(Output::new(&output).map_err(hashing)?),
            };
            Ok(hash.to_string())
        })
        .await
    }

    /// The first role whose hash matches the password. All are tried in one turn, so that either all or none are tried.
    pub(super) async fn whose(
        &self,
        who: Who,
        password: &str,
        hashes: Vec<(Role, String)>,
    ) -> Result<Option<Role>, Error> {
        if password.len() > LONGEST {
            return Ok(None);
        }
        let password = password.to_owned();
        self.one(who, move || {
            for (role, hash) in hashes {
                if fits(&password, &hash)? {
                    return Ok(Some(role));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn one<T: Send + 'static>(
        &self,
        who: Who,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Place::take(&self.line, who).ok_or(Error::Busy)?;
        let first = match who {
            Who::Household => 0,
            Who::Stranger(_) => 1,
            Who::Owner => 2,
        };
        let mut turns = vec![];
        for turn in &self.turns[first..] {
            turns.push(turn.clone().acquire_owned().await.map_err(|_| Error::Busy)?); // never closed
        }
        // Hashing continues if the client disconnects, and keeps its turn until the end.
        let work = move || {
            let _held = (place, turns);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("hashing: {e}")))?
    }
}

fn fits(password: &str, stored: &str) -> Result<bool, Error> {
    let broken = |what: &str| Error::Internal(format!("the stored password can't be used: {what}"));
    let phc = PasswordHash::new(stored).map_err(|e| broken(&e.to_string()))?;
    let params = Params::try_from(&phc).map_err(|e| broken(&e.to_string()))?;
    let version = phc.version.map_or(Ok(Version::default()), Version::try_from);
    let version = version.map_err(|e| broken(&e.to_string()))?;
    let (Some(salt), Some(expected)) = (phc.salt, phc.hash) else { return Err(broken("it is incomplete")) };
    if phc.algorithm != ARGON2ID_IDENT || params.m_cost() > MOST_KIB {
        return Err(broken("it is not argon2id of at most 64 MiB"));
    }
    let mut output = vec![0; expected.len()];
    argon2id(version, &params, password, &salt, &mut output)?;
    Ok(Output::new(&output).map_err(hashing)? == expected) // in constant time
}

fn argon2id(
    version: Version,
    params: &Params,
    password: &str,
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), Error> {
    let blocks = Blocks::take(params.block_count()).map_err(hashing)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, blocks).map_err(hashing)
}

fn hashing(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_and_fits_its_password_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash(Who::Owner, "correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(Who::Owner, "correct horse").await.unwrap(), "salted");
        let whose = async |password: &str, hash: &str| {
            passwords.whose(Who::Owner, password, vec![(Role::Owner, hash.to_owned())]).await
        };
        assert_eq!(whose("correct horse", &hash).await.unwrap(), Some(Role::Owner));
        for wrong in ["", "correct hors", "Correct horse", "correct horse ", &"x".repeat(LONGEST + 1)] {
            assert_eq!(whose(wrong, &hash).await.unwrap(), None, "{wrong:.20}");
        }
        let other = passwords.hash(Who::Owner, "tea for two").await.unwrap();
        let both = vec![(Role::Owner, other), (Role::Viewer, hash.clone())];
        assert_eq!(passwords.whose(Who::Owner, "correct horse", both).await.unwrap(), Some(Role::Viewer));
        for broken in
            ["rubbish", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", &hash.replace("m=19456", "m=4000000")]
        {
            assert!(whose("x", broken).await.is_err(), "{broken}");
        }
        // Created by a different program: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1`.
        let foreign =
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(whose("password", foreign).await.unwrap(), Some(Role::Owner));
    }

    fn stranger(n: u8) -> Who {
        Who::Stranger(Source::Host([192, 0, 2, n].into()))
    }

    #[test]
    fn the_line_is_bounded_and_nobody_takes_anothers_places() {
        let mut line = vec![];
        let mut come = |who: Who, times: usize| {
            let came = (0..times).filter(|_| {
                let comes = who.has_place(&line);
                comes.then(|| line.push(who));
                comes
            });
            came.count()
        };
        assert_eq!(come(Who::Household, 100), KNOWN);
        assert_eq!(come(stranger(1), 100), STRANGERS_PER_SOURCE, "some are left for others");
        assert_eq!((2..100).map(|n| come(stranger(n), 1)).sum::<usize>(), STRANGERS - STRANGERS_PER_SOURCE);
        assert_eq!(come(Who::Owner, 100), KNOWN);
        assert_eq!(line.len(), KNOWN + STRANGERS + KNOWN);
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let passwords = Passwords::default();
        for _ in 0..2 {
            let all = (0..KNOWN + 3).map(|_| passwords.hash(Who::Household, "correct horse"));
            let all = futures_util::future::join_all(all).await;
            assert_eq!(all.iter().filter(|r| matches!(r, Err(Error::Busy))).count(), 3);
        }
        assert!(passwords.line.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_owner_comes_before_strangers_and_those_before_the_household() {
        let (passwords, done) = (Passwords::default(), Arc::<Mutex<Vec<_>>>::default());
        let (all_wait, waits) = std::sync::mpsc::channel();
        let mut waits = Some(waits);
        let came = [Who::Household, Who::Household, Who::Household, stranger(1), stranger(2), Who::Owner];
        let all = came.map(|who| {
            let (done, waits) = (done.clone(), waits.take());
            passwords.one(who, move || {
                // The first hash takes long.
                if let Some(waits) = waits {
                    waits.recv().expect("the others come");
                }
                done.lock().unwrap().push(who);
                Ok(())
            })
        });
        let (all, ()) = tokio::join!(futures_util::future::join_all(all), async {
            all_wait.send(()).expect("it waits");
        });
        assert!(all.iter().all(Result::is_ok));
        let [first, second, third, one, two, owner] = came;
        assert_eq!(*done.lock().unwrap(), [first, owner, one, two, second, third]);
    }

    #[test]
    fn what_may_be_chosen() {
        for (password, fine) in
            [("", false), ("1234567", false), ("12345678", true), ("pässwör", false), ("passwört", true)]
        {
            assert_eq!(Passwords::check(password).is_ok(), fine, "{password}");
        }
        assert!(Passwords::check(&"x".repeat(LONGEST)).is_ok());
        assert!(Passwords::check(&"x".repeat(LONGEST + 1)).is_err());
    }
}
