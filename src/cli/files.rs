//! Checks the files that a configuration names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::report::Report;
use crate::config::{Config, Tls, Watching, Web};
use crate::text;
use crate::wall::{clock, date, plausible};
use crate::web::tls;

/// Reports all files.
pub(super) fn report(report: &mut Report, config: &Config) {
    certificate(report, &config.web);
    programs(report, &config.watching);
}

/// Reports the certificate that would be served, and whether it can be read and is valid.
pub(super) fn certificate(report: &mut Report, web: &Web) {
    let (certificate, key) = match &web.tls {
        Tls::Off => return report.line("certificate", "none: plain HTTP"),
        Tls::Auto => return report.line("certificate", "made by this device"),
        Tls::Files { certificate, key } => (certificate, key),
    };
    let unreadable = |(name, path): (&str, &PathBuf)| {
        let error = File::open(path).err()?;
        Some(format!("{name}: can't read {}: {}", path.display(), text::of_error(&error)))
    };
    let unreadable: Vec<_> =
        [("web.certificate", certificate), ("web.key", key)].into_iter().filter_map(unreadable).collect();
    if !unreadable.is_empty() {
        report.line("certificate", "your own");
        return unreadable.iter().for_each(|says| report.problem(says));
    }
    match tls::owners(certificate, key) {
        Ok(pair) => {
            let (now, until) = (clock(), date(pair.not_after));
            report.line("certificate", &format!("your own, valid until {until}"));
            if plausible(now) && now >= pair.not_after {
                report.problem(&format!("web.certificate: {} expired on {until}", certificate.display()));
            }
        }
        Err(e) => {
            report.line("certificate", "your own");
            report.problem(&e.to_string());
        }
    }
}

fn programs(report: &mut Report, watching: &Watching) {
    for (key, command) in [("watching.on_first", &watching.on_first), ("watching.on_last", &watching.on_last)]
    {
        let Some(program) = command.first() else { continue };
        report.line(key, &command.join(" "));
        if let Some(says) = unrunnable(Path::new(program)) {
            report.problem(&format!("{key}: {program} {says}"));
        }
    }
}

fn unrunnable(program: &Path) -> Option<String> {
    match fs::metadata(program) {
        Err(e) => Some(format!("can't be run: {}", text::of_error(&e))),
        Ok(facts) if !facts.is_file() => Some("is not a file".into()),
        Ok(_) => access(program, AccessFlags::X_OK).err().map(|e| format!("can't be run: {}", e.desc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn said(config: &Config) -> (String, usize) {
        let mut all = Report::default();
        report(&mut all, config);
        (all.text(), all.problems)
    }

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("peercam-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn certificate_files_are_there_and_belong_together() {
        let dir = folder("certificates");
        let path = |name: &str| dir.join(name);
        let made = ["one", "two"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
        for (name, one) in ["one", "two"].iter().zip(&made) {
            fs::write(path(&format!("{name}.pem")), one.cert.pem()).unwrap();
            fs::write(path(&format!("{name}.key")), one.signing_key.serialize_pem()).unwrap();
        }
        let with = |certificate: &str, key: &str| {
            let mut config = Config::default();
            config.web.tls = Tls::Files { certificate: path(certificate), key: path(key) };
            said(&config)
        };
        let (text, problems) = with("one.pem", "one.key");
        assert!(text.starts_with("certificate  your own, valid until 4") && problems == 0, "{text}");
        let (text, problems) = with("gone.pem", "gone.key");
        for key in ["web.certificate: can't read ", "web.key: can't read "] {
            assert!(text.contains(key) && text.contains("gone.key: No such file or directory\n"), "{text}");
        }
        assert_eq!(problems, 2, "{text}");
        let (text, problems) = with("one.pem", "two.key");
        assert!(text.contains("two.key is not the key of the certificate") && problems == 1, "{text}");
        let (text, problems) = with("one.key", "one.key");
        assert!(text.contains("has no certificate") && problems == 1, "{text}");
        assert_eq!(said(&Config::default()).0, "certificate  made by this device\nno problems\n");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn programs_are_there_and_can_be_run() {
        let dir = folder("programs");
        let plain = dir.join("plain");
        fs::write(&plain, "").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        let mut config = Config::default();
        config.watching.on_first = vec!["/bin/sh".into(), "-c".into()];
        assert_eq!(said(&config).1, 0);
        for (program, says) in [
            ("/nowhere/light", "No such file or directory"),
            ("/bin", "is not a file"),
            (plain.to_str().unwrap(), "denied"),
        ] {
            config.watching.on_last = vec![program.into()];
            let (text, problems) = said(&config);
            assert!(text.contains(&format!("watching.on_last: {program} ")), "{text}");
            assert!(text.contains(says) && problems == 1, "{text}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
