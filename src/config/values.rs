//! Parses the string values of `device.toml`. Each function returns what is wrong with a value; the constant above
//! it says what is allowed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::file::{Refusal, Value, boolean, integer};
use super::{CameraDevice, Microphone, Public};
use crate::media::frame::Size;
use crate::text::is_plain;

/// Allowed values for [`camera`].
pub(super) const CAMERA: &str = "\"auto\", \"pattern\", \"noise\", a path like \"/dev/video0\", or a name in /dev/v4l/by-id or /dev/v4l/by-path";

/// Parses a camera's `device`.
pub(super) fn camera(s: &str) -> Result<CameraDevice, String> {
    match s {
        "auto" => Ok(CameraDevice::Auto),
        "pattern" => Ok(CameraDevice::Pattern),
        "noise" => Ok(CameraDevice::Noise),
        "" => Err("is empty".into()),
        _ if s.starts_with('/') => Ok(CameraDevice::Device(s.into())),
        _ if s.starts_with("video") && s[5..].chars().all(|c| c.is_ascii_digit()) => {
            Err(format!("is not a path (did you mean \"/dev/{s}\"?)"))
        }
        _ if s.contains('/') => Err("is a relative path".into()),
        _ => Ok(CameraDevice::Device(s.into())),
    }
}

/// Allowed values for [`camera_name`].
pub(super) const CAMERA_NAME: &str =
    "1 to 32 characters from a-z, 0-9 and -, with a letter or digit at both ends, like \"front-door\"";

/// Parses a camera's name, which appears in URLs and messages.
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
        "" => "is not a camera name".into(),
        alike => format!("is not a camera name (did you mean \"{alike}\"?)"),
    })
}

/// Allowed values for [`label`].
pub(super) const LABEL: &str =
    "1 to 64 characters, without line breaks, invisible characters or text direction marks";

/// Parses a camera's label, its name for people.
pub(super) fn label(s: &str) -> Result<String, String> {
    let s = s.trim();
    match s.chars().count() {
        0 => Err("is empty".into()),
        65.. => Err("is too long".into()),
        _ if !is_plain(s) => Err("has a character that can't be shown".into()),
        _ => Ok(s.into()),
    }
}

/// Allowed values for [`own_microphone`].
pub(super) const OWN_MICROPHONE: &str =
    "\"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"";

/// Parses a camera's own `microphone`. A section without this key gets one automatically.
pub(super) fn own_microphone(s: &str) -> Result<Microphone, String> {
    match microphone(s)? {
        Microphone::Auto => Err("is not allowed here (leave the key out instead)".into()),
        named => Ok(named),
    }
}

/// Allowed values for [`microphone`].
pub(super) const MICROPHONE: &str =
    "\"auto\", \"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"";

/// Parses the `device` of `[audio]`.
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

/// Allowed values for [`size`]: from the smallest useful picture to the most that H.264 level 5.1 and the encoder
/// support.
pub(super) const SIZE: &str = "\"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160";

/// Parses width and height, joined by an x.
pub(super) fn size(s: &str) -> Result<Size, String> {
    let number = |s: &str| if s.bytes().all(|b| b.is_ascii_digit()) { s.parse().ok() } else { None };
    let parts = s.split_once('x').and_then(|(w, h)| Some(Size::new(number(w)?, number(h)?)));
    let size = parts.ok_or("is not a size")?;
    if size.width < 64 || size.height < 64 {
        return Err("is too small".into());
    }
    if size.width > 3840 || size.height > 2160 {
        return Err("is too large".into());
    }
    // 4:2:0 stores one colour sample for each block of two by two pixels.
    if !size.width.is_multiple_of(2) || !size.height.is_multiple_of(2) {
        return Err("has an odd width or height".into());
    }
    Ok(size)
}

/// Checks the name of a V4L2 control, as `peercam devices` and `v4l2-ctl` print it.
pub(super) fn control_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(fine) {
        return Ok(());
    }
    Err("is not a control name; allowed: the names that `peercam devices` prints, like \"exposure_dynamic_framerate\"".into())
}

/// Parses a control's value: a number, or true and false for 1 and 0. Only the driver knows the real range. Camera
/// controls have 32 bits, signed or as a mask.
pub(super) fn control(value: &Value<'_>) -> Result<i64, Refusal> {
    match value.get_ref() {
        DeValue::Boolean(_) => boolean(value).map(i64::from),
        _ => integer(i64::from(i32::MIN), i64::from(u32::MAX))(value),
    }
}

/// Allowed values for [`address`].
pub(super) const ADDRESS: &str = "an IP address: \"127.0.0.1\" (this machine only), \"0.0.0.0\" or \"::\" (every interface), or one of this machine's addresses";

/// Parses an address to listen on.
pub(super) fn address(s: &str) -> Result<IpAddr, String> {
    s.parse().map_err(|_| match s {
        "localhost" => "is a name (did you mean \"127.0.0.1\"?)".into(),
        _ => "is not an IP address".to_string(),
    })
}

/// Allowed values for [`file()`].
pub(super) const FILE: &str = "an absolute path, like \"/etc/peercam/cert.pem\", or \"\" for none";

/// Parses a file's path; "" means none. A relative path would depend on where the daemon was started.
pub(super) fn file(s: &str) -> Result<Option<PathBuf>, String> {
    match s {
        "" => Ok(None),
        _ if s.contains('\0') => Err("has a NUL character".into()),
        _ if !s.starts_with('/') => Err("is a relative path".into()),
        _ => Ok(Some(s.into())),
    }
}

/// Allowed values for a list of [`super::Network`]s.
pub(super) const NETWORKS: &str = "an array of addresses or networks like [\"127.0.0.1\", \"10.0.0.0/8\"]";
/// Allowed values for [`super::Network`].
pub(super) const NETWORK: &str = "an address like \"127.0.0.1\" or a network like \"10.0.0.0/8\"";

/// Allowed values for a list of [`host`]s.
pub(super) const HOSTS: &str = "an array of names like [\"camera.example.org\"]";
/// Allowed values for [`host`].
pub(super) const HOST: &str = "a bare name or address, like \"camera.example.org\" or \"192.0.2.7\"";

/// Parses a name that a browser may send in `Host` (RFC 9110 section 7.2), without port; returns it in lower case.
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

/// Checks a host name (RFC 1123 section 2.1, plus the underscore, which is in use).
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
        return Err("is not a host name".into());
    }
    Ok(())
}

/// Allowed values for a list of [`origin`]s.
pub(super) const ORIGINS: &str = "an array of origins like [\"https://example.org\"]";
/// Allowed values for [`origin`].
pub(super) const ORIGIN: &str =
    "a scheme, a host and, unless it is the default, a port, like \"https://example.org\"";

/// Parses a web origin and returns it as browsers send it (RFC 6454 section 6.2): in lower case, without a path or the
/// scheme's default port.
pub(super) fn origin(s: &str) -> Result<String, String> {
    if s == "*" || s == "null" {
        return Err("would allow every page".into());
    }
    let s = s.to_ascii_lowercase();
    let (scheme, rest) = s.split_once("://").ok_or("has no scheme")?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err("is neither http:// nor https://".into()),
    };
    if rest.contains('/') {
        return Err("has a path or a trailing slash".into());
    }
    let (host, port) = authority(rest)?;
    match port {
        Some(port) if port == usual => Ok(format!("{scheme}://{host}")),
        Some(port) => Ok(format!("{scheme}://{host}:{port}")),
        None => Ok(format!("{scheme}://{host}")),
    }
}

/// Allowed values for a list of [`interface`]s.
pub(super) const INTERFACES: &str = "an array of names like [\"eth0\", \"wlan*\"]";
/// Allowed values for [`interface`].
pub(super) const INTERFACE: &str = "an interface name like \"eth0\", where * matches anything";

/// Parses the name of a network interface (`dev_valid_name` in the kernel), in which `*` may stand for anything.
pub(super) fn interface(s: &str) -> Result<String, String> {
    if s.is_empty() {
        return Err("is empty".into());
    }
    if s.len() > 15 || s.contains(['/', ':']) || s.contains(char::is_whitespace) {
        return Err("is not an interface name".into());
    }
    Ok(s.into())
}

/// Allowed values for a list of [`public`] addresses.
pub(super) const PUBLICS: &str = "an array of addresses like [\"203.0.113.7\"]";
/// Allowed values for [`public`].
pub(super) const PUBLIC: &str = "an IP address, with a port if it is not ice.port, like \"203.0.113.7\", \"203.0.113.7:50000\" or \"[2001:db8::1]:50000\"";

/// Parses an address at which the device is reachable from outside.
pub(super) fn public(s: &str) -> Result<Public, String> {
    let (ip, port) = match (s.parse::<IpAddr>(), s.parse::<SocketAddr>()) {
        (Ok(ip), _) => (ip, None),
        (_, Ok(address)) => (address.ip(), Some(address.port())),
        _ => return Err("is not an IP address".into()),
    };
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err("is not reachable from other machines".into());
    }
    if port == Some(0) {
        return Err("has port 0".into());
    }
    Ok(Public { ip, port })
}

/// Allowed values for a list of [`ice_url`]s.
pub(super) const ICE_URLS: &str = "an array of URLs like [\"stun:stun.example.org\"]";
/// Allowed values for [`ice_url`].
pub(super) const ICE_URL: &str = "stun:HOST, stuns:HOST, turn:HOST or turns:HOST, with :PORT unless it is the default, and for turn optionally ?transport=udp or ?transport=tcp";

/// Checks the URL of a STUN or TURN server (RFC 7064, RFC 7065).
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
        Some(_) => return Err("has an unknown parameter after the question mark".into()),
    }
    authority(rest)?;
    Ok(s.into())
}

/// Splits `s` into the host (in brackets if it is an IPv6 address) and the port.
fn authority(s: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match s.strip_prefix('[') {
        Some(v6) => {
            let (address, rest) = v6.split_once(']').ok_or("has an unclosed bracket")?;
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
        Some(_) => Err("has a port that is not a number from 1 to 65535".into()),
    }
}

/// Accepts any string that is not empty.
pub(super) fn not_empty(s: &str) -> Result<String, String> {
    if s.is_empty() { Err("is empty".into()) } else { Ok(s.into()) }
}

/// Allowed values for a command.
pub(super) const COMMAND: &str =
    "an array like [\"/usr/local/bin/notify\", \"camera\"]: the full path of a program, then its arguments";
/// Allowed values for [`word`].
pub(super) const WORD: &str = "a string";

/// Checks a program or one of its arguments: the kernel takes strings without NUL.
pub(super) fn word(s: &str) -> Result<String, String> {
    if s.contains('\0') { Err("has a NUL character".into()) } else { Ok(s.into()) }
}

/// Allowed values for [`led`].
pub(super) const LED: &str = "a name that `ls /sys/class/leds` prints, like \"ACT\", or \"\" for none";

/// Parses the name of an LED in sysfs.
pub(super) fn led(s: &str) -> Result<Option<String>, String> {
    match s {
        "" => Ok(None),
        "." | ".." => Err("is not an LED name".into()),
        _ if s.contains(['/', '\0']) => Err("is a path".into()),
        _ => Ok(Some(s.into())),
    }
}

/// Allowed values for [`webhook`].
pub(super) const WEBHOOK: &str = "a URL that begins with http:// or https://, or \"\" for none";

/// Parses the URL that events are posted to.
pub(super) fn webhook(s: &str) -> Result<Option<http::Uri>, String> {
    if s.is_empty() {
        return Ok(None);
    }
    let url: http::Uri = s.parse().map_err(|_| "is not a URL")?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("is neither http:// nor https://".into());
    }
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name or password, which would not be sent".into())
        }
        Some(authority) if !authority.host().is_empty() => Ok(Some(url)),
        _ => Err("has no host".into()),
    }
}
