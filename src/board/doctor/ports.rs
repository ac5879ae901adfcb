//! Whether a port is listened at, and by whom.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use super::Finding;
pub use crate::listen::Protocol;
use crate::listen::{Owner, is_without_ipv6, owner};

/// A port that peercam takes.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// What for.
    pub what: &'static str,
    /// Its key in the configuration.
    pub key: &'static str,
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: IpAddr,
    /// Which.
    pub number: u16,
    /// Nothing works without it.
    pub needed: bool,
}

/// Looks at `port`. `daemon` is the process id of the running peercam.
pub fn look(port: &Port, daemon: Option<u32>) -> Finding {
    let Port { what, key, protocol, number, needed, .. } = *port;
    let name = format!("{} port {number}", if protocol == Protocol::Tcp { "TCP" } else { "UDP" });
    let fault = |says: String, remedy: String| match needed {
        true => Finding::bad(&name, says, remedy),
        false => Finding::warn(&name, says, remedy),
    };
    let free = format!("stop that program, or choose another port: {key}");
    match (owner(protocol, number), daemon) {
        (Some(Owner { id: Some(id), .. }), Some(daemon)) if id == daemon => {
            Finding::ok(&name, format!("{what}: peercam listens there"))
        }
        // Without root the processes of others can't be seen into: it is the daemon's most likely.
        (Some(Owner { id: None, .. }), Some(_)) => Finding::ok(
            &name,
            format!("{what}: a program listens there, most likely peercam (root sees which)"),
        ),
        (Some(owner), _) => fault(format!("{what}: taken by {owner}"), free),
        (None, Some(_)) => fault(
            format!("{what}: nobody listens there, though peercam is running"),
            format!("see its log for why; a changed {key} needs `systemctl reload peercam`"),
        ),
        (None, None) => match take(port) {
            Ok(()) => Finding::ok(&name, format!("{what}: free")),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => fault(
                format!("{what}: ports below 1024 need a privilege"),
                format!("choose another port ({key}), or give CAP_NET_BIND_SERVICE"),
            ),
            Err(e) => {
                fault(format!("{what}: can't be taken at {}: {e}", port.address), format!("correct {key}"))
            }
        },
    }
}

/// Tries whether it can be had. `::` is IPv4 alone where the kernel has no IPv6, as it is for the daemon.
pub fn take(port: &Port) -> io::Result<()> {
    let at = |ip| match (SocketAddr::new(ip, port.number), port.protocol) {
        (address, Protocol::Tcp) => TcpListener::bind(address).map(drop),
        (address, Protocol::Udp) => UdpSocket::bind(address).map(drop),
    };
    match at(port.address) {
        Err(e) if port.address == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&e) => {
            at(Ipv4Addr::UNSPECIFIED.into())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn port(number: u16) -> Port {
        Port {
            what: "the page",
            key: "web.port",
            protocol: Protocol::Tcp,
            address: IpAddr::from([127, 0, 0, 1]),
            number,
            needed: true,
        }
    }

    #[test]
    fn a_port_is_ours_free_or_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let us = std::process::id();
        assert_eq!(look(&port(number), Some(us)).level, Level::Ok);
        let taken = look(&port(number), None);
        assert_eq!(taken.level, Level::Bad);
        assert!(taken.says.contains(&format!("(process {us})")), "{taken:?}");
        drop(listener);
        assert_eq!(look(&port(number), None).level, Level::Ok);
        assert!(look(&port(number), Some(us)).says.contains("nobody listens"));
        let convenience = Port { needed: false, ..port(number) };
        assert_eq!(look(&convenience, Some(us)).level, Level::Warn);
    }
}
