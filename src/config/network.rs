//! Networks in CIDR notation.

use std::fmt;
use std::net::IpAddr;

/// A network in CIDR notation (RFC 4632); a single address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Parses `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`, or returns what is wrong. Bits after the prefix must be
    /// zero: `192.168.1.7/24` may be meant as one address.
    pub fn parse(s: &str) -> Result<Self, String> {
        let (address, prefix) = s.split_once('/').map_or((s, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| "is not an IP address or network")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(p) => p
                .parse()
                .ok()
                .filter(|n| *n <= most && p.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("has a prefix that is not a number from 0 to {most}"))?,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address != address {
            return Err(format!("has bits set after its prefix (did you mean \"{network}\"?)"));
        }
        Ok(network)
    }

    /// Whether this network contains `address`. IPv4-mapped addresses (`::ffff:192.0.2.7`) count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(a) => IpAddr::V4((a.to_bits() & !u32::MAX.checked_shr(prefix).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() & !u128::MAX.checked_shr(prefix).unwrap_or(0)).into()),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_what_begins_like_it() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::c000:207"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "fe80::1", "10.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let network = Network::parse(network).expect(network);
            assert!(network.contains(inside.parse().expect("an address")), "{inside} in {network}");
            assert!(!network.contains(outside.parse().expect("an address")), "{outside} in {network}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "::/129", "10.0.0.1/8"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        let said = Network::parse("192.168.1.7/24").expect_err("bits");
        assert_eq!(said, "has bits set after its prefix (did you mean \"192.168.1.0/24\"?)");
    }
}
