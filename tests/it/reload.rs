//! `device.toml` changes while the daemon runs and somebody watches.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rtc::interceptor::Packet;
use webrtc::peer_connection::RTCPeerConnectionState::{Closed, Connected, Disconnected, Failed};

use crate::client::{Client, PATIENCE};
use crate::daemon::{Daemon, PATTERN, get, until};
use crate::http::anybody;
use crate::process::run;

/// A player.
pub(crate) struct Viewer(Client);

impl Viewer {
    pub(crate) async fn join(address: SocketAddr) -> Self {
        let mut client = Client::new(false).await;
        client.join(address).await;
        let mut viewer = Self(client);
        viewer.watches().await;
        viewer
    }

    /// Waits for pictures.
    async fn watches(&mut self) {
        while self.0.packets.try_recv().is_ok() {}
        self.0.next("video", |p| matches!(p, Packet::Rtp(_)).then_some(())).await;
        assert_eq!(*self.0.state.borrow(), Connected);
    }

    /// Waits for the end of its connection.
    async fn ends(&mut self) {
        let over = self.0.state.wait_for(|s| matches!(s, Closed | Disconnected | Failed));
        tokio::time::timeout(PATIENCE, over).await.expect("it ends").expect("alive");
    }
}

fn peercam_status(daemon: &Daemon) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam"));
    run("peercam status", command.arg("status").arg("--state-dir").arg(daemon.state_dir()), PATIENCE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_change_is_taken_and_who_watches_stays() {
    let mut daemon = Daemon::start(PATTERN);
    let mut viewer = Viewer::join(daemon.address()).await;

    let changed = PATTERN.replace("640x480", "320x240") + "bitrate_kbps = 64\n[web]\nmax_viewers = 1\n";
    daemon.reload(&changed);
    let told = daemon.said("configuration reloaded");
    let applied =
        "applied: video.size 640x480 -> 320x240, audio.bitrate_kbps 48 -> 64, web.max_viewers 50 -> 1";
    assert!(told.ends_with(applied), "{told}");
    viewer.watches().await;
    let (_, status) = until(daemon.address(), "the new size", PATIENCE, |s| {
        s["video"]["negotiated"]["width"] == 320 && s["video"]["state"] == "live"
    });
    assert_eq!(status["viewers"]["max"], 1);
    assert_eq!(status["viewers"]["count"], 1);
    assert_eq!(status["counters"]["viewers_joined"], 1);
    viewer.watches().await;
    let client = Client::new(false).await;
    assert_eq!(client.ask(daemon.address()).await.code, 201, "the owner's second, as after a reload");
    let refused = client.ask(daemon.address()).await;
    assert!(refused.code == 503 && refused.body.contains("(limit 1)"), "{refused:?}");

    daemon.reload(&changed);
    daemon.said("nothing changed");
    daemon.reload(&format!("{changed}\n[watching]\nprivacy = true\n"));
    until(daemon.address(), "private", PATIENCE, |s| s["video"]["state"] == "private");
    daemon.reload(&changed);
    until(daemon.address(), "open again", PATIENCE, |s| s["video"]["state"] == "live");
    viewer.watches().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_and_the_old_one_holds() {
    let mut daemon = Daemon::start(PATTERN);
    let mut viewer = Viewer::join(daemon.address()).await;
    daemon.reload(&PATTERN.replace("frame_rate = 30", "frame_rate = 500"));
    daemon.said("new configuration rejected, keeping the old one: ");
    let mistake = "device.toml:4:14: video.frame_rate: 500 is out of range; allowed: 1 to 120";
    daemon.said(mistake);
    viewer.watches().await;
    let status = peercam_status(&daemon);
    assert!(status.contains("peercam keeps the old configuration:") && status.contains(mistake), "{status}");
    assert_eq!(daemon.status()["video"]["wanted"]["fps"], 30.0);

    daemon.reload(PATTERN);
    daemon.said("nothing changed");
    let status = peercam_status(&daemon);
    assert!(status.contains("device.toml\n") && !status.contains("rejected"), "{status}");
    viewer.watches().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_moves_to_another_address_and_to_https() {
    let mut daemon = Daemon::start(PATTERN);
    let before = daemon.address();
    let mut viewer = Viewer::join(before).await;
    let page = |address, code| {
        let answer = get(address, "/api/status");
        assert_eq!(answer.as_ref().ok().map(|a| a.0), code, "{address}: {answer:?}");
    };

    let other = TcpListener::bind("127.0.0.1:18445").unwrap();
    daemon.reload(&format!("{PATTERN}[web]\nport = 18445\nmax_viewers = 7\n"));
    let refused = daemon.said("can't listen on 127.0.0.1:18445: ");
    assert!(refused.ends_with(&format!("(process {}) uses port 18445", std::process::id())), "{refused}");
    page(before, Some(200));
    assert_eq!(daemon.status()["viewers"]["max"], 50, "all or nothing");
    drop(other);

    daemon.reload(&format!("{PATTERN}[web]\nport = 18445\n"));
    daemon.said("listening on http://127.0.0.1:18445");
    daemon.said("web.port 0 -> 18445");
    let here = SocketAddr::from(([127, 0, 0, 1], 18445));
    page(here, Some(200));
    assert!(TcpStream::connect(before).is_err(), "closed");

    daemon.reload(&format!("{PATTERN}[web]\nport = 18445\naddress = \"0.0.0.0\"\n"));
    daemon.said("web.address 127.0.0.1 -> 0.0.0.0");
    page(here, Some(200));
    assert!(TcpStream::connect(("127.0.0.2", 18445)).is_ok(), "every address");

    daemon.reload(&format!("{PATTERN}[web]\nport = 18445\ntls = \"auto\"\nhttp_port = 18446\n"));
    daemon.said("listening on https://127.0.0.1:18445");
    daemon.said("web.http_port 8080 -> 18446, web.tls off -> auto");
    let redirected = anybody(SocketAddr::from(([127, 0, 0, 1], 18446)), "GET", "/", &[], "").unwrap();
    assert_eq!(redirected.header("location"), Some("https://127.0.0.1:18445/"));
    assert!(TcpStream::connect(("127.0.0.2", 18445)).is_err(), "this address only");
    viewer.watches().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_media_port_brings_viewers_back() {
    let mut daemon = Daemon::start(PATTERN);
    let mut viewer = Viewer::join(daemon.address()).await;
    daemon.reload(&format!("{PATTERN}[ice]\nport = 18447\ntcp = false\n"));
    daemon.said("applied: ice.tcp true -> false; viewers reconnect: ice.port 0 -> 18447");
    daemon.said("the device's media port has changed");
    viewer.ends().await;
    let mut viewer = Viewer::join(daemon.address()).await;
    let local = viewer.0.connection.remote_description().await.expect("an answer").sdp;
    assert!(local.contains(" 18447 typ host") && !local.contains(" tcp "), "{local}");

    daemon.reload(&format!("{PATTERN}[ice]\nport = 18447\npublic_addresses = [\"203.0.113.7\"]\n"));
    daemon.said("applied: ice.tcp false -> true, ice.public_addresses [] -> [203.0.113.7]");
    viewer.watches().await;
    assert!(TcpStream::connect(("127.0.0.1", 18447)).is_ok());
    let client = Client::new(false).await;
    let answer = client.ask(daemon.address()).await.body;
    assert!(answer.contains("203.0.113.7 18447") && answer.contains(" tcp "), "{answer}");
    let taken = TcpListener::bind("0.0.0.0:18448").unwrap();
    daemon.reload(&format!("{PATTERN}[ice]\nport = 18448\n"));
    daemon.said("can't take TCP port 18448 for media");
    drop(taken);
    tokio::time::sleep(Duration::from_millis(200)).await;
    viewer.watches().await;
}
