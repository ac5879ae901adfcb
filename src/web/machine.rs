//! The machine's own names and addresses, as they are at this moment.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use nix::net::if_::InterfaceFlags;
use tokio::sync::watch;

use super::guard::Machine;

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

/// The addresses at which others may reach this machine. Without those that can't be in a URL (IPv6 link-local needs a
/// scope), and without IPv6 addresses that the kernel makes for a day, for privacy, or is about to give up: nobody is
/// told those.
pub fn addresses() -> Vec<IpAddr> {
    let passing = passing(&std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default());
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return vec![] };
    let up = all.filter(|i| i.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING));
    let mut addresses: Vec<IpAddr> = vec![];
    for storage in up.filter_map(|i| i.address) {
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let usable = match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !passing.contains(&v6),
        };
        if usable && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Temporary, deprecated or tentative addresses of `/proc/net/if_inet6`: address, index, prefix, scope, flags, name.
fn passing(table: &str) -> Vec<Ipv6Addr> {
    // linux/if_addr.h: IFA_F_TEMPORARY, IFA_F_DEPRECATED, IFA_F_TENTATIVE.
    const PASSING: u8 = 0x01 | 0x20 | 0x40;
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u8::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & PASSING != 0).then(|| Ipv6Addr::from_bits(address))
    };
    table.lines().filter_map(line).collect()
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
    fn addresses_of_a_day_are_not_told() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     20010db8000000000000000000000005 02 40 00 00     eth0\n\
                     20010db8000000000000000000000006 02 40 00 01     eth0\n\
                     20010db8000000000000000000000007 02 40 00 a0     eth0\n\
                     nonsense\n";
        assert_eq!(passing(table), ["2001:db8::6", "2001:db8::7"].map(|a| a.parse::<Ipv6Addr>().unwrap()));
        assert!(addresses().iter().all(|a| !a.is_loopback() && UdpSocket::bind((*a, 0)).is_ok()));
    }
}
