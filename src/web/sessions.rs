//! What the web knows of each viewer besides the registry: its ICE session's entity-tag (WHEP), and which
//! WebSocket hears of its events.
//!
//! A viewer outlives the socket that made it: while none is attached, events are kept for the next. One task
//! a viewer carries them over, ends the viewer when who joined it loses access, and forgets it when the registry ends it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::auth::{Auth, Principal, Role};
use crate::viewer::sdp::fragment::{self, Credentials, Skeleton};
use crate::viewer::{Answer, Error, Event, Offer, Registry, ViewerId};

/// Events that wait for a socket. More than an ICE gathering yields; when full the oldest goes, because the newest
/// (that it ended) matters most.
const KEPT: usize = 32;

/// All viewers that came through the web.
pub struct Sessions {
    registry: Arc<Registry>,
    auth: Arc<Auth>,
    table: Mutex<HashMap<String, Arc<Session>>>,
}

/// One viewer.
pub struct Session {
    /// Its name in the registry.
    pub id: ViewerId,
    /// Who joined: when they lose access, it ends.
    pub principal: Principal,
    /// Its ICE session. Held while a PATCH or a new offer changes it, so that these take effect in the order in
    /// which they arrived (tokio's mutex is fair) and a tag always names the session that the answer told of.
    pub ice: tokio::sync::Mutex<Ice>,
    ear: Mutex<Ear>,
}

/// The current ICE session of one viewer.
#[derive(Debug)]
pub struct Ice {
    generation: u64,
    /// The viewer's credentials: others in a fragment mean a restart.
    pub remote: Option<Credentials>,
    /// What a restart's answer repeats.
    pub skeleton: Skeleton,
}

impl Ice {
    fn new(offer: &str, answer: &str) -> Self {
        Self { generation: 1, remote: fragment::credentials(offer), skeleton: Skeleton::of(answer) }
    }

    /// The strong entity-tag that names it (RFC 9110 section 8.8.3): a number is unique enough within its resource.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.generation)
    }

    /// The viewer's new credentials were accepted: a new ICE session.
    pub fn restarted(&mut self, remote: Option<Credentials>) {
        self.generation += 1;
        self.remote = remote;
    }

    /// The same by a whole new offer and answer.
    pub fn renegotiated(&mut self, offer: &str, answer: &str) {
        *self = Self { generation: self.generation + 1, ..Self::new(offer, answer) };
    }
}

/// What an attached socket is told.
#[derive(Debug)]
pub enum Told {
    /// Something happened to its viewer.
    Event(Event),
    /// Another socket took the viewer over.
    TakenOver,
}

#[derive(Default)]
struct Ear {
    socket: Option<mpsc::Sender<Told>>,
    kept: VecDeque<Event>,
}

impl Session {
    /// Sends this viewer's events to the caller from now on, with what was missed; who heard them before is told.
    pub fn attach(&self) -> mpsc::Receiver<Told> {
        let (socket, ear_end) = mpsc::channel(KEPT);
        let mut ear = lock(&self.ear);
        for event in ear.kept.drain(..) {
            let _ = socket.try_send(Told::Event(event)); // has room: as many places as are kept
        }
        if let Some(before) = ear.socket.replace(socket) {
            let _ = before.try_send(Told::TakenOver); // if full, it is stuck and its write deadline ends it
        }
        ear_end
    }

    fn tell(&self, event: Event) {
        let mut ear = lock(&self.ear);
        if let Some(Ok(place)) = ear.socket.as_ref().map(|s| s.try_reserve()) {
            place.send(Told::Event(event));
            return;
        }
        // It is gone, or stuck for as many events as are kept. Its end of the queue ends, and the one that resumes
        // hears of this.
        ear.socket = None;
        if ear.kept.len() == KEPT {
            ear.kept.pop_front();
        }
        ear.kept.push_back(event);
    }
}

impl Sessions {
    /// None yet.
    pub fn new(registry: Arc<Registry>, auth: Arc<Auth>) -> Arc<Self> {
        Arc::new(Self { registry, auth, table: Mutex::default() })
    }

    /// Joins a viewer to the registry. The work goes on if the caller is dropped meanwhile (its connection broke),
    /// so that nothing half-made is left behind: the viewer is then ended at once.
    pub async fn join(
        self: &Arc<Self>,
        principal: &Principal,
        offer: Offer,
    ) -> Result<(Arc<Session>, String), Error> {
        let (done, result) = oneshot::channel();
        let (this, principal) = (self.clone(), principal.clone());
        tokio::spawn(async move {
            let offered = offer.sdp.clone();
            let joined = this.registry.join(offer).await.map(|Answer { id, sdp, events }| {
                let session = Arc::new(Session {
                    ice: tokio::sync::Mutex::new(Ice::new(&offered, &sdp)),
                    id,
                    principal,
                    ear: Mutex::default(),
                });
                this.watch(session.clone(), events);
                (session, sdp)
            });
            if let Err(Ok((session, _))) = done.send(joined) {
                let _ = this.registry.leave(&session.id, "it went away before it was answered").await;
            }
        });
        // The sender is lost only if that task panicked, which the log tells.
        result.await.unwrap_or_else(|_| Err(Error::Internal("the offer could not be handled".into())))
    }

    /// The viewer of that name, if it is there, for who joined it or the owner: others are told nothing. Who joined is known
    /// by the credential, not by its name: two guest links may have the same label.
    pub fn get(&self, id: &str, principal: &Principal) -> Option<Arc<Session>> {
        let session = lock(&self.table).get(id).cloned();
        session.filter(|s| s.principal.key == principal.key || principal.role == Role::Owner)
    }

    fn watch(self: &Arc<Self>, session: Arc<Session>, mut events: mpsc::Receiver<Event>) {
        let key = session.id.as_str().to_owned();
        lock(&self.table).insert(key.clone(), session.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let mut closed = false;
            let mut lost = Box::pin(this.auth.lost(&session.principal));
            let mut ending = false;
            loop {
                tokio::select! {
                    event = events.recv() => {
                        let Some(event) = event else { break };
                        closed |= matches!(event, Event::Closed(_));
                        session.tell(event);
                    }
                    why = &mut lost, if !ending => {
                        ending = true;
                        let _ = this.registry.leave(&session.id, why).await; // gone already is as good
                    }
                }
            }
            drop(lost);
            lock(&this.table).remove(&key);
            if !closed {
                session.tell(Event::Closed("the connection ended".into()));
            }
        });
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
