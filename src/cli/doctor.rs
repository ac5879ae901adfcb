//! `peercam doctor`: finds out, on the device, why viewers can't connect.

use std::process::ExitCode;

use serde_json::Value;

use super::args::Options;
use super::report::Report;
use super::table::columns;
use super::{FAILED, OK, check, files, ports, print};
use crate::board::control::{self, AskError, Request};
use crate::board::doctor::ports::{Port, Protocol, look};
use crate::board::doctor::{Finding, Level, clock, devices, firewall, network, storage, stun};
use crate::board::health;
use crate::config::Config;
use crate::wall;

/// Runs all checks and prints the findings with their remedies.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (config, source) = Config::find(options.config.as_deref())?;
    let mut found = vec![Finding::ok("configuration", source)];
    let daemon = control::ask(&options.state_dir(), &Request::Doctor);
    let running = running(&daemon, &mut found);
    let all = ports::of(&config);
    found.extend(all.iter().map(|port| look(port, running)));
    found.push(firewall::look(&names(&all)));
    found.extend(network::look());
    found.extend(stun_urls(&config).map(stun::look));
    let now = wall::clock();
    found.push(clock::look(wall::plausible(now), &wall::date(now)));
    found.push(storage::look(&options.state_dir()));
    let cameras = config.cameras.iter().map(|camera| &camera.video.device);
    found.extend(devices::look(cameras, config.microphones()));
    found.extend(health::look());
    match daemon {
        Ok(daemon) => found
            .extend(serde_json::from_value::<Vec<Finding>>(daemon["findings"].clone()).unwrap_or_default()),
        // Only one program can use a device, so devices are tried only if the daemon is not running.
        Err(_) => found.extend(try_devices(&config)),
    }
    print(&text(&found))?;
    Ok(ExitCode::from(if found.iter().any(|f| f.level == Level::Bad) { FAILED } else { OK }))
}

/// Reports whether the daemon runs, and returns its process id if known.
fn running(daemon: &Result<Value, AskError>, found: &mut Vec<Finding>) -> Option<u32> {
    const ABOUT: &str = "peercam";
    match daemon {
        Ok(answer) => {
            let id = answer["id"].as_u64().and_then(|id| id.try_into().ok()).unwrap_or_default();
            found.push(Finding::ok(
                ABOUT,
                format!("running, process {id}, at {}", answer["listening"].as_str().unwrap_or("?")),
            ));
            Some(id)
        }
        Err(e @ AskError::NotRunning(_)) => {
            found.push(Finding::warn(
                ABOUT,
                e.to_string(),
                "start it (`systemctl start peercam`, or `peercam`)",
            ));
            None
        }
        Err(e @ AskError::Forbidden { .. }) => {
            found.push(Finding::warn(
                ABOUT,
                e.to_string(),
                "run `sudo peercam doctor` to include the daemon's own findings",
            ));
            // It runs, but its process id is unknown: whatever listens on its ports is taken for it.
            Some(0)
        }
        Err(e) => {
            found.push(Finding::bad(
                ABOUT,
                format!("running, but does not answer: {e}"),
                "read its log, then restart it",
            ));
            None
        }
    }
}

fn names(ports: &[Port]) -> String {
    let name = |p: &Port| format!("{} {}", if p.protocol == Protocol::Tcp { "TCP" } else { "UDP" }, p.number);
    ports.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn stun_urls(config: &Config) -> impl Iterator<Item = &str> {
    config.ice.servers.iter().flat_map(|s| &s.urls).map(String::as_str).filter(|u| u.starts_with("stun:"))
}

fn try_devices(config: &Config) -> Vec<Finding> {
    let mut report = Report::default();
    files::certificate(&mut report, &config.web);
    check::devices(&mut report, config, None);
    let mut found = vec![];
    let mut about = String::new();
    for [what, says] in report.lines {
        if !what.starts_with(' ') {
            about.clone_from(&what);
        }
        match what.trim() {
            "PROBLEM" => found.push(Finding::bad(&about, says, "see `peercam check` and `peercam devices`")),
            "wanted" => (),
            "encoder" => found.push(Finding::ok("encoder", format!("works: {says}"))),
            _ => found.push(Finding::ok(&about, says)),
        }
    }
    found
}

/// Formats all findings, with the remedies at the end.
fn text(found: &[Finding]) -> String {
    let row = |f: &Finding| {
        let level = match f.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "BAD",
        };
        [level.to_owned(), f.about.clone(), f.says.clone()]
    };
    let mut text = columns(0, &found.iter().map(row).collect::<Vec<_>>());
    let mut remedies: Vec<(Level, String)> = vec![];
    for f in found {
        if let Some(remedy) = &f.remedy {
            remedies.push((f.level, format!("{}: {remedy}", f.about)));
        }
    }
    // The worst first, otherwise in the order in which they were found.
    remedies.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    if remedies.is_empty() {
        return text + "\nNo problems found.\n";
    }
    let bad = found.iter().filter(|f| f.level == Level::Bad).count();
    text += match bad {
        0 => "\nNo problems found. These may be worth checking:\n",
        _ => "\nWhat to do:\n",
    };
    for (n, (_, remedy)) in remedies.iter().enumerate() {
        text += &format!("{:3}. {remedy}\n", n + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn it_ends_with_what_to_do_the_worst_first() {
        let found = [
            Finding::ok("clock", "2027-01-01"),
            Finding::warn("owner", "none", "pair it"),
            Finding::bad("camera", "unplugged", "plug it in"),
        ];
        assert_eq!(
            text(&found),
            "ok    clock   2027-01-01\nwarn  owner   none\nBAD   camera  unplugged\n\n\
             What to do:\n  1. camera: plug it in\n  2. owner: pair it\n"
        );
        assert!(text(&found[..1]).ends_with("\nNo problems found.\n"));
        assert!(text(&found[..2]).contains("No problems found. These"));
    }

    #[test]
    fn whether_it_runs_is_told() {
        let mut found = vec![];
        assert_eq!(running(&Ok(serde_json::json!({"id": 7, "listening": "[::]:8443"})), &mut found), Some(7));
        assert_eq!(running(&Err(AskError::NotRunning(vec!["/x".into()])), &mut found), None);
        assert_eq!(
            running(&Err(AskError::Io { path: "/x".into(), source: io::Error::other("odd") }), &mut found),
            None
        );
        let levels: Vec<_> = found.iter().map(|f| f.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Bad]);
    }
}
