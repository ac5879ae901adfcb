//! Chromium and Firefox side by side on one daemon's page. In each, quality and camera are changed
//! repeatedly, as a person would, and it shows the pictures of one stream: without an error, a gap, or a step
//! back in time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::browser::{Browser, number};
use crate::daemon::Daemon;
use crate::random::Random;
use crate::ticker::Ticker;

/// Two cameras, distinguished by the widths of their pictures.
const CONFIG: &str = "[audio]\ndevice = \"tone\"\n\
    [[camera]]\nname = \"front\"\ndevice = \"pattern\"\nsize = \"640x480\"\n\
    [[camera]]\nname = \"back\"\ndevice = \"pattern\"\nsize = \"704x528\"\n";
/// Width of their full pictures.
const CAMERAS: [(&str, u64); 2] = [("front", 640), ("back", 704)];
/// The qualities, and the divisor of the width for each.
const QUALITIES: [(&str, u64); 4] = [("auto", 1), ("full", 1), ("half", 2), ("quarter", 4)];
/// Number of changes of quality, camera or both; each browser has its own random order.
const CHANGES: u32 = 200;
const SEEDS: [u32; 2] = [0x2001_2026, 0x2002_2026];
/// Usual time until the next choice, in milliseconds; a keyframe may have to wait longer.
const SOON: std::ops::Range<u32> = 150..450;
/// How long one choice in ten stays unchanged.
const ALONE: Duration = Duration::from_millis(1500);
const ALONE_EVERY: u32 = 10;
/// Time within which an unchanged choice must be shown: half a second that a keyframe may have to wait, as
/// long for an encoder or a camera to start, and the way to the screen.
const MET: Duration = Duration::from_millis(1300);
/// Longest gap between two pictures.
const GAP: Duration = Duration::from_millis(300);

/// Choices, and how many milliseconds each lasts.
fn choices(seed: u32) -> Vec<(&'static str, &'static str, u32)> {
    let all = || {
        CAMERAS.iter().flat_map(|(camera, _)| QUALITIES.iter().map(move |(quality, _)| (*camera, *quality)))
    };
    let (mut random, mut now) = (Random::new(seed), ("front", "auto"));
    let next = |n| {
        let others: Vec<_> = all().filter(|other| *other != now).collect();
        now = others[random.below(others.len() as u32) as usize];
        let soon = SOON.start + random.below(SOON.end - SOON.start);
        (now.0, now.1, if n % ALONE_EVERY == 0 { ALONE.as_millis() as u32 } else { soon })
    };
    (1..=CHANGES).map(next).collect()
}

/// The width that a choice leads to.
fn width(choice: &Value) -> u64 {
    width_of(&choice["camera"], &choice["quality"])
}

fn width_of(camera: &Value, quality: &Value) -> u64 {
    let find = |all: &[(&str, u64)], wanted: &Value| {
        all.iter().find(|(name, _)| wanted == *name).expect("one of them").1
    };
    find(&CAMERAS, camera) / find(&QUALITIES, quality)
}

/// Whether two pictures are of the same camera, by their widths.
fn of_one_camera(a: &Value, b: &Value) -> bool {
    let camera = |picture: &Value| {
        let width = picture["width"].as_u64()?;
        let of = |full: u64| QUALITIES.iter().any(|(_, part)| full / part == width);
        CAMERAS.iter().position(|(_, full)| of(*full))
    };
    camera(a) == camera(b)
}

/// Opens the page's details, where the choice is, and changes it repeatedly; returns what the browser saw
/// meanwhile.
fn change(browser: &mut Browser, seed: u32) -> Value {
    browser.wait("window.peercam.facts.cameras.every((c) => c.state === 'live')", 20);
    browser.eval("document.querySelector('[data-camera=front] .tile-button').click()");
    browser.wait("window.peercam.facts.enlarged === 'front' && window.peercam.facts.width === 640", 20);
    browser.tell(&json!({"do": "click", "selector": "#info"}));
    browser.wait("document.querySelectorAll('#quality option').length === 4", 10);
    browser.eval(&format!("window.probe.startToChoose({})", json!(choices(seed))));
    browser.wait("window.probe.chosen", 99);
    let seen = browser.eval("window.probe.chosen");
    let last = seen["asked"].as_array().and_then(|asked| asked.last()).unwrap_or_else(|| panic!("{seen:#}"));
    browser.wait(&format!("window.peercam.facts.width === {}", width(last)), 10);
    seen
}

/// What one browser saw, and what is wrong with it.
struct Seen<'a> {
    name: &'a str,
    ticker: &'a Ticker,
    asked: &'a [Value],
    frames: &'a [Value],
    counts: &'a Value,
    faults: Vec<String>,
}

impl<'a> Seen<'a> {
    fn judge(name: &'a str, seen: &'a Value, ticker: &'a Ticker) -> Self {
        let list = |key: &str| seen[key].as_array().unwrap_or_else(|| panic!("{name}: no {key}: {seen:#}"));
        let (asked, frames, counts) = (list("asked"), list("frames"), &seen["counts"]);
        let mut this = Self { name, ticker, asked, frames, counts, faults: vec![] };
        this.counted();
        this.time();
        this.sizes();
        this.left_alone();
        this.gaps();
        if seen["generation"] != 1 {
            this.fault("it had to connect again");
        }
        this
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    /// How much of the time between two events the machine ran.
    fn ran(&self, from: &Value, to: &Value) -> Duration {
        let at = |seen: &Value| self.ticker.at(number(seen, "/at"));
        self.ticker.longest([(at(from), at(to))])
    }

    /// A browser requests a keyframe for anything that its decoder can't use, and nothing is lost on the way
    /// here. On a busy machine `framesDropped` may be more than 0, when a late browser continues with a
    /// keyframe that is already there; some pictures may still be in progress; and `freezeCount` counts gaps
    /// of 150 ms more than usual, which [`Seen::gaps`] checks.
    fn counted(&mut self) {
        let counts = self.counts;
        println!("{}: {counts}", self.name);
        let of = |name: &str| number(counts, &format!("/{name}"));
        if ["packetsLost", "pliCount", "firCount", "nackCount"].iter().any(|name| of(name) != 0.) {
            self.fault(format!("it missed something: {counts}"));
        }
        let [received, decoded, dropped] = ["framesReceived", "framesDecoded", "framesDropped"].map(of);
        if (received - decoded - dropped).abs() > 5. || dropped > 0.02 * received {
            self.fault(format!("not all that it received was decoded: {counts}"));
        }
    }

    /// The number rises. It is read off the screen, which may already show the next picture: it may be the
    /// same again, and if that picture has a different size there is none. Of those that are hard to read,
    /// one in a few hundred is wrong.
    fn time(&mut self) {
        // Each camera has its own numbers.
        let steps = |key: &str, bits: u32, alike: fn(&Value, &Value) -> bool| -> Vec<u64> {
            let pairs = self.frames.windows(2).filter(|pair| alike(&pair[0], &pair[1]));
            let step = |pair: &[Value]| {
                Some(pair[1][key].as_u64()?.wrapping_sub(pair[0][key].as_u64()?) & ((1 << bits) - 1))
            };
            pairs.filter_map(step).collect()
        };
        let (timestamps, numbers) = (steps("rtp", 32, |_, _| true), steps("number", 16, of_one_camera));
        let all = self.frames.len() - 1;
        if timestamps.len() < all || !timestamps.iter().all(|step| (1..1 << 31).contains(step)) {
            self.fault(format!("RTP timestamps of {} pictures: {timestamps:?}", all + 1));
        }
        let falls = numbers.iter().filter(|step| **step >= 1 << 15).count();
        if numbers.len() < all * 3 / 5 || falls > 1 {
            self.fault(format!("numbers of {} pictures: {numbers:?}", all + 1));
        }
    }

    /// Pictures of a different size arrive only after a request, and in this order. Where camera and quality
    /// change, the camera is requested first, and may arrive before the quality does.
    fn sizes(&mut self) {
        let (mut choice, mut shown, mut switches) = (0, 640, 0);
        for frame in self.frames {
            let now = frame["width"].as_u64().expect("a width");
            if now == shown {
                continue;
            }
            (shown, switches) = (now, switches + 1);
            let asked = |n: usize| {
                let (a, before) = (&self.asked[n], n.checked_sub(1).map(|n| &self.asked[n]["quality"]));
                let meanwhile = before.map(|quality| width_of(&a["camera"], quality));
                (width(a) == now || meanwhile == Some(now)) && number(a, "/at") <= number(frame, "/at")
            };
            match (choice..self.asked.len()).position(asked) {
                Some(further) => choice += further,
                None => self.fault(format!("{now} pixels wide, after choice {choice}: not asked for")),
            }
        }
        println!("{}: {switches} times another size, {} pictures shown", self.name, self.frames.len());
    }

    /// A choice that stays unchanged is shown.
    fn left_alone(&mut self) {
        let ends = self.asked.iter().skip(1).chain(self.frames.last());
        let (mut judged, mut not_met) = (0_usize, vec![]);
        for (choice, end) in self.asked.iter().zip(ends) {
            if self.ran(choice, end) < MET {
                continue;
            }
            judged += 1;
            let last = self.frames.iter().rfind(|frame| number(frame, "/at") <= number(end, "/at"));
            if last.is_none_or(|frame| frame["width"] != width(choice)) {
                not_met.push((choice, last));
            }
        }
        println!("{}: of {} choices {judged} left alone", self.name, self.asked.len());
        // As in `rungs`: one in twenty may be late on a busy machine.
        if not_met.len() > judged.div_ceil(20) {
            self.fault(format!("not met: {not_met:?}"));
        }
    }

    fn gaps(&mut self) {
        let mut gaps: Vec<_> = self.frames.windows(2).map(|pair| self.ran(&pair[0], &pair[1])).collect();
        gaps.sort_by(|a, b| b.cmp(a));
        println!("{}: longest gaps {:.0?}", self.name, &gaps[..5]);
        // As in `rungs`: a busy machine may delay a browser now and then.
        if gaps[2] >= GAP {
            self.fault(format!("gaps {:.0?}", &gaps[..5]));
        }
    }
}

#[test]
fn two_hundred_changes_are_one_stream_that_browsers_show() {
    let daemon = Daemon::start(CONFIG);
    let names = ["chromium", "firefox"];
    let mut browsers = names.map(Browser::start);
    for browser in &mut browsers {
        browser.room_for(704, 528);
        browser.open(&daemon.url("/"));
    }
    println!("seeds {SEEDS:#x?}");
    let (ticker, start) = (Ticker::start(), Instant::now());
    let seen: Vec<Value> = std::thread::scope(|scope| {
        let each = browsers.iter_mut().zip(SEEDS);
        let each: Vec<_> = each.map(|(browser, seed)| scope.spawn(move || change(browser, seed))).collect();
        each.into_iter().map(|thread| thread.join().expect("watched")).collect()
    });
    ticker.judge(start, Instant::now());
    println!(
        "the machine was lost for {:.1?}; {}",
        ticker.lost(start, Instant::now()),
        daemon.status()["counters"]
    );
    let faults = names.iter().zip(&seen).map(|(name, seen)| (name, Seen::judge(name, seen, &ticker).faults));
    let faults: Vec<_> = faults.filter(|(_, faults)| !faults.is_empty()).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{}", daemon.log());
}
