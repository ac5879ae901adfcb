//! `GET /api/status`: facts as JSON, and `GET /healthz` for monitors.
//!
//! ```json
//! {"version": "0.1.0", "uptime_s": 12,
//!  "cameras": [{"name": "front", "label": "Front door", "video": {"state": "live", ...}, "audio": {...},
//!               "viewers": 1, "private": false}],
//!  "video": {...}, "audio": {...}, "counters": {...},
//!  "clock": {"mono_us": 123456789, "unix_ms": 1763600000000},
//!  "viewers": {"count": 1, "max": 50, "list": [{"name": ..., "address": ..., "state": "live", ...}]}}
//! ```
//!
//! `cameras` are those that the user may watch, in the order of the configuration; `video` and `audio` are those of the
//! first. The `state` of `video` and `audio` is `opening`, `starting` (the camera is open, but has delivered no picture
//! yet), `live`, `idle`, `gone`, `private` or `off`. `viewers` of a camera counts those who get its pictures now.
//! `video.rungs` are the available sizes, from large to small:
//! `{"name": "half", "width": 640, "height": 360, "fps": 30.0, "viewers": 1}`. In `list`, `id` is the beginning of the
//! id in a viewer's `answer`, and `cameras` has the wanted quality and the current rung of each of its cameras:
//! `{"camera": "front", "quality": ..., "rung": "full", "pictures": "all", "paused": false}`. Where its link does not
//! carry all, `pictures` is `base` (every second one) or `none`. `link` is what is known of the network to the viewer:
//! `{"estimate_bps": 3400000, "queue_ms": 12, "loss_percent": 0.0, "rtt_ms": 64, "state": "looking for more"}`.
//! `privacy`: whether all cameras and microphones are closed; `private`: whether that camera is.
//!
//! `list`, `configuration` and `state_problem` (why the state can't be written, and the consequences) are for the owner
//! only; others get `own` instead of `list`: `id`, `cameras` and `link` of their own viewers. `counters`, `process` and
//! `media_port` (its current load) also for viewers; guests get the rest.
//!
//! `clock` relates the capture clock (microseconds of `CLOCK_MONOTONIC`) to Unix time. `/healthz` answers 200 while the
//! daemon serves, even if a device is gone (it is retried, a restart would not help, and the text says so), and 503
//! during the shutdown.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use warp::reply;

use super::Context;
use super::access::Visitor;
use super::actions::{self, Action};
use super::auth::{Principal, Role};
use super::cameras;
use super::problem::Problem;
use crate::clock::Pts;
use crate::status::{CameraReport, Process, State};

/// The content of `/api/status` for `principal`.
pub fn full(context: &Context, principal: &Principal) -> Map<String, Value> {
    let mut all = public(context, principal);
    if principal.role >= Role::Viewer {
        all.insert("counters".into(), json!(*context.status.counters));
        all.insert("process".into(), json!(Process::now()));
        all.insert("media_port".into(), json!(context.registry.port().usage()));
    }
    all
}

/// The status in messages to a page: without counters, and with the list of viewers only for the owner.
pub fn public(context: &Context, principal: &Principal) -> Map<String, Value> {
    let mut report = context.status.report();
    let mut reports = std::mem::take(&mut report.cameras);
    reports.retain(|camera| actions::may(principal, Action::Watch, &camera.name));
    let mut all = match serde_json::to_value(report) {
        Ok(Value::Object(all)) => all,
        other => {
            tracing::error!("the status is not a JSON object: {other:?}");
            Map::new()
        }
    };
    all.remove("counters");
    let privacy = context.auth.state().privacy().borrow().clone();
    all.extend(cameras::facts(&context.cameras, &privacy, reports));
    all.insert("privacy".into(), json!(privacy.all));
    let now = Pts::now();
    all.insert(
        "clock".into(),
        json!({"mono_us": now.as_micros(), "unix_ms": u64::try_from(now.unix().as_millis()).unwrap_or_default()}),
    );
    let mut viewers = json!({"count": context.registry.count(), "max": context.settings().web.max_viewers});
    if principal.role == Role::Owner {
        viewers["list"] = json!(context.registry.list());
        all.insert("state_problem".into(), json!(context.auth.unwritten()));
    } else {
        viewers["own"] = json!(context.registry.own(principal.holder().credential));
        all.remove("configuration");
    }
    all.insert("viewers".into(), viewers);
    all
}

/// `GET /api/status`.
pub fn response(context: &Context, visitor: &Visitor) -> reply::Response {
    match visitor.required() {
        Ok(principal) => uncached("application/json", Value::Object(full(context, principal)).to_string()),
        Err(problem) => problem.response(),
    }
}

/// `GET /healthz`.
pub fn health(context: &Context, stopping: bool) -> reply::Response {
    if stopping {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the device is shutting down").response();
    }
    let gone = |state, reason: Option<String>| {
        (state == State::Gone).then(|| reason.unwrap_or_else(|| "device gone".into()))
    };
    let mut reasons = vec![];
    for CameraReport { video, audio, .. } in context.status.report().cameras {
        reasons.extend(gone(video.state, video.reason));
        // Several cameras may share a microphone.
        reasons.extend(gone(audio.state, audio.reason).filter(|reason| !reasons.contains(reason)));
    }
    let text = if reasons.is_empty() { "ok\n".into() } else { format!("degraded: {}\n", reasons.join("; ")) };
    uncached("text/plain; charset=utf-8", text)
}

/// A response that must not be cached.
pub fn uncached(kind: &'static str, text: String) -> reply::Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::Size;
    use crate::pipeline::quality::Offered;
    use crate::state::Scope;
    use crate::web::testing::{self, principal};

    #[tokio::test]
    async fn everybody_is_told_what_their_role_may_know() {
        let context = testing::context();
        context.camera().video.offer(Offered { size: Some(Size::new(1280, 720)), ..Offered::default() });
        for (role, list, counters) in
            [(Role::Guest, false, false), (Role::Viewer, false, true), (Role::Owner, true, true)]
        {
            let who = principal(role, Scope::ALL);
            let (full, public) = (Value::Object(full(&context, &who)), public(&context, &who));
            for told in [&full, &Value::Object(public.clone())] {
                assert!(told["clock"]["mono_us"].is_u64() && told["clock"]["unix_ms"].is_u64(), "{told:#}");
                assert_eq!(told["viewers"]["count"], 0);
                assert_eq!(told["viewers"]["max"], context.settings().web.max_viewers);
                assert_eq!(told["viewers"]["list"].is_array(), list, "{role:?}: {told:#}");
                assert_eq!(told["viewers"]["own"].is_array(), !list, "{role:?}: {told:#}");
                assert!(told["uptime_s"].is_u64());
                assert_eq!(told["video"]["rungs"][1]["name"], "half", "{told:#}");
                assert_eq!(told["video"]["rungs"][1]["width"], 640);
                assert_eq!(told["cameras"][0]["video"], told["video"]);
            }
            assert_eq!(full["counters"]["captured"].is_u64(), counters, "{role:?}");
            assert_eq!(full["process"]["threads"].is_u64(), counters, "{role:?}");
            assert_eq!(full["media_port"]["entries"].is_u64(), counters, "{role:?}");
            assert!(public.get("counters").is_none() && public.get("process").is_none());
        }
    }

    #[tokio::test]
    async fn nobody_is_told_of_a_camera_that_they_may_not_watch() {
        let context = testing::context_of(&["front", "back"]);
        let names = |scope: Scope| {
            let told = Value::Object(full(&context, &principal(Role::Guest, scope)));
            let cameras: Vec<_> =
                told["cameras"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
            (cameras, told.to_string().contains("front"))
        };
        assert_eq!(names(Scope::ALL).0, ["front", "back"]);
        assert_eq!(names(Scope::only(["back".into()])), (vec!["back".into()], false));
        assert_eq!(names(Scope::only([])), (vec![], false));
    }

    #[tokio::test]
    async fn a_lost_camera_is_degraded_but_healthy() {
        let context = testing::context();
        let video = context.status.cameras()[0].video.clone();
        video.change(|v| (v.state, v.reason) = (State::Gone, Some("camera unplugged".into())));
        assert_eq!(health(&context, false).status(), 200);
        assert_eq!(health(&context, true).status(), 503);
    }
}
