//! Wrong passwords: each is hashed with 19 MiB, of which nothing may remain in use.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::figures::{MEMORY_LEFT, SETTLED, megabytes, memory};
use super::{Flat, Scene};
use crate::daemon::{Daemon, PATTERN};
use crate::flood;
use crate::http::{anybody, exchange_from, written};

/// In a scene the owner has signed in before, and the memory that this leaves in use would hide the attack's.
/// Here nobody has.
#[test]
fn the_first_hashes_of_all_leave_no_memory_behind() {
    let daemon = Daemon::start(PATTERN);
    daemon.status();
    let before = memory(daemon.id());
    guess(daemon.address(), Ipv4Addr::LOCALHOST); // what a first login needs once
    for (what, at_once) in [("one after the other", 1), ("eight at a time", 8)] {
        std::thread::scope(|scope| {
            for thread in 0..at_once {
                let address = daemon.address();
                scope.spawn(move || {
                    for n in 0..8 / at_once {
                        guess(address, Ipv4Addr::new(127, 2, at_once, 10 * thread + n));
                    }
                });
            }
        });
        let start = Instant::now();
        while memory(daemon.id()) > before + MEMORY_LEFT {
            let now = megabytes(memory(daemon.id()));
            assert!(start.elapsed() < SETTLED, "{what}: {} MB became {now} MB", megabytes(before));
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{what}: {} MB before, {} after", megabytes(before), megabytes(memory(daemon.id())));
    }
}

/// A wrong password, from a new address so that it need not wait.
fn guess(to: SocketAddr, from: Ipv4Addr) {
    let body = r#"{"password":"a guess at it"}"#;
    let text = written(to, "POST", "/api/login", &[("Content-Type", "application/json")], body);
    assert_eq!(exchange_from(from.into(), to, &text).expect("an answer").code, 401);
}

#[test]
fn wrong_passwords_leave_no_memory_behind() {
    let scene = Scene::new();
    scene.under("five wrong passwords", Flat::FromStart, |target| {
        let guess = |n| {
            let body = format!(r#"{{"password":"a guess at it {n}"}}"#);
            let answer =
                anybody(target.web, "POST", "/api/login", &[("Content-Type", "application/json")], &body);
            answer.expect("an answer").code
        };
        format!("answered by status {:?}", (0..5).map(guess).collect::<Vec<_>>())
    });
    // From as many addresses as it takes, many at a time.
    scene.under("300 wrong passwords", Flat::FromStart, |target| {
        format!("answered by status {:?}", flood::guesses(target.web, 300, Duration::from_secs(5)))
    });
}
