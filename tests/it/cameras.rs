//! Several cameras in one daemon: each is independent, and nobody gets a camera that they may not watch.

use std::net::SocketAddr;
use std::time::Duration;

use rtc::interceptor::Packet;
use serde_json::{Value, json};
use webrtc::peer_connection::RTCPeerConnectionState::{Closed, Connected, Disconnected, Failed};

use crate::client::{Client, PATIENCE};
use crate::daemon::{Daemon, get, until};
use crate::http::{Response, anybody, request};

/// Two test pictures, distinguished by their sizes.
const TWO: &str = "[audio]\ndevice = \"tone\"\n\
    [[camera]]\nname = \"front\"\nlabel = \"Front door\"\ndevice = \"pattern\"\nsize = \"640x360\"\n\
    [[camera]]\nname = \"back\"\ndevice = \"pattern\"\nsize = \"320x240\"\n";

const SDP: (&str, &str) = ("Content-Type", "application/sdp");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A camera's part of `/api/status`.
fn camera<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["cameras"].as_array().expect("cameras");
    all.iter().find(|camera| camera["name"] == name).unwrap_or(&Value::Null)
}

/// The state of its picture.
pub(crate) fn state(status: &Value, name: &str) -> String {
    camera(status, name)["video"]["state"].as_str().unwrap_or_default().to_owned()
}

fn names(status: &Value) -> Vec<&str> {
    status["cameras"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// The status code and size of a snapshot.
fn snapshot(address: SocketAddr, query: &str) -> (u16, Option<(usize, usize)>) {
    let (code, body) = get(address, &format!("/snapshot.jpg{query}")).expect("an answer");
    let header = turbojpeg::read_header(&body).ok();
    (code, header.map(|header| (header.width, header.height)))
}

/// Asks to join with these credentials; returns the response.
async fn post(client: &Client, address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Response {
    let (offer, path) = (client.offer().await, format!("/whep{query}"));
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let send = move || {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        anybody(address, "POST", &path, &[&[SDP], &headers[..]].concat(), &offer)
    };
    tokio::task::spawn_blocking(send).await.expect("no panic").expect("an answer")
}

/// A player of one camera.
struct Player {
    client: Client,
    resource: String,
}

impl Player {
    async fn join(address: SocketAddr, query: &str) -> Self {
        let mut client = Client::new(false).await;
        let resource = client.join_for(address, query).await;
        let mut player = Self { client, resource };
        player.watches().await;
        player
    }

    /// Waits for pictures.
    async fn watches(&mut self) {
        while self.client.packets.try_recv().is_ok() {}
        self.client.next("video", |p| matches!(p, Packet::Rtp(_)).then_some(())).await;
        assert_eq!(*self.client.state.borrow(), Connected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_camera_is_its_own() {
    let daemon = Daemon::start(TWO);
    let at = daemon.address();
    assert_eq!(snapshot(at, "?camera=front"), (200, Some((640, 360))));
    assert_eq!(snapshot(at, "?camera=back"), (200, Some((320, 240))));
    assert_eq!(snapshot(at, ""), (200, Some((640, 360))), "the first");
    assert_eq!(snapshot(at, "?camera=attic").0, 404);
    let client = Client::new(false).await;
    let refused = client.ask_for(at, "?camera=attic").await;
    assert!(
        refused.code == 404 && refused.body.contains("no camera called \\\"attic\\\" here"),
        "{refused:?}"
    );

    // Demand for one camera is not demand for the other.
    until(at, "at rest", Duration::from_secs(20), |s| {
        state(s, "front") == "idle" && state(s, "back") == "idle"
    });
    let mut player = Player::join(at, "?camera=back&quality=full").await;
    let (_, status) = until(at, "live", PATIENCE, |s| state(s, "back") == "live");
    assert_eq!(state(&status, "front"), "idle", "{status:#}");
    assert_eq!(
        (&camera(&status, "back")["viewers"], &camera(&status, "front")["viewers"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(camera(&status, "front")["label"], "Front door");
    assert_eq!(camera(&status, "back")["label"], "Back");
    assert_eq!(status["viewers"]["list"][0]["cameras"][0]["camera"], "back");
    assert_eq!(status["video"], camera(&status, "front")["video"], "of the first");
    let said = daemon.command(&["status"]);
    for line in ["camera front ", "camera back ", ", back full"] {
        assert!(said.contains(line), "{line:?} in\n{said}");
    }

    let told: Value = serde_json::from_str(&daemon.command(&["status", "--json"])).expect("JSON");
    assert!(
        told["video"]["state"].is_string() && told["video"] == camera(&told, "front")["video"],
        "{told:#}"
    );

    // It switches to the other one, on the same connection.
    let (resource, body) = (player.resource.clone(), json!({"camera": "front"}).to_string());
    assert_eq!(request(at, "PATCH", &resource, &[JSON], &body).unwrap().code, 204);
    until(at, "over", PATIENCE, |s| camera(s, "front")["viewers"] == 1 && camera(s, "back")["viewers"] == 0);
    player.watches().await;
    let refused = request(at, "PATCH", &resource, &[JSON], &json!({"camera": "attic"}).to_string()).unwrap();
    assert_eq!(refused.code, 404, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn privacy_of_one_camera_leaves_the_other_open() {
    let mut daemon = Daemon::start(TWO);
    let at = daemon.address();
    let mut players = [Player::join(at, "?camera=front").await, Player::join(at, "?camera=back").await];
    until(at, "both live", PATIENCE, |s| state(s, "front") == "live" && state(s, "back") == "live");
    let privacy = |on: bool, camera: &str| {
        let body = json!({"on": on, "camera": camera}).to_string();
        request(at, "POST", "/api/privacy", &[JSON], &body).unwrap().code
    };
    assert_eq!(privacy(true, "attic"), 404);
    assert_eq!(privacy(true, "back"), 204);
    let status = daemon.status();
    assert_eq!((state(&status, "front"), state(&status, "back")), ("live".into(), "private".into()));
    assert_eq!(
        (&camera(&status, "front")["private"], &camera(&status, "back")["private"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(snapshot(at, "?camera=back").0, 503);
    assert_eq!(snapshot(at, "?camera=front").0, 200);
    for player in &mut players {
        player.watches().await; // the second one, a slate
    }
    assert!(daemon.command(&["status"]).contains("on for back"));

    // Also after a restart, until it is switched off.
    daemon.kill();
    daemon.restart();
    until(at, "private again", PATIENCE, |s| state(s, "back") == "private");
    let said = daemon.command(&["privacy", "off", "--camera", "back"]);
    assert!(said.contains("Privacy of back is off"), "{said}");
    assert_eq!(snapshot(at, "?camera=back"), (200, Some((320, 240))));
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_come_change_and_go_while_others_are_watched() {
    let mut daemon = Daemon::start(TWO);
    let at = daemon.address();
    let mut front = Player::join(at, "?camera=front").await;
    let mut back = Player::join(at, "?camera=back").await;
    let joined = |s: &Value| s["counters"]["viewers_joined"].clone();
    assert_eq!(joined(&daemon.status()), 2);

    let three = format!("{TWO}[[camera]]\nname = \"attic\"\ndevice = \"pattern\"\nsize = \"160x120\"\n");
    daemon.reload(&three);
    daemon.said("camera.attic added");
    let (_, status) = until(at, "three", PATIENCE, |s| names(s).len() == 3);
    assert_eq!(names(&status), ["front", "back", "attic"]);
    assert_eq!(snapshot(at, "?camera=attic"), (200, Some((160, 120))));

    // A changed key of one camera: viewers of the others are not affected, viewers of that one stay.
    let changed = three.replace("320x240", "320x180").replace("Front door", "Porch");
    daemon.reload(&changed);
    daemon.said("camera.back.size 320x240 -> 320x180");
    until(at, "the new size", PATIENCE, |s| camera(s, "back")["video"]["negotiated"]["height"] == 180);
    assert_eq!(camera(&daemon.status(), "front")["label"], "Porch");
    back.watches().await;
    front.watches().await;

    // A new name is a new camera. Viewers of the old one get nothing of the new one.
    daemon.reload(&changed.replace("\"back\"", "\"yard\""));
    daemon.said("camera.back removed");
    let (_, status) = until(at, "renamed", PATIENCE, |s| names(s) == ["front", "yard", "attic"]);
    assert_eq!(camera(&status, "yard")["viewers"], 0, "{status:#}");
    assert_eq!(snapshot(at, "?camera=back").0, 404);
    front.watches().await;
    assert_eq!(joined(&daemon.status()), 2, "nobody had to join again");
    assert_eq!(camera(&daemon.status(), "front")["viewers"], 1);
}

/// Answers to a guest for "back" who asks for anything of "front".
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_one_camera_gets_nothing_of_another() {
    let mut daemon = Daemon::start(TWO);
    let at = daemon.address();
    let body = json!({"label": "Ann", "hours": 1, "cameras": ["back"]}).to_string();
    let made = request(at, "POST", "/api/guests", &[JSON], &body).unwrap();
    assert_eq!(made.code, 201, "{made:?}");
    let secret = serde_json::from_str::<Value>(&made.body).unwrap()["secret"].as_str().unwrap().to_owned();
    for (cameras, code) in [(json!(["attic"]), 404), (json!([]), 400), (json!(["back", "attic"]), 404)] {
        let body = json!({"label": "Bob", "hours": 1, "cameras": cameras}).to_string();
        assert_eq!(request(at, "POST", "/api/guests", &[JSON], &body).unwrap().code, code, "{cameras}");
    }
    let let_in = anybody(
        at,
        "POST",
        "/api/guest",
        &[JSON, ("Origin", &daemon.url(""))],
        &json!({"secret": secret}).to_string(),
    );
    let cookies = let_in.unwrap().cookies();
    let origin = daemon.url("");
    let as_guest = [("Cookie", &*cookies), ("Origin", &*origin)];
    let token = daemon.command(&["token", "add", "door bell", "--camera", "back"]);
    let bearer = format!("Bearer {}", token.trim());
    let as_program = [("Authorization", &*bearer)];

    for headers in [&as_guest[..], &as_program] {
        for path in ["/api/status", "/api/hello"] {
            let told = anybody(at, "GET", path, headers, "").unwrap();
            assert_eq!(told.code, 200, "{told:?}");
            assert!(told.body.contains("\"back\""), "{told:?}");
            assert!(!told.body.contains("front") && !told.body.contains("Front"), "{path}: {told:?}");
        }
        let client = Client::new(false).await;
        assert_eq!(post(&client, at, "?camera=front", headers).await.code, 404);
        let client = Client::new(false).await;
        assert_eq!(post(&client, at, "?camera=back&camera=front", headers).await.code, 404);
        // Without a name: the first camera that they may watch.
        let client = Client::new(false).await;
        let answer = post(&client, at, "", headers).await;
        assert_eq!(answer.code, 201, "{answer:?}");
        let resource = answer.header("location").expect("a resource").to_owned();
        for body in
            [json!({"camera": "front"}), json!({"listen": "front"}), json!({"camera": "front", "mid": "0"})]
        {
            let refused =
                anybody(at, "PATCH", &resource, &[&[JSON], headers].concat(), &body.to_string()).unwrap();
            assert_eq!(refused.code, 404, "{body}: {refused:?}");
        }
        let list = daemon.status()["viewers"]["list"].clone();
        let of = list.as_array().unwrap().last().unwrap()["cameras"].clone();
        assert_eq!(of[0]["camera"], "back", "{list:#}");
        // Not even through a viewer of the owner.
        let owners = Player::join(at, "?camera=front").await;
        let refused =
            anybody(at, "PATCH", &owners.resource, &[&[JSON], headers].concat(), "{\"sound\":true}").unwrap();
        assert_eq!(refused.code, 404, "{refused:?}");
    }
    assert_eq!(anybody(at, "GET", "/snapshot.jpg?camera=front", &as_program, "").unwrap().code, 404);
    assert_eq!(anybody(at, "GET", "/snapshot.jpg?camera=back", &as_program, "").unwrap().code, 200);

    // A renamed camera is granted to nobody; nor is a new one that later gets its old name.
    let mut watching = Client::new(false).await;
    let answer = post(&watching, at, "?camera=back", &as_program).await;
    watching.accept(&answer.body).await;
    watching.until(Connected).await;
    daemon.reload(&TWO.replace("\"back\"", "\"yard\""));
    daemon.said("camera.back removed");
    let over = watching.state.wait_for(|s| matches!(s, Closed | Disconnected | Failed));
    tokio::time::timeout(PATIENCE, over).await.expect("it ends").expect("alive");
    daemon.reload(TWO);
    daemon.said("camera.yard removed");
    assert_eq!(anybody(at, "GET", "/snapshot.jpg?camera=back", &as_program, "").unwrap().code, 404);
    assert_eq!(anybody(at, "GET", "/snapshot.jpg", &as_program, "").unwrap().code, 403);
    assert!(daemon.command(&["token", "list"]).contains("door bell"), "the token is there");
}
