//! Attacks on the board by strangers and by holders of guest links, and what must keep working during and
//! after them. Each row of the table of attacks is a file; its test makes a [`Scene`] and calls
//! [`Scene::under`] with its attack, once for each variant. `under` does the following, and prints the
//! results as a line:
//!
//! 1. A bystander watches, and the owner does everything that the owner must be able to do (sign in, watch,
//!    revoke a guest link, switch privacy on and off), undisturbed.
//! 2. The attack runs on the attacker's host. Meanwhile the bystander's longest gap between pictures is
//!    measured, and the owner does the same again.
//! 3. After the attack has returned, everything must be [flat](Flat) within ten seconds: descriptors, tasks,
//!    memory.
//!
//! Time limits apply to a machine that runs: time in which a [`Ticker`](crate::ticker::Ticker) could not run
//! does not count, and if that is more than half, the test fails as "machine too busy". Memory is the
//! daemon's anonymous memory (`RssAnon`): the kernel loads and drops pages of its program file at will.
//!
//! `PEERCAM_DAEMON=path` attacks a different build of the daemon, to show that a row fails where its limit is
//! missing.

mod door;
mod figures;
mod peer;
mod row01_nack;
mod row02_sctp;
mod row03_junk;
mod row04_sockets;
mod row05_joins;
mod row06_guesses;
mod row07_proxy;
mod row08_strangers;
mod row09_hashes;
mod row10_full_disk;
mod row11_privacy;
mod row12_messages;
mod scene;
mod sockets;

pub(crate) use self::figures::{Figures, Flat};
pub(crate) use self::scene::{Guest, OWNER, Over, Scene, Target, block_on};
