//! Input from strangers: credentials in headers, and datagrams at the media port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use peercam::config::{Config, Web};
use peercam::net::stun::Message;
use peercam::state::{Scope, State};
use peercam::viewer::port::demux::{Demux, Inbound};
use peercam::viewer::port::gate::Gate;
use peercam::viewer::port::records::records;
use peercam::web::access::admit;
use peercam::web::auth::{Auth, Role};
use peercam::web::guard::{self, Area, Machine};
use peercam::web::proxy::{self, Scheme};

static HOUSE: OnceLock<(Web, Arc<Auth>)> = OnceLock::new();

fn web() -> Web {
    let text =
        "[web]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\norigins = [\"https://example.org\"]";
    Config::parse(text, "device.toml").expect("right").web
}

/// A device with an owner and a token, whose secrets nobody knows.
fn auth() -> Arc<Auth> {
    let dir = std::env::temp_dir().join(format!("peercam-fuzz-{}", std::process::id()));
    let auth = Auth::new(State::open(&dir).expect("a state"));
    auth.state().change(|l| l.owner = Some("no password fits".into())).expect("written");
    auth.add_token("nobody's", Role::Owner, Scope::ALL).expect("added");
    std::fs::remove_dir_all(&dir).expect("only what was made above");
    auth
}

struct Here;

impl Machine for Here {
    fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback()
    }

    fn hostname(&self) -> Option<String> {
        Some("board".into())
    }

    fn announced(&self) -> Option<String> {
        None
    }
}

/// A request line, `METHOD target`, and headers, one per line: no input is accepted as anybody.
pub fn door(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some((method, target)) = lines.next().and_then(|l| l.split_once(' ')) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.trim().parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let proxy: IpAddr = Ipv4Addr::LOCALHOST.into();
    let (web, auth) = HOUSE.get_or_init(|| (web(), auth()));
    let client = proxy::client(&headers, web, proxy, Scheme::Http);
    for area in [Area::Own, Area::Shared] {
        let Ok(caller) = guard::check(&uri, &headers, &client, area, web, &Here) else { continue };
        let admitted = admit(&method, uri.path(), &headers, caller, client.scheme, auth);
        assert!(!admitted.is_ok_and(|visitor| visitor.principal().is_some()), "somebody: {text}");
    }
}

/// Datagrams from a sender that knows no password, to a port that expects one viewer: none is taken for that
/// viewer's, changes the port's tables, or would pass application data to webrtc. Each datagram follows its
/// length in two bytes, as over TCP (RFC 4571).
pub fn datagrams(mut data: &[u8]) {
    let from = SocketAddr::from(([192, 0, 2, 1], 9));
    let (mut demux, mut gate) = (Demux::default(), Gate::default());
    let id = demux.open(Arc::default());
    demux.credentials(id, "ours", "a password that nobody knows");
    let before = demux.entries();
    while let Some((length, rest)) = data.split_first_chunk() {
        let (datagram, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
        data = rest;
        let now = Instant::now();
        assert!(matches!(demux.udp(now, from, None, datagram), Inbound::Stray), "taken for the viewer's");
        let _ = Message::parse(datagram).and_then(|m| m.mapped_address());
        gate.admit(now, datagram);
        let reduced = gate.reduce(now, Bytes::copy_from_slice(datagram));
        let data = |r: &Bytes| records(r).any(|r| !(20..=22).contains(&r.kind));
        assert!(!reduced.is_some_and(|r| data(&r)), "application data");
    }
    assert_eq!(demux.entries(), before);
}
