//! What the web server knows about each viewer in addition to the registry: the entity-tag of its ICE session (WHEP),
//! and the WebSocket that gets its events.
//!
//! A viewer outlives its socket: while none is attached, events are kept for the next one. One task per viewer forwards
//! the events, ends the viewer when its principal loses access, and forgets it when the registry ends it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::auth::{Auth, Principal, Role};
use crate::viewer::sdp::fragment::{self, Credentials, Skeleton};
use crate::viewer::{Answer, Error, Event, Offer, Registry, ViewerId};

/// Most events that wait for a socket: more than ICE gathering causes. The oldest is dropped for a new one, because the
/// last one (the viewer's end) matters most.
const KEPT: usize = 32;

/// All viewers that joined through the web server.
pub struct Sessions {
    registry: Arc<Registry>,
    auth: Arc<Auth>,
    table: Mutex<HashMap<String, Arc<Session>>>,
}

/// One viewer.
pub struct Session {
    /// Its id in the registry.
    pub id: ViewerId,
    /// The principal that joined; the viewer ends when it loses access.
    pub principal: Principal,
    /// The ICE session. It is locked while a PATCH or a new offer changes it, so that these take effect in the order of
    /// their arrival (tokio's mutex is fair), and an entity-tag always matches the session in the answer.
    pub ice: tokio::sync::Mutex<Ice>,
    ear: Mutex<Ear>,
}

/// The current ICE session of one viewer.
#[derive(Debug)]
pub struct Ice {
    generation: u64,
    /// The viewer's ICE credentials; different ones in a fragment mean a restart.
    pub remote: Option<Credentials>,
    /// The parts of the answer that the answer to a restart repeats.
    pub skeleton: Skeleton,
}

impl Ice {
    fn new(offer: &str, answer: &str) -> Self {
        Self { generation: 1, remote: fragment::credentials(offer), skeleton: Skeleton::of(answer) }
    }

    /// The strong entity-tag of the session (RFC 9110 section 8.8.3): a number, which is unique within its resource.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.generation)
    }

    /// Notes a new ICE session with the viewer's new credentials.
    pub fn restarted(&mut self, remote: Option<Credentials>) {
        self.generation += 1;
        self.remote = remote;
    }

    /// Notes a new ICE session by a new offer and answer.
    pub fn renegotiated(&mut self, offer: &str, answer: &str) {
        *self = Self { generation: self.generation + 1, ..Self::new(offer, answer) };
    }
}

/// A notice to an attached socket.
#[derive(Debug)]
pub enum Notice {
    /// An event of the viewer.
    Event(Event),
    /// Another socket has taken the viewer over.
    TakenOver,
}

#[derive(Default)]
struct Ear {
    socket: Option<mpsc::Sender<Notice>>,
    kept: VecDeque<Event>,
}

impl Session {
    /// Attaches the caller: returns a receiver of this viewer's events, including missed ones. The socket that was
    /// attached before is notified.
    pub fn attach(&self) -> mpsc::Receiver<Notice> {
        let (socket, ear_end) = mpsc::channel(KEPT);
        let mut ear = lock(&self.ear);
        for event in ear.kept.drain(..) {
            let _ = socket.try_send(Notice::Event(event)); // the queue has room for all kept events
        }
        if let Some(before) = ear.socket.replace(socket) {
            let _ = before.try_send(Notice::TakenOver); // if full, it is stuck and its write deadline ends it
        }
        ear_end
    }

    /// Tells the attached socket, or the next one.
    pub(super) fn tell(&self, event: Event) {
        let mut ear = lock(&self.ear);
        if event == Event::Gets {
            // The next status says the same, so it is neither kept nor takes the room of other events.
            if let Some(socket) = ear.socket.as_ref().filter(|socket| socket.capacity() > KEPT / 2) {
                let _ = socket.try_send(Notice::Event(event)); // fails if it is gone
            }
            return;
        }
        if let Some(Ok(place)) = ear.socket.as_ref().map(|s| s.try_reserve()) {
            place.send(Notice::Event(event));
            return;
        }
        // The socket is gone or stuck, and its queue is full. The queue is closed, and the socket that resumes gets
        // this event.
        ear.socket = None;
        if ear.kept.len() == KEPT {
            ear.kept.pop_front();
        }
        ear.kept.push_back(event);
    }
}

impl Sessions {
    /// Starts without viewers.
    pub fn new(registry: Arc<Registry>, auth: Arc<Auth>) -> Arc<Self> {
        Arc::new(Self { registry, auth, table: Mutex::default() })
    }

    /// Joins a viewer to the registry. The work continues if the caller is dropped (because its connection broke), so
    /// that nothing is left half done: the viewer is then ended at once.
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
                let _ = this.registry.leave(&session.id, "it disconnected before it was answered").await;
            }
        });
        // The sender is lost only if that task panicked, which is logged.
        result.await.unwrap_or_else(|_| Err(Error::Internal("the offer could not be handled".into())))
    }

    /// The viewer with this id, if the principal has joined it or is the owner; others don't learn whether it exists.
    /// The principal is compared by its credential, not by its name, because two guest links may have the same label.
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
                        let _ = this.registry.leave(&session.id, why).await; // it may be gone already
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
