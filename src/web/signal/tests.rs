//! The protocol, over real sockets and with real viewers (without media).

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::super::auth::Role;
use super::super::limits::Limits;
use super::super::testing::{OFFER, PATIENCE, Server, context};
use super::*;
use crate::config;
use crate::pipeline::quality::Offered;
use crate::state::Scope;

struct Page(WebSocketStream<TcpStream>);

/// The page's side of a socket.
#[derive(Debug, PartialEq)]
enum Got {
    Text(Value),
    Close(u16),
    End,
}

impl Page {
    async fn open(server: &Server) -> Self {
        Self::open_with(server, &server.context.token).await
    }

    async fn open_with(server: &Server, token: &str) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut request = format!("ws://{}/api/signal", server.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut page = Self(socket);
        assert_eq!(page.next("hello").await["version"], env!("CARGO_PKG_VERSION"));
        page
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn get(&mut self) -> Got {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something in time") {
                Some(Ok(Message::Text(text))) => return Got::Text(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Got::Close(frame.map_or(1005, |f| f.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::End,
            }
        }
    }

    /// The next message of this type; status and candidates may arrive at any time.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            match self.get().await {
                Got::Text(message) if message["type"] == kind => return message,
                Got::Text(message) if message["type"] == "status" || message["type"] == "candidate" => {}
                other => panic!("waiting for {kind}: {other:?}"),
            }
        }
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            match self.get().await {
                Got::Text(_) => {}
                Got::Close(code) => return code,
                Got::End => panic!("ended without a close"),
            }
        }
    }

    async fn join(&mut self) -> String {
        self.say(json!({"type": "offer", "sdp": OFFER, "sound": false})).await;
        let answer = self.next("answer").await;
        assert!(answer["sdp"].as_str().unwrap().starts_with("v=0"));
        answer["viewer"].as_str().unwrap().to_owned()
    }
}

fn start() -> Server {
    Server::start(Limits::STANDARD, context())
}

#[tokio::test]
async fn hello_status_and_clock() {
    let server = start();
    let mut page = Page::open(&server).await;
    let Got::Text(status) = page.get().await else { panic!() };
    assert_eq!(status["type"], "status");
    assert_eq!(status["viewers"], json!({"count": 0, "max": 50, "list": []}));
    assert!(status.get("counters").is_none());
    let before = Pts::now().as_micros();
    page.say(json!({"type": "clock", "t0": 12.5})).await;
    let clock = page.next("clock").await;
    assert_eq!(clock["t0"], 12.5);
    assert!((before..=Pts::now().as_micros()).contains(&clock["mono_us"].as_u64().unwrap()));
}

#[tokio::test]
async fn the_sizes_that_there_are_are_told_when_they_change() {
    let server = start();
    let mut page = Page::open(&server).await;
    let offered = Offered { size: Some(config::Video::default().size), ..Offered::default() };
    server.context.camera().video.offer(offered);
    server.context.status.cameras()[0].video.change(|_| {});
    assert_eq!(page.next("update").await["qualities"], json!(["full", "half", "quarter"]));
    server.context.camera().video.offer(Offered { smaller: false, ..offered });
    server.context.status.cameras()[0].video.change(|_| {});
    assert_eq!(page.next("update").await["qualities"], json!(["full"]));
}

#[tokio::test]
async fn a_change_is_told_at_once_but_not_each_of_many() {
    let server = start();
    let mut page = Page::open(&server).await;
    page.next("status").await;
    for n in 0..1000 {
        server.context.status.cameras()[0].video.change(|v| v.name = format!("camera {n}"));
    }
    let mut told = 0;
    loop {
        told += 1;
        if page.next("status").await["video"]["name"] == "camera 999" {
            break;
        }
    }
    assert!(told <= 3, "{told}");
}

#[tokio::test]
async fn three_messages_that_make_no_sense_end_it() {
    let server = start();
    let mut page = Page::open(&server).await;
    for bad in [Message::text("hello"), Message::text(r#"{"type":"stats"}"#), Message::binary(vec![1, 2])] {
        page.0.send(bad).await.unwrap();
        let error = page.next("error").await;
        assert_eq!(error["status"], 400);
    }
    assert_eq!(page.close_code().await, 1008);
}

#[tokio::test]
async fn messages_are_bounded() {
    let server = start();
    for (bytes, code) in [(70_000, 1009), (200_000, 1002)] {
        let mut page = Page::open(&server).await;
        let _ = page.0.send(Message::text(" ".repeat(bytes))).await;
        assert_eq!(page.close_code().await, code, "{bytes}");
    }
}

#[tokio::test]
async fn what_is_not_even_a_websocket_frame_ends_it() {
    use tokio::io::AsyncWriteExt;
    let server = start();
    let mut page = Page::open(&server).await;
    page.0.get_mut().write_all(&[0xff; 64]).await.unwrap();
    assert_eq!(page.close_code().await, 1002);
    assert!(matches!(Page::open(&server).await.get().await, Got::Text(_)));
}

#[tokio::test]
async fn silence_is_pinged_and_then_ended() {
    // Longer than a busy machine pauses.
    let (ping, idle) = (Duration::from_millis(100), Duration::from_millis(1500));
    let server = Server::start(Limits { ping, idle, ..Limits::STANDARD }, context());
    // A client that reads answers our pings by itself.
    let mut alive = Page::open(&server).await;
    let began = Instant::now();
    while began.elapsed() < idle * 2 {
        let _ = timeout(ping, alive.get()).await;
    }
    alive.say(json!({"type": "clock", "t0": 1})).await;
    alive.next("clock").await;
    // A client that does not read is closed.
    let mut page = Page::open(&server).await;
    tokio::time::sleep(idle * 2).await;
    while let Got::Text(_) = page.get().await {}
}

#[tokio::test]
async fn a_viewer_joins_restarts_and_leaves() {
    let server = start();
    let mut page = Page::open(&server).await;
    let viewer = page.join().await;
    assert_eq!(server.context.registry.count(), 1);
    page.say(json!({"type": "candidate", "mid": "0",
                    "candidate": "candidate:1 1 udp 2113937151 192.0.2.7 50000 typ host"}))
        .await;
    page.say(json!({"type": "candidate", "candidate": "", "mid": null})).await;
    page.say(json!({"type": "sound", "on": true})).await;
    page.say(json!({"type": "quality", "quality": "half"})).await;
    page.say(json!({"type": "clock", "t0": 1})).await;
    page.next("clock").await; // none of these was refused
    let facts = || server.context.registry.list().remove(0);
    assert!(facts().sound && facts().cameras[0].quality == Quality::Half);

    let again = with_new_ice(OFFER);
    page.say(json!({"type": "offer", "sdp": again})).await;
    let answer = page.next("answer").await;
    assert_eq!(answer["viewer"], viewer);
    assert!(facts().sound && facts().cameras[0].quality == Quality::Half, "not stated, so as before");

    page.say(json!({"type": "bye"})).await;
    page.say(json!({"type": "clock", "t0": 2})).await;
    page.next("clock").await;
    assert_eq!(server.context.registry.count(), 0);
    // The socket can be used for another offer.
    assert_ne!(page.join().await, viewer);
}

#[tokio::test]
async fn refused_offers_are_told_and_leave_nothing_behind() {
    let server = start();
    let mut page = Page::open(&server).await;
    for (sdp, status) in [
        ("", 400),
        ("v=0", 400),
        (&*OFFER.replace("H264", "H265"), 406),
        (&*OFFER.replace("a=ice-ufrag:", "a=x-ufrag:"), 400),
    ] {
        page.say(json!({"type": "offer", "sdp": sdp})).await;
        let error = page.next("error").await;
        assert_eq!(error["status"], status, "{error}");
        // Candidates that were on their way are not counted as invalid.
        for _ in 0..5 {
            page.say(json!({"type": "candidate", "candidate": "", "mid": "0"})).await;
        }
    }
    assert_eq!(server.context.registry.count(), 0);
    page.join().await;
}

/// A page whose offer names a camera that has just gone can only make a better one if it knows that.
#[tokio::test]
async fn what_has_changed_is_told_before_an_offer_is_refused() {
    let server = start();
    let mut page = Page::open(&server).await;
    page.next("status").await;
    server.context.cameras.set([Arc::new(Camera::new("attic", "Attic"))].into());
    let section = json!([{"mid": "0", "camera": "camera"}]);
    page.say(json!({"type": "offer", "sdp": OFFER, "cameras": section})).await;
    assert_eq!(page.next("update").await["cameras"][0]["name"], "attic");
    assert_eq!(page.next("error").await["status"], 400);
}

#[tokio::test]
async fn another_socket_takes_a_viewer_over() {
    let server = start();
    let mut old = Page::open(&server).await;
    let viewer = old.join().await;
    let mut new = Page::open(&server).await;
    new.say(json!({"type": "resume", "viewer": "nobody"})).await;
    assert_eq!(new.next("error").await["status"], 404);
    new.say(json!({"type": "resume", "viewer": viewer})).await;
    new.next("resumed").await;
    assert_eq!(old.close_code().await, 1000);
    new.say(json!({"type": "offer", "sdp": with_new_ice(OFFER)})).await;
    assert_eq!(new.next("answer").await["viewer"], viewer);
    server.ask("DELETE", &format!("/whep/{viewer}"), &[], "").await;
    assert!(!new.next("closed").await["reason"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn what_happens_while_no_socket_listens_is_told_later() {
    let server = start();
    let mut old = Page::open(&server).await;
    let viewer = old.join().await;
    drop(old);
    assert_eq!(server.context.registry.count(), 1, "the viewer outlives its socket");
    let mut new = Page::open(&server).await;
    new.say(json!({"type": "resume", "viewer": viewer})).await;
    new.next("resumed").await;
    new.say(json!({"type": "bye"})).await;
    new.say(json!({"type": "resume", "viewer": viewer})).await;
    assert_eq!(new.next("error").await["status"], 404);
}

/// Otherwise a page without pictures would say for two seconds that they are frozen.
#[tokio::test]
async fn what_a_viewer_gets_is_told_at_once_and_only_to_a_socket() {
    // Each status after the first one has a reason.
    let server = Server::start(Limits { status: PATIENCE * 2, ..Limits::STANDARD }, context());
    let mut page = Page::open(&server).await;
    page.next("status").await;
    let viewer = page.join().await;
    let session = server.session(&viewer);
    for _ in 0..2 {
        session.tell(Event::Gets);
        page.next("status").await;
    }
    let restart = || session.tell(Event::Restart("an address has changed".into()));
    let restarts = |told: &mut mpsc::Receiver<Notice>| {
        let all = std::iter::from_fn(|| told.try_recv().ok());
        all.filter(|notice| matches!(notice, Notice::Event(Event::Restart(_)))).count()
    };
    let mut stuck = session.attach();
    (0..100).for_each(|_| session.tell(Event::Gets));
    restart();
    assert_eq!(restarts(&mut stuck), 1, "there is room for what matters");
    drop(stuck);
    restart();
    (0..100).for_each(|_| session.tell(Event::Gets));
    let mut next = session.attach();
    assert_eq!((next.len(), restarts(&mut next)), (1, 1), "only what matters is kept");
}

#[tokio::test]
async fn stopping_is_told() {
    let server = start();
    let mut page = Page::open(&server).await;
    page.next("status").await;
    server.cancel();
    assert_eq!(page.next("closed").await["reason"], "the device is shutting down");
    assert_eq!(page.close_code().await, 1001);
    server.stop().await;
}

#[tokio::test]
async fn who_loses_access_is_told_and_the_viewer_ends() {
    let server = start();
    let auth = &server.context.auth;
    let token = auth.add_token("player", Role::Guest, Scope::ALL).unwrap();
    let mut page = Page::open_with(&server, &token).await;
    let Got::Text(status) = page.get().await else { panic!() };
    assert_eq!(status["viewers"], json!({"count": 0, "max": 50, "own": []}));
    let viewer = page.join().await;
    assert_eq!(server.context.registry.list()[0].who, "token: player");
    // Nobody else may take the viewer over.
    let other = auth.add_token("other", Role::Viewer, Scope::ALL).unwrap();
    let mut thief = Page::open_with(&server, &other).await;
    thief.say(json!({"type": "resume", "viewer": viewer})).await;
    assert_eq!(thief.next("error").await["status"], 404);

    let began = Instant::now();
    auth.revoke_token("player").unwrap();
    assert_eq!(page.next("closed").await["reason"], "this token was revoked");
    assert_eq!(page.close_code().await, 4401);
    while server.context.registry.count() > 0 {
        assert!(began.elapsed() < Duration::from_secs(2), "its viewer is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    thief.say(json!({"type": "clock", "t0": 1})).await;
    thief.next("clock").await;
}

#[tokio::test]
async fn foreign_pages_get_no_socket() {
    let server = start();
    for (origin, status) in [("http://evil.example", 403), ("null", 403), ("https://localhost", 403)] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let request = http::Request::builder()
            .uri(format!("ws://{}/api/signal", server.address))
            .header("Host", server.address.to_string())
            .header("Origin", origin)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key())
            .body(())
            .unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), status, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
}

/// The same offer after `restartIce()`.
fn with_new_ice(offer: &str) -> String {
    let line = |l: &str| match l.split_once(':').map(|(name, _)| name) {
        Some("a=ice-ufrag") => "a=ice-ufrag:nEw1".to_owned(),
        Some("a=ice-pwd") => "a=ice-pwd:0123456789abcdefghijkLMN".to_owned(),
        _ => l.to_owned(),
    };
    offer.lines().map(|l| line(l) + "\r\n").collect()
}
