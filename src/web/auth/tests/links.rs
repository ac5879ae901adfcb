//! Guest links and tokens: creation, limits, revocation, expiry.

use super::*;

#[tokio::test]
async fn revoking_a_guest_link_can_be_undone_for_some_seconds() {
    let (auth, _owner, _dir) = paired().await;
    let first = auth.add_guest("Ann", 1, Scope::ALL).await.unwrap();
    pass(1);
    let links = [first, auth.add_guest("Bob", 1, Scope::ALL).await.unwrap()];
    let ids = |auth: &Auth| auth.guests().into_iter().map(|g| g.id).collect::<Vec<_>>();
    let before = ids(&auth);
    auth.revoke_guest(&links[0].id).await.unwrap();
    assert!(auth.by_cookie(&links[0].secret).is_none(), "it takes effect at once");
    assert!(matches!(auth.restore_guest(&links[1].id).await, Err(Error::Unknown(_))), "that link is valid");
    pass(UNDO.as_secs() - 1);
    auth.restore_guest(&links[0].id).await.unwrap();
    assert_eq!(role(&auth, &links[0].secret), Some(Role::Guest), "by the same link");
    assert_eq!(ids(&auth), before);
    assert!(matches!(auth.restore_guest(&links[0].id).await, Err(Error::Unknown(_))), "once");

    auth.revoke_guest(&links[0].id).await.unwrap();
    pass(UNDO.as_secs());
    assert!(matches!(auth.restore_guest(&links[0].id).await, Err(Error::Unknown(_))), "too late");
    assert!(auth.by_cookie(&links[0].secret).is_none());
}

#[tokio::test]
async fn a_credential_is_good_for_its_cameras_until_they_are_gone() {
    let (auth, _owner, _dir) = paired().await;
    let front = || Scope::only(["front".to_owned()]);
    let link = auth.add_guest("Ann", 1, front()).await.unwrap();
    let token =
        auth.add_token("door bell", Role::Viewer, Scope::only(["front".into(), "back".into()])).unwrap();
    let guest = auth.by_cookie(&link.secret).unwrap();
    assert_eq!((guest.cameras.clone(), auth.guests()[0].cameras.clone()), (front(), front()));
    // The camera "front" is renamed, and later a different camera gets that name.
    let mut lost = std::pin::pin!(auth.lost(&guest));
    assert!(futures_util::poll!(lost.as_mut()).is_pending());
    auth.keep_cameras(&["back".to_owned(), "porch".to_owned()]);
    assert!(lost.await.contains("which cameras"));
    auth.keep_cameras(&["back".to_owned(), "front".to_owned()]);
    assert_eq!(auth.by_cookie(&link.secret).unwrap().cameras, Scope::only([]), "the link itself is valid");
    assert_eq!(auth.by_token(&token).unwrap().cameras, Scope::only(["back".into()]));

    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    let login = async |password: &str| {
        let browser = Browser { device: None, ..stranger(77) };
        auth.login(password, browser, None).await.unwrap()
    };
    let before = login("tea for two").await;
    assert_eq!(before.principal.cameras, Scope::ALL);
    let some = Scope::only(["back".into()]);
    auth.set_password(Role::Viewer, "three for tea", Some(some.clone())).await.unwrap();
    auth.lost(&before.principal).await;
    assert_eq!(login("three for tea").await.principal.cameras, some);
    auth.set_password(Role::Viewer, "tea for four", None).await.unwrap();
    assert_eq!(
        login("tea for four").await.principal.cameras,
        some,
        "a new password alone changes no cameras"
    );
}

#[tokio::test]
async fn tokens_have_names_and_are_not_to_be_had_again() {
    let (auth, _dir) = auth();
    let secret = auth.add_token("door bell", Role::Viewer, Scope::ALL).unwrap();
    let some = Scope::only(["front".into()]);
    assert!(matches!(auth.add_token("keeper", Role::Owner, some), Err(Error::Refused(_))));
    let by = auth.by_token(&secret).unwrap();
    assert_eq!((by.role, by.who.as_str()), (Role::Viewer, "token: door bell"));
    assert_eq!(auth.by_cookie(&secret), None, "a token is not a cookie");
    assert!(matches!(auth.add_token("door bell", Role::Owner, Scope::ALL), Err(Error::Conflict(_))));
    for name in ["", "  ", "a\nb", "a\u{202e}b", "a\u{200b}", &"x".repeat(65)] {
        assert!(matches!(auth.add_token(name, Role::Owner, Scope::ALL), Err(Error::Refused(_))), "{name:?}");
    }
    assert!(matches!(auth.revoke_token("other"), Err(Error::Unknown(_))));
    auth.revoke_token("door bell").unwrap();
    assert_eq!(auth.by_token(&secret), None);
    for n in 0..64 {
        auth.add_token(&n.to_string(), Role::Viewer, Scope::ALL).unwrap();
    }
    assert!(matches!(auth.add_token("65", Role::Viewer, Scope::ALL), Err(Error::Conflict(_))));
    assert_eq!(auth.tokens().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn guests_come_by_links_that_end() {
    let (auth, _dir) = auth();
    for (label, hours) in [("Ann", 0), ("Ann", 8761), ("", 1), ("a\rb", 1), ("\u{2066}Ann", 1)] {
        assert!(
            matches!(auth.add_guest(label, hours, Scope::ALL).await, Err(Error::Refused(_))),
            "{label:?} {hours}"
        );
    }
    let link = auth.add_guest("Ann", 1, Scope::ALL).await.unwrap();
    let (guest, left) = auth.guest(&link.secret, stranger(1).address).unwrap();
    assert_eq!(left, 3600);
    assert_eq!((guest.role, guest.who.as_str()), (Role::Guest, "guest: Ann"));
    assert_eq!(auth.by_cookie(&link.secret), Some(guest.clone()));
    assert_eq!(auth.by_token(&link.secret), None);
    assert_eq!(auth.guests()[0].id, link.id);
    assert!(matches!(auth.revoke_guest("other").await, Err(Error::Unknown(_))));
    // Its viewers are notified at once.
    let lost = tokio::spawn({
        let auth = auth.clone();
        async move { auth.lost(&guest).await }
    });
    auth.revoke_guest(&link.id).await.unwrap();
    let why = tokio::time::timeout(Duration::from_millis(900), lost).await.unwrap().unwrap();
    assert_eq!(why, "this guest link has ended");
    assert!(auth.guests().is_empty() && auth.guest(&link.secret, stranger(1).address).is_err());
    for _ in 0..64 {
        auth.add_guest("Ann", 1, Scope::ALL).await.unwrap();
    }
    assert!(matches!(auth.add_guest("Ann", 1, Scope::ALL).await, Err(Error::Conflict(_))));
    assert!(matches!(auth.restore_guest(&link.id).await, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn wrong_links_are_slowed_and_the_right_one_is_not() {
    let (auth, _dir) = auth();
    let (link, secret) = (auth.add_guest("Ann", 1, Scope::ALL).await.unwrap(), auth.pair().unwrap());
    let mut waits = 0;
    for _ in 0..100 {
        waits += u32::from(matches!(auth.guest("wrong", stranger(1).address), Err(Error::Wait(_))));
    }
    assert_eq!(waits, 95);
    auth.guest(&link.secret, stranger(1).address).unwrap();
    auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    auth.login(PASSWORD, stranger(1), None).await.unwrap();
}

#[test]
fn a_guest_link_is_good_between_its_beginning_and_its_end() {
    let (mut l, session, guest) = lasting();
    let good = |l: &Lasting, now| find(l, guest, now).is_some();
    assert!(good(&l, NOW) && good(&l, NOW + HOUR_S - 1) && !good(&l, NOW + HOUR_S));
    // A board that starts in 1970: the link may have expired long ago. The owner's session stays valid.
    assert!(good(&l, NOW - SET_BACK_S) && !good(&l, NOW - SET_BACK_S - 1) && !good(&l, 0));
    assert!(find(&l, session, 0).is_some());
    sweep(&mut l, 0);
    assert_eq!((l.guests.len(), l.sessions.len()), (1, 1));
    sweep(&mut l, NOW + HOUR_S);
    assert!(l.guests.is_empty(), "and stays expired, regardless of the clock");
}

#[tokio::test]
async fn the_owners_new_password_ends_links_and_tokens_unless_they_are_kept() {
    let (auth, owner, _dir) = paired().await;
    let made = async || {
        let link = auth.add_guest("Ann", 1, Scope::ALL).await.unwrap();
        let token = auth.add_token("door bell", Role::Viewer, Scope::ALL).unwrap();
        (link.secret, token)
    };
    let good =
        |(link, token): &(String, String)| (auth.by_cookie(link).is_some(), auth.by_token(token).is_some());
    let old = made().await;
    let issued =
        |household| serde_json::json!({"guests": ["Ann"], "tokens": ["door bell"], "household": household});
    assert_eq!(auth.issued(), issued(false));
    auth.set_password(Role::Viewer, "tea for two", None).await.unwrap();
    assert_eq!(auth.issued(), issued(true));
    assert_eq!(good(&old), (true, true), "a new household password ends none");
    let keep = NewPassword { text: "battery staple", keep_links: true };
    auth.set_password(Role::Owner, keep, None).await.unwrap();
    assert_eq!(good(&old), (true, true));
    auth.set_password(Role::Owner, PASSWORD, None).await.unwrap();
    assert_eq!(good(&old), (false, false), "`peercam passwd`");

    let old = made().await;
    let change =
        auth.change_password(&owner.principal, PASSWORD, Role::Owner, "three for tea", stranger(1).address);
    change.await.unwrap();
    assert_eq!(good(&old), (false, false), "the page");
    // A program that changes it keeps its own token.
    let own = auth.add_token("keeper", Role::Owner, Scope::ALL).unwrap();
    let old = made().await;
    let program = auth.by_token(&own).unwrap();
    let change = auth.change_password(&program, "three for tea", Role::Owner, PASSWORD, stranger(1).address);
    change.await.unwrap();
    assert!(good(&old) == (false, false) && auth.by_token(&own).is_some());

    let (old, secret) = (made().await, auth.pair().unwrap());
    let keep = NewPassword { text: "battery staple", keep_links: true };
    auth.pair_by(&secret, keep, stranger(1)).await.unwrap();
    assert_eq!(good(&old), (true, true));
    let secret = auth.pair().unwrap();
    auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    assert_eq!(good(&old), (false, false), "`peercam pair`");
}

#[tokio::test]
async fn what_was_made_before_the_first_owner_stays() {
    let (auth, _dir) = auth();
    let token = auth.add_token("door bell", Role::Viewer, Scope::ALL).unwrap();
    let secret = auth.pair().unwrap();
    auth.pair_by(&secret, PASSWORD, stranger(1)).await.unwrap();
    assert!(auth.by_token(&token).is_some());
}
