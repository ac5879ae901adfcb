//! The package on a board with systemd, from its owner's point of view: installed, paired, watched by
//! Chromium on this machine, mistreated, upgraded and removed. `make test-device` builds the packages and
//! runs these tests; `make test` leaves them out.
//!
//! The boards run 15 times slower than this machine, so each is booted once and its test has many steps; the
//! time for each step is printed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::board::{Board, Kind, MIDDLE, picture_is_back};
use crate::browser::{Browser, assert_bars};
use crate::process::{Dir, run};
use crate::{door, file, jpeg, place};

/// Deadline for what a person would see within some seconds on a real board.
const SOON: Duration = Duration::from_secs(90);
/// The page's address.
const PAGE: &str = "https://10.77.0.2:8443/";
/// Highest exposure that `systemd-analyze security` may report, of 10.
const EXPOSURE: f64 = 2.0;

/// Devices that are plugged into the board, now and at each boot: vivid, whose picture is bars without text,
/// and a tone in the sound loopback. The ports for the software webcam are there too.
const PERIPHERALS: &str = r#"
    printf '%s\n' snd-aloop vhci-hcd uvcvideo > /etc/modules-load.d/board.conf
    echo 'options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 no_error_inj=0' > /etc/modprobe.d/board.conf
    echo 'ACTION=="add", SUBSYSTEM=="video4linux", ATTR{name}=="vivid*", RUN+="/usr/bin/v4l2-ctl -d $devnode -c test_pattern=0,osd_text_mode=2"' > /etc/udev/rules.d/90-board.rules
    printf '%s\n' '[Service]' 'ExecStart=speaker-test -D hw:Loopback,0,0 -c 1 -r 48000 -F S16_LE -t sine -f 1000' \
        StandardOutput=null Restart=always '[Install]' WantedBy=multi-user.target > /etc/systemd/system/tone.service
    udevadm control --reload
    modprobe -a snd-aloop vhci-hcd uvcvideo
    systemctl daemon-reload
    systemctl enable -q --now tone
"#;

/// Stops a thread of the daemon in any state, like a driver that never returns: PTRACE_SEIZE and
/// PTRACE_INTERRUPT, and then only waiting for its end (__WALL), which the tracer would otherwise block.
const WEDGE: &str = r#"
    [ "$(uname -m)" = aarch64 ] && ptrace=117 || ptrace=101
    pid=$(systemctl show -P MainPID peercam)
    tid=$(grep -lx "$THREAD" /proc/$pid/task/*/comm | cut -d / -f 5)
    [ -n "$tid" ] || { cat /proc/$pid/task/*/comm; exit 1; }
    setsid perl -e '$| = 1;
        for my $request (0x4206, 0x4207) {
            syscall($ARGV[0] + 0, $request, $ARGV[1] + 0, 0, 0) == 0 or die "ptrace: $!";
        }
        print "wedged\n";
        1 while waitpid(-1, 0x40000000) > 0' $ptrace $tid > /tmp/wedge 2>&1 &
    for n in $(seq 50); do grep -q wedged /tmp/wedge && exit 0; sleep 0.1; done; cat /tmp/wedge; exit 1
"#;

/// A board on which the package is, was or will be installed.
struct Site {
    board: Board,
    since: Instant,
}

impl Site {
    fn boot(kind: Kind) -> Self {
        let mut site = Self { board: Board::boot_as(kind, ""), since: Instant::now() };
        site.follow_the_journal();
        site.board.run(PERIPHERALS);
        site.done("its devices plugged in");
        site
    }

    /// Writes the journal into a file here, so that a failure shows it.
    fn follow_the_journal(&mut self) {
        self.board.run("setsid journalctl --follow --lines=all --unit=peercam >> /host/daemon.log 2>&1 &");
    }

    fn done(&mut self, step: &str) {
        println!("{:6.1} s  {step}", self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }

    fn run(&mut self, script: &str) -> String {
        self.board.run(&format!("set -eu\n{script}")).trim().to_owned()
    }

    /// Repeats a script until it succeeds.
    fn until_it_succeeds(&mut self, what: &str, script: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let (status, output) = self.board.attempt(script);
            if status == 0 {
                return output;
            }
            assert!(Instant::now() < end, "not {what} within {SOON:?}: {output}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// `apt install ./peercam_*.deb`
    fn install(&mut self, package: &Path) {
        let name = package.file_name().expect("a file").to_str().expect("ASCII");
        self.board.put(name, &std::fs::read(package).expect("the package"));
        let told = self.run(&format!(
            "export DEBIAN_FRONTEND=noninteractive
            cd /host && apt-get install -y -o Dpkg::Options::=--force-confold ./{name}"
        ));
        println!("{told}");
        self.active();
    }

    /// A property of the unit.
    fn show(&mut self, property: &str) -> String {
        self.run(&format!("systemctl show -P {property} peercam"))
    }

    fn active(&mut self) {
        self.until_it_succeeds("active", "systemctl is-active peercam");
    }

    fn status(&mut self) -> Value {
        let told = self.until_it_succeeds("telling its status", "peercam status --json");
        serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"))
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not {what} within {SOON:?}: {status:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Edits `/etc/peercam/device.toml`.
    fn configure(&mut self, section: &str, key: &str, value: &str) {
        self.run(&format!(
            "sed -i '/^\\[{section}\\]/,/^\\[/ s|^{key} = .*|{key} = {value}|' /etc/peercam/device.toml
            grep -qxF '{key} = {value}' /etc/peercam/device.toml"
        ));
    }

    /// Settings that an emulated processor can handle.
    fn configure_all(&mut self) {
        for (section, key, value) in [
            ("video", "size", "\"320x180\""),
            ("video", "frame_rate", "10"),
            ("video", "bitrate_kbps", "1500"),
            ("audio", "device", "\"hw:Loopback,1,0\""),
        ] {
            self.configure(section, key, value);
        }
    }

    /// Chromium on this machine, for a user that trusts the device.
    fn browser(&mut self) -> Browser {
        Browser::trusting(self.run("cat /var/lib/peercam/ca.pem").as_bytes())
    }

    /// After the daemon died: systemd has restarted it, and the page is live by itself.
    fn is_back(&mut self, browser: &mut Browser, restarts: u32, what: &str) {
        self.until_it_succeeds(what, &format!("[ $(systemctl show -P NRestarts peercam) = {restarts} ]"));
        self.active();
        comes_back(browser);
        picture_is_back(browser, MIDDLE, what);
        self.done(what);
    }

    /// Waits for `text` in the journal.
    fn journal_says(&mut self, text: &str) {
        self.until_it_succeeds(
            &format!("saying {text:?}"),
            &format!("journalctl --unit=peercam --boot --no-pager | grep -F '{text}'"),
        );
    }

    fn is_confined(&mut self) {
        let told = self.run("systemd-analyze security --no-pager peercam");
        let figure = told.lines().rev().find_map(|l| l.split_once("exposure level for peercam.service: "));
        let figure = figure.and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
        println!("systemd-analyze security: {figure:?}");
        assert!(figure.is_some_and(|f| f <= EXPOSURE), "{told}");
        assert_eq!(self.run("ps -o user= -p $(systemctl show -P MainPID peercam)"), "peercam");
        self.done("confined");
    }

    /// `apt remove` leaves what the owner wrote, `apt purge` nothing.
    fn is_removed_without_trace(&mut self) {
        self.run("apt-get remove -y peercam");
        self.run(
            "[ ! -e /usr/bin/peercam ] && [ -e /etc/peercam/device.toml ] && [ -e /var/lib/peercam/state.json ]
            ! pgrep -x peercam && ! systemctl is-active peercam",
        );
        self.run("apt-get purge -y peercam");
        let left =
            self.run("find / -xdev '(' -path /proc -o -path /host ')' -prune -o -iname '*peercam*' -print");
        assert_eq!(left, "", "purging left something");
        self.done("removed and purged");
    }
}

/// The package of this version for an architecture, made by `make deb`.
fn package(architecture: &str) -> PathBuf {
    let (dir, begins) = (place("PEERCAM_PACKAGES"), concat!("peercam_", env!("CARGO_PKG_VERSION")));
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<_> = files.map(|f| f.expect("an entry").path()).collect();
    found.retain(|f| {
        let name = f.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with(begins) && name.ends_with(&format!("_{architecture}.deb"))
    });
    assert_eq!(found.len(), 1, "one package for {architecture} in {}: {found:?}", dir.display());
    found.remove(0)
}

/// The same as a later version, whose configuration file has changed too.
fn upgrade(package: &Path, dir: &Path) -> PathBuf {
    let later = dir.join("peercam_later.deb");
    let script = "dpkg-deb -R \"$1\" \"$2/tree\"
        sed -i 's/^Version: .*/&+later/' \"$2/tree/DEBIAN/control\"
        echo '# later' >> \"$2/tree/etc/peercam/device.toml\"
        dpkg-deb --root-owner-group -Znone -b \"$2/tree\" \"$3\"";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args([package, dir, &later]);
    run("making a later package", &mut command, Duration::from_secs(60));
    later
}

/// The page comes back by itself.
fn comes_back(browser: &mut Browser) {
    browser.wait("window.peercam.facts.state === 'live'", 80);
    browser.frames(3, 50);
}

/// vivid's picture and the tone in the loopback are seen and heard.
fn is_seen_and_heard(site: &mut Site, browser: &mut Browser) {
    browser.frames(5, 50);
    picture_is_back(browser, MIDDLE, "vivid");
    browser.click_sound();
    browser.frames(10, 50);
    browser.hears(1000., 0.02);
    let now = site.status();
    assert_eq!(now["video"]["source"], "camera", "{now:#}");
    assert_eq!(now["audio"]["source"], "microphone", "{now:#}");
    site.done("seen and heard");
}

/// Unplugged, and plugged in again after a different camera has taken its number: its name finds it.
fn is_found_by_its_name(site: &mut Site, browser: &mut Browser) {
    const AT: f64 = 0.625;
    const GONE: &str = "for n in $(seq 100); do [ -e /dev/video0 ] || exit 0; sleep 0.1; done; exit 1";
    let plug = |site: &mut Site, node: &str| {
        site.run(&format!(
            "setsid python3 /host/fake_uvc.py --mjpeg /host/movie.mjpeg --size 320x240 --fps 10 > /host/webcam.log 2>&1 &
            echo $! > /run/webcam
            for n in $(seq 200); do [ -e {node} ] && udevadm settle && exit 0; sleep 0.1; done; cat /host/webcam.log; exit 1"
        ));
    };
    site.board.put("fake_uvc.py", &std::fs::read(file("board/fake_uvc.py")).unwrap());
    site.board.put("movie.mjpeg", &jpeg::movie(320, 240, 100));
    site.run(&format!("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind; {GONE}"));
    plug(site, "/dev/video0");
    let name = site.run("ls /dev/v4l/by-id | grep index0");
    println!("/dev/v4l/by-id/{name}");
    let opened =
        |node: &str| format!("ls -l /proc/$(systemctl show -P MainPID peercam)/fd | grep -F '{node}'");
    let before = browser.connections();
    site.configure("video", "device", &format!("\"{name}\""));
    site.configure("video", "size", "\"320x240\"");
    site.run("systemctl reload peercam");
    site.until("live by its name", |s| {
        s["video"]["state"] == "live" && s["video"]["name"].to_string().contains("Imaginary")
    });
    site.until_it_succeeds("open", &opened("/dev/video0"));
    picture_is_back(browser, AT, "by its name");
    site.run(&format!("kill $(cat /run/webcam); {GONE}"));
    site.until("reported as gone", |s| s["video"]["state"] == "gone" && s["video"]["reason"].is_string());
    site.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind; udevadm settle; [ -e /dev/video0 ]");
    plug(site, "/dev/video1");
    site.until("live again", |s| s["video"]["state"] == "live");
    site.until_it_succeeds("open by its other number", &opened("/dev/video1"));
    picture_is_back(browser, AT, "by its other number");
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
    site.done("unplugged, plugged in again, and found by its name");
    // Back to vivid.
    site.configure("video", "device", "\"auto\"");
    site.configure("video", "size", "\"320x180\"");
    site.run("kill $(cat /run/webcam); systemctl reload peercam");
    picture_is_back(browser, MIDDLE, "vivid again");
    site.done("another camera by a reload");
}

/// A valid file is applied while viewers stay, an invalid one is rejected.
fn reloads(site: &mut Site, browser: &mut Browser) {
    let (process, before) = (site.show("MainPID"), browser.connections());
    site.configure("video", "frame_rate", "5");
    site.run("systemctl reload peercam");
    site.until("at the new rate", |s| s["video"]["wanted"]["fps"].as_f64() == Some(5.));
    browser.frames(5, 50);
    site.configure("video", "frame_rate", "500");
    site.board.attempt("systemctl reload peercam");
    site.journal_says("video.frame_rate: 500 is out of range");
    site.until_it_succeeds("telling so", "systemctl show -P StatusText peercam | grep rejected");
    browser.frames(5, 50);
    let now = site.status();
    assert_eq!(now["video"]["wanted"]["fps"].as_f64(), Some(5.), "{now:#}");
    site.configure("video", "frame_rate", "10");
    site.run("systemctl reload peercam");
    site.until("at the first rate", |s| s["video"]["wanted"]["fps"].as_f64() == Some(10.));
    assert_eq!(site.show("MainPID"), process, "the daemon was restarted");
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
    site.done("reloaded, with a good file and a bad one");
}

#[test]
fn arm64_board() {
    let first = package("arm64");
    let dir = Dir::new();
    let mut site = Site::boot(Kind::Arm64);
    // A board without a clock believes that it is the time when its system was made.
    site.run("date -s '2024-01-01 00:00'; modprobe vivid");
    site.install(&first);
    site.done("installed");
    site.is_confined();

    site.configure_all();
    site.run("systemctl restart peercam");
    let told = site.until_it_succeeds(
        "showing the pairing link",
        "systemctl status --no-pager -l peercam | grep -F '#pair='",
    );
    println!("systemctl status: {told}StatusText: {}", site.show("StatusText"));
    assert!(!site.show("StatusText").is_empty());
    let link = told.split_whitespace().find(|w| w.starts_with(PAGE) && w.contains("#pair=")).expect("a link");
    let mut browser = site.browser();
    browser.pair(link);
    site.done("paired");
    is_seen_and_heard(&mut site, &mut browser);

    // The network provides the time, which jumps by years.
    let before = browser.connections();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    site.run(&format!("date -s @{now}"));
    browser.frames(30, 50);
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
    assert_eq!(site.status()["video"]["state"], "live");
    site.done("three years later");

    reloads(&mut site, &mut browser);
    is_found_by_its_name(&mut site, &mut browser);

    // The watchdog's time applies from the next start.
    site.run(
        "mkdir -p /etc/systemd/system/peercam.service.d
        printf '%s\\n' '[Service]' WatchdogSec=10 > /etc/systemd/system/peercam.service.d/test.conf
        systemctl daemon-reload
        systemctl kill -s KILL --kill-who=main peercam",
    );
    site.is_back(&mut browser, 1, "back after kill -9");
    site.run(&format!("THREAD=video-full\n{WEDGE}"));
    site.is_back(&mut browser, 2, "back after a wedged thread");
    site.journal_says("Watchdog timeout");
    site.run("rm -r /etc/systemd/system/peercam.service.d; systemctl daemon-reload");

    site.board.reboot();
    site.follow_the_journal();
    // Not loaded at boot: a camera that is plugged in late.
    site.run("modprobe vivid");
    site.active();
    comes_back(&mut browser);
    picture_is_back(&mut browser, MIDDLE, "after a reboot");
    let now = site.until("live", |s| s["video"]["state"] == "live" && s["audio"]["state"] == "live");
    assert_eq!(now["audio"]["source"], "microphone", "{now:#}");
    site.done("rebooted, and streaming");

    let (process, edited) = (site.show("MainPID"), site.run("cat /etc/peercam/device.toml"));
    site.install(&upgrade(&first, dir.path()));
    assert_ne!(site.show("MainPID"), process, "the old daemon still runs");
    assert_eq!(site.run("cat /etc/peercam/device.toml"), edited, "the owner's file was changed");
    comes_back(&mut browser);
    picture_is_back(&mut browser, MIDDLE, "after an upgrade");
    site.done("upgraded");

    site.is_removed_without_trace();
}

#[test]
fn amd64_board() {
    let mut site = Site::boot(Kind::Amd64);
    site.install(&package("amd64"));
    println!("StatusText without a camera: {}", site.show("StatusText"));
    site.done("installed without a camera");
    site.is_confined();

    // A broken file is reported, and not tried again and again.
    site.configure_all();
    site.configure("video", "device", "\"/dev/video0\"");
    site.configure("video", "frame_rate", "500");
    site.board.attempt("systemctl restart peercam");
    site.journal_says("video.frame_rate: 500 is out of range");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((&*site.show("ActiveState"), &*site.show("NRestarts")), ("failed", "0"));
    site.configure("video", "frame_rate", "10");
    site.done("refused a broken file");

    // A light of the keyboard, and a program of the owner.
    let light = site.run("ls /sys/class/leds | grep -m 1 scrolllock");
    site.configure("watching", "led", &format!("\"{light}\""));
    site.configure("watching", "on_first", r#"["/bin/sh", "-c", "env > /run/peercam/first"]"#);
    site.board.put("state.json", door::state());
    site.run(
        "install -o peercam -g peercam -m 600 /host/state.json /var/lib/peercam/state.json
        systemctl start peercam",
    );
    let mut browser = site.browser();
    browser.open(PAGE);
    let now = site.until("without a camera", |s| s["video"]["state"] == "gone");
    println!("no camera: {}", now["video"]["reason"]);
    let before = browser.connections();
    site.run("modprobe vivid");
    site.until("live", |s| s["video"]["state"] == "live");
    is_seen_and_heard(&mut site, &mut browser);
    assert_bars(&browser.bars(MIDDLE), "with sound");
    assert_eq!(browser.connections(), before, "the viewer had to connect again");
    site.done("its camera plugged in while somebody watches");

    let shines = |on: u8| format!("[ $(cat /sys/class/leds/{light}/brightness) = {on} ]");
    site.until_it_succeeds("shining", &shines(1));
    site.run("grep -x PEERCAM_VIEWERS=1 /run/peercam/first");
    browser.tell(&json!({"do": "visit", "url": "about:blank"}));
    site.until_it_succeeds("dark again", &shines(0));
    site.done("its light switched and a program run, out of the sandbox");

    site.run("systemctl stop peercam");
    let took = ["InactiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic"]
        .map(|p| site.show(p).parse::<f64>());
    let [Ok(end), Ok(begin)] = took else { panic!("{took:?}") };
    println!("stopped within {:.1} s", (end - begin) / 1e6);
    assert!(end - begin < 3e6, "it took {} µs to stop", end - begin);
    assert_eq!(site.show("Result"), "success");
    site.done("stopped");
    site.is_removed_without_trace();
}
