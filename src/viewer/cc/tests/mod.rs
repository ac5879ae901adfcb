//! The test bed: our pacer, estimator and shares against a model of Chromium's receiver over a model of a
//! link, on virtual time. Scenarios are data. Our controller passes each of them with ten seeds; other
//! controllers fail.

mod cubic;
mod encoder;
mod gcc;
mod link;
mod receiver;
mod remb;
mod scenario;
mod sender;
mod world;

use self::scenario::{Bar, Scenario, Steered};
use self::world::World;
use super::{
    Applied, Drive, Estimator, Figures, Kind, Limits, Next, Pacer, Place, Report, Said, Share, State,
};

fn scenario(name: &str) -> Scenario {
    scenario::all().into_iter().find(|s| s.name == name).expect("the name of a scenario")
}

/// The worst value of each bar over these seeds, and its seed.
fn worst(scenario: &Scenario, steered: Steered, seeds: std::ops::RangeInclusive<u64>) -> Vec<(Bar, u64)> {
    let mut worst: Vec<(Bar, u64)> = vec![];
    for seed in seeds {
        let bars = (scenario.check)(&World::run(scenario, steered, seed));
        for (n, bar) in bars.into_iter().enumerate() {
            match worst.get_mut(n) {
                None => worst.push((bar, seed)),
                Some(known) if (bar.value < known.0.value) == bar.at_least => *known = (bar, seed),
                Some(_) => {}
            }
        }
    }
    worst
}

fn line(name: &str, worst: &[(Bar, u64)]) -> String {
    let bars = worst.iter().map(|(bar, seed)| {
        let (sign, mark) = (if bar.at_least { '>' } else { '<' }, if bar.holds() { "" } else { "!!" });
        format!("{}{} {:.3} ({sign} {}, seed {seed})", mark, bar.what, bar.value, bar.limit)
    });
    format!("{name}: {}", bars.collect::<Vec<_>>().join(", "))
}

fn passes(name: &str) {
    let worst = worst(&scenario(name), Steered::Ours, 1..=10);
    println!("{}", line(name, &worst));
    assert!(worst.iter().all(|(bar, _)| bar.holds()), "{}", line(name, &worst));
}

macro_rules! scenarios {
    ($($test:ident $name:literal)*) => {
        $(#[test] fn $test() { passes($name); })*
        #[test]
        fn every_scenario_is_tested() {
            let mut names = vec![$($name),*];
            names.sort_unstable();
            let mut all: Vec<_> = scenario::all().iter().map(|s| s.name).collect();
            all.sort_unstable();
            assert_eq!(names, all);
        }
    };
}

scenarios! {
    steady "steady"
    steady_with_seldom_reports "steady-250"
    start "start"
    start_with_seldom_reports "start-250"
    rise_with_seldom_reports "rise-250"
    fall "fall"
    fall_with_slow_reports "fall-250"
    rise "rise"
    loss "loss"
    bursts "bursts"
    outage "outage"
    slow "slow"
    jitter "jitter"
    cubic_beside_us "cubic"
    cubic_with_a_deep_queue "cubic-1000"
    scene_change "scene"
    two_viewers "two"
    three_viewers "three"
    three_viewers_apart "three-apart"
    rfc8867_varying "rfc8867-5.1"
    rfc8867_congested_reports "rfc8867-5.3"
    drift "drift"
    drift_back "drift-back"
    ice_tcp "ice-tcp"
    remb "remb"
    receiver_reports "reports"
    fast "fast"
}

/// For tuning: `CC=steady,fall SEEDS=11-30 cargo test -- --ignored --nocapture table`.
#[test]
#[ignore = "prints the whole table; run it with seeds 11 to 30 at the end of a change"]
fn table() {
    let wanted = std::env::var("CC").unwrap_or_default();
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "11-30".into());
    let (from, to) = seeds.split_once('-').expect("FROM-TO");
    let seeds = from.parse().expect("a number")..=to.parse().expect("a number");
    let steered = match std::env::var("STEERED").as_deref() {
        Ok("fixed") => Steered::Fixed,
        Ok("gcc") => Steered::Gcc,
        _ => Steered::Ours,
    };
    for scenario in scenario::all() {
        if wanted.is_empty() || wanted.split(',').any(|w| w == scenario.name) {
            println!("{}", line(scenario.name, &worst(&scenario, steered, seeds.clone())));
        }
    }
}

/// `make bench-net`: one line for each scenario.
#[test]
#[ignore = "prints what each scenario measures"]
fn lines() {
    for scenario in scenario::all() {
        println!("{}", World::run(&scenario, Steered::Ours, 1).line());
    }
}

/// For tuning: shows one run in steps of 100 ms.
#[test]
#[ignore = "prints one run"]
fn run() {
    let name = std::env::var("CC").expect("the name of a scenario");
    let seed = std::env::var("SEEDS").map_or(1, |s| s.parse().expect("a number"));
    let from: f64 = std::env::var("FROM").map_or(0.0, |s| s.parse().expect("a number"));
    let to: f64 = std::env::var("TO").map_or(1e9, |s| s.parse().expect("a number"));
    let scenario = scenario(&name);
    let mut world = World::new(scenario.clone(), Steered::Ours, seed);
    let mut next = from;
    while world.now < scenario.seconds.min(to) {
        world.turn();
        if world.now >= next {
            next = world.now + std::env::var("EVERY").map_or(0.1, |s| s.parse().expect("a number"));
            world.print();
        }
    }
}

#[test]
fn other_controllers_fail_most_scenarios() {
    for steered in [Steered::Fixed, Steered::Gcc] {
        let names = ["steady", "start", "fall", "rise", "loss", "slow", "cubic", "scene"];
        let fails = names
            .iter()
            .filter(|name| worst(&scenario(name), steered, 1..=1).iter().any(|(bar, _)| !bar.holds()));
        let fails: Vec<_> = fails.collect();
        assert!(fails.len() >= 5, "{steered:?} fails only in {fails:?}");
    }
}

#[test]
fn the_estimate_exceeds_what_arrives_by_far_for_at_most_a_second() {
    for name in ["steady", "fall", "fall-250", "loss", "slow", "cubic", "two"] {
        let scenario = scenario(name);
        let mut world = World::new(scenario.clone(), Steered::Ours, 3);
        let (mut arrived, mut above_s) = (std::collections::VecDeque::from([(0.0, 0.0)]), None);
        while world.now < scenario.seconds.min(60.0) {
            world.turn();
            let (now, figures) = (world.now, world.senders[0].brain.figures(world.now));
            arrived.push_back((now, world.receivers[0].bytes));
            while arrived.front().is_some_and(|(at, _)| now - at > 1.0) {
                arrived.pop_front();
            }
            let (from, bytes) = arrived[0];
            let rate = (world.receivers[0].bytes - bytes) * 8.0 / (now - from).max(0.5);
            let above = figures.estimate_bps > 1.45 * rate && figures.state != State::Limited && now > 1.0;
            above_s = above.then(|| above_s.unwrap_or(now));
            assert!(
                above_s.is_none_or(|since| now - since < 1.0),
                "{name} at {now} s: {figures:?}, but {rate} arrives"
            );
        }
    }
}
