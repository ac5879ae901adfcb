//! The life of a resource, over real sockets and with real viewers (without media).

use super::super::testing::{OFFER, QUICK, Server, context, context_with};
use super::*;
use crate::viewer::Signaling;
use crate::viewer::sdp::fragment;

const AS_SDP: &str = "Content-Type: application/sdp";
const AS_FRAG: &str = "Content-Type: application/trickle-ice-sdpfrag";
const CANDIDATE: &str = "a=candidate:1 1 udp 2113937151 192.0.2.7 50000 typ host\r\n";

fn fragment(ufrag: &str, pwd: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n{CANDIDATE}")
}

fn with_stun() -> config::Ice {
    let url = "stun:127.0.0.1:9".to_owned();
    config::Ice {
        servers: vec![config::IceServer { urls: vec![url], ..Default::default() }],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_player_names_the_pictures_it_wishes_for() {
    let server = Server::start(QUICK, context());
    for (query, wish) in [
        ("", "auto"),
        ("?quality=half", "half"),
        ("?a=b&quality=full&c", "full"),
        ("?a=b", "auto"),
        ("?", "auto"),
    ] {
        let reply = server.ask("POST", &format!("/whep{query}"), &[AS_SDP], OFFER).await;
        assert_eq!(reply.status, 201, "{query}: {}", reply.body);
        let at = reply.header("location").to_owned();
        assert!(at.starts_with("/whep/") && !at.contains('?'), "{at}");
        assert_eq!(server.context.registry.list()[0].cameras[0].quality.name(), wish, "{query}");
        assert_eq!(server.ask("DELETE", &at, &[], "").await.status, 200);
    }
    let reply = server.ask("POST", "/whep?quality=4k", &[AS_SDP], OFFER).await;
    assert!(reply.status == 400 && reply.body.contains("quarter"), "{} {}", reply.status, reply.body);
}

#[tokio::test]
async fn from_post_to_delete() {
    let server = Server::start(QUICK, context_with(config::Web::default(), with_stun()));
    let reply = server.ask("POST", "/whep", &["Content-Type: Application/SDP; charset=utf-8"], OFFER).await;
    assert_eq!((reply.status, reply.header("content-type")), (201, SDP));
    assert_eq!(reply.all("link"), ["<stun:127.0.0.1:9>; rel=\"ice-server\""]);
    assert_eq!(reply.header("accept-patch"), SDPFRAG);
    let (at, first) = (reply.header("location").to_owned(), reply.header("etag").to_owned());
    assert!(at.starts_with("/whep/") && first.starts_with('"'));
    let answered = fragment::credentials(&reply.body).unwrap();
    assert_eq!(server.ask("GET", &at, &[], "").await.status, 204);
    assert_eq!(server.context.registry.list()[0].via, Signaling::Whep);

    // Trickle: with the offer's credentials.
    let theirs = fragment::credentials(OFFER).unwrap();
    let trickle = fragment(&theirs.ufrag, &theirs.pwd);
    let same = format!("If-Match: {first}");
    for (headers, body, status) in [
        (&[AS_FRAG, same.as_str()][..], trickle.as_str(), 204),
        (&[AS_FRAG, &same], "a=mid:0\r\na=end-of-candidates\r\n", 204),
        (&[AS_FRAG, "If-Match: *"], &trickle, 204),
        (&[AS_FRAG], &trickle, 428),
        (&[AS_FRAG, "If-Match: \"other\""], &trickle, 412),
        (&[AS_FRAG, &format!("If-Match: W/{first}")], &trickle, 412),
        (&[AS_FRAG, &format!("If-Match: {}", first.trim_matches('"'))], &trickle, 400),
        (&[AS_FRAG, &same], "nonsense", 400),
        (&[AS_SDP, &same], &trickle, 415),
        (&[&same], &trickle, 415),
    ] {
        let reply = server.ask("PATCH", &at, headers, body).await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.body);
        assert_eq!(reply.header("etag"), "");
    }

    // Whether it plays sound: independent of the ICE session.
    let sound = || server.context.registry.list()[0].sound;
    for (body, status, plays) in
        [(r#"{"sound":true}"#, 204, true), (r#"{"sound":false}"#, 204, false), ("{}", 400, false)]
    {
        assert_eq!(
            server.ask("PATCH", &at, &["Content-Type: application/json"], body).await.status,
            status,
            "{body}"
        );
        assert_eq!(sound(), plays, "{body}");
    }

    // The wanted quality, with or without the sound.
    let wish = || server.context.registry.list()[0].cameras[0].quality.name();
    for (body, status, wishes) in [
        (r#"{"quality":"half"}"#, 204, "half"),
        (r#"{"sound":true,"quality":"quarter"}"#, 204, "quarter"),
        (r#"{"quality":"best"}"#, 400, "quarter"),
    ] {
        let reply = server.ask("PATCH", &at, &["Content-Type: application/json"], body).await;
        assert_eq!((reply.status, wish()), (status, wishes), "{body}: {}", reply.body);
    }

    // Restart: with new credentials.
    let restart = fragment("nEw1", "0123456789abcdefghijkLMN");
    let reply = server.ask("PATCH", &at, &[AS_FRAG, "If-Match: *"], &restart).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, SDPFRAG), "{}", reply.body);
    let second = reply.header("etag").to_owned();
    assert_ne!(first, second);
    let parsed = Fragment::parse(&reply.body).unwrap();
    assert_ne!(parsed.credentials, Some(answered));
    assert!(parsed.candidates.len() > 1 && parsed.candidates[0].mid.is_some(), "{}", reply.body);
    // A fragment for the previous session is too late.
    assert_eq!(server.ask("PATCH", &at, &[AS_FRAG, &same], &trickle).await.status, 412);
    let second = format!("If-Match: {second}");
    assert_eq!(server.ask("PATCH", &at, &[AS_FRAG, &second], &restart).await.status, 204);

    assert_eq!(server.ask("DELETE", &at, &["If-Match: \"whatever\""], "").await.status, 200);
    assert_eq!(server.context.registry.count(), 0);
    assert_eq!(server.ask("DELETE", &at, &[], "").await.status, 404);
    assert_eq!(server.ask("PATCH", &at, &[AS_FRAG, "If-Match: *"], &restart).await.status, 404);
    assert_eq!(server.ask("GET", &at, &[], "").await.status, 404);
}

#[tokio::test]
async fn refused_offers_are_told_and_leave_nothing_behind() {
    let server = Server::start(QUICK, context());
    let no_h264 = OFFER.replace("H264", "H265");
    let no_ice = OFFER.replace("a=ice-ufrag:", "a=x-ufrag:");
    for (headers, body, status) in [
        (&[AS_SDP][..], "", 400),
        (&[AS_SDP], "v=0\r\n", 400),
        (&[AS_SDP], "\0\0\0", 400),
        (&[AS_SDP], &no_h264, 406),
        (&[AS_SDP], &no_ice, 400),
        (&["Content-Type: application/json"], "{}", 415),
        (&[AS_SDP, "Content-Encoding: gzip"], OFFER, 415),
        (&[], OFFER, 415),
    ] {
        let reply = server.ask("POST", "/whep", headers, body).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, "application/problem+json"),
            "{headers:?}"
        );
        let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
        assert_eq!(reply.header("accept-post"), if status == 415 { SDP } else { "" });
    }
    assert_eq!(server.context.registry.count(), 0);
}

#[tokio::test]
async fn no_place_left_is_503() {
    let web = config::Web { max_viewers: 1, ..Default::default() };
    let server = Server::start(QUICK, context_with(web, config::Ice::default()));
    // The owner may have one viewer over the limit, as after a reload.
    for _ in 0..2 {
        assert_eq!(server.ask("POST", "/whep", &[AS_SDP], OFFER).await.status, 201);
    }
    let reply = server.ask("POST", "/whep", &[AS_SDP], OFFER).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
}

#[tokio::test]
async fn an_endpoint_is_recognised() {
    let server = Server::start(QUICK, context());
    for method in ["GET", "HEAD"] {
        let reply = server.ask(method, "/whep", &[], "").await;
        assert_eq!((reply.status, reply.header("content-type"), reply.body.as_str()), (200, SDP, ""));
    }
    let reply = server.ask("POST", "/whep/", &[AS_SDP], OFFER).await;
    assert!(reply.status == 201 && reply.header("location").starts_with("/whep/"), "{reply:?}");
    assert_eq!(server.ask("DELETE", reply.header("location"), &[], "").await.status, 200);
    for (path, allow) in [("/whep", "POST"), ("/whep/", "POST"), ("/whep/whatever", "PATCH")] {
        let reply = server.ask("OPTIONS", path, &[], "").await;
        assert_eq!((reply.status, reply.header("accept-post")), (200, SDP));
        assert!(reply.header("allow").contains(allow));
    }
}

fn if_match(values: &[&str]) -> Result<IfMatch, (u16, String)> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::IF_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    IfMatch::of(&headers).map_err(|p| (p.status.as_u16(), p.detail.into()))
}

#[test]
fn preconditions() {
    for any in ["*", " * ", "\"*\"", "\"1\", *"] {
        assert_eq!(if_match(&[any]), Ok(IfMatch::Any), "{any}");
    }
    let holds = |values: &[&str]| if_match(values).unwrap().holds_for("\"2\"");
    for good in
        [&["\"2\""][..], &["\"1\", \"2\""], &["\"1\"", "\"2\""], &["W/\"2\",\t\"2\""], &["\"a,b\",\"2\""]]
    {
        assert!(holds(good), "{good:?}");
    }
    for other in [&["\"1\""][..], &["\"22\""], &["\"\""], &["W/\"2\", \"1\""], &["\"ö\""]] {
        assert!(!holds(other), "{other:?}");
    }
    for (values, status, says) in [
        (&[][..], 428, "If-Match"),
        (&["2"], 400, "with its quotes"),
        (&[""], 400, "with its quotes"),
        (&["\"2"], 400, "with its quotes"),
        (&["'2'"], 400, "with its quotes"),
        (&["\"1\" \"2\""], 400, "with its quotes"),
        (&["\"2\", x"], 400, "with its quotes"),
        (&["w/\"2\""], 400, "with its quotes"),
        (&["W/2"], 400, "with its quotes"),
        (&["ö"], 400, "with its quotes"),
        (&["W/\"2\""], 412, "weak"),
        (&["W/\"2\"", "W/\"3\""], 412, "weak"),
    ] {
        let (code, sentence) = if_match(values).unwrap_err();
        assert!(code == status && sentence.contains(says), "{values:?}: {code} {sentence}");
    }
}

#[test]
fn a_resource_is_found_below_any_prefix() {
    let told = |prefix: &str| Via::Proxy { prefix: Some(prefix.into()), hidden: false };
    for (via, path, resource) in [
        (Via::Direct, "/whep", "/whep/x"),
        (Via::Direct, "/whep/", "/whep/x"),
        (told(""), "/whep/", "/whep/x"),
        (told("/cam"), "/whep", "/cam/whep/x"),
        (told("/cam"), "/whep/", "/cam/whep/x"),
        (Via::Proxy { prefix: None, hidden: false }, "/whep", "whep/x"),
        (Via::Proxy { prefix: None, hidden: false }, "/whep/", "x"),
    ] {
        assert_eq!(location(&via, path, "x"), resource, "{via:?} {path}");
    }
}

#[test]
fn ice_servers_are_links() {
    let server = |urls: &[&str], username: Option<&str>| config::IceServer {
        urls: urls.iter().map(|u| u.to_string()).collect(),
        username: username.map(Into::into),
        credential: username.map(|_| "a \"b\" \\c".into()),
        ..Default::default()
    };
    let servers = [
        server(&["stun:stun.example.net"], None),
        server(&["turn:turn.example.net?transport=udp", "turns:turn.example.net"], Some("user")),
        server(&["turn:evil\r\nSet-Cookie: a"], None),
        server(&["turn:evil>; rel=next"], None),
    ];
    let told: Vec<_> = links(&servers).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
    let password =
        r#"rel="ice-server"; username="user"; credential="a \"b\" \\c"; credential-type="password""#;
    assert_eq!(
        told,
        [
            r#"<stun:stun.example.net>; rel="ice-server""#.to_owned(),
            format!("<turn:turn.example.net?transport=udp>; {password}"),
            format!("<turns:turn.example.net>; {password}"),
        ]
    );
}
