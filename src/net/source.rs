//! The source of a connection: the type that all limits by origin use.
//!
//! An IPv4 address belongs to at most one customer or household. In IPv6 a customer has at least a /64 with any number
//! of addresses, so such a network counts as one source. On this machine's own links that would be wrong: there the /64
//! is the whole home, and one misbehaving neighbour would use up the limits of all. So neighbours count by address.

use std::net::{IpAddr, Ipv6Addr};

use tokio::sync::watch;

use super::Addresses;

/// The source that a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One address: IPv4, a neighbour's, or this machine's own.
    Host(IpAddr),
    /// All IPv6 addresses with these first 64 bits (the others are zero).
    Network(Ipv6Addr),
    /// A trusted proxy, which has many clients.
    Proxy(IpAddr),
}

impl Source {
    /// The source of `address`, on a machine with the addresses `ours`.
    pub fn of(address: IpAddr, ours: &[(String, IpAddr)]) -> Self {
        let IpAddr::V6(v6) = address.to_canonical() else { return Self::Host(address.to_canonical()) };
        let same = |own: &IpAddr| matches!(own, IpAddr::V6(own) if network(*own) == network(v6));
        let neighbour =
            v6.is_unicast_link_local() || v6.is_loopback() || ours.iter().any(|(_, own)| same(own));
        if neighbour { Self::Host(v6.into()) } else { Self::Network(network(v6)) }
    }

    /// Whether the source is this machine itself.
    pub fn is_loopback(self) -> bool {
        matches!(self, Self::Host(address) if address.is_loopback())
    }

    /// Whether the source is a trusted proxy.
    pub fn is_proxy(self) -> bool {
        matches!(self, Self::Proxy(_))
    }
}

fn network(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(address) => write!(f, "{address}"),
            Self::Network(network) => write!(f, "{network}/64"),
            Self::Proxy(address) => write!(f, "the proxy {address}"),
        }
    }
}

/// The links of this machine, kept up to date; copies are cheap.
#[derive(Clone, Debug)]
pub struct Links(watch::Receiver<Addresses>);

impl Links {
    /// The links given by this machine's addresses.
    pub fn new(addresses: watch::Receiver<Addresses>) -> Self {
        Self(addresses)
    }

    /// The current source of a connection from `address`.
    pub fn source(&self, address: IpAddr) -> Source {
        Source::of(address, &self.0.borrow())
    }

    /// Whether `address` is near, so that the path to it is probably fast: on a link of this machine, or a private one.
    pub fn is_near(&self, address: IpAddr) -> bool {
        match self.source(address) {
            Source::Host(IpAddr::V4(v4)) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
            Source::Host(IpAddr::V6(_)) => true, // only neighbours count by address
            Source::Network(network) => network.is_unique_local(),
            Source::Proxy(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn ours() -> Addresses {
        ["192.0.2.2", "2001:db8:0:5::2", "fe80::2", "::1", "127.0.0.1"].map(|a| ("eth0".into(), ip(a))).into()
    }

    #[test]
    fn ipv4_by_address_ipv6_by_network_and_neighbours_by_address() {
        let same = |a, b| Source::of(ip(a), &ours()) == Source::of(ip(b), &ours());
        for (a, b, expected) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("198.51.100.7", "198.51.100.8", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("2001:db8:0:1::7", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::7", "2001:db8:0:2::7", false),
            ("2001:db8:0:5::7", "2001:db8:0:5::8", false),
            ("2001:db8:0:5::7", "2001:db8:0:5::7", true),
            ("fe80::7", "fe80::8", false),
            ("::1", "::1", true),
        ] {
            assert_eq!(same(a, b), expected, "{a} {b}");
        }
        assert!(Source::of(ip("::1"), &ours()).is_loopback());
        assert!(Source::of(ip("::ffff:127.0.0.9"), &[]).is_loopback());
        let shown = ["192.0.2.7", "2001:db8:0:1::7", "2001:db8:0:5::7"]
            .map(|a| Source::of(ip(a), &ours()).to_string());
        assert_eq!(shown, ["192.0.2.7", "2001:db8:0:1::/64", "2001:db8:0:5::7"]);
    }

    #[test]
    fn links_follow_this_machines_addresses() {
        let (change, addresses) = watch::channel(vec![]);
        let links = Links::new(addresses);
        let at_home = ip("2001:db8:0:5::7");
        assert!(matches!(links.source(at_home), Source::Network(_)));
        change.send_replace(ours());
        assert_eq!(links.clone().source(at_home), Source::Host(at_home));
        for (address, near) in [
            ("192.168.7.1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.7", false),
            ("2001:db8:0:5::7", true),
            ("2001:db8:0:6::7", false),
            ("fd00::7", true),
            ("fe80::7", true),
        ] {
            assert_eq!(links.is_near(ip(address)), near, "{address}");
        }
        drop(change);
        assert_eq!(links.source(at_home), Source::Host(at_home), "the last known addresses are used");
    }
}
