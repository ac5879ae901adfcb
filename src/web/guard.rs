//! Checks `Host` and `Origin` of every request and WebSocket. Pure logic.
//!
//! Without this, any page that a browser on this machine or network opens could send requests in its user's name: by a
//! plain cross-origin request (recognised by its `Origin`), or by DNS rebinding, where a foreign name resolves to this
//! device, so that the page is "same-origin" with it (recognised by its `Host`). A literal address can't be rebound,
//! but must still be one of this machine's. After that, [`super::access`] decides who the user is and what they may do.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};

use super::problem::Problem;
use super::proxy::{Client, Scheme, Via};
use crate::config;

/// Facts of the machine, read for each request, because interfaces and names change.
pub trait Machine {
    /// Whether `address` is an address of this machine.
    fn owns(&self, address: IpAddr) -> bool;
    /// The machine's host name, if it has one.
    fn hostname(&self) -> Option<String>;
    /// The name announced by mDNS, if any.
    fn announced(&self) -> Option<String>;
}

/// The rules for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// For pages of this device only.
    Own,
    /// Also for pages of `web.origins`: WHEP.
    Shared,
}

/// The origin of an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A page of this device, or no page (no `Origin`).
    Own,
    /// A page of `web.origins`, which needs CORS headers.
    Listed,
}

/// Admits a request, or says why not: 400 without exactly one valid `Host` (RFC 9112 section 3.2), 421 for a foreign
/// host, 403 for a foreign page.
pub fn check(
    uri: &Uri,
    headers: &HeaderMap,
    client: &Client,
    area: Area,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<Caller, Problem> {
    let host = host(uri, headers, web, machine)?;
    let without_port = host.1.is_none();
    let own = Origin::of(client.scheme.as_str(), host);
    let Some(text) = one(headers, &ORIGIN).map_err(|_| foreign())? else { return Ok(Caller::Own) };
    let origin = Origin::parse(text).ok_or_else(foreign)?;
    let listed = || web.origins.iter().any(|o| Origin::parse(o).as_ref() == Some(&origin));
    if origin == own {
        Ok(Caller::Own)
    } else if area == Area::Shared && listed() {
        Ok(Caller::Listed)
    } else if origin.host != own.host {
        Err(foreign())
    } else if origin.scheme != own.scheme {
        Err(scheme_is_lost(&origin, client))
    } else if without_port && client.via != Via::Direct {
        // A trusted proxy may drop the port (nginx's `$host`), so it can't be compared. Other servers on the same host
        // get our cookies anyway, which ignore ports (RFC 6265 section 8.5), and browsers that send `Sec-Fetch-Site`
        // still report them.
        Ok(Caller::Own)
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the port in Host differs from the page's: the proxy must forward Host unchanged, with its port \
             (nginx: proxy_set_header Host $http_host)",
        ))
    }
}

/// A page of this host whose scheme differs from its request: most likely a proxy does HTTPS for this device.
fn scheme_is_lost(origin: &Origin, client: &Client) -> Problem {
    let says = match client.via {
        _ if client.scheme != Scheme::Http || origin.scheme != "https" => return foreign(),
        Via::Direct => {
            "the page was loaded over https, but its request came over http: list the proxy in web.trusted_proxies, and \
             make it send X-Forwarded-Proto (or see web.proxy_header)"
        }
        Via::Proxy { .. } => {
            "the page was loaded over https, but its request came over http: make the proxy send X-Forwarded-Proto, or \
             set web.proxy_header to the header that it sends"
        }
    };
    Problem::new(StatusCode::FORBIDDEN, says)
}

/// Only the first half of [`check`]: whether the request is for this device.
pub fn check_host(
    uri: &Uri,
    headers: &HeaderMap,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<(), Problem> {
    host(uri, headers, web, machine).map(|_| ())
}

/// The host and port that the client has requested.
fn host(
    uri: &Uri,
    headers: &HeaderMap,
    web: &config::Web,
    machine: &dyn Machine,
) -> Result<(Host, Option<u16>), Problem> {
    let mut host = one(headers, &HOST)
        .map_err(|not_one| match not_one {
            NotOne::Several => bad_host("more than one Host"),
            NotOne::NoText => {
                bad_host("a Host that is not ASCII: names with other letters are sent as xn--...")
            }
        })?
        .ok_or_else(|| bad_host("no Host"))
        .and_then(|h| {
            authority(h).ok_or_else(|| bad_host("no valid Host: expected NAME, NAME:PORT or an address"))
        })?;
    if !ours(&host.0, &web.hosts, machine) {
        return Err(misdirected());
    }
    // RFC 9112 section 3.2.2: a target in absolute form replaces Host. Both must be this device.
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

/// Why a header has no single value.
enum NotOne {
    Several,
    /// The value isn't ASCII, or has control characters.
    NoText,
}

/// The only value of header `name`.
fn one<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, NotOne> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| NotOne::NoText),
        (Some(_), Some(_)) => Err(NotOne::Several),
    }
}

/// The host part of an authority, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// An address; IPv4-mapped IPv6 is stored as IPv4.
    Ip(IpAddr),
    /// A name in lower case, without the root's dot.
    Name(String),
}

/// Parses `host[:port]` (RFC 3986 section 3.2). User information and percent-encoding are refused; no browser sends
/// them.
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

/// Splits `host[:port]` at the port's colon, which is not inside the brackets of an IPv6 address. Without a port it is
/// empty.
pub(super) fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    }
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

/// An origin (RFC 6454), in a form that can be compared.
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

    /// Parses an origin; `None` for "null" and anything else.
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
        check(&uri.parse().unwrap(), &headers, &client(Scheme::Http, Via::Direct), area, &web(), &Cam)
            .map_err(|p| p.status.as_u16())
    }

    fn client(scheme: Scheme, via: Via) -> Client {
        Client { address: IpAddr::from([192, 0, 2, 1]), scheme, via }
    }

    /// The result for a request of the page at `origin`.
    fn says(client: &Client, host: &str, origin: &str) -> Result<Caller, String> {
        let mut headers = HeaderMap::new();
        headers.append(HOST, http::HeaderValue::from_bytes(host.as_bytes()).unwrap());
        headers.append(ORIGIN, origin.parse().unwrap());
        check(&"/".parse().unwrap(), &headers, client, Area::Own, &web(), &Cam).map_err(|p| p.detail.into())
    }

    #[test]
    fn a_trusted_proxy_may_drop_the_port() {
        let proxied = |scheme| client(scheme, Via::Proxy { prefix: None, hidden: false });
        for (scheme, host, origin) in [
            (Scheme::Https, "door", "https://door:8443"),
            (Scheme::Https, "cam.example.org", "https://cam.example.org"),
            (Scheme::Http, "door", "http://door:81"),
        ] {
            assert_eq!(says(&proxied(scheme), host, origin), Ok(Caller::Own), "{origin}");
        }
        for (client, host, origin, advice) in [
            (client(Scheme::Https, Via::Direct), "door", "https://door:8443", "$http_host"),
            (proxied(Scheme::Https), "door:8080", "https://door:8443", "$http_host"),
            (proxied(Scheme::Https), "door", "https://evil.example:8443", "may not use"),
            (proxied(Scheme::Https), "door", "http://door:8443", "may not use"),
            (client(Scheme::Http, Via::Direct), "door", "https://door:8443", "list the proxy"),
            (proxied(Scheme::Http), "door", "https://door", "make the proxy send X-Forwarded-Proto"),
        ] {
            let refused = says(&client, host, origin).unwrap_err();
            assert!(refused.contains(advice), "{origin}: {refused}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_host_is_told() {
        let direct = client(Scheme::Http, Via::Direct);
        let refused = |host| says(&direct, host, "http://door").unwrap_err();
        assert!(refused("kamera-tür.local").contains("not ASCII"));
        assert!(refused("door:port").contains("no valid Host"));
    }

    #[test]
    fn a_colon_inside_brackets_is_no_port() {
        for (authority, host, port) in [
            ("door", "door", ""),
            ("door:8443", "door", "8443"),
            ("door:", "door", ""),
            ("[2001:db8::5]", "[2001:db8::5]", ""),
            ("[2001:db8::5]:8443", "[2001:db8::5]", "8443"),
        ] {
            assert_eq!(split_port(authority), (host, port), "{authority}");
        }
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
