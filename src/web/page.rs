//! The page: files that are part of the program. No framework, no build step, no outside resource.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Response, StatusCode};
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection, reply};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $file:literal, $kind:expr) => {
        ($path, $kind, include_bytes!(concat!("page/", $file)))
    };
}

/// Path, media type and content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    asset!("/", "index.html", HTML),
    asset!("/access.js", "access.js", JS),
    asset!("/api.js", "api.js", JS),
    asset!("/backoff.js", "backoff.js", JS),
    asset!("/clock.js", "clock.js", JS),
    asset!("/copy.js", "copy.js", JS),
    asset!("/delay.js", "delay.js", JS),
    asset!("/diagnosis.js", "diagnosis.js", JS),
    asset!("/door.js", "door.js", JS),
    asset!("/figures.js", "figures.js", JS),
    asset!("/forms.js", "forms.js", JS),
    asset!("/fullscreen.js", "fullscreen.js", JS),
    asset!("/guests.js", "guests.js", JS),
    asset!("/icon-away.svg", "icon-away.svg", SVG),
    asset!("/icon-live.svg", "icon-live.svg", SVG),
    asset!("/icon.svg", "icon.svg", SVG),
    asset!("/inquiry.js", "inquiry.js", JS),
    asset!("/link.js", "link.js", JS),
    asset!("/page.css", "page.css", CSS),
    asset!("/page.js", "page.js", JS),
    asset!("/panels.js", "panels.js", JS),
    asset!("/peer.js", "peer.js", JS),
    asset!("/picture.js", "picture.js", JS),
    asset!("/sdp.js", "sdp.js", JS),
    asset!("/session.js", "session.js", JS),
    asset!("/signaling.js", "signaling.js", JS),
    asset!("/snapshot.js", "snapshot.js", JS),
    asset!("/start.js", "start.js", JS),
    asset!("/view.js", "view.js", JS),
    asset!("/whep.js", "whep.js", JS),
    asset!("/why.js", "why.js", JS),
    asset!("/words.js", "words.js", JS),
];

/// An asset as it is served. The browser keeps it and asks each time whether it changed (`no-cache`): after an
/// update nobody sees a page of the old version with scripts of the new one.
struct Asset {
    path: &'static str,
    kind: HeaderValue,
    content: &'static [u8],
    etag: HeaderValue,
}

/// Whether the page has a file of that path.
pub fn has(path: &str) -> bool {
    ASSETS.iter().any(|a| a.0 == path)
}

/// `GET` and `HEAD` of every asset.
pub fn routes() -> BoxedFilter<(reply::Response,)> {
    let assets: Arc<[Asset]> = ASSETS.iter().map(Asset::new).collect();
    let find = move |path: warp::path::FullPath| {
        let found = assets.iter().position(|a| a.path == path.as_str()).map(|i| (assets.clone(), i));
        async move { found.ok_or_else(warp::reject::not_found) }
    };
    warp::path::full()
        .and_then(find)
        .and(warp::header::headers_cloned())
        .and_then(|(assets, i): (Arc<[Asset]>, usize), headers: HeaderMap| async move {
            Ok::<_, Rejection>(assets[i].response(&headers))
        })
        .boxed()
}

impl Asset {
    fn new((path, kind, content): &(&'static str, &'static str, &'static [u8])) -> Self {
        let mut hash = DefaultHasher::new(); // the same keys in every process
        hash.write(content);
        let etag = HeaderValue::from_str(&format!("\"{:016x}\"", hash.finish())).expect("digits and quotes");
        Self { path, kind: HeaderValue::from_static(kind), content, etag }
    }

    fn response(&self, headers: &HeaderMap) -> reply::Response {
        let known = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .flat_map(|v| v.as_bytes().split(|b| *b == b','))
            .map(|tag| tag.trim_ascii())
            // Weak comparison (RFC 9110 section 13.1.2).
            .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes());
        let mut response = Response::new(if known { "".into() } else { self.content.into() });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            response.headers_mut().insert(CONTENT_TYPE, self.kind.clone());
        }
        response.headers_mut().insert(ETAG, self.etag.clone());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let path = if file == "index.html" { "/".into() } else { format!("/{file}") };
            let kind = match file.rsplit_once('.') {
                Some((_, "html")) => HTML,
                Some((_, "css")) => CSS,
                Some((_, "js")) => JS,
                Some((_, "svg")) => SVG,
                _ => continue,
            };
            assert!(ASSETS.iter().any(|a| a.0 == path && a.1 == kind), "{file} is not in ASSETS");
        }
    }

    #[test]
    fn an_unchanged_asset_is_not_sent_again() {
        let asset = Asset::new(&ASSETS[0]);
        let mut headers = HeaderMap::new();
        assert_eq!(asset.response(&headers).status(), 200);
        for tag in ["*", "W/TAG", "\"x\", TAG", "TAG"] {
            let tag = tag.replace("TAG", asset.etag.to_str().unwrap());
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(&tag).unwrap());
            assert_eq!(asset.response(&headers).status(), 304, "{tag}");
        }
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(asset.response(&headers).status(), 200);
    }
}
