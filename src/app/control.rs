//! What the commands ask of the running daemon: the glue between the control socket and the parts.

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

/// A certificate that ends sooner than this should have been replaced by now.
const SOON_DAYS: i64 = 14;

/// So long after a start, or after a device is opened, what tells of them waits until they have been looked at.
const LOOKING: Duration = Duration::from_secs(2);

/// Of the ways to the page: with what is captured they are the last ten lines, which `systemctl status` shows.
const MOST_LINKS: usize = 5;

/// What commands reach.
pub struct Controls {
    /// Who may come in.
    pub auth: Arc<Auth>,
    /// What every part is doing.
    pub status: Arc<Status>,
    /// All viewers.
    pub registry: Arc<Registry>,
    /// What they may watch.
    pub cameras: Arc<Cameras>,
    /// Certificate, the page's address, and the most viewers, as they are now.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The name announced by mDNS.
    pub announced: watch::Receiver<Option<String>>,
}

impl Controls {
    /// Does what is asked.
    pub async fn answer(self: Arc<Self>, request: Request) -> Answer {
        let auth = &self.auth;
        match request {
            Request::Pair => self.pair().map_err(said),
            Request::SetPassword { role, password: Some(text), keep_links, cameras } => {
                let cameras =
                    cameras.map(|names| self.scope(Some(names).filter(|n| !n.is_empty()))).transpose()?;
                let password = auth::NewPassword { text: &text, keep_links };
                auth.set_password(role, password).await.map_err(said)?;
                if let Some(cameras) = cameras {
                    auth.set_household_cameras(cameras).await.map_err(said)?;
                }
                Ok(Value::Null)
            }
            Request::SetPassword { role: Role::Viewer, password: None, .. } => {
                auth.remove_household_password().await.map_err(said)?;
                Ok(warned(auth.unwritten()))
            }
            Request::Issued => Ok(auth.issued()),
            Request::SetPassword { password: None, .. } => {
                Err("only the household's password can be removed: the owner needs one".into())
            }
            Request::TokenAdd { role: Role::Guest, .. } => {
                Err("a token is a viewer's or an owner's; guests get links, on the page".into())
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
                let microphones: Vec<_> = cameras.iter().filter_map(|c| c.audio.device.clone()).collect();
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

    /// What waits for the disk does so on a thread of its own.
    async fn on_disk(
        &self,
        work: impl FnOnce(&Auth) -> Result<Value, auth::Error> + Send + 'static,
    ) -> Answer {
        let auth = self.auth.clone();
        let done = tokio::task::spawn_blocking(move || work(&auth)).await;
        done.map_err(|e| e.to_string())?.map_err(said)
    }

    /// Whether the state can be written is known from trying only.
    async fn look_at_disk(&self) {
        let state = self.auth.state().clone();
        let _ = tokio::task::spawn_blocking(move || state.catch_up()).await; // it can't panic
    }

    /// For cameras of these names, or all. There must be such.
    fn scope(&self, cameras: Option<Vec<String>>) -> Result<Scope, String> {
        let Some(names) = cameras else { return Ok(Scope::ALL) };
        match names.iter().find(|name| self.cameras.find(name).is_none()) {
            Some(unknown) => {
                Err(format!("there is no camera called {unknown}; there are: {}", self.cameras.names()))
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

    /// Where the page is, the best first.
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

    /// For `peercam status`.
    fn facts(&self) -> Value {
        let (mut report, privacy) = (self.status.report(), self.auth.state().privacy().borrow().clone());
        let cameras = cameras::told(&self.cameras, &privacy, std::mem::take(&mut report.cameras));
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

    /// For `peercam doctor`: what only we know.
    fn findings(&self) -> Vec<Finding> {
        let mut all = vec![match self.auth.paired() {
            true => Finding::ok("owner", "the device has an owner"),
            false => Finding::warn(
                "owner",
                "the device has no owner yet: nobody can watch",
                "`peercam pair`, then open the link",
            ),
        }];
        if let Some(problem) = self.auth.unwritten() {
            let remedy = "make room on its disk (`df -h`), or repair it (`dmesg`)";
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
                        "see whether it is plugged in; `peercam devices` lists what there is",
                    ),
                    _ => Finding::ok(about, format!("{which}{name}: {}", state.as_str())),
                });
            }
            all.push(match video.encoder {
                "" => Finding::ok("encoder", format!("{which}waits to know what the camera gives")),
                encoder => Finding::ok("encoder", format!("{which}{encoder} works")),
            });
        }
        all.push(self.settings().tls.as_ref().map_or_else(plain, |tls| certificate(&tls.facts(), clock())));
        all
    }

    /// Tells a stranger what we do: what is captured, what is missing, where to look. Last, so that it is what
    /// `systemctl status` shows: how to become the owner of a device that has none.
    pub async fn introduce(&self) -> Result<(), auth::Error> {
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

    /// Tells how to become the owner, on standard output: a terminal, or the journal.
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
        // Nobody may be there to read it; then `peercam pair` tells it again.
        let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
        Ok(())
    }
}

/// Waits until the devices have been looked at and the encoder is made for what they give: right after a start they
/// have not been. One that takes longer than [`LOOKING`] tells in the log by itself.
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

/// What is captured, and what is missing, in a line each.
fn captured(report: &Report<'_>, private: bool) -> Vec<String> {
    if private {
        return vec!["privacy is on: camera and microphone are closed, whoever watches".into()];
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

/// Which camera something is said of, where there are several.
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
        State::Gone => format!("{what}: missing: {}", reason.as_deref().unwrap_or("nobody knows why")),
        State::Starting => format!("{what}: {name}{node}, starting: no picture has come yet"),
        _ if why.is_empty() => format!("{what}: {name}{node}"),
        _ => format!("{what}: {name}{node}, {why}"),
    }
}

/// What was done has a catch, if there are warnings.
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
        "fine behind a proxy that does HTTPS and is listed in web.trusted_proxies; else set tls = \"auto\"",
    )
}

fn certificate(facts: &Facts, now: i64) -> Finding {
    const ABOUT: &str = "certificate";
    let (until, names) = (date(facts.not_after), facts.names.len());
    let says = format!("{} names and addresses, until {until}", names);
    let remedy = match facts.kind {
        Kind::Files => "renew the files of web.certificate and web.key; the daemon takes them by itself",
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
        // A camera that takes its time.
        camera.video.change(|v| v.state = State::Opening);
        let began = tokio::time::Instant::now();
        looked_at(&status).await;
        assert!(began.elapsed() >= LOOKING);
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
