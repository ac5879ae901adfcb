//! Credentials for the tests: every daemon here has the same owner, and accepts the same tokens.

use std::path::Path;
use std::sync::OnceLock;

use peercam::state::{Scope, State};
use peercam::web::auth::{Auth, Role};

use crate::process::Dir;

/// The owner's password.
pub(crate) const PASSWORD: &str = "correct horse";

/// The variable in which child programs find the token; the other one has `PASSWORD`.
const TOKEN_VARIABLE: &str = "PEERCAM_TOKEN";
const PASSWORD_VARIABLE: &str = "PEERCAM_PASSWORD";

struct Made {
    /// Tokens of the owner, a viewer and a guest.
    tokens: [String; 3],
    state: Vec<u8>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let make = || {
            let dir = Dir::new();
            let auth = Auth::new(State::open(dir.path()).expect("a state"));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(auth.set_password(Role::Owner, PASSWORD, None)).expect("a password");
            let tokens = [Role::Owner, Role::Viewer, Role::Guest]
                .map(|role| auth.add_token(role.as_str(), role, Scope::ALL).expect("a token"));
            Made { tokens, state: std::fs::read(dir.path().join("state.json")).expect("written") }
        };
        // Not on a thread that may already belong to a runtime.
        std::thread::spawn(make).join().expect("made")
    })
}

/// The owner's token.
pub(crate) fn token() -> String {
    std::env::var(TOKEN_VARIABLE).unwrap_or_else(|_| token_of("owner"))
}

/// The token of a role: "owner", "viewer", "guest".
pub(crate) fn token_of(role: &str) -> String {
    let at = ["owner", "viewer", "guest"].iter().position(|r| *r == role).expect("a role");
    made().tokens[at].clone()
}

/// The state file that gives a daemon its owner.
pub(crate) fn state() -> &'static [u8] {
    &made().state
}

/// Makes `dir` the state of a daemon that has an owner.
pub(crate) fn furnish(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a folder");
    std::fs::write(dir.join("state.json"), state()).expect("a file");
}

/// Variables for a program that watches as the owner.
pub(crate) fn keys() -> [(&'static str, String); 2] {
    [(TOKEN_VARIABLE, token()), (PASSWORD_VARIABLE, PASSWORD.into())]
}
