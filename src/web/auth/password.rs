//! Passwords, hashed by argon2id (RFC 9106) as OWASP advises for small machines: 19 MiB, two passes, one lane.
//!
//! One hash at a time, so that all of them together never take more than 19 MiB and one core; behind it a line of a few,
//! and whoever finds the line full is told to come back.

use std::sync::Arc;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordVerifier as _, Version};
use tokio::sync::Semaphore;

use super::Error;

/// Fewest characters of a new password.
pub const SHORTEST: usize = 8;
/// Most bytes: far more than a person types, and little to hash.
pub const LONGEST: usize = 1024;
/// KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
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
            let hash: PasswordHash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether it is the password of that hash.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<bool, Error> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.one(move || {
            let hash = PasswordHash::new(&hash)
                .map_err(|e| Error::Internal(format!("the stored password is no PHC string: {e}")))?;
            match argon2()?.verify_password(password.as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(e) => Err(e.into()),
            }
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

fn argon2() -> Result<Argon2<'static>, Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl From<argon2::password_hash::Error> for Error {
    fn from(error: argon2::password_hash::Error) -> Self {
        Self::Internal(format!("hashing: {error}"))
    }
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
        assert!(passwords.verify("correct horse", &hash).await.unwrap());
        for wrong in ["", "correct hors", "Correct horse", "correct horse ", &"x".repeat(LONGEST + 1)] {
            assert!(!passwords.verify(wrong, &hash).await.unwrap(), "{wrong:.20}");
        }
        assert!(passwords.verify("x", "rubbish").await.is_err());
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
