//! The web server for browsers and players: HTTP, the page, and signaling by WebSocket and WHEP.
//!
//! | path | methods | what |
//! |---|---|---|
//! | `/`, `/assets/VERSION/page.js`, ... | GET | the page ([`page`]) |
//! | `/api/signal` | GET, upgraded | the page's WebSocket ([`signal`]) |
//! | `/whep`, `/whep/{id}` | POST, PATCH, DELETE, OPTIONS | players ([`whep`]) |
//! | `/api/session`, ... | GET, POST, DELETE | signing in, guest links, privacy ([`api`]) |
//! | `/api/status`, `/healthz` | GET | facts and health ([`status`]) |
//! | `/api/ca.pem` | GET | the device's certificate authority ([`tls`]) |
//! | `/snapshot.jpg?camera=NAME` | GET | one new picture; it counts as demand for one frame |
//!
//! A request passes [`server`] (TLS, limits) and then `routes`, where [`guard`] checks `Host` and `Origin` and
//! [`access`] checks the permission before any route is tried. Errors are `application/problem+json` ([`problem`]),
//! except for those of hyper, which have no body (400 for bytes that are not HTTP, 431 for headers over the limit).

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

pub use server::{Error, Listener, Open, Server, Speaks, bind};

/// The parts of the daemon that the web server uses.
pub struct Context {
    /// All viewers.
    pub registry: Arc<Registry>,
    /// The status of all parts.
    pub status: Arc<Status>,
    /// Authentication.
    pub auth: Arc<auth::Auth>,
    /// All cameras.
    pub cameras: Arc<Cameras>,
    /// The settings that a reload of the configuration may change.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The RTP clocks, for the page's measurement of delay.
    pub clocks: Clocks,
    /// This machine's links, which tell who is a neighbour.
    pub links: Links,
    /// The name announced by mDNS, if any, under which this device is also known.
    pub announced: watch::Receiver<Option<String>>,
}

impl Context {
    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }
}

/// Settings that a reload of the configuration may change; they are replaced as a whole.
pub struct Settings {
    /// `[web]`
    pub web: config::Web,
    /// `[ice]`, passed to browsers and players.
    pub ice: config::Ice,
    /// The certificate; `None` for plain HTTP.
    pub tls: Option<Arc<tls::Tls>>,
    /// The address of the page's listener.
    pub address: SocketAddr,
}

#[cfg(test)]
mod testing;
