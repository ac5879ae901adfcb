//! A viewer's whole connection, without I/O and clock: what has arrived, what is to be shown and the time go
//! in, datagrams and changes come out. Its owner ([`super::task`], or a test on virtual time) calls
//! [`Session::pass`] after everything that it has passed in, sends what is in [`Session::control`] and
//! [`Session::media`], and comes back at [`Session::due`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::cc::{Figures, Share};
pub(super) use super::core::Change;
use super::core::Core;
use super::media::Unit;
use super::port::{Alert, Flight, Mail, Mailbox, is_dtls};
use super::sdp::Playable;
use super::sources::Sources;
use super::starts::GUESS_BPS;
use super::wire::{Batch, Extensions, NtpClock, Picture, Sent, Stream, Wire};
use super::{Error, sdp};

/// A viewer's session.
pub(super) struct Session {
    core: Core,
    wire: Wire,
    flight: Flight,
    mailbox: Arc<Mailbox>,
    playable: Playable,
    /// The SSRCs of its streams.
    sources: Sources,
    /// webrtc's answer to the current offer.
    answer: String,
    /// ICE and DTLS datagrams to send, with the destinations that the core knows.
    control: Vec<(SocketAddr, Bytes)>,
    /// For each video section, whether the viewer has requested a keyframe.
    wishes: Vec<bool>,
    /// The first estimate of the link, in bits per second.
    start_bps: f64,
}

impl Session {
    /// Takes an offer, which [`Self::description`] answers.
    ///
    /// # Errors
    /// webrtc refuses the offer that we wrote for it, or the system has no random numbers.
    pub(super) fn answer(
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
            Extensions { transport_wide: playable.audio_extension(sdp::TRANSPORT_CC), ..Default::default() };
        let audio = playable.audio.as_ref().map(|a| Stream::new(sources.audio(), a.payload_type, audio));
        let reports = playable.video_extension(sdp::TRANSPORT_CC).is_some();
        let (wire, flight) = (Wire::new(audio, ntp, reports), Flight::default());
        let (control, wishes, start_bps) = (vec![], vec![], GUESS_BPS);
        let mut session =
            Self { core, wire, flight, mailbox, playable, sources, answer, control, wishes, start_bps };
        session.begin_pictures(&[], sound);
        Ok(session)
    }

    /// Takes a later offer, from [`Playable::later`] or [`Playable::restarted`]: an ICE restart, or different
    /// sections. Present streams continue. `sound` is as for [`Self::answer`].
    ///
    /// # Errors
    /// webrtc refuses it; the connection is lost.
    pub(super) fn renegotiate(&mut self, playable: Playable, sound: bool, now: Instant) -> Result<(), Error> {
        let restarts = playable.restarts(&self.playable);
        let before = std::mem::replace(&mut self.playable, playable);
        if restarts {
            self.answer = self.core.renegotiate(&self.playable, now)?;
        }
        self.begin_pictures(&before.pictures, sound);
        Ok(())
    }

    /// The answer to the current offer, with our candidates; `complete` if there will be no more.
    ///
    /// # Errors
    /// webrtc's answer lacks something.
    pub(super) fn description(&self, candidates: &[String], complete: bool) -> Result<String, Error> {
        self.playable.answer(&self.answer, &self.sources, candidates, complete)
    }

    /// Begins streams for pictures that are not in `before`, or had a different source there.
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
            send_time: self.playable.video_extension(sdp::SEND_TIME),
            playout_delay: self.playable.video_extension(super::delay::URI),
        };
        Picture {
            video: Stream::new(source.video, format.payload_type, extensions),
            rtx: format.rtx.map(|payload_type| Stream::new(source.rtx, payload_type, extensions)),
            repeats: format.feedback.contains(&"nack"),
        }
    }

    /// The current offer.
    pub(super) fn offer(&self) -> &Playable {
        &self.playable
    }

    /// Sets the first estimate of the link, in bits per second; for a new connection, before the next pass.
    pub(super) fn start_with(&mut self, bps: f64) {
        self.start_bps = bps;
    }

    /// Adds a usable candidate of the viewer.
    ///
    /// # Errors
    /// It does not follow RFC 8839.
    pub(super) fn add_candidate(&mut self, candidate: &str) -> Result<(), Error> {
        self.core.add_candidate(candidate)
    }

    /// Processes everything that has arrived.
    pub(super) fn receive(&mut self, now: Instant) {
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
                // While the viewer did not receive our packets, its own keyframe requests did not reach us
                // either.
                Mail::Mended => self.wishes.fill(true),
            }
        }
    }

    /// Sends a picture or a sound packet, as soon as the link can carry it.
    pub(super) fn send(&mut self, unit: &Unit, sound: bool, now: Instant) {
        self.wire.unit(unit, sound, now);
    }

    /// The TCP connection to the viewer holds this many bytes that have not arrived; `None` over UDP.
    pub(super) fn unsent(&mut self, bytes: Option<usize>) {
        self.wire.unsent(bytes);
    }

    /// What was sent since the previous call.
    pub(super) fn take_sent(&mut self) -> Sent {
        self.wire.take_sent()
    }

    /// What the pictures may use, if they could use this many bits, and come this many times, a second at most;
    /// `None` before there are keys.
    pub(super) fn share(&mut self, most: (f64, f64), now: Instant) -> Option<Share> {
        self.wire.share(most, now)
    }

    /// How much the viewer could use of the device's upload, in bits per second.
    pub(super) fn useful_bps(&self) -> f64 {
        self.wire.useful_bps()
    }

    /// Limits what is sent, in bits per second; `None`: only the link does.
    pub(super) fn limit(&mut self, bps: Option<f64>) {
        self.wire.limit(bps);
    }

    /// Whether pictures of this video section were dropped because the link is too slow, so that only a keyframe
    /// can follow.
    pub(super) fn is_broken(&self, section: usize) -> bool {
        self.wire.is_broken(section)
    }

    /// The viewer's link; `None` before there are keys.
    pub(super) fn link(&self, now: Instant) -> Option<Figures> {
        self.wire.link(now)
    }

    /// Processes everything that was passed in and the passing of time; returns what has happened.
    pub(super) fn pass(&mut self, now: Instant) -> Vec<Change> {
        let Self { core, wire, flight, mailbox, control, start_bps, .. } = self;
        let changes = core.pass(now, |to, datagram| {
            if is_dtls(&datagram) {
                flight.sent(now, to, &datagram);
                mailbox.gate().sends(now, &datagram);
            }
            control.push((to, datagram));
        });
        control.extend(flight.timeout(now));
        // The answer to the check that chose a path must be sent before other data on that path: otherwise
        // the other side may not know the path yet and drop the first flight of DTLS, which is repeated only
        // after a second.
        control.sort_by_key(|(_, datagram)| is_dtls(datagram));
        if let Some(keys) = core.keys() {
            if let Err(error) = wire.secure(&keys.ours, *start_bps, now) {
                tracing::warn!(%error, "can't encrypt a viewer's packets");
            }
            mailbox.gate().secure(keys.theirs);
            flight.complete();
        }
        wire.timeout(now);
        changes
    }

    /// Whether the viewer has requested a keyframe in this video section since the previous call.
    pub(super) fn wishes_keyframe(&mut self, section: usize) -> bool {
        self.wishes.get_mut(section).is_some_and(std::mem::take)
    }

    /// The ICE and DTLS datagrams to send now, with the destinations that webrtc knows.
    pub(super) fn control(&mut self) -> std::vec::Drain<'_, (SocketAddr, Bytes)> {
        self.control.drain(..)
    }

    /// The media to send now; the caller clears it after sending.
    pub(super) fn media(&mut self) -> &mut Batch {
        self.wire.batch()
    }

    /// When media that waits may be sent.
    pub(super) fn media_due(&self) -> Option<Instant> {
        self.wire.due()
    }

    /// The latest time for the next pass, if nothing arrives before.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.core.due(), self.flight.due(), self.wire.due()].into_iter().flatten().min()
    }

    /// The alert by which the DTLS handshake failed, if either side has sent one.
    pub(super) fn handshake_failure(&self) -> Option<Alert> {
        self.mailbox.gate().failed()
    }

    /// Privacy was switched on: nothing that was passed in before for this video section is sent any more.
    pub(super) fn forget(&mut self, section: usize) {
        self.wire.forget(section);
    }

    /// Closes the connection. After that, only what is left may be sent.
    pub(super) fn close(&mut self) {
        let control = &mut self.control;
        self.core.close(|to, datagram| control.push((to, datagram)));
    }
}
