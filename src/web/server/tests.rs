//! The limits, against real sockets.

use std::time::Instant;

use super::super::page;
use super::super::testing::{PATIENCE, QUICK, Reply, Server, context, context_with, few, rest};
use super::*;
use crate::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn an_address_that_cant_be_had_is_named_with_the_cause() {
    let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &[]).unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address, &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't listen on {address}: ")), "{error}");
    assert!(
        error.ends_with(&format!("(process {}) uses port {}", std::process::id(), address.port())),
        "{error}"
    );
    let error = bind("192.0.2.1:80".parse().unwrap(), &[]).unwrap_err().to_string();
    assert_eq!(error, "can't listen on 192.0.2.1:80: this machine has no address 192.0.2.1");
}

#[test]
fn another_address_with_the_same_port_is_taken_beside_ours() {
    let ours = bind("127.0.0.1:0".parse().unwrap(), &[]).unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], ours.local_addr().unwrap().port()));
    assert!(bind(all, &[]).is_err(), "nobody else may use the port");
    let both = bind(all, &[&ours]).unwrap();
    for taken in [all, ours.local_addr().unwrap()] {
        assert!(bind(taken, &[]).is_err(), "nor afterwards");
    }
    let others = bind("127.0.0.1:0".parse().unwrap(), &[]).unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], others.local_addr().unwrap().port()));
    assert!(bind(all, &[&ours, &both]).is_err(), "only ours");
}

#[tokio::test]
async fn who_sends_no_or_half_a_header_is_cut_off() {
    let server = Server::start(QUICK, context());
    for start in ["", "G", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"", "{start}");
    }
    // Occasional bytes don't extend the deadline.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let began = Instant::now();
    while stream.write_all(b"x").await.is_ok() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // An earlier request does not keep the connection open forever either.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(Reply::parse(&rest(&mut stream).await).status, 200);
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = Server::start(QUICK, context());
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(server.raw(&long).await.status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(server.raw(&many).await.status, 431);
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {}\r\n\r\n",
        "x".repeat(10_000)
    );
    assert_eq!(server.raw(&fits).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_however_they_are_framed() {
    let server = Server::start(QUICK, context());
    let owner = server.owner();
    let head =
        format!("POST /whep HTTP/1.1\r\nHost: localhost\r\n{owner}\r\nContent-Type: application/sdp\r\n");
    // Refused by its length, before any of the body is sent.
    let reply = server.raw(format!("{head}Content-Length: 65537\r\n\r\n")).await;
    assert_eq!((reply.status, reply.header("content-type")), (413, "application/problem+json"));
    let chunk = format!("1000\r\n{}\r\n", "v".repeat(0x1000));
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(17));
    assert_eq!(server.raw(&endless).await.status, 413);
    // Too slow.
    let reply = server.raw(format!("{head}Content-Length: 10\r\n\r\nv=0")).await;
    assert_eq!(reply.status, 408);
    let reply = server.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n")).await;
    assert_eq!(reply.status, 408);
    // Invalid bodies: a bad chunk, and bytes that are not UTF-8.
    let reply = server.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\nzzz\r\n")).await;
    assert_eq!(reply.status, 400);
    let mut bytes = format!("{head}Content-Length: 4\r\n\r\n").into_bytes();
    bytes.extend([0xff, 0xfe, 0, 1]);
    assert_eq!(server.raw(bytes).await.status, 400);
    // A body of exactly the limit is read, but is not an SDP.
    let body = "v".repeat(65_536);
    let reply = server.ask("POST", "/whep", &["Content-Type: application/sdp"], &body).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_body_that_ends_early_leaves_nothing_behind() {
    let server = Server::start(few(1), context());
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let owner = server.owner();
        let head =
            format!("POST /whep HTTP/1.1\r\nHost: localhost\r\n{owner}\r\nContent-Type: application/sdp\r\n");
        stream.write_all(format!("{head}Content-Length: 9\r\n\r\nv").as_bytes()).await.unwrap();
        drop(stream);
        served_in_time(&server).await;
    }
}

#[tokio::test]
async fn who_gets_no_place_is_told_so() {
    let server = Server::start(few(0), context());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let reply = Reply::parse(&rest(&mut stream).await);
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&reply.body).unwrap()["status"], 503);
}

#[tokio::test]
async fn silent_connections_make_room() {
    let server = Server::start(Limits { header: PATIENCE * 2, ..few(2) }, context());
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let _second = TcpStream::connect(server.address).await.unwrap();
    served_in_time(&server).await;
    assert_eq!(rest(&mut first).await, b"", "the one that was silent longest");
}

#[tokio::test]
async fn a_websocket_keeps_its_place() {
    let server = Server::start(few(1), context());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let upgrade = format!(
        "GET /api/signal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.owner()
    );
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(socket.read(&mut [0; 16]).await.unwrap() > 0);
    // Other connections come and go, and the WebSocket stays; only a second WebSocket gets no slot.
    for _ in 0..3 {
        served_in_time(&server).await;
    }
    let mut other = TcpStream::connect(server.address).await.unwrap();
    other.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(Reply::parse(&rest(&mut other).await).status, 503);
    assert!(socket.read(&mut [0; 16]).await.unwrap() > 0);
}

#[tokio::test]
async fn who_stops_reading_is_cut_off() {
    let server = Server::start(few(1), context());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    // Requests far more than the buffers of both sockets hold, and reads nothing.
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", page::path_of("page.css"));
    let request = request.as_bytes().repeat(20_000);
    let (_reader, mut writer) = stream.split();
    let _ = tokio::time::timeout(Duration::from_millis(500), writer.write_all(&request)).await;
    served_in_time(&server).await;
}

/// Waits until a connection is served again: slots are freed a moment after their connections end.
async fn served_in_time(server: &Server) {
    let began = Instant::now();
    loop {
        let status = server.ask("GET", "/healthz", &[], "").await.status;
        if status == 200 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "still {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn stopping_waits_for_nobody_longer_than_its_deadline() {
    let server = Server::start(Limits { header: PATIENCE, body: PATIENCE, ..QUICK }, context());
    let mut streams = vec![];
    let owner = server.owner();
    let waiting = format!(
        "POST /whep HTTP/1.1\r\nHost: localhost\r\n{owner}\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\n"
    );
    for start in ["", "GET /", &waiting] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    assert_eq!(server.ask("GET", "/healthz", &[], "").await.status, 200); // all of them are accepted by now
    let (address, began) = (server.address, Instant::now());
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stopping_waits_not_at_all_for_idle_connections() {
    // The server's deadlines would not end this test in time.
    let limits = Limits { header: PATIENCE * 2, stop: PATIENCE * 2, ..QUICK };
    let server = Server::start(limits, context());
    let _unused = TcpStream::connect(server.address).await.unwrap();
    let mut used = TcpStream::connect(server.address).await.unwrap();
    used.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(used.read(&mut [0; 1000]).await.unwrap() > 0);
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
}

#[tokio::test]
async fn wrong_names_methods_and_hosts_have_their_status() {
    let server = Server::start(QUICK, context());
    for (method, path, status, allow) in [
        ("GET", "/", 200, ""),
        ("HEAD", "/", 200, ""),
        ("GET", page::path_of("page.js"), 200, ""),
        ("GET", "/api/status", 200, ""),
        ("GET", "/nothing", 404, ""),
        ("GET", "/api", 404, ""),
        ("GET", "/api/status/more", 404, ""),
        ("GET", "/whep/a/b", 404, ""),
        ("GET", "/page.js", 404, ""),
        ("GET", "/..%2f..%2fetc/passwd", 404, ""),
        ("GET", "/%ff%00", 404, ""),
        ("POST", "/", 405, "GET, HEAD"),
        ("DELETE", page::path_of("page.js"), 405, "GET, HEAD"),
        ("POST", "/api/status", 405, "GET, HEAD"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("PUT", "/snapshot.jpg", 405, "GET, HEAD"),
        ("POST", "/api/signal", 405, "GET"),
        ("GET", "/api/signal", 426, ""),
        ("PUT", "/whep", 405, "GET, HEAD, OPTIONS, POST"),
        ("POST", "/whep/x", 405, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("BREW", "/whep", 405, "GET, HEAD, OPTIONS, POST"),
    ] {
        let reply = server.ask(method, path, &[], "").await;
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{method} {path}");
        if status >= 400 {
            assert_eq!(reply.header("content-type"), "application/problem+json");
            assert!(reply.header("content-security-policy").starts_with("default-src 'none'"));
        }
    }
    for (host, status) in
        [("Host: evil.example\r\n", 421), ("", 400), ("Host: [\r\n", 400), ("Host: localhost:1\r\n", 200)]
    {
        let reply = server.raw(format!("GET /healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await;
        assert_eq!(reply.status, status, "{host}");
    }
    let foreign = server.ask("GET", "/api/status", &["Origin: http://evil.example"], "").await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn nothing_odd_makes_it_fall() {
    let server = Server::start(QUICK, context());
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for odd in [
        "\r\n\r\n".to_owned(),
        "\0\0\0\0".into(),
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}".into(),
        "GET\r\n\r\n".into(),
        "GET / HTTP/9.9\r\n\r\n".into(),
        "GET / HTTP/1.0\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        "CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        "GET http://localhost HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        "GET ? HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        "GET //// HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
        format!("GET /api/signal HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUpgrade: websocket\r\n{key}\r\n\r\n"),
        format!("GET /api/signal HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n{key}\r\n\r\n"),
        format!("GET /api/signal HTTP/1.0\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n\r\n"),
        "POST /whep HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".into(),
        "POST /whep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        "PATCH /whep/\u{fffd} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
    ] {
        let status = server.raw(&odd).await.status;
        assert!(status == 0 || (200..600).contains(&status), "{odd:?}: {status}");
    }
    assert_eq!(server.ask("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn only_listed_origins_see_whep() {
    let web = config::Web { origins: vec!["https://home.example".into()], ..Default::default() };
    let server = Server::start(QUICK, context_with(web, config::Ice::default()));
    let (home, evil) = ("Origin: https://home.example", "Origin: https://evil.example");
    let preflight = server.ask("OPTIONS", "/whep", &[home, "Access-Control-Request-Method: POST"], "").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://home.example");
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    assert!(preflight.header("access-control-allow-headers").contains("if-match"));
    assert_eq!(preflight.header("accept-post"), "application/sdp");
    let refused = server.ask("POST", "/whep", &[home], "").await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (415, "https://home.example")
    );
    for name in ["location", "link", "etag"] {
        assert!(refused.header("access-control-expose-headers").contains(name));
    }
    for (method, path) in [("OPTIONS", "/whep"), ("POST", "/whep"), ("DELETE", "/whep/x")] {
        let reply = server.ask(method, path, &[evil], "").await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, ""), "{method}");
        assert_eq!(reply.header("vary"), "Origin");
    }
    assert_eq!(server.ask("GET", "/api/status", &[home], "").await.status, 403);
    let plain = server.ask("OPTIONS", "/whep", &[], "").await;
    assert_eq!((plain.status, plain.header("access-control-allow-origin")), (200, ""));
}

/// A TLS server with a self-signed certificate.
fn tls(limits: Limits) -> Server {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from(made.signing_key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)
        .unwrap();
    Server::speaking(Speaks::Tls(Arc::new(config)), limits, context())
}

#[tokio::test]
async fn the_first_byte_tells_what_is_spoken() {
    let server = tls(QUICK);
    // Plain HTTP is redirected to the same port.
    let reply = server.ask("GET", "/api/session", &[], "").await;
    let there = format!("https://{}/api/session", server.address);
    assert_eq!((reply.status, reply.header("location")), (308, &*there));
    let astray = server.raw("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!((astray.status, astray.header("location")), (421, ""));
    // Connections that use neither, stop during the handshake or send nothing are cut off.
    for start in
        [&b"\0"[..], b"\x80\x2e\x01", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"\x16", b"G", b""]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.len() < 10, "{start:?}: {answer:?}"); // at most an alert
    }
    server.stop().await;
}

#[tokio::test]
async fn a_port_that_only_sends_on_does_nothing_else() {
    let server = Server::speaking(Speaks::Redirect(443), QUICK, context());
    for (method, path) in [("GET", "/"), ("GET", "/healthz"), ("POST", "/api/login"), ("GET", "/api/signal")]
    {
        let reply = server.ask(method, path, &[], "").await;
        let there = format!("https://127.0.0.1{path}");
        assert_eq!(
            (reply.status, reply.header("location"), &*reply.body),
            (308, &*there, ""),
            "{method} {path}"
        );
    }
}
