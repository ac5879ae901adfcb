//! Cameras with known quirks, on the virtual board: unusual JPEGs, slow to start, a mode that does not work,
//! and unplugged while nobody watches. One boot for all of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::board::Board;
use crate::browser::number;
use crate::client::Client;
use crate::daemon::{get, status, until};
use crate::http::request;
use crate::{file, jpeg};

const PLUG: &str = "--size 320x240 --fps 10";
/// Deadline; the board runs 15 times slower than this machine.
const SOON: Duration = Duration::from_secs(30);

fn state(state: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["video"]["state"] == state
}

/// The status code of `/snapshot.jpg`, and the size of the JPEG if it is one.
fn snapshot(address: SocketAddr) -> (u16, Option<(usize, usize)>) {
    let (code, body) = get(address, "/snapshot.jpg").expect("an answer");
    let header = turbojpeg::read_header(&body).ok();
    (code, header.map(|header| (header.width, header.height)))
}

/// Checks that a picture arrives, whatever the camera's state was.
fn assert_picture(address: SocketAddr, size: (usize, usize)) {
    assert_eq!(snapshot(address), (200, Some(size)), "{:#}", status(address));
}

/// Watches until the board has encoded this many pictures, and leaves.
fn watch(address: SocketAddr, pictures: f64) {
    let encoded = || number(&status(address), "/counters/encoded");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut client = Client::at("10.77.0.1:0", true).await;
        let resource = client.join(address).await;
        let all = encoded() + pictures;
        while encoded() < all {
            client.next("media", Some).await;
        }
        assert_eq!(request(address, "DELETE", &resource, &[], "").unwrap().code, 200);
    });
    until(address, "left", SOON, |s| s["viewers"]["count"] == 0);
}

/// Waits for a line in the log.
fn assert_said(board: &Board, line: &str) {
    let end = Instant::now() + SOON;
    while !board.daemon_log().lines().any(|l| l.contains(line)) {
        assert!(Instant::now() < end, "not said: {line}\n{}", board.daemon_log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn start(board: &mut Board, keep_open: bool) -> SocketAddr {
    board.start_daemon(&format!(
        "[video]\nsize = \"320x240\"\nframe_rate = 10\nkeep_open = {keep_open}\n[audio]\ndevice = \"off\"\n"
    ))
}

#[test]
fn cameras_that_work_elsewhere() {
    let mut board = Board::boot("vhci-hcd,uvcvideo");
    board.put("fake_uvc.py", &std::fs::read(file("board/fake_uvc.py")).unwrap());
    board.put("movie.mjpeg", &jpeg::movie(320, 240, 20));
    board.put("large.mjpeg", &jpeg::movie(640, 480, 5));
    board.run("mkdir /host/pictures");
    let mut pictures = 0;
    for picture in std::fs::read_dir(file("data/mjpeg")).unwrap() {
        let path = picture.unwrap().path();
        let name = format!("pictures/{}", path.file_name().unwrap().to_string_lossy());
        board.put(&name, &std::fs::read(path).unwrap());
        pictures += 1;
    }

    // Each of these contains a picture, so each is shown.
    board.plug_webcam("--size 128x64 --fps 10 --mjpeg /host/pictures");
    let address = start(&mut board, true);
    until(address, "live", SOON, state("live"));
    watch(address, 2. * f64::from(pictures));
    let now = status(address);
    assert_eq!(number(&now, "/counters/damaged_jpeg"), 0., "{now:#}");
    assert_picture(address, (128, 64));

    unplugged_while_nobody_watches(&mut board, address, "live");
    slow_to_start(&mut board, address);
    a_mode_that_does_not_work(&mut board, address);

    // It sends a different size than it agreed to: what arrives is shown.
    board.plug_webcam(&format!("{PLUG} --mjpeg /host/large.mjpeg"));
    let width = |s: &Value| s["video"]["state"] == "live" && s["video"]["negotiated"]["width"] == 640;
    until(address, "told as it is", SOON, width);
    assert_picture(address, (640, 480));

    let address = start(&mut board, false);
    board.plug_webcam(PLUG);
    until(address, "found", SOON, state("idle"));
    unplugged_while_nobody_watches(&mut board, address, "idle");
}

/// Before and afterwards it is in `state`.
fn unplugged_while_nobody_watches(board: &mut Board, address: SocketAddr, before: &'static str) {
    board.unplug_webcam();
    until(address, "gone", SOON, state("gone"));
    assert_eq!(snapshot(address), (503, None));
    // This name contains marks that would reverse the log line and clear the terminal.
    board.plug_webcam(&format!("{PLUG} --name $'Cam\\u202e\\x1b[2J'"));
    let (_, now) = until(address, "back", SOON, state(before));
    assert_picture(address, (320, 240));
    assert_said(board, r"camera: back: Cam\u{202e}\u{1b}[2J");
    assert!(now["video"]["name"].as_str().is_some_and(|name| name.starts_with(r"Cam\u{202e}")), "{now:#}");
    let journal = board.daemon_log();
    assert!(!journal.contains(['\u{202e}', '\u{1b}']), "{journal}");
    assert!(!board.run("/tmp/peercam devices").contains(['\u{202e}', '\u{1b}']));
}

fn slow_to_start(board: &mut Board, address: SocketAddr) {
    let before = status(address);
    board.plug_webcam(&format!("{PLUG} --start-after 5"));
    until(address, "starting", SOON, state("starting"));
    // A request meanwhile waits for it.
    assert_picture(address, (320, 240));
    let (_, now) = until(address, "live", SOON, state("live"));
    let lost = |status: &Value| number(status, "/counters/camera_lost");
    assert_eq!(lost(&now), lost(&before) + 1., "lost by unplugging only: {now:#}");
    let streams = board.run("grep -c stream /host/webcam.log");
    assert_eq!(streams.trim(), "1", "it was started once");
}

fn a_mode_that_does_not_work(board: &mut Board, address: SocketAddr) {
    for (how, within) in [("errors", SOON), ("stalls", SOON + SOON)] {
        board.plug_webcam(&format!("{PLUG} --yuyv {how}"));
        let live = |s: &Value| s["video"]["state"] == "live" && s["video"]["negotiated"]["format"] == "MJPG";
        let (took, now) = until(address, "live in its other mode", within, live);
        println!("YUYV {how}: MJPG after {took:.1?}");
        let why = now["video"]["why"].as_str().unwrap_or_default();
        assert!(why.contains("YUYV") && why.contains("pixel_format = \"MJPG\""), "{why}");
        assert_said(board, "trying MJPG (to use it from the start, set `pixel_format = \"MJPG\"`)");
        assert_picture(address, (320, 240));
    }
}
