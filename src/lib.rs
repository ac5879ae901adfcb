//! peercam: a camera and a microphone, live in any browser, peer to peer over WebRTC.
//!
//! ```text
//!  V4L2, test picture          ALSA, test tone            (module)
//!        | Frame (lent)              | period
//!      slot (newest wins)         timeline (drift)        capture
//!        | I420, converted once      | 48 kHz
//!      slot for each rung: full, half, quarter            pipeline
//!        | scaled                    |
//!    OpenH264 for each rung        Opus                   encode
//!        | access unit               | packet
//!    packetize, once for all viewers                      media
//!      hub for each rung           hub                    pipeline
//!        | VideoUnit                 | AudioUnit, by bounded queues
//!      one task and one PeerConnection per viewer         viewer
//!        | SRTP                      ^ PLI, FIR
//!      browser  <-- page, WebSocket, WHEP -->  web
//! ```
//!
//! Frames and sound carry their capture time ([`clock::Pts`]) from the device to the wire. Nothing waits for a slow
//! consumer: each step keeps the newest data, and counts what it drops ([`status::Counters`]).

pub mod app;
pub mod board;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod encode;
pub mod heartbeat;
pub mod hush;
pub mod listen;
pub mod media;
pub mod memory;
pub mod net;
pub mod pipeline;
pub mod pressure;
pub mod privacy;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;
pub mod text;
pub mod viewer;
pub mod wall;
pub mod web;
