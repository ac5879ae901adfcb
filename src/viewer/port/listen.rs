//! Opens the media port: the same number for UDP and TCP, over IPv4 and, where the machine has it, IPv6.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::udp::Udp;
use crate::listen::Protocol as Wire;

/// How often the kernel may choose a number that is free for UDP but taken for TCP.
const TRIES: usize = 20;
/// Connections that wait to be accepted.
const PENDING: i32 = 128;

/// The opened sockets.
pub(super) struct Listening {
    /// Port number.
    pub number: u16,
    /// UDP over IPv4.
    pub v4: Option<Udp>,
    /// UDP over IPv6.
    pub v6: Option<Udp>,
    /// TCP listeners for both families.
    pub tcp: Vec<TcpListener>,
}

/// Why the port can't be opened.
#[derive(Debug)]
pub struct Error {
    number: u16,
    protocol: Wire,
    source: io::Error,
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, protocol, source } = self;
        let why = crate::listen::why(source, *protocol, *number);
        write!(f, "can't take {protocol} port {number} for media (`ice.port`): {why}")
    }
}

/// Opens the port `number`, or for 0 one that the kernel chooses.
pub(super) fn listen(number: u16, tcp: bool) -> Result<Listening, Error> {
    let mut tries = if number == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match all(number, tcp) {
            Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
}

fn all(wanted: u16, tcp: bool) -> Result<Listening, Error> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let error = |protocol, number| move |source| Error { number, protocol, source };
    let mut number = wanted;
    let mut udp = |ip| match bind(ip, number, Type::DGRAM) {
        Ok(None) => Ok(None),
        Ok(Some(socket)) => {
            let address = socket.local_addr().map_err(error(Wire::Udp, number))?;
            number = address.as_socket().map_or(number, |a| a.port());
            Udp::new(socket).map(Some).map_err(error(Wire::Udp, number))
        }
        Err(source) => Err(error(Wire::Udp, number)(source)),
    };
    let (udp4, udp6) = (udp(v4)?, udp(v6)?);
    if udp4.is_none() && udp6.is_none() {
        return Err(error(Wire::Udp, number)(io::ErrorKind::Unsupported.into()));
    }
    let tcp = if tcp { self::tcp(number)? } else { vec![] };
    Ok(Listening { number, v4: udp4, v6: udp6, tcp })
}

/// Opens the port `number` for TCP only.
pub(super) fn tcp(number: u16) -> Result<Vec<TcpListener>, Error> {
    let take = |ip: IpAddr| {
        let listener = bind(ip, number, Type::STREAM)?.map(|s| {
            s.listen(PENDING)?;
            s.set_nonblocking(true)?;
            TcpListener::from_std(s.into())
        });
        listener.transpose()
    };
    let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()].into_iter();
    let taken = all.filter_map(|ip| take(ip).transpose()).collect::<io::Result<_>>();
    taken.map_err(|source| Error { number, protocol: Wire::Tcp, source })
}

/// `None` if this machine does not have the address family.
fn bind(ip: IpAddr, number: u16, kind: Type) -> io::Result<Option<Socket>> {
    let address = SocketAddr::new(ip, number);
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let missing = |e: &io::Error| {
        matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
    };
    let socket = match Socket::new(Domain::for_address(address), kind, Some(protocol)) {
        Err(e) if missing(&e) => return Ok(None),
        other => other?,
    };
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?; // connections of an earlier daemon may linger
    }
    match socket.bind(&address.into()) {
        Err(e) if missing(&e) => Ok(None),
        other => other.map(|()| Some(socket)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_number_for_all_and_a_taken_one_is_told() {
        let first = listen(0, true).expect("a free port");
        assert!(first.number != 0 && first.v4.is_some() && !first.tcp.is_empty());
        let numbers = first.tcp.iter().map(|l| l.local_addr().expect("address").port());
        assert!(numbers.into_iter().all(|n| n == first.number));
        let error = listen(first.number, true).err().expect("taken").to_string();
        let number = first.number;
        let begins = format!("can't take UDP port {number} for media (`ice.port`): ");
        assert!(error.starts_with(&begins) && error.ends_with(&format!("uses port {number}")), "{error}");
        drop(first);
        assert!(listen(number, false).expect("free again").tcp.is_empty());
    }
}
