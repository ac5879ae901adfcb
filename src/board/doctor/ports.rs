//! Checks who listens on a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use super::Finding;
pub use crate::listen::Protocol;
use crate::listen::{Owner, is_without_ipv6, owner};

/// A port that peercam uses.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Purpose of the port.
    pub what: &'static str,
    /// Key in the configuration.
    pub key: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// The address to listen on.
    pub address: IpAddr,
    /// The port number.
    pub number: u16,
    /// Whether peercam can't work without it.
    pub needed: bool,
}

/// Checks `port`. `daemon` is the process id of the running peercam.
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
            Finding::ok(&name, format!("{what}: peercam is listening"))
        }
        // Without root, processes of other users can't be inspected; it is most likely the daemon.
        (Some(Owner { id: None, .. }), Some(_)) => Finding::ok(
            &name,
            format!("{what}: a program is listening, most likely peercam (root can see which one)"),
        ),
        (Some(owner), _) => fault(format!("{what}: taken by {owner}"), free),
        (None, Some(_)) => fault(
            format!("{what}: nothing is listening, although peercam is running"),
            format!("check the log; a changed {key} needs `systemctl reload peercam`"),
        ),
        (None, None) => match take(port) {
            Ok(()) => Finding::ok(&name, format!("{what}: free")),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => fault(
                format!("{what}: ports below 1024 need a capability"),
                format!("choose another port ({key}), or grant CAP_NET_BIND_SERVICE"),
            ),
            Err(e) => {
                fault(format!("{what}: can't be taken at {}: {e}", port.address), format!("correct {key}"))
            }
        },
    }
}

/// Tries to listen on the port. On a kernel without IPv6, `::` means IPv4 only, as it does for the daemon.
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
        assert!(look(&port(number), Some(us)).says.contains("nothing is listening"));
        let convenience = Port { needed: false, ..port(number) };
        assert_eq!(look(&convenience, Some(us)).level, Level::Warn);
    }
}
