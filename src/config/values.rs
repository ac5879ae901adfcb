//! What the texts in `device.toml` may be. Each function says what is wrong with a text; the constant beside
//! it says what is allowed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::file::{Refusal, Value, boolean, integer};
use super::{CameraDevice, Microphone, Public};
use crate::media::frame::Size;
use crate::text::is_plain;

/// For [`camera`].
pub(super) const CAMERA: &str =
    "\"auto\", \"pattern\", a path like \"/dev/video0\", or a name below /dev/v4l/by-id or by-path";

/// Which camera.
pub(super) fn camera(s: &str) -> Result<CameraDevice, String> {
    match s {
        "auto" => Ok(CameraDevice::Auto),
        "pattern" => Ok(CameraDevice::Pattern),
        "" => Err("is empty".into()),
        _ if s.starts_with('/') => Ok(CameraDevice::Device(s.into())),
        _ if s.starts_with("video") && s[5..].chars().all(|c| c.is_ascii_digit()) => {
            Err(format!("is no path (did you mean \"/dev/{s}\"?)"))
        }
        _ if s.contains('/') => Err("is a relative path".into()),
        _ => Ok(CameraDevice::Device(s.into())),
    }
}

/// For [`camera_name`].
pub(super) const CAMERA_NAME: &str =
    "1 to 32 characters of a to z, 0 to 9 and -, with a letter or digit at both ends, like \"front-door\"";

/// A camera's identity, which stands in URLs and messages.
pub(super) fn camera_name(s: &str) -> Result<String, String> {
    const LONGEST: usize = 32;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if s.is_empty() {
        return Err("is empty".into());
    }
    if s.len() <= LONGEST && s.chars().all(fits) && !s.starts_with('-') && !s.ends_with('-') {
        return Ok(s.into());
    }
    let alike: String =
        s.to_lowercase().chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST).collect();
    Err(match alike.trim_matches('-') {
        "" => "is no camera's name".into(),
        alike => format!("is no camera's name (did you mean \"{alike}\"?)"),
    })
}

/// For [`label`].
pub(super) const LABEL: &str = "1 to 64 characters, without line breaks, invisible characters and marks that change the direction of text";

/// What people read.
pub(super) fn label(s: &str) -> Result<String, String> {
    let s = s.trim();
    match s.chars().count() {
        0 => Err("is empty".into()),
        65.. => Err("is too long".into()),
        _ if !is_plain(s) => Err("has a character that can't be shown".into()),
        _ => Ok(s.into()),
    }
}

/// For [`own_microphone`].
pub(super) const OWN_MICROPHONE: &str =
    "\"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"";

/// Which microphone belongs to a camera. That is found out where the section names none.
pub(super) fn own_microphone(s: &str) -> Result<Microphone, String> {
    match microphone(s)? {
        Microphone::Auto => Err("is what it is without this key".into()),
        named => Ok(named),
    }
}

/// For [`microphone`].
pub(super) const MICROPHONE: &str =
    "\"auto\", \"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"";

/// Which microphone.
pub(super) fn microphone(s: &str) -> Result<Microphone, String> {
    match s {
        "auto" => Ok(Microphone::Auto),
        "tone" => Ok(Microphone::Tone),
        "off" => Ok(Microphone::Off),
        "" => Err("is empty".into()),
        // ALSA takes a C string.
        _ if s.contains('\0') => Err("has a NUL character".into()),
        _ => Ok(Microphone::Device(s.into())),
    }
}

/// For [`size`]: from what still shows a picture up to what H.264 level 5.1 and the encoder can do.
pub(super) const SIZE: &str = "\"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160";

/// Width and height, joined by an x.
pub(super) fn size(s: &str) -> Result<Size, String> {
    let number = |s: &str| if s.bytes().all(|b| b.is_ascii_digit()) { s.parse().ok() } else { None };
    let parts = s.split_once('x').and_then(|(w, h)| Some(Size::new(number(w)?, number(h)?)));
    let size = parts.ok_or("is no size")?;
    if size.width < 64 || size.height < 64 {
        return Err("is too small".into());
    }
    if size.width > 3840 || size.height > 2160 {
        return Err("is too large".into());
    }
    // Colour is stored once for two by two pixels.
    if !size.width.is_multiple_of(2) || !size.height.is_multiple_of(2) {
        return Err("is odd".into());
    }
    Ok(size)
}

/// A control's name as we and `v4l2-ctl` print it.
pub(super) fn control_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(fine) {
        return Ok(());
    }
    Err("is no control's name; allowed: those that `peercam devices` prints, like \"exposure_dynamic_framerate\"".into())
}

/// A control's value: a number, or true and false for 1 and 0. The driver knows the
/// real range; all but 64-bit controls, which no camera's are, hold 32 bits,
/// with a sign or as a mask.
pub(super) fn control(value: &Value<'_>) -> Result<i64, Refusal> {
    match value.get_ref() {
        DeValue::Boolean(_) => boolean(value).map(i64::from),
        _ => integer(i64::from(i32::MIN), i64::from(u32::MAX))(value),
    }
}

/// For [`address`].
pub(super) const ADDRESS: &str = "an IP address: \"127.0.0.1\" (this machine only), \"0.0.0.0\" or \"::\" (everybody), or one of this machine's";

/// An address to listen on.
pub(super) fn address(s: &str) -> Result<IpAddr, String> {
    s.parse().map_err(|_| match s {
        "localhost" => "is a name (did you mean \"127.0.0.1\"?)".into(),
        _ => "is no IP address".to_string(),
    })
}

/// For [`file()`].
pub(super) const FILE: &str = "a path from the root, like \"/etc/peercam/cert.pem\", or \"\" for none";

/// A file's path, "" being none. Relative ones would depend on where the daemon was started.
pub(super) fn file(s: &str) -> Result<Option<PathBuf>, String> {
    match s {
        "" => Ok(None),
        _ if s.contains('\0') => Err("has a NUL character".into()),
        _ if !s.starts_with('/') => Err("is a relative path".into()),
        _ => Ok(Some(s.into())),
    }
}

/// For the list of [`super::Network`]s.
pub(super) const NETWORKS: &str = "an array of addresses or networks like [\"127.0.0.1\", \"10.0.0.0/8\"]";
/// For [`super::Network`].
pub(super) const NETWORK: &str = "an address like \"127.0.0.1\" or a network like \"10.0.0.0/8\"";

/// For the list of [`host`]s.
pub(super) const HOSTS: &str = "an array of names like [\"camera.example.org\"]";
/// For [`host`].
pub(super) const HOST: &str = "a bare name or address, like \"camera.example.org\" or \"192.0.2.7\"";

/// A name that a browser may put into `Host` (RFC 9110 section 7.2), without port; in lower case.
pub(super) fn host(s: &str) -> Result<String, String> {
    if s.contains("://") {
        return Err("has a scheme".into());
    }
    let s = s.to_ascii_lowercase();
    if let Ok(address) = s.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if s.contains('/') {
        return Err("has a path".into());
    }
    if s.contains(':') {
        return Err("has a port (any port is fine)".into());
    }
    name(&s).map(|()| s)
}

/// A host name (RFC 1123 section 2.1; the underscore because it is in use).
fn name(s: &str) -> Result<(), String> {
    let fine = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if s.is_empty() {
        return Err("is empty".into());
    }
    if s.len() > 253 || !s.split('.').all(fine) {
        return Err("is no host name".into());
    }
    Ok(())
}

/// For the list of [`origin`]s.
pub(super) const ORIGINS: &str = "an array of origins like [\"https://example.org\"]";
/// For [`origin`].
pub(super) const ORIGIN: &str =
    "scheme, name and, if it is not the usual one, port, like \"https://example.org\"";

/// A web origin as browsers send it (RFC 6454 section 6.2): in lower case, without a path or the scheme's own port.
pub(super) fn origin(s: &str) -> Result<String, String> {
    if s == "*" || s == "null" {
        return Err("would let in any page".into());
    }
    let s = s.to_ascii_lowercase();
    let (scheme, rest) = s.split_once("://").ok_or("has no scheme")?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err("is neither http:// nor https://".into()),
    };
    if rest.contains('/') {
        return Err("has a path or a slash at its end".into());
    }
    let (host, port) = authority(rest)?;
    match port {
        Some(port) if port == usual => Ok(format!("{scheme}://{host}")),
        Some(port) => Ok(format!("{scheme}://{host}:{port}")),
        None => Ok(format!("{scheme}://{host}")),
    }
}

/// For the list of [`interface`]s.
pub(super) const INTERFACES: &str = "an array of names like [\"eth0\", \"wlan*\"]";
/// For [`interface`].
pub(super) const INTERFACE: &str = "an interface's name like \"eth0\", in which * stands for anything";

/// Names of network interfaces: `dev_valid_name` of the kernel, and `*`.
pub(super) fn interface(s: &str) -> Result<String, String> {
    if s.is_empty() {
        return Err("is empty".into());
    }
    if s.len() > 15 || s.contains(['/', ':']) || s.contains(char::is_whitespace) {
        return Err("is no interface's name".into());
    }
    Ok(s.into())
}

/// For the list of [`public`] addresses.
pub(super) const PUBLICS: &str = "an array of addresses like [\"203.0.113.7\"]";
/// For [`public`].
pub(super) const PUBLIC: &str = "an IP address, with a port if it is not ice.port, like \"203.0.113.7\", \"203.0.113.7:50000\" or \"[2001:db8::1]:50000\"";

/// An address that others reach us at.
pub(super) fn public(s: &str) -> Result<Public, String> {
    let (ip, port) = match (s.parse::<IpAddr>(), s.parse::<SocketAddr>()) {
        (Ok(ip), _) => (ip, None),
        (_, Ok(address)) => (address.ip(), Some(address.port())),
        _ => return Err("is no IP address".into()),
    };
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err("is an address that nobody can reach".into());
    }
    if port == Some(0) {
        return Err("has port 0".into());
    }
    Ok(Public { ip, port })
}

/// For the list of [`ice_url`]s.
pub(super) const ICE_URLS: &str = "an array of URLs like [\"stun:stun.example.org\"]";
/// For [`ice_url`].
pub(super) const ICE_URL: &str = "stun:HOST, stuns:HOST, turn:HOST or turns:HOST, then :PORT if it is not the usual one, and for turn ?transport=udp or tcp";

/// A STUN or TURN server (RFC 7064, RFC 7065).
pub(super) fn ice_url(s: &str) -> Result<String, String> {
    let (scheme, rest) = s.split_once(':').ok_or("has no scheme")?;
    let turn = match scheme {
        "stun" | "stuns" => false,
        "turn" | "turns" => true,
        _ => return Err("is neither stun: nor turn:".into()),
    };
    if rest.starts_with("//") {
        return Err("has slashes after the colon".into());
    }
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
    match query {
        None => (),
        Some("transport=udp" | "transport=tcp") if turn => (),
        Some(_) => return Err("has something unknown after the question mark".into()),
    }
    authority(rest)?;
    Ok(s.into())
}

/// Host (in brackets if it is an IPv6 address) and port.
fn authority(s: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match s.strip_prefix('[') {
        Some(v6) => {
            let (address, rest) = v6.split_once(']').ok_or("has an open bracket")?;
            let address: std::net::Ipv6Addr =
                address.parse().map_err(|_| "has no IPv6 address in its brackets")?;
            (format!("[{address}]"), rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
        }
        None => {
            let (host, port) = s.split_once(':').map_or((s, None), |(h, p)| (h, Some(p)));
            name(host).map_err(|_| "has no valid host name")?;
            (host.to_string(), port)
        }
    };
    match port.map(|p| (p, p.parse::<u16>())) {
        None => Ok((host, None)),
        Some((text, Ok(port))) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((host, Some(port)))
        }
        Some(_) => Err("has a port that is no number from 1 to 65535".into()),
    }
}

/// Any text but none.
pub(super) fn not_empty(s: &str) -> Result<String, String> {
    if s.is_empty() { Err("is empty".into()) } else { Ok(s.into()) }
}

/// For a command.
pub(super) const COMMAND: &str =
    "an array like [\"/usr/local/bin/notify\", \"camera\"]: a program by its full path, then its arguments";
/// For [`word`].
pub(super) const WORD: &str = "a string";

/// A program or one of its arguments, as the kernel takes them.
pub(super) fn word(s: &str) -> Result<String, String> {
    if s.contains('\0') { Err("has a NUL character".into()) } else { Ok(s.into()) }
}

/// For [`led`].
pub(super) const LED: &str = "a name that `ls /sys/class/leds` prints, like \"ACT\", or \"\" for none";

/// A light by its name in sysfs.
pub(super) fn led(s: &str) -> Result<Option<String>, String> {
    match s {
        "" => Ok(None),
        "." | ".." => Err("is no light's name".into()),
        _ if s.contains(['/', '\0']) => Err("is a path".into()),
        _ => Ok(Some(s.into())),
    }
}

/// For [`webhook`].
pub(super) const WEBHOOK: &str = "a URL that begins with http:// or https://, or \"\" for none";

/// Where to post to.
pub(super) fn webhook(s: &str) -> Result<Option<http::Uri>, String> {
    if s.is_empty() {
        return Ok(None);
    }
    let url: http::Uri = s.parse().map_err(|_| "is no URL")?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("is neither http:// nor https://".into());
    }
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name or password in it, which are not sent".into())
        }
        Some(authority) if !authority.host().is_empty() => Ok(Some(url)),
        _ => Err("names no host".into()),
    }
}
