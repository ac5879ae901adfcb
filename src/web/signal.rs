#![doc = include_str!("signal.md")]

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::upgrade::OnUpgrade;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{Error as SocketError, Utf8Bytes};
use warp::filters::BoxedFilter;
use warp::{Filter, reply};

use super::access::Visitor;
use super::actions::Action;
use super::auth::{Principal, Role};
use super::messages::{CameraTerms, FromPage, Section, Terms, ToPage};
use super::pace::{Pace, Verdict};
use super::peer::{Connection, State};
use super::places::NotKept;
use super::problem::{self, Problem};
use super::sessions::{Notice, Session};
use super::websocket::{Opening, WebSocket};
use super::{Context, Settings, cameras, json, status};
use crate::clock::{Clocks, Pts};
use crate::config::IceServer;
use crate::pipeline::camera::Camera;
use crate::pipeline::quality::Quality;
use crate::viewer::{self, Error, Event, Offer, Signaling, Wanted, ice_servers};

/// Shortest time between status messages: at most five per second.
const STATUS_MIN: Duration = Duration::from_millis(200);
/// How often TURN credentials are renewed: half of their validity, so that a page that stays open for days always has
/// valid ones.
const CREDENTIALS_RENEWED: Duration = Duration::from_secs(12 * 3600);
/// Number of invalid messages after which the socket is closed: our page never sends any.
const MAX_BAD: u32 = 3;

/// WebSockets that one credential may have open in addition to those of its viewers.
const PAGES: usize = 16;

/// Close codes of RFC 6455 section 7.4.1, and one of ours.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const PROTOCOL_ERROR: u16 = 1002;
    pub(super) const POLICY: u16 = 1008;
    pub(super) const TOO_BIG: u16 = 1009;
    /// Our own code (section 7.4.2), modelled on HTTP's 401.
    pub(super) const SIGNED_OUT: u16 = 4401;
}

/// `GET /api/signal`.
pub fn route(state: &Arc<State>) -> BoxedFilter<(reply::Response,)> {
    let state = state.clone();
    warp::path!("api" / "signal")
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Connection>())
        .and(warp::ext::get::<Visitor>())
        .map(move |headers, upgrade, peer, visitor| {
            open(&state, &headers, upgrade, peer, &visitor).unwrap_or_else(|problem| problem.response())
        })
        .boxed()
}

fn open(
    state: &Arc<State>,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    peer: Connection,
    visitor: &Visitor,
) -> Result<reply::Response, Problem> {
    let opening = Opening::of(headers, upgrade).ok_or_else(|| {
        let problem =
            Problem::new(StatusCode::UPGRADE_REQUIRED, "this needs a WebSocket (RFC 6455, version 13)");
        problem.with(UPGRADE, HeaderValue::from_static("websocket"))
    })?;
    let principal = visitor.required()?.clone();
    // As many as may watch with it, and some that only show the page.
    let most = viewer::share(state.context.settings().web.max_viewers) + PAGES;
    peer.place.keep(principal.holder(), peer.source, most).map_err(|why| {
        let says = match why {
            NotKept::Full => "too many pages are open; try again later",
            NotKept::TooMany => {
                "too many pages are open with this link, token or sign-in, or from this address; close some"
            }
            NotKept::TooFast => {
                "this link, token or sign-in opens pages too fast; try again in a few seconds"
            }
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, says).with(RETRY_AFTER, HeaderValue::from_static("5"))
    })?;
    let state = state.clone();
    // Twice the limit is read, so that a message over the limit gets its close code instead of a broken connection.
    Ok(opening.accept(state.limits.message_bytes * 2, move |ws| async move {
        let (pace, now) = (Pace::new(std::time::Instant::now()), Instant::now());
        let status = StatusTimes { sent: now, due: now };
        let given = Given::now(&state.context, &principal);
        Socket { ws, state, peer, principal, given, viewer: None, bad: 0, pace, status }.run().await;
    }))
}

/// `GET /api/hello`: the first message, for a page that can't open a WebSocket and continues with WHEP.
pub fn greeting(context: &Context, visitor: &Visitor) -> reply::Response {
    let principal = match visitor.required() {
        Ok(principal) => principal,
        Err(problem) => return problem.response(),
    };
    match Given::now(context, principal).hello(context.clocks) {
        Ok(text) => status::uncached("application/json", text),
        Err(e) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).response(),
    }
}

/// The facts sent to a page that may change.
struct Given {
    settings: Arc<Settings>,
    /// The media port, and whether it accepts TCP.
    media: (u16, bool),
    cameras: Vec<CameraTerms>,
    /// When the TURN credentials were created, Unix time.
    made: Duration,
    /// Whether the user is a guest; guests don't get fixed passwords of servers.
    guest: bool,
}

impl Given {
    fn now(context: &Context, principal: &Principal) -> Self {
        let port = context.registry.port();
        Self {
            settings: context.settings(),
            media: (port.number(), port.has_tcp()),
            cameras: cameras::terms(context, principal),
            made: context.auth.now(),
            guest: principal.role == Role::Guest,
        }
    }

    fn hello(&self, clocks: Clocks) -> serde_json::Result<String> {
        serde_json::to_string(&ToPage::hello(self.terms(&self.servers()), clocks))
    }

    fn update(&self) -> serde_json::Result<String> {
        serde_json::to_string(&ToPage::Update(self.terms(&self.servers())))
    }

    fn servers(&self) -> Vec<IceServer> {
        ice_servers(&self.settings.ice, self.made, self.guest)
    }

    fn terms<'a>(&'a self, servers: &'a [IceServer]) -> Terms<'a> {
        Terms::new(servers, self.media, &self.cameras)
    }

    /// Whether the page needs `now`: also if the credentials that it has are old, or were created with a wrong clock.
    fn is_outdated(&self, now: &Self) -> bool {
        self.media != now.media
            || self.cameras != now.cameras
            || self.settings.ice.servers != now.settings.ice.servers
            || self.made.abs_diff(now.made) > CREDENTIALS_RENEWED
    }
}

/// One WebSocket.
struct Socket {
    ws: WebSocket,
    state: Arc<State>,
    /// The connection, which also holds its slot.
    peer: Connection,
    /// The principal; the socket is closed when it loses access.
    principal: Principal,
    /// What the page knows.
    given: Given,
    viewer: Option<Attached>,
    bad: u32,
    pace: Pace,
    status: StatusTimes,
}

/// The times of status messages.
struct StatusTimes {
    /// When the last one was sent.
    sent: Instant,
    /// When the next one is due.
    due: Instant,
}

impl StatusTimes {
    /// Something has changed.
    fn soon(&mut self) {
        self.due = self.due.min(self.sent + STATUS_MIN);
    }
}

/// The viewer of a socket.
struct Attached {
    session: Arc<Session>,
    told: mpsc::Receiver<Notice>,
}

/// Why a socket ends.
enum End {
    /// The client is gone, or can't be written to.
    Gone,
    /// The daemon closes the socket.
    Close(u16, &'static str),
}

impl Socket {
    async fn run(mut self) {
        let end = self.converse().await.err();
        // If the daemon closes the socket, the client may still answer; if the client has closed it, that is done
        // already.
        let Some(End::Close(code, reason)) = end else { return };
        let _ = timeout(self.state.limits.close, async {
            let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
            self.ws.send(Message::Close(Some(frame))).await?;
            while self.ws.next().await.transpose()?.is_some() {}
            Ok::<_, SocketError>(())
        })
        .await;
    }

    /// Never returns `Ok`; the viewer outlives the socket.
    async fn converse(&mut self) -> Result<(), End> {
        let context = self.state.context.clone();
        let stop = self.state.stop.clone();
        let limits = self.state.limits;
        let mut changes = context.status.changes();
        let principal = self.principal.clone();
        let mut lost = std::pin::pin!(context.auth.lost(&principal));
        self.put_json(self.given.hello(context.clocks)).await?;
        let mut heard = Instant::now();
        let mut ping_at = heard + limits.ping;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let reason = "the device is shutting down";
                    self.send(&ToPage::Closed { reason }).await?;
                    return Err(End::Close(code::GOING_AWAY, reason));
                }
                reason = &mut lost => {
                    self.send(&ToPage::Closed { reason }).await?;
                    return Err(End::Close(code::SIGNED_OUT, reason));
                }
                told = next_notice(&mut self.viewer) => self.tell(told.ok_or(End::Gone)?).await?,
                () = sleep_until(self.status.due) => {
                    self.inform().await?;
                    self.send(&ToPage::Status(status::public(&context, &principal))).await?;
                    let sent = Instant::now();
                    self.status = StatusTimes { sent, due: sent + limits.status };
                }
                Ok(()) = changes.changed() => self.status.soon(),
                message = self.ws.next() => match message {
                    None => return Err(End::Gone),
                    Some(Err(e)) => {
                        tracing::debug!("signaling with {}: {e}", self.peer.remote);
                        return Err(End::Close(code::PROTOCOL_ERROR, "not a valid WebSocket message"));
                    }
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        self.receive(&message).await?;
                    }
                },
                () = sleep_until(heard + limits.idle) => return Err(End::Gone),
                () = sleep_until(ping_at) => {
                    self.put(Message::Ping(Default::default())).await?;
                    ping_at = Instant::now() + limits.ping;
                }
            }
        }
    }

    async fn receive(&mut self, message: &Message) -> Result<(), End> {
        match self.pace.message(std::time::Instant::now()) {
            Verdict::Handle => {}
            Verdict::Refuse => {
                let message = "messages come too fast; this one was ignored";
                return self.send(&ToPage::Error { status: 429, message }).await;
            }
            Verdict::Close => return Err(End::Close(code::POLICY, "messages come too fast")),
        }
        if message.len() > self.state.limits.message_bytes {
            return Err(End::Close(code::TOO_BIG, "the message is too large"));
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return self.bad("messages must be JSON text").await,
            _ => return Ok(()), // the WebSocket library answers these; nothing follows a close
        };
        match json::parse::<FromPage>(text) {
            Ok(message) => self.handle(message).await,
            Err(why) => self.bad(&format!("the message {why}")).await,
        }
    }

    async fn bad(&mut self, why: &str) -> Result<(), End> {
        self.send(&ToPage::Error { status: 400, message: why }).await?;
        self.bad += 1;
        if self.bad < MAX_BAD { Ok(()) } else { Err(End::Close(code::POLICY, "too many bad messages")) }
    }

    async fn handle(&mut self, message: FromPage) -> Result<(), End> {
        match message {
            FromPage::Clock { t0 } => self.send(&ToPage::Clock { t0, mono_us: Pts::now().as_micros() }).await,
            FromPage::Offer { sdp, sound, quality, cameras, listen } => match self.session() {
                Some(session) => {
                    // Without them it is an ICE restart.
                    let wanted =
                        cameras.map(|cameras| self.wanted(Some(cameras), quality.unwrap_or_default()));
                    match wanted.transpose() {
                        Ok(wanted) => self.renegotiate(&session, sdp, sound, quality, wanted).await,
                        Err(error) => self.refuse(error).await,
                    }
                }
                None => {
                    let wanted = self.wanted(cameras, quality.unwrap_or_default());
                    let heard =
                        listen.map(|name| self.camera(Some(&name)).map(|c| c.name.clone())).transpose();
                    match wanted.and_then(|wanted| Ok((wanted, heard?))) {
                        Ok((wanted, listen)) => self.join(sdp, sound.unwrap_or(false), wanted, listen).await,
                        Err(error) => self.refuse(error).await,
                    }
                }
            },
            FromPage::Resume { viewer } => match self.state.sessions.get(&viewer, &self.principal) {
                Some(session) => {
                    self.viewer = Some(Attached { told: session.attach(), session });
                    self.send(&ToPage::Resumed).await
                }
                None => self.refuse(Error::Unknown).await,
            },
            // The other messages concern a viewer. Without one, the page sent them before it read of a refusal or of
            // the viewer's end.
            FromPage::Candidate { candidate, mid } => {
                let Some(session) = self.session() else { return Ok(()) };
                let registry = &self.state.context.registry;
                let added = registry.add_candidate(&session.id, &candidate, mid.as_deref()).await;
                self.refuse_if(added).await
            }
            FromPage::Sound { on } => {
                let Some(session) = self.session() else { return Ok(()) };
                let set = self.state.context.registry.set_sound(&session.id, on);
                self.refuse_if(set).await
            }
            FromPage::Quality { quality, mid } => {
                let Some(session) = self.session() else { return Ok(()) };
                let set = self.state.context.registry.set_quality(&session.id, mid.as_deref(), quality).await;
                self.refuse_if(set).await
            }
            FromPage::Camera { mid, camera } => {
                let Some(session) = self.session() else { return Ok(()) };
                let set = match self.camera(Some(&camera)) {
                    Ok(camera) => {
                        let registry = &self.state.context.registry;
                        registry.set_camera(&session.id, mid.as_deref(), &camera.name).await
                    }
                    Err(error) => Err(error),
                };
                self.refuse_if(set).await
            }
            FromPage::Listen { camera } => {
                let Some(session) = self.session() else { return Ok(()) };
                let set = match self.camera(Some(&camera)) {
                    Ok(camera) => self.state.context.registry.listen(&session.id, &camera.name).await,
                    Err(error) => Err(error),
                };
                self.refuse_if(set).await
            }
            FromPage::Pause { mid, on } => {
                let Some(session) = self.session() else { return Ok(()) };
                let set = self.state.context.registry.set_paused(&session.id, &mid, on).await;
                self.refuse_if(set).await
            }
            FromPage::Bye => {
                if let Some(Attached { session, .. }) = self.viewer.take() {
                    let _ = self.state.context.registry.leave(&session.id, "left").await; // it may be gone already
                }
                Ok(())
            }
        }
    }

    /// The cameras that an offer is for.
    fn wanted(&self, sections: Option<Vec<Section>>, quality: Quality) -> Result<Vec<Wanted>, Error> {
        let Some(sections) = sections else {
            return Ok(vec![Wanted { mid: None, camera: self.camera(None)?, quality }]);
        };
        let wanted = sections.into_iter().map(|Section { mid, camera, quality: own }| {
            let camera = self.camera(Some(&camera))?;
            Ok(Wanted { mid: Some(mid), camera, quality: own.unwrap_or(quality) })
        });
        wanted.collect()
    }

    /// The camera with this name, or the first one, if the principal may watch it.
    fn camera(&self, name: Option<&str>) -> Result<Arc<Camera>, Error> {
        let found = cameras::find(&self.state.context, &self.principal, Action::Watch, name);
        found.map_err(|problem| Error::BadOffer(problem.detail.into_owned()))
    }

    async fn join(
        &mut self,
        sdp: String,
        sound: bool,
        cameras: Vec<Wanted>,
        listen: Option<String>,
    ) -> Result<(), End> {
        let (who, holder) = (self.principal.who.clone(), self.principal.holder());
        let (from, to) = (self.peer.remote, Some(self.peer.local));
        let offer = Offer { sdp, from, to, who, holder, via: Signaling::Page, sound, cameras, listen };
        match self.state.sessions.join(&self.principal, offer).await {
            Ok((session, sdp)) => {
                self.viewer = Some(Attached { told: session.attach(), session: session.clone() });
                self.send(&ToPage::Answer { viewer: session.id.as_str(), sdp: &sdp }).await
            }
            Err(error) => self.refuse(error).await,
        }
    }

    async fn renegotiate(
        &mut self,
        session: &Session,
        sdp: String,
        sound: Option<bool>,
        quality: Option<Quality>,
        cameras: Option<Vec<Wanted>>,
    ) -> Result<(), End> {
        let quality = quality.filter(|_| cameras.is_none()); // else each section has its own
        let mut ice = session.ice.lock().await;
        let renegotiated = self.state.context.registry.renegotiate(&session.id, &sdp, cameras).await;
        if let Ok(answer) = &renegotiated {
            ice.renegotiated(&sdp, answer);
        }
        drop(ice);
        match renegotiated {
            Ok(answer) => {
                self.send(&ToPage::Answer { viewer: session.id.as_str(), sdp: &answer }).await?;
                let registry = self.state.context.registry.clone();
                if let Some(on) = sound {
                    self.refuse_if(registry.set_sound(&session.id, on)).await?;
                }
                match quality {
                    Some(wish) => self.refuse_if(registry.set_quality(&session.id, None, wish).await).await,
                    None => Ok(()),
                }
            }
            Err(error) => self.refuse(error).await,
        }
    }

    async fn tell(&mut self, told: Notice) -> Result<(), End> {
        match told {
            Notice::Event(Event::Candidate { candidate, mid }) => {
                self.send(&ToPage::Candidate { candidate: &candidate, mid: &mid }).await
            }
            Notice::Event(Event::Restart(why)) => self.send(&ToPage::Restart { why: &why }).await,
            Notice::Event(Event::Gets) => {
                self.status.soon(); // it says which
                Ok(())
            }
            Notice::Event(Event::Connected) => self.send(&ToPage::Connected).await,
            Notice::Event(Event::Closed(reason)) => {
                self.viewer = None;
                self.send(&ToPage::Closed { reason: &reason }).await
            }
            Notice::TakenOver => Err(End::Close(code::NORMAL, "another socket took the viewer over")),
        }
    }

    async fn refuse_if(&mut self, result: Result<(), Error>) -> Result<(), End> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(error).await,
        }
    }

    async fn refuse(&mut self, error: Error) -> Result<(), End> {
        if matches!(error, Error::Unknown) {
            self.viewer = None; // the next offer joins again
        }
        self.inform().await?; // what has changed may be the reason
        let status = problem::status(&error).as_u16();
        self.send(&ToPage::Error { status, message: &error.to_string() }).await
    }

    /// Sends the facts that have changed.
    async fn inform(&mut self) -> Result<(), End> {
        let now = Given::now(&self.state.context, &self.principal);
        if self.given.is_outdated(&now) {
            self.put_json(now.update()).await?;
            self.given = now;
        }
        Ok(())
    }

    async fn send(&mut self, message: &ToPage<'_>) -> Result<(), End> {
        self.put_json(serde_json::to_string(message)).await
    }

    async fn put_json(&mut self, text: serde_json::Result<String>) -> Result<(), End> {
        let text = text.map_err(|e| {
            tracing::error!("a message can't be written as JSON: {e}");
            End::Gone
        })?;
        self.put(Message::text(text)).await
    }

    async fn put(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.state.limits.write, self.ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.viewer.as_ref().map(|v| v.session.clone())
    }
}

/// The next notice of the viewer; waits forever without a viewer. `None`: this socket was too slow to get all notices,
/// so a new one has to resume.
async fn next_notice(viewer: &mut Option<Attached>) -> Option<Notice> {
    match viewer {
        Some(attached) => attached.told.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
