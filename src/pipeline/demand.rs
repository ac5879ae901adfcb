//! Whether a device is to be open: while somebody watches or is about to, a little longer, and never in privacy.
//!
//! Each device's thread goes by its own [`Orders`], and sleeps on them without a tick while its device is closed.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use crate::clock::Pts;

/// A device stays open for this long after the last viewer: reloading the page, or changing networks, is no reason to
/// close and open it, which takes a camera up to seconds.
pub const LINGER: Duration = Duration::from_secs(10);
/// While nobody watches, a device that was not there is looked for so often, so that whoever reads the status
/// learns that it is back. Looking does not start it.
const LOOK: Duration = Duration::from_secs(30);
/// What viewers are told while privacy is on.
pub const PRIVATE: &str = "Privacy is on: camera and microphone are closed";

/// Who wants what now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Viewers that media flows to.
    pub viewers: usize,
    /// Viewers on their way: offered, but not connected yet.
    pub expected: usize,
    /// Single pictures asked for.
    pub pictures: usize,
}

impl Demand {
    /// Whether the camera is to be open.
    pub fn wants_camera(&self) -> bool {
        self.viewers + self.expected + self.pictures > 0
    }

    /// Whether the microphone is to be open.
    pub fn wants_microphone(&self) -> bool {
        self.viewers + self.expected > 0
    }

    /// Whether pictures are used, and not only a camera warmed up.
    pub fn uses_pictures(&self) -> bool {
        self.viewers + self.pictures > 0
    }
}

/// What a device's thread has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Have the device open.
    Open,
    /// Have it closed: nobody wants it.
    Closed,
    /// Have it closed, whoever wants it.
    Private,
    /// End.
    Stop,
}

/// Decides between the first three.
#[derive(Debug)]
struct Policy {
    keep_open: bool,
    wanted: bool,
    /// Open until then, though nobody wants it.
    lingers: Option<Pts>,
}

impl Policy {
    fn new(keep_open: bool) -> Self {
        Self { keep_open, wanted: false, lingers: None }
    }

    fn order(&mut self, wanted: bool, private: bool, now: Pts) -> Order {
        if private {
            *self = Self::new(self.keep_open);
            return Order::Private;
        }
        if wanted != self.wanted {
            self.wanted = wanted;
            self.lingers = (!wanted).then(|| now + LINGER);
        }
        self.lingers = self.lingers.filter(|until| now < *until);
        if wanted || self.keep_open || self.lingers.is_some() { Order::Open } else { Order::Closed }
    }
}

/// The orders to one device's thread.
pub struct Orders {
    policy: Policy,
    wants: fn(&Demand) -> bool,
    demand: watch::Receiver<Demand>,
    private: watch::Receiver<bool>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Orders {
    /// For a device that is wanted when `wants` says so of the hub's demand, or always if `keep_open`; never while
    /// `private`. To be called in a runtime, whose timers it uses.
    pub fn new(
        hub: &Hub,
        wants: fn(&Demand) -> bool,
        keep_open: bool,
        private: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        let (policy, demand, runtime) = (Policy::new(keep_open), hub.demands(), Handle::current());
        Self { policy, wants, demand, private, stop, runtime }
    }

    /// The order now.
    pub fn now(&mut self) -> Order {
        if self.stop.is_cancelled() {
            return Order::Stop;
        }
        let private = *self.private.borrow_and_update();
        let wanted = (self.wants)(&self.demand.borrow_and_update());
        self.policy.order(wanted, private, Pts::now())
    }

    /// Who wants what now.
    pub fn demand(&self) -> Demand {
        *self.demand.borrow()
    }

    /// Sleeps until the order, or the demand, may have changed since [`Orders::now`], at most for `most`.
    pub fn wait(&mut self, most: Option<Duration>) {
        let now = Pts::now();
        let most = [most, self.policy.lingers.map(|until| until.since(now))].into_iter().flatten().min();
        let Self { demand, private, stop, runtime, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = private.changed() => {}
                Ok(()) = demand.changed() => {}
                () = sleep(most) => {}
            }
        });
    }

    /// Sleeps for `time`, or until the order is another than [`Order::Open`].
    pub fn pause(&mut self, time: Duration) {
        let until = Pts::now() + time;
        loop {
            let left = until.since(Pts::now());
            if left.is_zero() || self.now() != Order::Open {
                return;
            }
            self.wait(Some(left));
        }
    }
}

/// Sleeps for ever if there is no limit.
pub(super) async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// When a device that is closed has to be looked for: at first, and again and again while it is missing.
#[derive(Debug)]
pub struct Search(Option<Pts>);

impl Search {
    /// Nothing is known yet.
    pub fn new(now: Pts) -> Self {
        Self(Some(now))
    }

    /// How long until it is due; `None` when it is not.
    pub fn due_in(&self, now: Pts) -> Option<Duration> {
        self.0.map(|at| at.since(now))
    }

    /// It was there.
    pub fn found(&mut self) {
        self.0 = None;
    }

    /// It was not.
    pub fn missing(&mut self, now: Pts) {
        self.0 = Some(now + LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(s: u64) -> Pts {
        Pts::from_micros(1_000_000_000 + s * 1_000_000)
    }

    #[test]
    fn open_while_wanted_and_ten_seconds_longer() {
        let mut p = Policy::new(false);
        assert_eq!(p.order(false, false, at(0)), Order::Closed, "nobody ever wanted it");
        assert_eq!(p.order(true, false, at(1)), Order::Open);
        assert_eq!(p.order(true, false, at(1000)), Order::Open);
        assert_eq!(p.order(false, false, at(2000)), Order::Open);
        assert_eq!(p.order(false, false, at(2009)), Order::Open);
        assert_eq!(p.order(false, false, at(2010)), Order::Closed);
        assert_eq!(p.order(true, false, at(2011)), Order::Open);
        assert_eq!(p.order(false, false, at(2012)), Order::Open);
        assert_eq!(p.order(true, false, at(2013)), Order::Open, "a reload");
        assert_eq!(p.order(true, false, at(2030)), Order::Open);
        assert_eq!(p.order(false, false, at(2031)), Order::Open, "lingers anew");
        assert_eq!(p.order(false, false, at(2040)), Order::Open);
    }

    #[test]
    fn privacy_wins_and_leaves_nothing_lingering() {
        let mut p = Policy::new(false);
        assert_eq!(p.order(true, false, at(0)), Order::Open);
        assert_eq!(p.order(true, true, at(1)), Order::Private);
        assert_eq!(p.order(false, true, at(2)), Order::Private);
        assert_eq!(p.order(false, false, at(3)), Order::Closed);
        assert_eq!(p.order(true, true, at(4)), Order::Private);
        assert_eq!(p.order(true, false, at(5)), Order::Open, "whoever stayed sees again");
        let mut kept = Policy::new(true);
        assert_eq!(kept.order(false, false, at(0)), Order::Open);
        assert_eq!(kept.order(false, true, at(1)), Order::Private, "also what is kept open");
        assert_eq!(kept.order(false, false, at(2)), Order::Open);
    }

    #[test]
    fn each_device_for_its_own() {
        let demand = |viewers, expected, pictures| Demand { viewers, expected, pictures };
        for (demand, camera, microphone, used) in [
            (demand(0, 0, 0), false, false, false),
            (demand(1, 0, 0), true, true, true),
            (demand(0, 1, 0), true, true, false),
            (demand(0, 0, 1), true, false, true),
        ] {
            let said = (demand.wants_camera(), demand.wants_microphone(), demand.uses_pictures());
            assert_eq!(said, (camera, microphone, used), "{demand:?}");
        }
    }

    #[test]
    fn what_is_missing_is_looked_for_now_and_then() {
        let mut search = Search::new(at(0));
        assert_eq!(search.due_in(at(0)), Some(Duration::ZERO));
        search.missing(at(1));
        assert_eq!(search.due_in(at(11)), Some(Duration::from_secs(20)));
        search.found();
        assert_eq!(search.due_in(at(99)), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sleeping_thread_is_woken_by_every_change() {
        let hub = Arc::new(Hub::default());
        let (private, seen) = watch::channel(false);
        let stop = CancellationToken::new();
        let mut orders = Orders::new(&hub, Demand::wants_camera, false, seen, stop.clone());
        let (told, mut orders_seen) = tokio::sync::mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            loop {
                let order = orders.now();
                told.send(order).expect("heard");
                if order == Order::Stop {
                    return;
                }
                orders.wait(None);
            }
        });
        assert_eq!(orders_seen.recv().await, Some(Order::Closed));
        let expected = hub.anticipate();
        assert_eq!(orders_seen.recv().await, Some(Order::Open));
        private.send_replace(true);
        assert_eq!(orders_seen.recv().await, Some(Order::Private));
        drop(private); // whoever switches it has gone: it stays as it was
        drop(expected);
        assert_eq!(orders_seen.recv().await, Some(Order::Private));
        stop.cancel();
        assert_eq!(orders_seen.recv().await, Some(Order::Stop));
        thread.join().expect("no panic");
    }
}
