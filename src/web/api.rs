//! The page's JSON API: signing in, guest links and privacy.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/session` | the session: see below |
//! | `POST /api/pair {"secret","password","keep_links":false}` | 204 and cookies: the owner, signed in; see below |
//! | `POST /api/pair {"secret"}` | 204: the pairing link is valid, and stays valid; 401 |
//! | `POST /api/login {"password"}` | 200, cookies and the session; 401; 429 with `Retry-After` |
//! | `POST /api/guest {"secret"}` | 200, a cookie and the session; 401 |
//! | `POST /api/logout {"everywhere":false}` | 204; `everywhere` ends all sessions of the same password |
//! | `POST /api/password {"old","new","role","keep_links":false}` | 204; `role`: `owner` or `viewer`; `new` "" removes the viewers' password |
//! | `GET /api/issued` | `{"guests":["LABEL"],"tokens":["NAME"],"household":true}`: what a new owner password ends, and whether there is a household password |
//! | `GET /api/guests` | `[{"id","label","cameras","created_unix","expires_unix"}]`; `cameras` null: all |
//! | `POST /api/guests {"label","hours","cameras"}` | 201, `{"id","secret","expires_unix"}`: the page builds the link; `cameras`: names of the allowed cameras, by default all |
//! | `DELETE /api/guests/{id}` | 204 |
//! | `POST /api/guests/{id} {}` | 204: restores the link that was revoked last; 404 if that was more than 20 s ago |
//! | `POST /api/qr {"text"}` | `{"size","path"}`: the text as a QR code of `size` modules each way; `path` is the `d` of an SVG path, a module being 1 |
//! | `POST /api/privacy {"on","camera"}` | 204: with `on`, the camera is closed, with the microphone that no other camera uses, and nothing of them is sent anymore; without `camera`: all are |
//!
//! A new owner password ends all guest links and tokens, unless `keep_links` is true; the first owner's password ends
//! none.
//!
//! Restrictions (privacy, revoking, logout) apply even if the state can't be written, or a device does not close in
//! time; then the answer is 200 and `{"warning": "one sentence"}` instead of 204.
//!
//! The session:
//!
//! ```json
//! {"state": "signed-in", "role": "owner", "name": "owner", "privacy": false, "version": "0.1.0", "secure": true,
//!  "certificate": {"kind": "device", "fingerprint": "AB:CD:..."}}
//! ```
//!
//! `state` is `unpaired` (no owner yet), `signed-out` or `signed-in`. Unless signed in, `role` is null and `name`,
//! `privacy`, `version` and `certificate` are missing. `secure`: whether the connection protects typed passwords.
//! `certificate`: the one that `peercam status` shows, null over plain HTTP; its `kind` is `device` if the device made
//! it, otherwise `files`.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE};
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::{Filter, reply};

use super::access::Visitor;
use super::actions::Action;
use super::auth::{self, Auth, DEVICE_S, NewPassword, Principal, Role, SESSION_S, SignedIn};
use super::body::{self, Body};
use super::cookies::Cookie;
use super::json::{self, Expected};
use super::limits::Limits;
use super::peer::{Connection, State};
use super::problem::Problem;
use super::proxy::{Scheme, Via};
use super::{Context, cameras, privacy, qr};
use crate::state::Scope;

/// Largest body, bytes: it contains passwords and labels.
const BODY_BYTES: usize = 4096;

#[derive(Deserialize)]
struct Pair {
    secret: String,
    password: Option<String>,
    #[serde(default)]
    keep_links: bool,
}

#[derive(Deserialize)]
struct Login {
    password: String,
}

#[derive(Deserialize)]
struct Guest {
    secret: String,
}

#[derive(Deserialize)]
struct Logout {
    #[serde(default)]
    everywhere: bool,
}

#[derive(Deserialize)]
struct Password {
    old: String,
    new: String,
    role: Role,
    #[serde(default)]
    keep_links: bool,
}

#[derive(Deserialize)]
struct NewGuest {
    label: String,
    hours: u64,
    cameras: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Qr {
    text: String,
}

#[derive(Deserialize)]
struct Privacy {
    on: bool,
    camera: Option<String>,
}

impl Expected for Pair {
    const LOOKS: &'static str = r#"{"secret": "...", "password": "..."}"#;
}
impl Expected for Login {
    const LOOKS: &'static str = r#"{"password": "..."}"#;
}
impl Expected for Guest {
    const LOOKS: &'static str = r#"{"secret": "..."}"#;
}
impl Expected for Logout {
    const LOOKS: &'static str = r#"{} or {"everywhere": true}"#;
}
impl Expected for Password {
    const LOOKS: &'static str = r#"{"old": "...", "new": "...", "role": "owner" or "viewer"}"#;
}
impl Expected for NewGuest {
    const LOOKS: &'static str =
        r#"{"label": "...", "hours": a number from 1 to 8760}, with "cameras": ["NAME"] for some only"#;
}
impl Expected for Qr {
    const LOOKS: &'static str = r#"{"text": "..."}"#;
}
impl Expected for Privacy {
    const LOOKS: &'static str = r#"{"on": true or false}, with "camera": "NAME" for one only"#;
}

/// An admitted request.
struct Request {
    state: Arc<State>,
    peer: Connection,
    visitor: Visitor,
}

/// All routes below `/api` except signaling and status.
pub fn routes(state: &Arc<State>) -> BoxedFilter<(reply::Response,)> {
    let state = state.clone();
    warp::path("api")
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::ext::get::<Connection>())
        .and(warp::ext::get::<Visitor>())
        .and(warp::header::headers_cloned())
        .and(body::unread())
        .and_then(move |method: Method, path: FullPath, peer, visitor, headers, body| {
            let request = Request { state: state.clone(), peer, visitor };
            async move {
                request
                    .answer(&method, path.as_str(), &headers, body)
                    .await
                    .ok_or_else(warp::reject::not_found)
            }
        })
        .boxed()
}

impl Request {
    /// Answers the request; `None` if it belongs to a different route.
    async fn answer(
        self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Option<reply::Response> {
        let answer = match (method.as_str(), path) {
            ("GET", "/api/session") => Ok(self.session(self.visitor.principal())),
            ("GET", "/api/issued") => Ok(json_response(StatusCode::OK, &self.auth().issued())),
            ("GET", "/api/guests") => Ok(json_response(StatusCode::OK, &json!(self.auth().guests()))),
            ("DELETE", _) => self.revoke_guest(path.strip_prefix("/api/guests/")?).await,
            ("POST", _) => match text(headers, body, &self.state.limits).await {
                Ok(body) => self.post(path, &body).await?,
                Err(problem) => Err(problem),
            },
            _ => return None,
        };
        Some(answer.unwrap_or_else(|problem| problem.response()))
    }

    async fn post(self, path: &str, body: &str) -> Option<Result<reply::Response, Problem>> {
        Some(match path {
            "/api/pair" => self.pair(body).await,
            "/api/login" => self.login(body).await,
            "/api/guest" => self.guest(body),
            "/api/logout" => self.logout(body).await,
            "/api/password" => self.password(body).await,
            "/api/guests" => self.add_guest(body).await,
            "/api/privacy" => self.privacy(body).await,
            "/api/qr" => qr(body),
            _ => self.restore_guest(path.strip_prefix("/api/guests/")?).await,
        })
    }

    fn session(&self, principal: Option<&Principal>) -> reply::Response {
        let state = match principal {
            _ if !self.auth().paired() => "unpaired",
            None => "signed-out",
            Some(_) => "signed-in",
        };
        let mut facts =
            json!({"state": state, "role": principal.map(|p| p.role), "secure": self.is_secure()});
        if let Some(principal) = principal {
            facts["name"] = json!(principal.who);
            facts["privacy"] = json!(self.auth().state().privacy().borrow().all);
            facts["version"] = json!(env!("CARGO_PKG_VERSION"));
            let certificate = self.state.context.settings().tls.as_ref().map(|tls| tls.facts());
            facts["certificate"] =
                json!(certificate.map(|c| json!({"kind": c.kind, "fingerprint": c.fingerprint})));
        }
        json_response(StatusCode::OK, &facts)
    }

    async fn pair(&self, body: &str) -> Result<reply::Response, Problem> {
        if !self.is_secure() {
            let says = "a password can't be set over plain HTTP, where others may read it; use https://";
            return Err(Problem::new(StatusCode::FORBIDDEN, says));
        }
        let Pair { secret, password, keep_links } = parse(body)?;
        let Some(password) = password else {
            self.auth().may_pair(&secret, self.peer.remote.ip())?;
            return Ok(empty());
        };
        let password = NewPassword { text: &password, keep_links };
        let signed_in = self.auth().pair_by(&secret, password, self.browser()).await?;
        Ok(self.signed_in(empty(), &signed_in))
    }

    async fn login(&self, body: &str) -> Result<reply::Response, Problem> {
        let Login { password } = parse(body)?;
        let signed_in = self.auth().login(&password, self.browser(), self.visitor.principal()).await?;
        Ok(self.signed_in(self.session(Some(&signed_in.principal)), &signed_in))
    }

    fn guest(&self, body: &str) -> Result<reply::Response, Problem> {
        let Guest { secret } = parse(body)?;
        let (principal, left_s) = self.auth().guest(&secret, self.peer.remote.ip())?;
        self.peer.place.known(Some(principal.holder()));
        let mut response = self.session(Some(&principal));
        self.set(&mut response, Cookie::Session, &secret, left_s);
        Ok(response)
    }

    async fn logout(&self, body: &str) -> Result<reply::Response, Problem> {
        let Logout { everywhere } = parse(body)?;
        self.auth().logout(self.visitor.required()?, everywhere).await?;
        let mut response = self.done();
        self.set(&mut response, Cookie::Session, "", 0);
        Ok(response)
    }

    async fn password(&self, body: &str) -> Result<reply::Response, Problem> {
        let Password { old, new, role, keep_links } = parse(body)?;
        let (owner, address) = (self.visitor.required()?, self.peer.remote.ip());
        let new = NewPassword { text: &new, keep_links };
        self.auth().change_password(owner, &old, role, new, address).await?;
        Ok(self.done())
    }

    async fn add_guest(&self, body: &str) -> Result<reply::Response, Problem> {
        let NewGuest { label, hours, cameras } = parse(body)?;
        let cameras = self.scope(cameras)?;
        let auth::NewGuest { id, secret, expires_unix } =
            self.auth().add_guest(&label, hours, cameras).await?;
        let made = json!({"id": id, "secret": secret, "expires_unix": expires_unix});
        Ok(json_response(StatusCode::CREATED, &made))
    }

    /// The scope for the cameras with these names, or for all. Fails if a camera does not exist.
    fn scope(&self, names: Option<Vec<String>>) -> Result<Scope, Problem> {
        let Some(names) = names else { return Ok(Scope::ALL) };
        let (context, owner) = (&self.state.context, self.visitor.required()?);
        names
            .iter()
            .try_for_each(|name| cameras::find(context, owner, Action::Watch, Some(name)).map(drop))?;
        match names.is_empty() {
            true => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "the link needs at least one camera; to allow all, leave \"cameras\" out",
            )),
            false => Ok(Scope::only(names)),
        }
    }

    async fn revoke_guest(&self, id: &str) -> Result<reply::Response, Problem> {
        self.auth().revoke_guest(id).await?;
        Ok(self.done())
    }

    async fn restore_guest(&self, id: &str) -> Result<reply::Response, Problem> {
        self.auth().restore_guest(id).await?;
        Ok(self.done())
    }

    async fn privacy(&self, body: &str) -> Result<reply::Response, Problem> {
        let Privacy { on, camera } = parse(body)?;
        let context = &*self.state.context;
        if let Some(name) = &camera {
            cameras::find(context, self.visitor.required()?, Action::Hide, Some(name))?;
        }
        let Context { auth, registry, cameras, status, .. } = context;
        let warnings = privacy::Of { auth, registry, cameras, status }.switch(on, camera.as_deref()).await?;
        let (address, state) = (self.peer.remote.ip(), if on { "on" } else { "off" });
        match camera {
            Some(camera) => tracing::info!(%address, camera, "privacy of {camera} is now {state}"),
            None => tracing::info!(%address, "privacy is now {state}"),
        }
        Ok(warned(warnings))
    }

    /// 204, or 200 with a warning if the state can't be written.
    fn done(&self) -> reply::Response {
        warned(self.auth().unwritten().into_iter().collect())
    }

    fn auth(&self) -> &Auth {
        &self.state.context.auth
    }

    fn browser(&self) -> auth::Browser<'_> {
        auth::Browser { address: self.peer.remote.ip(), device: self.visitor.cookies.device.as_deref() }
    }

    /// Whether the connection can't be read by others on its way.
    fn is_secure(&self) -> bool {
        // If a proxy hides its client, this address is the proxy's own.
        let hidden = matches!(self.peer.via, Via::Proxy { hidden: true, .. });
        let here = !hidden && self.peer.remote.ip().to_canonical().is_loopback();
        self.peer.scheme == Scheme::Https || here
    }

    /// Sets the cookies of a new session, and protects its connection.
    fn signed_in(&self, mut response: reply::Response, signed_in: &SignedIn) -> reply::Response {
        self.peer.place.known(Some(signed_in.principal.holder()));
        self.set(&mut response, Cookie::Session, &signed_in.session, SESSION_S);
        self.set(&mut response, Cookie::Device, &signed_in.device, DEVICE_S);
        response
    }

    fn set(&self, response: &mut reply::Response, cookie: Cookie, secret: &str, max_age_s: u64) {
        if let Some(value) = cookie.set(self.peer.scheme, secret, max_age_s) {
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
}

async fn text(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<String, Problem> {
    body::expect_type(headers, "application/json")?;
    body::read(headers, body, BODY_BYTES, limits.body).await
}

fn qr(body: &str) -> Result<reply::Response, Problem> {
    let Qr { text } = parse(body)?;
    let drawn = qr::Qr::of(&text).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "\"text\" is too long for a QR code: at most 2953 bytes fit")
    })?;
    Ok(json_response(StatusCode::OK, &json!(drawn)))
}

fn parse<T: Expected>(body: &str) -> Result<T, Problem> {
    json::parse(body).map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("the body {why}")))
}

/// 204, or 200 with the warnings.
fn warned(warnings: Vec<String>) -> reply::Response {
    match warnings.is_empty() {
        true => empty(),
        false => json_response(StatusCode::OK, &json!({"warning": warnings.join("; ")})),
    }
}

fn empty() -> reply::Response {
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn json_response(status: StatusCode, value: &Value) -> reply::Response {
    let mut response = Response::new(value.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
