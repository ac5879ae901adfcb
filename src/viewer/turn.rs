//! Credentials for TURN servers that share a secret with us (draft-uberti-behave-turn-rest-00, coturn's
//! `use-auth-secret`): the username contains the expiry, and the credential proves that we made it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::config::{Ice, IceServer};

/// Lifetime of a credential. A relay refuses to continue after it, so it is longer than anybody watches
/// without a break; and a former guest can't use the relay for much longer.
const VALID: Duration = Duration::from_secs(24 * 3600);

/// The servers for a viewer at `now_unix` (time since 1970). A `guest` is told a fixed password only if the
/// server is `for_guests`; of other servers with a fixed password, guests are told the STUN addresses only.
pub fn servers(ice: &Ice, now_unix: Duration, guest: bool) -> Vec<IceServer> {
    let told = |server: &IceServer| {
        let mut told = server.clone();
        if let Some(secret) = told.secret.take() {
            let (username, credential) = mint(&secret, now_unix + VALID);
            (told.username, told.credential) = (Some(username), Some(credential));
        } else if guest && told.credential.is_some() && !told.for_guests {
            told.urls.retain(|url| !url.starts_with("turn"));
            (told.username, told.credential) = (None, None);
        }
        (!told.urls.is_empty()).then_some(told)
    };
    ice.servers.iter().filter_map(told).collect()
}

fn mint(secret: &str, expires_unix: Duration) -> (String, String) {
    let username = format!("{}:peercam", expires_unix.as_secs());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_becomes_credentials_and_never_leaves() {
        // echo -n 1700086400:peercam | openssl dgst -sha1 -hmac north -binary | base64
        let server = IceServer {
            urls: vec!["turn:turn.example.org".into()],
            username: None,
            credential: None,
            secret: Some("north".into()),
            for_guests: false,
        };
        let fixed = IceServer {
            username: Some("u".into()),
            credential: Some("c".into()),
            secret: None,
            ..server.clone()
        };
        let ice = Ice { servers: vec![server.clone(), fixed.clone()], ..Ice::default() };
        let told = servers(&ice, Duration::from_millis(1_700_000_000_999), true);
        assert_eq!(told.len(), 1, "no permanent password for a guest");
        let told = servers(&ice, Duration::from_millis(1_700_000_000_999), false);
        assert_eq!(told[0].username.as_deref(), Some("1700086400:peercam"));
        assert_eq!(told[0].credential.as_deref(), Some("cIgnxampgHIV1uHvMTJ7D41Kdmw="));
        assert_eq!((&told[0].urls, &told[0].secret), (&server.urls, &None));
        assert_eq!(told[1], fixed);
        // As configured, or without what needs a password.
        let shared = IceServer { for_guests: true, ..fixed.clone() };
        let urls = vec!["stun:turn.example.org".to_owned(), "turns:turn.example.org".into()];
        let ice = Ice { servers: vec![shared.clone(), IceServer { urls, ..fixed }], ..Ice::default() };
        let told = servers(&ice, Duration::ZERO, true);
        let stun = IceServer { urls: vec!["stun:turn.example.org".into()], ..IceServer::default() };
        assert_eq!(told, [shared, stun]);
    }
}
