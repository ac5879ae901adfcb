//! Restrictions while the disk can't be written: they are kept in memory, and in a file in the runtime folder, which
//! outlasts the daemon but not a restart of the board.
//!
//! The file lists the credentials on the disk that have ended. So it can only restrict: a credential that it lists is
//! dropped, one that it does not list is not granted by that, and one that is created later is never in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Digest, Lasting, Scope};

/// Name of the file in the runtime folder.
pub(super) const FILE: &str = "restrictions.json";
/// Advice for a file that can't be read.
pub(super) const REMEDY: &str = "it is unknown what was revoked while the disk could not be written; remove the file to \
                          start with the state on the disk";
const VERSION: u32 = 1;

/// Restrictions that are not on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restrictions {
    version: u32,
    privacy: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    private_cameras: BTreeSet<String>,
    /// Digests of sessions, tokens, guest links and remembered browsers, and of the hash of the household's password.
    /// At most as many as the lists on the disk have.
    ended: Vec<Digest>,
}

impl Restrictions {
    /// The credentials that are `saved` but no longer in `now`.
    pub(super) fn between(saved: &Lasting, now: &Lasting) -> Self {
        let kept: Vec<_> = digests(now).collect();
        let ended = digests(saved).filter(|d| !kept.contains(d)).collect();
        Self {
            version: VERSION,
            privacy: now.privacy && !saved.privacy,
            private_cameras: &now.private_cameras - &saved.private_cameras,
            ended,
        }
    }

    /// Parses the file, or returns what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let this: Self = serde_json::from_slice(bytes).map_err(|e| super::unlike_ours(&e))?;
        if this.version == VERSION {
            Ok(this)
        } else {
            Err(format!("it has version {}, but this peercam supports only version {VERSION}", this.version))
        }
    }

    /// Removes the ended credentials from `lasting`.
    pub(super) fn apply(&self, lasting: &mut Lasting) {
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

/// Digests of all credentials except the owner's password: a device never loses its owner.
fn digests(l: &Lasting) -> impl Iterator<Item = Digest> {
    let household = l.household.as_deref().map(Digest::of);
    let sessions = l.sessions.iter().map(|s| s.digest);
    let devices = l.devices.iter().map(|d| d.digest);
    let tokens = l.tokens.iter().map(|t| t.digest);
    let guests = l.guests.iter().map(|g| g.digest);
    household.into_iter().chain(sessions).chain(devices).chain(tokens).chain(guests)
}

/// Whether `after` grants nothing that `before` did not, so that it may take effect before it is written. Turning
/// privacy off counts as a restriction if the disk (`saved`) never had it on; `None`: the disk may have had it on.
pub(super) fn only_restricts(after: &Lasting, before: &Lasting, saved: Option<&Lasting>) -> bool {
    fn within<T: PartialEq>(after: &[T], before: &[T]) -> bool {
        after.iter().all(|item| before.contains(item))
    }
    // The same credential for fewer cameras is a restriction, too.
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
