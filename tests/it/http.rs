//! HTTP/1.1 by hand, so that a test can send what no well-behaved client would.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::door;

/// Longest time for a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub code: u16,
    pub headers: String,
    pub body: String,
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|l| {
            let (key, value) = l.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The cookies that it sets, as a browser sends them afterwards.
    pub(crate) fn cookies(&self) -> String {
        let set = self.headers.lines().filter_map(|l| {
            let (key, value) = l.split_once(": ")?;
            key.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default())
        });
        set.collect::<Vec<_>>().join("; ")
    }
}

/// A request of the owner, with a token, on a new connection. `Host` is the address, unless `headers` has
/// one.
pub(crate) fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response> {
    let bearer = format!("Bearer {}", door::token());
    anybody(to, method, path, &[&[("Authorization", &*bearer)], headers].concat(), body)
}

/// A request without credentials other than `headers`.
pub(crate) fn anybody(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response> {
    exchange(to, &written(to, method, path, headers, body))
}

/// The text of that request, for [`exchange_from`] and [`exchange_over_tls`].
pub(crate) fn written(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += &format!("Host: {to}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}")
}

/// The status code for a GET of the owner whose response does not end: a WebSocket's.
pub(crate) fn open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<u16> {
    let mut text =
        format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {}\r\n", door::token());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut stream = connect(None, to)?;
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    let mut line = [0; "HTTP/1.1 101".len()];
    stream.read_exact(&mut line)?;
    let code = str::from_utf8(&line[9..]).ok().and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::other("no status code"))
}

/// Sends `text` unchanged, and reads until the daemon closes.
pub(crate) fn exchange(to: SocketAddr, text: &str) -> io::Result<Response> {
    talk(connect(None, to)?, text)
}

/// The same from an address of this machine (all of 127.0.0.0/8 belongs to it).
pub(crate) fn exchange_from(from: IpAddr, to: SocketAddr, text: &str) -> io::Result<Response> {
    talk(connect(Some(from), to)?, text)
}

/// The same over TLS, by a client that trusts only `authority` (PEM) and calls the daemon `name`.
pub(crate) fn exchange_over_tls(
    stream: TcpStream,
    authority: &[u8],
    name: &str,
    text: &str,
) -> io::Result<Response> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority).map_err(io::Error::other)?;
    roots.add(authority).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), server).map_err(io::Error::other)?;
    talk(StreamOwned::new(connection, stream), text)
}

/// Connects, from an address of this host or from any.
pub(crate) fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn talk(mut stream: impl Read + Write, text: &str) -> io::Result<Response> {
    let _ = stream.write_all(text.as_bytes()); // it may have answered and closed before it read everything
    let mut answer = vec![];
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some(Response { code, headers: head.to_owned(), body: body.to_owned() })
    });
    parsed.ok_or_else(|| read.err().unwrap_or_else(|| io::Error::other(format!("no response: {text:?}"))))
}
