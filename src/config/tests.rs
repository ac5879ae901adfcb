//! Every mistake in a file with its exact message, and the shipped file compared with the code.

use super::*;

fn problems(text: &str) -> Vec<Problem> {
    match Config::parse(text, "device.toml") {
        Err(Error::Refused(problems)) => problems,
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// All problems reported for `text`, without columns and source lines.
pub(super) fn says(text: &str) -> String {
    let sentence = |Problem { file, line, key, says, .. }: &Problem| match key.is_empty() {
        true => format!("{file}:{line}: {says}"),
        false => format!("{file}:{line}: {key}: {says}"),
    };
    problems(text).iter().map(sentence).collect::<Vec<_>>().join("\n")
}

/// Checks that each text is refused with this sentence.
pub(super) fn refuses(table: &[(&str, &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .map(|(text, expected)| (text, says(text), format!("device.toml:{expected}")))
        .filter(|(_, said, expected)| said != expected)
        .map(|(text, said, expected)| format!("{text:?}\n  said {said}\n  not  {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("", "device.toml").expect("fine"), Config::default());
    assert_eq!(Config::parse("[video]\n[ice]\n", "device.toml").expect("fine"), Config::default());
}

#[test]
fn every_key_is_understood() {
    let text = r#"
        [video]
        device = "usb-046d_HD_Pro_Webcam_C920-video-index0"
        size = "640x480"
        frame_rate = 15
        pixel_format = "MJPG"
        bitrate_kbps = 800
        effort = "high"
        keep_open = true
        [video.controls]
        exposure_dynamic_framerate = false
        brightness = -12
        [audio]
        device = "plughw:CARD=C920,DEV=0"
        channels = 2
        bitrate_kbps = 96
        dtx = true
        keep_open = true
        [web]
        address = "::"
        port = 80
        http_port = 0
        tls = "files"
        certificate = "/etc/peercam/cert.pem"
        key = "/etc/peercam/key.pem"
        trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
        proxy_header = "forwarded"
        announce = true
        hosts = ["Camera.Example.org", "192.0.2.7", "[2001:DB8::1]"]
        origins = ["HTTPS://Example.org:443", "http://[2001:db8::1]:8000"]
        max_viewers = 3
        max_upload_kbps = 4000
        [ice]
        port = 9000
        tcp = false
        interfaces = ["eth0", "wl*"]
        exclude_interfaces = ["wlan1"]
        public_addresses = ["203.0.113.7", "203.0.113.8:50000", "2001:db8::7", "[2001:db8::8]:50000"]
        [[ice.servers]]
        urls = ["stun:stun.example.org", "stun:[2001:db8::1]:3478"]
        [[ice.servers]]
        urls = ["turn:turn.example.org:3478?transport=udp"]
        username = "me"
        credential = "secret"
        for_guests = true
        [[ice.servers]]
        urls = ["turns:turn.example.org"]
        secret = "shared"
        [watching]
        privacy = true
        led = "ACT"
        on_first = ["/usr/bin/logger", "somebody watches"]
        on_last = ["/usr/bin/logger"]
        webhook = "https://example.org:8443/hook?key=1"
    "#;
    let server = |urls: &[&str], username: Option<&str>, credential: Option<&str>| IceServer {
        urls: urls.iter().map(|u| u.to_string()).collect(),
        username: username.map(String::from),
        credential: credential.map(String::from),
        secret: None,
        for_guests: credential.is_some(),
    };
    let public = |ip: &str, port| Public { ip: ip.parse().expect("an address"), port };
    let video = Video {
        device: CameraDevice::Device("usb-046d_HD_Pro_Webcam_C920-video-index0".into()),
        others: vec![],
        size: Size::new(640, 480),
        frame_rate: 15,
        pixel_format: Some(PixelFormat::Mjpg),
        bitrate_bps: 800_000,
        effort: Effort::High,
        keep_open: true,
        controls: [("exposure_dynamic_framerate".into(), 0), ("brightness".into(), -12)].into(),
    };
    let expected = Config {
        cameras: vec![Camera::only(video.clone())],
        video,
        audio: Audio {
            device: Microphone::Device("plughw:CARD=C920,DEV=0".into()),
            others: vec![],
            channels: 2,
            bitrate_bps: 96_000,
            dtx: true,
            keep_open: true,
        },
        web: Web {
            address: "::".parse().expect("an address"),
            port: 80,
            http_port: 0,
            tls: Tls::Files {
                certificate: "/etc/peercam/cert.pem".into(),
                key: "/etc/peercam/key.pem".into(),
            },
            trusted_proxies: ["127.0.0.1", "10.0.0.0/8"].map(|n| Network::parse(n).expect("one")).into(),
            proxy_header: ProxyHeader::Forwarded,
            announce: true,
            hosts: ["camera.example.org", "192.0.2.7", "2001:db8::1"].map(String::from).into(),
            origins: ["https://example.org", "http://[2001:db8::1]:8000"].map(String::from).into(),
            max_viewers: 3,
            max_upload_bps: Some(4_000_000),
        },
        ice: Ice {
            port: 9000,
            tcp: false,
            interfaces: ["eth0", "wl*"].map(String::from).into(),
            exclude_interfaces: vec!["wlan1".into()],
            public_addresses: vec![
                public("203.0.113.7", None),
                public("203.0.113.8", Some(50_000)),
                public("2001:db8::7", None),
                public("2001:db8::8", Some(50_000)),
            ],
            servers: vec![
                server(&["stun:stun.example.org", "stun:[2001:db8::1]:3478"], None, None),
                server(&["turn:turn.example.org:3478?transport=udp"], Some("me"), Some("secret")),
                IceServer {
                    secret: Some("shared".into()),
                    ..server(&["turns:turn.example.org"], None, None)
                },
            ],
        },
        watching: Watching {
            privacy: true,
            led: Some("ACT".into()),
            on_first: ["/usr/bin/logger", "somebody watches"].map(String::from).into(),
            on_last: vec!["/usr/bin/logger".into()],
            webhook: Some("https://example.org:8443/hook?key=1".parse().expect("a URL")),
        },
    };
    assert_eq!(Config::parse(text, "device.toml").expect("fine"), expected);
}

#[test]
fn the_line_is_shown_with_carets() {
    let error = Config::parse("[video]\n\tframe_rate = 500 # Hz\n", "/etc/x.toml").expect_err("out of range");
    let expected = "\
/etc/x.toml:2:15: video.frame_rate: 500 is out of range; allowed: 1 to 120
   2 |  frame_rate = 500 # Hz
     |               ^^^";
    assert_eq!(error.to_string(), expected);
    let error = Config::parse("[audio]\r\ndevice = \"é\" \"\r\n", "d").expect_err("no TOML");
    assert!(error.to_string().ends_with("\n   2 | device = \"é\" \"\n     |              ^"), "{error}");
}

/// Found by fuzzing: the fault is at a line break of two bytes.
#[test]
fn a_text_left_open_in_a_file_of_windows() {
    let error = Config::parse("[web]\r\norigins = [\"p\r\n", "d").expect_err("no TOML").to_string();
    assert!(error.starts_with("d:2:15: web.origins: this array is not complete; "), "{error}");
}

#[test]
fn all_problems_are_told_at_once_in_order() {
    let text = "[web]\nport = 70000\nprot = 1\n[video]\nsize = 720\n";
    assert_eq!(
        says(text),
        "device.toml:2: web.port: 70000 is out of range; allowed: 0 to 65535\n\
         device.toml:3: web.prot: unknown key (did you mean `port`?); allowed in [web]: address, port, http_port, tls, certificate, key, trusted_proxies, proxy_header, announce, hosts, origins, max_viewers, max_upload_kbps\n\
         device.toml:5: video.size: 720 is an integer, expected a string in quotes; allowed: \"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160"
    );
}

#[test]
fn what_is_refused_and_how() {
    const SIZE: &str = "allowed: \"WIDTHxHEIGHT\" in even pixels, from 64x64 to 3840x2160";
    const TURN: &str = "is missing; a turn: or turns: server needs username and credential, or secret";
    const PUBLIC: &str = "allowed: an IP address, with a port if it is not ice.port, like \"203.0.113.7\", \"203.0.113.7:50000\" or \"[2001:db8::1]:50000\"";
    let table: &[(&str, &str)] = &[
        // Sections and keys.
        (
            "[vidoe]",
            "1: vidoe: unknown section (did you mean [video]?); allowed: [video], [[camera]], [audio], [web], [ice], [watching]",
        ),
        (
            "frame_rate = 3",
            "1: frame_rate: is outside every section (did you mean `frame_rate` in [video]?); sections: [video], [[camera]], [audio], [web], [ice], [watching]",
        ),
        (
            "[video]\nframerate = 3",
            "2: video.framerate: unknown key (did you mean `frame_rate`?); allowed in [video]: device, size, frame_rate, pixel_format, bitrate_kbps, effort, keep_open, controls",
        ),
        (
            "[audio]\nxyz = 3",
            "2: audio.xyz: unknown key; allowed in [audio]: device, channels, bitrate_kbps, dtx, keep_open",
        ),
        ("video = 3", "1: video: 3 is an integer, expected a section; allowed: [video]"),
        (
            "[ice.servers]\nurls = []",
            "1: ice.servers: [ice.servers] is a section, expected an array of sections; allowed: [[ice.servers]] above each",
        ),
        (
            "[ice]\nservers = [1]",
            "2: ice.servers: [1] is an array, expected an array of sections; allowed: [[ice.servers]] above each",
        ),
        ("[web]\nport = 1\nport = 2", "3: port: appears twice; remove one of the two"),
        ("[web]\n[web]", "2: web: appears twice; remove one of the two"),
        (
            "[web\nport = 1",
            "1: this is not a section header; write [name], or [[name]] for one of several, on a line of its own",
        ),
        // Numbers and switches.
        ("[video]\nframe_rate = 0", "2: video.frame_rate: 0 is out of range; allowed: 1 to 120"),
        ("[video]\nframe_rate = 0xFF", "2: video.frame_rate: 0xFF is out of range; allowed: 1 to 120"),
        ("[video]\nframe_rate = -1", "2: video.frame_rate: -1 is out of range; allowed: 1 to 120"),
        (
            "[video]\nframe_rate = 99999999999999999999",
            "2: video.frame_rate: 99999999999999999999 is out of range; allowed: 1 to 120",
        ),
        (
            "[video]\nframe_rate = 29.97",
            "2: video.frame_rate: 29.97 is a float, expected an integer; allowed: 1 to 120",
        ),
        (
            "[video]\nframe_rate = \"30\"",
            "2: video.frame_rate: \"30\" is a string, expected an integer; allowed: 1 to 120",
        ),
        (
            "[video]\nbitrate_kbps = 2000000",
            "2: video.bitrate_kbps: 2000000 is out of range; allowed: 50 to 50000",
        ),
        ("[audio]\nbitrate_kbps = 5", "2: audio.bitrate_kbps: 5 is out of range; allowed: 6 to 510"),
        ("[audio]\nchannels = 6", "2: audio.channels: 6 is out of range; allowed: 1 to 2"),
        ("[audio]\ndtx = 1", "2: audio.dtx: 1 is an integer, expected a boolean; allowed: true or false"),
        (
            "[web]\nmax_upload_kbps = 50",
            "2: web.max_upload_kbps: 50 is out of range; allowed: 100 to 1000000",
        ),
        ("[web]\nmax_viewers = 0", "2: web.max_viewers: 0 is out of range; allowed: 1 to 1000"),
        // Choices.
        (
            "[video]\npixel_format = \"MJPEG\"",
            "2: video.pixel_format: \"MJPEG\" is unknown (did you mean \"MJPG\"?); allowed: \"auto\", \"YUYV\", \"UYVY\", \"NV12\", \"NV21\", \"YU12\", \"GREY\", \"MJPG\"",
        ),
        (
            "[video]\neffort = \"best\"",
            "2: video.effort: \"best\" is unknown; allowed: \"low\", \"medium\", \"high\"",
        ),
        (
            "[video]\neffort = 3",
            "2: video.effort: 3 is an integer, expected a string in quotes; allowed: \"low\", \"medium\", \"high\"",
        ),
        // Sizes.
        ("[video]\nsize = \"big\"", &format!("2: video.size: \"big\" is not a size; {SIZE}")),
        ("[video]\nsize = \"640*480\"", &format!("2: video.size: \"640*480\" is not a size; {SIZE}")),
        ("[video]\nsize = \"640x+48\"", &format!("2: video.size: \"640x+48\" is not a size; {SIZE}")),
        (
            "[video]\nsize = \"641x480\"",
            &format!("2: video.size: \"641x480\" has an odd width or height; {SIZE}"),
        ),
        (
            "[video]\nsize = \"640x481\"",
            &format!("2: video.size: \"640x481\" has an odd width or height; {SIZE}"),
        ),
        ("[video]\nsize = \"62x480\"", &format!("2: video.size: \"62x480\" is too small; {SIZE}")),
        ("[video]\nsize = \"4096x2160\"", &format!("2: video.size: \"4096x2160\" is too large; {SIZE}")),
        // Devices.
        (
            "[video]\ndevice = \"\"",
            "2: video.device: \"\" is empty; allowed: \"auto\", \"pattern\", \"noise\", a path like \"/dev/video0\", or a name in /dev/v4l/by-id or /dev/v4l/by-path",
        ),
        (
            "[video]\ndevice = \"video0\"",
            "2: video.device: \"video0\" is not a path (did you mean \"/dev/video0\"?); allowed: \"auto\", \"pattern\", \"noise\", a path like \"/dev/video0\", or a name in /dev/v4l/by-id or /dev/v4l/by-path",
        ),
        (
            "[video]\ndevice = \"../x\"",
            "2: video.device: \"../x\" is a relative path; allowed: \"auto\", \"pattern\", \"noise\", a path like \"/dev/video0\", or a name in /dev/v4l/by-id or /dev/v4l/by-path",
        ),
        (
            "[audio]\ndevice = false",
            "2: audio.device: false is a boolean, expected a string in quotes; allowed: \"auto\", \"tone\", \"off\", or an ALSA name like \"default\" or \"plughw:CARD=C920,DEV=0\"",
        ),
        (
            "[video.controls]\nBrightness = 1",
            "2: video.controls.Brightness: is not a control name; allowed: the names that `peercam devices` prints, like \"exposure_dynamic_framerate\"",
        ),
        (
            "[video.controls]\nbrightness = \"1\"",
            "2: video.controls.brightness: \"1\" is a string, expected an integer; allowed: -2147483648 to 4294967295",
        ),
        // Addresses and names.
        (
            "[web]\naddress = \"localhost\"",
            "2: web.address: \"localhost\" is a name (did you mean \"127.0.0.1\"?); allowed: an IP address: \"127.0.0.1\" (this machine only), \"0.0.0.0\" or \"::\" (every interface), or one of this machine's addresses",
        ),
        (
            "[web]\nhosts = \"a\"",
            "2: web.hosts: \"a\" is a string, expected an array; allowed: an array of names like [\"camera.example.org\"]",
        ),
        (
            "[web]\nhosts = [\n\"a\",\n\"http://b\"]",
            "4: web.hosts: \"http://b\" has a scheme; allowed: a bare name or address, like \"camera.example.org\" or \"192.0.2.7\"",
        ),
        (
            "[web]\nhosts = [\"b:80\"]",
            "2: web.hosts: \"b:80\" has a port (any port is fine); allowed: a bare name or address, like \"camera.example.org\" or \"192.0.2.7\"",
        ),
        (
            "[web]\nhosts = [\"b c\"]",
            "2: web.hosts: \"b c\" is not a host name; allowed: a bare name or address, like \"camera.example.org\" or \"192.0.2.7\"",
        ),
        (
            "[web]\norigins = [\"example.org\"]",
            "2: web.origins: \"example.org\" has no scheme; allowed: a scheme, a host and, unless it is the default, a port, like \"https://example.org\"",
        ),
        (
            "[web]\norigins = [\"https://example.org/\"]",
            "2: web.origins: \"https://example.org/\" has a path or a trailing slash; allowed: a scheme, a host and, unless it is the default, a port, like \"https://example.org\"",
        ),
        (
            "[web]\norigins = [\"*\"]",
            "2: web.origins: \"*\" would allow every page; allowed: a scheme, a host and, unless it is the default, a port, like \"https://example.org\"",
        ),
        // The media port.
        ("[ice]\nport = 65536", "2: ice.port: 65536 is out of range; allowed: 0 to 65535"),
        (
            "[ice]\ninterfaces = [\"\"]",
            "2: ice.interfaces: \"\" is empty; allowed: an interface name like \"eth0\", where * matches anything",
        ),
        (
            "[ice]\nexclude_interfaces = [\"eth0:1\"]",
            "2: ice.exclude_interfaces: \"eth0:1\" is not an interface name; allowed: an interface name like \"eth0\", where * matches anything",
        ),
        (
            "[ice]\npublic_addresses = [\"example.org\"]",
            &format!("2: ice.public_addresses: \"example.org\" is not an IP address; {PUBLIC}"),
        ),
        (
            "[ice]\npublic_addresses = [\"127.0.0.1\"]",
            &format!("2: ice.public_addresses: \"127.0.0.1\" is not reachable from other machines; {PUBLIC}"),
        ),
        (
            "[ice]\npublic_addresses = [\"192.0.2.1:0\"]",
            &format!("2: ice.public_addresses: \"192.0.2.1:0\" has port 0; {PUBLIC}"),
        ),
        // HTTPS and proxies.
        ("[web]\ntls = \"on\"", "2: web.tls: \"on\" is unknown; allowed: \"auto\", \"files\", \"off\""),
        (
            "[web]\ntls = \"files\"\nkey = \"/k.pem\"",
            "1: web.certificate: is missing; tls = \"files\" needs it",
        ),
        ("[web]\ncertificate = \"/c.pem\"", "2: web.certificate: is only for tls = \"files\""),
        (
            "[web]\nkey = \"key.pem\"",
            "2: web.key: \"key.pem\" is a relative path; allowed: an absolute path, like \"/etc/peercam/cert.pem\", or \"\" for none",
        ),
        (
            "[web]\nhttp_port = 8443",
            "2: web.http_port: is the same as port; HTTP and HTTPS need different ports; 0 turns HTTP off",
        ),
        (
            "[web]\ntrusted_proxies = [\"proxy\"]",
            "2: web.trusted_proxies: \"proxy\" is not an IP address or network; allowed: an address like \"127.0.0.1\" or a network like \"10.0.0.0/8\"",
        ),
        (
            "[web]\nproxy_header = \"x-forwarded-for\"",
            "2: web.proxy_header: \"x-forwarded-for\" is unknown (did you mean \"x-forwarded\"?); allowed: \"x-forwarded\", \"forwarded\"",
        ),
        // ICE servers.
        (
            "[[ice.servers]]\nurls = [\"turn:a\"]\nusername = \"u\"\nsecret = \"s\"",
            "3: ice.servers.username: can't be combined with secret; both are derived from it",
        ),
        ("[[ice.servers]]", "1: ice.servers.urls: is missing; a server needs at least one"),
        ("[[ice.servers]]\nurls = []", "2: ice.servers.urls: is empty; a server needs at least one"),
        (
            "[[ice.servers]]\nurls = [\"stun://a\"]",
            "2: ice.servers.urls: \"stun://a\" has slashes after the colon; allowed: stun:HOST, stuns:HOST, turn:HOST or turns:HOST, with :PORT unless it is the default, and for turn optionally ?transport=udp or ?transport=tcp",
        ),
        (
            "[[ice.servers]]\nurls = [\"stun:a:0\"]",
            "2: ice.servers.urls: \"stun:a:0\" has a port that is not a number from 1 to 65535; allowed: stun:HOST, stuns:HOST, turn:HOST or turns:HOST, with :PORT unless it is the default, and for turn optionally ?transport=udp or ?transport=tcp",
        ),
        (
            "[[ice.servers]]\nurls = [\"turn:a\"]\nusername = \"u\"",
            &format!("1: ice.servers.credential: {TURN}"),
        ),
        (
            "[[ice.servers]]\nurls = [\"turns:a\"]\ncredential = \"u\"",
            &format!("1: ice.servers.username: {TURN}"),
        ),
        (
            "[[ice.servers]]\nurls = [\"stun:a\"]\nusername = \"u\"",
            "1: ice.servers.credential: is missing; username and credential go together",
        ),
        (
            "[[ice.servers]]\nurls = [\"turn:a\"]\nusername = \"\"\ncredential = \"c\"",
            "3: ice.servers.username: \"\" is empty; allowed: a string that is not empty",
        ),
        // Watching.
        (
            "[watching]\nled = \"leds/ACT\"",
            "2: watching.led: \"leds/ACT\" is a path; allowed: a name that `ls /sys/class/leds` prints, like \"ACT\", or \"\" for none",
        ),
        (
            "[watching]\non_first = \"/bin/true\"",
            "2: watching.on_first: \"/bin/true\" is a string, expected an array; allowed: an array like [\"/usr/local/bin/notify\", \"camera\"]: the full path of a program, then its arguments",
        ),
        (
            "[watching]\non_last = [\"notify\"]",
            "2: watching.on_last: does not begin with a full path; allowed: the full path of a program, then its arguments",
        ),
        (
            "[watching]\nwebhook = \"ftp://example.org\"",
            "2: watching.webhook: \"ftp://example.org\" is neither http:// nor https://; allowed: a URL that begins with http:// or https://, or \"\" for none",
        ),
        (
            "[watching]\nwebhook = \"https://me:pw@example.org\"",
            "2: watching.webhook: \"https://me:pw@example.org\" has a user name or password, which would not be sent; allowed: a URL that begins with http:// or https://, or \"\" for none",
        ),
    ];
    refuses(table);
}

const REFERENCE: &str = include_str!("../../device.toml");

#[test]
fn the_shipped_file_is_the_default() {
    assert_eq!(Config::parse(REFERENCE, "device.toml").expect("fine"), Config::default());
}

#[test]
fn the_shipped_file_has_every_key_and_its_examples_are_valid() {
    // Examples are commented out without a space: `#key = value`, `#[section]`.
    let with_examples: String = REFERENCE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if example.starts_with(|c: char| c == '[' || c.is_alphabetic()) => example,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let (result, keys) = File::read_and_list("device.toml", &with_examples, &config);
    let example = result.expect("examples are valid");
    assert!(!example.ice.servers.is_empty() && !example.video.controls.is_empty());
    let camera = example.cameras.first().expect("a camera");
    assert!(example.cameras.len() > 1 && camera.microphone.is_some());
    let compared = [example.written(), camera.written()].concat();
    for key in &keys {
        let section = !key.contains('.') || key.starts_with("ice.servers.");
        let identity = key == "camera.name";
        // Keys of [video] are compared for each camera.
        let of_camera = key.strip_prefix("video.").or(key.strip_prefix("camera."));
        let name = of_camera.map_or(key.clone(), |name| format!("camera.{}.{name}", camera.name));
        let is_compared = compared.iter().any(|(key, _)| *key == name);
        assert!(section || identity || is_compared, "{key} is not compared on a reload");
    }
    let shown_for_video = |key: &String| {
        key.strip_prefix("camera.").is_some_and(|name| keys.contains(&format!("video.{name}")))
    };
    for key in keys.iter().filter(|key| !shown_for_video(key)) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut at = "";
        let found = with_examples.lines().any(|line| {
            if line.starts_with('[') {
                at = line.trim_matches(['[', ']']);
            }
            at == *key || at == section && line.starts_with(&format!("{name} ="))
        });
        assert!(found || key == "ice", "{key} is not in device.toml");
    }
}

#[test]
fn the_documentation_shows_the_shipped_file() {
    let page = include_str!("../../docs/configuration.md");
    let block = page.split("\n```toml\n").nth(1).and_then(|rest| rest.split("```\n").next());
    assert_eq!(block, Some(REFERENCE), "copy device.toml into docs/configuration.md");
}

#[test]
fn every_problem_has_line_and_column() {
    for (text, at) in [
        ("[video]\nfps = 30", (2, 1)),
        ("[video]\nframe_rate = 500", (2, 14)),
        ("[watching]\n  privacy = yes # please", (2, 13)),
        ("[video]\n\tdevice = /dev/video0\r\n", (2, 11)),
        ("[web]\nhosts = [\n\"a\",\n  \"http://b\"]", (4, 3)),
        ("[web]\nport = 1\nport = 2", (3, 1)),
        ("[[camera]]\nname = \"a\"\n  [[camera]]\n  name = \"b\"", (3, 3)),
        ("[[camera]]\nname = \"a\"\n[[camera]]\nname = \"a\"\ndevice = \"pattern\"", (4, 8)),
        ("[camera]\nname = \"a\"", (1, 1)),
    ] {
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].line, problems[0].column), at, "{text:?}");
        assert!(problems[0].to_string().starts_with(&format!("device.toml:{}:{}: ", at.0, at.1)));
    }
    let shown = Config::parse("[watching]\nprivacy = yes # please", "d").expect_err("no boolean").to_string();
    let expected = "d:2:11: watching.privacy: yes is not a boolean; allowed: true or false\n   2 | privacy = yes # please\n     |           ^^^";
    assert_eq!(shown, expected);
}
