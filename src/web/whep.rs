#![doc = include_str!("whep.md")]

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::{Filter, reply};

use super::access::Visitor;
use super::actions::Action;
use super::auth::Role;
use super::body::{self, Body};
use super::json::{self, Expected};
use super::peer::{Connection, State};
use super::problem::Problem;
use super::proxy::Via;
use super::sessions::Session;
use super::{cameras, query};
use crate::config;
use crate::pipeline::quality::Quality;
use crate::viewer::sdp::fragment::{Credentials, Fragment};
use crate::viewer::{Error, Offer, Signaling, Wanted, ice_servers};

const SDP: &str = "application/sdp";
const SDPFRAG: &str = "application/trickle-ice-sdpfrag";
const JSON: &str = "application/json";
/// Headers that the `http` crate does not define.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A request whose body has not been read.
struct Request {
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    peer: Connection,
    visitor: Visitor,
    body: Body,
}

/// `/whep` and `/whep/{id}`.
pub fn routes(state: &Arc<State>) -> BoxedFilter<(reply::Response,)> {
    let with = |state: &Arc<State>| {
        let state = state.clone();
        warp::any().map(move || state.clone())
    };
    let request = warp::method()
        .and(warp::path::full())
        .and(query::raw())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Connection>())
        .and(warp::ext::get::<Visitor>())
        .and(body::unread())
        .map(|method, path, query, headers, peer, visitor, body| Request {
            method,
            path,
            query,
            headers,
            peer,
            visitor,
            body,
        });
    let whole = warp::path!("whep").and(with(state)).and(request.clone()).then(endpoint);
    let one = warp::path!("whep" / String).and(with(state)).and(request).then(resource);
    whole.or(one).unify().boxed()
}

async fn endpoint(state: Arc<State>, request: Request) -> reply::Response {
    let result = match request.method {
        Method::POST => join(&state, request).await,
        Method::OPTIONS => Ok(empty(
            StatusCode::OK,
            [(header::ALLOW, "GET, HEAD, OPTIONS, POST"), (ACCEPT_POST, SDP), (ACCEPT_PATCH, SDPFRAG)],
        )),
        // GET and HEAD have no content, but players recognise an endpoint by them.
        _ => Ok(empty(StatusCode::OK, [(header::CONTENT_TYPE, SDP), (ACCEPT_POST, SDP)])),
    };
    result.unwrap_or_else(|problem| problem.response())
}

async fn resource(id: String, state: Arc<State>, request: Request) -> reply::Response {
    let result = match request.method {
        // Unknown ids are included: a preflight must succeed, so that the page can read the 404 that follows.
        Method::OPTIONS => Ok(empty(
            StatusCode::OK,
            [
                (header::ALLOW, "DELETE, GET, HEAD, OPTIONS, PATCH"),
                (ACCEPT_POST, SDP),
                (ACCEPT_PATCH, SDPFRAG),
            ],
        )),
        Method::PATCH => patch(&state, &id, request).await,
        Method::DELETE => leave(&state, &id, &request.visitor).await,
        _ => session(&state, &id, &request.visitor)
            .map(|_| empty(StatusCode::NO_CONTENT, [(ACCEPT_PATCH, SDPFRAG)])),
    };
    result.unwrap_or_else(|problem| problem.response())
}

async fn join(state: &State, request: Request) -> Result<reply::Response, Problem> {
    body::expect_type(&request.headers, SDP)
        .map_err(|p| p.with(ACCEPT_POST, HeaderValue::from_static(SDP)))?;
    let cameras = wanted(state, &request)?;
    let limits = &state.limits;
    let (via, path) = (request.peer.via.clone(), request.path);
    let sdp = body::read(&request.headers, request.body, limits.body_bytes, limits.body).await?;
    let principal = request.visitor.required()?;
    let (who, holder) = (principal.who.clone(), principal.holder());
    let (from, to) = (request.peer.remote, Some(request.peer.local));
    // A player that requests sound will play it.
    let offer =
        Offer { sdp, from, to, who, holder, via: Signaling::Whep, sound: true, cameras, listen: None };
    let (session, sdp) = state.sessions.join(principal, offer).await?;
    let mut response = Response::new(sdp.into());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(SDPFRAG));
    headers.insert(header::LOCATION, text(location(&via, path.as_str(), session.id.as_str()))?);
    headers.insert(header::ETAG, text(session.ice.lock().await.etag())?);
    let servers =
        ice_servers(&state.context.settings().ice, state.context.auth.now(), principal.role == Role::Guest);
    for link in links(&servers) {
        headers.append(header::LINK, link);
    }
    Ok(response)
}

/// The wanted cameras and qualities of a player: `camera=front&quality=half`. Several cameras are assigned to the
/// offer's video sections in order.
fn wanted(state: &State, request: &Request) -> Result<Vec<Wanted>, Problem> {
    let quality = query::last(&request.query, "quality").map(|wish| wish.parse()).transpose();
    let quality: Quality =
        quality.map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?.unwrap_or_default();
    let names = query::all(&request.query, "camera");
    let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let who = request.visitor.required()?;
    let wanted = names.into_iter().map(|name| {
        let camera = cameras::find(&state.context, who, Action::Watch, name.as_deref())?;
        Ok(Wanted { mid: None, camera, quality })
    });
    wanted.collect()
}

async fn patch(state: &Arc<State>, id: &str, request: Request) -> Result<reply::Response, Problem> {
    let session = session(state, id, &request.visitor)?;
    if body::expect_type(&request.headers, JSON).is_ok() {
        return play(state, &session, request).await;
    }
    body::expect_type(&request.headers, SDPFRAG)
        .map_err(|p| p.with(ACCEPT_PATCH, HeaderValue::from_static(SDPFRAG)))?;
    let condition = IfMatch::of(&request.headers)?;
    let limits = &state.limits;
    let body = body::read(&request.headers, request.body, limits.body_bytes, limits.body).await?;
    let fragment = Fragment::parse(&body).map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
    // In a separate task, so that a broken connection of the player doesn't leave a restart half done.
    let state = state.clone();
    tokio::spawn(async move { apply(&state, &session, &condition, fragment).await }).await.unwrap_or_else(
        |_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the fragment could not be handled")),
    )
}

/// A viewer's requests other than ICE, which are not in any draft: whether it plays sound, and of which camera; and,
/// for one media section (by default the first or all), the wanted camera and quality, and whether it is paused.
#[derive(Deserialize)]
struct Plays {
    sound: Option<bool>,
    listen: Option<String>,
    mid: Option<String>,
    camera: Option<String>,
    quality: Option<Quality>,
    pause: Option<bool>,
}

impl Expected for Plays {
    const LOOKS: &'static str = r#"{"sound": true or false}, {"listen": "CAMERA"}, {"camera": "CAMERA"}, {"quality": "auto", "full", "half" or "quarter"}, {"mid": "0", "pause": true or false}, or some of these"#;
}

async fn play(state: &State, session: &Session, request: Request) -> Result<reply::Response, Problem> {
    let limits = &state.limits;
    let body = body::read(&request.headers, request.body, limits.body_bytes, limits.body).await?;
    let Plays { sound, listen, mid, camera, quality, pause } =
        json::parse(&body).map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("the body {why}")))?;
    let nothing = (&sound, &listen, &camera, &quality, &pause) == (&None, &None, &None, &None, &None);
    if nothing || (pause.is_some() && mid.is_none()) {
        let says = format!("the body must be {}", Plays::LOOKS);
        return Err(Problem::new(StatusCode::BAD_REQUEST, says));
    }
    let (registry, who) = (&state.context.registry, request.visitor.required()?);
    let named = |name: Option<String>| {
        let find = |name: &str| cameras::find(&state.context, who, Action::Watch, Some(name));
        name.map(|name| find(&name).map(|camera| camera.name.clone())).transpose()
    };
    let (listen, camera, mid) = (named(listen)?, named(camera)?, mid.as_deref());
    if let Some(on) = sound {
        registry.set_sound(&session.id, on)?;
    }
    if let Some(camera) = listen {
        registry.listen(&session.id, &camera).await?;
    }
    if let Some(camera) = camera {
        registry.set_camera(&session.id, mid, &camera).await?;
    }
    if let Some(wish) = quality {
        registry.set_quality(&session.id, mid, wish).await?;
    }
    if let Some((on, mid)) = pause.zip(mid) {
        registry.set_paused(&session.id, mid, on).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT, []))
}

async fn apply(
    state: &State,
    session: &Session,
    condition: &IfMatch,
    fragment: Fragment,
) -> Result<reply::Response, Problem> {
    let registry = &state.context.registry;
    let mut ice = session.ice.lock().await;
    if !condition.holds_for(&ice.etag()) {
        return Err(Error::Stale.into());
    }
    let restart = fragment.credentials.filter(|given| match &ice.remote {
        Some(current) => given != current,
        None => *condition == IfMatch::Any,
    });
    let Some(remote) = restart else {
        for candidate in &fragment.candidates {
            match registry.add_candidate(&session.id, &candidate.value, candidate.mid.as_deref()).await {
                // Candidates that ICE can't use are silently discarded (draft, "Trickle ICE").
                Ok(()) | Err(Error::BadOffer(_) | Error::NotPlayable(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(empty(StatusCode::NO_CONTENT, []));
    };
    let candidates: Vec<_> = fragment
        .candidates
        .into_iter()
        .map(|c| (c.mid.unwrap_or_else(|| ice.skeleton.mid().to_owned()), c.value))
        .collect();
    let ours = registry.restart_fragment(&session.id, &remote.ufrag, &remote.pwd, &candidates).await?;
    ice.restarted(Some(remote));
    let mut values: Vec<&str> = vec![]; // all sections share a transport, which may be listed for each
    for (_, value) in &ours.candidates {
        if !value.is_empty() && !values.contains(&value.as_str()) {
            values.push(value);
        }
    }
    let credentials = Credentials { ufrag: ours.ufrag, pwd: ours.pwd };
    let mut response = Response::new(ice.skeleton.fragment(&credentials, &values).into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SDPFRAG));
    response.headers_mut().insert(header::ETAG, text(ice.etag())?);
    Ok(response)
}

async fn leave(state: &State, id: &str, visitor: &Visitor) -> Result<reply::Response, Problem> {
    let session = session(state, id, visitor)?;
    state.context.registry.leave(&session.id, "left").await?;
    Ok(empty(StatusCode::OK, []))
}

fn session(state: &State, id: &str, visitor: &Visitor) -> Result<Arc<Session>, Problem> {
    state.sessions.get(id, visitor.required()?).ok_or_else(|| Error::Unknown.into())
}

/// The `Location` of a viewer's resource, for a request to `path`, `/whep` or `/whep/`. It is an absolute path, which
/// players understand best, if the client's view of the path is known; otherwise it is relative to the request's URL
/// (RFC 9110 section 10.2.2), which works under any prefix of a proxy.
fn location(via: &Via, path: &str, id: &str) -> String {
    match via {
        Via::Direct => format!("/whep/{id}"),
        Via::Proxy { prefix: Some(prefix), .. } => format!("{prefix}/whep/{id}"),
        Via::Proxy { prefix: None, .. } if path.ends_with('/') => id.to_owned(),
        Via::Proxy { prefix: None, .. } => format!("whep/{id}"),
    }
}

fn empty<const N: usize>(status: StatusCode, headers: [(HeaderName, &'static str); N]) -> reply::Response {
    let mut response = Response::new("".into());
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn text(value: String) -> Result<HeaderValue, Problem> {
    // Viewers' ids and tags are ASCII; if not, this must not panic.
    HeaderValue::try_from(value).map_err(|e| Error::Internal(e.to_string()).into())
}

/// `Link` headers for the ICE servers (RFC 9725 section 4.6, which the draft refers to), one for each URL.
fn links(servers: &[config::IceServer]) -> Vec<HeaderValue> {
    let quoted = |s: &str| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""));
    let link = |url: &String, server: &config::IceServer| {
        let mut link = format!("<{url}>; rel=\"ice-server\"");
        if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
            link += &format!("; username={}; credential={}", quoted(username), quoted(credential));
            link += "; credential-type=\"password\"";
        }
        let value = HeaderValue::from_bytes(link.as_bytes());
        if value.is_err() || url.contains('>') {
            tracing::warn!(
                "can't announce the ICE server {url} to players: its text doesn't fit into a header"
            );
            return None;
        }
        value.ok()
    };
    servers.iter().flat_map(|s| s.urls.iter().filter_map(move |u| link(u, s))).collect()
}

/// `If-Match` (RFC 9110 section 13.1.1).
#[derive(Debug, PartialEq, Eq)]
enum IfMatch {
    /// `*`
    Any,
    /// Strong entity-tags, with their quotes.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Parses the header: 428 if it is missing; 400 if it is not a list of entity-tags; 412 if all are weak, because
    /// those never match.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "name the ICE session with If-Match, or restart with *",
            ));
        }
        let mut all = vec![];
        for line in lines {
            all.extend(tags(&String::from_utf8_lossy(line.as_bytes())).ok_or_else(|| {
                let says =
                    "If-Match is not an entity-tag: send the ETag exactly as received, with its quotes";
                Problem::new(StatusCode::BAD_REQUEST, says)
            })?);
        }
        // The draft's example of a restart writes "*" in quotes, and so do players.
        if all.iter().any(|t| matches!(t.as_str(), "*" | "\"*\"")) {
            return Ok(Self::Any);
        }
        let strong: Vec<_> = all.iter().filter(|t| !t.starts_with("W/")).cloned().collect();
        if strong.is_empty() && !all.is_empty() {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "If-Match has a weak entity-tag (W/...), which never matches: send the ETag exactly as received",
            ));
        }
        Ok(Self::Tags(strong))
    }

    /// Whether `etag` matches by strong comparison: `W/"1"` is not `"1"`.
    fn holds_for(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|t| t == etag),
        }
    }
}

/// The entity-tags (RFC 9110 section 8.8.3) or stars of a line, at least one; `None` for anything else.
fn tags(mut line: &str) -> Option<Vec<String>> {
    let mut tags = vec![];
    loop {
        line = line.trim_start_matches([' ', '\t']);
        let quoted = line.strip_prefix("W/").unwrap_or(line);
        let length = match quoted.strip_prefix('"') {
            Some(rest) => line.len() - quoted.len() + 2 + rest.find('"')?,
            None => line.starts_with('*').then_some(1)?,
        };
        let (tag, rest) = line.split_at(length);
        tags.push(tag.to_owned());
        let rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Some(tags);
        }
        line = rest.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests;
