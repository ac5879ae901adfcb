//! Checks addresses and routes.

use std::fs;
use std::net::IpAddr;

use super::Finding;
use crate::net::addresses::{OwnAddress, own};

/// Checks addresses and routes.
pub fn look() -> Vec<Finding> {
    let addresses = match own() {
        Ok(all) => all,
        Err(e) => {
            return vec![Finding::warn("addresses", format!("can't be listed: {e}"), "see `ip address`")];
        }
    };
    let v4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    vec![judge(&addresses), route(default_v4(&v4), default_v6(&v6))]
}

fn judge(addresses: &[OwnAddress]) -> Finding {
    let reachable = |a: &&OwnAddress| match a.ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let list: Vec<_> =
        addresses.iter().filter(reachable).map(|a| format!("{} {}", a.interface, a.ip)).collect();
    if list.is_empty() {
        return Finding::bad(
            "addresses",
            "no interface that is up has an address: only this machine itself can watch",
            "connect the cable or join the Wi-Fi; `ip address` shows all addresses",
        );
    }
    Finding::ok("addresses", list.join(", "))
}

fn route(v4: bool, v6: bool) -> Finding {
    let ways: Vec<_> = [(v4, "IPv4"), (v6, "IPv6")].iter().filter(|w| w.0).map(|w| w.1).collect();
    if ways.is_empty() {
        return Finding::warn(
            "default route",
            "there is no default route: only viewers in this network can connect",
            "if others should connect, give the device a gateway (usually by DHCP)",
        );
    }
    Finding::ok("default route", format!("over {}", ways.join(" and ")))
}

/// Whether `/proc/net/route` (proc(5)) has a default route: destination and mask are zero.
fn default_v4(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.len() > 7 && fields[1] == "00000000" && fields[7] == "00000000"
    })
}

/// Whether `/proc/net/ipv6_route` has a default route: prefix length zero, on a real interface, and not an
/// "unreachable" route (RTF_REJECT).
fn default_v6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let flags = fields.get(8).and_then(|f| u32::from_str_radix(f, 16).ok()).unwrap_or(0x200);
        fields.len() > 9 && fields[1] == "00" && flags & 0x200 == 0 && fields[9] != "lo"
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn address(interface: &str, ip: &str) -> OwnAddress {
        OwnAddress { interface: interface.into(), ip: ip.parse().unwrap(), flags: 0 }
    }

    #[test]
    fn addresses_that_others_can_reach_count() {
        let alone = [address("lo", "127.0.0.1"), address("lo", "::1"), address("eth0", "fe80::1")];
        assert_eq!(judge(&alone).level, Level::Bad);
        let fine = judge(&[address("lo", "127.0.0.1"), address("eth0", "192.168.1.5")]);
        assert_eq!((fine.level, fine.says.as_str()), (Level::Ok, "eth0 192.168.1.5"));
    }

    #[test]
    fn the_kernels_routes_are_understood() {
        const V4: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                          eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert!(!default_v4(V4) && !default_v4(""));
        assert!(default_v4(&format!("{V4}eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")));
        let zero = "0".repeat(32);
        let line = |flags: &str, interface: &str| {
            format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 {flags} {interface}\n")
        };
        assert!(default_v6(&line("00000003", "eth0")));
        assert!(!default_v6(&line("00200200", "lo")) && !default_v6("nonsense\n"));
        assert_eq!(route(false, false).level, Level::Warn);
        assert_eq!(route(true, true).says, "over IPv4 and IPv6");
        assert_eq!(look().len(), 2);
    }
}
