//! That somebody watches is shown and told: by lights ([`indicator`]), by a program and by a webhook ([`hooks`]). All
//! follow a number, how many viewers media flows to, each at its own pace and none of them ever in the way of the media. There
//! is a light for all cameras, and one for each.

use std::future::Future;
use std::path::Path;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{hooks, indicator, webhook};
use crate::config;

/// What is followed: one camera, or all of them.
#[derive(Clone)]
pub struct Watched {
    /// How many viewers media flows to.
    pub viewers: watch::Receiver<usize>,
    /// Whether it is private, or all cameras are: then nobody sees anything.
    pub private: watch::Receiver<bool>,
}

/// What a light is to follow.
pub struct Lit {
    /// The light's key in the configuration, for the log.
    pub key: String,
    /// A name below [`indicator::LEDS`].
    pub led: String,
    /// A camera, or all.
    pub watched: Watched,
}

impl Lit {
    fn is(&self, other: &Self) -> bool {
        self.led == other.led && self.watched.viewers.same_channel(&other.watched.viewers)
    }
}

/// All that `[watching]` asks for, and the lights of cameras, until dropped.
pub struct Told {
    watched: Watched,
    now: config::Watching,
    lights: Vec<Light>,
    /// The programs' and the webhook's.
    running: [CancellationToken; 2],
    tasks: JoinSet<()>,
}

/// A light that follows until `stop` is dropped.
struct Light {
    lit: Lit,
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// Starts what `[watching]` asks for, and the lights of cameras.
pub fn start(config: config::Watching, watched: Watched, cameras: Vec<Lit>) -> Told {
    let nothing = config::Watching::default();
    let running = std::array::from_fn(|_| CancellationToken::new());
    let mut told = Told { watched, now: nothing, lights: vec![], running, tasks: JoinSet::new() };
    told.change(config, cameras);
    told
}

impl Told {
    /// From now on that holds. What stays as it was goes on; what is new is told at once if somebody watches.
    pub fn change(&mut self, new: config::Watching, cameras: Vec<Lit>) {
        let old = std::mem::replace(&mut self.now, new);
        let config::Watching { led, on_first, on_last, webhook, privacy: _ } = self.now.clone();
        let [programs, web] = [0, 1];
        let all = led.map(|led| Lit { key: "watching.led".into(), led, watched: self.watched.clone() });
        self.light(all.into_iter().chain(cameras).collect());
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

    /// From now on these lights follow, and no others.
    fn light(&mut self, all: Vec<Lit>) {
        let before = std::mem::take(&mut self.lights);
        let stays = |light: &Light| all.iter().any(|new| new.is(&light.lit));
        let (kept, mut gone): (Vec<_>, Vec<_>) = before.into_iter().partition(stays);
        self.lights = kept;
        for lit in all {
            if self.lights.iter().any(|light| light.lit.is(&lit)) {
                continue;
            }
            // It has followed another camera until now, and is given back first.
            let before =
                gone.iter().position(|light| light.lit.led == lit.led).map(|at| gone.swap_remove(at));
            let led = Path::new(indicator::LEDS).join(&lit.led);
            let (Watched { viewers, private }, stop) = (lit.watched.clone(), CancellationToken::new());
            let follow = indicator::follow(lit.key.clone(), led, viewers, private, stop.clone());
            let task = tokio::spawn(async move {
                if let Some(before) = before {
                    before.end().await;
                }
                follow.await;
            });
            self.lights.push(Light { lit, stop: stop.drop_guard(), task });
        }
        for light in gone {
            self.tasks.spawn(light.end());
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
        for light in self.lights {
            self.tasks.spawn(light.end());
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Light {
    async fn end(self) {
        drop(self.stop);
        let _ = self.task.await; // it can't panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::indicator::tests::Fake;

    /// A camera, as tests watch it and make it private.
    struct Camera {
        viewers: watch::Sender<usize>,
        private: watch::Sender<bool>,
    }

    impl Camera {
        fn new() -> Self {
            Self { viewers: watch::Sender::new(0), private: watch::Sender::new(false) }
        }

        fn watched(&self) -> Watched {
            Watched { viewers: self.viewers.subscribe(), private: self.private.subscribe() }
        }

        fn lit(&self, camera: &str, light: &Fake) -> Lit {
            // A full path stands for itself, wherever the kernel lists its lights.
            let led = light.0.to_str().expect("a text").to_owned();
            Lit { key: format!("camera.{camera}.led"), led, watched: self.watched() }
        }
    }

    #[tokio::test]
    async fn each_camera_has_its_own_light() {
        let [red, green] = ["red", "green"].map(|name| {
            let light = Fake::new(name);
            light.plug();
            light
        });
        let [front, back, all] = [(); 3].map(|()| Camera::new());
        let config = config::Watching::default();
        let lit = vec![front.lit("front", &red), back.lit("back", &green)];
        let mut told = start(config.clone(), all.watched(), lit);
        front.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        green.becomes("trigger", "none").await;
        green.becomes("brightness", "0").await;
        front.private.send_replace(true);
        red.becomes("brightness", "0").await;
        back.viewers.send_replace(2);
        green.becomes("brightness", "255").await;
        // Each has the other's from now on.
        told.change(config.clone(), vec![front.lit("front", &green), back.lit("back", &red)]);
        red.becomes("brightness", "255").await;
        green.becomes("brightness", "0").await;
        // One that stays goes on, one that goes gives its light back.
        told.change(config.clone(), vec![back.lit("back", &red)]);
        green.becomes("trigger", "mmc0").await;
        back.viewers.send_replace(0);
        red.becomes("brightness", "0").await;
        back.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        // The light for all takes one that was a camera's.
        let led = red.0.to_str().map(str::to_owned);
        told.change(config::Watching { led, ..config }, vec![back.lit("back", &green)]);
        red.becomes("brightness", "0").await;
        green.becomes("brightness", "255").await;
        all.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        told.end().await;
        for light in [red, green] {
            assert_eq!((light.read("brightness"), light.read("trigger")), ("0".into(), "mmc0".into()));
        }
    }
}
