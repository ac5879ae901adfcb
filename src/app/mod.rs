//! The daemon: builds the parts, runs until told to stop, and stops them in order.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

mod control;
mod links;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::control::Controls;
use crate::board::control::Control;
use crate::board::{self, addresses, mdns, watching};
use crate::clock::{AUDIO_HZ, Clocks, RtpClock, VIDEO_HZ};
use crate::config::{self, Config};
use crate::heartbeat::Heartbeats;
use crate::media::h264::ProfileLevelId;
use crate::pipeline::hub::Hub;
use crate::pipeline::snapshot::Snapshots;
use crate::pipeline::{audio, video};
use crate::state::State;
use crate::status::Status;
use crate::viewer::{Port, Registry};
use crate::web::auth::Auth;
use crate::web::tls::Tls;
use crate::web::tls::time::date;
use crate::web::{self, Door, Speaks};

/// Viewers are told within this time that we stop; whoever cannot be told by then notices by itself.
const FAREWELL: Duration = Duration::from_secs(1);
/// Answered to offers in the moment before the first encoder has shown its SPS: constrained baseline, level 3.1.
const PROFILE_AT_START: ProfileLevelId = ProfileLevelId([0x42, 0xc0, 0x1f]);

/// Runs the daemon until SIGTERM or SIGINT; a second signal ends it at once. What must last is in `state_dir`.
///
/// # Errors
/// When what must last can't be read, when it cannot listen, cannot start its threads, or when encoding has become impossible.
pub async fn run(config: Config, source: String, state_dir: &Path) -> anyhow::Result<()> {
    info!("configuration: {source}");
    let auth = Auth::new(State::open(state_dir)?);
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let (announce, announced) = watch::channel(None);
    let tls = Tls::open(&config.web, state_dir, announced.clone())?;
    let (doors, address) = doors(&config.web, tls.as_deref())?;
    let control = Control::bind(board::control::path(state_dir))?;

    let (hub, status) = (Arc::new(Hub::default()), Arc::new(Status::default()));
    let addresses = addresses::watch(stop.clone());
    let port = Port::open(&config.ice, addresses.clone(), status.clone())?;
    let snapshots = Arc::new(Snapshots::new(hub.clone()));
    let clocks = Clocks {
        video: RtpClock { hz: VIDEO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
        audio: RtpClock { hz: AUDIO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
    };
    let (profile, profile_seen) = watch::channel(PROFILE_AT_START);
    if config.watching.privacy {
        auth.state().hold_privacy();
    }
    let private = auth.state().privacy();
    let (heartbeats, hotplug, pressure) =
        (Arc::<Heartbeats>::default(), watch::channel(0).1, watch::channel(None).1);
    let (video_config, audio_config) = (watch::Sender::new(config.video), watch::Sender::new(config.audio));
    let video = video::Video::spawn(video::Context {
        config: video_config.subscribe(),
        hub: hub.clone(),
        status: status.clone(),
        snapshots: snapshots.clone(),
        clock: clocks.video,
        profile,
        private: private.clone(),
        hotplug: hotplug.clone(),
        pressure,
        heartbeats: heartbeats.clone(),
        stop: stop.clone(),
    })
    .context("starting the video threads")?;
    let audio = audio::spawn(audio::Context {
        config: audio_config.subscribe(),
        hub: hub.clone(),
        status: status.clone(),
        clocks,
        private: private.clone(),
        hotplug,
        heartbeats,
        stop: stop.clone(),
    })
    .context("starting the audio thread")?;
    let watched = watching::Watched { viewers: hub.viewers(), private };
    let told = watching::start(config.watching, watched);
    let registry =
        Registry::new(hub, status.clone(), clocks, port.clone(), config.web.max_viewers, profile_seen);

    let protocols = if port.has_tcp() { "UDP and TCP" } else { "UDP" };
    info!("media on port {} ({protocols})", port.number());
    let scheme = if tls.is_some() { "https" } else { "http" };
    info!("listening on {scheme}://{address}");
    if let Some(facts) = tls.as_ref().map(|t| t.facts()) {
        info!(
            "certificate until {}; SHA-256 of {}: {}",
            date(facts.not_after),
            whose(facts.kind),
            facts.fingerprint
        );
    }
    let controls = Arc::new(Controls {
        auth: auth.clone(),
        status: status.clone(),
        registry: registry.clone(),
        tls: tls.clone(),
        listening: address,
        announced: announced.clone(),
        max_viewers: config.web.max_viewers,
    });
    if !auth.paired() {
        controls.invite().context("making a pairing link")?;
    }
    let control = tokio::spawn(control.serve(move |request| controls.clone().answer(request), stop.clone()));
    let announcing = config.web.announce.then(|| {
        let hostname = web::machine::hostname();
        tokio::spawn(mdns::announce(hostname, address.port(), tls.is_some(), announce, stop.clone()))
    });
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().keep_current(addresses, stop.clone()));
    }
    tokio::spawn(stop.clone().run_until_cancelled_owned({
        let auth = auth.clone();
        async move { auth.keep_tidy().await }
    }));
    let context = web::Context {
        registry: registry.clone(),
        auth,
        status,
        snapshots,
        config: config.web,
        ice: config.ice,
        clocks,
        tls,
        announced,
    };
    let served = web::serve(doors, Arc::new(context), stop.clone()).await;
    stop.cancel();
    info!("stopping");
    let _ = tokio::time::timeout(FAREWELL, registry.close_all("the device is shutting down")).await;
    let _ = tokio::time::timeout(FAREWELL, told.end()).await; // that the last viewer has left
    let _ = control.await; // it removes its socket
    if let Some(announcing) = announcing {
        let _ = announcing.await; // it tells the network
    }
    let encoded = tokio::task::spawn_blocking(move || {
        drop(audio);
        video.join()
    })
    .await
    .context("joining the media threads")?;
    served.context("serving the page")?;
    encoded.context("encoding is impossible")
}

/// Whose fingerprint is told.
fn whose(kind: &str) -> &'static str {
    if kind == "device" { "this device's authority" } else { "the certificate" }
}

/// Listens: at the page's port, and where HTTP is sent on to it. The second is a convenience that a taken port must not
/// cost us the camera for.
fn doors(web: &config::Web, tls: Option<&Tls>) -> anyhow::Result<(Vec<Door>, SocketAddr)> {
    let listener = web::bind((web.address, web.port).into())?;
    let address = listener.local_addr().context("asking which port we listen on")?;
    let speaks = tls.map_or(Speaks::Plain, |tls| Speaks::Tls(tls.config()));
    let mut doors = vec![Door { listener, speaks }];
    if tls.is_some() && web.http_port != 0 {
        match web::bind((web.address, web.http_port).into()) {
            Ok(listener) => doors.push(Door { listener, speaks: Speaks::Redirect(address.port()) }),
            Err(e) => warn!("plain HTTP is not sent on to HTTPS: {e}"),
        }
    }
    Ok((doors, address))
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
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
    Ok(())
}
