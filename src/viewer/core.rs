//! webrtc's core for one viewer: SDP, ICE and DTLS. It does no I/O and has no clock: its owner passes in what
//! has arrived and the current time, and sends what comes out. Media does not pass through it (see
//! [`super::wire`]).
//!
//! The order within [`Core::pass`] matters: the core queues data while it reports events, and returns them
//! only after its next read or timeout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use webrtc::peer_connection::{
    RTCIceCandidateInit, RTCIceConnectionState, RTCPeerConnection, RTCPeerConnectionEvent as CoreEvent,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngine, SettingEngineBuilder,
};
use webrtc::rtp_transceiver::RTCRtpTransceiverDirection;

use super::Error;
use super::codecs;
use super::keys::{self, Keys, Learned};
use super::nomination::Nomination;
use super::sdp::Playable;
use super::sources::Sources;

/// Time between connectivity checks. webrtc's own 200 ms would add as much to the time until the first
/// picture.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Silence after which ICE reports the viewer as disconnected, and as failed, and the time between consent
/// checks (RFC 7675 requires one every 5 s; media does not count as consent). From such a check a browser
/// learns a new address of this device, when the socket for the old one is gone.
const ICE_DISCONNECTED: Duration = Duration::from_secs(5);
const ICE_FAILED: Duration = Duration::from_secs(25);
const ICE_KEEPALIVE: Duration = Duration::from_secs(1);
/// Longest time between two passes while a connection is stable. The core asks to be called every 200 ms
/// (`rtc_ice` 0.21), but has something to do only every [`ICE_KEEPALIVE`].
const CALM: Duration = Duration::from_millis(500);
/// Our sockets as the core knows them. The viewer is told the port's candidates.
const SOCKETS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 9),
];

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// ICE has chosen a path: media goes to this address.
    Selected(SocketAddr),
    /// The state of the connection has changed.
    State(RTCPeerConnectionState),
    /// The viewer has closed the connection (DTLS close_notify, RFC 5246 section 7.2.1).
    Goodbye,
}

/// A viewer's connection.
pub(super) struct Core {
    connection: RTCPeerConnection,
    learned: Learned,
    /// The sender whose transport tells the state of the connection.
    sender: RTCRtpSenderId,
    /// Whether the connection is stable: no path is being looked for.
    calm: bool,
    goodbye: bool,
    nomination: Nomination,
    /// Whether anything has arrived since the last pass.
    fed: bool,
    due: Option<Instant>,
    changes: Vec<Change>,
}

impl Core {
    /// Answers an offer, on a port that has these families (IPv4, IPv6). Returns webrtc's answer.
    ///
    /// # Errors
    /// webrtc refuses the offer that we wrote for it.
    pub(super) fn answer(
        playable: &Playable,
        sources: Sources,
        families: [bool; 2],
        now: Instant,
    ) -> Result<(Self, String), Error> {
        let (crypto, learned) = keys::provider().map_err(internal)?;
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(codecs::media_engine(playable).map_err(internal)?)
            .with_setting_engine(settings(crypto))
            // Empty, and it must stay so: a second sealer of RTCP beside ours would use each packet number
            // twice.
            .with_interceptor_registry(Registry::new())
            .build(now)
            .map_err(internal)?;
        offer(&mut connection, playable, now)?;
        // Only now: a track added earlier gets default extension identifiers, not those of the offer.
        let video = codecs::video_track(playable, sources.picture(0).video);
        let sender = connection.add_track(video).map_err(internal)?;
        if let Some(audio) = &playable.audio {
            connection.add_track(codecs::audio_track(audio, sources.audio())).map_err(internal)?;
        }
        let answer = accept(&mut connection, now)?;
        for (socket, _) in SOCKETS.iter().zip(families).filter(|(_, has)| *has) {
            let candidate =
                format!("candidate:1 1 udp 2130706431 {} {} typ host", socket.ip(), socket.port());
            let candidate = RTCIceCandidateInit { candidate, ..Default::default() };
            connection.add_local_candidate(candidate).map_err(internal)?;
        }
        let core = Self {
            connection,
            learned,
            sender,
            calm: false,
            goodbye: false,
            nomination: Nomination::default(),
            fed: true,
            due: None,
            changes: vec![],
        };
        Ok((core, answer))
    }

    /// Answers a later offer on the same connection, which comes from [`Playable::later`] and restarts ICE.
    ///
    /// # Errors
    /// As for [`Self::answer`]; the connection is lost then, because webrtc can't undo a half-applied offer.
    pub(super) fn renegotiate(&mut self, playable: &Playable, now: Instant) -> Result<String, Error> {
        (self.calm, self.fed) = (false, true);
        offer(&mut self.connection, playable, now)?;
        accept(&mut self.connection, now)
    }

    /// Adds a candidate of the viewer that [`super::sdp::usable_candidate`] accepted.
    ///
    /// # Errors
    /// webrtc does not accept it.
    pub(super) fn add_candidate(&mut self, candidate: &str) -> Result<(), Error> {
        self.fed = true;
        let candidate = RTCIceCandidateInit { candidate: candidate.to_owned(), ..Default::default() };
        self.connection.add_remote_candidate(candidate).map_err(|error| {
            tracing::debug!(%error, "rejected a viewer's candidate");
            Error::BadOffer("the candidate does not follow RFC 8839".into())
        })
    }

    /// STUN or DTLS has arrived from this address.
    pub(super) fn read(&mut self, from: SocketAddr, datagram: &Bytes, now: Instant) {
        self.fed = true;
        self.hand(from, datagram, now);
        if !self.calm
            && let Some(check) = self.nomination.read(from, datagram)
        {
            self.hand(from, &check, now);
        }
    }

    fn hand(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let transport = TransportContext {
            local_addr: SOCKETS[usize::from(from.is_ipv6())],
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = BytesMut::from(datagram);
        if let Err(error) = self.connection.handle_read(TaggedBytesMut { now, transport, message }) {
            tracing::debug!(%error, "webrtc rejected a datagram");
        }
        // Before the next datagram: DTLS must know a path that this one has chosen.
        self.events();
    }

    /// Processes what was read and the passing of time, if there is anything to do. Calls `send` for each
    /// datagram to send.
    pub(super) fn pass(&mut self, now: Instant, mut send: impl FnMut(SocketAddr, Bytes)) -> Vec<Change> {
        if !std::mem::take(&mut self.fed) && self.due.is_none_or(|due| now < due) {
            return vec![];
        }
        self.events();
        if let Err(error) = self.connection.handle_timeout(now) {
            tracing::debug!(%error, "webrtc's timers failed");
        }
        self.events();
        if !self.goodbye && self.is_closed_by_viewer() {
            self.goodbye = true;
            self.changes.push(Change::Goodbye);
        }
        self.drain(&mut send);
        let due = self.connection.poll_timeout();
        self.due = if self.calm { due.map(|due| due.max(now + CALM)) } else { due };
        std::mem::take(&mut self.changes)
    }

    fn events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                CoreEvent::OnConnectionStateChangeEvent(state) => {
                    self.calm &= state == RTCPeerConnectionState::Connected;
                    self.changes.push(Change::State(state));
                }
                CoreEvent::OnIceConnectionStateChangeEvent(RTCIceConnectionState::Connected) => {
                    self.calm = true;
                    let selected = self.selected().map(Change::Selected);
                    self.changes.extend(selected);
                }
                _ => {}
            }
        }
    }

    fn selected(&mut self) -> Option<SocketAddr> {
        let sender = self.connection.rtp_sender(self.sender)?;
        let pair = sender.transport()?.ice_transport().get_selected_candidate_pair()?;
        let remote = pair.remote();
        Some(SocketAddr::new(remote.address.parse().ok()?, remote.port))
    }

    /// webrtc reports no event for this, and its connection state does not change.
    fn is_closed_by_viewer(&mut self) -> bool {
        let sender = self.connection.rtp_sender(self.sender);
        sender.is_some_and(|s| s.transport().is_some_and(|t| t.state() == RTCDtlsTransportState::Closed))
    }

    /// The keys, once, after the pass that completed the DTLS handshake.
    pub(super) fn keys(&self) -> Option<Keys> {
        self.learned.take()
    }

    /// The latest time for the next pass.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Closes the connection; it must not be used afterwards.
    pub(super) fn close(&mut self, mut send: impl FnMut(SocketAddr, Bytes)) {
        if let Err(error) = self.connection.close() {
            tracing::debug!(%error, "a connection did not close");
        }
        self.drain(&mut send);
    }

    fn drain(&mut self, send: &mut impl FnMut(SocketAddr, Bytes)) {
        while let Some(datagram) = self.connection.poll_write() {
            send(datagram.transport.peer_addr, datagram.message.freeze());
        }
    }
}

fn offer(connection: &mut RTCPeerConnection, playable: &Playable, now: Instant) -> Result<(), Error> {
    // We wrote this offer, so an error in it is not the viewer's.
    let offer = RTCSessionDescription::offer(playable.offer()).map_err(internal)?;
    connection.set_remote_description(now, offer).map_err(internal)
}

fn accept(connection: &mut RTCPeerConnection, now: Instant) -> Result<String, Error> {
    // We never receive media.
    for id in connection.get_transceivers().collect::<Vec<_>>() {
        if let Some(mut transceiver) = connection.rtp_transceiver(id) {
            transceiver.set_direction(RTCRtpTransceiverDirection::Sendonly);
        }
    }
    let answer = connection.create_answer(None).map_err(internal)?;
    let sdp = answer.sdp.clone();
    connection.set_local_description(now, answer).map_err(internal)?;
    Ok(sdp)
}

fn settings(crypto: std::sync::Arc<dyn rtc::crypto::RTCCryptoProvider>) -> SettingEngine {
    SettingEngineBuilder::new()
        .with_crypto_provider(crypto)
        // mDNS queries would need a socket on port 5353 for each viewer, and a multicast route.
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), None)
        .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEPALIVE))
        .build()
}

/// Logs webrtc's error, and returns one that people understand.
fn internal(error: impl std::fmt::Display) -> Error {
    tracing::warn!(%error, "a viewer's connection could not be set up");
    Error::Internal("the connection could not be set up; the device's journal says why".into())
}

#[cfg(test)]
mod tests {
    use super::super::port::is_dtls;
    use super::super::sdp;
    use super::*;
    use crate::media::h264::ProfileLevelId;
    use crate::net::stun::tests::{key, request, signed_response};
    use crate::net::stun::{Class, Message};

    /// Chromium nominates with its first check, and hides its addresses until then.
    #[test]
    fn who_nominates_with_the_first_check_is_answered_and_gets_dtls_after_one_round_trip() {
        let now = Instant::now();
        let viewer = SocketAddr::from(([198, 51, 100, 7], 40_000));
        let offer = include_str!("../../tests/data/offer-chromium-156.sdp");
        let playable = sdp::check(offer, ProfileLevelId([0x42, 0xc0, 0x1f]), &[None]).expect("playable");
        let sources = Sources::random().expect("numbers");
        let (mut core, answer) = Core::answer(&playable, sources, [true; 2], now).expect("an answer");
        let of = |sdp: &str, name: &str| {
            let line = sdp.lines().find_map(|l| l.strip_prefix(name)).expect("in every description");
            line.trim().to_owned()
        };
        let [(our_ufrag, our_pwd), (ufrag, pwd)] =
            [&answer[..], offer].map(|sdp| (of(sdp, "a=ice-ufrag:"), of(sdp, "a=ice-pwd:")));
        let pass = |core: &mut Core| {
            let mut sent = vec![];
            let changes = core.pass(now, |to, datagram| sent.push((to, datagram)));
            assert!(sent.iter().all(|(to, _)| *to == viewer));
            (changes, sent.into_iter().map(|(_, datagram)| datagram).collect::<Vec<_>>())
        };
        pass(&mut core);
        let check = request([7; 12], &format!("{our_ufrag}:{ufrag}"), &key(&our_pwd), true);
        core.read(viewer, &check.into(), now);
        let (_, sent) = pass(&mut core);
        let own = sent.iter().filter_map(|d| Message::parse(d)).find(|m| m.class == Class::Request);
        core.read(viewer, &signed_response(own.expect("a check of ours").id(), &key(&pwd)).into(), now);
        let (changes, sent) = pass(&mut core);
        assert!(changes.contains(&Change::Selected(viewer)), "{changes:?}");
        let answers =
            |d: &Bytes| Message::parse(d).is_some_and(|m| m.class == Class::Response && m.id() == [7; 12]);
        assert_eq!(sent.iter().filter(|d| answers(d)).count(), 1);
        assert!(sent.iter().any(|d| is_dtls(d)), "the first flight");
    }

    #[test]
    fn no_sentence_of_webrtc_reaches_a_person() {
        let told = super::internal("ErrSDPZeroTransceivers: nothing to negotiate").to_string();
        assert_eq!(told, "the connection could not be set up; the device's journal says why");
    }
}
