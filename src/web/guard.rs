//! Who may speak to this server: the `Host` and `Origin` of every request and WebSocket. Pure logic.
//!
//! Whatever a browser on this machine or network opens could otherwise speak to us in its user's name: a foreign page
//! by a plain cross-origin request (its `Origin` gives it away), or by DNS rebinding, where a foreign name is made to
//! resolve to this device, so that the page is "same-origin" with us (its `Host` gives it away). A literal address
//! can't be rebound; it must be one of ours all the same. Who the user is, and what they may do, [`super::access`]
//! decides then.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};

use super::problem::Problem;
use super::proxy::Scheme;
use crate::config;

/// What is asked of the machine, at the time of the request: interfaces and names come and go.
pub trait Machine {
    /// Whether `address` is an address of this machine.
    fn owns(&self, address: IpAddr) -> bool;
    /// Its host name, if it has one.
    fn hostname(&self) -> Option<String>;
    /// The name that it announces by mDNS, if any.
    fn announced(&self) -> Option<String>;
}

/// Which rules hold for the resource asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// For pages of our own origin only.
    Own,
    /// Open to the pages of `web.origins` as well: WHEP.
    Shared,
}

/// Where an admitted request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Our own page, or no page at all (no `Origin`).
    Own,
    /// A page of `web.origins`: it needs CORS headers.
    Listed,
}

/// Admits a request that came by `scheme` or says why not: 400 without one valid `Host` (RFC 9112 section 3.2), 421
/// for a host that isn't us, 403 for a foreign page.
pub fn check(
    uri: &Uri,
    headers: &HeaderMap,
    scheme: Scheme,
    area: Area,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<Caller, Problem> {
    let host = host(uri, headers, web, machine)?;
    let own = Origin::of(scheme.as_str(), host);
    match one(headers, &ORIGIN) {
        Ok(None) => Ok(Caller::Own),
        Ok(Some(text)) => match Origin::parse(text) {
            Some(origin) if origin == own => Ok(Caller::Own),
            Some(origin)
                if area == Area::Shared
                    && web.origins.iter().any(|o| Origin::parse(o).as_ref() == Some(&origin)) =>
            {
                Ok(Caller::Listed)
            }
            // A proxy does HTTPS for us, and we don't know it.
            Some(origin) if scheme == Scheme::Http && origin.scheme == "https" && origin.host == own.host => {
                Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "the page came by https, but its request by http: list the proxy between in web.trusted_proxies, \
                     and let it send X-Forwarded-Proto",
                ))
            }
            _ => Err(foreign()),
        },
        Err(()) => Err(foreign()),
    }
}

/// Only the first half of [`check`]: whether the request is meant for us at all.
pub fn check_host(
    uri: &Uri,
    headers: &HeaderMap,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<(), Problem> {
    host(uri, headers, web, machine).map(|_| ())
}

/// By what name and port the client calls us.
fn host(
    uri: &Uri,
    headers: &HeaderMap,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<(Host, Option<u16>), Problem> {
    let mut host = one(headers, &HOST)
        .map_err(|()| bad_host("more than one Host"))?
        .ok_or_else(|| bad_host("no Host"))
        .and_then(|h| authority(h).ok_or_else(|| bad_host("no valid Host")))?;
    if !ours(&host.0, &web.hosts, machine) {
        return Err(misdirected());
    }
    // RFC 9112 section 3.2.2: a target in absolute form counts instead of Host. Both must be us.
    if let Some(target) = uri.authority() {
        host = authority(target.as_str()).ok_or_else(|| bad_host("no valid target"))?;
        if !ours(&host.0, &web.hosts, machine) {
            return Err(misdirected());
        }
    }
    Ok(host)
}

fn bad_host(what: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the request has {what}"))
}

fn misdirected() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this device isn't known by that name; use its address, or add the name to web.hosts",
    )
}

fn foreign() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "pages of that origin may not use this device")
}

/// The only value of header `name`; an error if there are several, or if it isn't text.
fn one<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The host part of an authority, comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// IPv4-mapped IPv6 as IPv4.
    Ip(IpAddr),
    /// Lower case, without the root's dot.
    Name(String),
}

/// Parses `host[:port]` (RFC 3986 section 3.2, without user information and percent-encoding: no browser sends
/// those, and what is unusual is refused).
fn authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (Host::Ip(IpAddr::V6(host.parse::<Ipv6Addr>().ok()?).to_canonical()), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (name_or_v4(host)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

fn name_or_v4(text: &str) -> Option<Host> {
    if let Ok(v4) = text.parse() {
        return Some(Host::Ip(IpAddr::V4(v4)));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(fine)).then(|| Host::Name(name.to_ascii_lowercase()))
}

fn ours(host: &Host, hosts: &[String], machine: &dyn Machine) -> bool {
    if hosts.iter().any(|h| authority(h).is_some_and(|(h, _)| h == *host)) {
        return true;
    }
    match host {
        Host::Ip(ip) => ip.is_loopback() || machine.owns(*ip),
        Host::Name(name) if name == "localhost" || machine.announced().as_ref() == Some(name) => true,
        Host::Name(name) => machine.hostname().is_some_and(|own| {
            let own = own.to_ascii_lowercase();
            // mDNS announces the first label (RFC 6762 section 3).
            let label = own.split('.').next().unwrap_or_default();
            !label.is_empty() && (*name == own || name == label || name.strip_suffix(".local") == Some(label))
        }),
    }
}

/// An origin (RFC 6454), comparable.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

impl Origin {
    fn of(scheme: &str, (host, port): (Host, Option<u16>)) -> Self {
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        Self { scheme, host, port }
    }

    /// `None` for "null" and for whatever is no origin.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        (!scheme.is_empty() && scheme.bytes().all(fine))
            .then(|| authority(rest).map(|a| Self::of(scheme, a)))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cam;
    impl Machine for Cam {
        fn owns(&self, address: IpAddr) -> bool {
            ["192.168.1.5", "2001:db8::5"].iter().any(|a| address == a.parse::<IpAddr>().unwrap())
        }
        fn hostname(&self) -> Option<String> {
            Some("Door.example.net".into())
        }
        fn announced(&self) -> Option<String> {
            Some("peercam-door.local".into())
        }
    }

    fn web() -> config::Web {
        config::Web {
            hosts: vec!["cam.example.org".into(), "203.0.113.7".into()],
            origins: vec!["https://home.example".into(), "http://[2001:db8::9]:81".into(), "null".into()],
            ..Default::default()
        }
    }

    fn ask(area: Area, lines: &[(&'static str, &str)]) -> Result<Caller, u16> {
        ask_for("/", area, lines)
    }

    fn ask_for(uri: &str, area: Area, lines: &[(&'static str, &str)]) -> Result<Caller, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        check(&uri.parse().unwrap(), &headers, Scheme::Http, area, &web(), &Cam)
            .map_err(|p| p.status.as_u16())
    }

    #[test]
    fn our_own_names_and_addresses_are_us() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.:1",
            "192.168.1.5:8080",
            "[2001:db8:0::5]:8080",
            "[::ffff:192.168.1.5]:8080",
            "door",
            "Door.Local:8080",
            "door.local.",
            "door.example.net",
            "cam.example.org",
            "CAM.example.org:99",
            "203.0.113.7",
            "localhost:",
        ] {
            assert_eq!(ask(Area::Own, &[("host", host)]), Ok(Caller::Own), "{host}");
        }
    }

    #[test]
    fn foreign_names_and_addresses_are_misdirected() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "door.local.evil.example",
            "door.evil.local",
            "evil-door",
            "192.168.1.6",
            "0.0.0.0",
            "[::]",
            "[2001:db8::6]",
            "cam.example.org.evil.example",
            "0x7f000001",
            "2130706433",
        ] {
            assert_eq!(ask(Area::Own, &[("host", host)]), Err(421), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_a_bad_request() {
        for host in [
            "",
            ":80",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "localhost:port",
            "localhost:70000",
            "localhost:+80",
            "localhost:80:80",
            "user@localhost",
            "localhost/",
            "local host",
            "%6cocalhost",
            "löcalhost",
            ".",
        ] {
            assert_eq!(ask(Area::Own, &[("host", host)]), Err(400), "{host}");
        }
        assert_eq!(ask(Area::Own, &[]), Err(400));
        assert_eq!(ask(Area::Own, &[("host", "localhost"), ("host", "localhost")]), Err(400));
    }

    #[test]
    fn an_absolute_target_is_checked_too() {
        let host = [("host", "localhost")];
        assert_eq!(ask_for("http://127.0.0.1/", Area::Own, &host), Ok(Caller::Own));
        assert_eq!(ask_for("http://evil.example/", Area::Own, &host), Err(421));
        assert_eq!(ask_for("http://me@localhost/", Area::Own, &host), Err(400));
    }

    #[test]
    fn only_the_same_origin_or_none_is_ours() {
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://LOCALHOST"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("192.168.1.5", "http://192.168.1.5:80"),
        ] {
            assert_eq!(ask(Area::Own, &[("host", host), ("origin", origin)]), Ok(Caller::Own), "{origin}");
        }
        for (host, origin) in [
            ("localhost:8080", "null"),
            ("localhost:8080", ""),
            ("localhost:8080", "http://localhost"),
            ("localhost:8080", "http://localhost:8081"),
            ("localhost:8080", "https://localhost:8080"),
            ("localhost:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://evil.example"),
            ("localhost:8080", "http://localhost:8080/"),
            ("localhost:8080", "localhost:8080"),
            ("localhost:8080", "://localhost:8080"),
            ("localhost:8080", "https://home.example"),
            ("localhost:8080", "http://löcalhost"),
        ] {
            assert_eq!(ask(Area::Own, &[("host", host), ("origin", origin)]), Err(403), "{origin}");
        }
        let twice = [("host", "door"), ("origin", "http://door"), ("origin", "http://door")];
        assert_eq!(ask(Area::Own, &twice), Err(403));
    }

    #[test]
    fn listed_origins_may_use_whep_only() {
        for origin in ["https://home.example", "https://HOME.example:443", "http://[2001:DB8::9]:81"] {
            let lines = [("host", "door"), ("origin", origin)];
            assert_eq!(ask(Area::Shared, &lines), Ok(Caller::Listed), "{origin}");
            assert_eq!(ask(Area::Own, &lines), Err(403), "{origin}");
        }
        for origin in ["http://home.example", "https://sub.home.example", "https://home.example:444", "null"]
        {
            assert_eq!(ask(Area::Shared, &[("host", "door"), ("origin", origin)]), Err(403), "{origin}");
        }
        assert_eq!(ask(Area::Shared, &[("host", "door"), ("origin", "http://door")]), Ok(Caller::Own));
        assert_eq!(ask(Area::Shared, &[("host", "evil"), ("origin", "https://home.example")]), Err(421));
    }
}
