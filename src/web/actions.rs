//! The actions, and who may do them. Every route belongs to one action ([`super::access::TABLE`]); the page's
//! WebSocket, with all its messages, belongs to watching.
//!
//! Some actions apply to a camera. A credential for some cameras allows them for those only, which one place checks:
//! [`super::cameras::find`], by [`may`].

use super::auth::{Principal, Role};

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Load the page's files, which contain no secrets, and ask for the session.
    Open,
    /// Become the owner with a pairing link.
    Pair,
    /// Sign in with a password or a guest link.
    SignIn,
    /// Get public facts of a device that has an owner: its certificate authority, its health, preflights.
    Knock,
    /// Sign out.
    SignOut,
    /// Watch and hear a camera live, and get its status.
    Watch,
    /// Take a single picture of a camera.
    Snapshot,
    /// Turn privacy on or off.
    Hide,
    /// Manage access: passwords, guest links, tokens.
    Grant,
}

/// Who may do an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody, even while the device has no owner.
    Anybody,
    /// Anybody, once the device has an owner.
    OncePaired,
    /// Anybody with this role or a higher one.
    From(Role),
}

impl Action {
    /// Who may do this action, for at least one camera.
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

/// Whether `principal` may do `action` for the camera with this name, if there is one.
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
