//! The layering of the crate: which module may use which, and no two files each other. A dependency in the
//! other direction, or a circle, is a design fault, which this test finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/`, and the modules that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["app", "cli", "config"]),
    (
        "cli",
        &[
            "board", "capture", "clock", "config", "encode", "hush", "listen", "media", "state", "status",
            "text", "wall", "web",
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
            "wall",
            "web",
        ],
    ),
    (
        "web",
        &[
            "clock", "config", "hush", "listen", "memory", "net", "pipeline", "privacy", "state", "status",
            "text", "viewer", "wall",
        ],
    ),
    ("viewer", &["clock", "config", "hush", "listen", "media", "memory", "net", "pipeline", "status"]),
    (
        "pipeline",
        &[
            "capture",
            "clock",
            "config",
            "encode",
            "heartbeat",
            "hush",
            "media",
            "memory",
            "pressure",
            "privacy",
            "status",
        ],
    ),
    ("board", &["clock", "config", "heartbeat", "hush", "listen", "net", "pressure", "state", "status"]),
    ("capture", &["clock", "config", "media", "text"]),
    ("encode", &["clock", "config", "media", "pressure"]),
    ("media", &["clock"]),
    ("status", &["clock", "media", "pressure"]),
    ("state", &["privacy"]),
    ("config", &["media", "text"]),
    ("heartbeat", &["clock"]),
    ("hush", &["clock"]),
    ("listen", &[]),
    ("memory", &[]),
    ("pressure", &[]),
    ("privacy", &[]),
    ("text", &[]),
    ("wall", &[]),
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

/// Whether a module, given by its path, is compiled for unit tests only.
fn is_test<'a>(mut module: impl Iterator<Item = &'a str>) -> bool {
    module.any(|part| part.ends_with("tests") || part == "testing")
}

/// The code of a file without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    // Tests are last in a file; a test module in a separate file is declared in one line.
    let inline = text.match_indices("#[cfg(test)]").find(|(at, _)| {
        let rest = text[*at..].lines().find(|l| !l.starts_with('#')).unwrap_or_default();
        rest.ends_with('{')
    });
    let text = inline.map_or(&*text, |(at, _)| &text[..at]);
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeSet::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).expect("below src").with_extension("");
        let room = inside.iter().next().expect("a name").to_str().expect("ASCII").to_owned();
        let is_script = room == "web" && inside.iter().any(|p| p == "page") && inside.iter().count() > 2;
        if is_script || is_test(inside.iter().filter_map(|part| part.to_str())) {
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

/// Modules as paths (`viewer::port`), each with its code.
struct Plan {
    code: BTreeMap<Vec<String>, String>,
    /// What a module re-exports under a name (`pub use`), and where that comes from.
    handed_on: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Plan {
    fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut plan = Self { code: BTreeMap::new(), handed_on: BTreeMap::new() };
        for file in sources(&src) {
            let inside = file.strip_prefix(&src).expect("below src").with_extension("");
            let mut module: Vec<_> =
                inside.iter().map(|part| part.to_str().expect("ASCII").to_owned()).collect();
            module.retain(|part| !["mod", "lib", "main"].contains(&&**part));
            if !module.is_empty() && !is_test(module.iter().map(|part| &**part)) {
                plan.code.insert(module, code(&file));
            }
        }
        let modules: Vec<_> = plan.code.keys().cloned().collect();
        for module in modules {
            for (public, tree) in uses(&plan.code[&module]) {
                for path in leaves(&tree).iter().filter(|_| public) {
                    let (path, name) = path.split_once(" as ").unwrap_or((path, last(path)));
                    if let Some(from) = plan.absolute(&module, path) {
                        plan.handed_on.insert((module.clone(), name.to_owned()), from);
                    }
                }
            }
        }
        plan
    }

    /// A path used in `module`, from the crate's root; `None` for what is not ours.
    fn absolute(&self, module: &[String], path: &str) -> Option<Vec<String>> {
        let parts: Vec<_> = path.split("::").map(|p| p.trim().to_owned()).collect();
        let ups = parts.iter().take_while(|p| *p == "super").count();
        let mut all = match &*parts[0] {
            "crate" => return Some(parts[1..].to_vec()),
            "self" => return Some([module, &parts[1..]].concat()),
            "super" => module[..module.len().checked_sub(ups)?].to_vec(),
            _ => module.to_vec(),
        };
        all.extend(parts[ups..].iter().cloned());
        let ours = ups > 0 || self.code.contains_key(&all[..=module.len()]);
        ours.then_some(all)
    }

    /// The file that defines what a path names: that of the longest module in it, or the one that it
    /// re-exports from.
    fn file(&self, path: &[String]) -> Option<Vec<String>> {
        (1..=path.len())
            .rev()
            .map(|n| path.split_at(n))
            .find(|(module, _)| self.code.contains_key(*module))
            .and_then(|(module, rest)| {
                match rest.first().and_then(|name| self.handed_on.get(&(module.to_vec(), name.clone()))) {
                    Some(from) => self.file(&[from, &rest[1..]].concat()),
                    None => Some(module.to_vec()),
                }
            })
    }

    /// For each file the others whose items it uses, except for its parents and children.
    fn edges(&self) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
        let edges = |(module, code): (&Vec<String>, &String)| {
            let uses = uses(code).into_iter().flat_map(|(_, tree)| leaves(&tree));
            let paths = uses.chain(named(code));
            let files = paths.filter_map(|path| {
                let path = path.split(" as ").next().unwrap_or_default().to_owned();
                self.file(&self.absolute(module, &path)?)
            });
            let apart = |file: &Vec<String>| !file.starts_with(module) && !module.starts_with(file);
            (module.clone(), files.filter(apart).collect())
        };
        self.code.iter().map(edges).collect()
    }
}

/// The `use` items of a file: whether each is a re-export, and the tree after `use`.
fn uses(code: &str) -> Vec<(bool, String)> {
    let starts = code.match_indices("use ").filter(|(at, _)| {
        let line = &code[code[..*at].rfind('\n').map_or(0, |n| n + 1)..*at];
        line.trim().is_empty() || line.trim().starts_with("pub")
    });
    let item = |(at, word): (usize, &str)| {
        let public = code[..at].ends_with("pub ") || code[..at].ends_with(") ");
        let tree = code[at + word.len()..].split(';').next().unwrap_or_default();
        (public, tree.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    starts.map(item).collect()
}

/// The paths of a `use` tree: `a::{b, c::d}` names `a::b` and `a::c::d`, and `a::{self}` names `a`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        let tree = tree.trim();
        return vec![tree.strip_suffix("::self").unwrap_or(tree).to_owned()];
    };
    let inside = inside.trim_end().strip_suffix('}').expect("braces in pairs");
    let (mut all, mut depth, mut start) = (vec![], 0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = inside[start..at].trim();
                all.extend(
                    leaves(branch)
                        .iter()
                        .filter(|b| !b.is_empty())
                        .flat_map(|b| leaves(&format!("{before}{b}"))),
                );
                start = at + 1;
            }
            _ => {}
        }
    }
    all
}

/// Paths in the code itself.
fn named(code: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code
        .split(|c| !is_path(c))
        .filter(|w| ["crate::", "super::", "self::"].iter().any(|p| w.starts_with(p)));
    words.map(|w| w.trim_end_matches(':').to_owned()).collect()
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// Everything that can be reached from `from`.
fn reached<'a, T: Ord>(edges: &'a BTreeMap<T, BTreeSet<T>>, from: &'a T) -> BTreeSet<&'a T> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(edges.get(file).into_iter().flatten().filter(|to| reached.insert(*to)));
    }
    reached
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let edges = Plan::read().edges();
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 300, "the sources were read");
    let circles: Vec<_> = edges.keys().filter(|file| reached(&edges, file).contains(file)).collect();
    let shown = |file: &&Vec<String>| {
        let to = edges[*file].iter().filter(|to| circles.contains(to));
        format!("{} -> {}", file.join("::"), to.map(|t| t.join("::")).collect::<Vec<_>>().join(", "))
    };
    assert!(circles.is_empty(), "{:#?}", circles.iter().map(shown).collect::<Vec<_>>());
}

#[test]
fn a_circle_is_seen_through_trees_and_what_is_handed_on() {
    let code = [
        (vec!["a"], "pub use b::Beta;\n"),
        (vec!["a", "b"], "use crate::{c::{self, Gamma}, d};\n"),
        (vec!["c"], "fn f(x: crate::a::Beta) {}\n"),
        (vec!["d"], "use std::fmt;\n"),
    ];
    let path = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let handed_on = [((path(&["a"]), "Beta".to_owned()), path(&["a", "b", "Beta"]))];
    let code = code.iter().map(|(module, code)| (path(module), (*code).to_owned()));
    let edges = Plan { code: code.collect(), handed_on: handed_on.into() }.edges();
    assert_eq!(edges[&path(&["a", "b"])], [path(&["c"]), path(&["d"])].into());
    assert_eq!(edges[&path(&["c"])], [path(&["a", "b"])].into());
    assert!(reached(&edges, &path(&["c"])).contains(&path(&["c"])));
    assert!(!reached(&edges, &path(&["d"])).contains(&path(&["d"])));
}
