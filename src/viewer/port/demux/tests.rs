//! Tests of the tables, with our own keys and clock.

use super::super::mailbox::Mail;
use super::*;
use crate::net::stun::tests::{request, response};

const OURS: &str = "192.168.1.5";
const ALSO_OURS: &str = "10.0.0.5";

struct Desk {
    demux: Demux,
    now: Instant,
    next: u32,
}

/// The result for a datagram: its line, and the sender's address that the agent sees.
type Fate = Option<(LineId, SocketAddr)>;

impl Desk {
    fn new() -> Self {
        Self { demux: Demux::default(), now: Instant::now(), next: 0 }
    }

    fn line(&mut self, ufrag: &str) -> LineId {
        self.line_with_mailbox(ufrag).0
    }

    fn line_with_mailbox(&mut self, ufrag: &str) -> (LineId, Arc<Mailbox>) {
        let mailbox = Arc::<Mailbox>::default();
        let id = self.demux.open(mailbox.clone());
        self.demux.credentials(id, ufrag, &format!("password of {ufrag}"));
        (id, mailbox)
    }

    fn udp(&mut self, from: &str, to: &str, bytes: &[u8]) -> Fate {
        match self.demux.udp(self.now, address(from), to.parse().ok(), bytes) {
            Inbound::Line(id, _, label) => Some((id, label)),
            _ => None,
        }
    }

    fn id(&mut self) -> TransactionId {
        self.next += 1;
        let mut id = [0x77; 12];
        id[..4].copy_from_slice(&self.next.to_be_bytes());
        id
    }

    /// A genuine check by the browser.
    fn check(&mut self, ufrag: &str, from: &str, to: &str, nominates: bool) -> (Fate, TransactionId) {
        let id = self.id();
        let key = stun::key(&format!("password of {ufrag}"));
        let bytes = request(id, &format!("{ufrag}:theirs"), &key, nominates);
        (self.udp(from, to, &bytes), id)
    }

    /// A check of ours: where it went, and the result for the browser's answer from there.
    fn ask(&mut self, line: LineId, to: &str) -> (SocketAddr, Fate) {
        let id = self.id();
        let question = stun::binding_request(id);
        let (really, _) = self.demux.outbound(line, address(to), &question).expect("a way");
        let answer = self.udp(&really.to_string(), OURS, &response(id));
        (really, answer)
    }

    /// Checks in both directions, with the path chosen.
    fn connect(&mut self, ufrag: &str, line: LineId, from: &str) {
        self.check(ufrag, from, OURS, true).0.expect("genuine");
        self.ask(line, from).1.expect("ours");
        assert_eq!(self.send(line, from).0, address(from));
    }

    /// The agent has chosen that address; returns the way of media.
    fn send(&mut self, line: LineId, to: &str) -> (SocketAddr, Via) {
        self.demux.select(line, address(to));
        self.demux.media(line).expect("a way")
    }
}

fn address(s: &str) -> SocketAddr {
    s.parse().expect("an address")
}

fn by(ip: &str) -> Via {
    Via::Udp(ip.parse().ok())
}

const RTCP: &[u8] = &[128, 205, 0, 1];
const DTLS: &[u8] = &[22, 254, 253];
const A: &str = "198.51.100.1:4000";
const B: &str = "198.51.100.1:4001";
const C: &str = "203.0.113.3:5000";

#[test]
fn only_a_genuine_request_teaches_an_address() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    let nothing = desk.demux.entries();
    assert_eq!(desk.udp(A, OURS, RTCP), None);
    assert_eq!(desk.udp(A, OURS, DTLS), None);
    assert_eq!(desk.check("another", A, OURS, true).0, None);
    let forged = request([9; 12], "ours:theirs", &stun::key("a guess"), true);
    assert_eq!(desk.udp(A, OURS, &forged), None);
    for rubbish in [&[][..], &[5], &[0; 19], &[0; 20], &[200, 1], &[64; 100]] {
        assert_eq!(desk.udp(A, OURS, rubbish), None);
    }
    assert_eq!((desk.demux.entries(), desk.demux.progress(line)), (nothing, Progress::Silent));
    assert_eq!(desk.check("ours", A, OURS, false).0, Some((line, address(A))));
    assert_eq!(desk.udp(A, OURS, DTLS), Some((line, address(A))));
    assert_eq!(desk.udp(B, OURS, DTLS), None, "a different port is a different sender");
}

#[test]
fn two_viewers_behind_one_address_are_told_apart() {
    let mut desk = Desk::new();
    let (one, two) = (desk.line("one"), desk.line("two"));
    desk.check("one", A, OURS, true).0.expect("genuine");
    desk.check("two", B, OURS, true).0.expect("genuine");
    assert_eq!(desk.udp(A, OURS, RTCP), Some((one, address(A))));
    assert_eq!(desk.udp(B, OURS, RTCP), Some((two, address(B))));
    // The NAT reassigns the port of a viewer that left.
    desk.check("two", A, OURS, true).0.expect("genuine");
    assert_eq!(desk.udp(A, OURS, RTCP), Some((two, address(A))));
    desk.demux.close(one);
    assert_eq!(
        desk.udp(A, OURS, RTCP),
        Some((two, address(A))),
        "an address that belongs to another line now stays there"
    );
    desk.demux.close(two);
    assert_eq!(desk.demux.entries(), 0);
}

#[test]
fn what_goes_out_takes_the_way_that_it_came() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    assert_eq!(desk.send(line, A), (address(A), Via::Udp(None)), "nothing known: the kernel chooses");
    let (_, first) = desk.check("ours", A, OURS, false);
    let (_, second) = desk.check("ours", A, ALSO_OURS, false);
    let answer = |desk: &mut Desk, id| desk.demux.outbound(line, address(A), &response(id));
    assert_eq!(answer(&mut desk, first), Some((address(A), by(OURS))));
    assert_eq!(answer(&mut desk, second), Some((address(A), by(ALSO_OURS))));
    assert_eq!(answer(&mut desk, second), None, "once");
    desk.check("ours", A, OURS, true);
    desk.check("ours", A, ALSO_OURS, false);
    assert_eq!(desk.send(line, A).1, by(OURS), "the browser chose that");
    desk.demux.keep_addresses(&[ALSO_OURS.parse().expect("address")]);
    assert_eq!(desk.send(line, A).1, Via::Udp(None), "it is not ours any more");
}

#[test]
fn a_viewer_that_hears_us_from_another_address_is_told_once() {
    let mut desk = Desk::new();
    let (line, mailbox) = desk.line_with_mailbox("ours");
    desk.connect("ours", line, A);
    let told = || mailbox.take().contains(&Mail::Mended);
    desk.demux.keep_addresses(&[OURS.parse().expect("address")]);
    desk.ask(line, A).1.expect("ours");
    assert!(!told(), "nothing has changed");
    desk.demux.keep_addresses(&[ALSO_OURS.parse().expect("address")]);
    desk.send(line, A);
    assert!(!told(), "nobody has answered yet");
    desk.ask(line, A).1.expect("ours");
    assert!(told());
    desk.ask(line, A).1.expect("ours");
    assert!(!told());
}

#[test]
fn a_restart_changes_the_credentials_and_keeps_the_addresses() {
    let mut desk = Desk::new();
    let line = desk.line("old");
    desk.connect("old", line, A);
    assert_eq!(desk.demux.progress(line), Progress::Answered);
    desk.check("old", A, OURS, true);
    assert_eq!(desk.demux.progress(line), Progress::Nominated);
    desk.demux.credentials(line, "new", "password of new");
    assert_eq!(desk.demux.progress(line), Progress::Silent);
    assert_eq!(desk.check("old", A, OURS, true).0, None);
    assert_eq!(desk.udp(A, OURS, RTCP), Some((line, address(A))), "media continues meanwhile");
    assert_eq!(desk.check("new", C, OURS, true).0, Some((line, address(C))));
    assert_eq!(desk.send(line, C).0, address(C));
}

#[test]
fn media_follows_a_viewer_to_another_network() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    desk.connect("ours", line, A);
    // Checked, checked back, chosen, and used: only all of it moves the path.
    desk.check("ours", C, ALSO_OURS, true);
    assert_eq!(desk.udp(C, OURS, RTCP), Some((line, address(C))));
    assert_eq!(desk.send(line, A).0, address(A), "it has not answered yet");
    assert_eq!(desk.ask(line, C), (address(C), Some((line, address(C)))));
    assert_eq!(desk.send(line, A).0, address(A), "it sends nothing from there yet");
    desk.udp(C, OURS, RTCP);
    assert_eq!(desk.send(line, A), (address(C), by(ALSO_OURS)));
    // The agent still sends checks to the old address, and sees their answers as from there.
    assert_eq!(desk.ask(line, A), (address(C), Some((line, address(A)))));
    // Back again.
    desk.udp(A, OURS, RTCP);
    assert_eq!(desk.send(line, A).0, address(A));
    // After a restart the agent's own choice applies.
    desk.udp(C, OURS, RTCP);
    assert_eq!(desk.send(line, B).0, address(B));
}

#[test]
fn media_follows_a_nat_that_forgets() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    desk.connect("ours", line, A);
    // The same browser has a new port, without knowing it: so it does not choose a path.
    desk.check("ours", B, OURS, false);
    desk.ask(line, B);
    desk.udp(B, OURS, RTCP);
    assert_eq!(desk.send(line, A).0, address(A), "the other path may be alive");
    desk.now += SILENT + Duration::from_millis(1);
    desk.udp(B, OURS, RTCP);
    assert_eq!(desk.send(line, A).0, address(B));
}

#[test]
fn an_answer_is_taken_once_and_from_where_it_was_asked() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    desk.check("ours", A, OURS, true);
    let id = desk.id();
    desk.demux.outbound(line, address(A), &stun::binding_request(id));
    assert_eq!(desk.udp(C, OURS, &response(id)), Some((line, address(C))), "the agent sees the true address");
    assert_eq!(desk.udp(A, OURS, &response(id)), None, "once");
    desk.udp(A, OURS, RTCP);
    assert_eq!(desk.send(line, A).0, address(A));
}

#[test]
fn our_own_question_is_answered_to_us() {
    let mut desk = Desk::new();
    desk.demux.ask([5; 12]);
    let mut answer = response([5; 12]);
    answer.extend([0, 0x20, 0, 8, 0, 1, 0x21 ^ 0x12, 0x12 ^ 0x34, 0x21 ^ 192, 0x12, 0xa4 ^ 2, 0x42 ^ 9]);
    answer[3] = 12;
    let Inbound::Mapped(id, mapped) = desk.demux.udp(desk.now, address(C), None, &answer) else {
        panic!("ours")
    };
    assert_eq!((id, mapped), ([5; 12], address("192.0.2.9:4660")));
    desk.demux.asked(&id);
    assert!(matches!(desk.demux.udp(desk.now, address(C), None, &answer), Inbound::Stray));
    assert_eq!(desk.demux.entries(), 0);
}

#[test]
fn a_tcp_connection_is_the_line_s_that_it_began_with() {
    let mut desk = Desk::new();
    let (line, other) = (desk.line("ours"), desk.line("other"));
    let (connection, _queue) = Connection::new();
    let mut tcp = |line, bytes: &[u8]| match desk.demux.tcp(desk.now, address(A), &connection, line, bytes) {
        Inbound::Line(id, _, label) => Some((id, label)),
        _ => None,
    };
    let check = |ufrag: &str| {
        request([3; 12], &format!("{ufrag}:theirs"), &stun::key(&format!("password of {ufrag}")), true)
    };
    assert_eq!(tcp(None, DTLS), None);
    assert_eq!(tcp(None, &check("ours")), Some((line, address(A))));
    assert_eq!(tcp(Some(line), DTLS), Some((line, address(A))));
    assert_eq!(tcp(Some(line), &check("other")), None, "one connection, one viewer");
    assert_eq!(desk.udp(A, OURS, RTCP), None, "UDP from there proves nothing");
    assert_eq!(desk.send(line, A), (address(A), Via::Tcp(connection.clone())));
    desk.demux.closed(line, &connection);
    assert_eq!(desk.send(line, A), (address(A), Via::Udp(None)));
    desk.demux.close(line);
    desk.demux.close(other);
    assert_eq!(desk.demux.entries(), 0);
}

#[test]
fn tables_stay_small_whatever_a_viewer_does() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    desk.connect("ours", line, A);
    for port in 1..=5000 {
        desk.now += Duration::from_millis(1);
        let (heard, _) = desk.check("ours", &format!("203.0.113.9:{port}"), OURS, true);
        assert!(heard.is_some() || port > MOST_PATHS * 4);
    }
    for n in 0..1000_u16 {
        let mut id = [0xee; 12];
        id[..2].copy_from_slice(&n.to_be_bytes());
        desk.demux.outbound(line, address(C), &stun::binding_request(id));
    }
    assert!(desk.demux.entries() <= 2 + MOST_PATHS + MOST_SENT, "{}", desk.demux.entries());
    assert_eq!(desk.udp(A, OURS, RTCP), Some((line, address(A))), "the path in use is never forgotten");
    desk.now += DEAD * 2;
    desk.check("ours", C, OURS, true);
    assert_eq!(desk.demux.entries() - MOST_SENT, 2 + 2, "dead paths make room");
    desk.demux.close(line);
    assert_eq!(desk.demux.entries(), 0);
}

#[test]
fn a_viewer_that_comes_from_everywhere_is_heard_from_so_many_addresses() {
    let mut desk = Desk::new();
    let line = desk.line("ours");
    desk.connect("ours", line, A);
    let mut heard = |from: std::ops::Range<u16>| {
        let one = |port| desk.check("ours", &format!("203.0.113.9:{port}"), OURS, false).0;
        let count = from.filter_map(one).count();
        // A known address stays known, even if its path was replaced.
        assert!(
            [A, "203.0.113.9:1000"].iter().all(|known| desk.check("ours", known, OURS, false).0.is_some())
        );
        desk.now += Duration::from_secs(100);
        count
    };
    assert_eq!(heard(1000..4000), NEW_ADDRESSES.burst as usize - 1);
    assert_eq!(heard(4000..7000), 10);
    // An ICE restart starts over, as webrtc does.
    desk.demux.credentials(line, "again", "password of again");
    assert!(desk.check("again", B, OURS, false).0.is_some());
}

#[test]
fn whoever_sends_media_is_told_when_its_way_may_be_another() {
    let mut desk = Desk::new();
    let (line, mailbox) = desk.line_with_mailbox("ours");
    desk.connect("ours", line, A);
    assert!(mailbox.rerouted());
    let told = |what: &str, expected: bool| assert_eq!(mailbox.rerouted(), expected, "{what}");
    for _ in 0..10 {
        desk.check("ours", A, OURS, true).0.expect("genuine");
        desk.ask(line, A).1.expect("ours");
        desk.udp(A, OURS, RTCP).expect("its own");
        desk.send(line, A);
    }
    told("nothing has changed", false);
    desk.check("ours", A, ALSO_OURS, true).0.expect("genuine");
    told("it has chosen another address of ours", true);
    desk.demux.keep_addresses(&[OURS.parse().expect("address")]);
    told("that is gone", true);
    desk.check("ours", C, OURS, true).0.expect("genuine");
    desk.ask(line, C).1.expect("ours");
    mailbox.rerouted();
    desk.udp(C, OURS, RTCP).expect("its own");
    told("it has changed networks", true);
    assert_eq!(desk.demux.media(line).expect("a way").0, address(C));
    desk.demux.select(line, address(B));
    told("another pair after a restart", true);
    let other = desk.line("other");
    desk.check("other", C, OURS, true).0.expect("genuine");
    told("a NAT gave its address to another", true);
    desk.demux.close(other);
}
