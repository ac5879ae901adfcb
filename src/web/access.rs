//! The access table: the [action](super::actions) that each route belongs to. It is checked before any route, and
//! routes that are not in it can't be reached.
//!
//! A request is authenticated by a token (`Authorization: Bearer`) or a cookie. Some players and programs can send only
//! a user name and a password (go2rtc, and with it Home Assistant and Frigate). For them, WHEP and the snapshot also
//! accept a token as the password of `Authorization: Basic`, with any user name. The server never asks for it
//! (`WWW-Authenticate`), so a browser sends it by itself only if a proxy in front has asked: a password that is not a
//! token is rejected, and next to another credential it is ignored.
//!
//! A browser also sends cookies with requests of foreign pages, so cookies count only in requests of the device's own
//! page:
//!
//! - `Sec-Fetch-Site`, which browsers send only to HTTPS and localhost, must be `same-origin` or `none` if present;
//! - `Origin` must be the device's own if present ([`super::guard`] checks that; pages of `web.origins` need a token);
//! - requests that change something, and WebSockets, need one of the two. All browsers send `Origin` with those.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, UPGRADE, WWW_AUTHENTICATE};
use http::{Method, StatusCode, header};

use super::actions::{Action, Who};
use super::auth::{Auth, Principal, Role};
use super::cookies::Cookies;
use super::guard::Caller;
use super::page;
use super::problem::Problem;
use super::proxy::Scheme;

/// The paths of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The page's files: [`page::has`].
    Page,
    /// This path.
    Is(&'static str),
    /// This path, a slash, and any one segment.
    Below(&'static str),
}

/// One row of the table: methods, path, action.
#[derive(Clone, Copy, Debug)]
pub struct Row(pub &'static [&'static str], pub Path, pub Action);

use Action::{Grant, Hide, Knock, Open, Pair, SignIn, SignOut, Snapshot, Watch};
use Path::{Below, Is, Page};

/// The access table.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    Row(&["GET", "HEAD"],                    Page,                   Open),
    Row(&["GET"],                            Is("/api/session"),     Open),
    Row(&["POST"],                           Is("/api/pair"),        Pair),
    Row(&["POST"],                           Is("/api/login"),       SignIn),
    Row(&["POST"],                           Is("/api/guest"),       SignIn),
    Row(&["POST"],                           Is("/api/logout"),      SignOut),
    Row(&["POST"],                           Is("/api/password"),    Grant),
    Row(&["GET", "POST"],                    Is("/api/guests"),      Grant),
    Row(&["DELETE", "POST"],                 Below("/api/guests"),   Grant),
    Row(&["GET"],                            Is("/api/issued"),      Grant),
    Row(&["POST"],                           Is("/api/privacy"),     Hide),
    Row(&["POST"],                           Is("/api/qr"),          Grant),
    Row(&["GET", "HEAD"],                    Is("/api/ca.pem"),      Knock),
    Row(&["GET"],                            Is("/api/signal"),      Watch),
    Row(&["GET"],                            Is("/api/hello"),       Watch),
    Row(&["GET", "HEAD"],                    Is("/api/status"),      Watch), // the content depends on the role
    Row(&["GET", "HEAD"],                    Is("/snapshot.jpg"),    Snapshot),
    Row(&["OPTIONS"],                        Is("/whep"),            Knock), // preflights carry no credentials
    Row(&["GET", "HEAD", "POST"],            Is("/whep"),            Watch),
    Row(&["OPTIONS"],                        Is("/whep/"),           Knock), // as people write it
    Row(&["GET", "HEAD", "POST"],            Is("/whep/"),           Watch),
    Row(&["OPTIONS"],                        Below("/whep"),         Knock),
    Row(&["DELETE", "GET", "HEAD", "PATCH"], Below("/whep"),         Watch),
    Row(&["GET", "HEAD"],                    Is("/healthz"),         Knock),
];

impl Path {
    fn covers(self, path: &str) -> bool {
        match self {
            Page => page::has(path),
            Is(it) => path == it,
            Below(it) => {
                let segment = path.strip_prefix(it).and_then(|rest| rest.strip_prefix('/'));
                segment.is_some_and(|s| !s.is_empty() && !s.contains('/'))
            }
        }
    }
}

/// The sender of a request, as far as known.
#[derive(Clone, Debug)]
pub struct Visitor {
    principal: Option<Principal>,
    /// The browser's cookies.
    pub cookies: Cookies,
}

impl Visitor {
    /// The principal, if known.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The principal, for actions that need one.
    ///
    /// # Errors
    /// 401 if there is none; the table refuses such requests before.
    pub fn required(&self) -> Result<&Principal, Problem> {
        self.principal.as_ref().ok_or_else(|| sign_in(false))
    }
}

/// Admits a request, or says why not. `caller` is the result of [`super::guard`].
///
/// # Errors
/// 401 without a valid credential; 403 without permission, for cross-site requests, and while there is no owner; 404
/// and 405 for unknown paths and methods.
pub fn admit(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    caller: Caller,
    scheme: Scheme,
    auth: &Auth,
) -> Result<Visitor, Problem> {
    let token = bearer(headers);
    // With a token, cookies are ignored.
    let mut cookies = if token.is_some() { Cookies::default() } else { Cookies::of(headers, scheme) };
    let mut basic =
        if token.is_none() && cookies.session.is_none() && takes_basic(path) { basic(headers) } else { None };
    let changes = !method.is_safe() || headers.contains_key(UPGRADE);
    match RequestOrigin::of(headers, caller) {
        RequestOrigin::Ours => (),
        RequestOrigin::Foreign if changes && caller == Caller::Own => return Err(foreign()),
        RequestOrigin::Foreign => {
            cookies = Cookies::default();
            // A page of `web.origins` has set it itself. For other pages the browser may have added it.
            basic = basic.filter(|_| caller == Caller::Listed);
        }
        RequestOrigin::Unknown if changes && cookies.any() => return Err(foreign()),
        RequestOrigin::Unknown => (),
    }
    let principal = match token.or(basic.as_deref()) {
        Some(token) => auth.by_token(token),
        None => cookies.session.as_deref().and_then(|secret| auth.by_cookie(secret)),
    };
    decide(method.as_str(), path, auth.paired(), principal.as_ref().map(|p| p.role))?;
    Ok(Visitor { principal, cookies })
}

/// Looks up the table.
fn decide(method: &str, path: &str, paired: bool, role: Option<Role>) -> Result<(), Problem> {
    let here = || TABLE.iter().filter(|Row(_, at, _)| at.covers(path));
    let action = here().find(|Row(methods, ..)| methods.contains(&method)).map(|Row(.., action)| *action);
    match action.map(Action::who) {
        Some(Who::Anybody) => Ok(()),
        _ if !paired => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this device has no owner yet: open the pairing link that it printed, or run `peercam pair` on it",
        )),
        Some(Who::OncePaired) => Ok(()),
        Some(Who::From(least)) => match role {
            Some(role) if role >= least => Ok(()),
            Some(_) if least == Role::Owner => {
                Err(Problem::new(StatusCode::FORBIDDEN, "only the owner may do that"))
            }
            Some(_) => Err(Problem::new(StatusCode::FORBIDDEN, "guests may only watch")),
            None => Err(sign_in(takes_basic(path))),
        },
        None => {
            let mut methods: Vec<_> = here().flat_map(|Row(methods, ..)| *methods).copied().collect();
            if methods.is_empty() {
                return Err(Problem::new(StatusCode::NOT_FOUND, "not found"));
            }
            methods.sort_unstable();
            let problem =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here"));
            let allow = HeaderValue::try_from(methods.join(", ")).expect("names of methods");
            Err(problem.with(header::ALLOW, allow))
        }
    }
}

/// 401. `program`: the request is from a player or program, which can't sign in on the page.
fn sign_in(program: bool) -> Problem {
    let says = match program {
        true => {
            "a token is required: send \"Authorization: Bearer TOKEN\", or the token as the password of Basic; \
             `peercam token add NAME` on the device creates one"
        }
        false => "sign in first",
    };
    let problem = Problem::new(StatusCode::UNAUTHORIZED, says);
    problem.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn foreign() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross-site request refused (no Origin, or a foreign one)")
}

/// The page that sent a request.
enum RequestOrigin {
    Ours,
    /// A foreign or unknown page.
    Foreign,
    /// Not stated: a program, or an old browser with a request that changes nothing.
    Unknown,
}

impl RequestOrigin {
    fn of(headers: &HeaderMap, caller: Caller) -> Self {
        const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
        if caller == Caller::Listed {
            return Self::Foreign;
        }
        match headers.get(SITE).map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"none") => Self::Ours,
            Some(_) => Self::Foreign,
            None if headers.contains_key(header::ORIGIN) => Self::Ours,
            None => Self::Unknown,
        }
    }
}

/// The token that a program presents (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    authorization(headers, "bearer")
}

/// Whether `path` accepts Basic authentication, for programs that can send only a user name and a password.
fn takes_basic(path: &str) -> bool {
    path == "/snapshot.jpg" || path == "/whep" || path.starts_with("/whep/")
}

/// The password that a program presents (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<String> {
    let pair = BASE64.decode(authorization(headers, "basic")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// Standard base64, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credential of the wanted scheme. There may be a second line for a proxy in front.
fn authorization<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
    })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::testing;
    use super::*;
    use Role::{Guest, Owner, Viewer};

    fn code(method: &str, path: &str, paired: bool, role: Option<Role>) -> u16 {
        decide(method, path, paired, role).map_or_else(|p| p.status.as_u16(), |()| 200)
    }

    #[test]
    fn the_table_is_asked_in_this_order() {
        for (method, path, paired, role, expected) in [
            ("GET", "/", false, None, 200),
            ("GET", page::path_of("icon.svg"), false, None, 200),
            ("POST", "/api/pair", false, None, 200),
            ("POST", "/api/login", false, None, 403),
            ("GET", "/nothing", false, None, 403),
            ("PUT", "/", false, None, 403),
            ("POST", "/api/login", true, None, 200),
            ("GET", "/healthz", true, None, 200),
            ("GET", "/nothing", true, None, 404),
            ("GET", "/nothing", true, Some(Owner), 404),
            ("GET", "/index.html", true, Some(Owner), 404),
            ("PUT", "/", true, Some(Owner), 405),
            ("get", "/", true, Some(Owner), 405),
            ("GET", "/api/status", true, None, 401),
            ("GET", "/api/status", true, Some(Guest), 200),
            ("GET", "/snapshot.jpg", true, Some(Guest), 403),
            ("GET", "/snapshot.jpg", true, Some(Viewer), 200),
            ("POST", "/api/privacy", true, Some(Viewer), 403),
            ("POST", "/api/privacy", true, Some(Owner), 200),
            ("OPTIONS", "/whep/x", true, None, 200),
            ("DELETE", "/whep/x", true, None, 401),
            ("POST", "/whep/", true, None, 401),
            ("POST", "/whep/", true, Some(Guest), 200),
            ("DELETE", "/whep/", true, Some(Owner), 405),
            ("DELETE", "/whep/x/y", true, Some(Owner), 404),
            ("DELETE", "/whep", true, Some(Owner), 405),
        ] {
            assert_eq!(code(method, path, paired, role), expected, "{method} {path} {paired} {role:?}");
        }
    }

    #[test]
    fn no_two_rows_speak_of_the_same() {
        for (i, Row(methods, path, _)) in TABLE.iter().enumerate() {
            for Row(others, at, _) in &TABLE[i + 1..] {
                assert!(path != at || !methods.iter().any(|m| others.contains(m)), "{path:?} {methods:?}");
            }
        }
    }

    /// The result of `admit` for the owner's request with these additional headers; `None`: admitted without a
    /// principal.
    fn admitted(
        shows: &'static str,
        method: Method,
        caller: Caller,
        more: &[(&'static str, &'static str)],
    ) -> Result<Option<Role>, u16> {
        let daemon = testing::context();
        let mut headers = HeaderMap::new();
        let value = match shows {
            "cookie" => ("cookie", "peercam=session".to_owned()),
            _ => ("authorization", format!("{shows} {}", daemon.token)),
        };
        daemon.auth.state().change(|l| l.add_session(testing::session("session"))).unwrap();
        headers.insert(value.0, value.1.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        // A route for anybody: the principal shows whether a credential counts.
        let path = if method == Method::POST { "/api/login" } else { "/api/session" };
        admit(&method, path, &headers, caller, Scheme::Http, &daemon.auth)
            .map(|v| v.principal().map(|p| p.role))
            .map_err(|p| p.status.as_u16())
    }

    #[tokio::test]
    async fn a_token_may_be_the_password_of_basic() {
        let daemon = testing::context();
        daemon.auth.state().change(|l| l.add_session(testing::session("session"))).unwrap();
        let encoded = |pair: &str| format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair));
        let token = daemon.token.clone();
        let admitted = |path: &str, caller, lines: &[(&'static str, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            admit(&Method::GET, path, &headers, caller, Scheme::Http, &daemon.auth)
                .map(|v| v.principal().map(|p| p.who.clone()))
                .map_err(|p| {
                    assert_eq!(p.response().headers()[WWW_AUTHENTICATE], "Bearer");
                    p.status.as_u16()
                })
        };
        let who = Ok(Some("token: test".to_owned()));
        let with = |value: &str| [("authorization", value.to_owned())];
        for user in ["", "go2rtc", "a b", "ö"] {
            let right = encoded(&format!("{user}:{token}"));
            for path in ["/whep", "/whep/", "/whep/x", "/snapshot.jpg"] {
                assert_eq!(admitted(path, Caller::Own, &with(&right)), who, "{path} {user}");
            }
            let unpadded = right.trim_end_matches('=').replace("Basic", "BASIC");
            assert_eq!(admitted("/whep", Caller::Listed, &with(&unpadded)), who);
            assert_eq!(admitted("/api/status", Caller::Own, &with(&right)), Err(401));
        }
        for wrong in [
            encoded(&token),
            encoded(&format!("{token}:")),
            encoded(&format!("a:{token}x")),
            encoded("proxy:its own"),
            format!("Basic a:{token}"),
            "Basic".into(),
            "Basic !".into(),
        ] {
            assert_eq!(admitted("/whep", Caller::Own, &with(&wrong)), Err(401), "{wrong}");
        }
        // Basic is ignored next to another credential, right or wrong, and if a foreign page may have caused the
        // request.
        let right = || ("authorization", encoded(&format!("a:{token}")));
        let cookie = |secret| ("cookie", format!("peercam={secret}"));
        let owner = Ok(Some("owner".to_owned()));
        assert_eq!(admitted("/whep", Caller::Own, &[right(), cookie("session")]), owner);
        let proxys = ("authorization", encoded("proxy:its own"));
        assert_eq!(admitted("/whep", Caller::Own, &[proxys.clone(), cookie("session")]), owner);
        assert_eq!(admitted("/whep", Caller::Own, &[right(), cookie("old")]), Err(401));
        let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
        assert_eq!(admitted("/whep", Caller::Own, &[proxys, bearer(&token)]), who);
        assert_eq!(admitted("/whep", Caller::Own, &[right(), bearer("x")]), Err(401));
        let foreign = ("sec-fetch-site", "cross-site".to_owned());
        assert_eq!(admitted("/snapshot.jpg", Caller::Own, &[right(), foreign]), Err(401));
    }

    #[tokio::test]
    async fn a_cookie_counts_for_our_own_page() {
        let (get, post) = (|| Method::GET, || Method::POST);
        let site = |value| [("sec-fetch-site", value)];
        let origin = [("origin", "http://checked.by.the.guard")];
        assert_eq!(admitted("cookie", get(), Caller::Own, &[]), Ok(Some(Owner)));
        assert_eq!(admitted("cookie", post(), Caller::Own, &[]), Err(403));
        assert_eq!(admitted("cookie", get(), Caller::Own, &[("upgrade", "websocket")]), Err(403));
        for (method, own) in [(get(), Ok(None)), (post(), Err(403))] {
            assert_eq!(admitted("cookie", method.clone(), Caller::Own, &origin), Ok(Some(Owner)));
            assert_eq!(
                admitted("cookie", method.clone(), Caller::Own, &site("same-origin")),
                Ok(Some(Owner))
            );
            assert_eq!(admitted("cookie", method.clone(), Caller::Own, &site("none")), Ok(Some(Owner)));
            assert_eq!(admitted("cookie", method.clone(), Caller::Own, &site("same-site")), own);
            assert_eq!(admitted("cookie", method.clone(), Caller::Own, &site("cross-site")), own);
            // A page of `web.origins`.
            assert_eq!(admitted("cookie", method.clone(), Caller::Listed, &origin), Ok(None));
            assert_eq!(admitted("Bearer", method.clone(), Caller::Listed, &origin), Ok(Some(Owner)));
            assert_eq!(admitted("bearer", method.clone(), Caller::Own, &[]), Ok(Some(Owner)));
            assert_eq!(admitted("Basic", method, Caller::Own, &[]), Ok(None));
        }
        let both = [("cookie", "peercam=session")];
        assert_eq!(admitted("Bearer", post(), Caller::Own, &both), Ok(Some(Owner)));
    }
}
