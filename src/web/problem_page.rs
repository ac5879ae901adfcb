//! A refusal as a small HTML page, if a browser has requested one. Programs get JSON ([`super::problem`]).

use std::net::IpAddr;
use std::sync::LazyLock;

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, VARY};
use http::{Method, Response, StatusCode};
use warp::reply;

use super::guard;
use super::page::source_of;
use super::peer::Connection;
use super::problem::Problem;
use super::proxy::{Scheme, Via};

/// The inline style: under a foreign name a browser could not load the page's files.
const STYLE: &str = ":root{color-scheme:light dark;background:#f7f7f5;color:#17191c}a{color:#0b5cad}\
                     @media(prefers-color-scheme:dark){:root{background:#15181b;color:#eceef0}a{color:#7ab8ff}}\
                     body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:10vh auto;padding:0 1rem}\
                     h1{font-size:1.5rem}code{overflow-wrap:anywhere}";

/// Content security policy: nothing may be loaded or run, only this style is allowed.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = source_of(STYLE);
    let policy = format!(
        "default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("printable")
});

/// Whether a request is from a browser that wants to show a page.
fn is_wanted(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    method.is_safe()
        && accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

/// How the browser has reached the device.
pub(super) struct Reached {
    /// The requested host, as sent.
    host: String,
    /// The local address of the connection.
    local: IpAddr,
    scheme: Scheme,
    /// Whether there is a proxy.
    via: Via,
}

impl Reached {
    /// The facts of a request, if it wants a page.
    pub(super) fn of(method: &Method, headers: &HeaderMap, peer: &Connection) -> Option<Self> {
        is_wanted(method, headers).then(|| {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
            let Connection { local, scheme, via, .. } = peer;
            Self { host, local: *local, scheme: *scheme, via: via.clone() }
        })
    }
}

/// The refusal as a page.
pub(super) fn page(problem: &Problem, json: reply::Response, reached: &Reached) -> reply::Response {
    let (mut parts, _) = json.into_parts();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    parts.headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    parts.headers.append(VARY, HeaderValue::from_static("Accept"));
    Response::from_parts(parts, text(problem, reached).into())
}

fn text(problem: &Problem, reached: &Reached) -> String {
    let prefix = match &reached.via {
        Via::Proxy { prefix: Some(prefix), .. } => prefix.as_str(),
        _ => "",
    };
    let home = format!("<p><a href=\"{}/\">Go to the camera's page</a></p>", escaped(prefix));
    let (title, more) = match problem.status {
        StatusCode::UNAUTHORIZED => ("Sign in first", home),
        StatusCode::NOT_FOUND => ("No such page", home),
        StatusCode::MISDIRECTED_REQUEST => ("This is not the camera's name", other_name(reached)),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => ("Try again later", home),
        StatusCode::FORBIDDEN => ("Not allowed", home),
        _ => ("The request failed", home),
    };
    let detail = problem.detail.trim_end_matches('.');
    let mut letters = detail.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let detail = format!("{first}{}.", letters.as_str());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} - peercam</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{}</p>\n{more}\n</html>\n",
        escaped(&detail)
    )
}

/// The address to use instead, and how the owner can add the name.
fn other_name(reached: &Reached) -> String {
    let (name, port) = guard::split_port(&reached.host);
    let port = if port.is_empty() { String::new() } else { format!(":{port}") };
    let address = match reached.local {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let mut more = String::new();
    // Behind a proxy, only the proxy can reach the local address.
    if matches!(reached.via, Via::Direct) {
        let url = escaped(&format!("{}://{address}{port}/", reached.scheme.as_str()));
        more += &format!("<p>Its address is <a href=\"{url}\">{url}</a>.</p>\n");
    }
    more + &format!(
        "<p>If you own it and want to use this name, put it into <code>device.toml</code>, under \
         <code>[web]</code>: <code>hosts = [\"{}\"]</code></p>",
        escaped(name)
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_a_browser_that_shows_it_gets_a_page() {
        let html = "text/html,application/xhtml+xml,*/*;q=0.8";
        for (method, accept, wanted) in [
            (Method::GET, html, true),
            (Method::GET, "image/png, text/html;q=0.5", true),
            (Method::POST, html, false),
            (Method::GET, "*/*", false),
            (Method::GET, "application/json", false),
        ] {
            assert_eq!(is_wanted(&method, &headers(&[("accept", accept)])), wanted, "{method} {accept}");
        }
        assert!(!is_wanted(&Method::GET, &HeaderMap::new()));
    }

    fn said(problem: &Problem, host: &'static str, via: &Via) -> String {
        let (host, via) = (host.to_owned(), via.clone());
        text(problem, &Reached { host, local: [192, 0, 2, 7].into(), scheme: Scheme::Https, via })
    }

    #[test]
    fn a_page_says_what_is_wrong_and_where_to_go() {
        let there = Problem::new(StatusCode::NOT_FOUND, "not found");
        let told = said(&there, "cam", &Via::Direct);
        assert!(told.contains("<p>Not found.</p>") && told.contains("href=\"/\""), "{told}");
        let proxy = Via::Proxy { prefix: Some("/cam".into()), hidden: false };
        assert!(said(&there, "cam", &proxy).contains("href=\"/cam/\""));
    }

    #[test]
    fn an_unknown_name_is_told_with_the_key_that_makes_it_known_and_is_never_markup() {
        let wrong = Problem::new(StatusCode::MISDIRECTED_REQUEST, "this device isn't known by that name");
        let told = said(&wrong, "cam.lan:8443", &Via::Direct);
        assert!(
            told.contains("href=\"https://192.0.2.7:8443/\"") && told.contains("hosts = [\"cam.lan\"]"),
            "{told}"
        );
        let told = said(&wrong, "<script>alert(1)</script>\"", &Via::Direct);
        assert!(!told.contains("<script") && told.contains("&lt;script&gt;"), "{told}");
    }
}
