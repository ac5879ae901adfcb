//! The plan of the house: which room may know which. An arrow the other way is a design fault, found here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src/`, and the rooms that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["app", "cli", "config"]),
    (
        "cli",
        &[
            "board", "capture", "clock", "config", "encode", "hush", "listen", "media", "state", "status",
            "text", "web",
        ],
    ),
    (
        "app",
        &[
            "board",
            "clock",
            "config",
            "heartbeat",
            "media",
            "memory",
            "net",
            "pipeline",
            "state",
            "status",
            "viewer",
            "web",
        ],
    ),
    (
        "web",
        &[
            "clock", "config", "hush", "listen", "memory", "net", "pipeline", "state", "status", "text",
            "viewer",
        ],
    ),
    ("viewer", &["clock", "config", "hush", "listen", "media", "memory", "net", "pipeline", "status"]),
    ("pipeline", &["capture", "clock", "config", "encode", "heartbeat", "hush", "media", "status"]),
    ("board", &["clock", "config", "heartbeat", "hush", "listen", "net", "state", "status"]),
    ("capture", &["clock", "config", "media", "status", "text"]),
    ("encode", &["clock", "config", "media", "status"]),
    ("media", &["clock"]),
    ("status", &["clock", "media"]),
    ("state", &[]),
    ("config", &["media", "text"]),
    ("heartbeat", &["clock"]),
    ("hush", &["clock"]),
    ("listen", &[]),
    ("memory", &[]),
    ("text", &[]),
    ("clock", &[]),
    ("net", &[]),
    ("lib", &[]),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|p| p.is_dir());
    let rust = files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    rust.chain(dirs.iter().flat_map(|d| sources(d))).collect()
}

/// The code of a file without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeSet::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).expect("below src").with_extension("");
        let room = inside.iter().next().expect("a name").to_str().expect("ASCII").to_owned();
        if room == "web" && inside.iter().any(|p| p == "page") && inside.iter().count() > 2 {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(r, _)| *r == room) else {
            wrong.insert(format!("{room}: a room that is not in the plan"));
            continue;
        };
        let code = code(&file);
        for prefix in ["crate::", "peercam::"] {
            for named in code.split(prefix).skip(1) {
                let to: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !to.is_empty() && to != room && !allowed.contains(&&*to) {
                    wrong.insert(format!("{} names {to}", inside.display()));
                }
            }
        }
        if room != "viewer" && (code.contains("webrtc::") || code.contains("rtc::")) {
            wrong.insert(format!("{} names webrtc", inside.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn web_sees_jpegs_and_never_a_frame() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
    for file in sources(&src) {
        let code = code(&file);
        for word in ["media::frame", "media::i420", "pipeline::slot", "pipeline::video"] {
            assert!(!code.contains(word), "{} names {word}", file.display());
        }
    }
}
