//! The machine's current names and addresses.

use std::net::{IpAddr, UdpSocket};

use tokio::sync::watch;

use super::guard::Machine;
use crate::net::addresses::own;

/// This machine, seen from one connection.
pub struct Here {
    /// The local address of the connection.
    pub local: IpAddr,
    /// The name announced by mDNS.
    pub announced: watch::Receiver<Option<String>>,
}

impl Machine for Here {
    /// Nearly always this is the connection's own address, which is known and up to date. It differs if a program on
    /// this machine forwards requests: then the kernel tells whether the address is local by allowing to bind it, so
    /// there is no list to keep up to date.
    fn owns(&self, address: IpAddr) -> bool {
        let one_host = match address {
            IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
        };
        one_host && (address == self.local.to_canonical() || UdpSocket::bind((address, 0)).is_ok())
    }

    fn hostname(&self) -> Option<String> {
        hostname()
    }

    fn announced(&self) -> Option<String> {
        self.announced.borrow().clone()
    }
}

/// The host name, if there is one.
pub fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|n| !n.is_empty())
}

/// The addresses for people and certificates: permanent ones that work in a URL (IPv6 link-local ones would need a
/// scope).
pub fn addresses() -> Vec<IpAddr> {
    let in_url = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let lasting = own().unwrap_or_default().into_iter().filter(|a| a.lasts()).map(|a| a.ip);
    let mut addresses: Vec<_> = vec![];
    for ip in lasting.filter(in_url) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_addresses_are_ours() {
        let (_, announced) = watch::channel(None);
        let here = Here { local: "::ffff:192.0.2.9".parse().unwrap(), announced };
        for (address, ours) in [
            ("192.0.2.9", true), // the connection's address
            ("127.0.0.1", true),
            ("192.0.2.8", false), // TEST-NET, which no machine has
            ("2001:db8::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(here.owns(address.parse().unwrap()), ours, "{address}");
        }
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(hostname().is_some());
    }

    #[test]
    fn addresses_can_be_bound_and_are_not_loopback() {
        assert!(addresses().iter().all(|a| !a.is_loopback() && UdpSocket::bind((*a, 0)).is_ok()));
    }
}
