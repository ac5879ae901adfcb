//! Our ICE candidates (RFC 8839 section 5.1, RFC 6544 for TCP): the addresses that a viewer is offered, in
//! order of preference.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Addresses;
use crate::config;

/// Most addresses that a viewer is offered: each is another path for a browser to try, two with TCP.
pub(super) const MOST: usize = 8;

/// Names of bridges and links into containers and virtual machines. Nobody watches from there, and a host
/// with many containers has dozens. `interfaces` can include them again.
const CONTAINERS: [&str; 8] = ["docker*", "br-*", "veth*", "virbr*", "cni*", "flannel*", "podman*", "lxc*"];

/// Type preferences (RFC 8445 section 5.1.2.2, RFC 6544 section 4.2): direct paths first, UDP before TCP.
const HOST: u32 = 126;
const REFLEXIVE: u32 = 100;
const HOST_TCP: u32 = 90;
const REFLEXIVE_TCP: u32 = 80;
/// The direction preference of passive TCP, in the upper bits of the local preference (RFC 6544 section 4.2).
const PASSIVE: u32 = 4 << 13;

/// Selects interfaces.
pub(super) struct Filter {
    only: Vec<String>,
    never: Vec<String>,
}

impl Filter {
    /// The filter configured in `[ice]`.
    pub(super) fn of(ice: &config::Ice) -> Self {
        Self::new(&ice.interfaces, &ice.exclude_interfaces)
    }

    /// A filter for the interfaces in `only`, or all useful ones if it is empty, without those in `never`.
    pub(super) fn new(only: &[String], never: &[String]) -> Self {
        Self { only: only.to_vec(), never: never.to_vec() }
    }

    fn takes(&self, interface: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| matches(p, interface));
        let wanted = if self.only.is_empty() {
            !CONTAINERS.iter().any(|p| matches(p, interface))
        } else {
            any(&self.only)
        };
        wanted && !any(&self.never)
    }

    /// The addresses by which others may reach us, without duplicates, each with an interface that has it.
    pub(super) fn useful(&self, addresses: &Addresses) -> Addresses {
        let mut known = HashSet::new();
        let useful = |(interface, ip): &&(String, IpAddr)| {
            reachable(*ip) && self.takes(interface) && known.insert(*ip)
        };
        addresses.iter().filter(useful).cloned().collect()
    }

    /// The addresses for a viewer that came from `from` to our address `to`, best first: `to` itself, one of
    /// each interface, preferably of the viewer's family, then others up to [`MOST`]. Loopback addresses are
    /// for a browser on this machine, and for a machine without other addresses.
    pub(super) fn choose(&self, addresses: &Addresses, from: IpAddr, to: Option<IpAddr>) -> Vec<IpAddr> {
        let useful = self.useful(addresses);
        let (from, to) = (from.to_canonical(), to.map(|ip| ip.to_canonical()));
        let (mut interfaces, mut chosen) = (vec![], vec![]);
        if let Some((interface, ip)) = useful.iter().find(|(_, ip)| Some(*ip) == to) {
            interfaces.push(interface);
            chosen.push(*ip);
        }
        for (interface, first) in &useful {
            if chosen.len() < MOST && !interfaces.contains(&interface) {
                let mut its = useful.iter().filter(|(i, _)| i == interface);
                let alike = its.find(|(_, ip)| ip.is_ipv4() == from.is_ipv4());
                interfaces.push(interface);
                chosen.push(alike.map_or(*first, |(_, ip)| *ip));
            }
        }
        for (_, ip) in &useful {
            if chosen.len() < MOST && !chosen.contains(ip) {
                chosen.push(*ip);
            }
        }
        if from.is_loopback() || chosen.is_empty() {
            let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let local = local.into_iter().filter(|l| addresses.iter().any(|(_, ip)| ip == l));
            chosen.splice(0..0, local);
        }
        chosen
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

/// Link-local addresses need a scope, which candidates can't express (RFC 8445 section 5.1.1.1).
fn reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => {
            !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified() && !is_site_local(ip)
        }
    }
}

/// fec0::/10, deprecated by RFC 3879 and excluded by RFC 8445 section 5.1.1.1.
fn is_site_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfec0
}

/// The parameters of a viewer's candidates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidates {
    /// This machine's addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether the port accepts IPv4.
    pub v4: bool,
    /// Whether the port accepts IPv6.
    pub v6: bool,
    /// Port number.
    pub port: u16,
    /// Whether the port accepts TCP.
    pub tcp: bool,
    /// Addresses outside a NAT that forwards to us.
    pub public: Vec<config::Public>,
}

impl Candidates {
    /// The candidates as in SDP, without `a=`.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![];
        let hosts =
            self.addresses.iter().filter(|ip| self.has(**ip)).map(|ip| SocketAddr::new(*ip, self.port));
        let public = self.public.iter().filter(|p| self.has(p.ip));
        let public: Vec<_> = public.map(|p| SocketAddr::new(p.ip, p.port.unwrap_or(self.port))).collect();
        for (n, address) in hosts.enumerate() {
            lines.push(line(HOST, n, address, "host", false));
            if self.tcp {
                lines.push(line(HOST_TCP, n, address, "host", true));
            }
        }
        for (n, address) in public.iter().enumerate() {
            lines.push(line(REFLEXIVE, n, *address, "srflx", false));
            if self.tcp {
                lines.push(line(REFLEXIVE_TCP, n, *address, "srflx", true));
            }
        }
        lines
    }

    /// Candidates for the addresses reported by STUN servers, except for those already listed: there is no
    /// NAT then.
    pub(super) fn reflexive(&self, mapped: &[SocketAddr]) -> Vec<String> {
        let known = |a: &SocketAddr| {
            self.addresses.contains(&a.ip())
                || self.public.iter().any(|p| p.ip == a.ip() && p.port.unwrap_or(self.port) == a.port())
        };
        let new = mapped.iter().filter(|a| !known(a)).take(MOST).enumerate();
        new.map(|(n, address)| line(REFLEXIVE, self.public.len() + n, *address, "srflx", false)).collect()
    }

    fn has(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// A candidate. Each has a foundation of its own, so ICE checks them independently.
fn line(preference: u32, n: usize, address: SocketAddr, kind: &str, tcp: bool) -> String {
    let n = u32::try_from(n).unwrap_or(0).min(0x1fff);
    let local = if tcp { PASSIVE + 0x1fff - n } else { 0xffff - n };
    let priority = (preference << 24) + (local << 8) + 255; // 256 - component 1
    let (ip, port) = (address.ip(), address.port());
    // The address behind the NAT is not disclosed (RFC 8839 section 5.1).
    let base = match (kind, ip) {
        ("host", _) => "",
        (_, IpAddr::V4(_)) => " raddr 0.0.0.0 rport 9",
        (_, IpAddr::V6(_)) => " raddr :: rport 9",
    };
    let (transport, tcp_type) = if tcp { ("tcp", " tcptype passive") } else { ("udp", "") };
    format!("candidate:{preference}{n} 1 {transport} {priority} {ip} {port} typ {kind}{base}{tcp_type}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().expect("an address")
    }

    fn machine() -> Addresses {
        [
            ("lo", "127.0.0.1"),
            ("lo", "127.0.1.1"),
            ("lo", "::1"),
            ("eth0", "192.168.1.5"),
            ("eth0", "2001:db8::5"),
            ("eth0", "fe80::5"),
            ("usb0", "169.254.3.4"),
            ("docker0", "172.17.0.1"),
            ("vethabc", "172.17.0.2"),
            ("tap0", "10.77.0.1"),
            ("eth0", "192.168.1.5"),
        ]
        .map(|(interface, address)| (interface.into(), ip(address)))
        .to_vec()
    }

    fn chosen(only: &[&str], never: &[&str], from: &str) -> Vec<String> {
        let owned = |patterns: &[&str]| patterns.iter().map(|p| p.to_string()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(only), &owned(never));
        filter.choose(&machine(), ip(from), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_useful_address_and_loopback_for_a_browser_on_this_machine() {
        assert_eq!(chosen(&[], &[], "192.168.1.9"), ["192.168.1.5", "10.77.0.1", "2001:db8::5"]);
        assert_eq!(chosen(&[], &[], "2001:db8::9"), ["2001:db8::5", "10.77.0.1", "192.168.1.5"]);
        let here = ["127.0.0.1", "::1", "192.168.1.5", "10.77.0.1", "2001:db8::5"];
        assert_eq!(chosen(&[], &[], "127.0.0.1"), here);
        assert_eq!(chosen(&[], &[], "::ffff:127.0.0.1"), here);
        assert_eq!(chosen(&["wlan0"], &[], "192.168.1.9"), ["127.0.0.1", "::1"], "nothing else is there");
    }

    #[test]
    fn interfaces_are_chosen_by_patterns() {
        assert_eq!(
            chosen(&["eth*", "docker0"], &[], "192.0.2.1"),
            ["192.168.1.5", "172.17.0.1", "2001:db8::5"]
        );
        assert_eq!(chosen(&[], &["eth0"], "192.0.2.1"), ["10.77.0.1"]);
        assert_eq!(chosen(&["*"], &["*0"], "192.0.2.1"), ["172.17.0.2"]);
        for (pattern, name, fits) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("e*0", "eth0", true),
            ("e*1*", "eth10", true),
            ("e*1", "eth10", false),
            ("*", "", true),
            ("**é*", "wé0", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn no_interface_is_left_out_because_another_has_many_addresses() {
        let mut machine: Addresses = (1..=40).map(|n| ("eth0".into(), IpAddr::from([10, 1, 0, n]))).collect();
        machine.extend((1..=3).map(|n| ("wlan0".into(), IpAddr::from([10, 2, 0, n]))));
        machine.push(("wlan0".into(), ip("2001:db8::2")));
        let filter = Filter::new(&[], &[]);
        let choose = |from: &str, to: Option<&str>| {
            let chosen = filter.choose(&machine, ip(from), to.map(ip));
            assert_eq!(chosen.len(), MOST);
            assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), MOST, "{chosen:?}");
            chosen[..3].iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(choose("10.2.0.9", Some("10.2.0.3")), ["10.2.0.3", "10.1.0.1", "10.1.0.2"]);
        assert_eq!(choose("10.2.0.9", Some("::ffff:10.2.0.3")), ["10.2.0.3", "10.1.0.1", "10.1.0.2"]);
        assert_eq!(choose("10.2.0.9", None), ["10.1.0.1", "10.2.0.1", "10.1.0.2"]);
        assert_eq!(choose("2001:db8::9", None), ["10.1.0.1", "2001:db8::2", "10.1.0.2"]);
        // An address that is not in our list (a container's bridge, a proxy on this machine) is ignored.
        assert_eq!(choose("10.2.0.9", Some("172.17.0.1")), ["10.1.0.1", "10.2.0.1", "10.1.0.2"]);

        let many: Addresses = (1..=60).map(|n| (format!("eth{n}"), IpAddr::from([10, n, 0, 1]))).collect();
        let chosen = filter.choose(&many, ip("10.60.0.9"), Some(ip("10.60.0.1")));
        assert_eq!((chosen.len(), chosen[0]), (MOST, ip("10.60.0.1")));
    }

    #[test]
    fn straight_before_reflected_and_udp_before_tcp() {
        let candidates = Candidates {
            addresses: [ip("192.168.1.5"), ip("2001:db8::5")].into(),
            v4: true,
            v6: true,
            port: 8189,
            tcp: true,
            public: vec![
                config::Public { ip: ip("203.0.113.7"), port: None },
                config::Public { ip: ip("203.0.113.8"), port: Some(50_000) },
            ],
        };
        let lines = candidates.lines();
        assert_eq!(
            lines,
            [
                "candidate:1260 1 udp 2130706431 192.168.1.5 8189 typ host",
                "candidate:900 1 tcp 1520435199 192.168.1.5 8189 typ host tcptype passive",
                "candidate:1261 1 udp 2130706175 2001:db8::5 8189 typ host",
                "candidate:901 1 tcp 1520434943 2001:db8::5 8189 typ host tcptype passive",
                "candidate:1000 1 udp 1694498815 203.0.113.7 8189 typ srflx raddr 0.0.0.0 rport 9",
                "candidate:800 1 tcp 1352663039 203.0.113.7 8189 typ srflx raddr 0.0.0.0 rport 9 tcptype passive",
                "candidate:1001 1 udp 1694498559 203.0.113.8 50000 typ srflx raddr 0.0.0.0 rport 9",
                "candidate:801 1 tcp 1352662783 203.0.113.8 50000 typ srflx raddr 0.0.0.0 rport 9 tcptype passive",
            ]
        );
        let mapped = ["203.0.113.7:8189", "203.0.113.7:61000", "192.168.1.5:8189"];
        let mapped = mapped.map(|a| a.parse().expect("address"));
        assert_eq!(
            candidates.reflexive(&mapped),
            ["candidate:1002 1 udp 1694498303 203.0.113.7 61000 typ srflx raddr 0.0.0.0 rport 9"]
        );
        let only4 = Candidates { v6: false, tcp: false, public: vec![], ..candidates };
        assert_eq!(only4.lines(), [lines[0].as_str()]);
    }
}
