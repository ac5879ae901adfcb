//! Chromium and Firefox on the daemon's page, driven by `tests/browser/watch.mjs`.

use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_parser::pem::parse_x509_pem;

use crate::daemon::{Daemon, PATTERN, status, until};
use crate::door;
use crate::file;
use crate::process::{Process, run};
use crate::ticker::Ticker;

/// The test picture's colour bars, at 75 %.
pub(crate) const BARS: [[f64; 3]; 8] = [
    [191., 191., 191.],
    [191., 191., 0.],
    [0., 191., 191.],
    [0., 191., 0.],
    [191., 0., 191.],
    [191., 0., 0.],
    [0., 0., 191.],
    [0., 0., 0.],
];

/// Largest error of a colour, of 255.
const COLOUR_TOLERANCE: f64 = 8.0;

/// Largest difference between sound and picture: 40 ms, and the accuracy of the measurement (probe.js), 20
/// ms.
const LIP_SYNC_MS: f64 = 40.0 + 20.0;

/// Number of looks in a row for which this must hold.
const TOGETHER: u32 = 3;

/// Duration of a look, in seconds: as many beeps.
const LOOK_S: u32 = 8;

/// How long a browser on a busy machine may take to synchronise them.
const LIP_SYNC_WITHIN: Duration = Duration::from_secs(150);

/// Largest difference between the page's delay and that of the same pictures' stamps, besides the clock error
/// that the page reports.
const DELAY_MS: f64 = 5.0;

/// Largest clock error, with the daemon on the same machine, however busy it is.
const CLOCK_ERROR_MS: f64 = 50.0;

/// A page in a browser; dropping it ends the browser.
pub(crate) struct Browser {
    process: Process,
}

impl Browser {
    /// Starts `chromium` or `firefox`.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_by(Command::new("node").arg(file("browser/watch.mjs")).arg(name), name)
    }

    /// Starts Chromium for a user that trusts a device's certificate authority (PEM).
    pub(crate) fn trusting(authority: &[u8]) -> Self {
        let (_, pem) = parse_x509_pem(authority).expect("a PEM file");
        let certificate = pem.parse_x509().expect("a certificate");
        let key = ring::digest::digest(&ring::digest::SHA256, certificate.public_key().raw);
        let pin = STANDARD.encode(key);
        Self::with_flags(&format!("--ignore-certificate-errors-spki-list={pin}"))
    }

    /// Starts Chromium so that its pages' offers name its addresses, instead of names that somebody has to resolve.
    pub(crate) fn with_addresses() -> Self {
        Self::with_flags("--disable-features=WebRtcHideLocalIpsWithMdns")
    }

    fn with_flags(flags: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(file("browser/watch.mjs")).arg("chromium").env("CHROMIUM_FLAGS", flags);
        Self::start_by(&mut command, "chromium")
    }

    fn start_by(command: &mut Command, name: &str) -> Self {
        let mut process = Process::start(name, command.envs(door::keys()));
        process.line(Duration::from_secs(60)); // it is ready
        Self { process }
    }

    /// Runs a command of watch.mjs; fails the test if it fails.
    pub(crate) fn tell(&mut self, command: &Value) -> Value {
        self.process.tell(&command.to_string());
        let line = self.process.line(Duration::from_secs(90));
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        match answer.get("error") {
            Some(error) => self.process.fail(&format!("{command}: {error}")),
            None => answer["ok"].take(),
        }
    }

    /// Signs in as the owner, loads the page and waits for its first picture.
    pub(crate) fn open(&mut self, url: &str) {
        self.tell(&json!({"do": "open", "url": url}));
        self.frames(5, 20);
    }

    /// Makes the window so large that the page requests pictures of this size: more than its place needs is not sent.
    pub(crate) fn room_for(&mut self, width: u32, height: u32) {
        // Beside the picture may be a panel.
        self.tell(&json!({"do": "emulate", "width": width + 500, "height": height + 200}));
    }

    /// Loads any page.
    pub(crate) fn visit(&mut self, url: &str) {
        self.tell(&json!({"do": "visit", "url": url}));
    }

    /// Opens a pairing link, and becomes the owner as a person would.
    pub(crate) fn pair(&mut self, link: &str) {
        self.visit(link);
        // The form is hidden until the code that sends it is there.
        self.wait("document.getElementById('pair')?.checkVisibility()", 50);
        self.eval(&format!(
            "for (const field of ['pair-password', 'pair-again'])
               document.getElementById(field).value = {:?};
             document.getElementById('pair-password').form.requestSubmit()",
            door::PASSWORD
        ));
        self.wait("window.peercam.facts.state === 'live'", 50);
    }

    /// Waits for this many further frames; returns how many milliseconds they took.
    pub(crate) fn frames(&mut self, count: u32, within_s: u32) -> f64 {
        let took = self.tell(&json!({"do": "frames", "count": count, "within": within_s}));
        took.as_f64().unwrap_or_else(|| {
            let state = self.tell(&json!({"do": "state"}));
            self.process.fail(&format!("presented no {count} frames within {within_s} s: {state:#}"))
        })
    }

    /// Observes each frame for this many seconds. `ran` among the facts is the part of that time in which the
    /// machine ran.
    pub(crate) fn watch(&mut self, seconds: u32) -> Value {
        self.look(json!({"do": "watch", "seconds": seconds}))
    }

    /// Observes frames while `act` changes something, which begins a second later. Also returns the longest time without a
    /// new picture, without time that the machine lost.
    pub(crate) fn watch_while(&mut self, seconds: u32, act: impl FnOnce()) -> (Value, Duration) {
        let (ticker, start) = (Ticker::start(), Instant::now());
        let seen = std::thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(seconds));
            std::thread::sleep(Duration::from_secs(1));
            act();
            watching.join().expect("watched")
        });
        ticker.judge(start, Instant::now());
        let gap = longest_gap(&seen, &ticker);
        (seen, gap)
    }

    /// Observes frames and sound; the page must be unmuted.
    pub(crate) fn listen(&mut self, seconds: u32) -> Value {
        self.look(json!({"do": "watch", "seconds": seconds, "sound": true}))
    }

    /// Waits until a tone is heard, with its frequency right to within `part`. A board short of CPU plays a torn tone, which
    /// moves it, until it has caught up.
    pub(crate) fn hears(&mut self, hz: f64, part: f64) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let heard = self.listen(5);
            if (number(&heard, "/sound/peakHz") - hz).abs() < part * hz {
                return;
            }
            assert!(Instant::now() < end, "{hz} Hz is not heard: {heard:#}");
        }
    }

    fn look(&mut self, command: Value) -> Value {
        let ticker = Ticker::start();
        let (mut start, mut facts) = (Instant::now(), self.tell(&command));
        // A time in which the machine was busy elsewhere for more than half is worthless: look again.
        for _ in 0..2 {
            if ticker.is_valid(start, Instant::now()) {
                break;
            }
            (start, facts) = (Instant::now(), self.tell(&command));
        }
        ticker.judge(start, Instant::now());
        let lost = ticker.lost(start, Instant::now()).as_secs_f64();
        facts["ran"] = json!(number(&facts, "/seconds") - lost);
        facts
    }

    /// Clicks the page's control for sound.
    pub(crate) fn click_sound(&mut self) {
        self.tell(&json!({"do": "click", "selector": "#sound"}));
        self.wait("!document.querySelector('video').muted", 5);
    }

    /// Listens until the browser has synchronised sound and picture, or for so long that it never will;
    /// returns the last look. After unmuting it moves one towards the other, 10 ms a second, and sound that
    /// piled up on a busy machine is played faster. Passing the right point takes less than `TOGETHER` looks.
    pub(crate) fn lip_sync(&mut self) -> Result<Value, Value> {
        let end = Instant::now() + LIP_SYNC_WITHIN;
        let mut together = 0;
        loop {
            let facts = self.listen(LOOK_S);
            eprintln!("lip sync: {}", facts["lipSync"]);
            let pairs = facts["lipSync"]["pairs"].as_array().map_or(0, Vec::len);
            let near = pairs >= 3 && number(&facts, "/lipSync/median").abs() <= LIP_SYNC_MS;
            together = if near { together + 1 } else { 0 };
            if together == TOGETHER {
                return Ok(facts);
            }
            if Instant::now() > end {
                return Err(facts);
            }
        }
    }

    /// Waits until an expression in the page is true.
    pub(crate) fn wait(&mut self, code: &str, within_s: u32) -> f64 {
        let took = self.tell(&json!({"do": "wait", "code": code, "within": within_s}));
        took.as_f64().unwrap_or_else(|| {
            let state = self.tell(&json!({"do": "state"}));
            self.process.fail(&format!("not {code} within {within_s} s: {state:#}"))
        })
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&mut self, code: &str) -> Value {
        self.tell(&json!({"do": "eval", "code": code}))
    }

    /// Connections that the page has made so far, by state.
    pub(crate) fn connections(&mut self) -> Vec<String> {
        let state = self.tell(&json!({"do": "state"}));
        state["connections"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect()
    }

    /// Mean colours in the middle of each of the eight bars, at a height of the picture.
    pub(crate) fn bars(&mut self, at: f64) -> Value {
        self.tell(&json!({"do": "bars", "at": at}))
    }
}

/// Whether the colours are those of the bars.
pub(crate) fn are_bars(seen: &Value) -> bool {
    BARS.iter().enumerate().all(|(bar, want)| {
        want.iter().enumerate().all(|(channel, want)| {
            seen[bar][channel].as_f64().is_some_and(|have| (have - want).abs() <= COLOUR_TOLERANCE)
        })
    })
}

/// Asserts that they are.
pub(crate) fn assert_bars(seen: &Value, what: &str) {
    assert!(are_bars(seen), "{what}: {seen}, not {BARS:?}");
}

/// The longest time without a new picture among the facts of [`Browser::watch`], without time that the machine lost.
pub(crate) fn longest_gap(facts: &Value, ticker: &Ticker) -> Duration {
    let at = |unix_ms: &Value| ticker.at(unix_ms.as_f64().expect("a time"));
    let gaps = facts["gaps"].as_array().expect("gaps").iter().map(|gap| (at(&gap[0]), at(&gap[1])));
    ticker.longest(gaps)
}

/// A number in the facts.
pub(crate) fn number(facts: &Value, pointer: &str) -> f64 {
    facts.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {facts:#}"))
}

fn assert_picture(facts: &Value) {
    assert_eq!(facts["codec"], "video/H264", "{facts:#}");
    assert_eq!((number(facts, "/width"), number(facts, "/height")), (640., 480.), "{facts:#}");
    // Half of the frames sent: how many more is a question for the benches.
    assert!(number(facts, "/decoded") >= 15. * number(facts, "/ran"), "{facts:#}");
    assert!(number(facts, "/stamps") >= 10. * number(facts, "/ran"), "{facts:#}");
    assert_eq!(number(facts, "/stampsWrong"), 0., "{facts:#}");
    assert_eq!(number(facts, "/backwards"), 0., "{facts:#}");
    // The stamp's clock is this machine's.
    let delay = number(facts, "/delay/p50");
    assert!((0.0..1000.0).contains(&delay), "{facts:#}");
    assert_bars(&facts["bars"], "test picture");
}

/// The page's own figure compared with the stamps', which are read when the browser has the picture ready: a
/// screen refresh may lie between.
fn assert_delay_is_told(facts: &Value) {
    let stamps = number(facts, "/delay/toldP50");
    let more = number(facts, "/told/delay_ms") - stamps;
    println!("the page tells {more:.1} ms more than the stamps' {stamps:.1}");
    let clock_error = number(facts, "/told/clock_error_ms");
    assert!(clock_error < CLOCK_ERROR_MS, "{facts:#}");
    let off = DELAY_MS + clock_error;
    assert!((-off..=1000. / 60. + off).contains(&more), "{facts:#}");
}

fn assert_sound(facts: &Value) {
    let sound = &facts["sound"];
    assert!((number(sound, "/peakHz") - 1000.).abs() < 10., "{facts:#}");
    assert!(number(sound, "/tone") > 0.05, "{facts:#}");
    assert!(number(sound, "/beep") > 0.05, "{facts:#}");
}

/// Test picture, stamp, colours, sound, PLI, and a daemon that dies and comes back.
fn watches_the_test_picture(name: &str) {
    let mut daemon = Daemon::start(PATTERN);
    let mut browser = Browser::start(name);
    browser.open(&daemon.url("/"));

    let muted = browser.watch(5);
    println!("{name}, muted: {muted}");
    assert_eq!(muted["muted"], true, "{muted:#}");
    assert_picture(&muted);
    assert_delay_is_told(&muted);

    browser.click_sound();
    let sound = browser.listen(LOOK_S);
    println!("{name}, with sound: {sound}");
    assert_picture(&sound);
    assert_sound(&sound);

    let keyframe = browser.tell(&json!({"do": "keyframe", "seconds": 4}));
    println!("{name}, PLI: {keyframe}");
    assert!(
        number(&keyframe, "/pli") >= 1. && number(&keyframe, "/keyframes") >= 1.,
        "{keyframe:#}\n{}",
        daemon.log()
    );

    daemon.kill();
    browser.wait("window.peercam.facts.state !== 'live'", 20);
    daemon.restart();
    let back = browser.frames(30, 30);
    println!("{name}: a picture again {back:.0} ms after the restart");
    browser.wait("window.peercam.facts.state === 'live'", 10);
}

#[test]
fn chromium_watches_the_test_picture() {
    watches_the_test_picture("chromium");
}

#[test]
fn firefox_watches_the_test_picture() {
    watches_the_test_picture("firefox");
}

#[test]
fn two_viewers_one_with_sound() {
    let daemon = Daemon::start(PATTERN);
    let (mut loud, mut muted) = (Browser::start("chromium"), Browser::start("chromium"));
    loud.open(&daemon.url("/"));
    muted.open(&daemon.url("/"));
    loud.click_sound();
    // Both at once.
    let (with_sound, without) = std::thread::scope(|both| {
        let watching = both.spawn(|| muted.watch(LOOK_S));
        (loud.listen(LOOK_S), watching.join().expect("the muted viewer watched"))
    });
    println!("with sound: {with_sound}\nmuted: {without}");
    assert_picture(&with_sound);
    assert_sound(&with_sound);
    assert_picture(&without);
    assert_eq!(without["muted"], true);
    assert_eq!(number(&daemon.status(), "/viewers/count"), 2.);
}

/// What `tests/browser/page.mjs` checks about the page itself.
fn page(browser: &str, scenarios: &[&str]) {
    page_of(&Daemon::start(PATTERN), browser, scenarios);
}

fn page_of(daemon: &Daemon, browser: &str, scenarios: &[&str]) {
    page_at(&daemon.url("/"), daemon, browser, scenarios);
}

fn page_at(url: &str, daemon: &Daemon, browser: &str, scenarios: &[&str]) {
    for scenario in scenarios {
        let mut command = Command::new("node");
        command.arg(file("browser/page.mjs")).args(["--url", url, "--browser", browser]);
        command.args(["--scenario", scenario, "--pid", &daemon.id().to_string()]).envs(door::keys());
        let what = format!("page.mjs {browser} {scenario}");
        checked(daemon, &what, &mut command, Duration::from_secs(120));
    }
}

/// Runs a script that checks the page; fails the test if something is wrong. Returns what the script has seen.
fn checked(daemon: &Daemon, what: &str, command: &mut Command, within: Duration) -> Value {
    let out = run(what, command, within);
    let seen: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(seen["failures"], json!([]), "{what}: {seen:#}\n{}", daemon.log());
    seen
}

#[test]
fn page_is_accessible() {
    page("chromium", &["axe", "keyboard"]);
}

#[test]
fn page_saves_zooms_and_tells_its_keys() {
    page("chromium", &["pictures", "app", "problems"]);
}

#[test]
fn page_has_its_settings_in_one_place() {
    let daemon = Daemon::start(&format!("{PATTERN}[web]\ntls = \"auto\"\nhttp_port = 0\n"));
    page_at(&daemon.url("/").replace("http:", "https:"), &daemon, "chromium", &["settings"]);
}

#[test]
fn page_fits_large_letters_and_small_screens() {
    page("chromium", &["sizes"]);
    page_of(&Daemon::start(THREE), "chromium", &["sizes"]);
}

#[test]
fn page_speaks_the_language_of_its_browser() {
    page("chromium", &["languages"]);
}

/// Debian's WebKit has no WebRTC, and the page says so; everything else works.
#[test]
fn webkit_shows_everything_but_the_picture() {
    let daemon = Daemon::start(PATTERN);
    let mut command = Command::new("node");
    command.arg(file("browser/webkit.mjs")).args(["--url", &daemon.url("/")]).envs(door::keys());
    checked(&daemon, "webkit.mjs", &mut command, Duration::from_secs(120));
}

#[test]
fn page_tells_its_states() {
    page("chromium", &["states"]);
}

#[test]
fn page_says_when_there_is_no_room() {
    let daemon = Daemon::start(&format!("{PATTERN}[web]\nmax_viewers = 1\n"));
    page_of(&daemon, "chromium", &["full"]);
}

#[test]
fn page_tells_a_loss_once() {
    page("chromium", &["lost", "stopped"]);
}

#[test]
fn page_shows_the_size_that_was_chosen() {
    page("chromium", &["quality"]);
    page("firefox", &["quality"]);
}

#[test]
fn page_gives_sound_by_a_click() {
    page("chromium", &["sound"]);
    page("firefox", &["sound"]);
}

/// Three test pictures, distinguished by their sizes.
const THREE: &str = r#"
[video]
frame_rate = 15
[audio]
device = "tone"
[[camera]]
name = "front"
label = "Front door"
device = "pattern"
size = "640x360"
[[camera]]
name = "back"
device = "pattern"
size = "480x270"
[[camera]]
name = "yard"
device = "pattern"
size = "320x180"
"#;

#[test]
fn page_shows_several_cameras() {
    page_of(&Daemon::start(THREE), "chromium", &["cameras"]);
    page_of(&Daemon::start(THREE), "firefox", &["cameras"]);
}

#[test]
fn page_follows_cameras_that_come_and_go() {
    for kind in ["chromium", "firefox"] {
        let daemon = Daemon::start(THREE);
        let mut browser = Browser::start(kind);
        browser.open(&daemon.url("/"));
        cameras_come_and_go(&daemon, &mut browser);
        let joined = status(daemon.address())["counters"]["viewers_joined"].clone();
        assert_eq!(joined, json!(1), "{kind}: one viewer all the time");
    }
}

/// Waits until these cameras are live, over the page's first connection.
fn shows(browser: &mut Browser, labels: &str) {
    let all = "window.peercam.facts.cameras";
    let live = format!("{all}.every((c) => c.state === 'live' && c.frames > 5)");
    let told = format!("{all}.map((c) => c.label).join() === '{labels}' && {live}");
    browser.wait(&format!("{told} && window.peercam.facts.generation === 1"), 20);
}

fn cameras_come_and_go(daemon: &Daemon, browser: &mut Browser) {
    // A tile that stays is the same element with the same stream: it doesn't blink.
    let stays = |browser: &mut Browser, camera: &str| {
        let video = format!("document.querySelector('[data-camera={camera}] video')");
        browser.eval(&format!("(window.kept ??= new Map()).set('{camera}', [{video}, {video}.srcObject])"));
    };
    let stayed = |browser: &mut Browser, camera: &str| {
        let video = format!("document.querySelector('[data-camera={camera}] video')");
        let same = format!(
            "(([video, stream]) => video === {video} && stream === video.srcObject)(window.kept.get('{camera}'))"
        );
        assert_eq!(browser.eval(&same), true, "{camera}");
    };
    let camera = |name: &str| {
        let at = THREE.find(&format!("[[camera]]\nname = \"{name}\"")).expect("a camera");
        let end = THREE[at + 1..].find("[[camera]]").map_or(THREE.len(), |next| at + 1 + next);
        &THREE[at..end]
    };
    shows(browser, "Front door,Back,Yard");
    for name in ["front", "back", "yard"] {
        stays(browser, name);
    }
    // A new label does not make a new camera.
    daemon.reload(&THREE.replace("Front door", "Porch"));
    shows(browser, "Porch,Back,Yard");
    // A new name does, and it gets the section of the one that goes.
    daemon.reload(
        &THREE.replace("name = \"front\"\nlabel = \"Front door\"", "name = \"gate\"\nlabel = \"Gate\""),
    );
    shows(browser, "Gate,Back,Yard");
    stayed(browser, "yard");
    daemon.reload(THREE);
    shows(browser, "Front door,Back,Yard");
    stays(browser, "front");
    daemon.reload(&THREE.replace(camera("back"), ""));
    shows(browser, "Front door,Yard");
    stayed(browser, "front");
    stayed(browser, "yard");
    // It comes back, between the two, while the first one is enlarged: only that one covers the others.
    browser.eval("document.querySelector('[data-camera=front] .tile-button').click()");
    daemon.reload(THREE);
    browser.wait("document.querySelectorAll('.tile').length === 3", 20);
    browser.wait("document.querySelectorAll('.tile.enlarged').length === 1", 10);
    let escape = "new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })";
    browser.eval(&format!("document.body.dispatchEvent({escape})"));
    shows(browser, "Front door,Back,Yard");
    stayed(browser, "front");
    stayed(browser, "yard");
    // The first one goes: the next takes its place, and with it the sound.
    daemon.reload(&THREE.replace(camera("front"), ""));
    shows(browser, "Back,Yard");
    stayed(browser, "yard");
    let (two, _) = THREE.rsplit_once("[[camera]]").expect("cameras");
    daemon.reload(two);
    shows(browser, "Front door,Back");
    // A single camera fills the page.
    let (one, _) = two.rsplit_once("[[camera]]").expect("cameras");
    daemon.reload(one);
    shows(browser, "Front door");
    browser.wait("document.title === '● live — Front door — peercam'", 10);
    browser.wait("document.getElementById('figures-of').textContent === 'Front door'", 10);
    assert_eq!(browser.eval("document.querySelector('.tile-button').checkVisibility()"), false);
}

/// The offer names a camera that is gone when it arrives.
#[test]
fn page_follows_cameras_that_change_while_its_offer_is_on_its_way() {
    for kind in ["chromium", "firefox"] {
        let daemon = Daemon::start(THREE);
        let mut browser = Browser::start(kind);
        browser.open(&daemon.url("/"));
        shows(&mut browser, "Front door,Back,Yard");
        browser.eval(
            "(() => {
                const { send } = WebSocket.prototype;
                WebSocket.prototype.send = function (text) {
                    if (window.arrive || JSON.parse(text).type !== 'offer') return send.call(this, text);
                    window.arrive = () => send.call(this, text);
                };
            })()",
        );
        let (two, _) = THREE.rsplit_once("[[camera]]").expect("cameras");
        daemon.reload(&THREE.replace("name = \"front\"", "name = \"porch\""));
        browser.wait("!!window.arrive", 20);
        daemon.reload(two);
        until(daemon.address(), "two cameras", Duration::from_secs(20), |s| {
            s["cameras"].as_array().is_some_and(|all| all.len() == 2)
        });
        browser.eval("window.arrive()");
        shows(&mut browser, "Front door,Back");
        let joined = status(daemon.address())["counters"]["viewers_joined"].clone();
        assert_eq!(joined, json!(1), "{kind}: one viewer all the time");
    }
}

#[test]
fn a_new_pairing_link_says_that_there_is_an_owner() {
    let daemon = Daemon::start(PATTERN);
    let printed = daemon.command(&["pair"]);
    let secret = printed.split("#pair=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let mut browser = Browser::start("chromium");
    let link = daemon.url(&format!("/#pair={}", secret.expect("a link")));
    browser.tell(&json!({"do": "visit", "url": link}));
    browser.wait("document.getElementById('pair')?.checkVisibility()", 20);
    assert_eq!(browser.eval("document.getElementById('pair-title').textContent"), "Set a new owner password");
}

/// What `tests/browser/door.mjs` checks about pairing, signing in, guests, privacy, and messages about failed
/// connections.
#[test]
fn page_lets_in_only_whom_it_should() {
    let mut daemon = Daemon::first_start(PATTERN);
    let link = daemon.said("pairing link: ");
    let secret = link.split("#pair=").nth(1).expect("a secret").trim().to_owned();
    let mut command = Command::new("node");
    command.arg(file("browser/door.mjs")).args(["--url", &daemon.url("/")]);
    command.arg(format!("--secret={secret}")); // it may begin with "-"
    let seen = checked(&daemon, "door.mjs", &mut command, Duration::from_secs(300));
    println!("{seen:#}");
}
