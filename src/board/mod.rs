//! The board that peercam runs on: changes of devices and addresses, health, local commands, and reports to other
//! programs.

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
