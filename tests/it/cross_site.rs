//! Pages of other origins: with forged headers, and in a real browser whose owner is signed in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::access::{ask, bearer, log_in, parsed};
use crate::browser::Browser;
use crate::daemon::{Daemon, PATTERN};
use crate::door::{self, PASSWORD};
use crate::http::request;

#[test]
fn a_cookie_counts_for_our_own_page_only() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let owner = log_in(to, PASSWORD);
    let cookie = || owner[..1].to_vec();
    let ours = format!("http://{to}");
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let changes = [
        ("POST", "/api/pair"),
        ("POST", "/api/login"),
        ("POST", "/api/guest"),
        ("POST", "/api/logout"),
        ("POST", "/api/password"),
        ("POST", "/api/guests"),
        ("DELETE", "/api/guests/x"),
        ("POST", "/api/guests/x"),
        ("POST", "/api/privacy"),
        ("POST", "/whep"),
        ("PATCH", "/whep/x"),
        ("DELETE", "/whep/x"),
        ("GET", "/api/signal"),
    ];
    for (method, path) in changes {
        let with = |more: &[(&'static str, &str)]| {
            let mut shows = cookie();
            shows.extend(more.iter().map(|(n, v)| (*n, v.to_string())));
            if path == "/api/signal" {
                shows.extend(upgrade.map(|(n, v)| (n, v.to_string())));
            }
            ask(to, &shows, method, path, "").code
        };
        for forged in [
            &[][..],
            &[("Origin", "null")],
            &[("Origin", "http://evil.example")],
            &[("Origin", "http://127.0.0.1:1")],
            &[("Sec-Fetch-Site", "cross-site")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Sec-Fetch-Site", "nonsense")],
            &[("Origin", &ours), ("Sec-Fetch-Site", "same-site")],
        ] {
            assert_eq!(with(forged), 403, "{method} {path} with {forged:?}");
        }
        for fair in [&[("Origin", &*ours)][..], &[("Sec-Fetch-Site", "same-origin")]] {
            if path != "/api/signal" {
                let code = with(fair);
                assert!(![401, 403].contains(&code), "{method} {path} with {fair:?}: {code}");
            }
        }
    }
    // Reading, too: a foreign page may not show anything of ours.
    for path in ["/snapshot.jpg", "/api/status", "/api/guests", "/whep"] {
        for site in ["cross-site", "same-site"] {
            let mut shows = cookie();
            shows.push(("Sec-Fetch-Site", site.into()));
            assert_eq!(ask(to, &shows, "GET", path, "").code, 401, "{path} from {site}");
        }
        assert_eq!(ask(to, &cookie(), "GET", path, "").code, 200, "{path} by an old browser");
    }
    // A program sends a token, which no browser adds by itself.
    assert_eq!(ask(to, &bearer(&door::token()), "DELETE", "/whep/x", "").code, 404);
    let status = daemon.status();
    assert_eq!(status["viewers"]["count"], 0, "{status:#}");
}

/// Serves one page at a separate origin, for as long as the tests run.
struct Evil(SocketAddr);

impl Evil {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Browsers open connections that they may use later.
                std::thread::spawn(move || Self::serve(stream));
            }
        });
        Self(address)
    }

    fn serve(mut stream: TcpStream) {
        let asked = stream.read(&mut [0; 4096]).unwrap_or(0);
        if asked == 0 {
            return;
        }
        let page = "<!doctype html><title>evil</title><p>Look, a kitten.";
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
    }
}

/// What a page of another origin tries in a browser whose owner is signed in.
const EVIL: &str = r#"(async () => {
    const tries = {};
    const at = (path) => 'http://CAMERA' + path;
    const attempt = async (name, act) => { tries[name] = await act().then((v) => v ?? 'done', () => 'failed'); };
    const send = (path, options) => fetch(at(path), { credentials: 'include', ...options });
    await attempt('read status', () => send('/api/status').then((r) => r.text()));
    await attempt('privacy, as JSON', () => send('/api/privacy', { method: 'POST', body: '{"on":true}',
        headers: { 'content-type': 'application/json' } }).then((r) => r.status));
    for (const [path, body] of [['/api/privacy', '{"on":true}'], ['/api/logout', '{"everywhere":true}'],
        ['/api/guests', '{"label":"evil","hours":9}'], ['/whep', 'v=0']]) {
      await attempt('blind ' + path, () => send(path, { method: 'POST', mode: 'no-cors', body }).then((r) => r.type));
    }
    await attempt('form', async () => {
      const frame = document.body.appendChild(Object.assign(document.createElement('iframe'), { name: 'f' }));
      const form = document.body.appendChild(Object.assign(document.createElement('form'),
        { action: at('/api/logout'), method: 'post', target: 'f', enctype: 'text/plain' }));
      form.append(Object.assign(document.createElement('input'), { name: '{"everywhere":true,"x":"', value: '"}' }));
      form.submit();
      await new Promise((r) => setTimeout(r, 1000));
      try { return frame.contentDocument ? 'not loaded' : 'hidden'; } catch { return 'hidden'; }
    });
    await attempt('socket', () => new Promise((done, fail) => {
      const socket = new WebSocket('ws://CAMERA/api/signal');
      socket.onmessage = (m) => done(m.data);
      socket.onclose = socket.onerror = fail;
    }));
    await attempt('snapshot', () => new Promise((done, fail) => {
      const image = new Image();
      image.onload = () => done('seen');
      image.onerror = fail;
      image.src = at('/snapshot.jpg');
    }));
    return tries;
})()"#;

#[test]
fn a_page_of_another_origin_gets_nothing_out_of_a_browser_that_is_signed_in() {
    let daemon = Daemon::start(PATTERN);
    let evil = Evil::start();
    let mut browser = Browser::start("chromium");
    browser.open(&daemon.url("/"));
    let port = daemon.address().port();
    // A different site (localhost), and the same site at a different port: cookies are not separated by port.
    for (host, camera) in
        [("localhost", format!("127.0.0.1:{port}")), ("127.0.0.1", format!("127.0.0.1:{port}"))]
    {
        let url = format!("http://{host}:{}/", evil.0.port());
        browser.tell(&json!({"do": "visit", "url": url}));
        let tries = browser.tell(&json!({"do": "eval", "code": EVIL.replace("CAMERA", &camera)}));
        println!("from {host}: {tries}");
        for (name, outcome) in tries.as_object().expect("tries") {
            let harmless = ["failed", "opaque", "hidden"].contains(&outcome.as_str().unwrap_or_default());
            assert!(harmless, "{name} from {host}: {outcome}");
        }
    }
    let status = daemon.status();
    assert_eq!(status["viewers"]["count"], 0, "{status:#}");
    let guests = parsed(&request(daemon.address(), "GET", "/api/guests", &[], "").unwrap());
    assert_eq!(guests, json!([]));
    let session = parsed(&request(daemon.address(), "GET", "/api/session", &[], "").unwrap());
    assert_eq!(session["privacy"], false);
    // The owner is still signed in.
    browser.open(&daemon.url("/"));
}
