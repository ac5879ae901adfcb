//! Networks for testing the daemon: each [`Host`] is a network namespace, joined to others by cables (veth
//! pairs) and switches (bridges), with the routes and nftables rules of a scenario. Nothing here has a name
//! in the system: a namespace ends with its `Host`, and everything in it ends with the namespace.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A machine, as far as the network is concerned.
pub(crate) struct Host {
    name: &'static str,
    net: File,
}

impl Host {
    /// A machine with only a loopback interface.
    pub(crate) fn new(name: &'static str) -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: it affects only this thread, which ends here; the file keeps the new namespace.
            let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(left, 0, "{}", std::io::Error::last_os_error());
            File::open("/proc/thread-self/ns/net").expect("the new namespace")
        });
        let host = Self { name, net: made.join().expect("a namespace") };
        // Without duplicate address detection: new IPv6 addresses would be unusable for a second or two.
        host.sh("echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
            echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
            ip link set lo up");
        host
    }

    /// A machine that forwards packets.
    pub(crate) fn router(name: &'static str) -> Self {
        let host = Self::new(name);
        host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        host
    }

    /// Runs `act` on this machine: sockets and programs that it creates stay in this machine's network.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            // SAFETY: it affects only this thread, which does nothing but `act`; the file is a network
            // namespace.
            let entered = unsafe { libc::setns(self.net.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "{}: {}", self.name, std::io::Error::last_os_error());
            act()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(self.name.into());
            let done = thread.spawn_scoped(scope, enter).expect("a thread").join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a shell script on this machine; returns its output.
    pub(crate) fn sh(&self, script: &str) -> String {
        let out = self.inside(|| Command::new("sh").args(["-euc", script]).output().expect("sh runs"));
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{}: {script}: {told}{}",
            self.name,
            String::from_utf8_lossy(&out.stderr)
        );
        told
    }

    /// Adds an nftables rule to one of the kernel's hooks for IPv4: `input`, `forward`, `prerouting` or
    /// `postrouting`.
    pub(crate) fn rule(&self, hook: &str, rule: &str) {
        let kind = if hook.ends_with("routing") { "nat" } else { "filter" };
        self.sh(&format!(
            "nft add table ip lab
            nft 'add chain ip lab {hook} {{ type {kind} hook {hook} priority 0; }}'
            nft add rule ip lab {hook} '{rule}'"
        ));
    }

    /// Adds a default route.
    pub(crate) fn gateway(&self, gateway: &str) {
        self.sh(&format!("ip route replace default via {gateway}"));
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }
}

/// One end of a cable: the host, its interface's name, and the interface's addresses with `/prefix`,
/// separated by spaces.
pub(crate) type End<'a> = (&'a Host, &'a str, &'a str);

/// Joins two hosts.
pub(crate) fn cable(a: End, b: End) {
    a.0.sh(&format!("ip link add {} type veth peer name {} netns {}", a.1, b.1, b.0.path()));
    for (host, interface, addresses) in [a, b] {
        host.sh(&format!("ip link set {interface} up"));
        for address in addresses.split_whitespace() {
            host.sh(&format!("ip addr add {address} dev {interface}"));
        }
    }
}

/// A switch, for networks with more than two machines.
pub(crate) struct Switch {
    host: Host,
    ports: AtomicU32,
}

impl Switch {
    /// A switch without cables.
    pub(crate) fn new() -> Self {
        let host = Host::new("switch");
        host.sh("ip link add bridge type bridge; ip link set bridge up");
        Self { host, ports: Default::default() }
    }

    /// A new host on the switch, with these addresses on `eth0`.
    pub(crate) fn join(&self, name: &'static str, addresses: &str) -> Host {
        let host = Host::new(name);
        self.plug((&host, "eth0", addresses));
        host
    }

    /// Connects a host to it; returns the name of the interface on the switch.
    pub(crate) fn plug(&self, end: End) -> String {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        cable(end, (&self.host, &port, ""));
        self.adopt(&port);
        port
    }

    /// Makes an existing interface one of its ports.
    pub(crate) fn adopt(&self, interface: &str) {
        self.host.sh(&format!("ip addr flush dev {interface}; ip link set {interface} master bridge"));
    }

    /// The machine that acts as the switch.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }
}

/// `http://` and an address in the form that a browser accepts.
pub(crate) fn url(ip: &str, port: u16) -> String {
    let ip: IpAddr = ip.parse().expect("an IP address");
    format!("http://{}/", SocketAddr::new(ip, port))
}
