//! Decides whether a device should be open: while somebody is watching or about to, a little longer, and
//! never in privacy.
//!
//! Each device's thread follows its own [`Orders`], and sleeps on them without a tick while its device is
//! closed. They also wake it when the device may change: on a new configuration, or when something is plugged
//! in or out.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::demand::{Demand, Wants};
use crate::clock::Pts;
use crate::heartbeat::{DEVICE, Heartbeat, WORK};
use crate::privacy::Private;

/// How long a device stays open after the last viewer: reloading the page or changing networks should not
/// close and reopen it, which may take a camera seconds.
pub const LINGER: Duration = Duration::from_secs(10);
/// How often to look for a missing device while nobody is watching, so that the status shows when it is back.
/// Looking does not start it.
const LOOK: Duration = Duration::from_secs(30);
/// What viewers are told while privacy is on.
pub const PRIVATE: &str = "Privacy is on: camera and microphone are closed";

/// What a device's thread has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep the device open.
    Open,
    /// Keep it closed: nobody wants it.
    Closed,
    /// Keep it closed, even if somebody wants it.
    Private,
    /// End the thread.
    Stop,
}

/// Decides between the first three.
#[derive(Debug, Default)]
struct Policy {
    wanted: bool,
    /// Until when the device stays open although nobody wants it.
    lingers: Option<Pts>,
}

impl Policy {
    fn order(&mut self, wanted: bool, keep_open: bool, private: bool, now: Pts) -> Order {
        if private {
            *self = Self::default();
            return Order::Private;
        }
        if wanted != self.wanted {
            self.wanted = wanted;
            self.lingers = (!wanted).then(|| now + LINGER);
        }
        self.lingers = self.lingers.filter(|until| now < *until);
        if wanted || keep_open || self.lingers.is_some() { Order::Open } else { Order::Closed }
    }
}

/// What a device's thread follows besides its demand.
pub struct Signals<C> {
    /// Its section of the configuration.
    pub config: watch::Receiver<C>,
    /// While true the device stays closed.
    pub private: Private,
    /// Counts devices that are plugged in or out.
    pub hotplug: watch::Receiver<u64>,
    /// Ends the thread.
    pub stop: CancellationToken,
}

/// The orders for a device's thread, configured by `C`. They also keep its heartbeat: the thread is at work
/// from one look at its orders to the next, and asleep while it waits for them.
pub struct Orders<C> {
    policy: Policy,
    keeps_open: fn(&C) -> bool,
    wants: watch::Receiver<Wants>,
    signals: Signals<C>,
    /// The count when the thread last asked.
    plugged: u64,
    heartbeat: Heartbeat,
    runtime: Handle,
}

impl<C> Orders<C> {
    /// Creates the orders for a device with this `demand`, which is also kept open if `keeps_open` returns
    /// true for its configuration. Call it in a runtime, whose timers it uses.
    pub fn new(
        demand: &Demand,
        keeps_open: fn(&C) -> bool,
        signals: Signals<C>,
        heartbeat: Heartbeat,
    ) -> Self {
        let (policy, wants, runtime) = (Policy::default(), demand.wants(), Handle::current());
        let plugged = *signals.hotplug.borrow();
        Self { policy, keeps_open, wants, signals, plugged, heartbeat, runtime }
    }

    /// The current order.
    pub fn now(&mut self) -> Order {
        self.heartbeat.within(WORK);
        if self.signals.stop.is_cancelled() {
            return Order::Stop;
        }
        let private = self.signals.private.look();
        let wanted = self.wants.borrow_and_update().device();
        let keep_open = (self.keeps_open)(&self.signals.config.borrow());
        self.policy.order(wanted, keep_open, private, Pts::now())
    }

    /// The current demand.
    pub fn wants(&self) -> Wants {
        *self.wants.borrow()
    }

    /// The current configuration, which stays locked while the result exists.
    pub fn config(&self) -> watch::Ref<'_, C> {
        self.signals.config.borrow()
    }

    /// Whether something was plugged in or out since the previous call.
    pub fn plugged(&mut self) -> bool {
        let count = *self.signals.hotplug.borrow();
        std::mem::replace(&mut self.plugged, count) != count
    }

    /// The thread is about to wait for a driver: its next heartbeat is due within [`DEVICE`].
    pub fn to_device(&self) {
        self.heartbeat.within(DEVICE);
    }

    /// Sleeps until the order or the demand may have changed since [`Orders::now`], or something else since
    /// the last sleep; at most for `most`. Returns whether the device may have changed.
    pub fn wait(&mut self, most: Option<Duration>) -> bool {
        let now = Pts::now();
        let most = [most, self.policy.lingers.map(|until| until.since(now))].into_iter().flatten().min();
        match most {
            Some(most) => self.heartbeat.within(most + WORK),
            None => self.heartbeat.asleep(),
        }
        let Self { wants, signals: Signals { config, private, hotplug, stop }, runtime, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => false,
                () = private.changed() => false,
                Ok(()) = wants.changed() => false,
                Ok(()) = config.changed() => true,
                Ok(()) = hotplug.changed() => true,
                () = sleep(most) => false,
            }
        })
    }

    /// Sleeps for `time`, or until the order is not [`Order::Open`] any more, or the device may have changed.
    pub fn pause(&mut self, time: Duration) {
        let until = Pts::now() + time;
        loop {
            let left = until.since(Pts::now());
            if left.is_zero() || self.now() != Order::Open || self.wait(Some(left)) {
                return;
            }
        }
    }
}

/// Sleeps; for ever if there is no limit.
pub(super) async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// When to look for a closed device: at first, and repeatedly while it is missing.
#[derive(Debug)]
pub struct Search(Option<Pts>);

impl Search {
    /// Creates a search that is due immediately.
    pub fn new(now: Pts) -> Self {
        Self(Some(now))
    }

    /// Time until the next look; `None` if none is due.
    pub fn due_in(&self, now: Pts) -> Option<Duration> {
        self.0.map(|at| at.since(now))
    }

    /// The device was found.
    pub fn found(&mut self) {
        self.0 = None;
    }

    /// The device was not found.
    pub fn missing(&mut self, now: Pts) {
        self.0 = Some(now + LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::heartbeat::Heartbeats;
    use crate::privacy::Privacy;

    fn at(s: u64) -> Pts {
        Pts::from_micros(1_000_000_000 + s * 1_000_000)
    }

    #[test]
    fn open_while_wanted_and_ten_seconds_longer() {
        let mut p = Policy::default();
        assert_eq!(p.order(false, false, false, at(0)), Order::Closed, "nobody ever wanted it");
        assert_eq!(p.order(true, false, false, at(1)), Order::Open);
        assert_eq!(p.order(true, false, false, at(1000)), Order::Open);
        assert_eq!(p.order(false, false, false, at(2000)), Order::Open);
        assert_eq!(p.order(false, false, false, at(2009)), Order::Open);
        assert_eq!(p.order(false, false, false, at(2010)), Order::Closed);
        assert_eq!(p.order(true, false, false, at(2011)), Order::Open);
        assert_eq!(p.order(false, false, false, at(2012)), Order::Open);
        assert_eq!(p.order(true, false, false, at(2013)), Order::Open, "a reload");
        assert_eq!(p.order(true, false, false, at(2030)), Order::Open);
        assert_eq!(p.order(false, false, false, at(2031)), Order::Open, "lingers again");
        assert_eq!(p.order(false, false, false, at(2040)), Order::Open);
    }

    #[test]
    fn privacy_wins_and_leaves_nothing_lingering() {
        let mut p = Policy::default();
        assert_eq!(p.order(true, false, false, at(0)), Order::Open);
        assert_eq!(p.order(true, false, true, at(1)), Order::Private);
        assert_eq!(p.order(false, false, true, at(2)), Order::Private);
        assert_eq!(p.order(false, false, false, at(3)), Order::Closed);
        assert_eq!(p.order(true, false, true, at(4)), Order::Private);
        assert_eq!(p.order(true, false, false, at(5)), Order::Open, "viewers that stayed see again");
        let mut kept = Policy::default();
        assert_eq!(kept.order(false, true, false, at(0)), Order::Open);
        assert_eq!(kept.order(false, true, true, at(1)), Order::Private, "even if it is kept open");
        assert_eq!(kept.order(false, true, false, at(2)), Order::Open);
        assert_eq!(kept.order(false, false, false, at(3)), Order::Closed, "not kept any more");
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

    /// Orders of a device that is kept open if its configuration is true, and everything that changes them.
    struct Moved {
        orders: Orders<bool>,
        demand: Arc<Demand>,
        private: watch::Sender<Privacy>,
        config: watch::Sender<bool>,
        hotplug: watch::Sender<u64>,
        heartbeats: Arc<Heartbeats>,
        stop: CancellationToken,
    }

    impl Moved {
        fn new() -> Self {
            let (demand, heartbeats) = (Arc::<Demand>::default(), Arc::<Heartbeats>::default());
            let stop = CancellationToken::new();
            let (private, config, hotplug) =
                (watch::Sender::default(), watch::Sender::new(false), watch::Sender::new(0));
            let signals = Signals {
                config: config.subscribe(),
                private: Private::of(private.subscribe(), "front"),
                hotplug: hotplug.subscribe(),
                stop: stop.clone(),
            };
            let heartbeat = heartbeats.thread("test");
            let orders = Orders::new(&demand, |kept| *kept, signals, heartbeat);
            Self { orders, demand, private, config, hotplug, heartbeats, stop }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sleeping_thread_is_woken_by_every_change() {
        let Moved { mut orders, demand, private, config, hotplug, heartbeats, stop } = Moved::new();
        let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            loop {
                let order = orders.now();
                told.send((order, orders.plugged())).expect("heard");
                if order == Order::Stop {
                    return;
                }
                orders.wait(None);
            }
        });
        assert_eq!(seen.recv().await, Some((Order::Closed, false)));
        config.send_replace(true);
        assert_eq!(seen.recv().await, Some((Order::Open, false)));
        config.send_replace(false);
        assert_eq!(seen.recv().await, Some((Order::Closed, false)));
        hotplug.send_modify(|count| *count += 1);
        assert_eq!(seen.recv().await, Some((Order::Closed, true)));
        let expected = demand.expect();
        assert_eq!(seen.recv().await, Some((Order::Open, false)));
        private.send_replace(Privacy { all: true, ..Privacy::default() });
        assert_eq!(seen.recv().await, Some((Order::Private, false)));
        drop((private, config, hotplug)); // with their senders gone, everything stays as it was
        drop(expected);
        assert_eq!(seen.recv().await, Some((Order::Private, false)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(seen.is_empty(), "woken by nothing");
        let later = Pts::now() + 2 * DEVICE;
        assert_eq!(heartbeats.silent(later), [], "asleep on purpose");
        stop.cancel();
        assert_eq!(seen.recv().await, Some((Order::Stop, false)));
        thread.join().expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pause_ends_when_something_is_plugged_in_or_configured() {
        let mut moved = Moved::new();
        let _wanted = moved.demand.expect();
        let long = Duration::from_secs(60);
        for change in
            [|m: &Moved| m.hotplug.send_modify(|n| *n += 1), |m: &Moved| m.config.send_modify(|_| {})]
        {
            change(&moved);
            moved = tokio::task::spawn_blocking(move || {
                moved.orders.pause(long);
                moved
            })
            .await
            .expect("no panic");
        }
        assert!(moved.orders.plugged());
        assert!(!moved.orders.plugged());
    }

    #[tokio::test]
    async fn a_thread_that_hangs_is_missed_after_what_it_was_about_to_do() {
        let mut moved = Moved::new();
        let now = Pts::now();
        let second = Duration::from_secs(1);
        assert_eq!(moved.orders.now(), Order::Closed);
        assert_eq!(moved.heartbeats.silent(now + WORK - second), []);
        assert_eq!(moved.heartbeats.silent(now + WORK + second).len(), 1);
        moved.orders.to_device();
        assert_eq!(moved.heartbeats.silent(now + DEVICE - second), []);
        assert_eq!(moved.heartbeats.silent(now + DEVICE + second).len(), 1);
    }
}
