//! This machine's addresses, now and as they change: the kernel tells (rtnetlink, RFC 3549), nothing is polled.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::net::Addresses;

/// A cable plugged in, or another Wi-Fi, is a dozen messages within a moment: the last state of it counts.
const SETTLE: Duration = Duration::from_millis(200);
/// ... and is told at the latest after this, if it does not settle.
const SETTLE_AT_MOST: Duration = Duration::from_secs(1);

/// What `/proc/net/if_inet6` says about an address (`IFA_F_*` of linux/if_addr.h).
mod flag {
    pub const TEMPORARY: u8 = 0x01;
    pub const FAILED: u8 = 0x08;
    pub const DEPRECATED: u8 = 0x20;
    pub const TENTATIVE: u8 = 0x40;
}

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

/// The addresses now.
pub fn now() -> Addresses {
    let found = match nix::ifaddrs::getifaddrs() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses");
            return vec![];
        }
    };
    let mut addresses: Addresses = vec![];
    for i in found {
        let Some(storage) = &i.address else { continue };
        let ip = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let up = i.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let address = (i.interface_name, ip);
        if up && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let flags = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    drop_passing(&mut addresses, &v6_flags(&flags));
    addresses
}

/// Address, interface and flags of each line, such as
/// `fe800000000000000000000000000001 02 40 20 80     eth0`: address, index, prefix length, scope, flags, name.
fn v6_flags(text: &str) -> Vec<(Ipv6Addr, &str, u8)> {
    let line = |line: &'_ str| -> Option<(Ipv6Addr, usize, u8)> {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u8::from_str_radix(words.nth(3)?, 16).ok()?;
        let name = words.next()?;
        Some((Ipv6Addr::from(address), name.len(), flags))
    };
    text.lines()
        .map(str::trim_end)
        .filter_map(|l| line(l).map(|(address, name, flags)| (address, &l[l.len() - name..], flags)))
        .collect()
}

/// IPv6 addresses that are not usable yet or not for long: tentative ones, those that another machine has, deprecated ones;
/// and temporary ones (RFC 8981) where the same interface has a lasting one in the same network. Those are for going out
/// unrecognised; who wants to be found uses the other.
fn drop_passing(addresses: &mut Addresses, flags: &[(Ipv6Addr, &str, u8)]) {
    let network = |ip: Ipv6Addr| u128::from(ip) >> 64;
    let lasts = |f: u8| f & (flag::TEMPORARY | flag::FAILED | flag::DEPRECATED | flag::TENTATIVE) == 0;
    addresses.retain(|(interface, ip)| {
        let IpAddr::V6(ip) = *ip else { return true };
        let known = flags.iter().find(|(address, name, _)| *address == ip && name == interface);
        match known.map(|(.., f)| *f) {
            Some(f) if f & (flag::FAILED | flag::DEPRECATED | flag::TENTATIVE) != 0 => false,
            Some(f) if f & flag::TEMPORARY != 0 => !flags
                .iter()
                .any(|(other, name, f)| name == interface && network(*other) == network(ip) && lasts(*f)),
            _ => true,
        }
    });
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
    use super::*;

    #[test]
    fn what_does_not_last_is_left_out() {
        let text = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000005 02 40 00 00     eth0
20010db80000000000000000000000aa 02 40 00 01     eth0
20010db80000000000000000000000bb 02 40 00 21     eth0
20010db80001000000000000000000aa 02 40 00 01     eth0
20010db80000000000000000000000cc 02 40 00 40     eth0
20010db80000000000000000000000dd 02 40 00 48     eth0
20010db80000000000000000000000aa 03 40 00 01    wlan0
fe800000000000000000000000000005 02 40 20 80     eth0
rubbish
";
        let flags = v6_flags(text);
        assert_eq!(flags.len(), 9);
        let mut addresses: Addresses =
            flags.iter().map(|(ip, name, _)| (name.to_string(), (*ip).into())).collect();
        addresses.insert(0, ("eth0".into(), "192.0.2.1".parse().expect("address")));
        addresses.push(("eth1".into(), "2001:db8::5".parse().expect("address")));
        drop_passing(&mut addresses, &flags);
        let left: Vec<_> = addresses.iter().map(|(name, ip)| format!("{name} {ip}")).collect();
        let expected = [
            "eth0 192.0.2.1",
            "lo ::1",
            "eth0 2001:db8::5",
            "eth0 2001:db8:1::aa",
            "wlan0 2001:db8::aa",
            "eth0 fe80::5",
            "eth1 2001:db8::5",
        ];
        assert_eq!(left, expected);
    }

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
