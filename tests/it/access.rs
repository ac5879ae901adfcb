//! Access control: every route with every role, from the first start to the last revocation. Other origins
//! are in `cross_site`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use peercam::web::access::{Path, TABLE};
use serde_json::{Value, json};
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use crate::client::Client;
use crate::daemon::{self, Daemon, PATTERN};
use crate::door::{self, PASSWORD};
use crate::http::{Response, anybody, exchange_from, request, written};

/// The required role of a route, in order; and the role of a client.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Level {
    /// Anybody, before there is an owner.
    Unpaired,
    Nobody,
    Guest,
    Viewer,
    Owner,
}
use Level::{Guest, Nobody, Owner, Unpaired, Viewer};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

/// Stands for the page's script, whose path contains its version.
const SCRIPT: &str = "/assets/VERSION/page.js";

/// Every path, and the role required for each method.
const ROUTES: &[(&str, &[(&str, Level)])] = &[
    ("/", &[("GET", Unpaired), ("HEAD", Unpaired)]),
    (SCRIPT, &[("GET", Unpaired), ("HEAD", Unpaired)]),
    ("/api/session", &[("GET", Unpaired)]),
    ("/api/pair", &[("POST", Unpaired)]),
    ("/api/login", &[("POST", Nobody)]),
    ("/api/guest", &[("POST", Nobody)]),
    ("/api/logout", &[("POST", Guest)]),
    ("/api/password", &[("POST", Owner)]),
    ("/api/guests", &[("GET", Owner), ("POST", Owner)]),
    ("/api/guests/x", &[("DELETE", Owner), ("POST", Owner)]),
    ("/api/issued", &[("GET", Owner)]),
    ("/api/privacy", &[("POST", Owner)]),
    ("/api/qr", &[("POST", Owner)]),
    ("/api/ca.pem", &[("GET", Nobody), ("HEAD", Nobody)]),
    ("/api/signal", &[("GET", Guest)]),
    ("/api/hello", &[("GET", Guest)]),
    ("/api/status", &[("GET", Guest), ("HEAD", Guest)]),
    ("/snapshot.jpg", &[("GET", Viewer), ("HEAD", Viewer)]),
    ("/whep", &[("OPTIONS", Nobody), ("GET", Guest), ("HEAD", Guest), ("POST", Guest)]),
    ("/whep/", &[("OPTIONS", Nobody), ("GET", Guest), ("HEAD", Guest), ("POST", Guest)]),
    ("/whep/x", &[("OPTIONS", Nobody), ("GET", Guest), ("HEAD", Guest), ("PATCH", Guest), ("DELETE", Guest)]),
    ("/healthz", &[("GET", Nobody), ("HEAD", Nobody)]),
];

/// Near misses: nobody gets anything here.
const NOWHERE: &[&str] = &[
    "/nothing",
    "/api",
    "/api/",
    "/api/nothing",
    "/api/status/",
    "/api/status/x",
    "//api/status",
    "/API/status",
    "/api/%73tatus",
    "/./api/status",
    "/x/../api/status",
    "/api/guests/",
    "/api/guests/x/y",
    "/whep/x/",
    "/whep/x/y",
    "/snapshot.jpg/",
    "/snapshot",
    "/page.js",
    "/assets/page.js",
    "/assets/0123456789abcdef/page.js",
    "/state.json",
    "/..%2fstate.json",
];

/// The credentials that a client sends.
pub(crate) type Shows = Vec<(&'static str, String)>;

pub(crate) fn ask(to: SocketAddr, shows: &Shows, method: &str, path: &str, body: &str) -> Response {
    let mut headers: Vec<(&str, &str)> = shows.iter().map(|(n, v)| (*n, v.as_str())).collect();
    if !body.is_empty() && !headers.iter().any(|(n, _)| *n == "Content-Type") {
        headers.push(("Content-Type", "application/json"));
    }
    anybody(to, method, path, &headers, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

pub(crate) fn parsed(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

/// The credentials of a browser on our own page after that response.
fn cookies(to: SocketAddr, response: &Response) -> Shows {
    assert!(response.code < 300, "{response:?}");
    vec![("Cookie", response.cookies()), ("Origin", format!("http://{to}"))]
}

pub(crate) fn log_in(to: SocketAddr, password: &str) -> Shows {
    let body = json!({"password": password}).to_string();
    cookies(to, &ask(to, &vec![], "POST", "/api/login", &body))
}

/// A guest's id and credentials.
fn guest(to: SocketAddr, label: &str) -> (String, Shows) {
    let body = json!({"label": label, "hours": 1}).to_string();
    let made =
        parsed(&request(to, "POST", "/api/guests", &[("Content-Type", "application/json")], &body).unwrap());
    let body = json!({"secret": made["secret"]}).to_string();
    let shows = cookies(to, &ask(to, &vec![], "POST", "/api/guest", &body));
    (made["id"].as_str().expect("an id").to_owned(), shows)
}

pub(crate) fn bearer(token: &str) -> Shows {
    vec![("Authorization", format!("Bearer {token}"))]
}

/// Requests every path with every method in that role.
fn walk(to: SocketAddr, level: Level, shows: &Shows) {
    let index = ask(to, shows, "GET", "/", "").body;
    let script = index.split('"').find(|part| part.ends_with("/page.js")).map(|part| format!("/{part}"));
    let script = script.expect("a script");
    for method in METHODS {
        for (path, rows) in ROUTES {
            let path = if *path == SCRIPT { &script } else { *path };
            let least = rows.iter().find(|(m, _)| *m == method).map(|(_, least)| *least);
            let code = ask(to, shows, method, path, "").code;
            let refused = match (least, level) {
                (Some(least), _) if level >= least => None,
                (_, Unpaired) => Some(403),
                (None, _) => Some(405),
                (Some(_), Nobody) => Some(401),
                (Some(_), _) => Some(403),
            };
            match refused {
                Some(refused) => assert_eq!(code, refused, "{method} {path} as {level:?}"),
                None => {
                    assert!(![401, 403, 405, 500].contains(&code), "{method} {path} as {level:?}: {code}")
                }
            }
        }
        for path in NOWHERE {
            let code = ask(to, shows, method, path, "").code;
            assert_eq!(code, if level == Unpaired { 403 } else { 404 }, "{method} {path} as {level:?}");
        }
    }
}

#[test]
fn the_table_holds_nothing_that_is_not_walked() {
    for row in TABLE {
        let path = match row.1 {
            Path::Page => "/".to_owned(),
            Path::Is(path) => path.to_owned(),
            Path::Below(path) => format!("{path}/x"),
        };
        let methods = ROUTES.iter().find(|(p, _)| *p == path).map(|(_, methods)| *methods);
        for method in row.0 {
            let known = methods.is_some_and(|all| all.iter().any(|(m, _)| m == method));
            assert!(known, "{method} {path} is in the table but not in this test");
        }
    }
}

#[test]
fn every_route_as_everybody() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    walk(to, Nobody, &vec![]);
    walk(to, Guest, &guest(to, "Ann").1);
    walk(to, Guest, &bearer(&door::token_of("guest")));
    walk(to, Viewer, &bearer(&door::token_of("viewer")));
    walk(to, Owner, &bearer(&door::token()));
    walk(to, Owner, &log_in(to, PASSWORD));
    // Nobody got past the authentication.
    let status = daemon.status();
    assert_eq!(status["viewers"]["count"], 0, "{status:#}");
}

#[test]
fn until_there_is_an_owner_nothing_answers_but_pairing() {
    let mut daemon = Daemon::first_start(PATTERN);
    let to = daemon.address();
    let link = daemon.said("pairing link: http://");
    let secret = link.split("#pair=").nth(1).expect("a secret").trim().to_owned();
    walk(to, Unpaired, &vec![]);
    walk(to, Unpaired, &bearer("some token"));
    let session = |shows: &Shows| parsed(&ask(to, shows, "GET", "/api/session", ""));
    assert_eq!(session(&vec![]), json!({"state": "unpaired", "role": null, "secure": true}));

    let pair = |secret: &str, password: &str| {
        ask(to, &vec![], "POST", "/api/pair", &json!({"secret": secret, "password": password}).to_string())
    };
    assert_eq!(pair("wrong", PASSWORD).code, 401);
    assert_eq!(pair(&secret, "short").code, 400);
    assert_eq!(ask(to, &vec![], "POST", "/api/pair", "{\"secret\"").code, 400);
    let paired = pair(&secret, PASSWORD);
    assert_eq!((paired.code, paired.body.as_str()), (204, ""));
    for line in paired.headers.lines().filter(|l| l.to_lowercase().starts_with("set-cookie")) {
        for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
            assert!(line.contains(part), "{line}");
        }
    }
    let owner = cookies(to, &paired);
    let facts = session(&owner);
    assert_eq!(
        (&facts["state"], &facts["role"], &facts["name"]),
        (&json!("signed-in"), &json!("owner"), &json!("owner"))
    );
    assert_eq!(session(&vec![])["state"], "signed-out");
    assert_eq!(pair(&secret, "battery staple").code, 401, "it is good for one time");

    // Everything is still there after a power cut, and nobody is asked to pair again.
    daemon.kill();
    daemon.restart();
    assert_eq!(session(&owner)["role"], "owner");
    assert!(!daemon.log().contains("pairing link"), "{}", daemon.log());
    assert_eq!(pair(&secret, "battery staple").code, 401);
}

#[test]
fn signing_in_and_out() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let owner = log_in(to, PASSWORD);
    let session = |shows: &Shows| parsed(&ask(to, shows, "GET", "/api/session", ""));
    let code = |shows: &Shows| ask(to, shows, "GET", "/api/status", "").code;
    assert_eq!(session(&owner)["privacy"], false);

    // The owner sets a password for the household.
    let change = |shows: &Shows, old: &str, new: &str, role: &str| {
        ask(to, shows, "POST", "/api/password", &json!({"old": old, "new": new, "role": role}).to_string())
            .code
    };
    assert_eq!(change(&owner, "wrong one", "tea for two", "viewer"), 401);
    assert_eq!(change(&owner, PASSWORD, "short", "viewer"), 400);
    assert_eq!(change(&owner, PASSWORD, PASSWORD, "viewer"), 400);
    assert_eq!(change(&owner, PASSWORD, "tea for two", "guest"), 400);
    assert_eq!(change(&owner, PASSWORD, "tea for two", "viewer"), 204);
    let viewer = log_in(to, "tea for two");
    assert_eq!(
        (&session(&viewer)["role"], &session(&viewer)["name"]),
        (&json!("viewer"), &json!("household"))
    );
    walk_some(to, &viewer);
    assert_eq!(change(&viewer, "tea for two", "battery staple", "owner"), 403);

    // A cookie from before signing in does not become a session (fixation).
    let planted = vec![("Cookie", "peercam=planted".to_owned()), ("Origin", format!("http://{to}"))];
    let body = json!({"password": PASSWORD}).to_string();
    let fresh = cookies(to, &ask(to, &planted, "POST", "/api/login", &body));
    assert_eq!((code(&planted), code(&fresh)), (401, 200));
    let second = cookies(to, &ask(to, &fresh, "POST", "/api/login", &body));
    assert_eq!((code(&fresh), code(&second)), (401, 200), "a new login ends the browser's session before");

    let out = ask(to, &second, "POST", "/api/logout", "{}");
    assert!(out.code == 204 && out.headers.contains("peercam=; Max-Age=0"), "{out:?}");
    assert_eq!((code(&second), code(&owner)), (401, 200));
    let other = log_in(to, PASSWORD);
    assert_eq!(ask(to, &other, "POST", "/api/logout", "{\"everywhere\":true}").code, 204);
    assert_eq!([code(&other), code(&owner), code(&viewer)], [401, 401, 200]);
    let owner = log_in(to, PASSWORD);
    assert_eq!(change(&owner, PASSWORD, "", "viewer"), 204);
    assert_eq!(code(&viewer), 401);
}

/// A viewer by password has the same rights as one by token.
fn walk_some(to: SocketAddr, viewer: &Shows) {
    for (path, code) in [("/api/status", 200), ("/api/guests", 403), ("/whep", 200)] {
        assert_eq!(ask(to, viewer, "GET", path, "").code, code, "{path}");
    }
}

#[test]
fn what_each_may_know() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let (_, ann) = guest(to, "Ann");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_watching, _) = runtime.block_on(watch(to, &ann));
    let status = |shows: &Shows| parsed(&ask(to, shows, "GET", "/api/status", ""));
    let owner = status(&bearer(&door::token()));
    assert_eq!(owner["viewers"]["list"][0]["who"], "guest: Ann", "{owner:#}");
    let viewer = status(&bearer(&door::token_of("viewer")));
    assert!(viewer["counters"].is_object() && viewer["process"].is_object(), "{viewer:#}");
    let seen_by_ann = status(&ann);
    for key in ["counters", "process"] {
        assert!(seen_by_ann.get(key).is_none(), "{seen_by_ann:#}");
    }
    for seen in [&viewer, &seen_by_ann] {
        assert_eq!(seen["viewers"]["count"], 1);
        assert!(seen["viewers"].get("list").is_none(), "{seen:#}");
    }
    let listed = parsed(&ask(to, &bearer(&door::token()), "GET", "/api/guests", ""));
    assert_eq!((&listed[0]["label"], listed[0].get("secret")), (&json!("Ann"), None), "{listed:#}");
    let own = &seen_by_ann["viewers"]["own"];
    assert_eq!(
        (own.as_array().map(Vec::len), &own[0]["cameras"][0]["camera"]),
        (Some(1), &json!("camera")),
        "{own:#}"
    );
    assert!(own[0]["id"].is_string() && own[0].get("address").is_none(), "{own:#}");
    assert_eq!(viewer["viewers"]["own"], json!([]), "hers is nobody else's");
    // Another guest may not touch her viewer; other people's viewers do not exist for a guest.
    let ((_, bob), (_, namesake)) = (guest(to, "Bob"), guest(to, "Ann"));
    let name = whep(to, &ann);
    for (shows, code) in [(&bob, 404), (&namesake, 404), (&ann, 200)] {
        assert_eq!(ask(to, shows, "DELETE", &name, "").code, code);
    }
}

/// Joins without media; returns the viewer's resource.
fn whep(to: SocketAddr, shows: &Shows) -> String {
    let mut shows = shows.clone();
    shows.push(("Content-Type", "application/sdp".into()));
    let answer = ask(to, &shows, "POST", "/whep", include_str!("../data/offer-chromium-156.sdp"));
    assert_eq!(answer.code, 201, "{answer:?}");
    answer.header("Location").expect("a resource").to_owned()
}

#[test]
fn what_is_no_credential_is_nobodys() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let token = door::token();
    let owner = log_in(to, PASSWORD);
    let cookie = owner[0].1.split("; ").find(|c| c.starts_with("peercam=")).expect("a cookie").to_owned();
    let long = "x".repeat(8000);
    for bad in [
        "Bearer".to_owned(),
        "Bearer ".into(),
        "Bearer x".into(),
        format!("Bearer {token}x"),
        format!("Bearer {}", &token[1..]),
        format!("Bearer {token},{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {long}"),
        format!("Basic {token}"),
        token.clone(),
        "Bearer \u{fffd}".into(),
        format!("Bearer {}", &cookie["peercam=".len()..]),
    ] {
        let code = ask(to, &vec![("Authorization", bad.clone())], "GET", "/api/status", "").code;
        assert_eq!(code, 401, "{bad:.60}");
    }
    for bad in [
        "peercam".to_owned(),
        "peercam=".into(),
        "peercam=x".into(),
        format!("{cookie}x"),
        format!("{cookie}; {cookie}"),
        format!("{cookie}; peercam=x"),
        format!("Peercam{}", &cookie["peercam".len()..]),
        format!("__Host-{cookie}"),
        cookie.replace('=', "=\""),
        format!("peercam={token}"),
        format!("peercam={long}"),
        "peercam=\u{fffd}".into(),
        ";;;=;=;".into(),
    ] {
        let code = ask(to, &vec![("Cookie", bad.clone())], "GET", "/api/status", "").code;
        assert_eq!(code, 401, "{bad:.60}");
    }
    for good in [format!("a=b; {cookie}"), format!(" {cookie} ;c=d")] {
        assert_eq!(ask(to, &vec![("Cookie", good)], "GET", "/api/status", "").code, 200);
    }
}

#[test]
fn answers_say_what_browsers_must_not_do_with_them() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    for path in ["/", "/api/session", "/api/status", "/healthz", "/snapshot.jpg", "/nothing", "/whep"] {
        for shows in [vec![], bearer(&door::token())] {
            let answer = ask(to, &shows, "GET", path, "");
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("x-frame-options", "DENY"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cache-control", if path == "/" { "no-cache" } else { "no-store" }),
            ] {
                assert_eq!(answer.header(name), Some(value), "{name} of {path}");
            }
            let policy = answer.header("content-security-policy").expect("a policy");
            for part in
                ["default-src 'none'", "frame-ancestors 'none'", "script-src 'self'", "form-action 'none'"]
            {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        }
    }
    let refused = ask(to, &vec![], "GET", "/api/status", "");
    assert_eq!((refused.code, refused.header("www-authenticate")), (401, Some("Bearer")));
}

#[test]
fn guessing_is_slowed_and_keeps_nobody_out_who_was_in() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let owner = log_in(to, PASSWORD);
    let login = |shows: &Shows, password: &str| {
        ask(to, shows, "POST", "/api/login", &json!({"password": password}).to_string())
    };
    let first: Vec<_> = (0..8).map(|_| login(&vec![], "a guess at it")).collect();
    assert_eq!(first.iter().map(|r| r.code).collect::<Vec<_>>(), [401, 401, 401, 401, 401, 429, 429, 429]);
    let told = &first[7];
    assert_eq!(told.header("retry-after"), Some("1"), "{told:?}");
    assert!(parsed(told)["detail"].as_str().is_some_and(|d| d.contains("try again in 1 s")), "{told:?}");

    // A thousand guesses from as many addresses.
    let body = json!({"password": "a guess at it"}).to_string();
    let text = written(to, "POST", "/api/login", &[("Content-Type", "application/json")], &body);
    let began = Instant::now();
    let mut hashed = 0;
    for n in 0..1000u32 {
        let from = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + n);
        let answer = exchange_from(from.into(), to, &text).expect("an answer");
        assert!([401, 429].contains(&answer.code), "{answer:?}");
        hashed += u32::from(answer.code == 401);
    }
    println!("of 1,000 guesses from 1,000 addresses {hashed} were looked at, in {:.1?}", began.elapsed());
    assert!(hashed < 40, "{hashed}");

    // A stranger has to wait now, even with the right password; the owner at home does not.
    let answer =
        exchange_from(Ipv4Addr::new(127, 9, 9, 9).into(), to, &text.replace("a guess at it", PASSWORD));
    assert_eq!(answer.expect("an answer").code, 429);
    assert_eq!(ask(to, &owner, "GET", "/api/status", "").code, 200);
    let again = login(&owner, PASSWORD);
    assert_eq!(again.code, 200, "a browser that signed in before passes: {again:?}");
    assert_eq!(ask(to, &bearer(&door::token()), "GET", "/api/status", "").code, 200);
}

#[test]
fn guesses_at_links_are_slowed_and_a_right_one_is_not() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let guess =
        |path| ask(to, &vec![], "POST", path, "{\"secret\":\"guess\",\"password\":\"12345678\"}").code;
    let codes: Vec<_> = (0..200).map(|n| guess(["/api/pair", "/api/guest"][n % 2])).collect();
    assert!(codes.iter().all(|c| [401, 429].contains(c)), "{codes:?}");
    assert!(codes.iter().filter(|c| **c == 401).count() < 20, "{codes:?}");
    guest(to, "Ann");
    log_in(to, PASSWORD);
}

/// Joins over WHEP; returns the connected client and its resource.
async fn watch(to: SocketAddr, shows: &Shows) -> (Client, String) {
    let mut client = Client::new(true).await;
    let mut shows = shows.clone();
    shows.push(("Content-Type", "application/sdp".into()));
    let answer = ask(to, &shows, "POST", "/whep", &client.offer().await);
    assert_eq!(answer.code, 201, "{answer:?}");
    client.accept(&answer.body).await;
    client.until(Connected).await;
    (client, answer.header("Location").expect("a resource").to_owned())
}

/// A running stream ends within seconds when `revoke` takes access away.
fn cut_off(daemon: &Daemon, what: &str, shows: &Shows, revoke: impl FnOnce()) {
    let to = daemon.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut client, resource) = runtime.block_on(watch(to, shows));
    let (other, _) = runtime.block_on(watch(to, &bearer(&door::token())));
    assert_eq!(ask(to, shows, "GET", &resource, "").code, 204);
    revoke();
    let within = Duration::from_secs(3);
    let (took, _) = daemon::until(to, what, within, |s| s["viewers"]["count"] == 1);
    println!("{what}: the stream ended after {took:.1?}");
    assert_eq!(ask(to, shows, "GET", &resource, "").code, 401);
    runtime.block_on(async {
        let ended = client.state.wait_for(|s| *s != Connected);
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("ended").expect("alive");
        assert_eq!(*other.state.borrow(), Connected, "others continue to watch");
        other.close().await;
    });
    daemon::until(to, "empty again", Duration::from_secs(15), |s| s["viewers"]["count"] == 0);
}

#[test]
fn losing_access_ends_a_running_stream() {
    let daemon = Daemon::start(PATTERN);
    let to = daemon.address();
    let json = [("Content-Type", "application/json")];
    let owner = |method: &str, path: &str, body: &str| {
        assert_eq!(request(to, method, path, &json, body).unwrap().code, 204, "{method} {path}");
    };
    let (id, ann) = guest(to, "Ann");
    cut_off(&daemon, "guest link revoked", &ann, || owner("DELETE", &format!("/api/guests/{id}"), ""));

    let household = |old: &str, new: &str| {
        owner("POST", "/api/password", &json!({"old": old, "new": new, "role": "viewer"}).to_string());
    };
    household(PASSWORD, "tea for two");
    let viewer = log_in(to, "tea for two");
    cut_off(&daemon, "password changed", &viewer, || household(PASSWORD, "three for tea"));

    let (here, there) = (log_in(to, PASSWORD), log_in(to, PASSWORD));
    cut_off(&daemon, "logged out everywhere", &there, || {
        assert_eq!(ask(to, &here, "POST", "/api/logout", "{\"everywhere\":true}").code, 204);
    });
    let here = log_in(to, PASSWORD);
    cut_off(&daemon, "logged out", &here, || {
        assert_eq!(ask(to, &here, "POST", "/api/logout", "{}").code, 204);
    });
}
