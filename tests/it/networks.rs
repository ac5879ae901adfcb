//! Small models of real networks: Chromium on one [`Host`], the daemon on another, and between them the
//! obstacles that keep cameras from being reached. Each scenario prints the time to the first picture.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::browser::{Browser, assert_bars, number};
use crate::daemon::{Daemon, status};
use crate::lab::{Host, Switch, cable, url};
use crate::place;
use crate::process::{Dir, Process};
use crate::router::Router;

/// The test picture at a bitrate that every path here can carry.
const CAMERA: &str =
    "[video]\ndevice = \"pattern\"\nsize = \"640x480\"\nbitrate_kbps = 1000\n[audio]\ndevice = \"tone\"\n";

/// Time within which a broken path must be repaired, in milliseconds.
const BACK_MS: f64 = 3000.;

/// Starts the daemon on a host; `more` is additional configuration.
fn start(camera: &Host, address: &str, more: &str) -> Daemon {
    camera.inside(|| {
        Daemon::start(&format!("{CAMERA}{more}[web]\naddress = \"{address}\"\nhosts = [\"{HOME}\"]\n"))
    })
}

/// Opens the page on a host, prints the time to its first picture, and returns it with the path of the media.
fn watch(scenario: &str, viewer: &Host, page: &str) -> (Browser, Value) {
    let mut browser = viewer.inside(|| Browser::start("chromium"));
    let path = again(scenario, &mut browser, page);
    (browser, path)
}

/// Opens the page again and prints how long that took; returns the path.
fn again(scenario: &str, browser: &mut Browser, page: &str) -> Value {
    browser.open(page);
    let first = browser.eval("window.probe.timing()");
    let path = browser.eval("window.probe.path()");
    println!(
        "first picture, {scenario}: {:.0} ms after the page was opened, {:.0} ms after its offer; {path}",
        number(&first, "/shown"),
        number(&first, "/shown") - number(&first, "/offered"),
    );
    path
}

/// Watches the picture while `act` changes the network; returns for how long no picture arrived, in
/// milliseconds, without the time that this machine lost. A viewer may cause one keyframe in three seconds,
/// so the one for joining must be over.
fn disturbed(browser: &mut Browser, act: impl FnOnce()) -> f64 {
    std::thread::sleep(Duration::from_secs(2));
    let (seen, gap) = browser.watch_while(9, act);
    assert!(number(&seen, "/presented") > 30., "{seen:#}");
    gap.as_secs_f64() * 1000.
}

/// ```text
/// camera ─ home ─┐
///                internet 203.0.113.0/24 ─ turn .30
/// viewer ─ away ─┘
/// ```
/// Both routers masquerade the networks behind them, and the internet has no other route to them.
struct World {
    camera: Host,
    home: Host,
    internet: Switch,
    away: Host,
    viewer: Host,
}

const HOME: &str = "203.0.113.10";
const AWAY: &str = "203.0.113.20";
const TURN: &str = "203.0.113.30";

/// What a home router does.
const MASQUERADE: &str = "oifname wan masquerade";

impl World {
    fn new() -> Self {
        let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
        let (home, away) = (Host::router("home"), Host::router("away"));
        let internet = Switch::new();
        cable((&camera, "eth0", "192.168.1.2/24"), (&home, "lan", "192.168.1.1/24"));
        cable((&viewer, "eth0", "192.168.7.2/24"), (&away, "lan", "192.168.7.1/24"));
        for (router, address) in [(&home, HOME), (&away, AWAY)] {
            internet.plug((router, "wan", &format!("{address}/24")));
            router.rule("postrouting", MASQUERADE);
        }
        camera.gateway("192.168.1.1");
        viewer.gateway("192.168.7.1");
        Self { camera, home, internet, away, viewer }
    }

    /// Starts the daemon, with the page's port forwarded to it, and the media port if `media`; returns the
    /// page's address.
    fn start(&self, media: bool, ice: &str) -> (Daemon, String) {
        let daemon = start(&self.camera, "0.0.0.0", ice);
        self.forward("tcp", 8443, daemon.address().port());
        for protocol in if media { &["udp", "tcp"][..] } else { &[] } {
            self.forward(protocol, 8189, 8189);
        }
        (daemon, url(HOME, 8443))
    }

    /// Makes the home router forward one of its ports to the camera.
    fn forward(&self, protocol: &str, from: u16, to: u16) {
        self.home
            .rule("prerouting", &format!("iifname wan {protocol} dport {from} dnat to 192.168.1.2:{to}"));
    }
}

/// The `device.toml` for a router that forwards the ports.
const FORWARDED: &str = "[ice]\npublic_addresses = [\"203.0.113.10\"]\n";

#[test]
fn same_network() {
    let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
    cable((&camera, "eth0", "192.168.1.2/24"), (&viewer, "eth0", "192.168.1.3/24"));
    viewer.gateway("192.168.1.2");
    let daemon = start(&camera, "0.0.0.0", "");
    let (mut browser, path) = watch("same network", &viewer, &url("192.168.1.2", daemon.address().port()));
    assert_eq!((&path["protocol"], &path["remote"]["address"]), (&"udp".into(), &"192.168.1.2".into()));
    assert_bars(&browser.bars(0.625), "test picture");
}

/// Chromium hides its addresses behind `.local` names, which it announces over IPv4 only: without any IPv4
/// address it offers no candidate at all. So it has the link-local address that a machine uses where no DHCP
/// server answers; nothing is reachable through it.
#[test]
fn ipv6_only() {
    let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
    cable((&camera, "eth0", "2001:db8::2/64"), (&viewer, "eth0", "2001:db8::3/64 169.254.7.7/16"));
    viewer.gateway("2001:db8::2");
    let daemon = start(&camera, "::", "");
    let (_, path) = watch("IPv6 only", &viewer, &url("2001:db8::2", daemon.address().port()));
    assert_eq!(path["remote"]["address"], "2001:db8::2");
}

/// The viewer reaches one of three interfaces, by its second address: packets from any other are dropped on
/// the way, so everything must be sent from the address that the request came to. The first interface has 40
/// addresses, which must not take all the room in an answer.
#[test]
fn several_interfaces_and_addresses() {
    let (camera, viewer, office, cellar) =
        (Host::new("camera"), Host::new("viewer"), Host::new("office"), Host::new("cellar"));
    let many: Vec<_> = (2..42).map(|n| format!("10.1.0.{n}/24")).collect();
    cable((&camera, "eth0", &many.join(" ")), (&office, "eth0", "10.1.0.254/24"));
    cable((&camera, "eth1", "10.2.0.2/24 10.2.0.9/24"), (&viewer, "eth0", "10.2.0.3/24"));
    cable((&camera, "eth2", "10.3.0.2/24"), (&cellar, "eth0", "10.3.0.1/24"));
    camera.gateway("10.1.0.254");
    viewer.gateway("10.2.0.9");
    viewer.rule("input", "iifname eth0 ip saddr != 10.2.0.9 drop");
    let mut daemon = start(&camera, "0.0.0.0", "");
    daemon.said("of this machine's 43 addresses each viewer is offered 8");
    let (_, path) = watch("several interfaces", &viewer, &url("10.2.0.9", daemon.address().port()));
    assert_eq!(path["remote"]["address"], "10.2.0.9");
}

#[test]
fn forwarded_port_and_a_viewer_behind_a_nat_of_its_own() {
    let world = World::new();
    let (_daemon, page) = world.start(true, FORWARDED);
    let (_, path) = watch("port forwarded, NAT on both sides", &world.viewer, &page);
    assert_eq!((&path["protocol"], &path["remote"]["address"]), (&"udp".into(), &HOME.into()));
}

#[test]
fn two_viewers_behind_one_address() {
    let world = World::new();
    let second = Host::new("second");
    cable((&second, "eth0", "192.168.6.2/24"), (&world.away, "lan2", "192.168.6.1/24"));
    second.gateway("192.168.6.1");
    let (daemon, page) = world.start(true, FORWARDED);
    let (mut one, _) = watch("first of two behind one address", &world.viewer, &page);
    let (mut other, _) = watch("second of two behind one address", &second, &page);
    one.frames(30, 5);
    other.frames(30, 5);
    let address = SocketAddr::from(([192, 168, 1, 2], daemon.address().port()));
    let status = world.camera.inside(|| status(address));
    assert_eq!(number(&status, "/viewers/count"), 2., "{status:#}");
}

#[test]
fn udp_blocked() {
    let world = World::new();
    world.away.rule("forward", "meta l4proto udp drop");
    let (_daemon, page) = world.start(true, FORWARDED);
    let (mut browser, path) = watch("UDP blocked", &world.viewer, &page);
    assert_eq!(path["protocol"], "tcp");
    browser.frames(30, 5);
}

/// The viewer's firewall allows connections to web servers and to the TURN server, and the home router
/// forwards only the page. The device learns its outside address from the same server, by STUN.
#[test]
fn turn_server_as_the_only_path() {
    let world = World::new();
    let turn = Host::new("turn");
    world.internet.plug((&turn, "eth0", &format!("{TURN}/24")));
    turn.sh("ip route add default dev lo"); // packets for other networks are dropped silently
    let _server = turn.inside(turn_server);
    world.away.rule("forward", &format!("iifname lan ip daddr != {TURN} tcp dport 8443 accept"));
    world.away.rule("forward", &format!("iifname lan ip daddr != {TURN} drop"));
    let servers = format!(
        "[[ice.servers]]\nurls = [\"stun:{TURN}\", \"turn:{TURN}?transport=udp\"]\nsecret = \"{TURN_SECRET}\"\n"
    );
    let (_daemon, page) = world.start(false, &servers);
    let (mut browser, path) = watch("TURN alone", &world.viewer, &page);
    assert_eq!(path["local"]["type"], "relay");
    browser.frames(30, 5);
}

const TURN_SECRET: &str = "a secret between device and TURN server";

/// Debian's coturn, with credentials that expire.
fn turn_server() -> (Process, Dir) {
    let dir = Dir::new();
    let mut command = Command::new(place("PEERCAM_TURN"));
    command.args([
        "-n",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--log-file=stdout",
        "--simple-log",
        "--verbose",
    ]);
    command.args(["--use-auth-secret", "--realm=peercam.test"]);
    command.args(["--userdb=turndb", "--pidfile=turn.pid"]).current_dir(dir.path());
    command.arg(format!("--static-auth-secret={TURN_SECRET}"));
    command.arg(format!("--listening-ip={TURN}")).arg(format!("--relay-ip={TURN}"));
    let mut server = Process::start("turnserver", &mut command);
    server.said("Total General servers", Duration::from_secs(10)); // it listens
    (server, dir)
}

/// From Wi-Fi, which disappears suddenly, to a phone's network.
#[test]
fn viewer_walks_to_another_network() {
    let world = World::new();
    let phone = Host::router("phone");
    cable((&world.viewer, "usb0", ""), (&phone, "lan", "192.168.8.1/24"));
    world.internet.plug((&phone, "wan", "203.0.113.40/24"));
    phone.rule("postrouting", MASQUERADE);
    let (_daemon, page) = world.start(true, FORWARDED);
    let (mut browser, _) = watch("at home, before walking", &world.viewer, &page);
    let gap = disturbed(&mut browser, || {
        world.viewer.sh("ip link set eth0 down; ip addr add 192.168.8.2/24 dev usb0");
        world.viewer.gateway("192.168.8.1");
    });
    back("the viewer walked to another network", &mut browser, gap);
}

/// The cable is plugged in, and a second later Wi-Fi is gone.
#[test]
fn device_moves_from_wifi_to_cable() {
    let (camera, viewer, lan) = (Host::new("camera"), Host::new("viewer"), Switch::new());
    lan.plug((&camera, "wlan0", "192.168.1.2/24"));
    lan.plug((&camera, "eth0", ""));
    lan.plug((&viewer, "eth0", "192.168.1.3/24"));
    viewer.gateway("192.168.1.1");
    let daemon = start(&camera, "0.0.0.0", "");
    let (mut browser, _) = watch("over Wi-Fi", &viewer, &url("192.168.1.2", daemon.address().port()));
    let gap = disturbed(&mut browser, || {
        camera.sh(
            "ip addr add 192.168.1.9/24 dev eth0; sleep 1; ip addr flush dev wlan0; ip link set wlan0 down",
        );
    });
    back("the device moved from Wi-Fi to cable", &mut browser, gap);
}

/// The page's own address is gone then, and its socket with it: the media path must repair itself.
#[test]
fn device_gets_a_new_address() {
    let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
    cable((&camera, "eth0", "192.168.1.2/24"), (&viewer, "eth0", "192.168.1.3/24"));
    viewer.gateway("192.168.1.2");
    let daemon = start(&camera, "0.0.0.0", "");
    let (mut browser, _) = watch("before a new lease", &viewer, &url("192.168.1.2", daemon.address().port()));
    let gap = disturbed(&mut browser, || {
        camera.sh("ip addr del 192.168.1.2/24 dev eth0; ip addr add 192.168.1.77/24 dev eth0");
    });
    back("the device got another address", &mut browser, gap);
}

/// Prints and checks for how long there was no picture, on the same connection.
fn back(what: &str, browser: &mut Browser, gap_ms: f64) {
    let path = browser.eval("window.probe.path()");
    println!("picture back, {what}: after {gap_ms:.0} ms; {path}");
    assert!(gap_ms < BACK_MS, "{what}: no picture for {gap_ms:.0} ms");
    assert_eq!(browser.connections(), ["connected"], "{what}");
}

/// A path with a round trip and little room, and one that also loses packets.
#[test]
fn a_bad_link_made_by_a_board() {
    let mut router = Router::boot();
    router.becomes("delay 12500us rate 4mbit limit 100");
    let daemon = start(&router.camera, "0.0.0.0", "");
    let page = url(Router::CAMERA, daemon.address().port());
    let (mut browser, _) = watch("25 ms of round trip, 4 Mbit/s", &router.viewer, &page);
    for _ in 0..4 {
        again("25 ms of round trip, 4 Mbit/s, once more", &mut browser, &page);
    }
    router.becomes("delay 25ms 5ms loss 3% rate 4mbit limit 100");
    again("25±5 ms, 3 % loss, 4 Mbit/s", &mut browser, &page);
    let seen = browser.watch(10);
    println!("{seen}");
    assert!(number(&seen, "/decoded") >= 15. * number(&seen, "/ran"), "{seen:#}");
    assert!(number(&seen, "/nack") > 0. && number(&seen, "/retransmitted") > 0., "{seen:#}");
}
