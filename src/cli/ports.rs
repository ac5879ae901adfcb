//! The ports of a configuration, and whether they are available.

use std::io::ErrorKind;
use std::net::Ipv6Addr;

use crate::board::doctor::ports::{Port, Protocol, take};
use crate::board::holdings::Holdings;
use crate::config::{Config, Tls};
use crate::listen;

/// The ports that `config` sets to a number other than 0.
pub(super) fn of(config: &Config) -> Vec<Port> {
    let web = &config.web;
    let tcp = |what, key, number, needed| Port {
        what,
        key,
        protocol: Protocol::Tcp,
        address: web.address,
        number,
        needed,
    };
    let mut all = vec![tcp("the page", "web.port", web.port, true)];
    if web.tls != Tls::Off {
        all.push(tcp("HTTP, redirected to HTTPS", "web.http_port", web.http_port, false));
    }
    let media = |protocol| Port {
        what: "video and audio",
        key: "ice.port",
        protocol,
        address: Ipv6Addr::UNSPECIFIED.into(),
        number: config.ice.port,
        needed: true,
    };
    all.push(media(Protocol::Udp));
    if config.ice.tcp {
        all.push(media(Protocol::Tcp));
    }
    all.retain(|p| p.number != 0);
    all
}

/// Why `port` is not available. Ports of the running `daemon`, which uses the same configuration, count as available.
pub(super) fn problem(port: &Port, daemon: Option<&Holdings>) -> Option<String> {
    let Port { key, protocol, address, number, .. } = *port;
    let error = take(port).err()?;
    match error.kind() {
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied
            if daemon.is_some_and(|d| d.has(protocol, number)) =>
        {
            None
        }
        ErrorKind::AddrNotAvailable => {
            Some(format!("web.address: {address} is not an address of this machine"))
        }
        _ => {
            let why = listen::why(&error, protocol, number);
            Some(format!("{key}: can't take {protocol} port {number}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn they_are_those_of_the_configuration() {
        let numbers = |config: &Config| -> Vec<_> { of(config).iter().map(|p| (p.key, p.number)).collect() };
        let mut config = Config::default();
        let media = ("ice.port", 8189);
        assert_eq!(numbers(&config), [("web.port", 8443), ("web.http_port", 8080), media, media]);
        (config.web.tls, config.ice.tcp) = (Tls::Off, false);
        assert_eq!(numbers(&config), [("web.port", 8443), media]);
        (config.web.port, config.ice.port) = (0, 0);
        assert_eq!(numbers(&config), []);
    }

    #[test]
    fn a_taken_port_is_a_problem_unless_our_own_daemon_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let mut config = Config::default();
        (config.web.port, config.web.address) = (number, [127, 0, 0, 1].into());
        let page = of(&config)[0];
        let says = problem(&page, None).unwrap();
        let us = format!("(process {}) uses port {number}", std::process::id());
        assert!(
            says.starts_with(&format!("web.port: can't take TCP port {number}: ")) && says.ends_with(&us),
            "{says}"
        );
        let daemon = Holdings::of_this_process("/".as_ref(), None, None);
        assert_eq!(problem(&page, Some(&daemon)), None);
        // The daemon claims the port, but a different process has it.
        let liar = Holdings { id: 1, ..daemon.clone() };
        assert!(problem(&page, Some(&liar)).is_some());
        let another = Holdings { ports: vec![], ..daemon };
        assert!(problem(&page, Some(&another)).is_some());
        // No machine has an address of TEST-NET-1 (RFC 5737).
        let foreign = Port { address: [192, 0, 2, 1].into(), ..page };
        assert!(problem(&foreign, None).unwrap().contains("192.0.2.1 is not an address of this machine"));
    }
}
