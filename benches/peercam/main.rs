//! Measures peercam's cost and delay, for the tables of docs/measured.md. Run `make bench`, or `make bench TESTS=delay`
//! for the sections with that name.
//!
//! The figures are from one run on one machine: compare ratios, and name the machine. Each section says what it
//! measures.

#![allow(missing_docs, clippy::unwrap_used, dead_code, unused_imports)] // of the tests' helpers only a part is used here

#[path = "../../tests/it/browser.rs"]
mod browser;
#[path = "../../tests/it/client.rs"]
mod client;
#[path = "../../tests/it/daemon.rs"]
mod daemon;
#[path = "../../tests/it/door.rs"]
mod door;
#[path = "../../tests/it/http.rs"]
mod http;
#[path = "../../tests/it/process.rs"]
mod process;
#[path = "../../tests/it/ticker.rs"]
mod ticker;

mod cameras;
mod crowd;
mod stages;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use browser::{Browser, number};
use daemon::Daemon;
use serde_json::json;

#[global_allocator]
static COUNTING: crowd::Counting = crowd::Counting;

fn place(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run `make bench`")).into()
}

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let [role, url, viewers] = &args[..]
        && role == "crowd"
    {
        return crowd::watch(url, viewers.parse().expect("a number"));
    }
    let sections: [(&str, fn()); 6] = [
        ("start", start),
        ("stages", stages::measure),
        ("crowd", crowd::measure),
        ("cameras", cameras::measure),
        ("join", join),
        ("delay", delay),
    ];
    for (name, section) in sections {
        if args.is_empty() || args.iter().any(|a| name.contains(a.as_str())) {
            section();
        }
    }
}

/// Prints one line of a table.
pub fn row(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}

/// The quantile: the value below which `part` of all values lie.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn config(size: &str) -> String {
    format!("[video]\ndevice = \"pattern\"\nsize = \"{size}\"\n[audio]\ndevice = \"tone\"\n")
}

/// CPU time used by a process, user and system.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let after_name = stat.rsplit(')').next().expect("a name");
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on all Linux architectures we build for
}

/// Share of one core that a process uses, in percent, and its resident memory in MB.
fn usage(daemon: &Daemon, time: Duration) -> (f64, f64) {
    let before = cpu(daemon.id());
    std::thread::sleep(time);
    let used = cpu(daemon.id()) - before;
    let resident = daemon.status()["process"]["resident_bytes"].as_f64().expect("bytes");
    (100.0 * used.as_secs_f64() / time.as_secs_f64(), resident / 1e6)
}

/// Size of the binary, time to start, and cost without and with one viewer (of the same WebRTC library, in this
/// process).
fn start() {
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_peercam")).expect("built").len();
    row("binary, stripped", &format!("{:.1} MB", size as f64 / 1e6));
    let mut starts: Vec<f64> = (0..10)
        .map(|_| {
            let began = Instant::now();
            let _daemon = Daemon::start(&config("1280x720"));
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    row("start to listening, p50", &format!("{:.0} ms", quantile(&mut starts, 0.5)));
    let daemon = Daemon::start(&config("1280x720"));
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, resident) = usage(&daemon, Duration::from_secs(20));
    row("nobody watching", &format!("{cpu:.2} % of a core, {resident:.1} MB"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _viewer = runtime.block_on(crowd::join(daemon.address(), None));
    std::thread::sleep(Duration::from_secs(5));
    let (cpu, resident) = usage(&daemon, Duration::from_secs(20));
    row(
        "720p30 test picture, drawn and encoded, one viewer",
        &format!("{cpu:.1} % of a core, {resident:.1} MB"),
    );
}

/// Time to join, with Chromium and the daemon on one machine: from the page's offer to the first picture, and from
/// opening the page to the first picture.
fn join() {
    let daemon = Daemon::start(&config("640x480"));
    let mut browser = Browser::start("chromium");
    let (mut offers, mut pages) = (vec![], vec![]);
    for _ in 0..10 {
        browser.open(&daemon.url("/"));
        let timing = browser.tell(&json!({"do": "eval", "code": "window.probe.timing()"}));
        offers.push(number(&timing, "/shown") - number(&timing, "/offered"));
        pages.push(number(&timing, "/shown"));
    }
    for (what, times) in [("offer to first picture", &mut offers), ("page open to first picture", &mut pages)]
    {
        let (p50, p95) = (quantile(times, 0.5), quantile(times, 0.95));
        row(&format!("{what}, Chromium, p50 / p95"), &format!("{p50:.0} / {p95:.0} ms"));
    }
}

/// Delay from the stamp in the picture (its capture) to the moment when Chromium presents it.
///
/// Capture and the browser's display have independent periods, 33.3 and 16.7 ms. Within one load of the page their
/// phase hardly changes, so the result of one load depends on chance. The muted case is therefore measured over several
/// loads.
fn delay() {
    const LOADS: usize = 8;
    for size in ["640x480", "1280x720", "1920x1080"] {
        let daemon = Daemon::start(&config(size));
        let (mut middles, mut highs) = (vec![], vec![]);
        for load in 1..=LOADS {
            let mut browser = Browser::start("chromium");
            browser.room_for(1920, 1080);
            browser.open(&daemon.url("/"));
            browser.frames(90, 30);
            let seen = browser.watch(4);
            middles.push(number(&seen, "/delay/p50"));
            highs.push(number(&seen, "/delay/p95"));
            if load == LOADS {
                muted(size, &mut middles, &mut highs);
                browser.click_sound();
                browser.lip_sync().expect("sound and picture together");
                let seen = browser.watch(15);
                let (p50, p95) = (number(&seen, "/delay/p50"), number(&seen, "/delay/p95"));
                row(
                    &format!("stamp to screen, {size} at 30 fps, with sound, p50 / p95"),
                    &format!("{p50:.0} / {p95:.0} ms"),
                );
            }
        }
    }
}

fn muted(size: &str, middles: &mut [f64], highs: &mut [f64]) {
    let (p50, least, most) = (quantile(middles, 0.5), quantile(middles, 0.0), quantile(middles, 1.0));
    row(
        &format!(
            "stamp to screen, {size} at 30 fps, muted, p50 / p95 of {} loads (p50 of each)",
            middles.len()
        ),
        &format!("{p50:.0} / {:.0} ms ({least:.0} to {most:.0})", quantile(highs, 0.95)),
    );
}
