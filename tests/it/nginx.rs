//! A real nginx in front of the daemon, with the lines from the documentation.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;

use crate::browser::Browser;
use crate::daemon::{Daemon, PATTERN, status};
use crate::door;
use crate::http::{anybody, request};
use crate::lab::{Host, cable};
use crate::place;
use crate::process::{Dir, Process};

/// The `device.toml` of docs/https.md for use behind a proxy.
pub(crate) const TRUSTING: &str =
    "[web]\naddress = \"127.0.0.1\"\ntls = \"off\"\ntrusted_proxies = [\"127.0.0.1\"]\n";

/// How long nginx may take to listen.
const READY: Duration = Duration::from_secs(20);

/// The lines of docs/https.md for a `server` of nginx, for a daemon at that address.
pub(crate) fn documented_lines(daemon: SocketAddr) -> String {
    let page = include_str!("../../docs/https.md");
    let block = page.split("\n```nginx\n").nth(1).and_then(|rest| rest.split("```\n").next());
    let lines = block.expect("the page has lines for nginx");
    let upstream = "http://127.0.0.1:8443";
    assert_eq!(lines.matches(upstream).count(), 2, "with and without a prefix: {lines}");
    lines.replace(upstream, &format!("http://{daemon}"))
}

/// A running nginx.
pub(crate) struct Nginx {
    /// Its certificate, if it has one.
    pub certificate: String,
    _process: Process,
    _dir: Dir,
}

impl Nginx {
    /// One server for each address, with those lines; over HTTPS if `tls`. Returns when it is listening.
    pub(crate) fn start(servers: &[(SocketAddr, String)], tls: bool) -> Self {
        let dir = Dir::new();
        let path = dir.path().display();
        let names: Vec<_> = servers.iter().map(|(address, _)| address.ip().to_string()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(dir.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        let ssl = if tls { " ssl" } else { "" };
        let server = |(address, lines): &(SocketAddr, String)| {
            format!(
                "server {{\nlisten {address}{ssl};\nssl_certificate {path}/cert.pem;\nssl_certificate_key {path}/key.pem;\n{lines}}}\n"
            )
        };
        let servers_text: String = servers.iter().map(server).collect();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{servers_text}}}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new(place("PEERCAM_NGINX"));
        command.args(["-e", "stderr", "-c"]).arg(dir.path().join("nginx.conf")).arg("-p").arg(dir.path());
        let process = Process::start("nginx", &mut command);
        let end = Instant::now() + READY;
        while !servers.iter().all(|(address, _)| TcpStream::connect(address).is_ok()) {
            if Instant::now() > end {
                process.fail(&format!("does not listen within {READY:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { certificate: cert.pem(), _process: process, _dir: dir }
    }
}

/// A camera with nginx, and a viewer.
fn camera_and_viewer() -> (Host, Host) {
    let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
    cable((&camera, "eth0", "192.168.1.2/24"), (&viewer, "eth0", "192.168.1.3/24"));
    camera.gateway("192.168.1.3");
    viewer.gateway("192.168.1.2");
    (camera, viewer)
}

const OFFER: &str = include_str!("../data/offer-chromium-156.sdp");

/// The page, at the root and below a path, with picture, by WebSocket, at ports other than HTTPS's own.
#[test]
fn chromium_watches_behind_nginx() {
    let (camera, viewer) = camera_and_viewer();
    let at = |port: u16| SocketAddr::from(([192, 168, 1, 2], port));
    let (daemon, nginx) = camera.inside(|| {
        let daemon = Daemon::start(&format!("{PATTERN}{TRUSTING}"));
        let lines = documented_lines(daemon.address());
        // A common variant, which drops the port.
        let without_port = lines.replace("$http_host", "$host");
        assert_ne!(lines, without_port);
        let nginx = Nginx::start(&[(at(8444), lines), (at(8445), without_port)], true);
        (daemon, nginx)
    });
    let mut browser = viewer.inside(|| Browser::trusting(nginx.certificate.as_bytes()));
    let web = daemon.address();
    let watches = |browser: &mut Browser, page: &str| {
        browser.open(page);
        let status = camera.inside(|| status(web));
        // The newest: the previous page may not have left yet.
        let newest =
            status["viewers"]["list"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        assert_eq!(
            (&newest["address"], &newest["via"]),
            (&json!("192.168.1.3"), &json!("page")),
            "{page}: {status:#}"
        );
        assert_eq!(browser.eval("document.cookie"), "", "out of the page's reach");
    };
    for page in
        ["https://192.168.1.2:8444/", "https://192.168.1.2:8444/cam/", "https://192.168.1.2:8445/cam/"]
    {
        watches(&mut browser, page);
    }
    // WHEP, by a client that resolves the returned URL.
    for path in ["/whep", "/whep/", "/cam/whep", "/cam/whep/"] {
        let code = format!(
            "(async () => {{
               const headers = {{ authorization: {:?}, 'content-type': 'application/sdp' }};
               const joined = await fetch({path:?}, {{ method: 'POST', headers, body: {OFFER:?} }});
               const resource = new URL(joined.headers.get('location'), joined.url);
               const left = await fetch(resource, {{ method: 'DELETE', headers }});
               return [joined.status, resource.pathname.replace(/[^/]+$/, ''), left.status];
             }})()",
            format!("Bearer {}", door::token()),
        );
        let below = if path.starts_with("/cam") { "/cam/whep/" } else { "/whep/" };
        assert_eq!(browser.eval(&code), json!([201, below, 200]), "{path}");
    }
    assert!(!daemon.log().contains("address=127.0.0.1"), "{}", daemon.log());
}

/// Forged headers of a client have no effect: through the documented lines, and where the other header is
/// chosen.
#[test]
fn nginx_passes_on_nothing_that_a_client_makes_up() {
    let (camera, viewer) = camera_and_viewer();
    let both: [SocketAddr; 2] = [([192, 168, 1, 2], 8080).into(), ([192, 168, 1, 2], 8081).into()];
    let (daemons, _nginx) = camera.inside(|| {
        let usual = Daemon::start(&format!("{PATTERN}{TRUSTING}"));
        let other = Daemon::start(&format!("{PATTERN}{TRUSTING}proxy_header = \"forwarded\"\n"));
        let lines = documented_lines(usual.address());
        let forwarded = forwarded_lines(other.address());
        let nginx = Nginx::start(&[(both[0], lines), (both[1], forwarded)], false);
        ([usual, other], nginx)
    });
    for (proxy, daemon) in both.into_iter().zip(&daemons) {
        let made_up = [
            ("Content-Type", "application/sdp"),
            ("Forwarded", "for=198.51.100.7;proto=https"),
            ("X-Forwarded-For", "198.51.100.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Prefix", "/elsewhere"),
        ];
        let joined = viewer.inside(|| request(proxy, "POST", "/whep", &made_up, OFFER)).unwrap();
        assert_eq!(joined.code, 201, "{joined:?}");
        let resource = joined.header("location").expect("a resource");
        assert!(resource.starts_with("whep/"), "{joined:?}");
        let web = daemon.address();
        let status = camera.inside(|| status(web));
        assert_eq!(status["viewers"]["list"][0]["address"], "192.168.1.3", "{status:#}");
        assert!(!daemon.log().contains("198.51.100.7"), "{}", daemon.log());

        // A password of the proxy's own is sent along with everything; it belongs to nobody, and is not a
        // guess.
        let proxys = [("Authorization", "Basic cHJveHk6aXRzIG93bg==")];
        for _ in 0..20 {
            let answer = viewer.inside(|| anybody(proxy, "GET", "/whep", &proxys, "")).unwrap();
            assert_eq!((answer.code, answer.header("www-authenticate")), (401, Some("Bearer")), "{answer:?}");
        }
        let right = json!({"password": door::PASSWORD}).to_string();
        let json = [proxys[0], ("Content-Type", "application/json")];
        let answer = viewer.inside(|| anybody(proxy, "POST", "/api/login", &json, &right)).unwrap();
        assert_eq!(answer.code, 200, "{answer:?}");
    }
}

/// Lines for a `server` of nginx that describes its client only in `Forwarded`.
pub(crate) fn forwarded_lines(daemon: SocketAddr) -> String {
    format!(
        "proxy_set_header Host $http_host;\nproxy_set_header Forwarded \"for=$remote_addr;proto=$scheme\";\n\
         location / {{ proxy_pass http://{daemon}; }}\n"
    )
}
