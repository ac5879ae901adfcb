//! What pages of other origins can do with the owner's browser while the owner is signed in: nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::daemon::{Daemon, PATTERN};

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n<!doctype html>";

/// Another site: every path is an empty page. It answers until the tests end.
fn elsewhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        // One thread each: a browser opens connections ahead, and says nothing on some for long.
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                let _ = stream.write_all(EMPTY.as_bytes()); // whoever has gone needs no answer
            });
        }
    });
    address
}

/// Everything that a page may try, each with what it came to. Those without an answer to read are judged by what they did.
const ATTEMPTS: &str = r#"(async () => {
  const told = {};
  const attempt = async (name, act) => { told[name] = await act().catch(() => 'refused'); };
  const include = { credentials: 'include' };
  const read = (path, init) => async () => `answered ${(await fetch(CAMERA + path, { ...include, ...init })).status}`;
  const json = { method: 'POST', headers: { 'content-type': 'application/json' } };
  await attempt('reads the status', read('api/status'));
  await attempt('reads the session', read('api/session'));
  await attempt('turns privacy on', read('api/privacy', { ...json, body: '{"on":true}' }));
  await attempt('makes a guest link', read('api/guests', { ...json, body: '{"label":"me","hours":1}' }));
  await attempt('signs the owner out', read('api/logout', { ...json, body: '{"everywhere":true}' }));
  await attempt('watches by WHEP', read('whep', { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: 'v=0' }));
  const socket = (path) => () => new Promise((resolve, reject) => {
    const socket = new WebSocket(CAMERA.replace(/^http/, 'ws') + path);
    socket.onopen = () => resolve('opened');
    socket.onerror = reject;
  });
  await attempt('watches by WebSocket', socket('api/signal'));
  const element = (tag, property, path) => () => new Promise((resolve, reject) => {
    const element = document.createElement(tag);
    element.onload = () => resolve('loaded');
    element.onerror = reject;
    element[property] = CAMERA + path;
    document.documentElement.append(element);
  });
  await attempt('shows the snapshot', element('img', 'src', 'snapshot.jpg'));
  await attempt('runs the status as a script', element('script', 'src', 'api/status'));

  // These get no answer to look at, whatever the server says.
  const blind = (path, body) => fetch(CAMERA + path, { ...include, method: 'POST', mode: 'no-cors', body }).catch(() => {});
  await blind('api/privacy', '{"on":true}');
  await blind('api/logout', '{"everywhere":true}');
  const framed = (make) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.name = `frame${Math.random()}`;
    frame.onload = () => setTimeout(resolve, 1000);
    document.documentElement.append(frame);
    make(frame);
    setTimeout(resolve, 3000);
  });
  const form = (path, name, value) => framed((frame) => {
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', enctype: 'text/plain', action: CAMERA + path, target: frame.name });
    form.append(Object.assign(document.createElement('input'), { name, value }));
    document.documentElement.append(form);
    form.submit();
  });
  await form('api/privacy', '{"on":true,"', '":0}');
  await form('api/logout', '{"everywhere":true,"', '":0}');
  await framed((frame) => { frame.src = CAMERA; });
  return told;
})()"#;

#[test]
fn a_page_of_another_origin_can_do_nothing_with_the_owners_browser() {
    let daemon = Daemon::start(PATTERN);
    let mut browser = Browser::start("chromium");
    browser.open(&daemon.url("/"));
    // Another port of the same host is the same site, so cookies go along with what its pages ask for.
    let port = elsewhere().port();
    for origin in [format!("http://127.0.0.1:{port}/"), format!("http://localhost:{port}/")] {
        browser.tell(&json!({"do": "visit", "url": origin}));
        let told = browser.eval(&ATTEMPTS.replace("CAMERA", &json!(daemon.url("/")).to_string()));
        println!("from {origin}: {told}");
        for (what, came) in told.as_object().expect("what was tried") {
            assert_eq!(came, "refused", "a page of {origin} {what}");
        }
        let status = daemon.status();
        assert_eq!(status["viewers"]["count"], 0, "a page of {origin} watches: {status:#}");
        // Still signed in, and the picture is there: nothing was switched off.
        browser.tell(&json!({"do": "visit", "url": daemon.url("/")}));
        let session: Value = browser.eval("fetch('api/session').then((r) => r.json())");
        assert_eq!((&session["role"], &session["privacy"]), (&json!("owner"), &json!(false)), "{session}");
        browser.frames(5, 10);
    }
}
