//! Tests of what a viewer receives from several cameras.

use std::time::Duration;

use super::*;
use crate::media::frame::Size;
use crate::pipeline::camera::Cameras;
use crate::pipeline::demand::{Demand, Wants};
use crate::pipeline::quality::{Offered, Quality, Share};
use crate::viewer::ladder::Pictures;
use crate::viewer::wishes::Section;

fn at(n: u64) -> Pts {
    Pts::from_micros(1_000_000_000 + n * 1_000)
}

fn picture(n: u64, idr: bool) -> Arc<VideoUnit> {
    let pts = at(n);
    Arc::new(VideoUnit::bare(pts, n as u32, idr))
}

fn sound(n: u64) -> Arc<AudioUnit> {
    Arc::new(AudioUnit { pts: at(n), rtp_time: n as u32, payload: vec![].into() })
}

fn section(camera: &str) -> Section {
    let (camera, quality) = (Some(camera.to_owned()), Quality::Auto);
    Section { mid: None, camera, quality, paused: false, gets: None }
}

/// Cameras, and a viewer of some of them.
struct Scene {
    cameras: Arc<Cameras>,
    wishes: Wishes,
    media: Media,
}

impl Scene {
    /// The viewer sees these cameras, in this order, and hears the first.
    fn new(shown: &[&str]) -> Self {
        let cameras = Cameras::new(["front", "back", "garage"].map(|name| Camera::new(name, name)));
        let sections = shown.iter().map(|camera| section(camera)).collect();
        let wishes = Wishes { sections, listen: shown[0].to_owned() };
        let mut scene = Self { cameras, wishes, media: Media::new(shown.len(), true) };
        scene.tune();
        scene
    }

    fn tune(&mut self) {
        self.media.tune(&self.wishes, &self.cameras.all());
    }

    /// Publishes a picture in the full rung.
    fn picture(&self, camera: &str, n: u64, idr: bool) {
        let camera = self.cameras.find(camera).expect("there");
        let hub = camera.video.hub(Share::Full);
        assert!(!idr || hub.begin(at(n), true, at(n)));
        hub.publish(&picture(n, idr));
    }

    fn sound(&self, camera: &str, n: u64) {
        self.cameras.find(camera).expect("there").audio.hub.publish(&sound(n));
    }

    /// The available units: the section, and the time in ms; sounds have no section.
    fn there(&mut self) -> Vec<(Option<usize>, u32)> {
        std::iter::from_fn(|| self.media.try_recv())
            .map(|unit| match unit {
                Unit::Video(section, unit) => (Some(section), unit.rtp_time),
                Unit::Audio(unit) => (None, unit.rtp_time),
            })
            .collect()
    }

    /// Counted viewers of video and sound of each camera.
    fn demand(&self) -> [(usize, usize); 3] {
        let wants = |demand: &Arc<Demand>| demand.wants().borrow().viewers;
        ["front", "back", "garage"].map(|name| {
            let camera = self.cameras.find(name).expect("there");
            (wants(&camera.video.demand), wants(&camera.audio.demand))
        })
    }
}

#[test]
fn sound_comes_first_and_then_each_section_in_turn() {
    let mut scene = Scene::new(&["front", "back", "garage"]);
    for n in 0..3 {
        for camera in ["garage", "front", "back"] {
            scene.picture(camera, n, n == 0);
        }
    }
    scene.sound("front", 7);
    scene.sound("back", 8);
    let there = scene.there();
    assert_eq!(there[0], (None, 7), "the sound of the chosen camera only");
    let pictures: Vec<_> = there[1..].iter().map(|(section, n)| (section.expect("a picture"), *n)).collect();
    assert_eq!(pictures, (0..9).map(|n| (n % 3, (n / 3) as u32)).collect::<Vec<_>>());
}

#[test]
fn one_that_falls_behind_holds_up_no_other() {
    let mut scene = Scene::new(&["front", "back"]);
    scene.picture("front", 0, true);
    scene.picture("back", 0, true);
    scene.there();
    // More pictures of one camera than any queue has room for, at once.
    (1..40).for_each(|n| scene.picture("back", n, false));
    scene.picture("front", 1, false);
    assert_eq!(scene.there(), [(Some(0), 1)], "all pictures of the other camera are stale");
    assert_eq!(scene.media.lagged(), 1);
    scene.picture("back", 40, false);
    scene.picture("back", 41, true);
    scene.picture("front", 2, false);
    let mut there = scene.there();
    there.sort_unstable();
    assert_eq!(there, [(Some(0), 2), (Some(1), 41)]);
}

#[tokio::test]
async fn it_is_woken_by_any_section_and_by_the_sound() {
    let mut scene = Scene::new(&["front", "back"]);
    let cameras = scene.cameras.clone();
    let publish = |n: u64| {
        let camera = cameras.find(if n.is_multiple_of(2) { "front" } else { "back" }).expect("there");
        camera.video.hub(Share::Full).publish(&picture(n, true));
    };
    for n in 0..6 {
        let (unit, ()) = tokio::join!(scene.media.recv(), async {
            tokio::task::yield_now().await; // it waits by now
            publish(n);
        });
        let Unit::Video(section, unit) = unit else { panic!("a picture") };
        assert_eq!((section, unit.rtp_time), ((n % 2) as usize, n as u32));
    }
    let (unit, ()) = tokio::join!(scene.media.recv(), async {
        tokio::task::yield_now().await;
        cameras.find("front").expect("there").audio.hub.publish(&sound(9));
    });
    assert!(matches!(unit, Unit::Audio(unit) if unit.rtp_time == 9));
}

#[test]
fn a_bad_link_gets_the_sound_with_few_bits_until_it_is_clearly_better() {
    let mut scene = Scene::new(&["front"]);
    let audio = scene.cameras.find("front").expect("there").audio.clone();
    let listeners = || (audio.hub.subscribers(), audio.low.subscribers());
    for (n, (estimate_bps, expected)) in
        (1..).zip([(1e6, (1, 0)), (190e3, (0, 1)), (250e3, (0, 1)), (310e3, (1, 0))])
    {
        scene.media.hear_over(estimate_bps);
        assert_eq!(listeners(), expected, "{estimate_bps}");
        audio.hub.publish(&sound(n));
        audio.low.publish(&sound(n));
        assert_eq!(scene.there(), [(None, n as u32)]);
    }
    assert_eq!(scene.demand()[0].1, 1);
}

#[test]
fn a_requested_size_is_the_largest_one() {
    let mut scene = Scene::new(&["front"]);
    let video = scene.cameras.find("front").expect("there").video.clone();
    let size = Some(Size::new(1280, 720));
    video.offer(Offered { size, fps: 30.0, bitrate_bps: 2_000_000, smaller: true });
    scene.wishes.sections[0].quality = Quality::Half;
    scene.tune();
    let mut now = Instant::now();
    for (carried_bps, seconds, expected) in [(2e6, 9, [0, 1, 0]), (50e3, 3, [0, 0, 1]), (2e6, 9, [0, 1, 0])] {
        for _ in 0..seconds {
            let carried = Carried { video_bps: carried_bps, fps: 30.0, payload: 1_180, pause: false };
            let most = scene.media.most();
            scene.media.set_capacity(&carried, most, Some(now));
            now += Duration::from_secs(1);
        }
        assert_eq!(Share::ALL.map(|share| video.hub(share).subscribers()), expected, "{carried_bps}");
    }
}

#[test]
fn a_link_that_does_not_carry_all_pictures_gets_those_that_others_refer_to() {
    let mut scene = Scene::new(&["front"]);
    let video = scene.cameras.find("front").expect("there").video.clone();
    let size = Some(Size::new(1280, 720));
    video.offer(Offered { size, fps: 30.0, bitrate_bps: 2_000_000, smaller: true });
    scene.tune();
    let others = video.subscribe();
    let carries = |scene: &mut Scene, video_bps, from: &mut Instant, seconds| {
        for _ in 0..seconds {
            let carried = Carried { video_bps, fps: 30.0, payload: 1_180, pause: false };
            let most = scene.media.most();
            scene.media.set_capacity(&carried, most, Some(*from));
            *from += Duration::from_secs(1);
        }
    };
    let publish = |from| {
        for n in from..from + 6 {
            let unit = VideoUnit { disposable: n % 2 == 1, ..VideoUnit::bare(at(n), n as u32, n == 0) };
            video.hub(Share::Full).publish(&Arc::new(unit));
        }
    };
    let gets = |pictures| vec![(0, Some(("front".to_owned(), Layers { share: Share::Full, pictures })))];
    let mut now = Instant::now();
    publish(0);
    assert_eq!(scene.there(), [0, 1, 2, 3, 4, 5].map(|n| (Some(0), n)));
    assert_eq!(scene.media.changed().collect::<Vec<_>>(), gets(Pictures::All));
    carries(&mut scene, 1.5e6, &mut now, 4);
    publish(6);
    assert_eq!(scene.there(), [6, 8, 10].map(|n| (Some(0), n)));
    assert_eq!(scene.media.changed().collect::<Vec<_>>(), gets(Pictures::Base));
    drop(others);
    carries(&mut scene, 1.5e6, &mut now, 1);
    publish(12);
    assert_eq!(scene.there(), [12, 13, 14, 15, 16, 17].map(|n| (Some(0), n)), "alone: the encoder adapts");
    assert_eq!(scene.media.changed().collect::<Vec<_>>(), gets(Pictures::All));
}

#[test]
fn a_viewer_begins_with_the_rung_whose_keyframe_its_link_carries_soon() {
    for (carried_bps, expected) in [(10e6, [2, 0, 0]), (1e6, [1, 1, 0]), (100e3, [1, 0, 1])] {
        let mut scene = Scene::new(&["front"]);
        let video = scene.cameras.find("front").expect("there").video.clone();
        let size = Some(Size::new(1280, 720));
        video.offer(Offered { size, fps: 30.0, bitrate_bps: 2_000_000, smaller: true });
        let _other = video.subscribe();
        scene.media = Media::new(1, true);
        scene.media.begin(carried_bps);
        scene.tune();
        assert_eq!(Share::ALL.map(|share| video.hub(share).subscribers()), expected, "{carried_bps}");
    }
}

#[test]
fn demand_is_for_what_is_shown_and_heard_and_for_nothing_else() {
    let mut scene = Scene::new(&["front", "back"]);
    assert_eq!(scene.demand(), [(1, 1), (1, 0), (0, 0)]);
    scene.wishes.sections[1].paused = true;
    scene.tune();
    assert_eq!(scene.demand(), [(1, 1), (0, 0), (0, 0)]);
    assert!(scene.media.is_watched());
    let hub =
        |scene: &Scene, name| scene.cameras.find(name).expect("there").video.hub(Share::Full).subscribers();
    assert_eq!(hub(&scene, "back"), 0);
    scene.wishes.listen = "garage".into();
    scene.wishes.sections[1].paused = false;
    scene.tune();
    assert_eq!(scene.demand(), [(1, 0), (1, 0), (0, 1)]);
    // A change of the rung alone adds no viewer.
    scene
        .cameras
        .find("front")
        .expect("there")
        .video
        .offer(Offered { size: Some(Size::new(1280, 720)), ..Default::default() });
    scene.picture("front", 0, true);
    scene.there();
    scene.wishes.sections[0].quality = Quality::Half;
    scene.tune();
    assert_eq!(scene.demand()[0], (1, 0));
    let Scene { cameras, media, .. } = scene;
    drop(media);
    assert!(cameras.all().iter().all(|c| !c.video.demand.wants().borrow().device()));
    assert!(cameras.all().iter().all(|c| !c.audio.demand.wants().borrow().device()));
}

#[test]
fn another_camera_is_wanted_before_its_first_picture_and_the_old_one_until_then() {
    let mut scene = Scene::new(&["front"]);
    scene.picture("front", 0, true);
    assert_eq!(scene.there(), [(Some(0), 0)]);
    scene.wishes.sections[0].camera = Some("back".into());
    scene.tune();
    assert_eq!(scene.demand(), [(1, 1), (1, 0), (0, 0)]);
    // A camera without pictures does not replace the old one.
    (1..4).for_each(|n| scene.picture("front", n, false));
    assert_eq!(scene.there(), [(Some(0), 1), (Some(0), 2), (Some(0), 3)]);
    assert_eq!(scene.media.tracks[0].gets(), Some(("front", Layers::all(Share::Full))));
    scene.picture("back", 5, true);
    scene.picture("front", 6, false);
    assert_eq!(scene.there(), [(Some(0), 5)]);
    assert_eq!(scene.demand(), [(0, 1), (1, 0), (0, 0)]);
    let changes: Vec<_> = scene.media.changed().collect();
    assert_eq!(changes, [(0, Some(("back".to_owned(), Layers::all(Share::Full))))]);
    // There and back at once: it stays, and wants nothing of the other camera any more.
    scene.wishes.sections[0].camera = Some("front".into());
    scene.tune();
    scene.wishes.sections[0].camera = Some("back".into());
    scene.tune();
    assert_eq!(scene.demand(), [(0, 1), (1, 0), (0, 0)]);
    scene.picture("back", 7, false);
    assert_eq!(scene.there(), [(Some(0), 7)]);
}

#[test]
fn a_section_that_goes_on_begins_with_a_later_keyframe() {
    let mut scene = Scene::new(&["front", "back"]);
    for camera in ["front", "back"] {
        scene.picture(camera, 10, true);
    }
    scene.there();
    assert_eq!(scene.media.changed().count(), 2);
    scene.wishes.sections[1].paused = true;
    scene.tune();
    assert_eq!(scene.media.changed().collect::<Vec<_>>(), [(1, None)]);
    scene.picture("back", 11, true);
    scene.picture("front", 11, false);
    assert_eq!(scene.there(), [(Some(0), 11)]);
    scene.wishes.sections[1].paused = false;
    // A camera that is behind: its first pictures are older than what was sent.
    scene.wishes.sections[1].camera = Some("garage".into());
    scene.tune();
    let hub = scene.cameras.find("garage").expect("there").video.hub(Share::Full).clone();
    assert!(hub.keyframe_due(at(12)), "a join");
    for (n, idr) in [(9, true), (11, false), (12, false)] {
        scene.picture("garage", n, idr);
    }
    assert!(scene.there().is_empty(), "neither a picture older than those sent nor one that depends on it");
    assert!(hub.keyframe_due(at(2_000)), "so it requests a new keyframe");
    scene.picture("garage", 13, true);
    scene.picture("garage", 14, false);
    assert_eq!(scene.there(), [(Some(1), 13), (Some(1), 14)]);
}

#[test]
fn cameras_that_go_and_come_are_followed_by_their_names() {
    let mut scene = Scene::new(&["front", "back"]);
    for camera in ["front", "back"] {
        scene.picture(camera, 0, true);
        scene.sound(camera, 0);
    }
    scene.there();
    let before: Vec<_> = scene.cameras.all().iter().cloned().collect();
    // The first camera is replaced, the second goes.
    let again = Arc::new(Camera::new("front", "Front door"));
    scene.cameras.set([again.clone(), before[2].clone()].into());
    scene.tune();
    assert_eq!(before[1].video.demand.wants().borrow().viewers, 0);
    assert_eq!(before[1].video.hub(Share::Full).subscribers(), 0);
    assert_eq!(before[0].audio.demand.wants().borrow().viewers, 0, "it hears the new camera");
    before[1].video.hub(Share::Full).publish(&picture(1, true));
    before[0].video.hub(Share::Full).publish(&picture(1, false));
    assert_eq!(scene.there(), [(Some(0), 1)], "the old camera until the new one delivers");
    scene.picture("front", 2, true);
    scene.sound("front", 2);
    assert_eq!(scene.there(), [(None, 2), (Some(0), 2)]);
    assert_eq!(before[0].video.demand.wants().borrow().viewers, 0);
    // Switching to a camera that goes, and from one that goes.
    scene.wishes.sections[0].camera = Some("garage".into());
    scene.tune();
    scene.cameras.set([before[2].clone()].into());
    scene.tune();
    again.video.hub(Share::Full).publish(&picture(3, false));
    assert!(scene.there().is_empty(), "nothing more of a camera that is gone");
    assert_eq!(*again.video.demand.wants().borrow(), Wants::default());
    scene.picture("garage", 4, true);
    assert_eq!(scene.there(), [(Some(0), 4)]);
    // A camera that comes back is shown again.
    scene.cameras.set([before[1].clone(), before[2].clone()].into());
    scene.tune();
    scene.picture("back", 5, true);
    assert_eq!(scene.there(), [(Some(1), 5)]);
    // A different microphone alone leaves the picture unchanged.
    let mut changed = (*before[1]).clone();
    changed.audio = Arc::default();
    scene.wishes.listen = "back".into();
    scene.cameras.set([Arc::new(changed), before[2].clone()].into());
    scene.tune();
    scene.picture("back", 6, false);
    scene.sound("back", 6);
    assert_eq!(scene.there(), [(None, 6), (Some(1), 6)]);
}

#[test]
fn the_time_of_sounds_never_goes_back() {
    let mut scene = Scene::new(&["front", "back"]);
    scene.sound("front", 100);
    assert_eq!(scene.there(), [(None, 100)]);
    scene.wishes.listen = "back".into();
    scene.tune();
    for n in [80, 100, 120] {
        scene.sound("back", n);
        scene.sound("front", n + 1);
    }
    assert_eq!(scene.there(), [(None, 120)]);
}

#[test]
fn privacy_of_one_camera_concerns_those_who_got_any_of_it() {
    let mut scene = Scene::new(&["front", "back"]);
    assert_eq!(scene.media.conceal(None), Some(vec![]), "sound may have been sent");
    assert_eq!(scene.media.conceal(Some("back")), None);
    for camera in ["front", "back"] {
        scene.picture(camera, 0, true);
    }
    scene.there();
    assert_eq!(scene.media.conceal(Some("back")), Some(vec![1]));
    scene.wishes.sections[1].camera = Some("garage".into());
    scene.tune();
    scene.picture("garage", 1, true);
    scene.there();
    assert_eq!(scene.media.conceal(Some("back")), Some(vec![1]), "it may be retransmitted");
    assert_eq!(scene.media.conceal(Some("back")), None, "it was forgotten");
    assert_eq!(scene.media.conceal(Some("garage")), Some(vec![1]));
    assert_eq!(scene.media.conceal(None), Some(vec![0, 1]));
}

#[test]
fn devices_are_opened_for_a_viewer_on_its_way() {
    let scene = Scene::new(&["front", "garage"]);
    let Scene { cameras, mut wishes, media } = scene;
    drop(media);
    let wants = |name: &str, audio| {
        let camera = cameras.find(name).expect("there");
        let demand = if audio { &camera.audio.demand } else { &camera.video.demand };
        demand.wants().borrow().expected
    };
    wishes.sections[0].paused = true;
    let claims = expect(&wishes, &cameras.all(), true);
    assert_eq!([wants("front", false), wants("back", false), wants("garage", false)], [0, 0, 1]);
    assert_eq!([wants("front", true), wants("garage", true)], [1, 0]);
    drop(claims);
    assert_eq!([wants("front", true), wants("garage", false)], [0, 0]);
    let _silent = expect(&wishes, &cameras.all(), false);
    assert_eq!(wants("front", true), 0);
}

#[test]
fn nobody_watches_where_all_is_paused_and_nothing_is_heard() {
    let mut scene = Scene::new(&["front", "back"]);
    for section in &mut scene.wishes.sections {
        section.paused = true;
    }
    scene.tune();
    assert!(scene.media.is_watched(), "it listens");
    scene.wishes.listen = "attic".into();
    scene.tune();
    assert!(!scene.media.is_watched());
    scene.wishes.sections[1].paused = false;
    scene.tune();
    assert!(scene.media.is_watched());
}
