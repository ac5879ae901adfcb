//! Whether a port is listened at, and by whom.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use super::Finding;

/// How a port is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

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
        (Some(Owner { id: None, .. }), Some(_)) => {
            Finding::ok(&name, format!("{what}: somebody listens there, peercam most likely (root sees who)"))
        }
        (Some(owner), _) => fault(format!("{what}: taken by {owner}"), free),
        (None, Some(_)) => fault(
            format!("{what}: nobody listens there, though peercam is running"),
            format!("see its log for why; a changed {key} needs a restart"),
        ),
        (None, None) => match take(port) {
            Ok(()) => Finding::ok(&name, format!("{what}: free")),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => fault(
                format!("{what}: ports below 1024 need a privilege"),
                format!("choose another port ({key}), or give CAP_NET_BIND_SERVICE"),
            ),
            Err(e) => {
                fault(format!("{what}: can't be taken at {}: {e}", port.address), format!("correct {key}"))
            }
        },
    }
}

fn take(port: &Port) -> std::io::Result<()> {
    let address = SocketAddr::new(port.address, port.number);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    }
}

/// Who has a port.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    /// Process id and name; `None` where we may not see it.
    id: Option<u32>,
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

fn owner(protocol: Protocol, port: u16) -> Option<Owner> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let read = tables.iter().map(|t| fs::read_to_string(t).unwrap_or_default());
    let inodes: Vec<u64> = read.flat_map(|table| bound(&table, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    Some(holder(&inodes).unwrap_or(Owner { id: None, name: String::new() }))
}

/// Inodes of the sockets that listen (TCP) or are bound without a peer (UDP) at `port`: proc(5), `/proc/net/tcp`.
fn bound(table: &str, port: u16) -> Vec<u64> {
    // 0A is TCP_LISTEN; 07 is what an unconnected UDP socket shows.
    let line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        (number == port && matches!(state, "0A" | "07")).then_some(inode)
    };
    table.lines().filter_map(line).collect()
}

/// The process that has one of these sockets open, among those that we may look into.
fn holder(inodes: &[u64]) -> Option<Owner> {
    let wanted: Vec<String> = inodes.iter().map(|i| format!("socket:[{i}]")).collect();
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
    fn the_kernels_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:20FB 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
            2: 00000000000000000000000000000000:20FB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1 0\n\
            nonsense\n";
        assert_eq!(bound(table, 8443), [4711, 4713]);
        assert_eq!(bound(table, 8080), Vec::<u64>::new());
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
