//! This machine's own addresses, as the kernel lists them now.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use nix::net::if_::InterfaceFlags;

/// Flags of an address in `/proc/net/if_inet6` (`IFA_F_*` of linux/if_addr.h).
mod flag {
    pub(super) const TEMPORARY: u8 = 0x01;
    pub(super) const FAILED: u8 = 0x08;
    pub(super) const DEPRECATED: u8 = 0x20;
    pub(super) const TENTATIVE: u8 = 0x40;
}

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The interface, like "eth0".
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// The kernel's flags (`IFA_F_*`); 0 for IPv4.
    pub flags: u8,
}

/// The addresses of all interfaces that are up, including loopback, each once.
///
/// # Errors
/// If the kernel does not list them.
pub fn own() -> io::Result<Vec<OwnAddress>> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let flags = v6_flags(&table);
    let mut all: Vec<OwnAddress> = vec![];
    for found in nix::ifaddrs::getifaddrs()? {
        let Some(storage) = &found.address else { continue };
        let ip = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let interface = found.interface_name;
        let known = flags.iter().find(|(address, name, _)| *address == ip && *name == interface);
        let flags = known.map_or(0, |(.., flags)| *flags);
        let address = OwnAddress { interface, ip, flags };
        if found.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
            && !all.contains(&address)
        {
            all.push(address);
        }
    }
    Ok(all)
}

impl OwnAddress {
    /// Whether the address is usable and permanent. Temporary addresses (RFC 8981) last a day and are for outgoing
    /// connections.
    pub fn lasts(&self) -> bool {
        self.is_usable() && self.flags & flag::TEMPORARY == 0
    }

    /// Whether the address is usable: not tentative, not a duplicate of another machine's, and not deprecated.
    fn is_usable(&self) -> bool {
        self.flags & (flag::FAILED | flag::DEPRECATED | flag::TENTATIVE) == 0
    }
}

/// The addresses to publish: all permanent ones, and temporary ones whose interface has no permanent one in the same
/// network.
pub fn to_be_found(all: &[OwnAddress]) -> Vec<&OwnAddress> {
    let network = |ip: IpAddr| match ip {
        IpAddr::V6(ip) => Some(u128::from(ip) >> 64),
        IpAddr::V4(_) => None,
    };
    let lasting_beside = |a: &OwnAddress| {
        all.iter().any(|b| b.lasts() && b.interface == a.interface && network(b.ip) == network(a.ip))
    };
    let wanted = |a: &&OwnAddress| a.lasts() || a.is_usable() && !lasting_beside(a);
    all.iter().filter(wanted).collect()
}

/// Address, interface and flags of each line, such as
/// `fe800000000000000000000000000001 02 40 20 80     eth0`: address, index, prefix length, scope, flags, name.
fn v6_flags(table: &str) -> Vec<(Ipv6Addr, &str, u8)> {
    let line = |line: &'_ str| -> Option<(Ipv6Addr, usize, u8)> {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u8::from_str_radix(words.nth(3)?, 16).ok()?;
        let name = words.next()?;
        Some((Ipv6Addr::from(address), name.len(), flags))
    };
    table
        .lines()
        .map(str::trim_end)
        .filter_map(|l| line(l).map(|(address, name, flags)| (address, &l[l.len() - name..], flags)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_last_is_not_to_be_found() {
        let table = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000005 02 40 00 00     eth0
20010db80000000000000000000000aa 02 40 00 01     eth0
20010db80000000000000000000000bb 02 40 00 21     eth0
20010db80001000000000000000000aa 02 40 00 01     eth0
20010db80002000000000000000000aa 02 40 00 05     eth0
20010db80000000000000000000000cc 02 40 00 40     eth0
20010db80000000000000000000000dd 02 40 00 48     eth0
20010db80000000000000000000000aa 03 40 00 01    wlan0
fe800000000000000000000000000005 02 40 20 80     eth0
rubbish
";
        let flags = v6_flags(table);
        assert_eq!(flags.len(), 10);
        let v6 = flags.iter().map(|(ip, name, flags)| OwnAddress {
            interface: (*name).into(),
            ip: (*ip).into(),
            flags: *flags,
        });
        let v4 =
            OwnAddress { interface: "eth0".into(), ip: "192.0.2.1".parse().expect("an address"), flags: 0 };
        let all: Vec<_> = [v4].into_iter().chain(v6).collect();
        let shown = |a: &OwnAddress| format!("{} {}", a.interface, a.ip);
        let found: Vec<_> = to_be_found(&all).into_iter().map(shown).collect();
        let lasting = ["eth0 192.0.2.1", "lo ::1", "eth0 2001:db8::5"];
        let alone = ["eth0 2001:db8:1::aa", "eth0 2001:db8:2::aa", "wlan0 2001:db8::aa"];
        assert_eq!(found, [&lasting[..], &alone, &["eth0 fe80::5"]].concat());
        let lasts: Vec<_> = all.iter().filter(|a| a.lasts()).map(shown).collect();
        assert_eq!(lasts, [&lasting[..], &["eth0 fe80::5"]].concat());
    }

    #[test]
    fn this_machine_has_loopback() {
        assert!(own().expect("listed").iter().any(|a| a.ip == IpAddr::from([127, 0, 0, 1])));
    }
}
