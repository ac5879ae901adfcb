//! Passwords, hashed by argon2id (RFC 9106) as OWASP advises for small machines: 19 MiB, two passes, one lane.
//!
//! One hash at a time, so that all of them together never take more than 19 MiB ([`Blocks`]) and one core; behind it a
//! line of a few, and whoever finds the line full is told to come back.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, Version};
use tokio::sync::Semaphore;

use super::memory::Blocks;
use super::{Error, Role};

/// Fewest characters of a new password.
pub const SHORTEST: usize = 8;
/// Most bytes: far more than a person types, and little to hash.
pub const LONGEST: usize = 1024;
/// KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// The most memory that a stored hash may ask for.
const MOST_KIB: u32 = 64 * 1024;
/// Bytes of salt, as RFC 9106 section 3.1 recommends.
const SALT: usize = 16;
/// The one being hashed, and those that wait: on a slow board, of some 0.5 s a hash, the last of them waits 4 s.
const LINE: usize = 8;

/// Where hashing happens.
#[derive(Debug)]
pub struct Passwords {
    line: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { line: Arc::new(Semaphore::new(LINE)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Passwords {
    /// Whether a password may be chosen: how long it is matters, what it is made of does not (NIST SP 800-63B).
    pub fn check(password: &str) -> Result<(), Error> {
        if password.chars().count() < SHORTEST {
            return Err(Error::Refused("the password must have at least 8 characters"));
        }
        if password.len() > LONGEST {
            return Err(Error::Refused("the password is too long"));
        }
        Ok(())
    }

    /// Hashes it with a new salt, as a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt)?;
        let password = password.to_owned();
        self.one(move || {
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

    /// The first of these whose hash fits the password. They are tried in one turn, so that none is tried where the others
    /// can't be.
    pub async fn whose(&self, password: &str, hashes: Vec<(Role, String)>) -> Result<Option<Role>, Error> {
        if password.len() > LONGEST {
            return Ok(None);
        }
        let password = password.to_owned();
        self.one(move || {
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
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.line.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| Error::Busy)?; // never closed
        // A hash goes on when whoever asked is gone, and holds its turn until its end.
        let work = move || {
            let _held = (place, turn);
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
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await.unwrap(), "salted");
        let whose = async |password: &str, hash: &str| {
            passwords.whose(password, vec![(Role::Owner, hash.to_owned())]).await
        };
        assert_eq!(whose("correct horse", &hash).await.unwrap(), Some(Role::Owner));
        for wrong in ["", "correct hors", "Correct horse", "correct horse ", &"x".repeat(LONGEST + 1)] {
            assert_eq!(whose(wrong, &hash).await.unwrap(), None, "{wrong:.20}");
        }
        let other = passwords.hash("tea for two").await.unwrap();
        let both = vec![(Role::Owner, other), (Role::Viewer, hash.clone())];
        assert_eq!(passwords.whose("correct horse", both).await.unwrap(), Some(Role::Viewer));
        for broken in
            ["rubbish", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", &hash.replace("m=19456", "m=4000000")]
        {
            assert!(whose("x", broken).await.is_err(), "{broken}");
        }
        // Made by another program from the same: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1`.
        let foreign =
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(whose("password", foreign).await.unwrap(), Some(Role::Owner));
    }

    #[tokio::test]
    async fn the_line_is_bounded() {
        let passwords = Passwords::default();
        let all = (0..LINE + 5).map(|_| passwords.hash("correct horse"));
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all.iter().filter(|r| matches!(r, Err(Error::Busy))).count(), 5);
        passwords.hash("correct horse").await.unwrap();
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
