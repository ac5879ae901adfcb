//! Shows and reports that somebody is watching: by lights ([`indicator`]), a program and a webhook ([`hooks`]). All
//! follow the number of viewers that receive media, each at its own pace, and none can delay the media. There may be
//! one light for all cameras, and one for each camera.

use std::future::Future;
use std::path::Path;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{hooks, indicator, webhook};
use crate::config;

/// The state to follow: of one camera, or of all cameras.
#[derive(Clone)]
pub struct Watched {
    /// Number of viewers that receive media.
    pub viewers: watch::Receiver<usize>,
    /// Whether privacy is on for the camera, or for all cameras.
    pub private: watch::Receiver<bool>,
}

/// A light and what it follows.
pub struct Lit {
    /// The light's key in the configuration, for the log.
    pub key: String,
    /// A name in [`indicator::LEDS`].
    pub led: String,
    /// The camera or cameras that it follows.
    pub watched: Watched,
}

impl Lit {
    fn is(&self, other: &Self) -> bool {
        self.led == other.led && self.watched.viewers.same_channel(&other.watched.viewers)
    }
}

/// The running lights, programs and webhook; dropping this stops them.
pub struct Hooks {
    watched: Watched,
    now: config::Watching,
    lights: Vec<Light>,
    /// Stops the programs and the webhook.
    running: [CancellationToken; 2],
    tasks: JoinSet<()>,
}

/// A running light; dropping `stop` ends it.
struct Light {
    lit: Lit,
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// Starts the light, programs and webhook of `[watching]`, and the lights of cameras.
pub fn start(config: config::Watching, watched: Watched, cameras: Vec<Lit>) -> Hooks {
    let nothing = config::Watching::default();
    let running = std::array::from_fn(|_| CancellationToken::new());
    let mut hooks = Hooks { watched, now: nothing, lights: vec![], running, tasks: JoinSet::new() };
    hooks.change(config, cameras);
    hooks
}

impl Hooks {
    /// Applies a new configuration. Unchanged hooks keep running; new ones are notified at once if somebody is
    /// watching.
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

    /// Makes exactly these lights run.
    fn light(&mut self, all: Vec<Lit>) {
        let before = std::mem::take(&mut self.lights);
        let stays = |light: &Light| all.iter().any(|new| new.is(&light.lit));
        let (kept, mut gone): (Vec<_>, Vec<_>) = before.into_iter().partition(stays);
        self.lights = kept;
        for lit in all {
            if self.lights.iter().any(|light| light.lit.is(&lit)) {
                continue;
            }
            // The LED has followed a different camera until now; that ends first.
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

    /// Tells the task at `place` to end, without waiting for it, and starts `what`, if anything.
    fn replace<T, F: Future<Output = ()> + Send + 'static>(
        &mut self,
        place: usize,
        what: Option<T>,
        task: impl FnOnce(T, Watched, CancellationToken) -> F,
    ) {
        let stop = CancellationToken::new();
        std::mem::replace(&mut self.running[place], stop.clone()).cancel();
        while self.tasks.try_join_next().is_some() {} // remove tasks that have ended
        if let Some(what) = what {
            self.tasks.spawn(task(what, self.watched.clone(), stop));
        }
    }

    /// Lets each hook report the current state, and waits until all have ended.
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

    /// A camera whose viewers and privacy the tests control.
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
            // An absolute path is used as it is, instead of a name in the kernel's folder.
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
        let mut hooks = start(config.clone(), all.watched(), lit);
        front.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        green.becomes("trigger", "none").await;
        green.becomes("brightness", "0").await;
        front.private.send_replace(true);
        red.becomes("brightness", "0").await;
        back.viewers.send_replace(2);
        green.becomes("brightness", "255").await;
        // Both cameras swap their lights.
        hooks.change(config.clone(), vec![front.lit("front", &green), back.lit("back", &red)]);
        red.becomes("brightness", "255").await;
        green.becomes("brightness", "0").await;
        // An unchanged light keeps running; a removed one is restored.
        hooks.change(config.clone(), vec![back.lit("back", &red)]);
        green.becomes("trigger", "mmc0").await;
        back.viewers.send_replace(0);
        red.becomes("brightness", "0").await;
        back.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        // The light for all cameras takes the LED of a camera.
        let led = red.0.to_str().map(str::to_owned);
        hooks.change(config::Watching { led, ..config }, vec![back.lit("back", &green)]);
        red.becomes("brightness", "0").await;
        green.becomes("brightness", "255").await;
        all.viewers.send_replace(1);
        red.becomes("brightness", "255").await;
        hooks.end().await;
        for light in [red, green] {
            assert_eq!((light.read("brightness"), light.read("trigger")), ("0".into(), "mmc0".into()));
        }
    }
}
