//! The page: files that are part of the program. There is no framework, build step or external resource. Scripts that
//! are needed together are served as one file (`script.rs`), and so are all style sheets, because each request costs a
//! round trip.
//!
//! Browsers revalidate `/` each time. All other files have the version of the whole page in their path, so browsers
//! keep them without revalidation, and an updated page never runs with scripts of a different version.

use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, Response, StatusCode};
use ring::digest;
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection, reply};

use super::script::Script;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const PNG: &str = "image/png";
const MANIFEST: &str = "application/manifest+json";

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("page/", $name)))
    };
}

const INDEX: &str = include_str!("page/index.html");
/// The place in [`INDEX`] where the early script is inserted.
const EARLY_PLACE: &str = "<script src=\"early.js\"></script>";
/// The early script.
const EARLY: &str = include_str!("page/early.js");

/// Content security policy (CSP level 3) of all documents: nothing from other origins. `'self'` includes `ws:` of the
/// same host and port (section 6.7.2.8) in Chromium, Firefox and Safari from 16 on.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Name, media type and text of files that are served unchanged.
const FILES: &[((&str, &str), &str)] = &[
    (file!("icon-away.svg"), SVG),
    (file!("icon-live.svg"), SVG),
    (file!("icon.svg"), SVG),
    (file!("app.webmanifest"), MANIFEST),
];

/// An icon for iOS, which does not support SVG.
const TOUCH_ICON: (&str, &[u8]) = ("touch-icon.png", include_bytes!("page/touch-icon.png"));

/// The style sheets, in the order in which they are joined: later rules win.
const STYLES: &[(&str, &str)] = &[
    file!("page.css"),
    file!("forms.css"),
    file!("stage.css"),
    file!("tiles.css"),
    file!("panels.css"),
    file!("narrow.css"),
];

/// The scripts, by urgency: the connection first, then the visible parts, then dialogs and diagnosis.
const SCRIPTS: &[Script] = &[
    Script(&[
        file!("backoff.js"),
        file!("grid.js"),
        file!("cameras.js"),
        file!("clock.js"),
        file!("api.js"),
        file!("link.js"),
        file!("signaling.js"),
        file!("peer.js"),
        file!("kept.js"),
        file!("layout.js"),
        file!("quality.js"),
        file!("retry.js"),
        file!("wishes.js"),
        file!("session.js"),
        file!("start.js"),
    ]),
    Script(&[
        file!("language.js"),
        file!("words.js"),
        file!("sizes.js"),
        file!("announce.js"),
        file!("dom.js"),
        file!("awake.js"),
        file!("copy.js"),
        file!("corner.js"),
        file!("delay.js"),
        file!("figures.js"),
        file!("fullscreen.js"),
        file!("measure.js"),
        file!("panels.js"),
        file!("pausing.js"),
        file!("picture.js"),
        file!("still.js"),
        file!("tabs.js"),
        file!("wait.js"),
        file!("zoom.js"),
        file!("tile.js"),
        file!("tiles.js"),
        file!("view.js"),
        file!("door.js"),
        file!("page.js"),
    ]),
    Script(&[file!("forms.js")]),
    Script(&[file!("guests.js"), file!("passwords.js"), file!("privacy.js"), file!("access.js")]),
    Script(&[file!("explain.js")]),
    Script(&[file!("languages.js")]),
    Script(&[file!("snapshot.js"), file!("inquiry.js")]),
    Script(&[file!("diagnosis.js"), file!("why.js")]),
    Script(&[file!("sdp.js"), file!("whep.js")]),
];

/// `Cache-Control` of files with a version: a year, the longest possible time.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// `Cache-Control` of files that may change under the same path: browsers revalidate them each time.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");

/// A file of the page as it is served.
struct Asset {
    path: String,
    kind: HeaderValue,
    content: Bytes,
    /// The compressed content. It is compressed on the first request, so that the start does not wait for it.
    gzip: OnceLock<Bytes>,
    /// The entity-tag, which is the same for all assets: it changes with any of them.
    etag: HeaderValue,
    keep: HeaderValue,
    /// The content security policy, if it differs from [`POLICY`].
    policy: Option<HeaderValue>,
}

/// All assets, built once per process.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| assets(FILES, STYLES, SCRIPTS));

fn assets(
    files: &[((&'static str, &'static str), &'static str)],
    styles: &[(&str, &str)],
    scripts: &[Script],
) -> Vec<Asset> {
    let files = files.iter().map(|((name, text), kind)| (*name, *kind, Bytes::from_static(text.as_bytes())));
    let (icon, picture) = TOUCH_ICON;
    let sheet: String = styles.iter().map(|(_, text)| *text).collect();
    let whole = [(icon, PNG, Bytes::from_static(picture)), ("page.css", CSS, sheet.into())];
    let scripts = scripts.iter().map(|script| (script.name(), JS, script.text(scripts).into()));
    let all: Vec<(&str, &str, Bytes)> = files.chain(whole).chain(scripts).collect();
    let version = version(&all);
    // Weak, because both encodings share it (RFC 9110 section 8.8.1).
    let etag = HeaderValue::from_str(&format!("W/\"{version}\"")).expect("digits and quotes");
    let mut index = INDEX.replace(EARLY_PLACE, &format!("<script>{EARLY}</script>"));
    for (name, ..) in &all {
        index = index.replace(&format!("=\"{name}\""), &format!("=\"assets/{version}/{name}\""));
    }
    let asset = |path: String, kind, content: Bytes, keep, policy| Asset {
        path,
        kind: HeaderValue::from_static(kind),
        content,
        gzip: OnceLock::new(),
        etag: etag.clone(),
        keep,
        policy,
    };
    let mut assets = vec![asset("/".into(), HTML, index.into(), ASK, Some(policy()))];
    assets.extend(all.into_iter().map(|(name, kind, content)| {
        asset(format!("/assets/{version}/{name}"), kind, content, FOR_GOOD, None)
    }));
    assets
}

/// [`POLICY`] for the page itself, which contains one inline script.
fn policy() -> HeaderValue {
    let policy = POLICY.replace("script-src 'self'", &format!("script-src 'self' {}", source_of(EARLY)));
    HeaderValue::from_str(&policy).expect("printable")
}

/// The source expression that allows an inline script or style in a content security policy (CSP level 3, section
/// 2.3.1).
pub(super) fn source_of(inline: &str) -> String {
    let digest = digest::digest(&digest::SHA256, inline.as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
}

/// A version that changes with any file.
fn version(all: &[(&str, &str, Bytes)]) -> String {
    let files = all.iter().flat_map(|(name, _, content)| [name.as_bytes(), content]);
    let mut digest = digest::Context::new(&digest::SHA256);
    for part in [INDEX.as_bytes(), EARLY.as_bytes()].into_iter().chain(files) {
        digest.update(&part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the page has a file with this path.
pub fn has(path: &str) -> bool {
    ASSETS.iter().any(|a| a.path == path)
}

/// The path of a file of the page.
#[cfg(test)]
pub fn path_of(name: &str) -> &'static str {
    let found = ASSETS.iter().find(|a| a.path.rsplit_once('/').is_some_and(|(_, file)| file == name));
    &found.expect("a file of the page").path
}

/// `GET` and `HEAD` of every asset.
pub fn routes() -> BoxedFilter<(reply::Response,)> {
    LazyLock::force(&ASSETS);
    let find = |path: warp::path::FullPath| async move {
        let found: Option<&'static Asset> = ASSETS.iter().find(|a| a.path == path.as_str());
        found.ok_or_else(warp::reject::not_found)
    };
    warp::path::full()
        .and_then(find)
        .and(warp::header::headers_cloned())
        .and_then(|asset: &'static Asset, headers: HeaderMap| async move {
            Ok::<_, Rejection>(asset.response(&headers))
        })
        .boxed()
}

impl Asset {
    fn gzip(&self) -> &Bytes {
        self.gzip.get_or_init(|| {
            let mut gzip = GzEncoder::new(vec![], Compression::best());
            let gzip = gzip.write_all(&self.content).and_then(|()| gzip.finish());
            gzip.expect("memory is written to").into()
        })
    }

    fn response(&self, headers: &HeaderMap) -> reply::Response {
        let gzip = takes_gzip(headers);
        let known = self.is_known(headers);
        let mut response = Response::new(match (known, gzip) {
            (true, _) => "".into(),
            (false, true) => self.gzip().clone().into(),
            (false, false) => self.content.clone().into(),
        });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if !known {
            headers.insert(CONTENT_TYPE, self.kind.clone());
            if gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, self.keep.clone());
        if let Some(policy) = &self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        response
    }

    /// Whether the browser has the current version already.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        // Weak comparison (RFC 9110 section 13.1.2).
        let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_owned();
        let own = strong(self.etag.as_bytes());
        let tags = headers.get_all(IF_NONE_MATCH).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
        tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || strong(tag) == own)
    }
}

/// Whether `Accept-Encoding` accepts gzip, with a weight other than 0 (RFC 9110 section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")));
        named && weight.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn modules() -> impl Iterator<Item = (&'static str, &'static str)> {
        SCRIPTS.iter().flat_map(|s| s.0).copied()
    }

    fn with(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let served = match file.rsplit_once('.').unwrap().1 {
                "js" if file == "early.js" => INDEX.contains(EARLY_PLACE),
                "js" => modules().filter(|(name, _)| *name == file).count() == 1,
                "css" => STYLES.iter().any(|(name, _)| *name == file),
                "png" => TOUCH_ICON.0 == file,
                "svg" | "webmanifest" => FILES.iter().any(|((name, _), _)| *name == file),
                _ => continue,
            };
            assert!(served, "{file}");
        }
    }

    /// Checks what [`Script`] requires of the modules.
    #[test]
    fn modules_import_in_one_way_and_their_names_differ_within_a_file() {
        let files: BTreeSet<_> = SCRIPTS.iter().map(Script::name).collect();
        for script in SCRIPTS {
            let (mut known, mut names) = (BTreeSet::new(), BTreeSet::new());
            for (module, text) in script.0 {
                let mut begun = false;
                for line in text.lines() {
                    if let Some(rest) = line.strip_prefix("import ") {
                        assert!(
                            !begun && rest.starts_with("{ ") && rest.ends_with(".js';"),
                            "{module}: {line}"
                        );
                        let from = rest.rsplit_once("./").unwrap().1.trim_end_matches("';");
                        let here = script.0.iter().any(|(name, _)| *name == from);
                        assert!(!here || known.contains(from), "{module} comes before {from}");
                        assert!(!rest.contains(" as "), "{module}: {line}");
                    } else {
                        begun |= !line.is_empty() && !line.starts_with("//");
                    }
                    for (_, rest) in
                        line.match_indices("import('./").map(|(at, m)| line.split_at(at + m.len()))
                    {
                        assert!(files.contains(rest.split('\'').next().unwrap()), "{module}: {line}");
                    }
                    let declared = line.trim_start_matches("export ").trim_start_matches("async ");
                    let word = ["const ", "let ", "function ", "class "]
                        .iter()
                        .find_map(|k| declared.strip_prefix(k));
                    let name = word
                        .and_then(|w| w.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').next());
                    if let Some(name) = name.filter(|n| !n.is_empty()) {
                        assert!(names.insert(name), "{module}: another {name} in {}", script.name());
                    }
                }
                known.insert(*module);
            }
        }
    }

    #[test]
    fn the_page_names_its_files_by_their_version() {
        let index = str::from_utf8(&ASSETS[0].content).unwrap();
        for asset in &ASSETS[1..] {
            assert!(asset.path.starts_with("/assets/") && has(&asset.path));
            let name = asset.path.rsplit_once('/').unwrap().1;
            assert!(!index.contains(&format!("=\"{name}\"")), "{name}");
        }
        assert!(index.contains(EARLY) && !index.contains("early.js\""));
        for name in [
            "start.js",
            "page.js",
            "page.css",
            "icon.svg",
            "icon-live.svg",
            "icon-away.svg",
            "app.webmanifest",
            "touch-icon.png",
        ] {
            assert!(
                ASSETS[1..].iter().any(|a| index.contains(&a.path[1..]) && a.path.ends_with(name)),
                "{name}"
            );
        }
        assert!(!has("/page.js") && !has("/assets/0123456789abcdef/page.js"));
        let changed = assets(FILES, &[("page.css", "main {}")], SCRIPTS);
        assert_eq!(changed.len(), ASSETS.len());
        assert!(changed[1..].iter().all(|a| !has(&a.path)));
        assert_ne!(changed[0].etag, ASSETS[0].etag);
    }

    /// A browser resolves the manifest's URLs against the manifest's own address.
    #[test]
    fn the_manifest_leads_to_the_page_and_to_icons_that_are_there() {
        let (path, (_, text)) =
            (path_of("app.webmanifest"), FILES.iter().find(|f| f.1 == MANIFEST).unwrap().0);
        let manifest: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(path.matches('/').count(), 3, "/assets/VERSION/app.webmanifest");
        assert_eq!((&manifest["start_url"], &manifest["scope"]), (&"../../".into(), &"../../".into()));
        for icon in manifest["icons"].as_array().unwrap() {
            let name = icon["src"].as_str().unwrap();
            assert!(has(&path.replace("app.webmanifest", name)), "{name}");
        }
    }

    #[test]
    fn what_has_a_version_is_kept_and_the_page_is_asked_about() {
        let headers = HeaderMap::new();
        assert_eq!(ASSETS[0].response(&headers).headers()[CACHE_CONTROL], "no-cache");
        for asset in &ASSETS[1..] {
            let response = asset.response(&headers);
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
    }

    #[test]
    fn an_unchanged_asset_is_not_sent_again() {
        let asset = &ASSETS[0];
        assert_eq!(asset.response(&HeaderMap::new()).status(), 200);
        let tag = asset.etag.to_str().unwrap();
        let strong = tag.strip_prefix("W/").unwrap();
        for tags in ["*", tag, strong, &format!("\"x\", {tag}")] {
            assert_eq!(asset.response(&with(IF_NONE_MATCH, tags)).status(), 304, "{tags}");
        }
        assert_eq!(asset.response(&with(IF_NONE_MATCH, "\"other\"")).status(), 200);
    }

    #[test]
    fn it_is_compressed_for_whoever_takes_that() {
        for takes in ["gzip", "deflate, gzip;q=1.0, br", "br;q=1, GZIP ; q=0.5"] {
            assert!(takes_gzip(&with(ACCEPT_ENCODING, takes)), "{takes}");
        }
        for takes in ["", "identity", "br", "gzip;q=0", "gzip; q=0.000", "xgzip", "gzip;q=much"] {
            assert!(!takes_gzip(&with(ACCEPT_ENCODING, takes)), "{takes}");
        }
        for asset in ASSETS.iter() {
            let mut text = vec![];
            GzDecoder::new(&asset.gzip()[..]).read_to_end(&mut text).unwrap();
            assert_eq!(text, asset.content);
            let compressed = asset.response(&with(ACCEPT_ENCODING, "gzip"));
            assert_eq!(compressed.headers()[CONTENT_ENCODING], "gzip");
            assert_eq!(compressed.headers()[VARY], "accept-encoding");
            assert!(!asset.response(&HeaderMap::new()).headers().contains_key(CONTENT_ENCODING));
        }
    }
}
