//! Applies a changed configuration to the running daemon (SIGHUP, `systemctl reload`).
//!
//! Everything that can fail comes first: reading and checking the file, then opening new ports and certificates beside
//! the current ones. If any of that fails, the new ones are dropped and nothing has changed. The rest can't fail: each
//! part gets its section. Viewers stay connected, unless the media port changes: then they are notified, and their
//! pages reconnect by themselves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

use super::page::{Listeners, Page};
use crate::board::mdns;
use crate::board::watching::{Hooks, Lit, Watched};
use crate::config::{self, Change, Config};
use crate::net::Addresses;
use crate::pipeline::camera::Cameras;
use crate::pipeline::sources::{self, Sources};
use crate::status::{self, Status};
use crate::viewer::{self, Port, Registry};
use crate::web::auth::Auth;
use crate::web::tls::Tls;
use crate::web::{Settings, machine};

/// Keys whose change makes viewers reconnect.
const RECONNECTS: [&str; 1] = ["ice.port"];

/// The current configuration, and everything that it configures.
pub(super) struct Live {
    /// The current configuration.
    pub config: Config,
    /// Where the device's own certificates are kept.
    pub state_dir: PathBuf,
    /// Cameras and microphones.
    pub sources: Arc<Mutex<Sources>>,
    /// Lights, programs and webhook that follow the viewers.
    pub hooks: Hooks,
    /// Has the privacy switch.
    pub auth: Arc<Auth>,
    /// Gets the result of each reload.
    pub status: Arc<Status>,
    /// Has the viewer slots and the media port.
    pub registry: Arc<Registry>,
    /// This machine's addresses, for a new media port.
    pub addresses: watch::Receiver<Addresses>,
    /// The settings of the web server.
    pub settings: watch::Sender<Arc<Settings>>,
    /// The page and its listeners.
    pub page: Page,
    /// The mDNS announcement.
    pub announcing: Announcing,
    /// Keeps the certificate current.
    pub certificate: Keeping,
}

/// The cameras that have their own light.
pub(super) fn lit(config: &Config, cameras: &Cameras) -> Vec<Lit> {
    let lit = |config: &config::Camera| {
        let (led, camera) = (config.led.clone()?, cameras.find(&config.name)?);
        let watched = Watched { viewers: camera.video.demand.viewers(), private: camera.private() };
        Some(Lit { key: format!("camera.{}.led", config.name), led, watched })
    };
    config.cameras.iter().filter_map(lit).collect()
}

/// The media port for a changed `[ice]`.
enum Media {
    Moved(Arc<Port>),
    Same(viewer::Change),
}

impl Live {
    /// Applies a loaded configuration, or logs why it was rejected.
    pub(super) async fn reload(&mut self, loaded: Result<(Config, String), config::Error>) {
        let result = match loaded {
            Ok((new, source)) => match self.apply(new).await {
                Ok(changes) => Ok((changes, source)),
                Err(e) => Err(vec![e.to_string()]),
            },
            Err(e) => Err(e.sentences()),
        };
        match result {
            Ok((changes, source)) => {
                info!("configuration reloaded from {source}: {}", summary(&changes));
                self.status.configuration(status::Configuration { source, refused: vec![] });
            }
            Err(refused) => {
                for says in &refused {
                    error!("new configuration rejected, keeping the old one: {says}");
                }
                let source = self.status.report().configuration.source;
                self.status.configuration(status::Configuration { source, refused });
            }
        }
    }

    async fn apply(&mut self, new: Config) -> anyhow::Result<Vec<Change>> {
        let changes = self.config.changes(&new);
        let media = self.media(&new.ice)?;
        let listeners = Listeners::take(&new.web, Some((self.page.listeners(), &self.config.web)))?;
        let (tls, tls_is_new) = self.tls(&new.web)?;
        let place = |web: &config::Web| (web.address, web.port, web.http_port);
        let mut address = self.page.listeners().address();
        if tls_is_new || place(&new.web) != place(&self.config.web) {
            address = listeners.address();
            self.page.move_to(listeners, tls.as_deref()).await?;
        }

        // Nothing fails from here on.
        match media {
            Media::Moved(port) => {
                super::log_media(&port);
                self.registry.move_to(port);
            }
            Media::Same(change) => self.registry.port().apply(change),
        }
        self.registry.set_max_viewers(new.web.max_viewers);
        self.registry.set_max_upload(new.web.max_upload_bps);
        self.auth.state().hold_privacy(new.watching.privacy);
        sources::lock(&self.sources).configure(&new);
        if new.watching.privacy {
            self.registry.conceal().await;
        }
        self.forget_cameras(&new).await;
        let lit = lit(&new, &sources::lock(&self.sources).cameras());
        self.hooks.change(new.watching.clone(), lit);
        if tls_is_new {
            self.certificate.keep(tls.clone(), self.addresses.clone());
        }
        let announced = new.web.announce.then_some((address.port(), tls.is_some()));
        let settings = Settings { web: new.web.clone(), ice: new.ice.clone(), tls, address };
        self.settings.send_replace(Arc::new(settings));
        self.announcing.set(announced).await;
        self.config = new;
        Ok(changes)
    }

    /// Ends permissions for cameras that no longer exist.
    async fn forget_cameras(&self, new: &Config) {
        let names: Vec<_> = new.cameras.iter().map(|camera| camera.name.clone()).collect();
        let auth = self.auth.clone();
        let _ = tokio::task::spawn_blocking(move || auth.keep_cameras(&names)).await; // it can't panic
    }

    fn media(&self, ice: &config::Ice) -> anyhow::Result<Media> {
        Ok(if ice.port == self.config.ice.port {
            Media::Same(self.registry.port().prepare(ice)?)
        } else {
            Media::Moved(Port::open(ice, self.addresses.clone(), self.status.clone())?)
        })
    }

    /// The certificate for `web`, and whether it differs from the current one.
    fn tls(&self, web: &config::Web) -> anyhow::Result<(Option<Arc<Tls>>, bool)> {
        let old = &self.config.web;
        if web.tls == old.tls && (web.hosts == old.hosts || web.tls != config::Tls::Auto) {
            return Ok((self.settings.borrow().tls.clone(), false));
        }
        Ok((Tls::open(web, &self.state_dir, self.announcing.name.subscribe())?, true))
    }
}

/// Lists the changed keys for the log.
fn summary(changes: &[Change]) -> String {
    let (reconnect, applied): (Vec<_>, Vec<_>) =
        changes.iter().partition(|c| RECONNECTS.contains(&c.key.as_str()));
    let list = |what: &str, changes: &[&Change]| {
        let all: Vec<_> = changes.iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| format!("{what}: {}", all.join(", ")))
    };
    let parts = [list("applied", &applied), list("viewers reconnect", &reconnect)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing changed".into() } else { parts.join("; ") }
}

/// The mDNS announcement, if there is one.
pub(super) struct Announcing {
    /// Gets the announced host name.
    name: watch::Sender<Option<String>>,
    stop: CancellationToken,
    running: Option<Running>,
}

struct Running {
    /// The page's port, and whether it uses HTTPS.
    what: (u16, bool),
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Announcing {
    /// Announces nothing yet. `name` gets the announced host name.
    pub(super) fn new(name: watch::Sender<Option<String>>, stop: CancellationToken) -> Self {
        Self { name, stop, running: None }
    }

    /// Announces the page at this port, with HTTPS or without; `None` ends the announcement.
    pub(super) async fn set(&mut self, what: Option<(u16, bool)>) {
        if self.running.as_ref().map(|r| r.what) == what {
            return;
        }
        self.end().await;
        self.running = what.map(|what| {
            let (stop, (port, https)) = (self.stop.child_token(), what);
            let announced = mdns::announce(machine::hostname(), port, https, self.name.clone(), stop.clone());
            Running { what, stop: stop.drop_guard(), task: tokio::spawn(announced) }
        });
    }

    /// Withdraws the announcement.
    pub(super) async fn end(&mut self) {
        if let Some(Running { stop, task, .. }) = self.running.take() {
            drop(stop);
            let _ = task.await; // it can't panic
        }
    }
}

/// The task that renews the certificate.
pub(super) struct Keeping {
    all: CancellationToken,
    _running: Option<DropGuard>,
}

impl Keeping {
    /// Renews nothing yet.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { all: stop, _running: None }
    }

    /// Keeps this certificate renewed, instead of the previous one.
    pub(super) fn keep(&mut self, tls: Option<Arc<Tls>>, addresses: watch::Receiver<Addresses>) {
        self._running = tls.map(|tls| {
            let stop = self.all.child_token();
            tokio::spawn(tls.keep_current(addresses, stop.clone()));
            stop.drop_guard()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_what_happened_to_each_key() {
        let parse = |text| Config::parse(text, "device.toml").unwrap();
        let before = Config::default();
        assert_eq!(summary(&before.changes(&before)), "nothing changed");
        let after = parse("[video]\nbitrate_kbps = 3000\n[web]\nmax_viewers = 3\n[ice]\nport = 9000\n");
        assert_eq!(
            summary(&before.changes(&after)),
            "applied: video.bitrate_kbps 2000 -> 3000, web.max_viewers 50 -> 3; \
             viewers reconnect: ice.port 8189 -> 9000"
        );
    }
}
