//! The daemon's use of resources.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Most memory that may remain in use after an attack, in bytes.
pub(super) const MEMORY_LEFT: u64 = 3_000_000;
/// How long after the attack the figures may take to come down.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

/// The point from which nothing may have grown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flat {
    /// The start.
    FromStart,
    /// The end of a first round of the same attack: for attacks in which viewers join, whose ordinary memory
    /// does not count.
    FromFirstRound,
}

/// Resources that the daemon uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Anonymous memory, in bytes.
    pub memory: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Tasks of the asynchronous runtime.
    pub tasks: u64,
}

impl Figures {
    /// The present figures of the daemon with that process id and status.
    pub(crate) fn of(id: u32, status: &Value) -> Self {
        let tasks = status["process"]["tasks"].as_u64().expect("a number of tasks");
        Self { memory: memory(id), descriptors: descriptors(id), tasks }
    }

    /// Waits until the daemon uses no more than this, apart from some memory, and returns its figures then.
    pub(crate) fn wait_for_flat(&self, what: &str, figures: impl Fn() -> Self) -> Self {
        let end = Instant::now() + SETTLED;
        loop {
            let now = figures();
            let flat = now.memory <= self.memory + MEMORY_LEFT
                && now.descriptors <= self.descriptors
                && now.tasks <= self.tasks;
            if flat {
                return now;
            }
            assert!(Instant::now() < end, "{what}: {self} became {now}, {SETTLED:?} after the attacker left");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, tasks } = self;
        write!(f, "{} MB, {descriptors} descriptors, {tasks} tasks", megabytes(*memory))
    }
}

/// In MB, with one decimal.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Anonymous memory of a process, in bytes.
pub(super) fn memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the daemon runs");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("Linux reports it");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).expect("a number") * 1024
}

fn descriptors(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).expect("the daemon runs").count()
}
