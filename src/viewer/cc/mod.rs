//! Congestion control of one viewer: how much its link carries, and which packets leave when. The units are
//! pure: time is an argument, they know nothing of sockets, RTP or webrtc, and every queue is bounded. All
//! times are in seconds since the viewer joined ([`Timeline`]), all bitrates in bits per second including all
//! headers down to IP.
//!
//! ```text
//!  packets that leave ───────► history ─► what became of each packet
//!  transport-wide feedback ──►    │
//!                                 ├─► stall     what arrives late only because the path stood still
//!                                 ├─► acked     acknowledged bitrate
//!                                 ├─► queue     queueing delay: how much longer than on an empty link
//!                                 ├─► arrival ─► trend     whether that delay grows
//!                                 ├─► loss      random, or because the link is full
//!                                 ├─► trains    what each picture shows about the free bitrate
//!                                 └─► probe     the same, measured on purpose
//!  total bitrate sent ────────► limited         whether the source is the limit
//!  receiver reports, REMB ────► blind           for viewers that do not report individual packets
//!  data in a TCP socket ──────► (counts as a queue)
//!                                      │ all of these
//!                                      ▼
//!                 estimator (fall: decrease at once; rise: increase in steps; rival: beside a download)
//!                                      │ estimate, pace, hold, probe
//!                    ┌─────────────────┴───────┐
//!                    ▼                         ▼
//!        share (the encoder's bitrate   pacer (sound, retransmissions, pictures, copies:
//!        and frame rate)                what leaves now)
//! ```
//!
//! Sources: libwebrtc's `goog_cc` and `pacing` (packet groups, trend, application-limited periods, probes,
//! the pacer's order), livekit's `sendsidebwe` (absolute queueing delay), RFC 8698 and RFC 8298 (control by
//! the queueing delay), Copa (NSDI 2018) and RFC 9438 for competing downloads. None of them is used unchanged:
//! a trend alone detects neither a full queue that stays constant nor overuse below 2.5 %, and a bitrate that
//! stays 3 % too high for seconds fills any queue.
//!
//! `tests` runs everything against models of a link, of an encoder and of Chromium's receiver, on virtual time:
//! scenarios with bars to pass, with ten seeds each. To test with different seeds, run `SEEDS=11-30 cargo
//! test --release viewer::cc::tests::table -- --ignored --nocapture`; to see one run in steps of 100 ms,
//! `CC=fall SEEDS=3 ... tests::run`.

mod acked;
mod arrival;
mod blind;
mod estimator;
mod history;
mod limited;
mod loss;
mod pacer;
mod probe;
mod queue;
mod rival;
mod share;
mod stall;
mod trains;
mod trend;

// Tests for 32-bit ARM run in an emulator, where these take minutes and show nothing that other machines do not.
#[cfg(all(test, not(target_arch = "arm")))]
mod tests;

use std::time::{Duration, Instant};

pub(super) use self::blind::Said;
pub(super) use self::estimator::{Drive, Estimator, Figures, Limits, State};
pub(super) use self::history::MOST as REMEMBERED;
pub(super) use self::pacer::{Next, Pacer, Place};
pub(super) use self::share::{Applied, Share};

/// What a packet carries, in the order in which packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Sound.
    Sound,
    /// A retransmission of a packet that was reported lost.
    Repeat,
    /// A part of a picture.
    Video,
    /// A copy of a packet, sent only to see whether it arrives.
    Probe,
}

/// What a viewer reports about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its transport-wide sequence number.
    pub number: u16,
    /// When it arrived, by the viewer's clock; `None`: it had not arrived.
    pub arrived: Option<Duration>,
}

/// Converts times to seconds since a viewer joined, in which all units count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline(Instant);

impl Timeline {
    /// Starts at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Seconds from the start to `at`.
    pub(super) fn seconds(self, at: Instant) -> f64 {
        at.saturating_duration_since(self.0).as_secs_f64()
    }

    /// The moment at these seconds from the start.
    pub(super) fn moment(self, seconds: f64) -> Instant {
        self.0 + Duration::from_secs_f64(seconds.max(0.0))
    }
}
