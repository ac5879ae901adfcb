//! The machine's own names and addresses, as they are at this moment.

use std::net::{IpAddr, UdpSocket};

use super::guard::Machine;

/// This machine, as seen from one connection.
pub struct Here {
    /// The address at which the connection came in.
    pub local: IpAddr,
}

impl Machine for Here {
    /// The connection's own address nearly always, which costs nothing and is never out of date. Another one of
    /// ours when something on this machine forwards to us: whether it is ours the kernel tells by letting us
    /// bind it, so there is no list to keep as interfaces come and go.
    fn owns(&self, address: IpAddr) -> bool {
        let one_host = match address {
            IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
        };
        one_host && (address == self.local.to_canonical() || UdpSocket::bind((address, 0)).is_ok())
    }

    fn hostname(&self) -> Option<String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned()).filter(|n| !n.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_addresses_are_ours() {
        let here = Here { local: "::ffff:192.0.2.9".parse().unwrap() };
        for (address, ours) in [
            ("192.0.2.9", true), // the connection's
            ("127.0.0.1", true),
            ("192.0.2.8", false), // TEST-NET, nobody's
            ("2001:db8::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(here.owns(address.parse().unwrap()), ours, "{address}");
        }
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(Here { local: IpAddr::from([127, 0, 0, 1]) }.hostname().is_some());
    }
}
