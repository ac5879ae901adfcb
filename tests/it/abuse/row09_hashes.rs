//! Wrong passwords: each is hashed with 19 MiB, of which nothing may stay.

use std::time::Duration;

use super::{Flat, Scene};
use crate::flood;
use crate::http::anybody;

#[test]
fn wrong_passwords_leave_no_memory_behind() {
    let scene = Scene::new();
    scene.under("five wrong passwords", Flat::FromStart, |target| {
        let guess = |n| {
            let body = format!(r#"{{"password":"a guess at it {n}"}}"#);
            let answer =
                anybody(target.web, "POST", "/api/login", &[("Content-Type", "application/json")], &body);
            answer.expect("an answer").code
        };
        format!("answered by status {:?}", (0..5).map(guess).collect::<Vec<_>>())
    });
    // From as many addresses as it takes, many at a time.
    scene.under("300 wrong passwords", Flat::FromStart, |target| {
        format!("answered by status {:?}", flood::guesses(target.web, 300, Duration::from_secs(5)))
    });
}
