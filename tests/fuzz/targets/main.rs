//! One program for all targets, so that it is linked once; the environment variable TARGET selects one.

#![no_main]

mod camera;
mod door;
mod join;
mod reports;
mod text;

use std::sync::OnceLock;

/// Takes any bytes, and panics on a fault of ours.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("offer", text::offer),
    ("signal", text::signal),
    ("whep", text::whep),
    ("join", join::join),
    ("config", text::config),
    ("door", door::door),
    ("datagrams", door::datagrams),
    ("camera", camera::camera),
    ("reports", reports::reports),
];

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        target(data);
    }
});

fn choose() {
    let name = std::env::var("TARGET").unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(n, _)| *n == name) else {
        eprintln!("TARGET must be one of {:?}", TARGETS.map(|(n, _)| n));
        std::process::exit(2);
    };
    TARGET.get_or_init(|| *target);
}
