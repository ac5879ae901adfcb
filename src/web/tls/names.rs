//! The names and addresses that a certificate is for. Pure logic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most names in a certificate: a host with many containers has dozens of addresses, and each name is sent in every
/// handshake. The device's own names come first.
const MOST: usize = 48;

/// One name of a certificate (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A DNS name in lower case.
    Dns(String),
    /// An address; never IPv4-mapped.
    Ip(IpAddr),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Name {
    /// Parses an address, or a name that is allowed in a certificate.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self::Ip(ip.to_canonical()));
        }
        let fine = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let text = text.strip_suffix('.').unwrap_or(text);
        (text.len() <= 253 && text.split('.').all(fine)).then(|| Self::Dns(text.to_ascii_lowercase()))
    }
}

/// Names and addresses of the machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The host name, with or without a domain.
    pub hostname: Option<String>,
    /// The name announced by mDNS, if any.
    pub announced: Option<String>,
    /// Addresses at which the machine can be reached.
    pub addresses: Vec<IpAddr>,
}

/// The names under which browsers reach this device: its own names, those of `web.hosts`, and its addresses.
pub fn wanted(here: &Here, hosts: &[String]) -> Vec<Name> {
    let mut own = vec!["localhost".to_owned()];
    if let Some(hostname) = &here.hostname {
        let label = hostname.split('.').next().unwrap_or_default();
        own.extend([format!("{label}.local"), label.to_owned(), hostname.clone()]);
    }
    own.extend(here.announced.clone());
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let names = own.iter().chain(hosts).filter_map(|n| Name::parse(n));
    let addresses = loopback.iter().chain(&here.addresses).map(|a| Name::Ip(a.to_canonical()));
    let mut wanted: Vec<Name> = vec![];
    for name in names.chain(addresses) {
        if wanted.len() < MOST && !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    wanted
}

/// The domains that the device's authority may certify: names of local networks, the host's own name, and those of
/// `web.hosts`.
pub fn domains(here: &Here, hosts: &[String]) -> Vec<String> {
    // RFC 6762, RFC 8375, ICANN's resolution on .internal, and names that home routers use.
    const LOCAL: [&str; 7] = ["local", "localhost", "home.arpa", "internal", "lan", "home", "fritz.box"];
    let own = here.hostname.iter().flat_map(|h| [h.split('.').next().unwrap_or_default(), h]);
    let mut domains: Vec<String> = LOCAL.map(String::from).into();
    for name in own.chain(hosts.iter().map(String::as_str)) {
        if let Some(Name::Dns(name)) = Name::parse(name)
            && !permits(&domains, &name)
        {
            domains.push(name);
        }
    }
    domains
}

/// Whether `name` is one of `domains` or below one (RFC 5280 section 4.2.1.10).
pub fn permits(domains: &[String], name: &str) -> bool {
    domains.iter().any(|d| name == d || name.strip_suffix(d.as_str()).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(hostname: &str, addresses: &[&str]) -> Here {
        Here {
            hostname: Some(hostname.into()),
            announced: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn texts(names: &[Name]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_by_which_a_browser_may_call_us() {
        let mut here = here("Door.example.net", &["192.168.1.5", "::ffff:192.168.1.5", "2001:db8::5"]);
        here.announced = Some("peercam-door.local".into());
        let hosts = ["cam.example.org".into(), "203.0.113.7".into(), "b c".into()];
        assert_eq!(
            texts(&wanted(&here, &hosts)),
            [
                "localhost",
                "door.local",
                "door",
                "door.example.net",
                "peercam-door.local",
                "cam.example.org",
                "203.0.113.7",
                "127.0.0.1",
                "::1",
                "192.168.1.5",
                "2001:db8::5"
            ]
        );
        assert_eq!(texts(&wanted(&Here::default(), &[])), ["localhost", "127.0.0.1", "::1"]);
        let many: Vec<String> = (0..200).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(wanted(&super::tests::here("door", &many), &[]).len(), MOST);
    }

    #[test]
    fn odd_host_names_do_no_harm() {
        for odd in ["", ".", "a b", "-", "tür", ".."] {
            assert_eq!(texts(&wanted(&here(odd, &[]), &[])), ["localhost", "127.0.0.1", "::1"], "{odd:?}");
        }
    }

    #[test]
    fn the_authority_speaks_for_local_names_and_those_that_the_owner_listed() {
        let domains = domains(&here("door", &[]), &["cam.example.org".into(), "203.0.113.7".into()]);
        for (name, permitted) in [
            ("door", true),
            ("garage.local", true),
            ("localhost", true),
            ("cam.example.org", true),
            ("example.org", false),
            ("evilcam.example.org", false),
            ("notlocal", false),
            ("garage", false),
        ] {
            assert_eq!(permits(&domains, name), permitted, "{name}");
        }
    }
}
