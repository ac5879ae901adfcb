//! What people do here, and who may. Every route is for one action ([`super::access::TABLE`]); the page's socket, with all its
//! messages, is for watching.
//!
//! Some actions are done to a camera. Whoever may watch some cameras only may do them to these alone: that is asked in one
//! place, [`super::cameras::find`], by [`may`].

use super::auth::{Principal, Role};

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Loads the page's own files, which hold no secret, and asks who one is.
    Open,
    /// Becomes the owner by a pairing link.
    Pair,
    /// Comes in by a password or a guest link.
    SignIn,
    /// Asks for what is no secret of a device that has an owner: its certificate authority, whether it works, preflights.
    Knock,
    /// Leaves.
    SignOut,
    /// Watches a camera live and hears it; what is told of that camera.
    Watch,
    /// Takes a single picture of a camera, as programs do that keep them.
    Snapshot,
    /// Switches a camera off and on.
    Hide,
    /// Says who else gets in: passwords, guest links, tokens.
    Grant,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody, even while the device has no owner.
    Anybody,
    /// Anybody, once it has one.
    OncePaired,
    /// Who has this role, or a higher one.
    From(Role),
}

impl Action {
    /// Who may do it, to some camera at least.
    pub const fn who(self) -> Who {
        match self {
            Self::Open | Self::Pair => Who::Anybody,
            Self::SignIn | Self::Knock => Who::OncePaired,
            Self::SignOut | Self::Watch => Who::From(Role::Guest),
            Self::Snapshot => Who::From(Role::Viewer),
            Self::Hide | Self::Grant => Who::From(Role::Owner),
        }
    }
}

/// Whether somebody may do that to the camera of this name, if there is one.
pub fn may(principal: &Principal, action: Action, camera: &str) -> bool {
    let role = match action.who() {
        Who::Anybody | Who::OncePaired => true,
        Who::From(least) => principal.role >= least,
    };
    role && principal.cameras.has(camera)
}

#[cfg(test)]
mod tests {
    use super::super::testing::principal;
    use super::*;
    use crate::state::Scope;

    #[test]
    fn an_action_on_a_camera_takes_the_role_and_the_camera() {
        let back = || Scope::only(["back".into()]);
        for (role, cameras, action, camera, expected) in [
            (Role::Guest, Scope::ALL, Action::Watch, "front", true),
            (Role::Guest, back(), Action::Watch, "front", false),
            (Role::Guest, back(), Action::Watch, "back", true),
            (Role::Guest, Scope::ALL, Action::Snapshot, "front", false),
            (Role::Viewer, back(), Action::Snapshot, "back", true),
            (Role::Viewer, back(), Action::Snapshot, "front", false),
            (Role::Viewer, Scope::ALL, Action::Hide, "front", false),
            (Role::Owner, Scope::ALL, Action::Hide, "front", true),
        ] {
            let who = principal(role, cameras.clone());
            assert_eq!(may(&who, action, camera), expected, "{role:?} {cameras:?} {action:?} {camera}");
        }
    }
}
