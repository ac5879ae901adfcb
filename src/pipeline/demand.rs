//! The demand for a source (a camera or a microphone). Its thread opens the device accordingly
//! ([`super::orders`]), and indicators show it.

use std::sync::Arc;

use tokio::sync::watch;

/// How many want what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Viewers that receive media.
    pub viewers: usize,
    /// Viewers that have sent an offer, but are not connected yet.
    pub expected: usize,
    /// Snapshots that are requested.
    pub pictures: usize,
}

impl Wants {
    /// Whether the device should be open.
    pub fn device(&self) -> bool {
        self.viewers + self.expected + self.pictures > 0
    }

    /// Whether what it captures is used, as opposed to warming up.
    pub fn capture(&self) -> bool {
        self.viewers + self.pictures > 0
    }
}

/// The demand for a source, in any of its rungs.
#[derive(Debug, Default)]
pub struct Demand {
    wants: watch::Sender<Wants>,
    /// The viewers in `wants`, for users that need only their number.
    viewers: watch::Sender<usize>,
}

impl Demand {
    /// A viewer is about to connect: the device is opened meanwhile. Drop the claim when the viewer watches,
    /// or will not.
    pub fn expect(self: &Arc<Self>) -> Claim {
        self.claim(|wants| &mut wants.expected)
    }

    /// A viewer receives media from now on.
    pub fn watch(self: &Arc<Self>) -> Claim {
        self.claim(|wants| &mut wants.viewers)
    }

    /// A snapshot is requested.
    pub fn picture(self: &Arc<Self>) -> Claim {
        self.claim(|wants| &mut wants.pictures)
    }

    /// Watches the demand.
    pub fn wants(&self) -> watch::Receiver<Wants> {
        self.wants.subscribe()
    }

    /// Watches the number of viewers that receive media.
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.viewers.subscribe()
    }

    fn claim(self: &Arc<Self>, part: Part) -> Claim {
        self.change(|wants| *part(wants) += 1);
        Claim { demand: self.clone(), part }
    }

    fn change(&self, change: impl FnOnce(&mut Wants)) {
        let mut viewers = 0;
        self.wants.send_modify(|wants| {
            change(wants);
            viewers = wants.viewers;
            self.viewers.send_if_modified(|now| std::mem::replace(now, viewers) != viewers);
        });
    }
}

type Part = fn(&mut Wants) -> &mut usize;

/// A share of the demand; dropping it ends that.
#[derive(Debug)]
pub struct Claim {
    demand: Arc<Demand>,
    part: Part,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.demand.change(|wants| *(self.part)(wants) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_ends_with_what_made_it() {
        let demand = Arc::new(Demand::default());
        let now = || (*demand.wants().borrow(), *demand.viewers().borrow());
        let (expected, picture) = (demand.expect(), demand.picture());
        assert_eq!(now(), (Wants { viewers: 0, expected: 1, pictures: 1 }, 0));
        let viewer = demand.watch();
        drop((expected, picture));
        assert_eq!(now(), (Wants { viewers: 1, expected: 0, pictures: 0 }, 1));
        drop(viewer);
        assert_eq!(now(), (Wants::default(), 0));
    }

    #[test]
    fn a_viewer_on_its_way_opens_the_device_and_uses_nothing_yet() {
        let wants = |viewers, expected, pictures| Wants { viewers, expected, pictures };
        for (wants, device, capture) in [
            (wants(0, 0, 0), false, false),
            (wants(1, 0, 0), true, true),
            (wants(0, 1, 0), true, false),
            (wants(0, 0, 1), true, true),
        ] {
            assert_eq!((wants.device(), wants.capture()), (device, capture), "{wants:?}");
        }
    }
}
