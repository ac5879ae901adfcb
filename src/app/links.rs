//! The addresses of the page, as URLs. Pure logic.

use std::net::{IpAddr, SocketAddr};

use crate::web::tls::names::Here;

/// Most network addresses in the list.
const MOST: usize = 4;

/// The page's addresses, the best first: network addresses (which also work on a phone), the machine's names, and
/// localhost.
pub(super) fn pages(scheme: &str, listening: SocketAddr, here: &Here) -> Vec<String> {
    let url = |host: &str| format!("{scheme}://{host}{}", port(scheme, listening.port()));
    let literal = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => url(&v4.to_string()),
        IpAddr::V6(v6) => url(&format!("[{v6}]")),
    };
    if !listening.ip().is_unspecified() {
        return vec![literal(&listening.ip().to_canonical())];
    }
    let mut addresses: Vec<_> =
        here.addresses.iter().filter(|a| a.is_ipv4() || listening.is_ipv6()).collect();
    addresses.sort_by_key(|a| rank(a));
    let mut pages: Vec<_> = addresses.into_iter().take(MOST).map(literal).collect();
    let own = here.hostname.as_deref().and_then(|h| h.split('.').next()).filter(|h| *h != "localhost");
    let names =
        here.announced.clone().into_iter().chain(own.map(|h| format!("{}.local", h.to_ascii_lowercase())));
    pages.extend(names.map(|n| url(&n)));
    pages.push(url("localhost"));
    pages.dedup();
    pages
}

/// Order of addresses: those of home networks come first.
fn rank(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_private() => 0,
        IpAddr::V4(_) => 1,
        IpAddr::V6(v6) if v6.is_unique_local() => 2,
        IpAddr::V6(_) => 3,
    }
}

fn port(scheme: &str, port: u16) -> String {
    match (scheme, port) {
        ("https", 443) | ("http", 80) => String::new(),
        _ => format!(":{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_first_then_names_then_this_machine() {
        let here = Here {
            hostname: Some("Door.example.net".into()),
            announced: Some("peercam-door.local".into()),
            addresses: ["2001:db8::5", "203.0.113.9", "192.168.1.5"]
                .iter()
                .map(|a| a.parse().unwrap())
                .collect(),
        };
        let at = |listening: &str| pages("https", listening.parse().unwrap(), &here);
        let all = [
            "https://192.168.1.5:8443",
            "https://203.0.113.9:8443",
            "https://[2001:db8::5]:8443",
            "https://peercam-door.local:8443",
            "https://door.local:8443",
            "https://localhost:8443",
        ];
        assert_eq!(at("[::]:8443"), all);
        assert!(!at("0.0.0.0:8443").contains(&all[2].to_owned()));
        assert_eq!(at("127.0.0.1:443"), ["https://127.0.0.1"]);
        assert_eq!(at("[2001:db8::5]:1"), ["https://[2001:db8::5]:1"]);
        let alone = pages("http", "[::]:80".parse().unwrap(), &Here::default());
        assert_eq!(alone, ["http://localhost"]);
    }
}
