//! Divides the device's upload between its viewers (`web.max_upload_kbps`), max-min fair: whoever needs less than an
//! equal part gets what it needs, and the others divide the rest equally.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The upload that viewers may use together.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In bits per second; `None`: no limit.
    most_bps: Option<f64>,
    /// What each viewer could use, in bits per second.
    wanted: HashMap<u64, f64>,
    /// The key of the next viewer.
    next: u64,
}

/// A viewer's part of the upload, until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    uplink: Arc<Uplink>,
    key: u64,
}

impl Uplink {
    /// Sets the limit in bits per second; `None`: no limit. Each viewer follows when it next asks.
    pub(super) fn set(&self, most_bps: Option<u32>) {
        self.lock().most_bps = most_bps.map(f64::from);
    }

    /// The part of another viewer, which can use nothing yet.
    pub(super) fn part(self: &Arc<Self>) -> Part {
        let mut state = self.lock();
        let key = state.next;
        state.next += 1;
        state.wanted.insert(key, 0.0);
        Part { uplink: self.clone(), key }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Says how much the viewer could use, in bits per second, and returns how much it may use; `None`: no limit.
    /// Call it about once a second.
    pub(super) fn most(&self, wanted_bps: f64) -> Option<f64> {
        let mut state = self.uplink.lock();
        state.wanted.insert(self.key, wanted_bps);
        let most_bps = state.most_bps?;
        let others = state.wanted.iter().filter(|(key, _)| **key != self.key);
        Some(fair(most_bps, others.map(|(_, wanted)| *wanted).collect()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.uplink.lock().wanted.remove(&self.key);
    }
}

/// What is left of `all` for one who could use all of it, beside others who could use this much. It is never less than an
/// equal part.
fn fair(all: f64, mut others: Vec<f64>) -> f64 {
    others.sort_by(f64::total_cmp);
    let mut left = all;
    for (n, wanted) in others.iter().enumerate() {
        let equal = left / (others.len() + 1 - n) as f64;
        if *wanted >= equal {
            return equal;
        }
        left -= wanted;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_little_gets_it_and_the_others_divide_the_rest() {
        assert_eq!(fair(3e6, vec![]), 3e6);
        assert_eq!(fair(3e6, vec![9e6]), 1.5e6);
        assert_eq!(fair(3e6, vec![0.5e6]), 2.5e6);
        assert_eq!(fair(3e6, vec![9e6, 0.5e6, 2e6]), 2.5e6 / 3.0);
        assert_eq!(fair(3e6, vec![0.1e6, 0.2e6, 0.0]), 2.7e6);
    }

    #[test]
    fn what_viewers_use_together_is_the_limit_whatever_they_want() {
        let uplink = Arc::new(Uplink::default());
        let parts: Vec<_> = (0..5).map(|_| uplink.part()).collect();
        let wanted = [0.1e6, 0.3e6, 2e6, 2e6, 0.9e6];
        assert!(
            parts.iter().zip(wanted).all(|(part, wanted)| part.most(wanted).is_none()),
            "no limit is set"
        );
        uplink.set(Some(2_000_000));
        let used = |wanted: &[f64]| -> f64 {
            let used = |(part, wanted): (&Part, &f64)| part.most(*wanted).expect("a limit").min(*wanted);
            parts.iter().zip(wanted).map(used).sum()
        };
        assert!((used(&wanted) - 2e6).abs() < 1.0);
        assert_eq!(used(&[0.1e6; 5]), 0.5e6, "there is enough for all");
        used(&[3e6; 5]); // each says so while it still counts on the others' old needs
        assert!((used(&[3e6; 5]) - 2e6).abs() < 1.0);
    }

    #[test]
    fn a_viewer_that_left_takes_nothing() {
        let uplink = Arc::new(Uplink::default());
        uplink.set(Some(1_000_000));
        let (stays, goes) = (uplink.part(), uplink.part());
        goes.most(5e6);
        assert_eq!(stays.most(5e6), Some(0.5e6));
        drop(goes);
        assert_eq!(stays.most(5e6), Some(1e6));
    }
}
