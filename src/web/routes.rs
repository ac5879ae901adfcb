//! All routes, and the steps that every request and response passes.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};
use hyper::service::Service;
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection, Reply as _, reply};

use super::access::{self, Visitor};
use super::actions::Action;
use super::auth::Principal;
use super::guard::{self, Area, Caller};
use super::machine::Here;
use super::peer::{Connection, State};
use super::problem::Problem;
use super::problem_page::{self, Reached};
use super::proxy;
use super::{api, cameras, page, query, signal, status, tls, whep};
use crate::pipeline::snapshot;
use crate::privacy::Private;

/// The routes. A request that matches none gets 404.
pub(super) fn routes(state: &Arc<State>) -> BoxedFilter<(reply::Response,)> {
    let with = |state: &Arc<State>| {
        let state = state.clone();
        warp::any().map(move || state.clone())
    };
    let facts = warp::path!("api" / "status")
        .and(with(state))
        .and(warp::ext::get::<Visitor>())
        .map(|state: Arc<State>, visitor| status::response(&state.context, &visitor));
    let hello = warp::path!("api" / "hello")
        .and(with(state))
        .and(warp::ext::get::<Visitor>())
        .map(|state: Arc<State>, visitor| signal::greeting(&state.context, &visitor));
    let health = warp::path!("healthz")
        .and(with(state))
        .map(|state: Arc<State>| status::health(&state.context, state.stop.is_cancelled()));
    let authority = warp::path!("api" / "ca.pem")
        .and(with(state))
        .map(|state: Arc<State>| tls::authority(state.context.settings().tls.as_deref()));
    let picture = warp::path!("snapshot.jpg")
        .and(with(state))
        .and(warp::ext::get::<Visitor>())
        .and(query::raw())
        .then(picture);
    page::routes()
        .or(signal::route(state))
        .unify()
        .or(whep::routes(state))
        .unify()
        .or(facts)
        .unify()
        .or(hello)
        .unify()
        .or(health)
        .unify()
        .or(authority)
        .unify()
        .or(picture)
        .unify()
        .or(api::routes(state))
        .unify()
        .recover(|rejection: Rejection| async move { Ok::<_, Infallible>(refuse(&rejection).response()) })
        .unify()
        .boxed()
}

fn refuse(rejection: &Rejection) -> Problem {
    match rejection.find::<Problem>() {
        Some(problem) => problem.clone(),
        None if rejection.is_not_found() => Problem::new(StatusCode::NOT_FOUND, "not found"),
        None => Problem::new(StatusCode::BAD_REQUEST, "bad request"),
    }
}

/// Size of the pieces in which a picture is sent, bytes: privacy stops it between two pieces.
const PIECE: usize = 16 * 1024;

async fn picture(state: Arc<State>, visitor: Visitor, query: String) -> reply::Response {
    let wanted = query::last(&query, "camera");
    let find = |who| cameras::find(&state.context, who, Action::Snapshot, wanted.as_deref());
    let camera = visitor.required().and_then(find);
    let camera = match camera {
        Ok(camera) => camera,
        Err(problem) => return problem.response(),
    };
    let private = Private::of(state.context.auth.state().privacy(), &camera.name);
    let taken = camera.snapshots.take().await;
    match taken.and_then(|jpeg| if private.is_on() { Err(snapshot::Error::Private) } else { Ok(jpeg) }) {
        Ok(jpeg) => {
            let length = jpeg.len();
            let pieces = stream::iter((0..length).step_by(PIECE)).map(move |at| match private.is_on() {
                true => Err(snapshot::Error::Private), // the connection ends
                false => Ok(jpeg.slice(at..length.min(at + PIECE))),
            });
            let mut response = reply::stream(pieces).into_response();
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => Problem::from(error).response(),
    }
}

/// Answers one request: first the guard and the access table, then the routes, then the headers of all responses.
pub(super) async fn answer<S, B>(
    service: S,
    state: Arc<State>,
    peer: Connection,
    mut request: Request<B>,
) -> reply::Response
where
    S: Service<Request<B>, Response = reply::Response, Error = Infallible>,
{
    let settings = state.context.settings();
    let web = &settings.web;
    let client = proxy::client(request.headers(), web, peer.remote.ip(), peer.scheme);
    let peer = peer.of(&client, &state.context.links);
    let path = request.uri().path();
    let area = if path == "/whep" || path.starts_with("/whep/") { Area::Shared } else { Area::Own };
    let machine = Here { local: peer.local, announced: state.context.announced.clone() };
    let caller = guard::check(request.uri(), request.headers(), &client, area, web, &machine);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let reached = Reached::of(request.method(), request.headers(), &peer);
    let visitor = caller.clone().and_then(|caller| {
        has_path(request.uri())?;
        let auth = &state.context.auth;
        access::admit(request.method(), request.uri().path(), request.headers(), caller, peer.scheme, auth)
    });
    let principal = visitor.as_ref().ok().and_then(Visitor::principal);
    peer.place.known(principal.map(Principal::holder));
    let mut response = match visitor {
        Ok(visitor) => {
            if request.version() < Version::HTTP_11 {
                request.headers_mut().remove(header::UPGRADE); // RFC 9110 section 7.8
            }
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(visitor);
            match service.call(request).await {
                Ok(response) => response,
            }
        }
        Err(problem) => {
            tracing::debug!("refused a request from {}: {}", peer.remote, problem.detail);
            problem.response()
        }
    };
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some((problem, reached)) = problem.zip(reached) {
        response = problem_page::page(&problem, response, &reached);
    }
    let headers = response.headers_mut();
    protect(headers);
    if area == Area::Shared {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let (Ok(Caller::Listed), Some(origin)) = (caller, origin) {
            share(headers, origin, preflight);
        }
    }
    response
}

/// Refuses a target in authority form (`CONNECT host:port`). It has no path, and warp 0.4.3 panics when it reads the
/// path (`http` 1.5 does not accept "" as a path).
fn has_path(target: &Uri) -> Result<(), Problem> {
    match target.path_and_query() {
        Some(_) => Ok(()),
        None => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "the request has no path; this server is not a proxy"))
        }
    }
}

/// Headers that restrict what browsers do with responses. `same-origin` keeps foreign pages from showing the snapshot,
/// which can be fetched without `Origin`.
fn protect(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, page::POLICY), // the page itself has its own
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"), // frame-ancestors, for old browsers
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // By default responses depend on the user; the page's files set their own value.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Adds CORS headers (<https://fetch.spec.whatwg.org/#http-cors-protocol>) for a page of `web.origins`.
fn share(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let further: &[_] = if preflight {
        &[
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, if-match, authorization"),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ]
    } else {
        &[(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "location, link, etag, accept-patch, accept-post, retry-after",
        )]
    };
    for (name, value) in further {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
