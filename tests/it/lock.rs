//! HTTPS, the commands for the running daemon, and the doctor, from their users' point of view.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::daemon::{Daemon, PATTERN};
use crate::http::{self, Response};
use crate::process::{Dir, run};

const PATIENCE: Duration = Duration::from_secs(20);
/// The daemon checks names, addresses and files every 5 s, and loads files that have not changed between two
/// checks.
const RELOAD: Duration = Duration::from_secs(30);

fn https() -> String {
    format!("{PATTERN}[web]\ntls = \"auto\"\nhttp_port = 0\n")
}

/// A GET over TLS by a client that trusts only `authority` (PEM), calling the daemon `name`.
fn get(to: SocketAddr, name: &str, authority: &[u8], path: &str) -> io::Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}:{}\r\nConnection: close\r\n\r\n", to.port());
    http::exchange_over_tls(http::connect(None, to)?, authority, name, &request)
}

/// Repeats until it succeeds.
fn until<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(e) => assert!(start.elapsed() < within, "not {what} within {within:?}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn https_is_the_default_and_the_owner_may_trust_the_device() {
    let mut daemon = Daemon::first_start(&format!("{PATTERN}[web]\ntls = \"auto\"\nhttp_port = 18080\n"));
    let address = daemon.address();
    let link = daemon.said("pairing link: ");
    assert!(link.starts_with(&format!("pairing link: https://{address}/#pair=")), "{link}");
    daemon.said("Your browser will warn once");
    let authority = std::fs::read(daemon.state_dir().join("ca.pem")).unwrap();
    for name in ["127.0.0.1", "localhost"] {
        let session = get(address, name, &authority, "/api/session").unwrap();
        assert!(session.code == 200 && session.body.contains("\"unpaired\""), "{session:?}");
        assert_eq!(session.header("strict-transport-security"), None);
    }
    assert_eq!(get(address, "localhost", &authority, "/api/status").unwrap().code, 403, "without an owner");
    // The log shows it so, for comparison.
    let log = daemon.said("SHA-256 of this device's authority: ");
    let der = CertificateDer::from_pem_slice(&authority).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let hex: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    assert!(log.ends_with(&hex.join(":")), "{log}");
    // Plain HTTP is redirected, from its own port and from this one, and never elsewhere.
    let redirecting = SocketAddr::new(address.ip(), 18080);
    for to in [redirecting, address] {
        let sent_on =
            http::anybody(to, "GET", "/x?y", &[("Host", &format!("localhost:{}", to.port()))], "").unwrap();
        let location = format!("https://localhost:{}/x?y", address.port());
        assert_eq!((sent_on.code, sent_on.header("location")), (308, Some(&*location)));
        let foreign = http::anybody(to, "GET", "/", &[("Host", "evil.example")], "").unwrap();
        assert_eq!((foreign.code, foreign.header("location")), (421, None));
    }
    let link = link.split("#pair=").nth(1).unwrap().to_owned();
    // After a restart it is the same authority with a new secret.
    daemon.kill();
    daemon.restart();
    assert_eq!(std::fs::read(daemon.state_dir().join("ca.pem")).unwrap(), authority);
    assert!(!daemon.said("pairing link: ").contains(&link));
}

#[test]
fn a_new_address_is_in_the_certificate_without_a_restart() {
    let daemon = Daemon::start(&https());
    let authority = std::fs::read(daemon.state_dir().join("ca.pem")).unwrap();
    let there = |name: &str| get(daemon.address(), name, &authority, "/healthz");
    assert_eq!(there("localhost").unwrap().code, 200);
    let refused = there("10.99.0.1").unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
    run("ip", Command::new("ip").args(["address", "add", "10.99.0.1/32", "dev", "lo"]), PATIENCE);
    until("10.99.0.1 is in the certificate", RELOAD, || there("10.99.0.1").map_err(|e| e.to_string()));
    run("ip", Command::new("ip").args(["address", "del", "10.99.0.1/32", "dev", "lo"]), PATIENCE);
    assert_eq!(there("localhost").unwrap().code, 200);
    assert_eq!(http_get_ca(&daemon, &authority), authority);
}

fn http_get_ca(daemon: &Daemon, authority: &[u8]) -> Vec<u8> {
    let reply = get(daemon.address(), "localhost", authority, "/api/ca.pem").unwrap();
    assert_eq!((reply.code, reply.header("content-type")), (200, Some("application/x-x509-ca-cert")));
    reply.body.into_bytes()
}

#[test]
fn the_network_is_told_of_it_only_if_the_owner_wants_that() {
    let looking = mdns_sd::ServiceDaemon::new().unwrap();
    let found = looking.browse("_peercam._tcp.local.").unwrap();
    let silent = Daemon::start(&https());
    let daemon = Daemon::start(&format!("{PATTERN}[web]\ntls = \"auto\"\nhttp_port = 0\nannounce = true\n"));
    let device = until("found", PATIENCE, || match found.recv_timeout(Duration::from_secs(1)) {
        Ok(mdns_sd::ServiceEvent::ServiceResolved(device)) => Ok(device),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(device.get_port(), daemon.address().port());
    let host = device.get_hostname().trim_end_matches('.').to_owned();
    assert!(host.starts_with("peercam") && host.ends_with(".local"), "{host}");
    assert!(!device.get_addresses().is_empty());
    // The name is in the certificate, and accepted in requests; the other one's is not.
    let there = |daemon: &Daemon| {
        let authority = std::fs::read(daemon.state_dir().join("ca.pem")).unwrap();
        get(daemon.address(), &host, &authority, "/healthz").map_err(|e| e.to_string())
    };
    assert_eq!(until("the name is known", RELOAD, || there(&daemon)).code, 200);
    assert!(there(&silent).unwrap_err().contains("not valid for name"));
    drop(daemon);
    until("announced that it leaves", PATIENCE, || match found.recv_timeout(Duration::from_secs(1)) {
        Ok(mdns_sd::ServiceEvent::ServiceRemoved(..)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let _ = looking.shutdown();
}

#[test]
fn the_owners_files_are_served_and_read_again() {
    let dir = Dir::new();
    let make = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned(), "localhost".into()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.pem().into_bytes()
    };
    let first = make("one.example");
    let path = dir.path().display();
    let web = format!(
        "[web]\ntls = \"files\"\nhttp_port = 0\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n"
    );
    let mut daemon = Daemon::start(&format!("{PATTERN}{web}"));
    let there = |daemon: &Daemon, authority: &[u8]| {
        get(daemon.address(), "localhost", authority, "/healthz").map_err(|e| e.to_string())
    };
    assert_eq!(there(&daemon, &first).unwrap().code, 200);
    let second = make("two.example");
    until("the new certificate is served", RELOAD, || there(&daemon, &second));
    std::fs::write(dir.path().join("key.pem"), "oh").unwrap();
    let told = daemon.said_within("can't be used, keeping the old ones", RELOAD);
    assert!(told.contains("key.pem has no private key"), "{told}");
    assert_eq!(there(&daemon, &second).unwrap().code, 200);
    let status = command(&daemon, &["status"], "");
    assert!(text(&status.stdout).contains("keeping the old ones"), "{status:?}");
    // At the start it is refused.
    daemon.kill();
    let config = format!("{PATTERN}{web}");
    std::fs::write(dir.path().join("device.toml"), config).unwrap();
    let mut start = Command::new(env!("CARGO_BIN_EXE_peercam"));
    start.current_dir(dir.path()).arg("--state-dir").arg(dir.path().join("state"));
    let out = start.output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(text(&out.stderr).contains("key.pem has no private key (PEM)"), "{out:?}");
}

#[test]
fn a_proxys_word_counts_only_if_it_is_trusted() {
    let mut trusting = Daemon::start(&format!("{PATTERN}[web]\ntrusted_proxies = [\"127.0.0.1\"]\n"));
    let plain = Daemon::start(PATTERN);
    let ask = |daemon: &Daemon, proto: &[(&str, &str)]| {
        let origin = format!("https://{}", daemon.address());
        let lines = [&[("Origin", &*origin), ("Content-Type", "application/json")], proto].concat();
        http::anybody(daemon.address(), "POST", "/api/login", &lines, "{\"password\":\"wrong wrong\"}")
            .unwrap()
    };
    let forwarded = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "192.0.2.77")];
    assert_eq!(ask(&trusting, &forwarded).code, 401);
    let refused = ask(&trusting, &[]);
    assert!(refused.code == 403 && refused.body.contains("web.proxy_header"), "{refused:?}");
    let refused = ask(&plain, &forwarded);
    assert!(refused.code == 403 && refused.body.contains("web.trusted_proxies"), "{refused:?}");
    // Traefik reports the scheme of a WebSocket with its own name.
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let origin = format!("https://{}", trusting.address());
    for (proto, code) in [("wss", 101), ("https", 101), ("ws", 403)] {
        let told = [("Origin", &*origin), ("X-Forwarded-Proto", proto), ("X-Forwarded-For", "192.0.2.77")];
        let lines = [&told[..], &upgrade].concat();
        let opened = http::open(trusting.address(), "/api/signal", &lines).unwrap();
        assert_eq!(opened, code, "{proto}");
    }
    trusting.said("192.0.2.77");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let daemon = Daemon::start(&https());
    let authority = std::fs::read(daemon.state_dir().join("ca.pem")).unwrap();
    let silent: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(daemon.address()).ok()).collect();
    assert!(silent.len() > 100);
    let ask = || get(daemon.address(), "localhost", &authority, "/healthz").map_err(|e| e.to_string());
    assert_eq!(until("answered", Duration::from_secs(5), ask).code, 200);
    assert!(daemon.log().matches("refused a connection").count() <= 1, "{}", daemon.log());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `peercam COMMAND` with the daemon's state.
fn command(daemon: &Daemon, args: &[&str], stdin: &str) -> Output {
    peercam(&daemon.state_dir(), args, stdin)
}

fn peercam(state_dir: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam"));
    command.args(args).arg("--state-dir").arg(state_dir).env("NO_COLOR", "1");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()); // not every command reads it
    child.wait_with_output().unwrap()
}

fn well(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    text(&out.stdout)
}

fn ill(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    text(&out.stderr)
}

fn post(to: SocketAddr, path: &str, body: &str) -> Response {
    let origin = format!("http://{to}");
    http::anybody(to, "POST", path, &[("Origin", &origin), ("Content-Type", "application/json")], body)
        .unwrap()
}

#[test]
fn an_owner_is_made_and_the_device_is_ruled_by_commands() {
    let mut daemon = Daemon::first_start(PATTERN);
    let address = daemon.address();
    let socket = std::fs::metadata(daemon.state_dir().join("control.sock")).unwrap();
    assert!(socket.file_type().is_socket() && socket.permissions().mode() & 0o777 == 0o660);
    assert_eq!(std::fs::metadata(daemon.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);

    // Pairing: the first link is no longer valid, the second one is.
    let first = daemon.said("pairing link: ");
    let secret = |link: &str| link.split("#pair=").nth(1).unwrap().trim().to_owned();
    let link = well(&command(&daemon, &["pair"], ""));
    assert_eq!(link.lines().count(), 1, "{link}");
    let pair = |secret: &str| {
        post(address, "/api/pair", &format!("{{\"secret\":\"{secret}\",\"password\":\"correct horse\"}}"))
            .code
    };
    assert_eq!((pair(&secret(&first)), pair(&secret(&link))), (401, 204));

    // Passwords.
    let login = |password: &str| post(address, "/api/login", &format!("{{\"password\":\"{password}\"}}"));
    assert_eq!(login("correct horse").code, 200);
    assert!(well(&command(&daemon, &["passwd"], "battery staple\n")).contains("owner's password was set"));
    assert_eq!((login("battery staple").code, login("correct horse").code), (200, 401));
    assert!(ill(&command(&daemon, &["passwd"], "short\n")).contains("8"), "names the shortest length");
    assert!(ill(&command(&daemon, &["passwd"], "")).contains("no password on standard input"));
    well(&command(&daemon, &["passwd", "--viewer"], "open sesame\r\n"));
    assert!(login("open sesame").body.contains("\"viewer\""));
    well(&command(&daemon, &["passwd", "--viewer", "--remove"], ""));
    assert_ne!(login("open sesame").code, 200);

    // Tokens.
    let token = well(&command(&daemon, &["token", "add", "grafana"], ""));
    let token = token.trim();
    let status = |token: &str| {
        http::anybody(address, "GET", "/api/status", &[("Authorization", &format!("Bearer {token}"))], "")
            .unwrap()
            .code
    };
    assert_eq!((status(token), status("made up")), (200, 401));
    assert!(
        ill(&command(&daemon, &["token", "add", "grafana"], ""))
            .contains("a token with this name already exists")
    );
    let list = well(&command(&daemon, &["token", "list"], ""));
    assert!(list.starts_with("grafana  viewer  all cameras  20") && list.lines().count() == 1, "{list}");
    well(&command(&daemon, &["token", "revoke", "grafana"], ""));
    assert_eq!(status(token), 401);
    assert!(ill(&command(&daemon, &["token", "revoke", "grafana"], "")).contains("no token with this name"));

    // Privacy outlasts a restart.
    assert!(well(&command(&daemon, &["privacy", "on"], "")).contains("Privacy is on"));
    daemon.kill();
    assert!(ill(&command(&daemon, &["status"], "")).contains("peercam isn't running on this machine"));
    daemon.restart();
    let facts: serde_json::Value =
        serde_json::from_str(&well(&command(&daemon, &["status", "--json"], ""))).unwrap();
    assert_eq!((&facts["privacy"], &facts["paired"]), (&true.into(), &true.into()), "{facts:#}");
    well(&command(&daemon, &["privacy", "off"], ""));
    let told = well(&command(&daemon, &["status"], ""));
    for part in ["running for", &format!("http://{address}"), "privacy", "viewers"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    daemon.terminate(Duration::from_secs(5));
    assert!(!daemon.state_dir().join("control.sock").exists());
}

#[test]
fn the_doctor_sees_this_machine_and_says_what_to_do() {
    let daemon = Daemon::start(PATTERN);
    let config = daemon.state_dir().join("../device.toml");
    let port = daemon.address().port();
    std::fs::write(
        &config,
        format!("{PATTERN}[web]\naddress = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n[ice]\nport = 0\n"),
    )
    .unwrap();
    let examine = |daemon: &Daemon, config: &Path| {
        command(daemon, &["doctor", "--config", &config.display().to_string()], "")
    };
    let out = examine(&daemon, &config);
    let told = text(&out.stdout);
    for part in [
        &*format!("TCP port {port}"),
        "peercam is listening",
        "firewall",
        "addresses",
        "clock",
        "state",
        "owner",
        "OpenH264 works",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("BAD") && out.status.code() == Some(0), "{told}");
    // A daemon that is not running, and whose port is taken; with a STUN server that does not exist.
    let dir = Dir::new();
    let other = dir.path().join("other.toml");
    let stun = "[[ice.servers]]\nurls = [\"stun:127.0.0.1:9\"]\n";
    std::fs::write(&other, format!("{PATTERN}[web]\naddress = \"127.0.0.1\"\nport = {port}\n{stun}"))
        .unwrap();
    let out = peercam(dir.path(), &["doctor", "--config", &other.display().to_string()], "");
    let told = text(&out.stdout);
    for part in [
        "isn't running",
        &format!("taken by peercam (process {})", daemon.id()),
        "stun:127.0.0.1:9",
        "What to do:",
        "encoder",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(out.status.code(), Some(1), "{told}");
}
