//! The machine's own names and addresses, as they are at this moment.

use std::net::{IpAddr, UdpSocket};

use tokio::sync::watch;

use super::guard::Machine;
use crate::net::addresses::own;

/// This machine, as seen from one connection.
pub struct Here {
    /// The address at which the connection came in.
    pub local: IpAddr,
    /// The name that is announced by mDNS.
    pub announced: watch::Receiver<Option<String>>,
}

impl Machine for Here {
    /// The connection's own address nearly always, which costs nothing and is never out of date. Another one of
    /// ours when something on this machine forwards to us: whether it is ours the kernel tells by letting us
    /// bind it, so there is no list to keep as interfaces come and go.
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

/// The host's name, if it has one.
pub fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|n| !n.is_empty())
}

/// The addresses that are worth telling people and putting into certificates: they last, and can be in a URL (IPv6 link-local
/// ones need a scope).
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
            ("192.0.2.9", true), // the connection's
            ("127.0.0.1", true),
            ("192.0.2.8", false), // TEST-NET, nobody's
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
