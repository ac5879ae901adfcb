//! The machine around us: what comes, goes and changes while we run, and who is told of it.

pub mod addresses;
pub mod hooks;
pub mod indicator;
pub mod watching;
mod webhook;
