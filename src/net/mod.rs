//! Shared by the modules that face the network: this machine's addresses, STUN messages, sources of connections, token
//! buckets, and the limit of file descriptors. Depends on no other module.

pub mod addresses;
pub mod bucket;
pub mod descriptors;
pub mod source;
pub mod stun;

use std::net::IpAddr;

pub use self::bucket::{Bucket, Buckets, Rate};
pub use self::source::{Links, Source};

/// This machine's addresses, each with its interface, including loopback.
pub type Addresses = Vec<(String, IpAddr)>;
