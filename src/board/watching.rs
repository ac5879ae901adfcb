//! That somebody watches is shown and told: by a light ([`indicator`]), by a program and by a webhook ([`hooks`]). All
//! follow one number, how many viewers media flows to, each at its own pace and none of them ever in the way of the media.

use std::future::Future;
use std::path::Path;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{hooks, indicator, webhook};
use crate::config;

/// What is followed.
#[derive(Clone)]
pub struct Watched {
    /// How many viewers media flows to.
    pub viewers: watch::Receiver<usize>,
    /// Whether privacy is on: then nobody sees anything.
    pub private: watch::Receiver<bool>,
}

/// All that `[watching]` asks for, until dropped.
pub struct Told {
    watched: Watched,
    now: config::Watching,
    /// The light's, the programs' and the webhook's.
    running: [CancellationToken; 3],
    tasks: JoinSet<()>,
}

/// Starts what `[watching]` asks for.
pub fn start(config: config::Watching, watched: Watched) -> Told {
    let nothing = config::Watching::default();
    let running = std::array::from_fn(|_| CancellationToken::new());
    let mut told = Told { watched, now: nothing, running, tasks: JoinSet::new() };
    told.change(config);
    told
}

impl Told {
    /// From now on that holds. What stays as it was goes on; what is new is told at once if somebody watches.
    pub fn change(&mut self, new: config::Watching) {
        let old = std::mem::replace(&mut self.now, new);
        let config::Watching { led, on_first, on_last, webhook, privacy: _ } = self.now.clone();
        let [light, programs, web] = [0, 1, 2];
        if led != old.led {
            let led = led.map(|led| Path::new(indicator::LEDS).join(led));
            self.replace(light, led, |led, w, stop| indicator::follow(led, w.viewers, w.private, stop));
        }
        if (&on_first, &on_last) != (&old.on_first, &old.on_last) {
            let commands = hooks::Commands { on_first, on_last };
            let commands = Some(commands).filter(|c| !c.on_first.is_empty() || !c.on_last.is_empty());
            self.replace(programs, commands, |c, watched, stop| hooks::follow(c, watched.viewers, stop));
        }
        if webhook != old.webhook {
            let webhook = webhook.map(webhook::Webhook::new);
            self.replace(web, webhook, |w, watched, stop| hooks::follow(w, watched.viewers, stop));
        }
    }

    /// Ends what ran there, in its own time, and starts `what`, if anything.
    fn replace<T, F: Future<Output = ()> + Send + 'static>(
        &mut self,
        place: usize,
        what: Option<T>,
        task: impl FnOnce(T, Watched, CancellationToken) -> F,
    ) {
        let stop = CancellationToken::new();
        std::mem::replace(&mut self.running[place], stop.clone()).cancel();
        while self.tasks.try_join_next().is_some() {} // those that have ended since
        if let Some(what) = what {
            self.tasks.spawn(task(what, self.watched.clone(), stop));
        }
    }

    /// Lets each tell the state as it is now, and waits for them.
    pub async fn end(mut self) {
        self.running.iter().for_each(CancellationToken::cancel);
        while self.tasks.join_next().await.is_some() {}
    }
}
