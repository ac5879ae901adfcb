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
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Told {
    /// Lets each tell the state as it is now, and waits for them.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts what `[watching]` asks for.
pub fn start(config: config::Watching, watched: Watched) -> Told {
    let mut told = Told { stop: CancellationToken::new(), tasks: JoinSet::new() };
    let config::Watching { led, on_first, on_last, webhook, .. } = config;
    if let Some(led) = led {
        told.spawn(|stop| indicator::follow(Path::new(indicator::LEDS).join(led), watched.clone(), stop));
    }
    if !on_first.is_empty() || !on_last.is_empty() {
        let commands = hooks::Commands { on_first, on_last };
        told.spawn(|stop| hooks::follow(commands, watched.viewers.clone(), stop));
    }
    if let Some(url) = webhook {
        told.spawn(|stop| hooks::follow(webhook::Webhook::new(url), watched.viewers.clone(), stop));
    }
    told
}

impl Told {
    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, task: impl FnOnce(CancellationToken) -> F) {
        self.tasks.spawn(task(self.stop.clone()));
    }
}
