//! This machine's addresses, now and as they change: the kernel tells (rtnetlink, RFC 3549), nothing is polled.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::net::Addresses;
use crate::net::addresses::{own, to_be_found};

/// A cable plugged in, or another Wi-Fi, is a dozen messages within a moment: the last state of it counts.
const SETTLE: Duration = Duration::from_millis(200);
/// ... and is told at the latest after this, if it does not settle.
const SETTLE_AT_MOST: Duration = Duration::from_secs(1);

/// The addresses of all interfaces that are up, loopback too, as they are now and until `stop`. Never fails: without the
/// kernel's messages the list stays as it is.
pub fn watch(stop: CancellationToken) -> watch::Receiver<Addresses> {
    // Listening first: what changes after the first list is told.
    let messages = subscribe();
    let (tell, told) = watch::channel(now());
    match messages {
        Ok(messages) => {
            tokio::spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(follow(&messages, &tell)).await {
                    tracing::warn!(%error, "changes of this machine's addresses are no longer seen");
                }
            });
        }
        Err(error) => tracing::warn!(%error, "changes of this machine's addresses are not seen"),
    }
    told
}

/// The addresses now, at which others may find this machine.
pub fn now() -> Addresses {
    match own() {
        Ok(all) => to_be_found(&all).into_iter().map(|a| (a.interface.clone(), a.ip)).collect(),
        Err(error) => {
            tracing::warn!(%error, "can't list this machine's addresses");
            vec![]
        }
    }
}

/// A socket on which the kernel tells of every link and address. It is one of netlink, wrapped as what tokio can wait for:
/// both are datagram sockets, and it is only received from.
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
                // Which of them concern viewers, the media port says.
                tracing::debug!("this machine's addresses are now {}", list.join(", "));
                *before = now;
            }
            changed
        });
    }
}

/// Waits for messages, and forgets what they say: the list is read anew, which also covers those that were lost because
/// there were too many.
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
