//! Asks a STUN server for the device's outside address (RFC 8489) with one Binding request without attributes, repeated
//! twice.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use super::Finding;
use crate::net::stun::{Class, Message, TransactionId, binding_request};

/// Default port of STUN.
const USUAL_PORT: u16 = 3478;
/// Time between the three requests; a server on the other side of the world answers within a third of it.
const PATIENCE: Duration = Duration::from_millis(800);
const TRIES: usize = 3;

/// Checks the server of a `stun:` URL.
pub fn look(url: &str) -> Finding {
    let about = "STUN";
    let remedy = "check the name, and that the network allows outgoing UDP; without an answer viewers outside can't \
                  connect directly";
    match ask(url) {
        Ok((mapped, local)) if mapped.ip() == local => {
            Finding::ok(about, format!("{url} answers: the outside address is {mapped}, without NAT"))
        }
        Ok((mapped, _)) => Finding::ok(about, format!("{url} answers: the outside address is {mapped}")),
        Err(e) => Finding::bad(about, format!("{url}: {e}"), remedy),
    }
}

/// The address that the server saw, and the local address that the request was sent from.
fn ask(url: &str) -> io::Result<(SocketAddr, IpAddr)> {
    let server = resolve(url)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(|e| io::Error::other(e.to_string()))?;
    for _ in 0..TRIES {
        socket.send(&binding_request(id))?;
        let mut buffer = [0; 1500];
        match socket.recv(&mut buffer) {
            Ok(length) => match mapped(&buffer[..length], id) {
                Some(address) => return Ok((address, socket.local_addr()?.ip())),
                None => return Err(io::Error::other("the answer is not from a STUN server")),
            },
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(format!("{server} does not answer")))
}

fn resolve(url: &str) -> io::Result<SocketAddr> {
    let rest = url.strip_prefix("stun:").unwrap_or(url);
    let found = match rest.to_socket_addrs() {
        Ok(found) => found,
        // The URL has no port.
        Err(_) => (rest.trim_matches(['[', ']']), USUAL_PORT).to_socket_addrs()?,
    };
    // IPv4 first, because NATs use IPv4.
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| io::Error::other("the name has no address"))
}

/// The mapped address in a response to request `id`.
fn mapped(bytes: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let message = Message::parse(bytes).filter(|m| m.class == Class::Response && m.id() == id)?;
    message.mapped_address()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// RFC 5769 sections 2.2 and 2.3: sample responses over IPv4 and IPv6, without their integrity attributes.
    const ID: [u8; 12] = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    fn response(attribute: &[u8]) -> Vec<u8> {
        let software = b"\x80\x22\x00\x0btest vector ";
        let mut message = vec![0x01, 0x01, 0, (software.len() + attribute.len()) as u8];
        message.extend(0x2112_a442_u32.to_be_bytes());
        message.extend(ID);
        message.extend(software);
        message.extend(attribute);
        message
    }

    #[test]
    fn the_rfcs_samples_are_understood() {
        let v4 = response(b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        assert_eq!(mapped(&v4, ID), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = response(
            b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
        );
        assert_eq!(mapped(&v6, ID), Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
        assert_eq!(mapped(&v4, [0; 12]), None, "an answer to a different request");
        for length in 0..v6.len() {
            let _ = mapped(&v6[..length], ID); // cut anywhere
        }
    }

    #[test]
    fn a_server_that_answers_is_told_and_one_that_does_not_too() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            let mut answer = response(b"\x00\x01\x00\x08\x00\x01\x11\x22\xcb\x00\x71\x07");
            answer[8..20].copy_from_slice(&buffer[8..20]);
            server.send_to(&answer, from).unwrap();
            server.recv_from(&mut buffer).unwrap(); // does not answer
        });
        let found = look(&format!("stun:{address}"));
        assert_eq!(found.level, Level::Ok);
        assert!(found.says.ends_with("the outside address is 203.0.113.7:4386"), "{found:?}");
        let silent = look(&format!("stun:{address}"));
        assert_eq!(silent.level, Level::Bad, "{silent:?}");
        answering.join().unwrap();
    }
}
