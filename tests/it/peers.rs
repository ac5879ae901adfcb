//! Independent WebRTC stacks as WHEP clients: `tests/peers`.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::browser::number;
use crate::daemon::{Daemon, PATTERN};
use crate::door;
use crate::process::run;
use crate::{file, place};

const SECONDS: &str = "6";

fn watches(name: &str, command: &mut Command) -> Value {
    let daemon = Daemon::start(PATTERN);
    let command = command.arg(daemon.url("/whep")).arg(SECONDS).envs(door::keys());
    let out = run(name, command, Duration::from_secs(60));
    let facts: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    println!("{facts}");
    assert_eq!(facts["state"], "connected", "{facts:#}\n{}", daemon.log());
    assert_eq!(facts["delete_status"], 200, "{facts:#}");
    assert!(number(&facts, "/video_frames") >= 60., "{facts:#}");
    assert!(number(&facts, "/audio_packets") >= 100., "{facts:#}");
    let status = daemon.status();
    assert_eq!(number(&status, "/viewers/count"), 0., "DELETE left a viewer: {status:#}");
    facts
}

/// What a decoding peer must have seen and heard.
fn assert_decoded(facts: &Value) {
    assert_eq!((number(facts, "/width"), number(facts, "/height")), (640., 480.), "{facts:#}");
    assert_eq!(number(facts, "/stamps_wrong"), 0., "{facts:#}");
    assert!(number(facts, "/stamps") >= 60., "{facts:#}");
    assert!(number(facts, "/tone") > 0.05, "{facts:#}");
}

#[test]
fn aiortc() {
    assert_decoded(&watches(
        "aiortc",
        Command::new(place("PEERCAM_AIORTC")).arg(file("peers/aiortc_peer.py")),
    ));
}

#[test]
fn gstreamer() {
    assert_decoded(&watches(
        "gstreamer",
        Command::new("/usr/bin/python3").arg(file("peers/gstreamer_peer.py")),
    ));
}

#[test]
fn pion() {
    let facts = watches("pion", &mut Command::new(place("PEERCAM_PION")));
    assert_eq!(facts["codec"], "video/H264");
    assert_eq!(number(&facts, "/video_lost"), 0., "{facts:#}");
    // Every IDR comes with its parameter sets.
    assert!(number(&facts, "/sps") >= 2. && facts["sps"] == facts["pps"], "{facts:#}");
    // It requests a keyframe half way.
    assert!(number(&facts, "/idr_after_pli") >= 1., "{facts:#}");
}
