//! Answers the requests on the control socket, by calling the parts of the daemon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::info;

use super::links;
use crate::board::control::{Answer, Request};
use crate::board::doctor::Finding;
use crate::board::holdings::Holdings;
use crate::board::terminal;
use crate::pipeline::camera::Cameras;
use crate::state::{Role, Scope};
use crate::status::{self, CameraReport, Report, State, Status};
use crate::viewer::Registry;
use crate::wall::{DAY, clock, date};
use crate::web::Settings;
use crate::web::auth::{self, Auth};
use crate::web::tls::names::Here;
use crate::web::tls::{self, Facts, Kind};
use crate::web::{cameras, machine, privacy};

/// Days before its end at which a certificate should have been renewed.
const SOON_DAYS: i64 = 14;

/// How long after a start, or after a device is opened, reports wait until the devices have been tried.
const LOOKING: Duration = Duration::from_secs(2);

/// Most addresses of the page in the log. Together with the devices they fit the ten lines that `systemctl status`
/// shows.
const MOST_LINKS: usize = 5;

/// The parts of the daemon that commands use.
pub(super) struct Controls {
    /// Passwords, tokens and sessions.
    pub auth: Arc<Auth>,
    /// The state of every part.
    pub status: Arc<Status>,
    /// All viewers.
    pub registry: Arc<Registry>,
    /// All cameras.
    pub cameras: Arc<Cameras>,
    /// The current certificate, address of the page and limit of viewers.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The host name announced by mDNS.
    pub announced: watch::Receiver<Option<String>>,
}

impl Controls {
    /// Executes a request.
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Answer {
        let auth = &self.auth;
        match request {
            Request::Pair => self.pair().map_err(said),
            Request::SetPassword { role, password: Some(text), keep_links, cameras } => {
                let cameras =
                    cameras.map(|names| self.scope(Some(names).filter(|n| !n.is_empty()))).transpose()?;
                let password = auth::NewPassword { text: &text, keep_links };
                auth.set_password(role, password, cameras).await.map_err(said)?;
                Ok(Value::Null)
            }
            Request::SetPassword { role: Role::Viewer, password: None, .. } => {
                auth.remove_household_password().await.map_err(said)?;
                Ok(warned(auth.unwritten()))
            }
            Request::Issued => Ok(auth.issued()),
            Request::SetPassword { password: None, .. } => {
                Err("only the household's password can be removed; the owner needs a password".into())
            }
            Request::TokenAdd { role: Role::Guest, .. } => {
                Err("a token has the role viewer or owner; for guests, create a link on the page".into())
            }
            Request::TokenAdd { name, role, cameras } => {
                let cameras = self.scope(cameras)?;
                let add = move |auth: &Auth| auth.add_token(&name, role, cameras);
                self.on_disk(move |auth| add(auth).map(|token| json!({"token": token}))).await
            }
            Request::TokenList => Ok(json!(auth.tokens())),
            Request::TokenRevoke { name } => {
                self.on_disk(move |auth| auth.revoke_token(&name).map(|()| warned(auth.unwritten()))).await
            }
            Request::Privacy { on, camera } => {
                let of = privacy::Of {
                    auth,
                    registry: &self.registry,
                    cameras: &self.cameras,
                    status: &self.status,
                };
                let warnings = of.switch(on, camera.as_deref()).await.map_err(said)?;
                Ok(warned(warnings))
            }
            Request::Holdings => {
                let cameras = self.status.report().cameras;
                let dir = auth.state().dir().to_owned();
                let nodes: Vec<_> = cameras.iter().filter_map(|c| c.video.device.clone()).collect();
                let microphones = open_microphones(&cameras);
                let look = move || Holdings::of_this_process(&dir, nodes, microphones);
                let held = tokio::task::spawn_blocking(look).await.map_err(said)?;
                Ok(json!(held))
            }
            Request::Status => {
                self.look_at_disk().await;
                Ok(self.facts())
            }
            Request::Doctor => {
                self.look_at_disk().await;
                looked_at(&self.status).await;
                Ok(json!({
                    "id": std::process::id(),
                    "listening": self.settings().address,
                    "findings": self.findings(),
                }))
            }
        }
    }

    /// Runs `work` on a blocking thread, because it waits for the disk.
    async fn on_disk(
        &self,
        work: impl FnOnce(&Auth) -> Result<Value, auth::Error> + Send + 'static,
    ) -> Answer {
        let auth = self.auth.clone();
        let done = tokio::task::spawn_blocking(move || work(&auth)).await;
        done.map_err(|e| e.to_string())?.map_err(said)
    }

    /// Tries to write the state: only that shows whether it can be written.
    async fn look_at_disk(&self) {
        let state = self.auth.state().clone();
        let _ = tokio::task::spawn_blocking(move || state.catch_up()).await; // it can't panic
    }

    /// The scope for these cameras, or for all. Fails if a camera does not exist.
    fn scope(&self, cameras: Option<Vec<String>>) -> Result<Scope, String> {
        let Some(names) = cameras else { return Ok(Scope::ALL) };
        match names.iter().find(|name| self.cameras.find(name).is_none()) {
            Some(unknown) => {
                Err(format!("there is no camera called {unknown}; available: {}", self.cameras.names()))
            }
            None => Ok(Scope::only(names)),
        }
    }

    fn pair(&self) -> Result<Value, auth::Error> {
        let secret = self.auth.pair()?;
        let links: Vec<_> = self.pages().iter().map(|page| format!("{page}/#pair={secret}")).collect();
        Ok(json!({
            "links": links,
            "minutes": auth::PAIRING.as_secs() / 60,
            "paired": self.auth.paired(),
            "issued": self.auth.issued(),
            "certificate": self.settings().tls.as_ref().map(|t| t.facts()),
        }))
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// The addresses of the page, the best first.
    fn pages(&self) -> Vec<String> {
        let settings = self.settings();
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let here = Here {
            hostname: machine::hostname(),
            announced: self.announced.borrow().clone(),
            addresses: machine::addresses(),
        };
        links::pages(scheme, settings.address, &here)
    }

    /// The answer to `peercam status`.
    fn facts(&self) -> Value {
        let (mut report, privacy) = (self.status.report(), self.auth.state().privacy().borrow().clone());
        let cameras = cameras::facts(&self.cameras, &privacy, std::mem::take(&mut report.cameras));
        let (mut facts, viewers) = (json!(report), self.registry.list());
        for (key, told) in cameras {
            facts[key] = told;
        }
        facts["pages"] = json!(self.pages());
        let settings = self.settings();
        facts["listening"] = json!(settings.address);
        facts["certificate"] = json!(settings.tls.as_ref().map(|t| t.facts()));
        facts["paired"] = json!(self.auth.paired());
        facts["privacy"] = json!(privacy.all);
        facts["state_problem"] = json!(self.auth.unwritten());
        facts["viewers"] = json!({"count": viewers.len(), "max": settings.web.max_viewers, "list": viewers});
        facts["process"] = json!(status::Process::now());
        facts
    }

    /// Findings for `peercam doctor` that only the daemon knows.
    fn findings(&self) -> Vec<Finding> {
        let mut all = vec![match self.auth.paired() {
            true => Finding::ok("owner", "the device has an owner"),
            false => Finding::warn(
                "owner",
                "the device has no owner yet: nobody can watch",
                "run `peercam pair` and open the link",
            ),
        }];
        if let Some(problem) = self.auth.unwritten() {
            let remedy = "free space on its disk (see `df -h`), or repair it (see `dmesg`)";
            all.push(Finding::bad("state", problem, remedy));
        }
        let report = self.status.report();
        for camera in &report.cameras {
            let CameraReport { video, audio, .. } = camera;
            let which = one_of(&report, camera);
            for (about, state, name, reason) in [
                ("camera", video.state, &video.name, &video.reason),
                ("microphone", audio.state, &audio.name, &audio.reason),
            ] {
                all.push(match state {
                    State::Gone => Finding::bad(
                        about,
                        format!("{which}{name}: {}", reason.clone().unwrap_or_default()),
                        "check whether it is plugged in; `peercam devices` lists all devices",
                    ),
                    _ => Finding::ok(about, format!("{which}{name}: {}", state.as_str())),
                });
            }
            all.push(match video.encoder {
                "" => Finding::ok("encoder", format!("{which}not needed until the camera delivers")),
                encoder => Finding::ok("encoder", format!("{which}{encoder} works")),
            });
        }
        all.push(self.settings().tls.as_ref().map_or_else(plain, |tls| certificate(&tls.facts(), clock())));
        all
    }

    /// Logs which devices are captured or missing, and the addresses of the page. If the device has no owner, the
    /// pairing link comes last, so that `systemctl status` shows it.
    pub(super) async fn introduce(&self) -> Result<(), auth::Error> {
        looked_at(&self.status).await;
        let (report, private) = (self.status.report(), self.auth.state().privacy().borrow().all);
        for line in captured(&report, private) {
            info!("{line}");
        }
        if !self.auth.paired() {
            return self.invite();
        }
        info!("the page is at {}", self.pages().join(" or "));
        Ok(())
    }

    /// Prints how to become the owner on standard output: a terminal, or the journal.
    fn invite(&self) -> Result<(), auth::Error> {
        let invitation = self.pair()?;
        let links = invitation["links"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let links: Vec<_> = links.take(MOST_LINKS).collect();
        let mut text: String = links.iter().map(|link| format!("pairing link: {link}\n")).collect();
        if let Some(columns) = terminal::columns() {
            text += &links.first().and_then(|l| terminal::qr(l, columns)).unwrap_or_default();
        }
        text += &format!(
            "This device has no owner yet. Open one of these links within {} minutes and choose a password; \
             `peercam pair` prints a new one.\n",
            invitation["minutes"]
        );
        text += tls::warning(&invitation["certificate"]);
        use std::io::Write as _;
        // If standard output is closed, `peercam pair` prints the links again.
        let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
        Ok(())
    }
}

/// Waits until the devices have been tried and the encoder exists, which takes a moment after a start. A device that
/// takes longer than [`LOOKING`] logs its state by itself.
async fn looked_at(status: &Status) {
    let looked_at = |camera: &CameraReport| {
        let CameraReport { video, audio, .. } = camera;
        ![video.state, audio.state].contains(&State::Opening) && !video.encoder.is_empty()
    };
    let unknown = || !status.report().cameras.iter().all(looked_at);
    let mut changes = status.changes();
    let looked = async { while unknown() && changes.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(LOOKING, looked).await;
}

/// The ALSA names of the microphones that are open or being opened.
fn open_microphones(cameras: &[CameraReport]) -> BTreeSet<String> {
    let sounds = cameras.iter().map(|camera| &camera.audio);
    let open = sounds.filter(|a| matches!(a.state, State::Opening | State::Starting | State::Live));
    open.filter_map(|a| a.device.clone()).collect()
}

/// One line for each device that is captured or missing.
fn captured(report: &Report<'_>, private: bool) -> Vec<String> {
    if private {
        return vec!["privacy is on: cameras and microphones are closed".into()];
    }
    let lines = |camera: &CameraReport| {
        let (which, v, a) = (one_of(report, camera), &camera.video, &camera.audio);
        [
            device(&format!("{which}camera"), v.state, &v.name, &v.device, &v.why, &v.reason),
            device(&format!("{which}microphone"), a.state, &a.name, &a.device, &a.why, &a.reason),
        ]
    };
    report.cameras.iter().flat_map(lines).collect()
}

/// The prefix that names the camera, if there are several.
fn one_of(report: &Report<'_>, camera: &CameraReport) -> String {
    if report.cameras.len() == 1 { String::new() } else { format!("{}: ", camera.name) }
}

fn device(
    what: &str,
    state: State,
    name: &str,
    device: &Option<String>,
    why: &str,
    reason: &Option<String>,
) -> String {
    let node = device.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
    match state {
        State::Off => format!("{what}: off, as configured"),
        State::Gone => format!("{what}: missing: {}", reason.as_deref().unwrap_or("unknown reason")),
        State::Starting => format!("{what}: {name}{node}, starting: no picture received yet"),
        _ if why.is_empty() => format!("{what}: {name}{node}"),
        _ => format!("{what}: {name}{node}, {why}"),
    }
}

/// An answer with a warning, if there are any.
fn warned(warnings: impl IntoIterator<Item = String>) -> Value {
    let warnings: Vec<_> = warnings.into_iter().collect();
    if warnings.is_empty() { Value::Null } else { json!({"warning": warnings.join("; ")}) }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn plain() -> Finding {
    Finding::warn(
        "certificate",
        "none: plain HTTP (tls = \"off\")",
        "correct behind an HTTPS proxy that is listed in web.trusted_proxies; otherwise set tls = \"auto\"",
    )
}

fn certificate(facts: &Facts, now: i64) -> Finding {
    const ABOUT: &str = "certificate";
    let (until, names) = (date(facts.not_after), facts.names.len());
    let says = format!("{} names and addresses, until {until}", names);
    let remedy = match facts.kind {
        Kind::Files => "renew the files of web.certificate and web.key; the daemon loads them by itself",
        Kind::Device => "see the log for why it was not renewed",
    };
    match &facts.problem {
        Some(problem) => Finding::bad(ABOUT, problem.clone(), remedy),
        None if now > facts.not_after - SOON_DAYS * DAY => Finding::warn(ABOUT, says, remedy),
        None if facts.kind == Kind::Device => Finding::ok(ABOUT, format!("made by this device: {says}")),
        None => Finding::ok(ABOUT, format!("your own: {says}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::doctor::Level;

    #[tokio::test(start_paused = true)]
    async fn right_after_a_start_it_is_waited_for_devices_and_encoder_but_not_for_ever() {
        let (status, began) = (Arc::new(Status::default()), tokio::time::Instant::now());
        let camera = status::Camera {
            name: "front".into(),
            label: "Front".into(),
            video: status.source(),
            audio: status.source(),
        };
        status.set_cameras(vec![camera.clone()]);
        let looked = tokio::spawn({
            let status = status.clone();
            async move { looked_at(&status).await }
        });
        let changes: [fn(&status::Camera); 3] = [
            |c| c.audio.change(|a| a.state = State::Off),
            |c| c.video.change(|v| v.state = State::Idle),
            |c| c.video.change(|v| v.encoder = "OpenH264"),
        ];
        for change in changes {
            tokio::time::sleep(LOOKING / 8).await;
            assert!(!looked.is_finished());
            change(&camera);
        }
        looked.await.unwrap();
        assert!(began.elapsed() < LOOKING / 2);
        // A slow camera.
        camera.video.change(|v| v.state = State::Opening);
        let began = tokio::time::Instant::now();
        looked_at(&status).await;
        assert!(began.elapsed() >= LOOKING);
    }

    #[test]
    fn only_microphones_in_use_count_as_open_and_each_once() {
        let camera = |state, device: Option<&str>| CameraReport {
            name: "front".into(),
            label: "Front".into(),
            video: status::Video::default(),
            audio: status::Audio { state, device: device.map(String::from), ..Default::default() },
        };
        let cameras = [
            camera(State::Live, Some("hw:2")),
            camera(State::Opening, Some("hw:1")),
            camera(State::Live, Some("hw:2")),
            camera(State::Idle, Some("hw:3")),
            camera(State::Private, Some("hw:4")),
            camera(State::Gone, Some("hw:5")),
            camera(State::Off, None),
            camera(State::Live, None),
        ];
        assert_eq!(open_microphones(&cameras), ["hw:1", "hw:2"].map(String::from).into());
    }

    #[test]
    fn a_certificate_is_well_ends_soon_or_has_a_problem() {
        let mut facts = Facts {
            kind: Kind::Files,
            fingerprint: "AB".into(),
            names: vec!["door".into()],
            not_before: 0,
            not_after: 100 * DAY,
            problem: None,
        };
        assert_eq!(certificate(&facts, 0).level, Level::Ok);
        assert_eq!(certificate(&facts, 90 * DAY).level, Level::Warn);
        facts.problem = Some("it expired on 1970-04-11".into());
        assert_eq!(certificate(&facts, 0).level, Level::Bad);
    }
}
