//! What restricts, where the disk can't be written: it holds in memory, and in a file of the runtime folder, which
//! outlasts the daemon but not the board's next start.
//!
//! The file lists what has ended of that which the disk still holds. So it can only take away: a key that it lists is
//! dropped, a key that it does not list is not granted by that, and one that is made later is never in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Digest, Lasting, Scope};

/// Its name in the runtime folder.
pub const FILE: &str = "restrictions.json";
/// What to do about one that can't be read.
pub const REMEDY: &str = "nobody can tell what was revoked while the disk could not be written; remove the file to \
                          start with what the disk holds";
const VERSION: u32 = 1;

/// What differs from the disk, to the worse of whoever had access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    version: u32,
    privacy: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    private_cameras: BTreeSet<String>,
    /// Sessions, tokens, guest links and remembered browsers by their digests, and the household's password by the digest
    /// of its hash. At most as many as the disk's lists hold.
    ended: Vec<Digest>,
}

impl Restrictions {
    /// What `now` lacks of what is `saved`.
    pub fn between(saved: &Lasting, now: &Lasting) -> Self {
        let kept: Vec<_> = digests(now).collect();
        let ended = digests(saved).filter(|d| !kept.contains(d)).collect();
        Self {
            version: VERSION,
            privacy: now.privacy && !saved.privacy,
            private_cameras: &now.private_cameras - &saved.private_cameras,
            ended,
        }
    }

    /// Reads what [`serde_json`] made of one; or says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let this: Self = serde_json::from_slice(bytes).map_err(|e| super::unlike_ours(&e))?;
        if this.version == VERSION {
            Ok(this)
        } else {
            Err(format!("it has version {}, and this peercam knows only {VERSION}", this.version))
        }
    }

    /// Takes away from `lasting` what has ended.
    pub fn apply(&self, lasting: &mut Lasting) {
        let ended = |digest: &Digest| self.ended.contains(digest);
        lasting.privacy |= self.privacy;
        lasting.private_cameras.extend(self.private_cameras.iter().cloned());
        lasting.sessions.retain(|s| !ended(&s.digest));
        lasting.devices.retain(|d| !ended(&d.digest));
        lasting.tokens.retain(|t| !ended(&t.digest));
        lasting.guests.retain(|g| !ended(&g.digest));
        lasting.household = lasting.household.take().filter(|hash| !ended(&Digest::of(hash)));
    }
}

/// Of everything that gives access, but for the owner's password: a device never loses its owner.
fn digests(l: &Lasting) -> impl Iterator<Item = Digest> {
    let household = l.household.as_deref().map(Digest::of);
    let sessions = l.sessions.iter().map(|s| s.digest);
    let devices = l.devices.iter().map(|d| d.digest);
    let tokens = l.tokens.iter().map(|t| t.digest);
    let guests = l.guests.iter().map(|g| g.digest);
    household.into_iter().chain(sessions).chain(devices).chain(tokens).chain(guests)
}

/// Whether `after` gives nobody anything that `before` did not, so that it may hold before it is written. Privacy may be
/// switched off again where the disk, which holds `saved`, never learned that it was on; `None`: it may have.
pub fn only_restricts(after: &Lasting, before: &Lasting, saved: Option<&Lasting>) -> bool {
    fn within<T: PartialEq>(after: &[T], before: &[T]) -> bool {
        after.iter().all(|item| before.contains(item))
    }
    // One for fewer cameras is a restriction, too.
    fn among<T: Clone + PartialEq>(after: &[T], before: &[T], scope: impl Fn(&mut T) -> &mut Scope) -> bool {
        after.iter().all(|item| {
            before.iter().any(|known| {
                let (mut item, mut known) = (item.clone(), known.clone());
                let narrower = std::mem::take(scope(&mut item)).within(&std::mem::take(scope(&mut known)));
                narrower && item == known
            })
        })
    }
    let opened_before = |camera: &String| saved.is_some_and(|saved| !saved.private_cameras.contains(camera));
    after.owner == before.owner
        && (after.household.is_none() || after.household == before.household)
        && (after.privacy || !before.privacy || saved.is_some_and(|saved| !saved.privacy))
        && before.private_cameras.difference(&after.private_cameras).all(opened_before)
        && within(&after.sessions, &before.sessions)
        && within(&after.devices, &before.devices)
        && after.household_cameras.within(&before.household_cameras)
        && among(&after.tokens, &before.tokens, |t| &mut t.cameras)
        && among(&after.guests, &before.guests, |g| &mut g.cameras)
}
