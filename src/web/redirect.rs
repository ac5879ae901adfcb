//! Redirects plain HTTP to HTTPS with 308 (RFC 9110 section 15.4.9), which keeps method and body. The response must not
//! be cached: otherwise a browser could not return to plain HTTP after `tls = "off"`.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use warp::reply;

use super::guard::{self, Machine};
use super::problem::Problem;
use crate::config;

/// The redirect for `request`: to the same host, if that is this device, so that it leads nowhere else. `port` is the
/// HTTPS port, unless the request came to that port.
pub(super) fn answer<B>(
    request: &Request<B>,
    web: &config::Web,
    machine: &dyn Machine,
    port: Option<u16>,
) -> reply::Response {
    match location(request, web, machine, port) {
        Ok(location) => {
            let mut response = Response::new(Vec::new().into());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            response
        }
        Err(problem) => problem.response(),
    }
}

fn location<B>(
    request: &Request<B>,
    web: &config::Web,
    machine: &dyn Machine,
    port: Option<u16>,
) -> Result<HeaderValue, Problem> {
    guard::check_host(request.uri(), request.headers(), web, machine)?;
    let nowhere = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "this port only redirects to HTTPS, and the request has no valid Host",
        )
    };
    // In the same order as the guard: the target's authority counts before Host.
    let authority = request.uri().authority().map(|a| a.as_str());
    let host = authority.or_else(|| request.headers().get(HOST)?.to_str().ok()).ok_or_else(nowhere)?;
    let path = request.uri().path_and_query().map(|p| p.as_str()).filter(|p| p.starts_with('/'));
    let place = match port {
        None => host.to_owned(),
        Some(port) => {
            let (bare, _) = guard::split_port(host);
            if port == 443 { bare.to_owned() } else { format!("{bare}:{port}") }
        }
    };
    let uri: Uri = format!("https://{place}{}", path.ok_or_else(nowhere)?).parse().map_err(|_| nowhere())?;
    HeaderValue::try_from(uri.to_string()).map_err(|_| nowhere())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    struct Door;
    impl Machine for Door {
        fn owns(&self, address: IpAddr) -> bool {
            ["192.168.1.5", "2001:db8::5"].iter().any(|a| address == a.parse::<IpAddr>().unwrap())
        }
        fn hostname(&self) -> Option<String> {
            Some("door".into())
        }
        fn announced(&self) -> Option<String> {
            None
        }
    }

    fn ask(uri: &str, host: &str, port: Option<u16>) -> Result<String, u16> {
        let request = Request::builder().uri(uri).header(HOST, host).body(()).unwrap();
        let response = answer(&request, &config::Web::default(), &Door, port);
        match response.headers().get(LOCATION) {
            Some(to) => {
                assert_eq!(
                    (response.status(), &response.headers()[CACHE_CONTROL]),
                    (StatusCode::PERMANENT_REDIRECT, &HeaderValue::from_static("no-store"))
                );
                Ok(to.to_str().unwrap().into())
            }
            None => Err(response.status().as_u16()),
        }
    }

    #[test]
    fn the_same_place_by_https() {
        for (uri, host, port, to) in [
            ("/", "door.local:8080", Some(8443), "https://door.local:8443/"),
            ("/", "door.local", Some(443), "https://door.local/"),
            ("/a?b=c", "192.168.1.5", Some(8443), "https://192.168.1.5:8443/a?b=c"),
            ("/", "[2001:db8::5]:8080", Some(8443), "https://[2001:db8::5]:8443/"),
            ("/", "[2001:db8::5]", Some(8443), "https://[2001:db8::5]:8443/"),
            ("/whep", "door:8443", None, "https://door:8443/whep"),
            ("http://door/x", "door", Some(8443), "https://door:8443/x"),
            ("//evil.example/", "door", Some(8443), "https://door:8443//evil.example/"),
        ] {
            assert_eq!(ask(uri, host, port), Ok(to.into()), "{uri} {host}");
        }
    }

    #[test]
    fn nobody_is_led_astray() {
        for (uri, host, status) in [
            ("/", "evil.example", 421),
            ("http://evil.example/", "door", 421),
            ("http://evil.example/", "evil.example", 421),
            ("/", "door@evil.example", 400),
            ("/", "door.evil.example", 421),
            ("/", "", 400),
            ("*", "door", 400),
            ("door:80", "door", 400),
        ] {
            assert_eq!(ask(uri, host, Some(8443)), Err(status), "{uri} {host}");
        }
    }
}
