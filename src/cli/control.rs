//! Commands that the running daemon executes: `pair`, `passwd`, `token`, `status`, `privacy`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::args::{Options, Passwd, Privacy, ShowStatus, Switch, Token, TokenCommand};
use super::print;
use super::table::columns;
use crate::board::control::{self, AskError, Request};
use crate::board::holdings::Holdings;
use crate::board::terminal;
use crate::state::Role;
use crate::text;
use crate::wall::date;
use crate::web::tls;

const NOT_RUNNING: &str = "Start it (`systemctl start peercam`, or `peercam`). If it runs with --state-dir, use the same folder here.";

/// Sends a request to the daemon.
fn ask(options: &Options, request: &Request) -> anyhow::Result<Value> {
    control::ask(&options.state_dir(), request).map_err(|e| match e {
        AskError::NotRunning(_) => anyhow::anyhow!("{e}. {NOT_RUNNING}"),
        e => e.into(),
    })
}

/// Asks the running peercam for its ports and devices. If a state folder was given, the answer counts only if the
/// daemon uses that folder: the daemon that systemd started may answer instead.
pub(super) fn holdings(options: &Options) -> Result<Option<Holdings>, AskError> {
    let dir = options.state_dir();
    match control::ask(&dir, &Request::Holdings) {
        Ok(answer) => {
            let told: Option<Holdings> = serde_json::from_value(answer).ok();
            Ok(told.filter(|daemon| options.state_dir.is_none() || daemon.keeps_state_in(&dir)))
        }
        Err(AskError::NotRunning(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// `peercam pair`
pub fn pair(options: &Options) -> anyhow::Result<ExitCode> {
    let invitation = ask(options, &Request::Pair)?;
    let links: Vec<&str> = texts(&invitation["links"]);
    let mut text: String = links.iter().map(|link| format!("{link}\n")).collect();
    if let Some(columns) = terminal::columns() {
        text += &links.first().and_then(|l| terminal::qr(l, columns)).unwrap_or_default();
        let what = match invitation["paired"].as_bool() {
            Some(true) => "replace the owner password",
            _ => "become the owner and choose a password",
        };
        text += &format!("Open one of these links within {} minutes to {what}.\n", invitation["minutes"]);
        let issued = issued(&invitation["issued"]);
        if invitation["paired"] == Value::Bool(true) && !issued.is_empty() {
            text += &format!("This also ends the following, unless you tick \"Keep\" on the page:\n{issued}");
        }
        text += tls::warning(&invitation["certificate"]);
        text += &fingerprint(&invitation["certificate"]);
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `peercam passwd`
pub fn passwd(args: &Passwd, options: &Options) -> anyhow::Result<ExitCode> {
    let role = if args.viewer { Role::Viewer } else { Role::Owner };
    let whose = if args.viewer { "household's" } else { "owner's" };
    if args.remove {
        let request = Request::SetPassword { role, password: None, keep_links: true, cameras: None };
        let done = ask(options, &request)?;
        print("The household's password was removed. Everyone who signed in with it was signed out.\n")?;
        print(&warning(&done))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Ask before the password is typed: this also finds out whether the daemon is running.
    let issued = issued(&ask(options, &Request::Issued)?);
    let terminal = io::stdin().is_terminal();
    let password = if terminal { typed(whose)? } else { piped()? };
    let ends = role == Role::Owner && !issued.is_empty();
    let keep_links = args.keep_links || (ends && terminal && !agreed(&issued)?);
    let cameras = (args.all_cameras || !args.cameras.is_empty()).then(|| args.cameras.clone());
    ask(options, &Request::SetPassword { role, password: Some(password), keep_links, cameras })?;
    let mut text =
        format!("The {whose} password was set. Whoever was signed in with an earlier one was signed out.\n");
    if ends {
        text += if keep_links { "These stay valid:\n" } else { "These have ended:\n" };
        text += &issued;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Guest links and tokens, one per line.
fn issued(names: &Value) -> String {
    let lines = |what: &str, key: &str| -> String {
        texts(&names[key]).iter().map(|name| format!("  {what} {name}\n")).collect()
    };
    lines("guest link", "guests") + &lines("token", "tokens")
}

/// Asks the user whether the links and tokens should end.
fn agreed(issued: &str) -> anyhow::Result<bool> {
    eprintln_quietly(&format!(
        "Someone who knew the old password may have created these:\n{issued}End them too? [Y/n] "
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("can't read from the terminal")?;
    Ok(!matches!(answer.trim().to_lowercase().as_str(), "n" | "no"))
}

/// The warning in the daemon's answer, as a line.
fn warning(answer: &Value) -> String {
    answer["warning"].as_str().map(|w| format!("Warning: {w}.\n")).unwrap_or_default()
}

fn typed(whose: &str) -> anyhow::Result<String> {
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("can't read from the terminal");
    let first = ask(&format!("New password ({whose}): "))?;
    anyhow::ensure!(first == ask("Once more: ")?, "the two passwords differ; nothing was changed");
    Ok(first)
}

fn piped() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("can't read the password from standard input")?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    anyhow::ensure!(!password.is_empty(), "no password on standard input: it is read from the first line");
    Ok(password.to_owned())
}

/// `peercam token`
pub fn token(args: &Token, options: &Options) -> anyhow::Result<ExitCode> {
    let text = match &args.command {
        TokenCommand::Add { name, role, cameras } => {
            let cameras = Some(cameras.clone()).filter(|names| !names.is_empty());
            let request = Request::TokenAdd { name: name.clone(), role: (*role).into(), cameras };
            let added = ask(options, &request)?;
            let token = added["token"].as_str().context("the daemon returned no token")?;
            if io::stdout().is_terminal() {
                eprintln_quietly("This token is shown only once. Send it as `Authorization: Bearer TOKEN`:");
            }
            format!("{token}\n")
        }
        TokenCommand::List => {
            let tokens = ask(options, &Request::TokenList)?;
            let row = |t: &Value| {
                let made = t["created_unix"].as_i64().map(date).unwrap_or_default();
                let cameras = match &t["cameras"] {
                    Value::Array(_) => texts(&t["cameras"]).join(", "),
                    _ => "all cameras".into(),
                };
                [string(&t["name"]), string(&t["role"]), cameras, made]
            };
            let rows: Vec<_> = tokens.as_array().into_iter().flatten().map(row).collect();
            match rows.is_empty() {
                true => "there are no tokens\n".into(),
                false => columns(0, &rows),
            }
        }
        TokenCommand::Revoke { name } => {
            let done = ask(options, &Request::TokenRevoke { name: name.clone() })?;
            format!(
                "{} was revoked and its clients were disconnected.\n{}",
                text::shown(name),
                warning(&done)
            )
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `peercam privacy`
pub fn privacy(args: &Privacy, options: &Options) -> anyhow::Result<ExitCode> {
    let on = args.switch == Switch::On;
    let done = ask(options, &Request::Privacy { on, camera: args.camera.clone() })?;
    let (of, what) = match &args.camera {
        Some(camera) => (format!(" of {camera}"), "the camera"),
        None => (String::new(), "cameras and microphones"),
    };
    print(&match (on, done["warning"].is_string()) {
        (true, false) => format!("Privacy{of} is on: {what} will stay closed, even after a restart.\n"),
        (true, true) => format!("Privacy{of} is on.\n"),
        (false, _) => format!("Privacy{of} is off: {what} will open when somebody watches.\n"),
    })?;
    print(&warning(&done))?;
    Ok(ExitCode::SUCCESS)
}

/// `peercam status`
pub fn status(args: &ShowStatus, options: &Options) -> anyhow::Result<ExitCode> {
    let facts = ask(options, &Request::Status)?;
    if args.json {
        print(&format!("{facts:#}\n"))?;
    } else {
        print(&summary(&facts))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Summarizes the status in a few lines.
fn summary(facts: &Value) -> String {
    let mut lines: Vec<[String; 2]> = vec![];
    let mut line = |what: &str, says: String| lines.push([what.into(), says]);
    line(
        "peercam",
        format!(
            "{}, running for {}",
            string(&facts["version"]),
            span(facts["uptime_s"].as_u64().unwrap_or(0))
        ),
    );
    for (i, page) in texts(&facts["pages"]).into_iter().enumerate() {
        line(if i == 0 { "page" } else { "" }, page.into());
    }
    let configuration = &facts["configuration"];
    if let Some(source) = configuration["source"].as_str() {
        line("configuration", source.into());
    }
    let refused = texts(&configuration["refused"]);
    if !refused.is_empty() {
        line("", "the changed file is rejected, peercam keeps the old configuration:".into());
    }
    for mistake in refused {
        line("", mistake.into());
    }
    if let Some(problem) = facts["state_problem"].as_str() {
        line("state", problem.into());
    }
    if facts["paired"] != Value::Bool(true) {
        line("owner", "none yet: open the link that `peercam pair` prints".into());
    }
    let certificate = &facts["certificate"];
    let says = match certificate["kind"].as_str() {
        Some("device") => "made by this device",
        Some(_) => "your own",
        None => "none: plain HTTP",
    };
    let until = certificate["not_after"].as_i64().map(|t| format!(", until {}", date(t))).unwrap_or_default();
    line("certificate", format!("{says}{until}"));
    if let Some(problem) = certificate["problem"].as_str() {
        line("", problem.into());
    }
    let cameras: Vec<_> = facts["cameras"].as_array().into_iter().flatten().collect();
    for camera in &cameras {
        let name = string(&camera["name"]);
        let which = |what: &str| if cameras.len() == 1 { what.into() } else { format!("{what} {name}") };
        for (what, part) in [(which("camera"), &camera["video"]), (which("microphone"), &camera["audio"])] {
            line(&what, source(part));
            for more in about(part) {
                line("", more);
            }
        }
    }
    let board = &facts["board"];
    let degrees = board["temperature_c"].as_f64().map(|t| format!("{t:.0} °C"));
    let pressure = match board["pressure"].as_str() {
        Some("heat") => Some("too hot and therefore slower: improve its cooling".to_owned()),
        Some("under-voltage") => {
            Some("low voltage and therefore slower: use a stronger power supply or a better cable".to_owned())
        }
        _ => None,
    };
    if degrees.is_some() || pressure.is_some() {
        line("board", degrees.into_iter().chain(pressure).collect::<Vec<_>>().join(", "));
    }
    let encoder =
        cameras.iter().filter_map(|camera| camera["video"]["encoder"].as_str()).find(|e| !e.is_empty());
    if let Some(encoder) = encoder {
        line("encoder", encoder.into());
    }
    line(
        "privacy",
        match cameras.iter().filter(|camera| camera["private"] == Value::Bool(true)).collect::<Vec<_>>()[..] {
            _ if facts["privacy"] == Value::Bool(true) => "on: cameras and microphones are closed".into(),
            [] => "off".into(),
            ref private => {
                let names: Vec<_> = private.iter().map(|camera| string(&camera["name"])).collect();
                format!("on for {}", names.join(", "))
            }
        },
    );
    let viewers = &facts["viewers"];
    line("viewers", format!("{} of at most {}", viewers["count"], viewers["max"]));
    for viewer in viewers["list"].as_array().into_iter().flatten() {
        let who = viewer["who"].as_str().or(viewer["name"].as_str()).unwrap_or("somebody");
        let rate = viewer["rate_bps"].as_u64().map(|r| format!(", {} kbit/s", r / 1000)).unwrap_or_default();
        let several = cameras.len() > 1;
        let gets = |of: &Value| {
            let (rung, pictures) = (of["rung"].as_str(), of["pictures"].as_str());
            let gets = match (rung, pictures) {
                _ if of["paused"] == true => return None,
                (_, Some("none")) => "no pictures (its link carries too little)",
                (Some(rung), Some("base")) => &format!("{rung} (every second picture)"),
                (rung, _) => rung?,
            };
            let of_which = if several { format!("{} ", string(&of["camera"])) } else { String::new() };
            Some(format!(", {of_which}{gets}"))
        };
        let gets: String = viewer["cameras"].as_array().into_iter().flatten().filter_map(gets).collect();
        line("", format!("{who}, {}{gets}{rate}", string(&viewer["address"])));
    }
    columns(0, &lines) + &fingerprint(certificate)
}

/// The state and name of a camera or microphone.
fn source(part: &Value) -> String {
    let reason = part["reason"].as_str().map(|r| format!(" ({r})")).unwrap_or_default();
    let name = string(&part["name"]);
    let name = if name.is_empty() { string(&part["source"]) } else { name };
    let name = if name.is_empty() { name } else { format!(": {name}") };
    format!("{}{reason}{name}", string(&part["state"]))
}

/// Further details of a camera or microphone, one per line.
fn about(part: &Value) -> Vec<String> {
    let mut lines = vec![];
    let reduced = &part["reduced"];
    if let Some(why) = reduced["why"].as_str() {
        let size = format!("{}x{}", reduced["width"], reduced["height"]);
        let fps = reduced["fps"].as_f64().unwrap_or_default();
        lines.push(format!("reduced to {size}, {fps} frames per second: {why}"));
    }
    for rung in part["rungs"].as_array().into_iter().flatten().filter(|r| r["viewers"] != 0) {
        let size = format!("{}x{}", rung["width"], rung["height"]);
        lines.push(format!("{}, {size}: {} viewers", string(&rung["name"]), rung["viewers"]));
    }
    lines
}

fn fingerprint(certificate: &Value) -> String {
    let what = match certificate["kind"].as_str() {
        Some("device") => "SHA-256 of this device's certificate authority",
        Some(_) => "SHA-256 of the certificate",
        None => return String::new(),
    };
    format!("{what}:\n  {}\n", string(&certificate["fingerprint"]))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A time span in its two largest units.
fn span(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{m} min {s} s"),
        (0, ..) => format!("{h} h {m} min"),
        _ => format!("{d} d {h} h"),
    }
}

/// Prints a line for the user on standard error, because standard output is for the token.
fn eprintln_quietly(line: &str) {
    use io::Write as _;
    let _ = writeln!(io::stderr(), "{line}"); // fails only if standard error is closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_fits_on_a_screen() {
        let facts = json!({
            "version": "0.1.0", "uptime_s": 93_784, "paired": false, "privacy": false,
            "pages": ["https://192.168.1.5:8443", "https://localhost:8443"],
            "certificate": {"kind": "device", "fingerprint": "AB:CD", "not_after": 1_800_000_000, "problem": null},
            "cameras": [{"name": "camera", "label": "Camera", "private": false,
                "video": {
                    "state": "live", "name": "C920", "encoder": "",
                    "reduced": {"width": 640, "height": 360, "fps": 15.0, "why": "the board is too hot"},
                    "rungs": [{"name": "full", "width": 640, "height": 360, "fps": 15.0, "viewers": 2},
                              {"name": "half", "width": 320, "height": 180, "fps": 15.0, "viewers": 0}],
                },
                "audio": {"state": "gone", "reason": "unplugged", "name": "Mic"}}],
            "board": {"temperature_c": 84.0, "pressure": "heat"},
            "viewers": {"count": 1, "max": 50, "list": [{"name": "x", "who": "owner", "address": "192.168.1.9",
                "cameras": [{"camera": "camera", "quality": "auto", "rung": "full", "paused": false}],
                "rate_bps": 2_100_000}]},
        });
        assert_eq!(
            summary(&facts),
            "peercam      0.1.0, running for 1 d 2 h\n\
             page         https://192.168.1.5:8443\n             https://localhost:8443\n\
             owner        none yet: open the link that `peercam pair` prints\n\
             certificate  made by this device, until 2027-01-15\n\
             camera       live: C920\n             reduced to 640x360, 15 frames per second: the board is too hot\n\
             \x20            full, 640x360: 2 viewers\n\
             microphone   gone (unplugged): Mic\n\
             board        84 °C, too hot and therefore slower: improve its cooling\n\
             privacy      off\n\
             viewers      1 of at most 50\n             owner, 192.168.1.9, full, 2100 kbit/s\n\
             SHA-256 of this device's certificate authority:\n  AB:CD\n"
        );
        assert!(summary(&json!({})).contains("plain HTTP"), "missing facts do no harm");
    }

    #[test]
    fn several_cameras_are_told_by_their_names() {
        let camera = |name: &str, state: &str, private: bool| {
            json!({"name": name, "private": private, "video": {"state": state, "name": "C920", "encoder": "OpenH264"},
                   "audio": {"state": "off", "name": "", "source": "off"}})
        };
        let gets = |camera: &str, rung: Option<&str>, pictures: &str, paused: bool| json!({"camera": camera, "rung": rung, "pictures": pictures, "paused": paused});
        let facts = json!({
            "cameras": [camera("front", "live", false), camera("back-yard", "private", true)],
            "viewers": {"count": 2, "max": 50, "list": [
                {"who": "owner", "address": "::1", "cameras": [
                    gets("front", Some("half"), "base", false), gets("back-yard", Some("full"), "all", true)]},
                {"who": "Ann", "address": "::2", "cameras": [gets("front", None, "none", false)]}]},
        });
        let text = summary(&facts);
        for line in [
            "camera front          live: C920",
            "microphone front      off: off",
            "camera back-yard      private: C920",
            "encoder               OpenH264",
            "privacy               on for back-yard",
            "                      owner, ::1, front half (every second picture)",
            "                      Ann, ::2, front no pictures (its link carries too little)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}");
        }
    }

    #[test]
    fn time_is_told_in_its_two_largest_units() {
        for (s, told) in [(5, "5 s"), (65, "1 min 5 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(span(s), told);
        }
    }
}
