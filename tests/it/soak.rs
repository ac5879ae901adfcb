//! An hour of viewers that come and go on the virtual board: neither the daemon's cost nor its delay may
//! grow. Only `make soak` runs this, and draws the results.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::board::{Board, PLAY};
use crate::browser::{Browser, number};
use crate::client::Client;
use crate::daemon::status;
use crate::place;

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(10);
/// Number of clients besides a browser, minute by minute, repeated. `None`: nobody at all.
const WATCHING: [Option<usize>; 8] = [Some(0), Some(1), Some(2), Some(4), Some(2), Some(1), Some(0), None];
/// Small enough for an emulated processor.
const CONFIG: &str = "[video]\nsize = \"320x180\"\nframe_rate = 10\nbitrate_kbps = 500\n[audio]\ndevice = \"hw:Loopback,1,0\"\n";

/// A line of the table.
struct Sample {
    elapsed_s: f64,
    viewers: f64,
    resident_mb: f64,
    descriptors: f64,
    threads: f64,
    /// Delay from capture to the screen, as measured by the page: median and 95th percentile; `None` while
    /// nobody watches.
    delay_ms: Option<(f64, f64)>,
}

impl Sample {
    fn take(address: SocketAddr, since: Instant, delay_ms: Option<(f64, f64)>) -> Self {
        let now = status(address);
        let of = |pointer| number(&now, pointer);
        Self {
            elapsed_s: since.elapsed().as_secs_f64(),
            viewers: of("/viewers/count"),
            resident_mb: of("/process/resident_bytes") / 1e6,
            descriptors: of("/process/descriptors"),
            threads: of("/process/threads"),
            delay_ms,
        }
    }

    fn line(&self) -> String {
        let Self { elapsed_s, viewers, resident_mb, descriptors, threads, delay_ms } = self;
        let delay = delay_ms.map(|(p50, p95)| format!("{p50:.1},{p95:.1}")).unwrap_or(",".into());
        format!("{elapsed_s:.0},{viewers},{resident_mb:.2},{descriptors},{threads},{delay}")
    }
}

/// A WHEP client that receives everything, until its runtime is dropped: then it vanishes.
fn guest(address: SocketAddr) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let mut client = Client::at("10.77.0.1:0", true).await;
        client.join(address).await;
        while client.packets.recv().await.is_some() {}
    });
    runtime
}

#[test]
fn viewers_come_and_go() {
    let minutes: u64 = std::env::var("PEERCAM_SOAK_MINUTES").expect("make soak").parse().expect("minutes");
    let mut table = File::create(place("PEERCAM_SOAK_TABLE")).unwrap();
    writeln!(table, "elapsed_s,viewers,resident_mb,descriptors,threads,delay_p50_ms,delay_p95_ms").unwrap();
    let mut board = Board::boot("snd-aloop");
    board.plug_vivid();
    board.run(PLAY);
    let address = board.start_daemon(CONFIG);
    let page = format!("http://{address}/");
    let mut browser = Browser::start("chromium");
    browser.open(&page);
    let (since, mut samples, mut guests) = (Instant::now(), vec![], vec![]);
    let mut watching = true;
    for n in 0.. {
        let due = EVERY * n;
        if due >= Duration::from_secs(60 * minutes) {
            break;
        }
        std::thread::sleep(due.saturating_sub(since.elapsed()));
        let wanted = WATCHING[due.as_secs() as usize / 60 % WATCHING.len()];
        guests.truncate(wanted.unwrap_or(0));
        while guests.len() < wanted.unwrap_or(0) {
            guests.push(guest(address));
        }
        if wanted.is_some() != watching {
            watching = wanted.is_some();
            let url = if watching { &page } else { "about:blank" };
            browser.tell(&json!({"do": "visit", "url": url}));
        }
        let delay_ms = watching.then(|| {
            browser.frames(20, 30);
            browser.wait("window.peercam.facts.delay_p95_ms !== null", 10);
            let facts = browser.eval("window.peercam.facts");
            (number(&facts, "/delay_ms"), number(&facts, "/delay_p95_ms"))
        });
        let sample = Sample::take(address, since, delay_ms);
        writeln!(table, "{}", sample.line()).unwrap();
        if (due + EVERY).as_secs().is_multiple_of(60) {
            // Vanished viewers are gone by the end of the minute.
            let expected = wanted.map_or(0, |guests| guests + 1);
            assert_eq!(sample.viewers, expected as f64, "viewers after {due:?}");
        }
        samples.push(sample);
    }
    grows_not(&samples);
}

/// Compares the second pass through [`WATCHING`] with the last one: the first is for warming up.
fn grows_not(samples: &[Sample]) {
    let round = WATCHING.len() * 6;
    let Some(late) = samples.len().checked_sub(round).filter(|late| *late >= 2 * round) else {
        println!("too short to tell whether anything grows: {} minutes are needed", WATCHING.len() * 3);
        return;
    };
    let (early, late) = (&samples[round..2 * round], &samples[late..]);
    type Figure = fn(&Sample) -> f64;
    let most = |of: &[Sample], what: Figure| of.iter().map(what).fold(0., f64::max);
    let median_delay = |of: &[Sample]| {
        let mut all: Vec<_> = of.iter().filter_map(|s| s.delay_ms).map(|(p50, _)| p50).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let figures: [(&str, Figure, f64); 3] = [
        ("MB of memory", |s| s.resident_mb, 4.),
        ("descriptors", |s| s.descriptors, 2.),
        ("threads", |s| s.threads, 2.),
    ];
    for (what, figure, slack) in figures {
        let (before, after) = (most(early, figure), most(late, figure));
        println!("{what}: at most {before:.1}, and {after:.1} in the end");
        assert!(after <= before + slack, "{what} grew from {before} to {after}");
    }
    let (before, after) = (median_delay(early), median_delay(late));
    println!("delay: {before:.1} ms, and {after:.1} ms in the end");
    // More than the differences between the minutes of an hour, 17 to 47 ms, as the emulated board shares its
    // cores with Chromium.
    assert!(after <= before + 30., "the delay grew from {before} to {after} ms");
}
