//! What the rooms that face the network share: this machine's addresses, STUN messages, whom a connection is counted for,
//! budgets that refill with time, and how many descriptors there are. A leaf.

pub mod addresses;
pub mod bucket;
pub mod descriptors;
pub mod source;
pub mod stun;

use std::net::IpAddr;

pub use self::bucket::{Bucket, Buckets, Rate};
pub use self::source::{Links, Source};

/// This machine's addresses: interface and address of each, the loopback ones too.
pub type Addresses = Vec<(String, IpAddr)>;
