//! What a viewer wants, and what it receives: written on behalf of the viewer, read by its task and by lists.

use super::ladder::{Layers, Pictures};
use super::sdp::Picture;
use super::{Error, TrackFacts, Wanted};
use crate::pipeline::quality::Quality;

/// What a viewer wants.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// Its video sections, in the order of its offer; at least one.
    pub sections: Vec<Section>,
    /// The camera whose sound it wants.
    pub listen: String,
}

/// A video section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Its name in the offer (`a=mid`), if it has one.
    pub mid: Option<String>,
    /// The camera that it should show; `None` if a later offer removed it.
    pub camera: Option<String>,
    /// The requested quality.
    pub quality: Quality,
    /// Whether it is paused.
    pub paused: bool,
    /// The camera that it receives, and what of it.
    pub gets: Option<(String, Layers)>,
}

impl Section {
    /// Creates a section in which nothing was sent yet.
    pub(super) fn of(mid: Option<String>, Wanted { camera, quality, .. }: &Wanted) -> Self {
        Self { mid, camera: Some(camera.name.clone()), quality: *quality, paused: false, gets: None }
    }
}

impl Wishes {
    /// Applies a later offer with these `pictures`, for the cameras in `wanted`.
    pub(super) fn renew(&mut self, pictures: &[Picture], wanted: &[Wanted]) {
        for (number, picture) in pictures.iter().enumerate() {
            let wanted = picture.wanted.and_then(|n| wanted.get(n));
            match (self.sections.get_mut(number), wanted) {
                (Some(section), Some(Wanted { camera, quality, .. })) => {
                    // A camera that is new in a section has not been paused there.
                    section.paused &= section.camera.as_ref() == Some(&camera.name);
                    section.camera = Some(camera.name.clone());
                    section.quality = *quality;
                }
                (Some(section), None) => section.camera = None,
                (None, wanted) => {
                    self.sections.extend(wanted.map(|wanted| Section::of(picture.mid.clone(), wanted)));
                }
            }
        }
    }

    /// The section of that name, or all sections, including those without a picture.
    pub(super) fn sections(&mut self, mid: Option<&str>) -> Result<&mut [Section], Error> {
        match mid {
            Some(mid) => self.section(mid).map(std::slice::from_mut),
            None => Ok(&mut self.sections),
        }
    }

    /// The section of that name, if it has a picture.
    pub(super) fn section(&mut self, mid: &str) -> Result<&mut Section, Error> {
        let section = self.sections.iter_mut().find(|s| s.mid.as_deref() == Some(mid) && s.camera.is_some());
        section.ok_or_else(|| Error::BadOffer(format!("no video is sent in a media section named {mid:?}")))
    }

    /// The cameras from which it may receive something now, without duplicates.
    pub(super) fn cameras(&self) -> Vec<String> {
        let sections = self.sections.iter().flat_map(|s| {
            let gets = s.gets.as_ref().map(|(camera, _)| camera); // it may still be switching to a different one
            s.camera.iter().chain(gets)
        });
        let mut cameras: Vec<_> = sections.chain([&self.listen]).cloned().collect();
        cameras.sort_unstable();
        cameras.dedup();
        cameras
    }

    /// The facts of each section that has a picture, for lists.
    pub(super) fn facts(&self) -> Vec<TrackFacts> {
        let facts = |s: &Section| {
            let layers = s.gets.as_ref().map(|(_, layers)| *layers);
            Some(TrackFacts {
                camera: s.camera.clone()?,
                quality: s.quality,
                rung: layers.filter(|layers| layers.pictures != Pictures::None).map(|layers| layers.share),
                pictures: layers.map_or(Pictures::All, |layers| layers.pictures),
                paused: s.paused,
            })
        };
        self.sections.iter().filter_map(facts).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::camera::Camera;
    use crate::pipeline::quality::Share;

    fn section(mid: Option<&str>, camera: &str) -> Section {
        Section {
            mid: mid.map(str::to_owned),
            camera: Some(camera.to_owned()),
            quality: Quality::Auto,
            paused: false,
            gets: None,
        }
    }

    #[test]
    fn a_section_is_found_by_its_name_and_unknown_names_are_told() {
        let sections = vec![section(Some("a"), "front"), section(None, "back"), section(Some("b"), "back")];
        let mut wishes = Wishes { sections, listen: "front".into() };
        wishes.sections(None).expect("all").iter_mut().for_each(|s| s.quality = Quality::Half);
        wishes.sections(Some("b")).expect("one").iter_mut().for_each(|s| s.quality = Quality::Full);
        wishes.section("b").expect("there").paused = true;
        let facts = wishes.facts();
        let qualities: Vec<_> = facts.iter().map(|f| f.quality).collect();
        assert_eq!(qualities, [Quality::Half, Quality::Half, Quality::Full]);
        assert_eq!(facts.iter().map(|f| f.paused).collect::<Vec<_>>(), [false, false, true]);
        let told = wishes.section("c").expect_err("unknown").to_string();
        assert!(told.contains("\"c\""), "{told}");
        assert!(wishes.sections(Some("")).is_err());
    }

    #[test]
    fn a_later_offer_shows_hides_and_moves_cameras() {
        let sections = vec![section(Some("a"), "front"), section(Some("b"), "back")];
        let mut wishes = Wishes { sections, listen: "front".into() };
        wishes.sections.iter_mut().for_each(|section| section.paused = true);
        let picture = |mid: &str, wanted| Picture { mid: Some(mid.to_owned()), wanted, source: 0 };
        let wanted = |camera: &str, quality| Wanted {
            mid: None,
            camera: Arc::new(Camera::new(camera, camera)),
            quality,
        };
        // One section continues, still paused; the next one is not used any more; the third is new.
        let pictures = [picture("a", Some(1)), picture("b", None), picture("c", Some(0))];
        wishes.renew(&pictures, &[wanted("yard", Quality::Half), wanted("front", Quality::Full)]);
        let facts = |wishes: &Wishes| {
            let all = wishes.facts().into_iter();
            all.map(|f| (f.camera, f.quality, f.paused)).collect::<Vec<_>>()
        };
        let front = ("front".to_owned(), Quality::Full, true);
        assert_eq!(facts(&wishes), [front.clone(), ("yard".into(), Quality::Half, false)]);
        assert!(wishes.section("b").is_err() && wishes.section("c").is_ok(), "no picture is sent in b");
        assert_eq!(wishes.cameras(), ["front", "yard"]);
        // A different camera in a paused section is shown.
        let pictures = [picture("a", Some(0)), picture("b", Some(1)), picture("c", None)];
        wishes.renew(&pictures, &[wanted("front", Quality::Full), wanted("yard", Quality::Auto)]);
        assert_eq!(facts(&wishes), [front, ("yard".into(), Quality::Auto, false)]);
    }

    #[test]
    fn what_it_may_get_is_what_it_wishes_for_hears_and_still_sees() {
        let sections = vec![section(Some("0"), "front"), section(Some("1"), "front")];
        let mut wishes = Wishes { sections, listen: "garage".into() };
        assert_eq!(wishes.cameras(), ["front", "garage"]);
        wishes.sections[1].gets =
            Some(("back".into(), Layers { share: Share::Half, pictures: Pictures::Base }));
        assert_eq!(wishes.cameras(), ["back", "front", "garage"]);
        let facts = &wishes.facts()[1];
        assert_eq!((facts.rung, facts.pictures), (Some(Share::Half), Pictures::Base));
        wishes.sections[1].gets =
            Some(("back".into(), Layers { share: Share::Quarter, pictures: Pictures::None }));
        let facts = &wishes.facts()[1];
        assert_eq!((facts.rung, facts.pictures), (None, Pictures::None));
    }
}
