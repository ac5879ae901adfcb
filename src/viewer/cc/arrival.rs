//! Groups packets that were sent together. The difference between two groups' delays is one sample of how the
//! queue changes. This is libwebrtc's `goog_cc/inter_arrival_delta`: a group covers 5 ms of send time, and
//! packets that arrive in one burst also form one group.

/// A group covers this much send time after its first packet, in seconds.
const GROUP_S: f64 = 0.005;
/// A packet that arrives within this time after the previous one, in seconds, and faster than it was sent,
/// belongs to the previous one's group.
const BURST_S: f64 = 0.005;
/// Maximum length of a burst, in seconds.
const LONGEST_BURST_S: f64 = 0.100;
/// If the clock jumps by more than this, in seconds, grouping starts over.
const JUMP_S: f64 = 3.0;

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent_s: f64,
    sent_s: f64,
    first_arrived_s: f64,
    arrived_s: f64,
}

/// One sample: how much longer a group was on its way than the previous group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Delta {
    /// Change of the delay, in seconds.
    pub delay_s: f64,
    /// Arrival time of the newer group's last packet, by the viewer's clock.
    pub arrived_s: f64,
}

/// Sorts packets into groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
}

impl Groups {
    /// Records the arrival of a packet. Returns a sample if the packet begins a new group and two groups are
    /// complete.
    pub(super) fn arrived(&mut self, sent_s: f64, arrived_s: f64) -> Option<Delta> {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::new(sent_s, arrived_s));
            return None;
        };
        if (arrived_s - current.arrived_s).abs() > JUMP_S {
            *self = Self::default();
            return None;
        }
        if sent_s < current.first_sent_s {
            return None; // other packets overtook it
        }
        let propagation = (arrived_s - current.arrived_s) - (sent_s - current.sent_s);
        let burst = propagation < 0.0
            && arrived_s - current.arrived_s <= BURST_S
            && arrived_s - current.first_arrived_s < LONGEST_BURST_S;
        if sent_s - current.first_sent_s <= GROUP_S || burst {
            current.sent_s = current.sent_s.max(sent_s);
            current.arrived_s = current.arrived_s.max(arrived_s);
            return None;
        }
        let done = *current;
        self.current = Some(Group::new(sent_s, arrived_s));
        let before = self.previous.replace(done)?;
        let delay_s = (done.arrived_s - before.arrived_s) - (done.sent_s - before.sent_s);
        Some(Delta { delay_s, arrived_s: done.arrived_s })
    }
}

impl Group {
    fn new(sent_s: f64, arrived_s: f64) -> Self {
        Self { first_sent_s: sent_s, sent_s, first_arrived_s: arrived_s, arrived_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_queue_gives_samples_of_its_growth() {
        let mut groups = Groups::default();
        let mut deltas = vec![];
        for n in 0..40 {
            let sent = f64::from(n) * 0.010;
            for packet in 0..3 {
                let arrived = 100.0 + sent * 1.1 + f64::from(packet) * 0.002;
                deltas.extend(groups.arrived(sent + f64::from(packet) * 0.001, arrived));
            }
        }
        assert!(deltas.len() > 35);
        assert!(deltas.iter().all(|d| (d.delay_s - 0.001).abs() < 1e-9), "{deltas:?}");
    }

    #[test]
    fn a_burst_is_one_group() {
        let mut groups = Groups::default();
        let deltas: Vec<_> = (0..20)
            .filter_map(|n| groups.arrived(f64::from(n) * 0.006, 5.0 + f64::from(n) * 0.0001))
            .collect();
        assert!(deltas.is_empty(), "{deltas:?}");
    }
}
