//! Taking the port: the same number for UDP and TCP, over IPv4 and, where the machine has it, IPv6.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::udp::Udp;

/// How often the kernel may choose a number that is free for UDP and taken for TCP.
const TRIES: usize = 20;
/// Connections that wait to be taken.
const PENDING: i32 = 128;

/// The port in all its forms.
pub struct Listening {
    /// Its number.
    pub number: u16,
    /// UDP over IPv4.
    pub v4: Option<Udp>,
    /// UDP over IPv6.
    pub v6: Option<Udp>,
    /// TCP, over each of the two.
    pub tcp: Vec<TcpListener>,
}

/// Why the port cannot be taken.
#[derive(Debug)]
pub struct Error {
    number: u16,
    protocol: &'static str,
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
        write!(f, "can't take {protocol} port {number} for media (`ice.port`): ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(f, "another program uses it"),
            io::ErrorKind::PermissionDenied if *number < 1024 => write!(
                f,
                "no permission for ports below 1024; choose a higher one or give CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::PermissionDenied => write!(f, "no permission"),
            _ => write!(f, "{source}"),
        }
    }
}

/// Takes `number`, or for 0 one that the kernel chooses.
pub fn listen(number: u16, tcp: bool) -> Result<Listening, Error> {
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
            let address = socket.local_addr().map_err(error("UDP", number))?;
            number = address.as_socket().map_or(number, |a| a.port());
            Udp::new(socket).map(Some).map_err(error("UDP", number))
        }
        Err(source) => Err(error("UDP", number)(source)),
    };
    let (udp4, udp6) = (udp(v4)?, udp(v6)?);
    if udp4.is_none() && udp6.is_none() {
        return Err(error("UDP", number)(io::ErrorKind::Unsupported.into()));
    }
    let mut listeners = vec![];
    for ip in [v4, v6].into_iter().filter(|_| tcp) {
        let socket = bind(ip, number, Type::STREAM).map_err(error("TCP", number))?;
        let listener = socket.map(|s| {
            s.listen(PENDING)?;
            s.set_nonblocking(true)?;
            TcpListener::from_std(s.into())
        });
        listeners.extend(listener.transpose().map_err(error("TCP", number))?);
    }
    Ok(Listening { number, v4: udp4, v6: udp6, tcp: listeners })
}

/// `None` where this machine has not the family.
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
        socket.set_reuse_address(true)?; // connections of a daemon that was here before may linger
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
        assert_eq!(
            error,
            format!("can't take UDP port {number} for media (`ice.port`): another program uses it")
        );
        drop(first);
        assert!(listen(number, false).expect("free again").tcp.is_empty());
    }
}
