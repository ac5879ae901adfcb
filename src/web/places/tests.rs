//! The policy, with a simulated clock.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const SMALL: Limits = Limits {
    connections: 6,
    per_source: 3,
    handshakes: 6,
    handshakes_per_source: 3,
    rate: Rate { per_second: 10.0, burst: 100.0 },
    handshake_rate: Rate { per_second: 1000.0, burst: 1000.0 },
    safe: 2,
    kept: 4,
    kept_for_owner: 1,
    kept_per_source: 2,
};

fn ip(last: u8) -> Source {
    Source::Host(IpAddr::from([192, 0, 2, last]))
}

/// One of many addresses.
fn one_of(n: u32) -> Source {
    Source::Host(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)))
}

fn holder(n: u8, owner: bool) -> Holder {
    Holder { credential: Credential::new([n; 32]), owner, household: false }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_longest_idle_one_of_the_same_source_gives_way() {
    let (mut places, t) = (Places::new(SMALL), Instant::now());
    for n in 0..3 {
        assert_eq!(places.take(ip(1), Phase::Handshake, t + ms(n), n), Ok((n, vec![])));
    }
    // No connection has been idle for long.
    assert_eq!(places.take(ip(1), Phase::Handshake, t + ms(10), 9), Err(Refusal::TooMany));
    // The first connection makes progress.
    places.progress(0, false, t + ms(500));
    assert_eq!(places.take(ip(1), Phase::Handshake, t + ms(1000), 3), Ok((3, vec![1])));
    // Other sources have their own slots.
    assert_eq!(places.take(ip(2), Phase::Handshake, t + ms(1000), 4), Ok((4, vec![])));
}

#[test]
fn who_never_pauses_gives_way_in_its_own_source_too_after_its_turn() {
    let (mut places, t) = (Places::new(SMALL), Instant::now());
    for n in 0..3 {
        assert!(places.take(ip(1), Phase::Http, t, n).is_ok());
    }
    for at in (0..2500).step_by(300) {
        (0..3).for_each(|n| places.progress(n, at % 600 == 0, t + ms(at)));
    }
    assert_eq!(places.take(ip(1), Phase::Http, t + ms(1900), 3), Err(Refusal::TooMany));
    assert!(places.take(ip(1), Phase::Http, t + ms(2500), 3).is_ok());
}

#[test]
fn when_all_is_taken_the_source_that_used_most_gives_way() {
    let (mut places, t) = (Places::new(SMALL), Instant::now());
    for (n, from) in [(0, 9), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
        assert_eq!(places.take(ip(from), Phase::Handshake, t + ms(n), n), Ok((n, vec![])));
    }
    assert_eq!(
        places.take(ip(3), Phase::Handshake, t + ms(10), 6),
        Err(Refusal::Full),
        "all have an equal claim"
    );
    assert_eq!(
        places.take(ip(4), Phase::Handshake, t + ms(2000), 6),
        Ok((6, vec![1])),
        "not 0, which is older"
    );
    assert_eq!(places.count(), 6);
    places.leave(6);
    assert_eq!(places.count(), 5);
}

#[test]
fn a_thousand_silent_ones_keep_nobody_out() {
    let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
    for n in 0..1000 {
        let _ = places.take(ip((n % 20) as u8), Phase::Handshake, t + ms(n), n);
    }
    for from in [0, 100] {
        assert!(places.take(ip(from), Phase::Handshake, t + ms(3000), 1000).is_ok(), "from {from}");
    }
}

/// A browser opens `many` connections, takes `shake` for each handshake, and then makes a request on each. Returns how
/// many succeeded. Meanwhile `load` is called every millisecond.
fn browses(
    places: &mut Places<u64>,
    from: Source,
    start: Instant,
    (many, shake): (u64, u64),
    mut load: impl FnMut(&mut Places<u64>, Instant) -> Vec<u64>,
) -> usize {
    let mut mine: Vec<(u64, u64)> = vec![];
    let mut done = 0;
    for at in 0..many * 100 + shake + 1 {
        let now = start + ms(at);
        let gone = load(places, now);
        mine.retain(|(_, end)| !gone.contains(end));
        if at % 100 == 0 && at / 100 < many {
            let end = u64::MAX - at;
            if let Ok((number, _)) = places.take(from, Phase::Handshake, now, end) {
                mine.push((number, end));
            }
        }
        mine.retain(|(number, end)| {
            let through = now >= start + ms(u64::MAX - end) + ms(shake);
            if through {
                places.progress(*number, true, now);
                places.leave(*number);
                done += 1;
            }
            !through
        });
    }
    done
}

#[test]
fn half_open_handshakes_from_many_sources_keep_nobody_out() {
    for (sources, per_second) in [(10, 100), (10, 250), (50, 100)] {
        let (mut places, start) = (Places::new(Limits::STANDARD), Instant::now());
        let (number, _) = places.take(ip(1), Phase::Handshake, start, u64::MAX).expect("room");
        places.known(number, Some(holder(1, false)), start);
        places.leave(number);
        let mut n = 0;
        let mut attack = |places: &mut Places<u64>, now: Instant| {
            let mut gone = vec![];
            while n * 1000 < now.duration_since(start).as_millis() as u64 * per_second {
                n += 1;
                if let Ok((_, ended)) = places.take(one_of((n % sources) as u32), Phase::Handshake, now, n) {
                    gone.extend(ended);
                }
            }
            gone
        };
        for at in 0..5000 {
            attack(&mut places, start + ms(at));
        }
        let known = browses(&mut places, ip(1), start + ms(5000), (30, 600), &mut attack);
        let new = browses(&mut places, ip(2), start + ms(9000), (6, 600), &mut attack);
        assert_eq!((known, new), (30, 6), "{sources} sources, {per_second} a second");
    }
}

#[test]
fn thousands_of_sources_that_ask_now_and_then_keep_no_new_phone_out() {
    let (mut places, start) = (Places::new(Limits::STANDARD), Instant::now());
    // Each of 2,500 clients makes three requests per second, and opens a new connection when necessary.
    let mut open: HashMap<u32, u64> = HashMap::new();
    let mut step = 0;
    let mut attack = |places: &mut Places<u64>, now: Instant| {
        let mut gone = vec![];
        while step * 1000 < now.duration_since(start).as_millis() as u64 * 7500 {
            step += 1;
            let who = (step % 2500) as u32;
            match open.get(&who) {
                Some(number) => places.progress(*number, false, now),
                None => {
                    if let Ok((number, ended)) = places.take(one_of(who), Phase::Http, now, u64::from(who)) {
                        open.insert(who, number);
                        gone.extend(ended);
                    }
                }
            }
            if let Some(number) = open.get(&who) {
                places.progress(*number, step % 2 == 0, now);
            }
            gone.iter().filter_map(|end| u32::try_from(*end).ok()).for_each(|end| _ = open.remove(&end));
        }
        gone
    };
    for at in 0..10_000 {
        attack(&mut places, start + ms(at));
    }
    let came = browses(&mut places, ip(1), start + ms(10_000), (10, 500), attack);
    assert_eq!(came, 10);
}

#[test]
fn whoever_has_signed_in_keeps_places_whatever_others_do() {
    let (mut places, t) = (Places::new(SMALL), Instant::now());
    for n in 0..3 {
        assert!(places.take(ip(1), Phase::Http, t, n).is_ok());
        places.known(n, Some(holder(1, true)), t);
    }
    for n in 3..6 {
        assert!(places.take(ip(n as u8), Phase::Http, t, n).is_ok());
    }
    // Two of the owner's connections are safe, the third is not, but its source is preferred.
    let order: Vec<_> = (0..4)
        .map(|n| {
            places
                .take(ip(100 + n), Phase::Http, t + ms(5000 + 1000 * u64::from(n)), 10)
                .map(|(_, gone)| gone)
        })
        .collect();
    assert_eq!(order, [Ok(vec![3]), Ok(vec![4]), Ok(vec![5]), Ok(vec![10])]);
    // For this source, busy connections are closed, too.
    for n in 100..104 {
        let _ = places.take(ip(n), Phase::Http, t + ms(9000), 20);
    }
    places.leave(2);
    assert!(places.take(ip(1), Phase::Http, t + ms(9000), 30).is_ok());
    // The preference ends.
    assert!(!places.is_preferred(ip(1), t + LATELY + ms(1)));
}

#[test]
fn one_credential_makes_few_sources_preferred_and_none_takes_the_owners() {
    let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
    let show = |places: &mut Places<()>, from: Source, by: Holder, at: u64| {
        let (number, _) = places.take(from, Phase::Http, t + ms(at), ()).expect("room");
        places.known(number, Some(by), t + ms(at));
        places.leave(number);
    };
    show(&mut places, ip(1), holder(1, true), 0);
    for n in 0..100 {
        show(&mut places, one_of(n), holder(2, false), 1000 + u64::from(n));
    }
    assert_eq!(places.preferred.len(), 1 + PREFERRED_EACH);
    for n in 0..1000u32 {
        let by = holder((n % 251) as u8, false);
        show(&mut places, one_of(n), by, 2000 + u64::from(n));
    }
    show(&mut places, ip(1), holder(2, false), 4000);
    assert!(places.preferred.len() <= PREFERRED);
    assert!(places.preferred[&ip(1)].by.owner);
}

#[test]
fn a_request_that_is_being_answered_is_not_idle() {
    let limits = Limits { connections: 1, ..SMALL };
    let (mut places, t) = (Places::new(limits), Instant::now());
    assert!(places.take(ip(1), Phase::Http, t, 0).is_ok());
    places.progress(0, true, t);
    assert_eq!(places.take(ip(2), Phase::Http, t + ms(5000), 1), Err(Refusal::Full));
    places.progress(0, false, t + ms(5000));
    assert_eq!(places.take(ip(2), Phase::Http, t + ms(6000), 1), Ok((1, vec![0])));
}

#[test]
fn sockets_never_give_way_and_have_their_own_limits() {
    let (mut places, t) = (Places::new(Limits { per_source: 9, connections: 9, ..SMALL }), Instant::now());
    for n in 0..9 {
        assert!(places.take(ip(1), Phase::Http, t, n).is_ok());
    }
    let mut keep = |number, by: u8, owner, from| places.keep(number, holder(by, owner), ip(from), 2, t);
    assert_eq!(keep(0, 1, false, 1), Ok(()));
    assert_eq!(keep(1, 1, false, 2), Ok(()));
    assert_eq!(keep(2, 1, false, 3), Err(NotKept::TooMany), "with this credential");
    assert_eq!(keep(2, 2, false, 1), Ok(()));
    assert_eq!(keep(3, 3, false, 1), Err(NotKept::TooMany), "from this source");
    assert_eq!(keep(3, 3, false, 2), Err(NotKept::Full), "the last slot is the owner's");
    assert_eq!(keep(3, 9, true, 1), Ok(()));
    assert_eq!(keep(4, 9, true, 1), Err(NotKept::Full));
    assert_eq!(keep(77, 9, true, 1), Err(NotKept::Full));
    assert_eq!(places.count(), 9);
    // WebSockets don't count as connections, and none is closed for others.
    for n in 10..14 {
        assert_eq!(places.take(ip(2), Phase::Http, t + ms(2), n).map(|(_, gone)| gone), Ok(vec![]));
    }
    for n in 20..60 {
        let gone = places.take(ip(3), Phase::Http, t + ms(1000 * n), n).map(|(_, gone)| gone);
        assert!(gone.is_ok_and(|gone| !gone.iter().any(|g| *g < 4)));
    }
    places.leave(0);
    assert_eq!(places.kept.len(), 3);
}

#[test]
fn handshakes_are_fewer_than_connections() {
    let limits = Limits { handshakes: 2, handshakes_per_source: 1, ..SMALL };
    let (mut places, t) = (Places::new(limits), Instant::now());
    assert!(places.take(ip(1), Phase::Handshake, t, 0).is_ok());
    assert_eq!(places.take(ip(1), Phase::Handshake, t, 1), Err(Refusal::TooMany));
    places.progress(0, false, t);
    assert!(
        places.take(ip(1), Phase::Handshake, t, 1).is_ok()
            && places.take(ip(2), Phase::Handshake, t, 2).is_ok()
    );
    assert_eq!(places.take(ip(3), Phase::Handshake, t + ms(1), 3), Err(Refusal::Full));
    assert_eq!(places.take(ip(3), Phase::Handshake, t + ms(1000), 3), Ok((3, vec![1])));
}

#[test]
fn nobody_opens_connections_without_pause() {
    let rate = Rate { per_second: 2.0, burst: 3.0 };
    let (mut places, t) = (Places::new(Limits { rate, per_source: 100, ..SMALL }), Instant::now());
    let take = |places: &mut Places<()>, from, at| {
        let taken = places.take(from, Phase::Handshake, t + ms(at), ());
        taken.map(|(number, _)| places.leave(number))
    };
    for _ in 0..3 {
        assert_eq!(take(&mut places, ip(1), 0), Ok(()));
    }
    assert_eq!(take(&mut places, ip(1), 0), Err(Refusal::TooFast));
    assert_eq!(take(&mut places, ip(2), 0), Ok(()));
    assert_eq!(take(&mut places, ip(1), 600), Ok(()));
    assert_eq!(take(&mut places, ip(1), 600), Err(Refusal::TooFast));
    for _ in 0..10 {
        assert_eq!(take(&mut places, Source::Host([127, 0, 0, 1].into()), 600), Ok(()), "this machine's own");
        assert_eq!(take(&mut places, Source::Proxy([192, 0, 2, 9].into()), 600), Ok(()));
    }
    // A signed-in user shares an address with clients that use up the rate.
    let (number, _) = places.take(ip(3), Phase::Http, t, ()).expect("room");
    places.known(number, Some(holder(1, false)), t);
    assert_eq!((0..20).filter(|_| take(&mut places, ip(3), 0).is_ok()).count(), 8);
}

#[test]
fn handshakes_of_all_have_a_rate_with_a_reserve_for_newcomers() {
    let handshake_rate = Rate { per_second: 100.0, burst: 400.0 };
    let (mut places, t) = (Places::new(Limits { handshake_rate, ..Limits::STANDARD }), Instant::now());
    let take = |places: &mut Places<()>, from, now| {
        let taken = places.take(from, Phase::Handshake, now, ());
        taken.map(|(number, _)| places.leave(number)).is_ok()
    };
    // 100 sources with 10 handshakes per second each.
    let mut done = 0;
    for n in 0..10_000 {
        done += u32::from(take(&mut places, one_of(n % 100), t + ms(u64::from(n))));
    }
    assert!((1000..1400).contains(&done), "{done} handshakes in 10 s");
    assert!((0..20).all(|_| take(&mut places, ip(1), t + ms(10_000))), "a newcomer");
}

#[test]
fn guests_addresses_take_neither_the_owners_handshakes_nor_all_of_newcomers() {
    let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
    for (from, by) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 3)] {
        let (number, _) = places.take(ip(from), Phase::Http, t, 0).expect("room");
        places.known(number, Some(holder(by, by == 1)), t);
        places.leave(number);
    }
    let take = |places: &mut Places<u64>, from, now| {
        let taken = places.take(from, Phase::Handshake, now, 0);
        taken.map(|(number, _)| places.leave(number)).is_ok()
    };
    let (mut theirs, mut owners, mut another, mut new) = (0, 0, 0, 0);
    for at in 0..10_000 {
        let now = t + ms(at);
        (2..6).for_each(|from| theirs += u32::from(take(&mut places, ip(from), now)));
        if at >= 9000 && at % 50 == 0 {
            owners += u32::from(take(&mut places, ip(1), now));
            another += u32::from(take(&mut places, ip(6), now));
        }
        if at >= 9000 && at % 100 == 0 {
            new += u32::from(take(&mut places, ip(100), now));
        }
    }
    assert!((1200..1600).contains(&theirs), "{theirs} in 10 s: the rate applies to them, too");
    assert_eq!((owners, another, new), (20, 20, 10), "of the owner, another guest and a newcomer");
}

#[test]
fn an_address_of_the_owners_that_asks_for_all_leaves_some_to_newcomers() {
    let (mut places, t) = (Places::new(Limits::STANDARD), Instant::now());
    let (number, _) = places.take(ip(1), Phase::Http, t, 0).expect("room");
    places.known(number, Some(holder(1, true)), t);
    let mut take = |from, now| {
        let taken = places.take(from, Phase::Handshake, now, 0);
        taken.map(|(number, _)| places.leave(number)).is_ok()
    };
    let (mut owners, mut new) = (0, 0);
    for at in 0..10_000 {
        owners += u32::from(take(ip(1), t + ms(at)));
        if at % 1000 == 0 {
            new += u32::from(take(ip(100), t + ms(at)));
        }
    }
    assert!((1200..1700).contains(&owners) && new >= 9, "{owners} {new}");
}

#[test]
fn safe_connections_leave_room_for_others() {
    let limits = Limits { handshakes: 512, handshakes_per_source: 512, ..Limits::STANDARD };
    let (mut places, t) = (Places::new(limits), Instant::now());
    let mut next = 0;
    let mut show = |places: &mut Places<u64>, from, by: Holder| {
        next += 1;
        if let Ok((number, _)) = places.take(from, Phase::Http, t, next) {
            places.known(number, Some(by), t);
        }
    };
    let safe = |places: &Places<u64>| places.taken.values().filter(|t| t.safe).count();
    // Eight sign-ins of eight connections each, from one address.
    (0..64).for_each(|n| show(&mut places, ip(1), holder(10 + n / 8, false)));
    assert_eq!(safe(&places), limits.per_source / 2);
    assert!(places.take(ip(1), Phase::Http, t + ms(5000), 0).is_ok(), "another behind it");
    // Sixty-four from everywhere.
    (0..512u32).for_each(|n| show(&mut places, one_of(n / 8), holder(100 + (n / 8) as u8, false)));
    assert_eq!(safe(&places), limits.connections / 2);
    assert!(places.take(ip(2), Phase::Http, t + ms(5000), 0).is_ok());
    // The owner's connections are still safe.
    (0..9).for_each(|_| show(&mut places, ip(1), holder(1, true)));
    assert_eq!(safe(&places), limits.connections / 2 + limits.safe);
}

#[test]
fn a_credential_that_was_revoked_keeps_no_connection() {
    let (mut places, t) = (Places::new(Limits { connections: 1, ..SMALL }), Instant::now());
    assert!(places.take(ip(1), Phase::Http, t, 0).is_ok());
    places.known(0, Some(holder(1, true)), t);
    assert_eq!(places.take(ip(2), Phase::Http, t + ms(5000), 1), Err(Refusal::Full));
    places.known(0, None, t);
    assert_eq!(places.take(ip(2), Phase::Http, t + ms(5000), 1), Ok((1, vec![0])));
}

#[test]
fn new_sockets_have_a_rate_for_each_credential_but_the_owners() {
    let rate = Rate { per_second: 1000.0, burst: 1000.0 };
    let (mut places, t) = (Places::new(Limits { rate, ..Limits::STANDARD }), Instant::now());
    let mut opened = |by, owner, seconds: u64| {
        let opens = (0..seconds * 100).filter(|n| {
            let now = t + ms(10 * n);
            let Ok((number, _)) = places.take(ip(1), Phase::Http, now, 0) else { return false };
            let kept = places.keep(number, holder(by, owner), ip(1), 41, now).is_ok();
            places.leave(number);
            kept
        });
        opens.count()
    };
    assert_eq!(opened(1, false, 10), 41 + 19, "all pages at once, and then two per second");
    assert_eq!(opened(2, false, 1), 41 + 1);
    assert_eq!(opened(3, true, 3), 300);
}

#[test]
fn a_proxy_is_counted_with_all_and_not_for_itself() {
    let (mut places, t) = (Places::new(SMALL), Instant::now());
    let proxy = Source::Proxy([192, 0, 2, 1].into());
    for n in 0..6 {
        assert!(places.take(proxy, Phase::Handshake, t, n).is_ok());
        places.known(n, Some(holder(1, true)), t);
    }
    assert_eq!(places.take(proxy, Phase::Handshake, t, 6), Err(Refusal::Full));
    assert!(places.preferred.is_empty(), "a proxy has other clients, too");
    assert_eq!(places.take(ip(2), Phase::Handshake, t + ms(1000), 6), Ok((6, vec![0])));
}

#[test]
fn limits_fit_the_descriptors_that_there_are() {
    let few = Limits::STANDARD.within(1024);
    assert!(few.connections + few.kept < 500 && few.connections >= 100, "{few:?}");
    assert!(few.kept_for_owner > 0 && few.kept_for_owner < few.kept);
    assert_eq!(Limits::STANDARD.within(8192).connections, Limits::STANDARD.connections);
}
