//! The door for browsers and players: HTTP, the page, signaling by WebSocket and by WHEP.
//!
//! | path | methods | what |
//! |---|---|---|
//! | `/`, `/assets/VERSION/page.js`, ... | GET | the page ([`page`]) |
//! | `/api/signal` | GET, upgraded | the page's WebSocket ([`signal`]) |
//! | `/whep`, `/whep/{id}` | POST, PATCH, DELETE, OPTIONS | players ([`whep`]) |
//! | `/api/session`, ... | GET, POST, DELETE | signing in, guest links, privacy ([`api`]) |
//! | `/api/status`, `/healthz` | GET | facts and health ([`status`]) |
//! | `/api/ca.pem` | GET | the device's certificate authority ([`tls`]) |
//! | `/snapshot.jpg?camera=NAME` | GET | one picture, fresh; it counts as demand for one frame |
//!
//! A request passes [`server`] (TLS, limits), then `routes`, where [`guard`] judges `Host` and `Origin`, and [`access`]
//! who may do that, before any route is looked at; then the route. Errors are `application/problem+json` ([`problem`]),
//! except for what hyper
//! refuses before it is a request (400 for what is no HTTP, 431 for headers over the limit), which has no body.

#![cfg_attr(test, allow(clippy::unwrap_used))] // tests may; the lint still sees everything else when it isn't a test

pub mod access;
pub mod actions;
pub mod api;
pub mod auth;
pub mod body;
pub mod cameras;
pub mod cookies;
pub mod guard;
mod json;
mod limits;
pub mod machine;
pub mod messages;
pub mod pace;
pub mod page;
mod peer;
pub mod places;
pub mod privacy;
pub mod problem;
mod problem_page;
pub mod proxy;
mod qr;
mod query;
mod redirect;
mod routes;
mod script;
mod seats;
pub mod server;
pub mod sessions;
pub mod signal;
pub mod status;
pub mod tls;
pub mod usage;
mod websocket;
pub mod whep;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clocks;
use crate::config;
use crate::net::Links;
use crate::pipeline::camera::Cameras;
use crate::status::Status;
use crate::viewer::Registry;

pub use server::{Door, Error, Open, Server, Speaks, bind};

/// What the web reaches of the rest of the daemon.
pub struct Context {
    /// All viewers.
    pub registry: Arc<Registry>,
    /// What every part is doing.
    pub status: Arc<Status>,
    /// Who may come in.
    pub auth: Arc<auth::Auth>,
    /// What there is to watch.
    pub cameras: Arc<Cameras>,
    /// What a reload of the configuration may change.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What RTP timestamps mean, for the page's measurement of delay.
    pub clocks: Clocks,
    /// The links that this machine is on: who is a neighbour.
    pub links: Links,
    /// The name that mDNS announces, if any: another one of ours.
    pub announced: watch::Receiver<Option<String>>,
}

impl Context {
    /// What holds now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }
}

/// What a reload of the configuration may change, replaced as a whole.
pub struct Settings {
    /// `[web]`
    pub web: config::Web,
    /// `[ice]`, handed to browsers and players.
    pub ice: config::Ice,
    /// The certificate being served; `None` for plain HTTP.
    pub tls: Option<Arc<tls::Tls>>,
    /// Where the page is listened for.
    pub address: SocketAddr,
}

#[cfg(test)]
mod testing;
