//! Tells a stall from a queue. Where a path or a receiver stands still for a moment (a busy processor, a change of
//! the radio channel, a handover), what waits meanwhile arrives at once when it goes on. A link that is too slow
//! delivers at its rate. To both, packets look late; but after a stall a lower bitrate would change nothing.

use super::history::Outcome;

/// A stall lasts at least this long, in seconds.
const LEAST_S: f64 = 0.05;
/// What arrives within this time is delivered at once, in seconds.
const TOGETHER_S: f64 = 0.008;
/// It is so only if that is at least this many times the usual bitrate.
const TIMES: f64 = 2.5;
/// Fewest packets that are delivered at once.
const FEWEST: usize = 2;
/// At most this part of the time counts as stalls: what stands still for longer is no path for that bitrate.
const MOST: f64 = 0.5;
/// Time over which that part is averaged, in seconds.
const OVER_S: f64 = 2.0;

/// Finds stalls in what arrives.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    /// Arrival time of the newest packet.
    newest_s: Option<f64>,
    /// The part of the time that was lost to stalls, and when that was computed.
    lost: (f64, f64),
}

impl Stalls {
    /// Marks the packets among these that a stall has delayed. `outcomes` are in the order in which the packets
    /// were sent; `usual_bps` is the bitrate of the media, and `is_late` whether a packet took longer than usual.
    pub(super) fn judge(
        &mut self,
        outcomes: &mut [Outcome],
        usual_bps: f64,
        is_late: impl Fn(&Outcome) -> bool,
    ) {
        let mut at = 0;
        while at < outcomes.len() {
            let Some(arrived_s) = outcomes[at].arrived_s else {
                at += 1;
                continue;
            };
            let gap = self.newest_s.map_or(0.0, |newest| arrived_s - newest);
            self.newest_s = Some(self.newest_s.map_or(arrived_s, |newest| newest.max(arrived_s)));
            if gap < LEAST_S || !is_late(&outcomes[at]) {
                at += 1;
                continue;
            }
            let rest = &outcomes[at + 1..];
            let together = |o: &&Outcome| o.arrived_s.is_none_or(|next| next - arrived_s <= TOGETHER_S);
            let count = rest.iter().take_while(together).count();
            let bits: f64 =
                rest[..count].iter().filter(|o| o.arrived_s.is_some()).map(|o| o.size * 8.0).sum();
            let at_once = count + 1 >= FEWEST && bits / TOGETHER_S >= TIMES * usual_bps;
            if at_once && self.may_count(gap, arrived_s) {
                outcomes[at..=at + count].iter_mut().for_each(|o| o.stalled = true);
                at += count;
            }
            at += 1;
        }
    }

    /// Counts a stall of this length, unless too much of the time has been lost to stalls.
    fn may_count(&mut self, gap_s: f64, now_s: f64) -> bool {
        let (part, at) = self.lost;
        let part = part * (-(now_s - at).max(0.0) / OVER_S).exp();
        let may = part < MOST;
        self.lost = (if may { part + gap_s / OVER_S } else { part }, now_s);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::cc::Kind;

    fn outcome(sent_s: f64, arrived_s: f64, size: f64) -> Outcome {
        Outcome {
            number: 0,
            sent_s,
            arrived_s: Some(arrived_s),
            size,
            kind: Kind::Video,
            probe: None,
            own_s: 0.0,
            corrects: None,
            stalled: false,
        }
    }

    fn judge(stalls: &mut Stalls, mut outcomes: Vec<Outcome>) -> Vec<bool> {
        let is_late = |o: &Outcome| o.arrived_s.is_some_and(|at| at - o.sent_s > 0.05);
        stalls.judge(&mut outcomes, 1e6, is_late);
        outcomes.iter().map(|o| o.stalled).collect()
    }

    #[test]
    fn what_a_stall_has_held_back_comes_at_once() {
        let mut stalls = Stalls::default();
        let mut outcomes = vec![outcome(0.0, 0.02, 1_200.0)];
        // Sent over 200 ms, and all there at 220 ms; then as usual.
        outcomes.extend((1..7).map(|n| outcome(f64::from(n) * 0.033, 0.22 + f64::from(n) * 0.001, 1_200.0)));
        outcomes.push(outcome(0.24, 0.26, 1_200.0));
        let stalled = judge(&mut stalls, outcomes);
        assert_eq!(stalled, [false, true, true, true, true, true, true, false]);
    }

    #[test]
    fn few_pictures_a_second_are_no_stalls() {
        let mut stalls = Stalls::default();
        let pictures = (0..10).map(|n| f64::from(n) * 0.1);
        let outcomes: Vec<_> =
            pictures.flat_map(|at| (0..4).map(move |_| outcome(at, at + 0.02, 1_200.0))).collect();
        assert!(judge(&mut stalls, outcomes).iter().all(|stalled| !stalled));
    }

    #[test]
    fn a_slow_link_delivers_at_its_rate() {
        let mut stalls = Stalls::default();
        let slow: Vec<_> =
            (0..20).map(|n| outcome(f64::from(n) * 0.01, f64::from(n) * 0.096, 1_200.0)).collect();
        assert!(judge(&mut stalls, slow).iter().all(|stalled| !stalled));
    }

    #[test]
    fn a_path_that_always_stands_still_is_a_slow_one() {
        let mut stalls = Stalls::default();
        let mut count = 0;
        for n in 0..100 {
            let at = f64::from(n) * 0.2;
            let outcomes: Vec<_> = (0..4).map(|_| outcome(at - 0.1, at, 1_200.0)).collect();
            count += usize::from(judge(&mut stalls, outcomes)[0]);
        }
        assert!((20..60).contains(&count), "{count}");
    }
}
