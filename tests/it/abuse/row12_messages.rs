//! Row 12: a page that sends messages as fast as the line allows.

use std::time::{Duration, Instant};

use super::{Flat, Scene, sockets};

const LOAD: Duration = Duration::from_secs(6);
/// Time within which a flood is noticed and the socket closed, even on a busy machine.
const CLOSED: Duration = Duration::from_secs(3);

/// Sends that frame without pause, on one socket after the other.
fn attack(scene: &Scene, what: &str, frame: &[u8]) {
    scene.under(what, Flat::FromStart, |target| {
        let (start, mut sent, mut closed) = (Instant::now(), 0, vec![]);
        while start.elapsed() < LOAD {
            let Some(mut socket) = sockets::open(None, target.web, &target.guest) else { continue };
            let (bytes, after) = sockets::flood(&mut socket, frame, LOAD);
            sent += bytes / frame.len();
            closed.push(after.expect("it was closed"));
        }
        let longest = closed.iter().max().expect("one at least");
        assert!(*longest < CLOSED, "a socket was closed after {longest:?}");
        format!("{sent} frames sent on {} sockets, the last of which lived for {longest:.0?}", closed.len())
    });
}

#[test]
fn questions_for_the_clock() {
    attack(&Scene::new(), "clock messages", &sockets::text(r#"{"type":"clock","t0":1}"#));
}

#[test]
fn messages_that_need_no_answer() {
    attack(
        &Scene::new(),
        "candidates without a viewer",
        &sockets::text(r#"{"type":"candidate","candidate":""}"#),
    );
}

#[test]
fn pings() {
    attack(&Scene::new(), "pings", &sockets::frame(0x89, b"ping"));
}

/// These frames never complete a message, so the socket is not closed; it is read slowly.
#[test]
fn empty_pieces_of_a_message_that_never_ends() {
    Scene::new().under("empty continuation frames", Flat::FromStart, |target| {
        let mut socket = sockets::open(None, target.web, &target.guest).expect("one socket");
        std::io::Write::write_all(&mut socket, &sockets::frame(0x01, b"")).expect("the first piece");
        let piece = sockets::frame(0x00, b"");
        let (bytes, _) = sockets::flood(&mut socket, &piece, LOAD);
        // What is in the buffers of both ends was not read.
        format!("{} frames taken by daemon and kernels in {LOAD:?}", bytes / piece.len())
    });
}
