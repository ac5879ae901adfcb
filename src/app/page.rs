//! The page's listeners. New ones are opened before the old ones are closed, so that the page stays reachable if a
//! change fails.

use std::net::{SocketAddr, TcpListener};

use tracing::{info, warn};

use crate::config;
use crate::wall::date;
use crate::web::tls::Tls;
use crate::web::{self, Listener, Open, Server, Speaks};

/// A listener, and its address in the configuration (with port 0 the real address differs).
#[derive(Debug)]
struct Bound {
    asked: SocketAddr,
    socket: TcpListener,
}

impl Bound {
    /// Listens on `asked`. If one of `held` already does, its socket is duplicated.
    fn take(asked: SocketAddr, held: &[&Self]) -> Result<Self, web::Error> {
        let copy = held.iter().find(|l| l.asked == asked).and_then(|l| l.socket.try_clone().ok());
        let ours: Vec<_> = held.iter().map(|l| &l.socket).collect();
        let socket = copy.map_or_else(|| web::bind(asked, &ours), Ok)?;
        Ok(Self { asked, socket })
    }
}

/// The listener of the page, and the one that redirects plain HTTP to it, if any.
#[derive(Debug)]
pub(super) struct Listeners {
    page: Bound,
    redirect: Option<Bound>,
    address: SocketAddr,
}

impl Listeners {
    /// Opens the listeners of `web`. `before`: the current listeners and their configuration, if there are any.
    ///
    /// The redirect is only a convenience: if its port is taken, the daemon starts anyway. A reload that changes the
    /// port does fail.
    ///
    /// # Errors
    /// If the daemon can't listen on an address.
    pub(super) fn take(web: &config::Web, before: Option<(&Self, &config::Web)>) -> Result<Self, web::Error> {
        let held = before.map(|(listeners, _)| listeners.all()).unwrap_or_default();
        let page = Bound::take((web.address, web.port).into(), &held)?;
        let address = page.socket.local_addr().unwrap_or(page.asked);
        let asked = redirect(web);
        let taken = match asked.map(|asked| Bound::take(asked, &held)).transpose() {
            Err(e) if before.is_some_and(|(_, old)| asked != redirect(old)) => return Err(e),
            Err(e) => {
                warn!("plain HTTP is not redirected to HTTPS: {e}");
                None
            }
            Ok(taken) => taken,
        };
        Ok(Self { page, redirect: taken, address })
    }

    /// The page's address, with its real port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn all(&self) -> Vec<&Bound> {
        [&self.page].into_iter().chain(&self.redirect).collect()
    }

    fn to_serve(&self, tls: Option<&Tls>) -> std::io::Result<Vec<Listener>> {
        let speaks = tls.map_or(Speaks::Plain, |tls| Speaks::Tls(tls.config()));
        let mut all = vec![Listener { listener: self.page.socket.try_clone()?, speaks }];
        if let Some(redirect) = &self.redirect {
            let speaks = Speaks::Redirect(self.address.port());
            all.push(Listener { listener: redirect.socket.try_clone()?, speaks });
        }
        Ok(all)
    }
}

fn redirect(web: &config::Web) -> Option<SocketAddr> {
    (web.tls != config::Tls::Off && web.http_port != 0).then(|| (web.address, web.http_port).into())
}

/// The server and its listeners.
pub(super) struct Page {
    server: Server,
    listeners: Listeners,
    doors: Vec<Open>,
}

impl Page {
    /// Starts to serve on `listeners`.
    ///
    /// # Errors
    /// If a listener can't be used.
    pub(super) fn open(server: Server, listeners: Listeners, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let doors = open(&server, &listeners, tls)?;
        Ok(Self { server, listeners, doors })
    }

    /// The current listeners.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Starts to serve on the new `listeners`, then closes the old ones.
    ///
    /// # Errors
    /// If a listener can't be used; then nothing has changed.
    pub(super) async fn move_to(&mut self, listeners: Listeners, tls: Option<&Tls>) -> anyhow::Result<()> {
        let doors = open(&self.server, &listeners, tls)?;
        self.listeners = listeners;
        for door in std::mem::replace(&mut self.doors, doors) {
            door.close().await;
        }
        Ok(())
    }

    /// Waits until the server has been stopped and all connections have ended.
    pub(super) async fn ended(&self) {
        self.server.ended().await;
    }
}

fn open(server: &Server, listeners: &Listeners, tls: Option<&Tls>) -> anyhow::Result<Vec<Open>> {
    let doors = listeners.to_serve(tls)?.into_iter().map(|door| server.open(door));
    let doors = doors.collect::<Result<_, _>>()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    info!("listening on {scheme}://{}", listeners.address);
    if let Some(facts) = tls.map(Tls::facts) {
        let (until, whose) = (date(facts.not_after), facts.kind.fingerprint_of());
        info!("certificate until {until}; SHA-256 of {whose}: {}", facts.fingerprint);
    }
    Ok(doors)
}
