//! The machine around us: what comes, goes and changes while we run.

pub mod addresses;
