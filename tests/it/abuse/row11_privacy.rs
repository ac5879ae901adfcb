//! Privacy is switched on while snapshots are requested and somebody watches: after the answer, nothing of
//! camera or microphone leaves, and both are closed.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;

use super::Over;
use crate::client::{Client, OPUS};
use crate::daemon::{self, Daemon, until};
use crate::http::request;

/// At 5 pictures a second a request waits for the next one most of the time.
const CONFIG: &str =
    "[video]\ndevice = \"pattern\"\nsize = \"640x480\"\nframe_rate = 5\n[audio]\ndevice = \"tone\"\n";
const SOON: Duration = Duration::from_secs(8);
/// The test's thread may read late what left before.
const READ_LATE: Duration = Duration::from_millis(100);
/// How long to watch after each answer.
const AFTER: Duration = Duration::from_secs(1);
/// Most slates in that time, with a keyframe on request.
const CARDS: usize = 6;

type Switch = fn(&Daemon, bool);

fn by_page(daemon: &Daemon, on: bool) {
    let body = format!("{{\"on\":{on}}}");
    let json = [("Content-Type", "application/json")];
    assert_eq!(request(daemon.address(), "POST", "/api/privacy", &json, &body).expect("an answer").code, 204);
}

fn by_command(daemon: &Daemon, on: bool) {
    daemon.command(&["privacy", if on { "on" } else { "off" }]);
}

#[test]
fn after_the_answer_nothing_leaves() {
    for (how, switch) in [("by the page", by_page as Switch), ("by the command", by_command)] {
        let daemon = Daemon::start(CONFIG);
        let to = daemon.address();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut client = runtime.block_on(async {
            let mut client = Client::new(true).await;
            client.join(to).await;
            client
        });
        let over = AtomicBool::new(false);
        let asked = Mutex::new(vec![]);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (asked, over) = (&asked, &over);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(25 * n));
                    while !over.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        let (code, _) = daemon::get(to, "/snapshot.jpg").expect("an answer");
                        asked.lock().unwrap().push((start, Instant::now(), code));
                    }
                });
            }
            let _over = Over(&over);
            let mut answers = vec![];
            for _ in 0..4 {
                live(to);
                let pictures = || asked.lock().unwrap().iter().filter(|(.., code)| *code == 200).count();
                let before = pictures();
                let end = Instant::now() + SOON;
                while pictures() < before + 8 {
                    assert!(Instant::now() < end, "{how}: no pictures");
                    std::thread::sleep(Duration::from_millis(20));
                }
                let start = Instant::now();
                switch(&daemon, true);
                let answered = Instant::now();
                let status = daemon.status();
                for part in ["video", "audio"] {
                    assert_eq!(status[part]["state"], "private", "{how}: {part} after the answer");
                }
                std::thread::sleep(READ_LATE);
                while client.packets.try_recv().is_ok() {}
                std::thread::sleep(AFTER);
                let (mut cards, mut sounds) = (0, 0);
                while let Ok(packet) = client.packets.try_recv() {
                    if let Packet::Rtp(p) = packet {
                        sounds += usize::from(p.header.payload_type == OPUS);
                        cards += usize::from(p.header.payload_type != OPUS && p.header.marker);
                    }
                }
                println!(
                    "{how}: answered after {:.0?}, then {cards} cards, {sounds} sounds",
                    answered - start
                );
                assert!(cards <= CARDS && sounds == 0, "{how}: {cards} pictures, {sounds} sounds");
                answers.push((answered, Instant::now()));
                switch(&daemon, false);
            }
            let asked = asked.lock().unwrap();
            for (start, end, code) in asked.iter() {
                for (answered, off) in &answers {
                    let leaked = *code == 200 && *end > *answered + READ_LATE && *start < *off && *end < *off;
                    assert!(!leaked, "{how}: a picture {:.0?} after the answer", *end - *answered);
                }
            }
        });
        runtime.block_on(client.close());
    }
}

fn live(to: SocketAddr) {
    until(to, "live", SOON, |s| s["video"]["state"] == "live" && s["audio"]["state"] == "live");
}
