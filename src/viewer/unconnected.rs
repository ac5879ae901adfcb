//! Explains why a viewer could not connect, in a sentence for the log and the page's report. Pure.

use std::time::Duration;

use super::port::{Alert, Progress};

/// What is known about an attempt.
pub(super) struct Attempt {
    /// How far the viewer got.
    pub progress: Progress,
    /// The alert by which the DTLS handshake failed.
    pub failure: Option<Alert>,
    /// Number of addresses that the viewer offered.
    pub named: usize,
    /// Number of those to which we can send.
    pub usable: usize,
    /// Our media port.
    pub port: u16,
    /// Whether it accepts TCP.
    pub tcp: bool,
    /// How long the attempt lasted.
    pub waited: Duration,
}

/// The reason in one sentence, without a full stop.
pub(super) fn why(attempt: &Attempt) -> String {
    let Attempt { port, waited, .. } = attempt;
    let (seconds, protocols) = (waited.as_secs(), if attempt.tcp { "UDP and TCP" } else { "UDP" });
    let silent = format!("nothing arrived from the viewer at port {port} ({protocols}) within {seconds} s");
    match (attempt.progress, attempt.failure) {
        // A forged alert can't come before a path was found.
        (Progress::Answered | Progress::Nominated, Some(alert)) => handshake(alert),
        (Progress::Nominated, None) => format!(
            "a path was found, but the encryption (DTLS) was not set up within {seconds} s: \
             larger packets may get lost on the way"
        ),
        (Progress::Answered, None) => {
            format!("packets go both ways, but the viewer has not chosen a path within {seconds} s")
        }
        (Progress::Heard, _) => format!(
            "the viewer's packets reach port {port}, but ours do not reach the viewer: \
             a firewall on the way blocks them"
        ),
        (Progress::Silent, _) if attempt.named == 0 => format!(
            "the viewer offered no address of its own, and {silent}: its browser may forbid WebRTC, \
             or a firewall or NAT on the way blocks everything"
        ),
        (Progress::Silent, _) if attempt.usable == 0 => format!(
            "the viewer offered no address that this device can send to (only mDNS names or TCP), \
             and {silent}: a firewall or NAT on the way blocks it"
        ),
        (Progress::Silent, _) => {
            format!("{silent}: a firewall or NAT on the way blocks it")
        }
    }
}

/// The meaning of an alert (RFC 5246 section 7.2.2, RFC 8446 section 6.2).
fn handshake(Alert { ours, description, .. }: Alert) -> String {
    let (who, whose, other) = if ours {
        ("this device", "the viewer's", "the viewer")
    } else {
        ("the viewer", "the device's", "the device")
    };
    let what = match description {
        41..=46 | 48 | 49 | 116 => {
            format!("{whose} certificate is missing or does not match its fingerprint")
        }
        40 | 70 | 71 | 86 | 110 | 120 => {
            format!("{other} offers no protocol version or cipher that both support")
        }
        _ => format!("{other} sent an unexpected message"),
    };
    format!("the encryption (DTLS) failed: {who} refused it, because {what} (alert {description})")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn attempt(progress: Progress) -> Attempt {
        Attempt {
            progress,
            failure: None,
            named: 3,
            usable: 2,
            port: 8189,
            tcp: true,
            waited: Duration::from_millis(30_400),
        }
    }

    #[test]
    fn each_end_has_its_sentence() {
        use Progress::{Answered, Heard, Nominated, Silent};
        for (progress, words) in [
            (Silent, "nothing arrived from the viewer at port 8189 (UDP and TCP) within 30 s: a firewall"),
            (Heard, "the viewer's packets reach port 8189, but ours do not reach the viewer"),
            (Answered, "packets go both ways"),
            (Nominated, "a path was found, but the encryption (DTLS) was not set up within 30 s"),
        ] {
            assert!(why(&attempt(progress)).starts_with(words), "{progress:?}");
        }
        let udp = Attempt { tcp: false, ..attempt(Silent) };
        assert!(why(&udp).contains("port 8189 (UDP) within"));
    }

    #[test]
    fn a_viewer_without_a_usable_address_is_told_from_a_silent_one() {
        let none = Attempt { named: 0, usable: 0, ..attempt(Progress::Silent) };
        assert!(why(&none).starts_with("the viewer offered no address of its own, and nothing arrived"));
        let hidden = Attempt { named: 3, usable: 0, ..attempt(Progress::Silent) };
        assert!(why(&hidden).starts_with("the viewer offered no address that this device can send to (only"));
        let heard = Attempt { named: 0, usable: 0, ..attempt(Progress::Heard) };
        assert!(why(&heard).starts_with("the viewer's packets reach port 8189"), "then it does not matter");
    }

    #[test]
    fn a_failed_handshake_says_who_and_why() {
        let failed = |ours, description| {
            let failure = Some(Alert { ours, description, at: Instant::now() });
            why(&Attempt { failure, ..attempt(Progress::Nominated) })
        };
        assert_eq!(
            failed(true, 42),
            "the encryption (DTLS) failed: this device refused it, \
             because the viewer's certificate is missing or does not match its fingerprint (alert 42)"
        );
        assert!(failed(false, 42).contains("the viewer refused it, because the device's certificate"));
        assert!(
            failed(true, 71).contains("the viewer offers no protocol version or cipher that both support")
        );
        assert!(failed(false, 10).contains("because the device sent an unexpected message (alert 10)"));
        let early = Attempt {
            failure: Some(Alert { ours: false, description: 40, at: Instant::now() }),
            ..attempt(Progress::Heard)
        };
        assert!(why(&early).starts_with("the viewer's packets"));
    }
}
