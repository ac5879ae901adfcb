//! One viewer's connection as a whole, without I/O and without a clock: what has arrived, what is to be shown and the time go
//! in, datagrams and changes come out. Whoever holds it ([`super::task`], or a test on virtual time) calls [`Session::pass`]
//! after everything that it has handed in, sends what is in [`Session::control`] and [`Session::media`], and comes back when it
//! is [`Session::due`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use super::core::Change;
use super::core::Core;
use super::media::Unit;
use super::port::{Alert, Flight, Mail, Mailbox, is_dtls};
use super::sdp::Playable;
use super::sources::Sources;
use super::wire::{Batch, Extensions, NtpClock, Picture, Sent, Stream, Wire};
use super::{Error, sdp};

/// One viewer's.
pub struct Session {
    core: Core,
    wire: Wire,
    flight: Flight,
    mailbox: Arc<Mailbox>,
    playable: Playable,
    /// Of its streams.
    sources: Sources,
    /// webrtc's answer to the offer in effect.
    answer: String,
    /// ICE and DTLS that is to be sent, and to whom as the core has it.
    control: Vec<(SocketAddr, Bytes)>,
    /// Of each video section, whether the viewer wishes for a keyframe.
    wishes: Vec<bool>,
}

impl Session {
    /// Takes an offer, which [`Self::description`] answers.
    ///
    /// # Errors
    /// webrtc refuses what we wrote ourselves, or the system has no random numbers.
    pub fn answer(
        playable: Playable,
        mailbox: Arc<Mailbox>,
        families: [bool; 2],
        ntp: NtpClock,
        sound: bool,
        now: Instant,
    ) -> Result<Self, Error> {
        let sources = Sources::random()?;
        let (core, answer) = Core::answer(&playable, sources, families, now)?;
        let audio =
            Extensions { transport_wide: playable.audio_extension(sdp::TRANSPORT_CC), playout_delay: None };
        let audio = playable.audio.as_ref().map(|a| Stream::new(sources.audio(), a.payload_type, audio));
        let (wire, flight) = (Wire::new(audio, ntp), Flight::default());
        let (control, wishes) = (vec![], vec![]);
        let mut session = Self { core, wire, flight, mailbox, playable, sources, answer, control, wishes };
        session.begin_pictures(&[], sound);
        Ok(session)
    }

    /// Takes a later offer, which [`Playable::later`] or [`Playable::restarted`] made: an ICE restart, or other sections. What is
    /// sent goes on as it is. `sound` as in [`Self::answer`].
    ///
    /// # Errors
    /// webrtc refuses it; the connection is lost.
    pub fn renegotiate(&mut self, playable: Playable, sound: bool, now: Instant) -> Result<(), Error> {
        let restarts = playable.restarts(&self.playable);
        let before = std::mem::replace(&mut self.playable, playable);
        if restarts {
            self.answer = self.core.renegotiate(&self.playable, now)?;
        }
        self.begin_pictures(&before.pictures, sound);
        Ok(())
    }

    /// The answer to the offer in effect, with our candidates; `complete` if there will be no more.
    ///
    /// # Errors
    /// webrtc's lacks something.
    pub fn description(&self, candidates: &[String], complete: bool) -> Result<String, Error> {
        self.playable.answer(&self.answer, &self.sources, candidates, complete)
    }

    /// Streams for the pictures that `before` had not, or by another source.
    fn begin_pictures(&mut self, before: &[sdp::Picture], sound: bool) {
        for (number, picture) in self.playable.pictures.iter().enumerate() {
            if before.get(number).is_none_or(|before| before.source != picture.source) {
                self.wire.begin(number, self.streams(picture), sound);
            }
        }
        self.wishes.resize(self.playable.pictures.len(), false);
    }

    fn streams(&self, picture: &sdp::Picture) -> Picture {
        let (format, source) = (&self.playable.video, self.sources.picture(picture.source));
        let extensions = Extensions {
            transport_wide: self.playable.video_extension(sdp::TRANSPORT_CC),
            playout_delay: self.playable.video_extension(super::delay::URI),
        };
        Picture {
            video: Stream::new(source.video, format.payload_type, extensions),
            rtx: format.rtx.map(|payload_type| Stream::new(source.rtx, payload_type, extensions)),
            repeats: format.feedback.contains(&"nack"),
        }
    }

    /// The offer in effect.
    pub fn offer(&self) -> &Playable {
        &self.playable
    }

    /// One of the viewer's candidates, a usable one.
    ///
    /// # Errors
    /// It does not follow RFC 8839.
    pub fn add_candidate(&mut self, candidate: &str) -> Result<(), Error> {
        self.core.add_candidate(candidate)
    }

    /// Takes all that has arrived.
    pub fn receive(&mut self, now: Instant) {
        for mail in self.mailbox.clone().take() {
            match mail {
                Mail::Stun(from, datagram) => self.core.read(from, &datagram, now),
                Mail::Dtls(from, datagram) => {
                    self.control.extend(self.flight.arrived(now, &datagram));
                    if let Some(datagram) = self.mailbox.gate().reduce(now, datagram) {
                        self.core.read(from, &datagram, now);
                    }
                }
                Mail::Report(compound) => {
                    self.wire.feedback(&compound, now, |section| self.wishes[section] = true);
                }
                // While it did not hear us, its own wishes did not reach us either.
                Mail::Mended => self.wishes.fill(true),
            }
        }
    }

    /// Sends a picture or a sound.
    pub fn send(&mut self, unit: &Unit, sound: bool) -> Sent {
        self.wire.unit(unit, sound)
    }

    /// Draws all conclusions from what was handed in and what time it is; what has happened.
    pub fn pass(&mut self, now: Instant) -> Vec<Change> {
        let Self { core, wire, flight, mailbox, control, .. } = self;
        let changes = core.pass(now, |to, datagram| {
            if is_dtls(&datagram) {
                flight.sent(now, to, &datagram);
                mailbox.gate().sends(now, &datagram);
            }
            control.push((to, datagram));
        });
        control.extend(flight.timeout(now));
        // The answer to the check that chose a path goes before what is sent by that path: else the other side may not know
        // of it yet, and drop the first flight of DTLS, which then comes again after a second.
        control.sort_by_key(|(_, datagram)| is_dtls(datagram));
        if let Some(keys) = core.keys() {
            if let Err(error) = wire.secure(&keys.ours, now) {
                tracing::warn!(%error, "can't encrypt a viewer's packets");
            }
            mailbox.gate().secure(keys.theirs);
            flight.complete();
        }
        wire.timeout(now);
        changes
    }

    /// Whether the viewer wishes for a keyframe in this video section since this was asked last.
    pub fn wishes_keyframe(&mut self, section: usize) -> bool {
        self.wishes.get_mut(section).is_some_and(std::mem::take)
    }

    /// What of ICE and DTLS is to be sent now, and to whom as webrtc has it.
    pub fn control(&mut self) -> std::vec::Drain<'_, (SocketAddr, Bytes)> {
        self.control.drain(..)
    }

    /// What of media is to be sent now; whoever has sent it clears it.
    pub fn media(&mut self) -> &mut Batch {
        self.wire.batch()
    }

    /// When to pass again at the latest, if nothing comes before.
    pub fn due(&self) -> Option<Instant> {
        [self.core.due(), self.flight.due(), self.wire.due()].into_iter().flatten().min()
    }

    /// What the DTLS handshake failed by, if a side has said so.
    pub fn handshake_failure(&self) -> Option<Alert> {
        self.mailbox.gate().failed()
    }

    /// There is privacy: what was sent in this video section is not sent again.
    pub fn forget(&mut self, section: usize) {
        self.wire.forget(section);
    }

    /// Says goodbye. Nothing may be done with it afterwards but to send what is left.
    pub fn close(&mut self) {
        let control = &mut self.control;
        self.core.close(|to, datagram| control.push((to, datagram)));
    }
}
