//! This machine's addresses and their changes, reported by the kernel (rtnetlink, RFC 3549) without polling.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::net::Addresses;
use crate::net::addresses::{own, to_be_found};

/// How long to wait for further changes: plugging in a cable or changing the Wi-Fi causes a dozen messages.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest delay of a report while changes keep coming.
const SETTLE_AT_MOST: Duration = Duration::from_secs(1);

/// Follows the addresses of all interfaces that are up, including loopback, until `stop`. Never fails: without the
/// kernel's messages the list just stays the same.
pub fn watch(stop: CancellationToken) -> watch::Receiver<Addresses> {
    // Subscribe before the first list is read, so that no change is missed.
    let messages = subscribe();
    let (tell, told) = watch::channel(now());
    match messages {
        Ok(messages) => {
            tokio::spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(follow(&messages, &tell)).await {
                    tracing::warn!(%error, "can no longer watch this machine's addresses for changes");
                }
            });
        }
        Err(error) => tracing::warn!(%error, "can't watch this machine's addresses for changes"),
    }
    told
}

/// The current addresses of this machine.
pub fn now() -> Addresses {
    match own() {
        Ok(all) => to_be_found(&all).into_iter().map(|a| (a.interface.clone(), a.ip)).collect(),
        Err(error) => {
            tracing::warn!(%error, "can't list this machine's addresses");
            vec![]
        }
    }
}

/// A netlink socket on which the kernel reports changes of links and addresses. It is wrapped as a `UnixDatagram`,
/// which tokio can wait for: both are datagram sockets, and this one is only received from.
fn subscribe() -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
    UnixDatagram::from_std(fd.into())
}

async fn follow(messages: &UnixDatagram, tell: &watch::Sender<Addresses>) -> io::Result<()> {
    loop {
        heard(messages).await?;
        let settled = async {
            while let Ok(more) = tokio::time::timeout(SETTLE, heard(messages)).await {
                more?;
            }
            Ok::<_, io::Error>(())
        };
        if let Ok(result) = tokio::time::timeout(SETTLE_AT_MOST, settled).await {
            result?;
        }
        let now = now();
        tell.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                let list: Vec<_> = now.iter().map(|(interface, ip)| format!("{interface} {ip}")).collect();
                // The media port logs which of them viewers can use.
                tracing::debug!("this machine's addresses are now {}", list.join(", "));
                *before = now;
            }
            changed
        });
    }
}

/// Waits for messages and discards their content: the whole list is read again, which also covers messages that were
/// lost because there were too many.
async fn heard(messages: &UnixDatagram) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut some = false;
    while !some {
        messages.readable().await?;
        loop {
            match messages.try_recv(&mut buffer) {
                Ok(_) => some = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => some = true,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test]
    async fn this_machine_has_loopback_and_is_watched() {
        let stop = CancellationToken::new();
        let addresses = watch(stop.clone());
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!(addresses.borrow().iter().any(|(_, ip)| *ip == local), "{:?}", *addresses.borrow());
        subscribe().expect("the kernel tells anybody");
        stop.cancel();
    }
}
