//! A virtual board with the kernel's own V4L2, UVC and ALSA drivers (`tests/board`), watched by Chromium on
//! this machine over a tap network. The board runs 15 times slower than this machine, so pictures are small
//! and deadlines long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rtc::interceptor::Packet;
use serde_json::Value;

use crate::browser::{Browser, are_bars, assert_bars, number};
use crate::client::{Client, OPUS};
use crate::daemon::{status, until};
use crate::door;
use crate::jpeg;
use crate::process::{Dir, Process};
use crate::{file, place};

/// The interface at this end of its cable.
pub(crate) const TAP: &str = "board0";
const PORT: u16 = 8080;

/// The kind of board: its processor and its PID 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// This machine's processor with a minimal system: up in some seconds.
    Bare,
    /// Debian as people install it, on this machine's processor.
    Amd64,
    /// Debian as people install it, on a Raspberry Pi's processor.
    Arm64,
}

impl Kind {
    /// The image, and its init.
    fn image(self) -> (PathBuf, &'static str) {
        match self {
            Self::Bare => (place("PEERCAM_BOARD"), "guest_init"),
            Self::Amd64 => (place("PEERCAM_BOARD"), "systemd"),
            Self::Arm64 => (place("PEERCAM_BOARD_ARM64"), "systemd"),
        }
    }
}

/// A booted board; dropping it is a power cut.
pub(crate) struct Board {
    qemu: Process,
    share: Dir,
    requests: u32,
    kind: Kind,
}

impl Board {
    /// Boots with kernel modules loaded.
    pub(crate) fn boot(modules: &str) -> Self {
        Self::boot_as(Kind::Bare, modules)
    }

    /// Boots a board of this kind.
    pub(crate) fn boot_as(kind: Kind, modules: &str) -> Self {
        let ip = |args: &str| {
            let mut command = Command::new("ip");
            command.args(args.split(' '));
            let out = command.output().expect("ip runs");
            assert!(out.status.success(), "ip {args}: {}", String::from_utf8_lossy(&out.stderr));
        };
        // Not by /sys/class/net, which shows the network namespace of the process that mounted it.
        let there =
            Command::new("ip").args(["link", "show", TAP]).output().expect("ip runs").status.success();
        if !there {
            ip(&format!("tuntap add dev {TAP} mode tap"));
            ip(&format!("addr add 10.77.0.1/24 dev {TAP}"));
            ip(&format!("link set {TAP} up"));
        }
        // Under emulation, Debian's kernel sometimes panics in its timer check while booting.
        for _ in 0..3 {
            if let Some(board) = Self::try_boot(kind, modules) {
                return board;
            }
        }
        panic!("the board does not boot");
    }

    fn try_boot(kind: Kind, modules: &str) -> Option<Self> {
        let (share, (image, init)) = (Dir::new(), kind.image());
        let mut command = Command::new(file("board/board.sh"));
        command.arg("run").arg(image).arg(share.path());
        command.envs([("TAP", TAP), ("MODS", modules), ("INIT", init)]);
        let qemu = Process::start("board", &mut command);
        let board = Self { qemu, share, requests: 0, kind };
        board.comes_up().then_some(board)
    }

    /// Waits until it accepts requests.
    fn comes_up(&self) -> bool {
        let (start, share) = (Instant::now(), self.share.path());
        let within = if matches!(self.kind, Kind::Bare) { 120 } else { 300 };
        while !share.join("out/ready").exists() {
            let console = std::fs::read_to_string(share.join("console")).unwrap_or_default();
            if console.contains("Kernel panic") || start.elapsed() > Duration::from_secs(within) {
                println!("boot failed: {console}");
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("board up after {:.1} s", start.elapsed().as_secs_f64());
        true
    }

    /// Has systemd reboot it; its disk keeps its contents.
    pub(crate) fn reboot(&mut self) {
        std::fs::remove_file(self.share.path().join("out/ready")).unwrap();
        self.run("setsid sh -c 'sleep 1; systemctl reboot' > /dev/null 2>&1 &");
        assert!(self.comes_up(), "the board does not come up again");
    }

    /// Runs a script on the board and returns its output; fails the test if the script fails.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let (status, output) = self.attempt(script);
        assert_eq!(status, 0, "on the board: {script}\n{output}\n{}", self.daemon_log());
        output
    }

    /// Runs a script and returns its exit status and output.
    pub(crate) fn attempt(&mut self, script: &str) -> (i32, String) {
        self.requests += 1;
        let n = self.requests;
        let share = self.share.path();
        // By a rename, so that the board never sees a partial file.
        std::fs::write(share.join("in/new"), script).unwrap();
        std::fs::rename(share.join("in/new"), share.join(format!("in/{n}"))).unwrap();
        let within = if matches!(self.kind, Kind::Bare) { 60 } else { 180 };
        let end = Instant::now() + Duration::from_secs(within);
        loop {
            if let Ok(status) = std::fs::read_to_string(share.join(format!("out/{n}.status"))) {
                let output = std::fs::read(share.join(format!("out/{n}"))).unwrap_or_default();
                return (status.trim().parse().unwrap(), String::from_utf8_lossy(&output).into_owned());
            }
            if Instant::now() > end {
                self.qemu.fail(&format!(
                    "not done on the board within {within} s: {script}\n{}",
                    self.daemon_log()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Creates a file that the board sees as /host/NAME.
    pub(crate) fn put(&self, name: &str, contents: &[u8]) {
        std::fs::write(self.share.path().join(name), contents).unwrap();
    }

    /// Starts the daemon there, and kills a running one. `config` is without `[web]`.
    pub(crate) fn start_daemon(&mut self, config: &str) -> SocketAddr {
        let binary = self.share.path().join("peercam");
        if !binary.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_peercam"), &binary).unwrap();
        }
        self.put(
            "device.toml",
            format!("{config}\n[web]\naddress = \"10.77.0.2\"\ntls = \"off\"\nport = {PORT}\n").as_bytes(),
        );
        self.put("state.json", door::state());
        self.run(
            "cp -u /host/peercam /tmp/peercam
            [ ! -e /tmp/pid ] || kill -9 $(cat /tmp/pid)
            cd /tmp; rm -f /host/daemon.log
            [ -e /tmp/state ] || { mkdir /tmp/state; cp /host/state.json /tmp/state/; }
            NO_COLOR=1 setsid /tmp/peercam run --config /host/device.toml --state-dir /tmp/state > /host/daemon.log 2>&1 & echo $! > /tmp/pid",
        );
        let end = Instant::now() + Duration::from_secs(60);
        while !self.daemon_log().contains("listening on http://") {
            assert!(Instant::now() < end, "the daemon does not start on the board:\n{}", self.daemon_log());
            std::thread::sleep(Duration::from_millis(50));
        }
        SocketAddr::from(([10, 77, 0, 2], PORT))
    }

    pub(crate) fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.share.path().join("daemon.log")).unwrap_or_default()
    }

    /// Adds a camera of the kernel's own, which can inject errors.
    pub(crate) fn plug_vivid(&mut self) {
        self.run("modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 no_error_inj=0");
    }

    /// Plugs in the software webcam, which shows /host/movie.mjpeg; unplugs it first if it is plugged in.
    pub(crate) fn plug_webcam(&mut self, arguments: &str) {
        self.unplug_webcam();
        self.run(&format!(
            "setsid python3 /host/fake_uvc.py --mjpeg /host/movie.mjpeg {arguments} > /host/webcam.log 2>&1 & echo $! > /tmp/webcam
            for n in $(seq 200); do ls /dev/video0 2>/dev/null && exit 0; sleep 0.1; done; cat /host/webcam.log; exit 1"
        ));
    }

    pub(crate) fn unplug_webcam(&mut self) {
        self.run(
            "[ -e /tmp/webcam ] || exit 0; kill $(cat /tmp/webcam); rm /tmp/webcam
            for n in $(seq 100); do [ -e /dev/video0 ] || exit 0; sleep 0.1; done; exit 1",
        );
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- peercam on the board:\n{}", self.daemon_log());
        }
        self.qemu.kill();
    }
}

/// Deadline for a camera to be back after plugging in: 2 s on a machine that is not 15 times slower than this
/// one.
const BACK_WITHIN: Duration = Duration::from_secs(15);

const LIVE: &str = "live";
const GONE: &str = "gone";

fn video(state: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["video"]["state"] == state
}

fn counter(status: &Value, name: &str) -> f64 {
    number(status, &format!("/counters/{name}"))
}

/// Waits until the page shows the bars again: the camera's picture, not the slate.
pub(crate) fn picture_is_back(browser: &mut Browser, at: f64, what: &str) {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        browser.frames(2, 40);
        let bars = browser.bars(at);
        if are_bars(&bars) {
            return;
        }
        if Instant::now() > end {
            assert_bars(&bars, what);
        }
    }
}

/// Unplugged while streaming: the slate arrives on the same connection; plugged in: the picture comes back.
fn unplug_and_replug(
    board: &mut Board,
    browser: &mut Browser,
    at: f64,
    address: SocketAddr,
    unplug: impl Fn(&mut Board),
    plug: impl Fn(&mut Board),
) {
    let before = browser.connections();
    let lost = counter(&status(address), "camera_lost");
    unplug(board);
    let (took, gone) = until(address, "reported as gone", Duration::from_secs(30), video(GONE));
    println!("gone after {took:.1?}: {}", gone["video"]["reason"]);
    assert!(gone["video"]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{gone:#}");
    assert_eq!(counter(&gone, "camera_lost"), lost + 1., "{gone:#}");
    // The page shows the reason, and so does the picture: two slates a second. Sound continues.
    browser.wait("window.peercam.facts.state === 'camera-gone'", 20);
    // Or, if the daemon has looked for it by then, that there is none.
    let reason = gone["video"]["reason"].to_string().to_lowercase();
    let told = "document.body.innerText.toLowerCase().includes(reason)";
    browser.wait(&format!("[{reason}, 'no camera is plugged in'].some((reason) => {told})"), 20);
    browser.frames(4, 30);
    assert!(!are_bars(&browser.bars(at)), "the camera's last picture stays");
    let audio = counter(&status(address), "opus_packets");
    until(address, "heard", Duration::from_secs(20), |s| counter(s, "opus_packets") > audio + 20.);
    plug(board);
    let (took, _) = until(address, "live again", BACK_WITHIN, video(LIVE));
    println!("live again {took:.1?} after plugging in");
    picture_is_back(browser, at, "after replugging");
    browser.wait("window.peercam.facts.state === 'live'", 20);
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
}

/// Sets controls with which vivid fails while streaming, and waits until it has failed and delivers again:
/// until then the browser may still show earlier pictures.
fn lost_and_back(board: &mut Board, address: SocketAddr, controls: &str) {
    let before = counter(&status(address), "camera_lost");
    board.run(&format!("v4l2-ctl -d /dev/video0 -c {controls}"));
    let (_, lost) = until(address, "counting the lost camera", Duration::from_secs(30), |s| {
        counter(s, "camera_lost") > before
    });
    until(address, "delivering again", Duration::from_secs(30), |s| {
        counter(s, "captured") > counter(&lost, "captured") + 5. && video(LIVE)(s)
    });
}

/// Plays into the other end of the sound loopback.
pub(crate) const PLAY: &str =
    "setsid speaker-test -D hw:Loopback,0,0 -c 1 -r 48000 -F S16_LE -t sine -f 1000 > /dev/null 2>&1 &";

/// The sound loopback disappears while streaming and comes back: the picture continues, the page says why
/// there is no sound, and sound returns on the same connection.
fn unplug_and_replug_the_microphone(board: &mut Board, browser: &mut Browser, address: SocketAddr) {
    let audio = |state: &'static str| move |status: &Value| status["audio"]["state"] == state;
    let before = browser.connections();
    let lost = counter(&status(address), "microphone_lost");
    board.run("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind");
    let (_, gone) = until(address, "reported as gone", Duration::from_secs(30), audio(GONE));
    println!("microphone gone: {}", gone["audio"]["reason"]);
    assert!(gone["audio"]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{gone:#}");
    assert_eq!(counter(&gone, "microphone_lost"), lost + 1., "{gone:#}");
    browser.wait("document.body.innerText.includes('No sound: ')", 20);
    browser.frames(10, 30);
    board.run("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind");
    board.run(PLAY);
    let (took, _) = until(address, "live again", BACK_WITHIN, audio(LIVE));
    println!("microphone live again {took:.1?} after plugging in");
    browser.frames(10, 30);
    browser.hears(1000., 0.02);
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
}

/// vivid's picture has bars from top to bottom.
pub(crate) const MIDDLE: f64 = 0.5;

#[test]
fn vivid_and_sound_loopback() {
    let mut board = Board::boot("snd-aloop");
    board.plug_vivid();
    board.run("v4l2-ctl -d /dev/video0 -c test_pattern=0,osd_text_mode=2");
    board.run(PLAY);
    let config = |format: &str| {
        format!(
            "[video]\nsize = \"320x180\"\nframe_rate = 10\npixel_format = \"{format}\"\nbitrate_kbps = 1500\n\
             [audio]\ndevice = \"hw:Loopback,1,0\"\n"
        )
    };
    let address = board.start_daemon(&config("auto"));
    let mut browser = Browser::start("chromium");
    browser.open(&format!("http://{address}/"));
    let facts = browser.watch(5);
    println!("{facts}");
    let (_, now) = until(address, "live", Duration::from_secs(20), video(LIVE));
    assert_eq!(now["video"]["source"], "camera", "{now:#}");
    assert_eq!(now["audio"]["source"], "microphone", "{now:#}");
    assert_bars(&browser.bars(MIDDLE), "chosen by itself");
    browser.click_sound();
    browser.frames(10, 30);
    browser.hears(1000., 0.02);

    // Next to the daemon, which has both devices open, `check` finds no fault.
    let said = board.run("/tmp/peercam check --config /host/device.toml --state-dir /tmp/state");
    assert_eq!(said.matches("open in the running peercam").count(), 2, "{said}");
    assert!(said.ends_with("no problems\n"), "{said}");
    let said = board.run("/tmp/peercam devices --config /host/device.toml --state-dir /tmp/state");
    assert!(said.contains(", chosen, open in the running peercam\n    device = \"/dev/video0\"\n"), "{said}");

    // The driver's injected faults are counted and survived.
    let before = status(address);
    board.run("v4l2-ctl -d /dev/video0 -c percentage_of_dropped_buffers=50");
    until(address, "counting lost frames", Duration::from_secs(30), |s| {
        counter(s, "sequence_gaps") > counter(&before, "sequence_gaps")
    });
    board.run("v4l2-ctl -d /dev/video0 -c percentage_of_dropped_buffers=0; v4l2-ctl -d /dev/video0 -c inject_v4l2_buf_flag_error=1");
    until(address, "counting damaged buffers", Duration::from_secs(30), |s| {
        counter(s, "error_buffers") > counter(&before, "error_buffers")
    });
    lost_and_back(&mut board, address, "inject_fatal_streaming_error=1");
    picture_is_back(&mut browser, MIDDLE, "after a fatal streaming error");
    // The next attempt to stream fails too, the one after that does not.
    lost_and_back(&mut board, address, "inject_vidioc_streamon_error=1,inject_fatal_streaming_error=1");
    picture_is_back(&mut browser, MIDDLE, "after a failed STREAMON");

    unplug_and_replug(
        &mut board,
        &mut browser,
        MIDDLE,
        address,
        |board| drop(board.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")),
        |board| {
            board.run(
                "echo vivid.0 > /sys/bus/platform/drivers/vivid/bind
                for n in $(seq 100); do [ -e /dev/video0 ] && break; sleep 0.1; done
                v4l2-ctl -d /dev/video0 -c test_pattern=0,osd_text_mode=2",
            );
        },
    );

    unplug_and_replug_the_microphone(&mut board, &mut browser, address);

    // Each raw layout; the page comes back by itself each time.
    for format in ["YUYV", "UYVY", "NV12", "NV21", "YU12"] {
        board.start_daemon(&config(format));
        browser.frames(10, 60);
        let (_, now) = until(address, "live", Duration::from_secs(20), video(LIVE));
        assert_eq!(now["video"]["negotiated"]["format"], format, "{now:#}");
        picture_is_back(&mut browser, MIDDLE, format);
        println!("{format}: colours are right");
    }
}

/// For this many seconds: how much later than pictures sound arrives, in milliseconds relative to an unknown
/// origin. For each kind, only the packet that took the least time from its RTP time to here counts, because
/// the network and the board only ever add to it. Pictures are dated by the board's clock, which sound has to
/// follow.
async fn behind_pictures_ms(client: &mut Client, origin: (Instant, [u32; 2]), seconds: u64) -> f64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut least = [f64::INFINITY; 2];
    while Instant::now() < end {
        let (kind, timestamp) = client.next("media", dated).await;
        let sent = f64::from(timestamp.wrapping_sub(origin.1[kind]) as i32) / RTP_KHZ[kind];
        least[kind] = least[kind].min(origin.0.elapsed().as_secs_f64() * 1000. - sent);
    }
    least[SOUND] - least[PICTURE]
}

const PICTURE: usize = 0;
const SOUND: usize = 1;
const RTP_KHZ: [f64; 2] = [90., 48.];

/// The kind of a packet, and its RTP time.
fn dated(packet: Packet) -> Option<(usize, u32)> {
    let Packet::Rtp(packet) = packet else { return None };
    let kind = if packet.header.payload_type == OPUS { SOUND } else { PICTURE };
    Some((kind, packet.header.timestamp))
}

/// A microphone whose crystal is 2000 ppm slow, more than any real one, so that it shows within a minute: its
/// sound would be 90 ms late after 45 s if its samples were the clock. Returns the measurements, or what was
/// wrong.
pub(crate) fn a_drifting_microphone_stays_in_time() -> Result<String, String> {
    let mut board = Board::boot("snd-aloop");
    // The control belongs to the capturing side, in hundred-thousandths: 100200 takes samples too slowly by
    // that factor.
    board
        .run("amixer -q -c Loopback cset iface=PCM,name='PCM Rate Shift 100000',device=1,subdevice=0 100200");
    board.run(PLAY);
    let address = board.start_daemon(
        "[video]\ndevice = \"pattern\"\nsize = \"64x64\"\nframe_rate = 10\n[audio]\ndevice = \"hw:Loopback,1,0\"\n",
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut offsets = vec![];
    let (early, late) = runtime.block_on(async {
        let mut client = Client::at("10.77.0.1:0", true).await;
        client.join(address).await;
        let first = async |client: &mut Client, wanted| {
            let only = |packet| dated(packet).filter(|(kind, _)| *kind == wanted);
            client.next("media", only).await.1
        };
        let began = Instant::now();
        let origin = (began, [first(&mut client, PICTURE).await, first(&mut client, SOUND).await]);
        behind_pictures_ms(&mut client, origin, 15).await; // until the drift is known
        let early = behind_pictures_ms(&mut client, origin, 5).await;
        for _ in 0..40 {
            behind_pictures_ms(&mut client, origin, 1).await;
            offsets.push(number(&status(address), "/audio/offset_ms").abs());
        }
        (early, behind_pictures_ms(&mut client, origin, 5).await)
    });
    let now = status(address);
    let drift = number(&now, "/audio/drift_ppm");
    let worst = offsets.into_iter().fold(0., f64::max);
    let seen = format!(
        "behind pictures {early:.1} ms, {late:.1} ms after 45 s; drift {drift:.0} ppm, worst offset {worst:.2} ms"
    );
    // Without resampling the offset repeatedly reaches 8 ms even at 500 ppm. A packet waits for the
    // microphone's delivery, up to 20 ms, and the drift moves the end of the packet within that time.
    let good = (drift + 2000.).abs() < 100. && worst < 5. && (late - early).abs() < 30.;
    if good { Ok(seen) } else { Err(seen) }
}

#[test]
fn vivid_by_the_multiplanar_interface() {
    let mut board = Board::boot("snd-aloop");
    board.run(
        "modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 multiplanar=2
        v4l2-ctl -d /dev/video0 -c test_pattern=0,osd_text_mode=2",
    );
    let address =
        board.start_daemon("[video]\nsize = \"320x180\"\nframe_rate = 10\n[audio]\ndevice = \"off\"\n");
    let mut browser = Browser::start("chromium");
    browser.open(&format!("http://{address}/"));
    picture_is_back(&mut browser, MIDDLE, "multi-planar");
    assert_eq!(status(address)["video"]["source"], "camera");
}

#[test]
fn usb_webcam_with_mjpeg() {
    const AT: f64 = 0.625;
    const PLUG: &str = "--size 320x240 --fps 10 --name 'Imaginary Webcam'";
    let mut board = Board::boot("vhci-hcd,uvcvideo,snd-aloop");
    board.put("fake_uvc.py", &std::fs::read(file("board/fake_uvc.py")).unwrap());
    board.put("movie.mjpeg", &jpeg::movie(320, 240, 100));
    board.plug_webcam(PLUG);
    let address = board.start_daemon(
        "[video]\nsize = \"320x240\"\nframe_rate = 10\nbitrate_kbps = 1500\n[audio]\ndevice = \"hw:Loopback,1,0\"\n",
    );
    let mut browser = Browser::start("chromium");
    browser.open(&format!("http://{address}/"));
    let facts = browser.watch(6);
    println!("{facts}");
    let (_, now) = until(address, "live", Duration::from_secs(20), video(LIVE));
    assert!(now["video"]["name"].as_str().is_some_and(|n| n.contains("Imaginary Webcam")), "{now:#}");
    assert_eq!(now["video"]["negotiated"]["format"], "MJPG", "{now:#}");
    picture_is_back(&mut browser, AT, "MJPEG");
    assert!(number(&facts, "/stamps") >= 6., "{facts:#}");
    assert_eq!(number(&facts, "/stampsWrong"), 0., "{facts:#}");

    unplug_and_replug(&mut board, &mut browser, AT, address, Board::unplug_webcam, |board| {
        board.plug_webcam(PLUG)
    });

    // A camera that damages every seventh picture: these are dropped and counted, and nothing else is lost.
    let before = status(address);
    board.plug_webcam(&format!("{PLUG} --damage 7"));
    until(address, "counting damaged pictures", Duration::from_secs(60), |s| {
        counter(s, "damaged_jpeg") >= counter(&before, "damaged_jpeg") + 3.
    });
    picture_is_back(&mut browser, AT, "with damaged pictures between");
    let facts = browser.watch(5);
    assert_eq!(number(&facts, "/stampsWrong"), 0., "{facts:#}");

    // In dim light the wanted, negotiated and delivered rates differ.
    board.plug_webcam(&format!("{PLUG} --deliver 5"));
    until(address, "telling half the rate", Duration::from_secs(60), |s| {
        s["video"]["delivered_fps"].as_f64().is_some_and(|fps| (3.0..6.5).contains(&fps))
            && s["video"]["negotiated"]["fps"].as_f64().is_some_and(|fps| fps > 9.)
            && s["video"]["rate_note"]
                .as_str()
                .is_some_and(|note| note.contains("exposure_dynamic_framerate"))
    });
}

/// The software webcam and the board without the daemon, as v4l2-ctl sees them.
#[test]
fn the_board_itself() {
    let mut board = Board::boot("vhci-hcd,uvcvideo,snd-aloop");
    board.put("fake_uvc.py", &std::fs::read(file("board/fake_uvc.py")).unwrap());
    let movie = jpeg::movie(320, 240, 30);
    board.put("movie.mjpeg", &movie);
    board.plug_webcam("--size 320x240 --fps 10");
    let told = board.run("v4l2-ctl -d /dev/video0 --list-formats-ext --list-ctrls --all; arecord -l");
    for part in
        ["Imaginary Webcam", "'MJPG'", "320x240", "10.000 fps", "exposure_dynamic_framerate", "Loopback"]
    {
        assert!(told.contains(part), "no {part} in {told}");
    }
    board.run("v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=3 --stream-to=/host/seen 2>&1");
    let seen = std::fs::read(board.share.path().join("seen")).unwrap();
    assert!(movie.starts_with(&seen) && seen.len() > 1000, "the frames are not those of the file");
    // It is still there after streams that end while it gives a frame, which it does all the time here.
    board.plug_webcam("--size 320x240 --fps 10 --deliver 1000");
    for _ in 0..3 {
        board.run(
            "for n in $(seq 10); do v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=3 2>&1 || { dmesg | tail -n 20; exit 1; }; done
            sleep 0.5; ls /dev/video0 && ! grep unplugged /host/webcam.log",
        );
    }
    board.unplug_webcam();
}
