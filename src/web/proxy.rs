//! What a reverse proxy says of the client behind it. Pure logic.
//!
//! Anybody can write these headers, so they count only from `web.trusted_proxies`, and of a list of addresses only what
//! a trusted proxy has added to it: from its end backwards, the first that is no trusted proxy itself. If a proxy sends
//! both kinds, `Forwarded` (RFC 7239) counts, but only where it says something.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::FORWARDED;

use crate::config::Network;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear, all the way or as far as we know.
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|s| text.eq_ignore_ascii_case(s.as_str()))
    }
}

/// Whether `address` is one of the proxies.
pub fn trusts(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|n| n.contains(address))
}

/// The client's address and scheme, of a request that came from `remote` by `scheme`.
pub fn client(headers: &HeaderMap, proxies: &[Network], remote: IpAddr, scheme: Scheme) -> (IpAddr, Scheme) {
    if !trusts(proxies, remote) {
        return (remote, scheme);
    }
    let hops = hops(headers);
    let mut client = (remote, scheme);
    for (address, proto) in hops.into_iter().rev() {
        client.1 = proto.unwrap_or(client.1);
        // What is no address ("unknown", a secret name) hides whatever was before it.
        let Some(address) = address else { break };
        client.0 = address;
        if !trusts(proxies, address) {
            break;
        }
    }
    client
}

type Hop = (Option<IpAddr>, Option<Scheme>);

/// Client first, then proxy by proxy.
fn hops(headers: &HeaderMap) -> Vec<Hop> {
    let list = |name: &http::HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).map(|v| v.trim().to_owned()).collect()
    };
    let forwarded = list(&FORWARDED);
    if !forwarded.is_empty() {
        return forwarded.iter().map(|f| element(f)).collect();
    }
    let addresses = list(&http::HeaderName::from_static("x-forwarded-for"));
    let schemes = list(&http::HeaderName::from_static("x-forwarded-proto"));
    // Proxies add to the list of addresses, but most write only one scheme: that by which the client came.
    let first = schemes.first().and_then(|s| Scheme::parse(s));
    if addresses.is_empty() {
        return first.map(|s| vec![(None, Some(s))]).unwrap_or_default();
    }
    let one_each = schemes.len() == addresses.len();
    let scheme = |i: usize| if one_each { schemes.get(i).and_then(|s| Scheme::parse(s)) } else { first };
    addresses.iter().enumerate().map(|(i, a)| (node(a), scheme(i))).collect()
}

/// One element of `Forwarded`.
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

/// An address, with or without port and brackets.
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

    fn ask(remote: &str, lines: &[(&'static str, &str)]) -> (String, Scheme) {
        let proxies: Vec<_> = ["127.0.0.1", "10.0.0.0/8", "::1"].map(|n| Network::parse(n).unwrap()).into();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let (address, scheme) = client(&headers, &proxies, remote.parse().unwrap(), Scheme::Http);
        (address.to_string(), scheme)
    }

    #[test]
    fn strangers_are_not_believed() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.1;proto=https"),
        ];
        assert_eq!(ask("203.0.113.9", &lines), ("203.0.113.9".into(), Scheme::Http));
        assert_eq!(ask("127.0.0.1", &lines), ("192.0.2.1".into(), Scheme::Https));
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
            assert_eq!(ask("127.0.0.1", &[("x-forwarded-for", list)]).0, client, "{list}");
        }
        let twice = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
        assert_eq!(ask("::1", &twice).0, "192.0.2.2");
    }

    #[test]
    fn the_scheme_is_that_of_the_client() {
        for (lines, scheme) in [
            (&[("x-forwarded-proto", "https")][..], Scheme::Https),
            (&[("x-forwarded-proto", "HTTPS"), ("x-forwarded-for", "192.0.2.1")], Scheme::Https),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1, 10.0.0.7")], Scheme::Https),
            (
                &[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "192.0.2.1, 10.0.0.7")],
                Scheme::Https,
            ),
            (
                &[("x-forwarded-proto", "https, http"), ("x-forwarded-for", "10.0.0.7, 192.0.2.1")],
                Scheme::Http,
            ),
            (&[("x-forwarded-proto", "gopher")], Scheme::Http),
            (&[], Scheme::Http),
        ] {
            assert_eq!(ask("127.0.0.1", lines).1, scheme, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_understood() {
        for (value, client, scheme) in [
            ("for=192.0.2.43", "192.0.2.43", Scheme::Http),
            (
                "For=\"[2001:db8:cafe::17]:4711\";Proto=https;by=203.0.113.43",
                "2001:db8:cafe::17",
                Scheme::Https,
            ),
            ("for=192.0.2.43, for=10.1.2.3;proto=https", "192.0.2.43", Scheme::Https),
            ("for=_hidden;proto=https", "127.0.0.1", Scheme::Https),
            ("nonsense", "127.0.0.1", Scheme::Http),
        ] {
            assert_eq!(ask("127.0.0.1", &[("forwarded", value)]), (client.into(), scheme), "{value}");
        }
    }
}
