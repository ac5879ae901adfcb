//! The two cookies: of the session (or guest link), and of a browser that has signed in before.
//!
//! Over TLS their names begin with `__Host-`: browsers then accept them only over TLS, from this host and for all its
//! paths (RFC 6265bis section 4.1.3.2). Over plain HTTP (`tls = "off"`) browsers would not accept such names.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

use super::proxy::Scheme;

/// Longest secret that is read, characters; real ones have 43.
const LONGEST: usize = 64;

/// A cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// The session or guest link.
    Session,
    /// A browser that has signed in before.
    Device,
}

impl Cookie {
    fn name(self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Session, Scheme::Https) => "__Host-peercam",
            (Self::Session, Scheme::Http) => "peercam",
            (Self::Device, Scheme::Https) => "__Host-peercam-device",
            (Self::Device, Scheme::Http) => "peercam-device",
        }
    }

    /// A `Set-Cookie` value that keeps `secret` for `max_age_s` seconds; 0 deletes it.
    pub fn set(self, scheme: Scheme, secret: &str, max_age_s: u64) -> Option<HeaderValue> {
        let name = self.name(scheme);
        let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
        let text = format!("{name}={secret}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).ok() // secrets are base64url
    }
}

/// The cookies of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies {
    /// Secret of [`Cookie::Session`].
    pub session: Option<String>,
    /// Secret of [`Cookie::Device`].
    pub device: Option<String>,
}

impl Cookies {
    /// Reads the cookies of a request.
    pub fn of(headers: &HeaderMap, scheme: Scheme) -> Self {
        let find = |cookie: Cookie| one(headers, cookie.name(scheme));
        Self { session: find(Cookie::Session), device: find(Cookie::Device) }
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.session.is_some() || self.device.is_some()
    }
}

/// The value of the cookie with this name. If there are several, none counts: one of them is foreign, and it is unknown
/// which.
fn one(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (!value.is_empty() && value.len() <= LONGEST && value.bytes().all(fine)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&[u8]], scheme: Scheme) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let cookies = Cookies::of(&headers, scheme);
        (cookies.session, cookies.device)
    }

    fn some(s: &str) -> Option<String> {
        Some(s.to_owned())
    }

    #[test]
    fn ours_are_found_among_others() {
        for line in [
            "peercam=abc",
            "a=b; peercam=abc",
            "peercam=abc;peercam-device2=x",
            " peercam = abc ;",
            "x; peercam=abc",
        ] {
            assert_eq!(read(&[line.as_bytes()], Scheme::Http), (some("abc"), None), "{line}");
        }
        let two: [&[u8]; 2] = [b"__Host-peercam=a_-9", b"__Host-peercam-device=d; peercam=no"];
        assert_eq!(read(&two, Scheme::Https), (some("a_-9"), some("d")));
        // Over TLS, cookies of plain HTTP are ignored: anybody in the network could have set them.
        assert_eq!(read(&[b"peercam=abc"], Scheme::Https), (None, None));
    }

    #[test]
    fn what_is_malformed_or_doubled_is_none() {
        let long = format!("peercam={}", "x".repeat(65));
        for lines in [
            &[&b""[..]][..],
            &[b"peercam"],
            &[b"peercam="],
            &[b"=abc"],
            &[b"peercam=a=b"],
            &[b"peercam=\"abc\""],
            &[b"peercam=a b"],
            &[b"peercam=\xffabc"],
            &[b"Peercam=abc"],
            &[b"peercam=abc; peercam=abc"],
            &[b"peercam=abc", b"peercam=abd"],
            &[long.as_bytes()],
        ] {
            assert_eq!(read(lines, Scheme::Http), (None, None), "{lines:?}");
        }
    }

    #[test]
    fn what_a_browser_is_told() {
        assert_eq!(
            Cookie::Session.set(Scheme::Https, "abc", 5).unwrap(),
            "__Host-peercam=abc; Max-Age=5; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            Cookie::Device.set(Scheme::Http, "", 0).unwrap(),
            "peercam-device=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"
        );
    }
}
