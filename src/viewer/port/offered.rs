//! Log lines about which of this machine's addresses viewers are offered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::candidates::{Filter, MOST};
use super::{Addresses, Inner};
use crate::config;

/// Shortest time between two lines: an interface that flaps gets one line for many changes.
const PAUSE: Duration = Duration::from_secs(10);

/// Follows the addresses, and logs what changes for viewers. Ends with the port.
pub(super) async fn tell(
    port: Arc<Inner>,
    mut addresses: watch::Receiver<Addresses>,
    mut ice: watch::Receiver<config::Ice>,
) {
    let mut journal = Journal::default();
    loop {
        let all = port.listening(&addresses.borrow_and_update());
        let useful = Filter::of(&ice.borrow_and_update()).useful(&all);
        let again = match journal.look(&useful, Instant::now()) {
            Look::Nothing => None,
            Look::Say(line) => {
                tracing::info!("{line}");
                None
            }
            Look::Again(at) => Some(at),
        };
        let wait = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = addresses.changed() => {}
            Ok(()) = ice.changed() => {}
            () = wait => {}
        }
    }
}

/// What to do about the current addresses.
#[derive(Debug, PartialEq)]
enum Look {
    Nothing,
    Say(String),
    /// Look again at that time.
    Again(Instant),
}

/// The addresses that were logged. Pure policy.
#[derive(Default)]
struct Journal {
    /// In order of interface and address; `None` before the first look.
    known: Option<Addresses>,
    not_before: Option<Instant>,
}

impl Journal {
    /// Takes the addresses from which viewers are offered some. At the start they are logged only if some are
    /// left out; a change that was reverted before its line is not logged.
    fn look(&mut self, useful: &Addresses, now: Instant) -> Look {
        let mut sorted = useful.clone();
        sorted.sort();
        if self.known.as_ref() == Some(&sorted) {
            return Look::Nothing;
        }
        if let Some(at) = self.not_before.filter(|at| now < *at) {
            return Look::Again(at);
        }
        let first = self.known.replace(sorted).is_none();
        if first && useful.len() <= MOST {
            return Look::Nothing;
        }
        self.not_before = Some(now + PAUSE);
        Look::Say(line(useful))
    }
}

fn line(useful: &Addresses) -> String {
    let named = |(interface, ip): &(String, IpAddr)| format!("{ip} ({interface})");
    match useful.len() {
        0 => "this machine has no address that viewers on other machines can use".into(),
        n if n <= MOST => {
            format!("viewers are now offered {}", useful.iter().map(named).collect::<Vec<_>>().join(", "))
        }
        n => format!(
            "of this machine's {n} addresses each viewer is offered {MOST}: the one that it connected to, \
             one of each interface, then others; set interfaces or exclude_interfaces under [ice] to offer only the useful ones"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(addresses: &[(&str, u8)]) -> Addresses {
        addresses.iter().map(|(interface, n)| ((*interface).into(), IpAddr::from([10, 0, 0, *n]))).collect()
    }

    #[test]
    fn each_change_that_lasts_is_one_line() {
        let (mut journal, start) = (Journal::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let (home, both) = (some(&[("eth0", 1)]), some(&[("eth0", 1), ("wlan0", 2)]));
        assert_eq!(journal.look(&home, at(0)), Look::Nothing);
        let line = "viewers are now offered 10.0.0.1 (eth0), 10.0.0.2 (wlan0)".to_owned();
        assert_eq!(journal.look(&both, at(1)), Look::Say(line));
        let other_order = some(&[("wlan0", 2), ("eth0", 1)]);
        assert_eq!(journal.look(&other_order, at(1)), Look::Nothing);
        assert_eq!(journal.look(&home, at(2)), Look::Again(at(11)));
        assert_eq!(journal.look(&both, at(3)), Look::Nothing, "the same as before");
        assert_eq!(journal.look(&home, at(4)), Look::Again(at(11)));
        assert_eq!(journal.look(&home, at(11)), Look::Say("viewers are now offered 10.0.0.1 (eth0)".into()));
        let Look::Say(none) = journal.look(&vec![], at(60)) else { panic!("a change") };
        assert!(none.contains("no address"), "{none}");
    }

    #[test]
    fn an_interface_that_flaps_does_not_fill_the_journal() {
        let (mut journal, start) = (Journal::default(), Instant::now());
        let states = [some(&[("eth0", 1)]), some(&[("eth0", 1), ("usb0", 2)])];
        let lines = (0..200u32).filter(|n| {
            let now = start + Duration::from_millis(100) * *n; // 20 s
            matches!(journal.look(&states[*n as usize % 2], now), Look::Say(_))
        });
        assert!(lines.count() <= 2);
    }

    #[test]
    fn it_is_said_when_some_are_left_out() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        let many: Addresses = (0..41).map(|n| ("eth0".into(), IpAddr::from([10, 0, 0, n]))).collect();
        let Look::Say(line) = journal.look(&many, now) else { panic!("33 are left out") };
        assert!(line.starts_with("of this machine's 41 addresses each viewer is offered 8: "), "{line}");
        assert_eq!(journal.look(&many, now + PAUSE * 9), Look::Nothing);
    }
}
