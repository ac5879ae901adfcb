//! What whoever holds a guest link, or a stranger, does to the board, and what must hold meanwhile and afterwards: the table
//! of abuses. Each row is a file; a row's test makes a [`Scene`] and calls [`Scene::under`] with its attack, once for each
//! variant. What `under` does, and prints as a line:
//!
//! 1. A bystander watches, and the owner does all that the owner must be able to do (sign in, watch, revoke a guest link,
//!    switch privacy on and off), undisturbed.
//! 2. The attack runs, on the attacker's host. Meanwhile the bystander's longest gap between pictures is measured, and the
//!    owner does the same again.
//! 3. After the attack has returned, all must be [flat](Flat) within ten seconds: descriptors, tasks, memory.
//!
//! Bars on time hold for a machine that runs: time in which a [`Ticker`](crate::ticker::Ticker) could not run does not count,
//! and where that is more than half, the test fails as "machine too busy". Memory is the daemon's anonymous memory
//! (`RssAnon`): pages of its program file come and go as the kernel likes.
//!
//! `PEERCAM_DAEMON=path` has another build of the daemon attacked: so a row is shown to fail where its limit is missing.

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

pub use self::figures::{Figures, Flat};
pub use self::scene::{Guest, OWNER, Over, Scene, Target, block_on};
