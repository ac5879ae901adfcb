//! Limits repeated log lines: each is logged a few times, and then only counted. Pure logic.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Pts;

/// Most kinds of lines that are counted separately; all others share one count.
const APART: usize = 256;
/// A kind of line is forgotten after this many pauses without an event.
const FORGOTTEN: u32 = 10;

/// Decides which events are logged.
#[derive(Debug)]
pub struct Hush<K> {
    lines: u32,
    pause: Duration,
    /// `None`: all kinds that are not counted separately.
    said: HashMap<Option<K>, Said>,
}

#[derive(Debug)]
struct Said {
    since: Pts,
    lines: u32,
    left_out: u64,
}

/// How many lines were left out; written at the end of the next line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    times: u64,
    within: Duration,
}

impl<K: Eq + Hash> Hush<K> {
    /// For actions of strangers, by stranger: one line per minute, so that none of them can fill the journal.
    pub fn strangers() -> Self {
        Self { lines: 1, pause: Duration::from_secs(60), said: HashMap::new() }
    }

    /// For viewers that come and go, by viewer: enough lines per minute to follow a person, not more.
    pub fn visits() -> Self {
        Self { lines: 12, pause: Duration::from_secs(60), said: HashMap::new() }
    }

    /// For faults of this machine, by kind: a few lines in ten minutes, enough for a person who is fixing it.
    pub fn faults() -> Self {
        Self { lines: 5, pause: Duration::from_secs(600), said: HashMap::new() }
    }

    /// Counts an event: `Some` if it should be logged, with the number of lines left out before; `None` if not.
    pub fn may_say(&mut self, what: K, now: Pts) -> Option<LeftOut> {
        let pause = self.pause;
        self.said.retain(|_, said| now.since(said.since) < pause * FORGOTTEN);
        let what = Some(what);
        let full = self.said.len() >= APART && !self.said.contains_key(&what);
        let new = Said { since: now, lines: 0, left_out: 0 };
        let said = self.said.entry(what.filter(|_| !full)).or_insert(new);
        let within = now.since(said.since);
        let mut left_out = LeftOut::default();
        if within >= pause {
            left_out = LeftOut { times: said.left_out, within };
            *said = Said { since: now, lines: 0, left_out: 0 };
        }
        if said.lines == self.lines {
            said.left_out += 1;
            return None;
        }
        said.lines += 1;
        Some(left_out)
    }
}

impl fmt::Display for LeftOut {
    /// Writes ` (17 times more in the last 10 minutes)`, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.within.as_secs().div_ceil(60);
        match (self.times, minutes) {
            (0, _) => Ok(()),
            (1, _) => write!(f, " (once more in the last {minutes} minutes)"),
            (times, 0..=1) => write!(f, " ({times} times more in the last minute)"),
            (times, _) => write!(f, " ({times} times more in the last {minutes} minutes)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Pts {
        Pts::from_micros(1_000_000_000 + s * 1_000_000)
    }

    #[test]
    fn one_line_a_minute_for_each_stranger_with_a_count() {
        let mut hush = Hush::strangers();
        assert_eq!(hush.may_say("a", at(0)), Some(LeftOut::default()));
        for _ in 0..500 {
            assert_eq!(hush.may_say("a", at(1)), None);
        }
        assert_eq!(hush.may_say("b", at(1)), Some(LeftOut::default()));
        let told = hush.may_say("a", at(60)).map(|l| l.to_string());
        assert_eq!(told.as_deref(), Some(" (500 times more in the last minute)"));
        assert_eq!(hush.may_say("a", at(61)), None);
        let told = hush.may_say("a", at(240)).map(|l| l.to_string());
        assert_eq!(told.as_deref(), Some(" (once more in the last 3 minutes)"));
        assert_eq!(hush.may_say("a", at(900)), Some(LeftOut::default()), "forgotten");
    }

    #[test]
    fn a_fault_has_a_few_lines_at_once() {
        let mut hush = Hush::faults();
        let lines = (0..3_600).filter(|s| hush.may_say("the plug is loose".to_owned(), at(*s)).is_some());
        assert_eq!(lines.count(), 30);
        assert_eq!(hush.may_say("another".into(), at(3_600)), Some(LeftOut::default()));
        let told = hush.may_say("the plug is loose".into(), at(3_600)).map(|l| l.to_string());
        assert_eq!(told.as_deref(), Some(" (595 times more in the last 10 minutes)"));
    }

    #[test]
    fn more_than_can_be_told_apart_share_a_line() {
        let mut hush = Hush::strangers();
        let lines = (0..10_000).filter(|n| hush.may_say(*n, at(0)).is_some()).count();
        assert_eq!(lines, APART + 1);
        assert!(hush.said.len() <= APART + 1);
    }
}
