//! Three cameras in one daemon on the virtual board: two of the kernel's own and a USB webcam, each shown in
//! its tile over one connection, with two microphones. One is unplugged, one stops delivering: the others are
//! not affected.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::board::Board;
use crate::browser::{Browser, number};
use crate::cameras::state;
use crate::daemon::{status, until};
use crate::{file, jpeg};

/// Deadline; the board runs 15 times slower than this machine.
const SOON: Duration = Duration::from_secs(40);

const CONFIG: &str = "[video]\nsize = \"160x120\"\nframe_rate = 5\nbitrate_kbps = 300\n\
    [[camera]]\nname = \"webcam\"\ndevice = \"/dev/video0\"\nmicrophone = \"hw:Loopback,1,0\"\n\
    [[camera]]\nname = \"red\"\ndevice = \"/dev/video2\"\nmicrophone = \"hw:Loopback,1,1\"\n\
    [[camera]]\nname = \"blue\"\ndevice = \"/dev/video3\"\nmicrophone = \"off\"\n";

/// In the page: for each tile the mean colour in the middle of its picture, and from now on the times of its
/// pictures.
const WATCH: &str = "(() => {
    window.gaps = {};
    for (const tile of document.querySelectorAll('.tile')) {
        const video = tile.querySelector('video');
        const times = (window.gaps[tile.dataset.camera] = [performance.now()]);
        const next = () => { times.push(performance.now()); video.requestVideoFrameCallback(next); };
        video.requestVideoFrameCallback(next);
    }
})()";
const COLOURS: &str = "(() => Object.fromEntries([...document.querySelectorAll('.tile')].map((tile) => {
    const canvas = new OffscreenCanvas(4, 4);
    const context = canvas.getContext('2d');
    const video = tile.querySelector('video');
    context.drawImage(video, video.videoWidth / 2 - 2, video.videoHeight / 2 - 2, 4, 4, 0, 0, 4, 4);
    return [tile.dataset.camera, [...context.getImageData(1, 1, 1, 1).data].slice(0, 3)];
})))()";

/// The longest time without a picture for each camera, in milliseconds, within this many seconds from now on.
fn gaps(browser: &mut Browser, seconds: u64) -> Value {
    browser.eval(WATCH);
    std::thread::sleep(Duration::from_secs(seconds));
    browser.eval(
        "Object.fromEntries(Object.entries(window.gaps).map(([name, times]) => [name, Math.round(Math.max(\
         ...[...times.slice(1), performance.now()].map((time, n) => time - times[n])))]))",
    )
}

/// How long a camera may be without a picture in any case: on a machine that does other work as well, 0.9 s were measured
/// in undisturbed times, and a board that is not emulated takes a fifteenth of the time for everything.
const UNDISTURBED_MS: f64 = 1_200.;

/// The other cameras continued while one was disturbed, as in the undisturbed times: a busy machine disturbs
/// them as well, now and then.
fn assert_undisturbed(between: &[Value], during: &[Value], others: &[&str]) {
    println!("longest gaps, undisturbed {between:?}, else {during:?}");
    for name in others {
        let longest = |gaps: &[Value]| gaps.iter().map(|g| number(g, &format!("/{name}"))).fold(0., f64::max);
        let (between, during) = (longest(between), longest(during));
        assert!(
            during < UNDISTURBED_MS.max(1.5 * between),
            "{name}: {during} ms without a picture, {between} undisturbed"
        );
    }
}

fn all_live(address: SocketAddr) {
    until(address, "all live", SOON, |s| {
        ["webcam", "red", "blue"].iter().all(|name| state(s, name) == "live")
    });
}

/// Number of the page's connections. One that began before the number of cameras was known is closed.
fn open(browser: &mut Browser) -> usize {
    browser.connections().iter().filter(|state| *state != "closed").count()
}

#[test]
fn three_cameras_and_two_microphones_over_one_connection() {
    let mut board = Board::boot("vhci-hcd,uvcvideo,snd-aloop");
    board.put("fake_uvc.py", &std::fs::read(file("board/fake_uvc.py")).unwrap());
    board.put("movie.mjpeg", &jpeg::movie(160, 120, 50));
    board.plug_webcam("--size 160x120 --fps 5");
    board.run(
        "modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0,0
        v4l2-ctl -d /dev/video2 -c test_pattern=7,osd_text_mode=2
        v4l2-ctl -d /dev/video3 -c test_pattern=9,osd_text_mode=2
        for n in 0 1; do
            setsid speaker-test -D hw:Loopback,0,$n -c 1 -r 48000 -F S16_LE -t sine -f $((1000 + 1000 * n)) > /dev/null 2>&1 &
        done",
    );
    let address = board.start_daemon(CONFIG);
    let mut browser = Browser::start("chromium");
    browser.open(&format!("http://{address}/"));
    browser.wait(
        "document.querySelectorAll('.tile').length === 3 && window.peercam.facts.cameras.every((c) => c.frames > 5)",
        60,
    );
    all_live(address);
    assert_eq!(open(&mut browser), 1, "one connection for all");
    let colours = browser.eval(COLOURS);
    let is = |name: &str, channel: usize| {
        let of = |channel: usize| number(&colours, &format!("/{name}/{channel}"));
        of(channel) > 100. && (0..3).all(|other| other == channel || of(other) < 80.)
    };
    assert!(is("red", 0) && is("blue", 2) && !is("webcam", 0) && !is("webcam", 2), "{colours}");

    // The sound is that of the enlarged camera.
    browser.eval("document.querySelector('[data-camera=red] .tile-button').click()");
    browser.wait("window.peercam.facts.enlarged === 'red'", 20);
    browser.click_sound();
    for (name, hz) in [("red", 2000.), ("webcam", 1000.)] {
        browser.wait(&format!("(document.querySelector('[data-camera={name}] .tile-button').matches('.enlarged *') || document.querySelector('[data-camera={name}] .tile-button').click(), window.peercam.facts.enlarged === '{name}')"), 20);
        browser.frames(10, 40);
        browser.hears(hz, 0.1); // the tones are an octave apart
    }
    browser.eval("document.querySelector('[data-camera=webcam] .tile-button').click()");
    browser.wait("window.peercam.facts.enlarged === null", 20);
    browser.wait("window.peercam.facts.cameras.every((c) => c.state === 'live')", 40);

    let (mut between, mut during) = (vec![gaps(&mut browser, 12)], vec![]);
    // Unplugged, and back.
    board.unplug_webcam();
    until(address, "gone", SOON, |s| state(s, "webcam") == "gone");
    during.push(gaps(&mut browser, 12));
    board.plug_webcam("--size 160x120 --fps 5");
    all_live(address);
    browser.wait("window.peercam.facts.cameras.every((c) => c.state === 'live')", 40);
    between.push(gaps(&mut browser, 12));

    // The camera hangs: its driver delivers nothing more.
    board.run("kill -STOP $(cat /tmp/webcam)");
    during.push(gaps(&mut browser, 12));
    board.run("kill -CONT $(cat /tmp/webcam)");
    all_live(address);
    browser.wait("window.peercam.facts.cameras.every((c) => c.state === 'live')", 40);
    between.push(gaps(&mut browser, 12));
    assert_undisturbed(&between, &during, &["red", "blue"]);
    assert_eq!(open(&mut browser), 1, "nobody had to connect again");
    assert_eq!(status(address)["counters"]["viewers_joined"], json!(1));
}
