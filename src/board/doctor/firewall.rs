//! Checks whether a firewall on this machine may block viewers.

use std::fs;
use std::process::{Command, Stdio};

use super::Finding;

const ABOUT: &str = "firewall";

/// Checks the firewall. `ports`, like "TCP 8443", are the ports to allow.
pub fn look(ports: &str) -> Finding {
    let let_in = format!("allow these ports: {ports} (with ufw: `sudo ufw allow NUMBER/tcp`, or `/udp`)");
    if nix::unistd::geteuid().is_root() {
        return match rules() {
            None => Finding::ok(
                ABOUT,
                "neither nftables nor iptables is installed, so there is probably no firewall",
            ),
            Some(rules) if closes(&rules) => {
                Finding::warn(ABOUT, "rules on this machine drop or reject incoming packets", let_in)
            }
            Some(_) => Finding::ok(ABOUT, "no rule on this machine drops or rejects incoming packets"),
        };
    }
    // This file is readable for every user.
    let ufw = fs::read_to_string("/etc/ufw/ufw.conf").unwrap_or_default();
    if ufw.lines().any(|l| l.trim().eq_ignore_ascii_case("ENABLED=yes")) {
        return Finding::warn(ABOUT, "ufw is enabled; only root can see what it allows", let_in);
    }
    Finding::warn(
        ABOUT,
        "only root can see the rules",
        format!("if other devices can't connect, run `sudo peercam doctor`; a firewall must {let_in}"),
    )
}

/// All rules, as text.
fn rules() -> Option<String> {
    let says = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        // A user's PATH often lacks these folders.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        command.args(args).env("PATH", path).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let all = [
        says("nft", &["list", "ruleset"]),
        says("iptables-save", &["-t", "filter"]),
        says("ip6tables-save", &["-t", "filter"]),
    ];
    all.iter().any(Option::is_some).then(|| all.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

/// Whether a rule may drop or reject incoming packets. Which packets exactly is not worked out.
fn closes(rules: &str) -> bool {
    let iptables = rules.lines().map(str::trim).any(|line| {
        line.starts_with(":INPUT DROP")
            || line.starts_with(":INPUT REJECT")
            || line.starts_with("-A INPUT") && (line.contains("-j DROP") || line.contains("-j REJECT"))
    });
    iptables || nftables(rules)
}

/// The same for `nft list ruleset`: chains hooked at input, with their own rules and those of chains in the same table.
fn nftables(rules: &str) -> bool {
    rules.split("\ntable ").any(|table| {
        let drops = |text: &str| {
            text.split_whitespace().any(|w| matches!(w.trim_end_matches(';'), "drop" | "reject"))
        };
        let chains: Vec<&str> = table.split("chain ").skip(1).collect();
        let inputs: Vec<&&str> = chains.iter().filter(|c| c.contains("hook input")).collect();
        let jumps = inputs.iter().any(|c| c.contains(" jump ") || c.contains(" goto "));
        inputs.iter().any(|c| drops(c)) || jumps && chains.iter().any(|c| !c.contains(" hook ") && drops(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_let_nothing_in_are_seen() {
        let open = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n\
                    \tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert!(!closes(open) && !closes(""));
        assert!(closes(&open.replacen("policy accept", "policy drop", 1)));
        assert!(closes(&open.replacen(
            "policy accept;",
            "policy accept;\n\t\ttcp dport 22 accept\n\t\treject",
            1
        )));
        let jumps = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\
                     \t\tcounter jump ufw-input\n\t}\n\tchain ufw-input {\n\t\tcounter drop\n\t}\n}\n";
        assert!(closes(jumps) && !closes(&jumps.replace("counter drop", "counter accept")));
        assert!(closes("*filter\n:INPUT DROP [0:0]\n"));
        assert!(closes("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 8443 -j REJECT\n"));
        assert!(!closes("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -j ACCEPT\n"));
    }
}
