//! Row 4: a guest opens more WebSockets than there are descriptors, and answers pings on all of them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Flat, Guest, OWNER, Scene, sockets};
use crate::daemon::{Daemon, PATTERN};
use crate::flood::{Descriptors, claimed};
use crate::ticker::Ticker;

/// As many as once took all descriptors.
const MANY: u32 = 1005;
/// How long they stay open.
const HELD: Duration = Duration::from_secs(5);
/// The sockets of one guest link: those of its share of viewers, and some pages.
const ONE_LINK: usize = 25 + 16;

fn attack(scene: &Scene, what: &str, guests: &[Guest], from: impl Fn(u32) -> Option<Ipv4Addr> + Send + Sync) {
    let most = ONE_LINK * guests.len();
    scene.under(what, Flat::FromStart, |target| {
        let _room = Descriptors::room_for(u64::from(MANY) + 200);
        let guest = |n: u32| &guests[n as usize % guests.len()];
        let open: Vec<_> = (0..MANY).filter_map(|n| sockets::open(from(n), target.web, guest(n))).collect();
        let opened = open.len();
        assert!(opened <= most, "{opened} sockets of {} guest links", guests.len());
        let (held, commanded) = std::thread::scope(|scope| {
            let commanded = scope.spawn(|| {
                let (ticker, start) = (Ticker::start(), Instant::now());
                scene.command(&["token", "list"]);
                ticker.took(start)
            });
            (sockets::hold(open, HELD), commanded.join().expect("no panic"))
        });
        assert!(commanded < OWNER, "the owner's command took {commanded:?}");
        format!("{opened} of {MANY} opened, {held} held; a command of the owner's took {commanded:.1?}")
    });
}

#[test]
fn a_thousand_sockets_of_one_link() {
    let scene = Scene::new();
    let guests = [scene.guest("sockets")];
    attack(&scene, "1,005 WebSockets of one guest link", &guests, |_| None);
}

#[test]
fn a_thousand_sockets_of_three_links_from_many_addresses() {
    let scene = Scene::new();
    let guests = ["one", "two", "three"].map(|label| scene.guest(label));
    attack(&scene, "1,005 WebSockets of three guest links from 500 addresses", &guests, |n| {
        Some(claimed(n % 500))
    });
}

#[test]
fn a_thousand_sockets_where_few_files_may_be_open() {
    let scene = Scene::with_files(512);
    let guests = ["one", "two", "three"].map(|label| scene.guest(label));
    attack(&scene, "1,005 WebSockets, where 512 files may be open", &guests, |n| Some(claimed(n % 500)));
}

#[test]
fn the_limit_of_open_files_is_raised_at_the_start() {
    let daemon = Daemon::start(PATTERN);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("Linux reports it");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let [soft, hard] = numbers[..] else { panic!("{line}") };
    assert!(soft >= hard.min(8192), "{line}");
}
