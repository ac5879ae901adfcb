//! Notifies systemd (sd_notify(3)) that the daemon is ready, what it is doing, and that it is alive. Nothing of this
//! runs if `NOTIFY_SOCKET` is not set.
//!
//! A task of the runtime feeds the watchdog while no thread is silent ([`Heartbeats`]), so both a hanging runtime and a
//! hanging thread stop it.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info};

use crate::clock::Pts;
use crate::heartbeat::Heartbeats;
use crate::state::State;
use crate::status::{self, Report, Status};

/// systemd's variables for notifications, which are not passed on to programs that the daemon starts.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Shortest time between two status notifications.
const PAUSE: Duration = Duration::from_secs(1);

/// Notifies systemd that the daemon is listening. A missing camera does not delay this.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Notifies systemd of a reload, which lasts until [`ready`].
pub fn reloading() {
    // `Type=notify-reload` needs the time to tell this from the answer to an earlier signal.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(e) => debug!("no monotonic clock: {e}"),
    }
}

/// Notifies systemd of the shutdown.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn send(state: &[NotifyState<'_>]) {
    // The service manager may be gone; nothing can be done about it.
    if let Err(e) = sd_notify::notify(state) {
        debug!("can't notify systemd: {e}");
    }
}

/// Whether a service manager wants notifications.
fn is_wanted() -> bool {
    std::env::var_os(VARIABLES[0]).is_some_and(|path| !path.is_empty())
}

/// What the status line is made from.
pub struct Followed {
    /// Camera, microphone, encoder, configuration.
    pub status: Arc<Status>,
    /// Owner and privacy.
    pub state: Arc<State>,
    /// Number of viewers that receive media.
    pub viewers: watch::Receiver<usize>,
}

/// Sends the status line whenever it changes.
pub async fn follow(mut followed: Followed) {
    if !is_wanted() {
        return;
    }
    let Followed { status, state, viewers } = &mut followed;
    let (mut changes, mut lasting, mut private) = (status.changes(), state.changes(), state.privacy());
    let mut told = String::new();
    loop {
        changes.borrow_and_update();
        lasting.borrow_and_update();
        let (viewers_now, private_now) = (*viewers.borrow_and_update(), private.borrow_and_update().all);
        let paired = state.read(|l| l.owner.is_some());
        let says = sentence(&status.report(), viewers_now, private_now, paired);
        if says != told {
            send(&[NotifyState::Status(&says)]);
            told = says;
            tokio::time::sleep(PAUSE).await;
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Ok(()) = lasting.changed() => {}
            Ok(()) = private.changed() => {}
            Ok(()) = viewers.changed() => {}
        }
    }
}

/// One line for `systemctl status`, with problems first. The pairing link is not part of it, because every user of this
/// machine may read it.
fn sentence(report: &Report<'_>, viewers: usize, private: bool, paired: bool) -> String {
    let mut parts = vec![];
    if let Some(first) = report.configuration.refused.first() {
        parts.push(format!("new configuration rejected, keeping the old one: {first}"));
    }
    if !paired {
        parts.push("no owner yet: open the link that `sudo peercam pair` prints".into());
    }
    parts.push(match viewers {
        0 => "no viewers".into(),
        1 => "1 viewer".into(),
        n => format!("{n} viewers"),
    });
    if private {
        parts.push("privacy is on, cameras and microphones are closed".into());
    } else {
        for camera in &report.cameras {
            let which = if report.cameras.len() == 1 { String::new() } else { format!("{}: ", camera.name) };
            let (video, audio) = (&camera.video, &camera.audio);
            parts.push(which.clone() + &device("camera", video.state, &video.name, &video.reason));
            let reduced = video.reduced.as_ref();
            parts.extend(reduced.map(|r| format!("{which}{} at {:.0} fps: {}", r.size, r.fps, r.why)));
            parts.push(which + &device("microphone", audio.state, &audio.name, &audio.reason));
        }
    }
    let encoder = report.cameras.iter().map(|camera| camera.video.encoder).find(|name| !name.is_empty());
    parts.extend(encoder.map(|name| format!("encoder {name}")));
    parts.join("; ").replace(char::is_control, " ")
}

fn device(what: &str, state: status::State, name: &str, reason: &Option<String>) -> String {
    let state = match state {
        status::State::Opening => "opening",
        status::State::Starting => "starting",
        status::State::Live => "live",
        status::State::Idle => "idle",
        status::State::Gone => "missing",
        status::State::Private => "closed",
        status::State::Off => return format!("{what} off"),
    };
    let name = if name.is_empty() { String::new() } else { format!(" {name}") };
    let reason = reason.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
    format!("{what}{name} ({state}{reason})")
}

/// Feeds systemd's watchdog, if it is on, while no thread is silent.
pub async fn feed(heartbeats: Arc<Heartbeats>) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|p| is_wanted() && !p.is_zero()) else {
        return;
    };
    let mut tick = tokio::time::interval(patience / 2);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = Silent::default();
    loop {
        tick.tick().await;
        if silent.look(&heartbeats, Pts::now()) {
            send(&[NotifyState::Watchdog]);
        }
    }
}

/// The threads that have been reported as silent.
#[derive(Default)]
struct Silent(Vec<Arc<str>>);

impl Silent {
    /// Returns whether no thread is silent. Each silent thread is logged once, until it responds again.
    fn look(&mut self, heartbeats: &Heartbeats, now: Pts) -> bool {
        let silent = heartbeats.silent(now);
        for (name, since) in silent.iter().filter(|(name, _)| !self.0.contains(name)) {
            let seconds = since.as_secs();
            error!(
                thread = &**name,
                "the thread {name} hangs: it should have answered {seconds} s ago; systemd will restart peercam"
            );
        }
        if silent.is_empty() && !self.0.is_empty() {
            info!("all threads respond again");
        }
        self.0 = silent.into_iter().map(|(name, _)| name).collect();
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::WORK;
    use crate::status::Configuration;

    #[test]
    fn one_sentence_says_what_matters_first() {
        let status = Status::default();
        let camera = |name: &str| status::Camera {
            name: name.into(),
            label: name.into(),
            video: status.source(),
            audio: status.source(),
        };
        let front = camera("front");
        status.set_cameras(vec![front.clone()]);
        front.video.change(|v| (v.state, v.name) = (status::State::Live, "C920".into()));
        front.audio.change(|a| a.state = status::State::Off);
        let says = |viewers, private, paired| sentence(&status.report(), viewers, private, paired);
        assert_eq!(says(2, false, true), "2 viewers; camera C920 (live); microphone off");
        assert_eq!(says(0, true, true), "no viewers; privacy is on, cameras and microphones are closed");
        assert!(says(0, false, false).starts_with("no owner yet: "));
        front.video.change(|v| {
            (v.state, v.reason) = (status::State::Gone, Some("unplugged\nnow".into()));
            v.encoder = "OpenH264";
        });
        assert_eq!(
            says(1, false, true),
            "1 viewer; camera C920 (missing, unplugged now); microphone off; encoder OpenH264"
        );
        status.configuration(Configuration {
            source: "x".into(),
            refused: vec!["x:1: no".into(), "x:2".into()],
        });
        let begins = "new configuration rejected, keeping the old one: x:1: no; 1 viewer; ";
        assert!(says(1, false, true).starts_with(begins));
        status.configuration(Configuration::default());
        let back = camera("back");
        back.audio.change(|a| a.state = status::State::Off);
        status.set_cameras(vec![front, back]);
        assert_eq!(
            says(1, false, true),
            "1 viewer; front: camera C920 (missing, unplugged now); front: microphone off; \
             back: camera (opening); back: microphone off; encoder OpenH264"
        );
    }

    #[test]
    fn a_silent_thread_starves_the_watchdog_until_it_answers() {
        let heartbeats = Arc::new(Heartbeats::default());
        let (thread, now, mut silent) = (heartbeats.thread("video-capture"), Pts::now(), Silent::default());
        thread.within(WORK);
        assert!(silent.look(&heartbeats, now));
        let later = now + WORK * 2;
        assert!(!silent.look(&heartbeats, later));
        assert_eq!(silent.0, ["video-capture".into()]);
        assert!(!silent.look(&heartbeats, later), "reported once, but the watchdog is never fed");
        thread.asleep();
        assert!(silent.look(&heartbeats, later));
    }
}
