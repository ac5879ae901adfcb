//! Which of this machine's addresses a viewer is offered as ICE host candidates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::net::if_::InterfaceFlags;

/// Each address is one more socket per viewer and one more path for its browser to try.
const MOST: usize = 8;

/// Bridges and links into containers and virtual machines, by the names their makers give them. Nobody watches
/// from there, and a host that runs many containers has dozens.
const CONTAINER_LINKS: [&str; 8] = ["docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc"];

/// One address of one interface.
#[derive(Clone, Debug)]
struct Address {
    interface: String,
    ip: IpAddr,
    up: bool,
}

/// Where to bind a viewer's sockets, each with a port that the kernel chooses. `listen` is the page's own address.
pub fn candidates(listen: IpAddr) -> Vec<SocketAddr> {
    let found = match nix::ifaddrs::getifaddrs() {
        Ok(found) => found.filter_map(|i| address(&i)).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses; offering {listen} alone");
            vec![Address { interface: String::new(), ip: listen, up: true }]
        }
    };
    choose(&found, listen).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}

fn address(i: &nix::ifaddrs::InterfaceAddress) -> Option<Address> {
    let storage = i.address.as_ref()?;
    let ip = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => IpAddr::V4(v4.ip()),
        (_, Some(v6)) => IpAddr::V6(v6.ip()),
        _ => return None,
    };
    let up = i.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
    Some(Address { interface: i.interface_name.clone(), ip, up })
}

/// Loopback counts where the page can be reached by it: then the browser may run on this very machine, and on one
/// without a network nothing else is there.
fn choose(found: &[Address], listen: IpAddr) -> Vec<IpAddr> {
    let up = || found.iter().filter(|a| a.up);
    let local = (listen.is_loopback() || listen.is_unspecified()).then(|| {
        up().map(|a| a.ip)
            .filter(IpAddr::is_loopback)
            .filter(|ip| !matches!(ip, IpAddr::V4(v4) if *v4 != Ipv4Addr::LOCALHOST))
    });
    let network = up().filter(|a| useful(a)).map(|a| a.ip).take(MOST);
    let mut chosen: Vec<IpAddr> = vec![];
    let mut add = |ip| {
        if !chosen.contains(&ip) {
            chosen.push(ip)
        }
    };
    local.into_iter().flatten().for_each(&mut add);
    network.for_each(&mut add);
    chosen
}

/// Link-local addresses need a scope, which candidates have no room for (RFC 8445 section 5.1.1.1).
fn useful(a: &Address) -> bool {
    let usable = match a.ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => {
            !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified() && !is_site_local(ip)
        }
    };
    usable && !CONTAINER_LINKS.iter().any(|p| a.interface.starts_with(p))
}

/// fec0::/10, deprecated by RFC 3879 and excluded by RFC 8445 section 5.1.1.1.
fn is_site_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfec0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Address> {
        [
            ("lo", "127.0.0.1", true),
            ("lo", "127.0.1.1", true),
            ("lo", "::1", true),
            ("eth0", "192.168.1.5", true),
            ("eth0", "2001:db8::5", true),
            ("eth0", "fe80::5", true),
            ("wlan0", "192.168.2.6", false),
            ("usb0", "169.254.3.4", true),
            ("docker0", "172.17.0.1", true),
            ("vethabc", "172.17.0.2", true),
            ("tap0", "10.77.0.1", true),
            ("eth0", "192.168.1.5", true),
        ]
        .map(|(interface, ip, up)| Address { interface: interface.into(), ip: ip.parse().expect("ip"), up })
        .to_vec()
    }

    fn chosen(listen: &str) -> Vec<String> {
        choose(&machine(), listen.parse().expect("ip")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_network_address_and_loopback_where_the_page_is_there_too() {
        assert_eq!(chosen("127.0.0.1"), ["127.0.0.1", "::1", "192.168.1.5", "2001:db8::5", "10.77.0.1"]);
        assert_eq!(chosen("0.0.0.0"), chosen("::1"));
        assert_eq!(chosen("192.168.1.5"), ["192.168.1.5", "2001:db8::5", "10.77.0.1"]);
    }

    #[test]
    fn this_machine_has_at_least_loopback() {
        let here = candidates(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(here[0], "127.0.0.1:0".parse::<SocketAddr>().expect("address"));
        assert!(here.iter().all(|a| std::net::UdpSocket::bind(a).is_ok()), "{here:?}");
    }
}
