//! Text input: session descriptions, signaling, the configuration, headers.

use peercam::config::Config;
use peercam::media::h264::ProfileLevelId;
use peercam::viewer::sdp::fragment::{self, Fragment, Skeleton};
use peercam::viewer::sdp::{self, usable_candidate};
use peercam::web::messages::FromPage;

const OWN: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);

/// An offer alone: the offer made from it for WebRTC would be accepted again.
pub fn offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for wanted in [&[None][..], &[None, None, None]] {
        let Ok(taken) = sdp::check(text, OWN, wanted) else { continue };
        let reduced = taken.offer();
        let again = sdp::check(&reduced, OWN, &[None]);
        let same = again.as_ref().is_ok_and(|again| again.pictures.len() == 1);
        assert!(same, "{again:?} for the reduced offer: {reduced}");
        let mids: Vec<_> = taken.pictures.iter().map(|picture| picture.mid.as_deref()).collect();
        let later = taken.later(text, Some(&mids));
        let same = later.as_ref().is_ok_and(|later| later.pictures.len() == mids.len());
        assert!(same, "{later:?} for the same offer again: {text}");
    }
    for line in text.lines() {
        let _ = usable_candidate(line);
    }
}

/// A message on the page's WebSocket.
pub fn signal(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match serde_json::from_str::<FromPage>(text) {
        Ok(FromPage::Offer { sdp, .. }) => drop(sdp::check(&sdp, OWN, &[None])),
        Ok(FromPage::Candidate { candidate, .. }) => drop(usable_candidate(&candidate)),
        Ok(_) | Err(_) => {}
    }
}

/// A PATCH of WHEP: candidates, or an ICE restart.
pub fn whep(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(credentials) = fragment::credentials(text) {
        let _ = Skeleton::of(text).fragment(&credentials, &[]);
    }
    if let Ok(fragment) = Fragment::parse(text) {
        for candidate in &fragment.candidates {
            let _ = usable_candidate(&candidate.value);
        }
    }
}

/// device.toml: a mistake is reported with its line.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Config::parse(text, "device.toml") {
        let told = error.to_string();
        assert!(told.starts_with("device.toml:"), "{told}");
    }
}
