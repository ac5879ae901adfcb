//! The networks that people really have, in small: Chromium on one [`Host`], the daemon on another, and between them what
//! keeps cameras from being reached. Each scenario prints the time to the first picture.

use std::time::Duration;

use serde_json::Value;

use crate::board::{self, Board};
use crate::browser::{Browser, assert_bars, number};
use crate::daemon::Daemon;
use crate::lab::{Host, Switch, cable, url};
use crate::process::Process;

/// The test picture at a bitrate that every path here carries.
const CAMERA: &str = "[video]\ndevice = \"pattern\"\nsize = \"640x480\"\nbitrate_kbps = 1000\n[audio]\ndevice = \"tone\"\n";

/// A broken path is to be mended within this.
const BACK_MS: f64 = 3000.;

/// Starts the daemon on a host; `more` is further configuration.
fn start(camera: &Host, address: &str, more: &str) -> Daemon {
    camera.inside(|| Daemon::start(&format!("{CAMERA}{more}[web]\naddress = \"{address}\"\n")))
}

/// Opens the page on a host, prints how long its first picture took, and returns it with the way that the media took.
fn watch(scenario: &str, viewer: &Host, page: &str) -> (Browser, Value) {
    let mut browser = viewer.inside(|| Browser::start("chromium"));
    browser.open(page);
    let first = browser.eval("window.probe.timing()");
    let path = browser.eval("window.probe.path()");
    println!(
        "first picture, {scenario}: {:.0} ms after the page was opened, {:.0} ms after its offer; {path}",
        number(&first, "/shown"),
        number(&first, "/shown") - number(&first, "/offered"),
    );
    (browser, path)
}

/// Looks at the picture while `act` happens to the network a second later; how long no picture came, in milliseconds.
fn disturbed(browser: &mut Browser, act: impl FnOnce()) -> f64 {
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| browser.watch(9));
        std::thread::sleep(Duration::from_secs(1));
        act();
        watching.join().expect("watched")
    });
    assert!(number(&seen, "/presented") > 30., "{seen:#}");
    number(&seen, "/longestGapMs")
}

/// ```text
/// camera ─ home ─┐
///                internet 203.0.113.0/24 ─ turn .30
/// viewer ─ away ─┘
/// ```
/// Both routers hide what is behind them under their own address, and the internet knows no other way in.
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

impl World {
    fn new() -> Self {
        let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
        let (home, away) = (Host::router("home"), Host::router("away"));
        let internet = Switch::new();
        cable((&camera, "eth0", "192.168.1.2/24"), (&home, "lan", "192.168.1.1/24"));
        cable((&viewer, "eth0", "192.168.7.2/24"), (&away, "lan", "192.168.7.1/24"));
        for (router, address) in [(&home, HOME), (&away, AWAY)] {
            internet.plug((router, "wan", &format!("{address}/24")));
            router.masquerade("wan");
        }
        camera.gateway("192.168.1.1");
        viewer.gateway("192.168.7.1");
        Self { camera, home, internet, away, viewer }
    }
}

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

#[test]
fn ipv6_only() {
    let (camera, viewer) = (Host::new("camera"), Host::new("viewer"));
    cable((&camera, "eth0", "2001:db8::2/64"), (&viewer, "eth0", "2001:db8::3/64"));
    viewer.gateway("2001:db8::2");
    let daemon = start(&camera, "::", "");
    let (_, path) = watch("IPv6 only", &viewer, &url("2001:db8::2", daemon.address().port()));
    assert_eq!(path["remote"]["address"], "2001:db8::2");
}

/// The viewer reaches one interface of three, and there the second address: what comes from any other is dropped on its
/// way, so everything must leave by the address at which it was asked for.
#[test]
fn several_interfaces_and_addresses() {
    let (camera, viewer, office, cellar) =
        (Host::new("camera"), Host::new("viewer"), Host::new("office"), Host::new("cellar"));
    cable((&camera, "eth0", "10.1.0.2/24"), (&office, "eth0", "10.1.0.1/24"));
    cable((&camera, "eth1", "10.2.0.2/24 10.2.0.9/24"), (&viewer, "eth0", "10.2.0.3/24"));
    cable((&camera, "eth2", "10.3.0.2/24"), (&cellar, "eth0", "10.3.0.1/24"));
    camera.gateway("10.1.0.1");
    viewer.gateway("10.2.0.9");
    viewer.nft("table ip filter { chain in { type filter hook input priority 0; iifname eth0 ip saddr != 10.2.0.9 drop; } }");
    let daemon = start(&camera, "0.0.0.0", "");
    let (_, path) = watch("several interfaces", &viewer, &url("10.2.0.9", daemon.address().port()));
    assert_eq!(path["remote"]["address"], "10.2.0.9");
}

/// The virtual board between two networks delays, jitters, loses and throttles what it forwards, as Wi-Fi at its edge does.
#[test]
fn a_bad_link() {
    let (camera, viewer, link) = (Host::new("camera"), Host::new("viewer"), Switch::new());
    link.plug((&camera, "eth0", "10.1.0.2/24"));
    link.plug((&viewer, "eth0", "10.2.0.2/24"));
    camera.gateway("10.1.0.1");
    viewer.gateway("10.2.0.1");
    let mut board = link.host().inside(|| Board::boot("sch_netem"));
    link.adopt(board::TAP);
    // Both networks are on its one wire, so it must not tell them that they could do without it.
    board.run(
        "ip addr flush dev eth0; ip addr add 10.1.0.1/24 dev eth0; ip addr add 10.2.0.1/24 dev eth0
        for n in all eth0; do echo 0 > /proc/sys/net/ipv4/conf/$n/send_redirects; done
        echo 1 > /proc/sys/net/ipv4/ip_forward
        tc qdisc replace dev eth0 root netem delay 25ms 5ms loss 3% rate 4mbit limit 100",
    );
    let daemon = start(&camera, "0.0.0.0", "");
    let (mut browser, _) = watch(
        "25±5 ms, 3 % loss, 4 Mbit/s",
        &viewer,
        &url("10.1.0.2", daemon.address().port()),
    );
    let seen = browser.watch(10);
    println!("{seen}");
    assert!(number(&seen, "/decoded") >= 15. * number(&seen, "/seconds"), "{seen:#}");
    assert!(number(&seen, "/nack") > 0. && number(&seen, "/retransmitted") > 0., "{seen:#}");
}
