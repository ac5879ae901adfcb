//! Tests of requests on behalf of viewers that are connecting.

use super::*;
use crate::pipeline::quality::Share;
use crate::viewer::TrackFacts;
use crate::viewer::ladder::Pictures;
use crate::viewer::testing::House;

/// Sections: video 0, audio 1, video 2, audio 3, audio 4, video 5.
const THREE: &str = include_str!("../../../tests/data/offer-chromium-156-three-of-each-max-bundle.sdp");

/// A request for a camera in half size.
fn wanted(house: &House, mid: Option<&str>, camera: &str) -> Wanted {
    house.wanted(mid, camera, Quality::Half)
}

/// Joins with [`THREE`].
async fn join(house: &House, cameras: Vec<Wanted>, listen: Option<&str>) -> Result<ViewerId, Error> {
    Ok(house.join(THREE, cameras, listen).await?.id)
}

/// Waits until this is the demand of expected viewers: for the video, and for the sound of each camera.
async fn expects(house: &House, expected: [(usize, usize); 3]) {
    for (camera, (pictures, sounds)) in house.cameras.all().iter().zip(expected) {
        for (demand, expected) in [(&camera.video.demand, pictures), (&camera.audio.demand, sounds)] {
            let mut wants = demand.wants();
            let there = wants.wait_for(|wants| wants.expected == expected);
            let there = tokio::time::timeout(Duration::from_secs(10), there).await;
            assert!(there.is_ok(), "{}: {expected} expected, {:?}", camera.name, demand.wants().borrow());
        }
    }
}

fn refused(result: Result<(), Error>, why: &str) {
    let told = result.expect_err("refused");
    assert!(matches!(&told, Error::BadOffer(told) if told.contains(why)), "{told:?}");
}

#[tokio::test]
async fn each_section_is_told_of_and_changed_by_itself() {
    let house = House::new(50);
    let sections = vec![wanted(&house, Some("2"), "front"), wanted(&house, None, "back")];
    let id = join(&house, sections, None).await.expect("answered");
    let registry = &house.registry;
    let facts = || registry.list().remove(0).cameras;
    let section = |camera: &str, quality| {
        let camera = camera.to_owned();
        TrackFacts { camera, quality, rung: None::<Share>, pictures: Pictures::All, paused: false }
    };
    let both = |first, second| vec![section("back", first), section("front", second)];
    assert_eq!(facts(), both(Quality::Half, Quality::Half), "in the order of the offer");
    assert_eq!(registry.cameras_of(&id).expect("there"), ["back", "front"]);
    expects(&house, [(1, 1), (1, 0), (0, 0)]).await;

    registry.set_quality(&id, Some("2"), Quality::Full).await.expect("there");
    assert_eq!(facts(), both(Quality::Half, Quality::Full));
    registry.set_quality(&id, None, Quality::Quarter).await.expect("there");
    assert_eq!(facts(), both(Quality::Quarter, Quality::Quarter));
    registry.listen(&id, "garage").await.expect("there");
    assert_eq!(registry.cameras_of(&id).expect("there"), ["back", "front", "garage"]);
    expects(&house, [(1, 0), (1, 0), (0, 1)]).await;
    registry.set_paused(&id, "2", true).await.expect("there");
    assert!(facts()[1].paused && !facts()[0].paused);
    expects(&house, [(0, 0), (1, 0), (0, 1)]).await;
    registry.set_camera(&id, None, "garage").await.expect("there");
    registry.set_paused(&id, "2", false).await.expect("there");
    assert_eq!(registry.cameras_of(&id).expect("there"), ["front", "garage"]);
    expects(&house, [(1, 0), (0, 0), (1, 1)]).await;

    refused(registry.set_quality(&id, Some("5"), Quality::Full).await, "\"5\"");
    refused(registry.set_paused(&id, "1", true).await, "\"1\"");
    refused(registry.set_camera(&id, Some("0"), "attic").await, "no camera named \"attic\"");
    refused(registry.set_camera(&id, Some("x"), "front").await, "\"x\"");
    refused(registry.listen(&id, "").await, "no camera");
    let stranger = ViewerId::from("nobody");
    assert!(matches!(registry.cameras_of(&stranger), Err(Error::Unknown)));
    assert!(matches!(registry.listen(&stranger, "front").await, Err(Error::Unknown)));

    registry.leave(&id, "left").await.expect("there");
    expects(&house, [(0, 0); 3]).await;
}

#[tokio::test]
async fn who_is_on_its_way_follows_other_cameras() {
    let house = House::new(50);
    let sections = vec![wanted(&house, None, "front"), wanted(&house, None, "back")];
    join(&house, sections, Some("back")).await.expect("answered");
    expects(&house, [(1, 0), (1, 1), (0, 0)]).await;
    let before = house.cameras.all();
    let again = Arc::new(Camera::new("front", "Front door"));
    house.cameras.set([again.clone(), before[2].clone()].into());
    expects(&house, [(1, 0), (0, 0), (0, 0)]).await;
    assert!(!before[0].video.demand.wants().borrow().device(), "the previous camera is not wanted any more");
    assert!(!before[1].video.demand.wants().borrow().device(), "nor is one that is gone");
    house.cameras.set(before);
    expects(&house, [(1, 0), (1, 1), (0, 0)]).await;
    assert!(!again.video.demand.wants().borrow().device());
}

#[tokio::test]
async fn offers_that_want_nothing_or_too_much_are_refused() {
    let house = House::new(50);
    refused(join(&house, vec![], None).await.map(|_| ()), "no camera");
    let many = (0..=MOST_WANTED).map(|_| wanted(&house, None, "front")).collect();
    refused(join(&house, many, None).await.map(|_| ()), "at most 16");
    refused(join(&house, vec![wanted(&house, Some("9"), "front")], None).await.map(|_| ()), "\"9\"");
    refused(join(&house, vec![wanted(&house, None, "front")], Some("attic")).await.map(|_| ()), "\"attic\"");
    assert_eq!(house.registry.count(), 0);
}

#[tokio::test]
async fn privacy_of_a_camera_is_answered_at_once_by_those_who_got_nothing() {
    let house = House::new(50);
    let sections = vec![wanted(&house, None, "front"), wanted(&house, None, "back")];
    join(&house, sections, None).await.expect("answered");
    assert!(house.registry.conceal_camera("back").await);
    assert!(house.registry.conceal_camera("attic").await, "nothing of it is waiting anywhere");
    assert!(house.registry.conceal().await);
}
