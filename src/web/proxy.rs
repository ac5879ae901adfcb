//! Reads what a reverse proxy reports about its client. Pure logic.
//!
//! Any client can send these headers. So they count only in requests from `web.trusted_proxies`. Only the headers that
//! the proxies write (`web.proxy_header`) are read, because proxies pass others on unchanged. Of a list of addresses,
//! only those that trusted proxies have added count: from the end backwards, up to the first that is not itself a
//! trusted proxy.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::config::{self, Network, ProxyHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Longest path prefix that is accepted, bytes.
const LONGEST_PREFIX: usize = 256;

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Not encrypted, as far as known.
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    /// The name in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Parses a scheme. Some proxies (Traefik) write WebSocket schemes for requests that open a WebSocket.
    fn parse(text: &str) -> Option<Self> {
        let is = |names: [&str; 2]| names.iter().any(|n| text.eq_ignore_ascii_case(n));
        match () {
            () if is(["http", "ws"]) => Some(Self::Http),
            () if is(["https", "wss"]) => Some(Self::Https),
            () => None,
        }
    }
}

/// The path of a request to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Directly from its client, as far as known.
    Direct,
    /// Through a trusted proxy.
    Proxy {
        /// The path under which the proxy serves the device, such as `/cam`; empty for none; `None` if not reported.
        prefix: Option<String>,
        /// Whether the proxy reports a client without its address.
        hidden: bool,
    },
}

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address, or that of its proxy if the proxy does not report it.
    pub address: IpAddr,
    /// The scheme between the client and the outermost trusted proxy, or this device.
    pub scheme: Scheme,
    /// Whether there is a trusted proxy.
    pub via: Via,
}

/// Whether `address` is one of the proxies.
pub fn trusts(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|n| n.contains(address))
}

/// The sender of a request that came from `remote` with `scheme`.
pub fn client(headers: &HeaderMap, web: &config::Web, remote: IpAddr, scheme: Scheme) -> Client {
    let mut client = Client { address: remote, scheme, via: Via::Direct };
    if !trusts(&web.trusted_proxies, remote) {
        return client;
    }
    let prefix = match web.proxy_header {
        ProxyHeader::XForwarded => prefix(headers),
        ProxyHeader::Forwarded => None, // RFC 7239 has no parameter for it
    };
    let hops = hops(headers, web.proxy_header);
    let hidden = hops.last().is_some_and(|(address, _)| address.is_none());
    client.via = Via::Proxy { prefix, hidden };
    for (address, proto) in hops.into_iter().rev() {
        client.scheme = proto.unwrap_or(client.scheme);
        // An entry that is not an address ("unknown", an obfuscated name) hides those before it.
        let Some(address) = address else { break };
        client.address = address;
        if !trusts(&web.trusted_proxies, address) {
            break;
        }
    }
    client
}

type Hop = (Option<IpAddr>, Option<Scheme>);

/// The hops of a request: the client first, then the proxies.
fn hops(headers: &HeaderMap, written: ProxyHeader) -> Vec<Hop> {
    if written == ProxyHeader::Forwarded {
        // A comma inside quotes splits an element, too: a client that sends `for="x` must not hide what a proxy adds
        // after it.
        return list(headers, &FORWARDED).iter().map(|f| element(f)).collect();
    }
    let addresses = list(headers, &X_FORWARDED_FOR);
    let schemes = list(headers, &X_FORWARDED_PROTO);
    // Proxies append to the list of addresses, but most write only one scheme: the client's. If the lists have
    // different lengths, only the last scheme is certainly from a proxy.
    let one_each = schemes.len() == addresses.len();
    let last = schemes.last().and_then(|s| Scheme::parse(s));
    if addresses.is_empty() {
        return last.map(|s| vec![(None, Some(s))]).unwrap_or_default();
    }
    let scheme = |i: usize| if one_each { schemes.get(i).and_then(|s| Scheme::parse(s)) } else { last };
    addresses.iter().enumerate().map(|(i, a)| (node(a), scheme(i))).collect()
}

/// The elements of all lines of a header. Invalid bytes don't hide the rest of their line, which a proxy may have
/// added.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    lines.flat_map(|line| line.split(',').map(|e| e.trim().to_owned()).collect::<Vec<_>>()).collect()
}

/// The path under which the proxy serves the device, if it can be put in front of a path. A prefix that begins with two
/// slashes would lead to a different host.
fn prefix(headers: &HeaderMap) -> Option<String> {
    let told = list(headers, &X_FORWARDED_PREFIX);
    let [told] = told.as_slice() else { return None };
    let prefix = told.trim_end_matches('/');
    let segment = |s: &str| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:@%".contains(&b);
        !matches!(s, "" | "." | "..") && s.bytes().all(fine)
    };
    let below = prefix.strip_prefix('/');
    let fine = match below {
        None => told == "/",
        Some(path) => prefix.len() <= LONGEST_PREFIX && path.split('/').all(segment),
    };
    fine.then(|| prefix.to_owned())
}

/// Parses one element of `Forwarded`.
fn element(text: &str) -> Hop {
    let mut hop = (None, None);
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.0 = node(value),
            "proto" => hop.1 = Scheme::parse(value),
            _ => (),
        }
    }
    hop
}

/// Parses an address, with or without port and brackets.
fn node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // One colon separates a port from IPv4; IPv6 has more.
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    address.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(proxy_header: ProxyHeader) -> config::Web {
        let trusted_proxies = ["127.0.0.1", "10.0.0.0/8", "::1"].map(|n| Network::parse(n).unwrap()).into();
        config::Web { trusted_proxies, proxy_header, ..Default::default() }
    }

    fn asked(written: ProxyHeader, remote: &str, lines: &[(&'static str, &[u8])]) -> Client {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        client(&headers, &web(written), remote.parse().unwrap(), Scheme::Http)
    }

    fn ask(written: ProxyHeader, remote: &str, lines: &[(&'static str, &str)]) -> (String, Scheme) {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let Client { address, scheme, .. } = asked(written, remote, &lines);
        (address.to_string(), scheme)
    }

    use ProxyHeader::{Forwarded, XForwarded};
    use Scheme::{Http, Https};

    const BOTH: [(&str, &str); 3] =
        [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.2")];

    #[test]
    fn strangers_are_not_believed() {
        for written in [XForwarded, Forwarded] {
            assert_eq!(ask(written, "203.0.113.9", &BOTH), ("203.0.113.9".into(), Http));
        }
    }

    #[test]
    fn only_the_header_that_the_proxy_writes_is_read() {
        assert_eq!(ask(XForwarded, "127.0.0.1", &BOTH), ("192.0.2.1".into(), Https));
        assert_eq!(ask(Forwarded, "127.0.0.1", &BOTH), ("192.0.2.2".into(), Http));
        // Even if the proxy's own header is missing: the others are the client's.
        assert_eq!(ask(XForwarded, "127.0.0.1", &BOTH[2..]), ("127.0.0.1".into(), Http));
        assert_eq!(ask(Forwarded, "127.0.0.1", &BOTH[..2]), ("127.0.0.1".into(), Http));
    }

    #[test]
    fn only_what_a_trusted_proxy_added_counts() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("10.1.1.1, 192.0.2.1", "192.0.2.1"), // made up by the client
            ("192.0.2.1, 10.0.0.7", "192.0.2.1"), // through two proxies
            ("10.9.9.9, 192.0.2.1, 10.0.0.7", "192.0.2.1"), // both
            ("10.0.0.9, 10.0.0.7", "10.0.0.9"),   // a client in the proxies' own network
            ("192.0.2.1, unknown", "127.0.0.1"),
            ("garbage", "127.0.0.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(ask(XForwarded, "127.0.0.1", &[("x-forwarded-for", list)]).0, client, "{list}");
        }
        let twice = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
        assert_eq!(ask(XForwarded, "::1", &twice).0, "192.0.2.2");
    }

    /// A client's header must not hide what the proxy adds to it.
    #[test]
    fn a_client_cannot_hide_behind_what_is_malformed() {
        for begin in [&b"\xff\xfe"[..], b"\"", b"for=\"x", b";", b",,,", b"\xc3\xb6, \""] {
            let line = |end: &[u8]| [begin, b", ", end].concat();
            let x = line(b"192.0.2.1");
            let seen = asked(XForwarded, "127.0.0.1", &[("x-forwarded-for", &x)]);
            assert_eq!(seen.address.to_string(), "192.0.2.1", "{begin:?}");
            let forwarded = line(b"for=192.0.2.1;proto=https");
            let seen = asked(Forwarded, "127.0.0.1", &[("forwarded", &forwarded)]);
            assert_eq!((seen.address.to_string(), seen.scheme), ("192.0.2.1".into(), Https), "{begin:?}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_client() {
        for (lines, scheme) in [
            (&[("x-forwarded-proto", "https")][..], Https),
            (&[("x-forwarded-proto", "HTTPS"), ("x-forwarded-for", "192.0.2.1")], Https),
            (&[("x-forwarded-proto", "wss"), ("x-forwarded-for", "192.0.2.1")], Https),
            (&[("x-forwarded-proto", "ws"), ("x-forwarded-for", "192.0.2.1")], Http),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1, 10.0.0.7")], Https),
            (&[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "192.0.2.1, 10.0.0.7")], Https),
            (&[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "10.0.0.7, 192.0.2.1")], Http),
            (&[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "192.0.2.1")], Http),
            (&[("x-forwarded-proto", "gopher")], Http),
            (&[], Http),
        ] {
            assert_eq!(ask(XForwarded, "127.0.0.1", lines).1, scheme, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_understood() {
        for (value, client, scheme) in [
            ("for=192.0.2.43", "192.0.2.43", Http),
            ("For=\"[2001:db8:cafe::17]:4711\";Proto=https;by=203.0.113.43", "2001:db8:cafe::17", Https),
            ("for=192.0.2.43, for=10.1.2.3;proto=https", "192.0.2.43", Https),
            ("for=192.0.2.43;proto=wss", "192.0.2.43", Https),
            ("for=_hidden;proto=https", "127.0.0.1", Https),
            ("nonsense", "127.0.0.1", Http),
        ] {
            let seen = ask(Forwarded, "127.0.0.1", &[("forwarded", value)]);
            assert_eq!(seen, (client.into(), scheme), "{value}");
        }
    }

    #[test]
    fn a_prefix_leads_to_no_other_host() {
        let told = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|v| ("x-forwarded-prefix", v.as_bytes())).collect();
            match asked(XForwarded, "127.0.0.1", &lines).via {
                Via::Proxy { prefix, .. } => prefix,
                Via::Direct => panic!("through a proxy"),
            }
        };
        for (value, prefix) in [("/cam", "/cam"), ("/cam/", "/cam"), ("/a/b%20c", "/a/b%20c"), ("/", "")] {
            assert_eq!(told(&[value]).as_deref(), Some(prefix), "{value}");
        }
        let long = format!("/{}", "x".repeat(LONGEST_PREFIX));
        for bad in ["", "cam", "//evil.example", "/cam//x", "/../x", "/a?b", "/a#b", "/a\\b", "/a, /b", &long]
        {
            assert_eq!(told(&[bad]), None, "{bad}");
        }
        assert_eq!((told(&[]), told(&["/a", "/b"])), (None, None));
        let lines = [("x-forwarded-prefix", &b"/cam"[..])];
        assert_eq!(asked(XForwarded, "203.0.113.9", &lines).via, Via::Direct);
        assert_eq!(asked(Forwarded, "127.0.0.1", &lines).via, Via::Proxy { prefix: None, hidden: false });
    }

    #[test]
    fn a_client_is_hidden_only_by_a_proxy_that_says_that_there_is_one() {
        let hidden = |lines: &[(&'static str, &[u8])]| {
            matches!(asked(XForwarded, "127.0.0.1", lines).via, Via::Proxy { hidden: true, .. })
        };
        // Without a header it may be a browser on the proxy's machine.
        assert!(!hidden(&[]) && !hidden(&[("forwarded", b"for=unknown")]));
        assert!(!hidden(&[("x-forwarded-for", b"127.0.0.1")]));
        assert!(hidden(&[("x-forwarded-for", b"unknown")]) && hidden(&[("x-forwarded-proto", b"http")]));
    }
}
