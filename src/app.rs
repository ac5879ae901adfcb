//! The daemon: builds the parts, runs until told to stop, and stops them in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::board::addresses;
use crate::clock::{AUDIO_HZ, Clocks, RtpClock, VIDEO_HZ};
use crate::config::Config;
use crate::media::h264::ProfileLevelId;
use crate::pipeline::hub::Hub;
use crate::pipeline::snapshot::Snapshots;
use crate::pipeline::{audio, video};
use crate::state::State;
use crate::status::Status;
use crate::viewer::{Port, Registry};
use crate::web;
use crate::web::auth::Auth;

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
    let listener = web::bind((config.web.address, config.web.port).into())?;
    let address = listener.local_addr().context("asking which port we listen on")?;

    let (hub, status) = (Arc::new(Hub::default()), Arc::new(Status::default()));
    let port = Port::open(&config.ice, addresses::watch(stop.clone()), status.clone())?;
    let snapshots = Arc::new(Snapshots::new(hub.clone()));
    let clocks = Clocks {
        video: RtpClock { hz: VIDEO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
        audio: RtpClock { hz: AUDIO_HZ, offset: getrandom::u32().context("asking for random numbers")? },
    };
    let (profile, profile_seen) = watch::channel(PROFILE_AT_START);
    let video = video::Video::spawn(video::Context {
        config: config.video,
        hub: hub.clone(),
        status: status.clone(),
        snapshots: snapshots.clone(),
        clock: clocks.video,
        profile,
        stop: stop.clone(),
    })
    .context("starting the video threads")?;
    let audio = audio::spawn(config.audio, hub.clone(), status.clone(), clocks, &stop)
        .context("starting the audio thread")?;
    let registry =
        Registry::new(hub, status.clone(), clocks, port.clone(), config.web.max_viewers, profile_seen);

    let protocols = if port.has_tcp() { "UDP and TCP" } else { "UDP" };
    info!("media on port {} ({protocols})", port.number());
    info!("listening on http://{address}");
    if !auth.paired() {
        info!("pairing link: http://{address}/#pair={}", auth.pair().context("making a pairing link")?);
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
    };
    let served = web::serve(listener, Arc::new(context), stop.clone()).await;
    stop.cancel();
    info!("stopping");
    let _ = tokio::time::timeout(FAREWELL, registry.close_all("the device is shutting down")).await;
    let encoded = tokio::task::spawn_blocking(move || {
        drop(audio);
        video.join()
    })
    .await
    .context("joining the media threads")?;
    served.context("serving the page")?;
    encoded.context("encoding is impossible")
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
