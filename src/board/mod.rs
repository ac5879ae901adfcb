//! The machine around us: what comes, goes and changes while we run, what it lacks, who commands us on it, and who is told
//! of us.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

pub mod addresses;
pub mod control;
pub mod doctor;
pub mod health;
pub mod holdings;
pub mod hooks;
pub mod hotplug;
pub mod indicator;
pub mod mdns;
pub mod notify;
pub mod terminal;
pub mod watching;
mod webhook;
