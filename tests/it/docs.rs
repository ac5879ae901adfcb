//! Checks that documents lead somewhere: every link, and every path in CONTRIBUTING.md, exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// All Markdown files.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [".", "docs", "src/web", "tests/data/cameras"];
    let mut pages: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.sort();
    pages
}

/// A page without its code blocks.
fn text(page: &Path) -> String {
    let all = fs::read_to_string(page).expect("a page");
    all.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings, as code hosts create them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text(page).lines().filter(|l| l.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (mut links, mut dead) = (0, vec![]);
    for page in pages() {
        for rest in text(&page).split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.starts_with("http") || target.starts_with("super::") || target.starts_with("crate::") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            if !to.exists() || !anchor.is_empty() && !anchors(&to).contains(anchor) {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(links > 40, "{links} links were found");
}

#[test]
fn every_path_that_contributors_are_sent_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = text(&root.join("CONTRIBUTING.md"));
    let paths = guide.split('`').skip(1).step_by(2).filter(|code| !code.contains(' ') && code.contains('/'));
    let paths: BTreeSet<_> = paths.collect();
    let missing: Vec<_> = paths.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(paths.len() > 30, "{paths:#?}");
}

#[test]
fn the_index_knows_every_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let index = fs::read_to_string(docs.join("README.md")).expect("the index");
    for page in fs::read_dir(&docs).expect("a folder").map(|e| e.expect("an entry").file_name()) {
        let name = page.to_str().expect("ASCII");
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "{name} is not in the index");
        }
    }
}
