//! Finds out who uses a port that is taken, and says so in the same words for page, media and doctor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Why `port` could not be opened, as the end of a sentence. Looks up who uses it now.
pub fn why(error: &io::Error, protocol: Protocol, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner(protocol, port) {
            Some(owner @ Owner { id: Some(_), .. }) => format!("{owner} uses port {port}"),
            _ => format!("another program uses port {port}"),
        },
        io::ErrorKind::PermissionDenied if port < 1024 => {
            "no permission for ports below 1024; choose a higher one or grant CAP_NET_BIND_SERVICE".into()
        }
        io::ErrorKind::PermissionDenied => "no permission".into(),
        _ => error.to_string(),
    }
}

/// A process that uses a port.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id; `None` without permission to see it.
    pub id: Option<u32>,
    name: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.id {
            Some(id) => write!(f, "{} (process {id})", self.name),
            None => f.write_str("a program that only root can see"),
        }
    }
}

/// Whether listening on an IPv6 address failed because this kernel has no IPv6.
pub fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The process that uses `port`, if any.
pub fn owner(protocol: Protocol, port: u16) -> Option<Owner> {
    let all = sockets(protocol).into_iter();
    let inodes: Vec<u64> = all.filter(|(number, _)| *number == port).map(|(_, inode)| inode).collect();
    if inodes.is_empty() {
        return None;
    }
    Some(holder(&inodes).unwrap_or(Owner { id: None, name: String::new() }))
}

/// The ports that only this process uses.
pub fn ours() -> Vec<(Protocol, u16)> {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: BTreeSet<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    let mut ours = vec![];
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut ports = BTreeMap::new();
        for (port, inode) in sockets(protocol) {
            *ports.entry(port).or_insert(true) &= open.contains(std::path::Path::new(&link(inode)));
        }
        ours.extend(ports.into_iter().filter(|(_, all)| *all).map(|(port, _)| (protocol, port)));
    }
    ours
}

/// Ports and the inodes of their sockets, for IPv4 and IPv6.
fn sockets(protocol: Protocol) -> Vec<(u16, u64)> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    tables.iter().flat_map(|t| bound(&fs::read_to_string(t).unwrap_or_default())).collect()
}

/// Port and inode of the sockets that listen (TCP) or are bound without a peer (UDP): proc(5), `/proc/net/tcp`.
fn bound(table: &str) -> Vec<(u16, u64)> {
    // 0A is TCP_LISTEN; 07 is what an unconnected UDP socket shows.
    let line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        matches!(state, "0A" | "07").then_some((number, inode))
    };
    table.lines().filter_map(line).collect()
}

/// The link of an open socket in `/proc/PID/fd`.
fn link(inode: u64) -> String {
    format!("socket:[{inode}]")
}

/// The process that has one of these sockets open, among those that may be inspected.
fn holder(inodes: &[u64]) -> Option<Owner> {
    let wanted: Vec<String> = inodes.iter().map(|i| link(*i)).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let mut targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        let has = targets.any(|t| t.to_str().is_some_and(|t| wanted.iter().any(|w| w == t)));
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        has.then(|| Owner { id: Some(id), name: name().trim().to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:20FB 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
            2: 00000000000000000000000000000000:20FB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1 0\n\
            nonsense\n";
        assert_eq!(bound(table), [(8443, 4711), (8443, 4713)]);
    }

    #[test]
    fn a_port_is_ours_while_we_have_it() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = std::net::UdpSocket::bind("[::1]:0").or_else(|_| std::net::UdpSocket::bind("127.0.0.1:0"));
        let udp = udp.expect("a port");
        let ports = [
            (Protocol::Tcp, tcp.local_addr().expect("its address").port()),
            (Protocol::Udp, udp.local_addr().expect("its address").port()),
        ];
        let held = ours();
        assert!(ports.iter().all(|port| held.contains(port)), "{ports:?} of {held:?}");
        drop((tcp, udp));
        let held = ours();
        assert!(!ports.iter().any(|port| held.contains(port)), "{ports:?} of {held:?}");
    }

    #[test]
    fn who_has_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let error = std::net::TcpListener::bind(address).expect_err("taken");
        let (says, port) = (why(&error, Protocol::Tcp, address.port()), address.port());
        let us = format!("(process {}) uses port {port}", std::process::id());
        assert!(says.ends_with(&us), "{says}");
        assert_eq!(why(&io::ErrorKind::AddrInUse.into(), Protocol::Udp, 1), "another program uses port 1");
        assert!(why(&io::ErrorKind::PermissionDenied.into(), Protocol::Tcp, 80).contains("below 1024"));
    }
}
