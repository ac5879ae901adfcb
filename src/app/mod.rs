//! The daemon: builds the parts, runs until a stop signal, and stops the parts in order.

mod control;
mod links;
mod page;
mod reload;

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::control::Controls;
use self::page::{Listeners, Page};
use self::reload::{Announcing, Keeping, Live};
use crate::board::control::Control;
use crate::board::{self, addresses, notify, watching};
use crate::clock::{AUDIO_HZ, Clocks, RtpClock, VIDEO_HZ};
use crate::config::{self, Config};
use crate::heartbeat::Heartbeats;
use crate::memory;
use crate::net::{Links, descriptors};
use crate::pipeline::demand::Demand;
use crate::pipeline::sources::{self, Common, Sources};
use crate::state::{self, State};
use crate::status::{self, Status};
use crate::viewer::{Port, Registry};
use crate::web::auth::Auth;
use crate::web::tls::Tls;
use crate::web::{self, Server, Settings};

/// How long notifying viewers of the shutdown may take. Viewers that were not notified notice it by themselves.
const FAREWELL: Duration = Duration::from_secs(1);
/// Longest time from the signal to the end; threads that still hang then are abandoned. The shutdown is promised within
/// 3 s.
const END: Duration = Duration::from_millis(2700);

/// Runs the daemon until SIGTERM or SIGINT; a second signal ends it at once. `state_dir` holds the persistent state.
/// `load` reads the configuration and names its source; it is called at the start and on SIGHUP.
///
/// # Errors
/// If the configuration or the state can't be read, if the daemon can't listen or start its threads, or if encoding has
/// become impossible.
pub async fn run(
    load: impl Fn() -> Result<(Config, String), config::Error>,
    state_dir: &Path,
) -> anyhow::Result<()> {
    let (config, source) = load()?;
    info!("configuration: {source}");
    descriptors::raise(); // before anything that depends on the limit
    let stop = CancellationToken::new();
    let mut hangups = Hangups::new(stop_on_signals(stop.clone())?);
    let auth = Auth::new(State::open_with(state_dir, state::runtime_dir())?);
    let (announce, announced) = watch::channel(None);
    let listeners = Listeners::take(&config.web, None)?;
    let tls = Tls::open(&config.web, state_dir, announced.clone())?;
    let control = Control::bind(board::control::path(state_dir))?;

    let status = Arc::new(Status::default());
    status.configuration(status::Configuration { source, refused: vec![] });
    let heartbeats = Arc::new(Heartbeats::default());
    let addresses = addresses::watch(stop.clone());
    let links = Links::new(addresses.clone());
    auth.set_neighbours(links.clone());
    let port = Port::open(&config.ice, addresses.clone(), status.clone())?;
    log_media(&port);
    let clocks = Clocks {
        video: RtpClock { hz: VIDEO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
        audio: RtpClock { hz: AUDIO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
    };
    auth.state().hold_privacy(config.watching.privacy);
    let names: Vec<_> = config.cameras.iter().map(|camera| camera.name.clone()).collect();
    auth.keep_cameras(&names);
    let audience = Arc::<Demand>::default();
    let viewers = audience.viewers();
    let sources = Sources::start(
        &config,
        audience,
        Common {
            status: status.clone(),
            clocks,
            privacy: auth.state().privacy(),
            hotplug: board::hotplug::watch(stop.clone()),
            pressure: board::health::watch(status.clone(), viewers.clone(), stop.clone()),
            heartbeats: heartbeats.clone(),
            stop: stop.clone(),
        },
    )
    .context("starting the threads of cameras and microphones")?;
    let cameras = sources.cameras();
    let sources = Arc::new(Mutex::new(sources));
    tokio::spawn(stop.clone().run_until_cancelled_owned(sources::follow(sources.clone())));
    let watched = watching::Watched { viewers: viewers.clone(), private: cameras.hidden() };
    let hooks = watching::start(config.watching.clone(), watched, reload::lit(&config, &cameras));
    let registry = Registry::new(cameras.clone(), status.clone(), port, config.web.max_viewers);
    registry.set_max_upload(config.web.max_upload_bps);

    let address = listeners.address();
    let settings = Settings { web: config.web.clone(), ice: config.ice.clone(), tls: tls.clone(), address };
    let settings = watch::Sender::new(Arc::new(settings));
    let context = web::Context {
        registry: registry.clone(),
        auth: auth.clone(),
        status: status.clone(),
        cameras: cameras.clone(),
        settings: settings.subscribe(),
        clocks,
        links,
        announced: announced.clone(),
    };
    let server = Server::new(Arc::new(context), stop.clone());
    let page = Page::open(server, listeners, tls.as_deref()).context("serving the page")?;
    let controls = Arc::new(Controls {
        auth: auth.clone(),
        status: status.clone(),
        registry: registry.clone(),
        cameras: cameras.clone(),
        settings: settings.subscribe(),
        announced,
    });
    let control = {
        let controls = controls.clone();
        tokio::spawn(control.serve(move |request| controls.clone().answer(request), stop.clone()))
    };
    let mut certificate = Keeping::new(stop.clone());
    certificate.keep(tls.clone(), addresses.clone());
    let mut announcing = Announcing::new(announce, stop.clone());
    announcing.set(config.web.announce.then_some((address.port(), tls.is_some()))).await;
    let followed = notify::Followed { status: status.clone(), state: auth.state().clone(), viewers };
    let (hearing, privacy) = (cameras.clone(), auth.state().privacy());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move { hearing.follow(privacy).await }));
    let tidy = auth.clone();
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move { tidy.keep_tidy().await }));
    tokio::spawn(stop.clone().run_until_cancelled_owned(memory::give_back()));
    tokio::spawn(stop.clone().run_until_cancelled_owned(notify::follow(followed)));
    tokio::spawn(stop.clone().run_until_cancelled_owned(notify::feed(heartbeats)));
    notify::ready();
    memory::freed(); // what only starting needed
    if let Some(introduced) = stop.run_until_cancelled(controls.introduce()).await {
        introduced.context("creating a pairing link")?;
    }

    let mut live = Live {
        config,
        state_dir: state_dir.to_owned(),
        sources,
        hooks,
        auth,
        status,
        registry,
        addresses,
        settings,
        page,
        announcing,
        certificate,
    };
    while hangups.next(&stop).await {
        notify::reloading();
        live.reload(load()).await;
        notify::ready();
    }

    let end = Instant::now() + END;
    notify::stopping();
    info!("stopping");
    // The threads end while viewers are notified.
    let Live { sources, page, registry, hooks, mut announcing, .. } = live;
    let encoded = tokio::task::spawn_blocking(move || sources::lock(&sources).join());
    let farewell = async {
        page.ended().await;
        let _ = timeout(FAREWELL, registry.close_all("the device is shutting down")).await;
        let _ = timeout(FAREWELL, hooks.end()).await; // report that the last viewer has left
        let _ = control.await; // it removes its socket
        announcing.end().await; // withdraws the announcement
    };
    if timeout_at(end, farewell).await.is_err() {
        warn!("some viewers were not notified before the shutdown");
    }
    match timeout_at(end, encoded).await {
        Ok(encoded) => encoded.context("joining the media threads")?.context("encoding is impossible"),
        Err(_) => {
            warn!("a thread hangs in a device call and was abandoned");
            Ok(())
        }
    }
}

/// Logs the media port.
fn log_media(port: &Port) {
    let protocols = if port.has_tcp() { "UDP and TCP" } else { "UDP" };
    info!("media on port {} ({protocols})", port.number());
}

/// SIGHUP: read the configuration again. For a daemon that was started in a terminal, SIGHUP may also mean that the
/// terminal was closed. Then the daemon ends, so that no camera keeps running unnoticed.
struct Hangups {
    signal: Signal,
    terminal: bool,
}

impl Hangups {
    fn new(signal: Signal) -> Self {
        Self { signal, terminal: std::io::stdin().is_terminal() }
    }

    /// Waits for the next SIGHUP that asks for a reload; false if the daemon should stop.
    async fn next(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = self.signal.recv() => {
                if self.terminal && !std::io::stdin().is_terminal() {
                    stop.cancel();
                }
            }
        }
        !stop.is_cancelled()
    }
}

/// Makes SIGTERM and SIGINT cancel `stop`, and catches SIGHUP, which is returned.
fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<Signal> {
    let mut term = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if first {
                stop.cancel();
            } else {
                std::process::exit(1);
            }
        }
    });
    signal(SignalKind::hangup()).context("catching SIGHUP")
}
