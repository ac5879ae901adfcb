//! The life of each credential. Hashes are real; the clocks are simulated, and stand still unless a test moves them.

use std::time::Duration;

use super::super::testing::Dir;
use super::principal::{DAY_S, IDLE_S, SEEN_S, SET_BACK_S};
use super::*;
use crate::state::{Guest, Scope};

mod links;

const NOW: u64 = 1_800_000_000;
const PASSWORD: &str = "correct horse";

thread_local! {
    /// The simulated clocks: the wall clock, and the time since the board started.
    static CLOCKS: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((NOW, 100)) };
}

fn clocks() -> reckoning::Look {
    let (wall, running) = CLOCKS.get();
    reckoning::Look { wall, running: Duration::from_secs(running) }
}

/// Advances the clocks by some seconds.
fn pass(seconds: u64) {
    let (wall, running) = CLOCKS.get();
    CLOCKS.set((wall + seconds, running + seconds));
}

fn auth() -> (Arc<Auth>, Dir) {
    let dir = Dir::new();
    (Auth::by(State::open(dir.path()).unwrap(), clocks), dir)
}

async fn paired() -> (Arc<Auth>, SignedIn, Dir) {
    let (auth, dir) = auth();
    let secret = auth.pair().unwrap();
    let owner = auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    (auth, owner, dir)
}

/// A new browser, with its own address.
fn stranger(n: u8) -> Browser<'static> {
    Browser { address: IpAddr::from([192, 0, 2, n]), device: None }
}

fn again(signed_in: &SignedIn) -> Browser<'_> {
    Browser { device: Some(&signed_in.device), ..stranger(99) }
}

fn role(auth: &Auth, cookie: &str) -> Option<Role> {
    auth.by_cookie(cookie).map(|p| p.role)
}

#[tokio::test]
async fn pairing_makes_an_owner_once() {
    let (auth, _dir) = auth();
    assert!(!auth.paired());
    assert!(
        matches!(auth.pair_by("", PASSWORD, stranger(1)).await, Err(Error::Wrong(_))),
        "there is no pairing link yet"
    );
    let old = auth.pair().unwrap();
    let secret = auth.pair().unwrap();
    assert_eq!(secret.len(), 22, "128 bits");
    for wrong in [old.as_str(), "", "x", &secret[1..]] {
        let refused = auth.pair_by(wrong, PASSWORD, stranger(2)).await;
        assert!(matches!(refused, Err(Error::Wrong(_))), "{refused:?}");
    }
    assert!(matches!(auth.pair_by(&secret, "short", stranger(1)).await, Err(Error::Refused(_))));
    let asked = |secret| auth.may_pair(secret, stranger(1).address);
    assert!(matches!(asked(&old), Err(Error::Wrong(_))));
    asked(&secret).expect("asking does not use the link up");
    assert!(!auth.paired());
    let owner = auth.pair_by(&secret, PASSWORD, stranger(2)).await.unwrap();
    assert!(auth.paired());
    assert_eq!((owner.principal.role, owner.principal.who.as_str()), (Role::Owner, "owner"));
    assert_eq!(auth.by_cookie(&owner.session), Some(owner.principal));
    assert!(matches!(auth.pair_by(&secret, PASSWORD, stranger(1)).await, Err(Error::Wrong(_))), "used up");
}

#[tokio::test]
async fn of_two_that_pair_at_the_same_time_one_becomes_the_owner() {
    let (auth, _dir) = auth();
    let secret = auth.pair().unwrap();
    let pair = |password| auth.pair_by(&secret, password, stranger(1));
    let (a, b) = tokio::join!(pair("password one"), pair("password two"));
    assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(), 1, "{a:?} {b:?}");
}

#[tokio::test]
async fn a_pairing_link_is_good_for_a_quarter_of_an_hour() {
    let (auth, _dir) = auth();
    let secret = auth.pair().unwrap();
    pass(900);
    assert!(matches!(auth.pair_by(&secret, PASSWORD, stranger(1)).await, Err(Error::Wrong(_))));
    let secret = auth.pair().unwrap();
    pass(899);
    auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
}

#[tokio::test]
async fn pairing_again_takes_the_device_over() {
    let (auth, before, _dir) = paired().await;
    let secret = auth.pair().unwrap();
    assert_eq!(role(&auth, &before.session), Some(Role::Owner), "until the link is used");
    auth.pair_by(&secret, "battery staple", stranger(1)).await.unwrap();
    assert_eq!(role(&auth, &before.session), None);
    assert!(auth.login(PASSWORD, stranger(1), None).await.is_err());
    auth.login("battery staple", stranger(1), None).await.unwrap();
}

#[tokio::test]
async fn one_field_takes_both_passwords() {
    let (auth, _, _dir) = paired().await;
    assert!(matches!(auth.login("tea for two", stranger(1), None).await, Err(Error::Wrong(_))));
    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    let viewer = auth.login("tea for two", stranger(1), None).await.unwrap();
    assert_eq!((viewer.principal.role, viewer.principal.who.as_str()), (Role::Viewer, "household"));
    assert_eq!(auth.login(PASSWORD, stranger(1), None).await.unwrap().principal.role, Role::Owner);
    for (role, password) in
        [(Role::Owner, "tea for two"), (Role::Viewer, PASSWORD), (Role::Guest, "whatever it is")]
    {
        assert!(matches!(auth.set_password(role, password, None).await, Err(Error::Refused(_))), "{role:?}");
    }
    auth.remove_household_password().await.unwrap();
    assert_eq!(role(&auth, &viewer.session), None);
    assert!(auth.login("tea for two", stranger(1), None).await.is_err());
}

#[tokio::test]
async fn a_login_is_a_new_session_and_ends_the_one_before() {
    let (auth, first, _dir) = paired().await;
    let second = auth.login(PASSWORD, again(&first), Some(&first.principal)).await.unwrap();
    assert_ne!(first.session, second.session, "a planted cookie does not become a session");
    assert_eq!(first.device, second.device);
    assert_eq!((role(&auth, &first.session), role(&auth, &second.session)), (None, Some(Role::Owner)));
    let third = auth.login(PASSWORD, Browser { device: Some("planted"), ..stranger(1) }, None).await.unwrap();
    assert_ne!(third.device, "planted");
    assert_eq!(third.session.len(), 43, "256 bits");
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_of_the_old_one() {
    let (auth, here, _dir) = paired().await;
    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    let there = auth.login(PASSWORD, stranger(1), None).await.unwrap();
    let viewer = auth.login("tea for two", stranger(1), None).await.unwrap();
    let change = |old: &'static str, new: &'static str, role| {
        auth.change_password(&here.principal, old, role, new, stranger(1).address)
    };
    assert!(matches!(change("wrong one", "battery staple", Role::Owner).await, Err(Error::Wrong(_))));
    assert!(matches!(change("tea for two", "battery staple", Role::Owner).await, Err(Error::Wrong(_))));
    assert!(matches!(change(PASSWORD, "short", Role::Owner).await, Err(Error::Refused(_))));
    assert!(matches!(change(PASSWORD, "", Role::Owner).await, Err(Error::Refused(_))));
    change(PASSWORD, "battery staple", Role::Owner).await.unwrap();
    assert_eq!(role(&auth, &here.session), Some(Role::Owner), "the session that changed it stays");
    assert_eq!((role(&auth, &there.session), role(&auth, &viewer.session)), (None, Some(Role::Viewer)));
    change("battery staple", "", Role::Viewer).await.unwrap();
    assert_eq!(role(&auth, &viewer.session), None);
    // A change on the command line ends all sessions.
    auth.set_password(Role::Owner, PASSWORD, None).await.unwrap();
    assert_eq!(role(&auth, &here.session), None);
}

#[tokio::test]
async fn logout_ends_one_session_or_all() {
    let (auth, first, _dir) = paired().await;
    let mut others = vec![];
    for n in 0..2 {
        others.push(auth.login(PASSWORD, stranger(n), None).await.unwrap());
    }
    auth.logout(&first.principal, false).await.unwrap();
    assert_eq!((role(&auth, &first.session), role(&auth, &others[0].session)), (None, Some(Role::Owner)));
    auth.logout(&others[0].principal, true).await.unwrap();
    assert_eq!(role(&auth, &others[1].session), None);
}

#[tokio::test]
async fn nobody_can_lock_the_owner_out() {
    let (auth, owner, _dir) = paired().await;
    let mut refused = 0;
    for n in 0..1000u32 {
        let browser = Browser { address: IpAddr::from((0xc000_0200 + n).to_be_bytes()), device: None };
        match auth.login("a guess at it", browser, None).await {
            Err(Error::Wait(wait)) => {
                assert!(wait <= Duration::from_secs(60));
                refused += 1;
            }
            Err(Error::Wrong(_)) => (),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 970);
    assert_eq!(role(&auth, &owner.session), Some(Role::Owner), "a signed-in browser stays signed in");
    auth.login(PASSWORD, again(&owner), None).await.unwrap();
    // A made-up device cookie is a stranger's.
    let liar = Browser { device: Some("made up"), ..stranger(1) };
    assert!(matches!(auth.login(PASSWORD, liar, None).await, Err(Error::Wait(_))));
    pass(60);
    auth.login(PASSWORD, liar, None).await.unwrap();
    // Guessing on the owner's own device or with a stolen session does not help either.
    let tries = async |n| {
        let mut waits = 0;
        for _ in 0..n {
            let change =
                auth.change_password(&owner.principal, "a guess", Role::Owner, PASSWORD, stranger(1).address);
            waits += u32::from(matches!(change.await, Err(Error::Wait(_))));
            let login = auth.login("a guess at it", again(&owner), None).await;
            waits += u32::from(matches!(login, Err(Error::Wait(_))));
        }
        waits
    };
    assert_eq!(tries(20).await, 30, "all but five of each");
}

#[tokio::test]
async fn the_household_that_signs_in_without_pause_keeps_no_owner_out() {
    let (auth, owner, _dir) = paired().await;
    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    let mut devices = vec![];
    for n in 0..10 {
        devices.push(auth.login("tea for two", stranger(n), None).await.unwrap());
    }
    let household = devices.iter().map(|device| auth.login("tea for two", again(device), None));
    let (household, at_home, new_phone) = tokio::join!(
        futures_util::future::join_all(household),
        auth.login(PASSWORD, again(&owner), None),
        auth.login(PASSWORD, stranger(50), None),
    );
    assert!(household.iter().any(|r| matches!(r, Err(Error::Busy))), "all their places were taken");
    assert_eq!([at_home, new_phone].map(|r| r.unwrap().principal.role), [Role::Owner; 2]);
    // Later their account has to wait, and no place is taken.
    for _ in 0..20 {
        let _ = auth.login("tea for two", again(&devices[0]), None).await;
    }
    assert!(matches!(auth.login("tea for two", again(&devices[1]), None).await, Err(Error::Wait(_))));
    auth.login(PASSWORD, again(&owner), None).await.unwrap();
    auth.login(PASSWORD, stranger(51), None).await.unwrap();
}

/// A state with one session and one guest link, created at [`NOW`].
fn lasting() -> (Lasting, Key, Key) {
    let (session, guest) = (Digest::of("session"), Digest::of("guest"));
    let mut l = Lasting::default();
    l.add_session(Session { digest: session, role: Role::Owner, created_unix: NOW, seen_unix: NOW });
    let expires_unix = NOW + HOUR_S;
    l.guests.push(Guest {
        id: "a".into(),
        label: "Ann".into(),
        cameras: Scope::ALL,
        digest: guest,
        created_unix: NOW,
        expires_unix,
    });
    (l, Key::Session(session), Key::Guest(guest))
}

#[test]
fn sessions_end_unused_after_two_weeks_and_in_any_case_after_ninety_days() {
    let (mut l, session, _) = lasting();
    let good = |l: &Lasting, now| find(l, session, now).is_some();
    assert!(good(&l, NOW) && good(&l, NOW + IDLE_S - 1) && !good(&l, NOW + IDLE_S));
    let unseen = |l: &Lasting, now| find(l, session, now).unwrap().1;
    assert!(!unseen(&l, NOW + SEEN_S - 1) && unseen(&l, NOW + SEEN_S), "written once an hour");
    for day in 1..=90 {
        assert_eq!(good(&l, NOW + day * DAY_S), day < 90);
        l.sessions[0].seen_unix = NOW + day * DAY_S;
    }
    sweep(&mut l, NOW + SESSION_S);
    assert!(l.sessions.is_empty());
}

#[tokio::test]
async fn use_is_written_down_and_everything_outlasts_a_restart() {
    let dir = Dir::new();
    let state = State::open(dir.path()).unwrap();
    let digest = Digest::of("cookie");
    let now = reckoning::Look::now().wall;
    let seen_unix = now - SEEN_S - 5;
    state
        .change(|l| l.add_session(Session { digest, role: Role::Owner, created_unix: seen_unix, seen_unix }))
        .unwrap();
    let auth = Auth::new(state.clone());
    let mut changes = state.changes();
    for _ in 0..10 {
        assert_eq!(role(&auth, "cookie"), Some(Role::Owner));
    }
    changes.changed().await.unwrap();
    assert!(state.read(|l| l.sessions[0].seen_unix) >= now);
    assert_eq!(role(&auth, "cookie"), Some(Role::Owner));
    drop((auth, changes));
    // The thread of the last write releases the state.
    let mut state = Some(state);
    while let Some(open) = state.take() {
        match Arc::try_unwrap(open) {
            Ok(_) => break,
            Err(shared) => state = Some(shared),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let auth = Auth::new(State::open(dir.path()).unwrap());
    assert_eq!(role(&auth, "cookie"), Some(Role::Owner));
}

#[test]
fn nothing_that_is_shown_has_a_secret_in_it() {
    let principal = Principal {
        role: Role::Owner,
        cameras: Scope::ALL,
        who: "owner".into(),
        key: Key::Session(Digest::of("x")),
    };
    let signed_in = SignedIn { principal, session: "s3cret".into(), device: "s3cret".into() };
    assert!(!format!("{signed_in:?}").contains("s3cret"));
}

/// A board without a clock, on which somebody signs in and creates a link before the time is known from the network.
#[tokio::test]
async fn a_clock_that_jumps_by_years_ends_nothing_and_prolongs_nothing() {
    let dir = Dir::new();
    let start = || {
        // The last use is still being written for a moment.
        let open = || {
            (0..500).find_map(|_| State::open(dir.path()).map_err(|_| std::thread::sleep(LOOK / 100)).ok())
        };
        Auth::by(open().unwrap(), clocks)
    };
    CLOCKS.set((30, 30));
    let auth = start();
    let secret = auth.pair().unwrap();
    let owner = auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    let guest = auth.add_guest("a friend", 24, Scope::ALL).await.unwrap();
    let made = auth.time();
    let good = |auth: &Auth| {
        (role(auth, &owner.session), auth.guest(&guest.secret, [192, 0, 2, 1].into()).ok().map(|g| g.1))
    };

    CLOCKS.set((30 + 3000, 30 + 3000));
    assert_eq!(good(&auth), (Some(Role::Owner), Some(24 * 3600 - 3000)), "without a clock");
    drop(auth); // and without power
    CLOCKS.set((10, 10));
    let auth = start();
    assert_eq!(good(&auth).0, Some(Role::Owner));
    let left = good(&auth).1.unwrap();
    assert!((23 * 3600..=24 * 3600).contains(&left), "{left}");

    CLOCKS.set((NOW, 20)); // the network tells the time
    assert_eq!(good(&auth), (Some(Role::Owner), Some(left - 10)));
    assert!(auth.time() - made > DAY_S, "and the time has changed");
    CLOCKS.set((NOW + left - 11, 20 + left - 11));
    assert!(good(&auth).1.is_some());
    auth.state().catch_up(); // as `keep_tidy` does
    drop(auth);
    let auth = start();
    assert!(good(&auth).1.is_some());
    CLOCKS.set((NOW + left - 10, 20 + left - 10));
    assert_eq!(good(&auth), (Some(Role::Owner), None), "the link has expired");
    auth.change(|_, _| ()).await.unwrap(); // this time is known from now on

    CLOCKS.set((5, 5)); // 1970 again
    drop(auth);
    let auth = start();
    assert_eq!(good(&auth), (Some(Role::Owner), None), "and stays expired");
    CLOCKS.set((NOW + IDLE_S + 2 * DAY_S, 6));
    assert_eq!(good(&auth).0, None, "a session that was dated by a clock has expired, too");
}

#[tokio::test]
async fn who_knows_the_households_password_gets_no_more_guesses_at_the_owners() {
    let (auth, owner, _dir) = paired().await;
    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    let (mut tried, mut waits) = (0, 0);
    for _ in 0..9 {
        // A new cookie for each guess.
        let fresh = auth.login("tea for two", stranger(1), None).await.unwrap();
        let browser = Browser { device: Some(&fresh.device), ..stranger(1) };
        match auth.login("a guess at it", browser, None).await {
            Err(Error::Wrong(_)) => tried += 1,
            Err(Error::Wait(_)) => waits += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(auth.login("tea for two", browser, None).await.unwrap().principal.role, Role::Viewer);
    }
    assert!(tried <= 5 && tried + waits == 9, "{tried} {waits}");
    let household = auth.login("tea for two", stranger(1), None).await.unwrap();
    let browser = Browser { device: Some(&household.device), ..stranger(1) };
    assert!(
        matches!(auth.login(PASSWORD, browser, None).await, Err(Error::Wait(_))),
        "not even the right one"
    );
    // The owner's browser stays known as the owner's, even if the household signs in on it.
    auth.login("tea for two", again(&owner), None).await.unwrap();
    auth.login(PASSWORD, again(&owner), None).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_revives_nothing() {
    let dir = Dir::new();
    let open =
        || (0..500).find_map(|_| State::open(dir.path()).map_err(|_| std::thread::sleep(LOOK / 100)).ok());
    let auth = Auth::by(open().unwrap(), clocks);
    let secret = auth.pair().unwrap();
    let owner = auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    let good = |auth: &Auth, secret: &str| auth.guest(secret, stranger(1).address).is_ok();
    // Set back by a little, an hour or two days; noticed before or not.
    for (n, (back, noticed)) in
        [(11, true), (3000, false), (2 * DAY_S, true), (40, false)].into_iter().enumerate()
    {
        let link = auth.add_guest(&format!("guest {n}"), 1, Scope::ALL).await.unwrap();
        assert!(good(&auth, &link.secret));
        pass(HOUR_S + 5);
        assert!(!noticed || !good(&auth, &link.secret));
        let (wall, running) = CLOCKS.get();
        CLOCKS.set((wall - back, running));
        assert!(!good(&auth, &link.secret), "{back} s back");
        assert!(auth.guests().is_empty());
    }
    // Expired sessions don't return, and neither do links after a restart.
    let link = auth.add_guest("Ann", 1, Scope::ALL).await.unwrap();
    pass(HOUR_S + 5);
    auth.restrict(|_, _| ()).await.unwrap(); // as is done when it expires
    let (wall, running) = CLOCKS.get();
    CLOCKS.set((wall - HOUR_S / 2, running + 1));
    drop(auth);
    let auth = Auth::by(open().unwrap(), clocks);
    assert!(!good(&auth, &link.secret), "over a restart");
    assert_eq!(role(&auth, &owner.session), Some(Role::Owner));
    pass(IDLE_S + 1);
    assert_eq!(role(&auth, &owner.session), None);
    let (wall, running) = CLOCKS.get();
    CLOCKS.set((wall - DAY_S, running + 1));
    assert_eq!(role(&auth, &owner.session), None);
}

#[tokio::test]
async fn old_names_that_deceive_are_shown_by_their_numbers() {
    let (auth, _dir) = auth();
    let token = |name: &str| crate::state::Token {
        name: name.into(),
        role: Role::Viewer,
        cameras: Scope::ALL,
        digest: Digest::of("secret"),
        created_unix: NOW,
    };
    auth.state().change(|l| l.tokens.push(token("a\u{202e}b"))).unwrap();
    assert_eq!(auth.tokens()[0].name, "a\\u{202e}b");
    assert_eq!(auth.by_token("secret").unwrap().who, "token: a\\u{202e}b");
    auth.revoke_token("a\\u{202e}b").unwrap();
    assert!(auth.tokens().is_empty());
}
