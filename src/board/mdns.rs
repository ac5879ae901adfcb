//! Announces this device on the local network by mDNS and DNS-SD (RFC 6762, RFC 6763): the services `_https._tcp` and
//! `_peercam._tcp`, and a host name with this machine's addresses, whose changes the library follows.
//!
//! The name is not the machine's own `.local` name: that belongs to the system's mDNS daemon (Avahi, systemd-resolved),
//! if there is one, and two daemons that answer for the same name see a conflict. So it is `peercam-HOST.local`, or
//! just the host name if that begins with peercam. If another device on the network has the name already, the library
//! takes the next free one (`peercam-door-2.local`), and the certificate and the web server get the new name.
//!
//! The announcement takes a thread, a socket for each IP version and some 100 kB. By default it is off and takes
//! nothing.

use std::collections::HashMap;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long withdrawing the announcement may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Announces the page at `port` until `stop`; `name` gets the announced host name. `https`: whether the page uses
/// HTTPS.
pub async fn announce(
    hostname: Option<String>,
    port: u16,
    https: bool,
    name: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    if let Err(e) = run(hostname, port, https, &name, &stop).await {
        tracing::warn!("can't announce this device by mDNS: {e}");
    }
    name.send_replace(None);
}

async fn run(
    hostname: Option<String>,
    port: u16,
    https: bool,
    name: &watch::Sender<Option<String>>,
    stop: &CancellationToken,
) -> Result<(), mdns_sd::Error> {
    let host = host(hostname.as_deref());
    let instance = format!("peercam on {}", hostname.as_deref().unwrap_or("this device"));
    let daemon = ServiceDaemon::new()?;
    // Nobody looks for the device on these interfaces.
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let events = daemon.monitor()?;
    let web = if https { "_https._tcp.local." } else { "_http._tcp.local." };
    let facts = HashMap::from([("path".to_owned(), "/".to_owned())]);
    let mut services = vec![];
    for service in [web, "_peercam._tcp.local."] {
        let info = ServiceInfo::new(service, &instance, &format!("{host}."), "", port, facts.clone())?;
        let info = info.enable_addr_auto();
        services.push(info.get_fullname().to_owned());
        daemon.register(info)?;
    }
    let scheme = if https { "https" } else { "http" };
    tracing::info!("announcing {scheme}://{host}:{port} by mDNS");
    name.send_replace(Some(host.clone()));
    let leave = async {
        stop.cancelled().await;
        for service in &services {
            let _ = daemon.unregister(service); // the network forgets by itself, only later
        }
        tokio::time::sleep(FAREWELL).await;
        let _ = daemon.shutdown();
    };
    tokio::select! {
        () = leave => {}
        () = async {
            while let Ok(event) = events.recv_async().await {
                handle(event, &host, name);
            }
            tracing::warn!("mDNS stopped unexpectedly; this device is no longer announced");
        } => {}
    }
    Ok(())
}

fn handle(event: DaemonEvent, host: &str, name: &watch::Sender<Option<String>>) {
    match event {
        DaemonEvent::NameChange(change) => {
            let (old, new) = (change.original.trim_end_matches('.'), change.new_name.trim_end_matches('.'));
            if old.eq_ignore_ascii_case(host) {
                tracing::warn!(
                    "the name {old} is already used by another device; this one is announced as {new}"
                );
                name.send_replace(Some(new.to_ascii_lowercase()));
            }
        }
        // Usually an interface without multicast; the others still work.
        DaemonEvent::Error(e) => tracing::debug!("mDNS: {e}"),
        _ => (),
    }
}

/// The name to announce, derived from the host name.
fn host(hostname: Option<&str>) -> String {
    let label = hostname.and_then(|h| h.split('.').next()).unwrap_or_default().to_ascii_lowercase();
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    // A label has at most 63 bytes (RFC 1035), and a number may have to be added.
    let label: String = label.bytes().filter(|b| fine(*b)).take(48).map(char::from).collect();
    match label.trim_matches('-') {
        "" | "localhost" => "peercam.local".into(),
        label if label == "peercam" || label.starts_with("peercam-") => format!("{label}.local"),
        label => format!("peercam-{label}.local"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_hosts_but_not_its_own() {
        for (hostname, name) in [
            (None, "peercam.local"),
            (Some("localhost"), "peercam.local"),
            (Some("Door.example.net"), "peercam-door.local"),
            (Some("peercam"), "peercam.local"),
            (Some("peercam-garage"), "peercam-garage.local"),
            (Some("-_tür-"), "peercam-tr.local"),
        ] {
            assert_eq!(host(hostname), name);
        }
        assert!(host(Some(&"x".repeat(100))).len() < 63);
    }

    #[test]
    fn a_name_that_another_has_is_left_to_it() {
        let (name, now) = watch::channel(Some("peercam-door.local".to_owned()));
        let change = |original: &str, new: &str| {
            DaemonEvent::NameChange(mdns_sd::DnsNameChange {
                original: original.into(),
                new_name: new.into(),
                rr_type: mdns_sd::RRType::A,
                intf_name: "eth0".into(),
            })
        };
        handle(change("peercam on door._https._tcp.local.", "x"), "peercam-door.local", &name);
        assert_eq!(now.borrow().as_deref(), Some("peercam-door.local"));
        handle(change("peercam-door.local.", "peercam-door-2.local."), "peercam-door.local", &name);
        assert_eq!(now.borrow().as_deref(), Some("peercam-door-2.local"));
    }
}
