//! Checks which actions are allowed for which cameras. Every route and message about a camera uses this. Without
//! permission the answer is the same as for an unknown camera.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Context;
use super::actions::{self, Action};
use super::auth::Principal;
use super::messages::CameraTerms;
use super::problem::Problem;
use crate::pipeline::camera::{Camera, Cameras};
use crate::privacy::Privacy;
use crate::status::{CameraReport, State};

/// All cameras for which `principal` may do `action`, in the order of the configuration.
pub fn of(context: &Context, principal: &Principal, action: Action) -> Vec<Arc<Camera>> {
    let all = context.cameras.all();
    all.iter().filter(|camera| actions::may(principal, action, &camera.name)).cloned().collect()
}

/// The camera with this name, or the first one.
///
/// # Errors
/// 404: no allowed camera has this name. 403: no camera is allowed.
pub fn find(
    context: &Context,
    principal: &Principal,
    action: Action,
    name: Option<&str>,
) -> Result<Arc<Camera>, Problem> {
    let mut all = of(context, principal, action).into_iter();
    match name {
        Some(name) => all.find(|camera| camera.name == name).ok_or_else(|| {
            let says = format!("there is no camera called \"{}\" here", crate::text::shown(name));
            Problem::new(StatusCode::NOT_FOUND, says)
        }),
        None => all.next().ok_or_else(|| {
            Problem::new(StatusCode::FORBIDDEN, "you may not watch any camera of this device; ask its owner")
        }),
    }
}

/// The facts of the cameras that a page needs before its offer.
pub fn terms(context: &Context, principal: &Principal) -> Vec<CameraTerms> {
    let silent: Vec<_> =
        context.status.cameras().into_iter().filter(|c| c.audio.now().state == State::Off).collect();
    let terms = |camera: Arc<Camera>| {
        let offered = *camera.video.offered().borrow();
        CameraTerms {
            name: camera.name.clone(),
            label: camera.label.clone(),
            has_audio: !silent.iter().any(|c| c.name == camera.name),
            qualities: offered.shares().collect(),
            width: offered.size.map(|size| size.width),
            height: offered.size.map(|size| size.height),
        }
    };
    of(context, principal, Action::Watch).into_iter().map(terms).collect()
}

/// The cameras' part of the status: `cameras`, with the number of viewers of each, and `video` and `audio` of the
/// first.
pub fn facts(cameras: &Cameras, privacy: &Privacy, reports: Vec<CameraReport>) -> Map<String, Value> {
    let facts = |report: CameraReport| {
        let camera = cameras.find(&report.name)?;
        let mut of = json!(report);
        of["video"]["rungs"] = json!(camera.video.rungs());
        of["viewers"] = json!(*camera.video.demand.viewers().borrow());
        of["private"] = json!(privacy.covers(&report.name));
        Some(of)
    };
    let all: Vec<_> = reports.into_iter().filter_map(facts).collect();
    let mut facts = Map::new();
    if let Some(first) = all.first() {
        for side in ["video", "audio"] {
            facts.insert(side.into(), first[side].clone());
        }
    }
    facts.insert("cameras".into(), Value::Array(all));
    facts
}

#[cfg(test)]
mod tests {
    use super::super::auth::Role;
    use super::super::testing::{self, principal};
    use super::*;
    use crate::state::Scope;

    #[tokio::test]
    async fn a_camera_that_one_may_not_watch_is_as_if_it_were_not_there() {
        let daemon = testing::context_of(&["front", "back"]);
        let back = principal(Role::Guest, Scope::only(["back".into(), "attic".into()]));
        let found = |name| {
            find(&daemon, &back, Action::Watch, name)
                .map(|c| c.name.clone())
                .map_err(|p| (p.status.as_u16(), p.detail.into_owned()))
        };
        assert_eq!(found(None), Ok("back".into()));
        assert_eq!(found(Some("back")), Ok("back".into()));
        let refused = |name: &str| (404, format!("there is no camera called \"{name}\" here"));
        assert_eq!(found(Some("front")), Err(refused("front")));
        assert_eq!(found(Some("attic")), Err(refused("attic")));
        let nothing = principal(Role::Owner, Scope::only([]));
        assert_eq!(
            find(&daemon, &nothing, Action::Watch, None).map(drop).map_err(|p| p.status.as_u16()),
            Err(403)
        );
        assert!(terms(&daemon, &nothing).is_empty());
        let names = |who| terms(&daemon, who).into_iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names(&back), ["back"]);
        assert_eq!(names(&principal(Role::Viewer, Scope::ALL)), ["front", "back"]);
    }

    #[tokio::test]
    async fn sound_that_is_off_is_not_promised() {
        let daemon = testing::context_of(&["front", "back"]);
        daemon.status.cameras()[0].audio.change(|a| a.state = State::Off);
        let sound: Vec<_> =
            terms(&daemon, &principal(Role::Guest, Scope::ALL)).iter().map(|c| c.has_audio).collect();
        assert_eq!(sound, [false, true]);
    }
}
