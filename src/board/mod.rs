//! The machine around us: who commands us on it, what it lacks, and whom it tells of us.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

pub mod control;
pub mod doctor;
pub mod mdns;
pub mod terminal;
