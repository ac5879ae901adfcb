//! Tests of the daemon from outside, with real browsers, foreign WebRTC stacks and kernel drivers. `make
//! test` installs what they need and starts them in a separate network (`tests/net.sh`); without that, each
//! test says what is missing.
//!
//! A hang is a failure: every wait has a deadline. Deadlines for recovery have a margin for a busy machine;
//! throughput and delay belong to the benches.

#![cfg(test)]

mod abuse;
mod access;
mod bad_input;
mod board;
mod board_cameras;
mod board_faults;
mod browser;
mod cameras;
mod changes;
mod cli;
mod client;
mod cross_site;
mod daemon;
mod docs;
mod door;
mod flood;
mod house;
mod http;
mod installed;
mod jpeg;
mod lab;
mod links;
mod live;
mod load;
mod lock;
mod long;
mod networks;
mod nginx;
mod offers;
mod peers;
mod port;
mod process;
mod random;
mod reload;
mod router;
mod rungs;
mod sections;
mod soak;
mod systemd;
mod ticker;
mod viewer;
mod watching;

use std::path::PathBuf;

/// A value from `tests/setup.sh places`.
fn place(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(path) => path.into(),
        None => panic!("{name} is not set: start the tests by `make test`"),
    }
}

/// A file in `tests/`.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}
