//! The other side: a viewer made of webrtc's core alone, on virtual time. It requests retransmissions of
//! missing packets of either stream, repeats its own DTLS flights as browsers do, sends reports, and returns
//! every packet that arrived.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::interceptor::{Interceptor, NackGeneratorBuilder, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::peer_connection::RTCPeerConnectionBuilder;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp_transceiver::RTCRtpTransceiverInit;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpHeaderExtensionCapability, RtpCodecKind};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use webrtc::peer_connection::{
    MediaEngine, RTCIceCandidateInit, RTCPeerConnection, RTCPeerConnectionEvent, RTCPeerConnectionState,
    RTCSessionDescription, Registry, SettingEngineBuilder, configure_rtcp_reports,
    configure_twcc_receiver_only,
};
use webrtc::rtp_transceiver::RTCRtpTransceiverDirection;

use super::super::delay;
use super::super::port::{Flight, is_dtls};

/// Packets that have arrived, in order, after decryption.
type Arrived = Arc<Mutex<Vec<(Instant, Packet)>>>;
/// Which source retransmits which, once known: the source of retransmissions, and that of the picture with
/// its payload type.
type Repeats = Arc<Mutex<HashMap<u32, (u32, u8)>>>;

pub(super) struct Peer {
    connection: RTCPeerConnection,
    /// Its address as seen from outside.
    pub address: SocketAddr,
    /// Its address as its own stack knows it.
    local: SocketAddr,
    arrived: Arrived,
    repeats: Repeats,
    flight: Flight,
    again: Vec<(SocketAddr, Bytes)>,
    pub state: RTCPeerConnectionState,
    due: Option<Instant>,
}

impl Peer {
    /// Creates a viewer that wants this many pictures, and a sound.
    pub(super) fn new(address: SocketAddr, pictures: usize, now: Instant) -> Self {
        let arrived = Arrived::default();
        let repeats = Repeats::default();
        let tap = Tap {
            arrived: arrived.clone(),
            repeats: repeats.clone(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        };
        let mut media = MediaEngine::default();
        media.register_default_codecs().expect("codecs");
        let delay = RTCRtpHeaderExtensionCapability { uri: delay::URI.into() };
        media.register_header_extension(delay, RtpCodecKind::Video, None).expect("an extension");
        let registry = configure_rtcp_reports(Registry::new())
            .with(Slot::from(100), tap)
            .with(Slot::NackGenerator, NackGeneratorBuilder::new().build());
        let registry = configure_twcc_receiver_only(registry, &mut media).expect("transport-cc");
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_connection_attempts(Some(Duration::from_millis(20)), None)
            .build();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .build(now)
            .expect("a peer");
        // The sound's section is between those of the pictures.
        let pictures = std::iter::repeat_n(RtpCodecKind::Video, pictures - 1);
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio].into_iter().chain(pictures) {
            let direction = RTCRtpTransceiverDirection::Recvonly;
            let init = RTCRtpTransceiverInit { direction, ..Default::default() };
            connection.add_transceiver_from_kind(kind, Some(init)).expect("a transceiver");
        }
        let state = RTCPeerConnectionState::New;
        Self {
            connection,
            address,
            local: address,
            arrived,
            repeats,
            flight: Flight::default(),
            again: vec![],
            state,
            due: None,
        }
    }

    /// Its offer, with its address.
    pub(super) fn offer(&mut self, restart: bool, now: Instant) -> String {
        let options = restart.then_some(RTCOfferOptions { ice_restart: true });
        let offer = self.connection.create_offer(options).expect("an offer");
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(now, offer).expect("its own offer");
        let candidate = self.candidate();
        if !restart {
            let candidate = RTCIceCandidateInit { candidate: candidate.clone(), ..Default::default() };
            self.connection.add_local_candidate(candidate).expect("a candidate");
        }
        let line = |l: &str| {
            let own = l.starts_with("a=ice-pwd").then(|| format!("a={candidate}\r\n"));
            format!("{l}\r\n{}", own.unwrap_or_default())
        };
        sdp.lines().filter(|l| !l.starts_with("a=candidate")).map(line).collect()
    }

    fn candidate(&self) -> String {
        format!("candidate:1 1 udp 2130706431 {} {} typ host", self.local.ip(), self.local.port())
    }

    /// Takes an answer in which pictures have this payload type.
    pub(super) fn accept(&mut self, answer: &str, video: u8, now: Instant) {
        let pairs = answer.lines().filter_map(|l| l.strip_prefix("a=ssrc-group:FID ")?.split_once(' '));
        let pairs = pairs.map(|(picture, rtx)| [rtx, picture].map(|n| n.trim().parse().expect("a source")));
        let repeats = pairs.map(|[rtx, picture]| (rtx, (picture, video))).collect();
        *self.repeats.lock().expect("not poisoned") = repeats;
        let answer = RTCSessionDescription::answer(answer.to_owned()).expect("an answer");
        self.connection.set_remote_description(now, answer).expect("a usable answer");
        self.due = Some(now);
    }

    pub(super) fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let again = if is_dtls(bytes) { self.flight.arrived(now, bytes) } else { vec![] };
        self.again.extend(again);
        let _ =
            self.connection.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(bytes) });
        self.events();
        self.due = Some(now);
    }

    /// Returns what it sends.
    pub(super) fn pass(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        self.events();
        if self.due.is_some_and(|due| due <= now) {
            let _ = self.connection.handle_timeout(now);
            self.events();
        }
        while self.connection.poll_read().is_some() {}
        let mut out: Vec<_> = self.again.drain(..).map(|(to, bytes)| (to, bytes.to_vec())).collect();
        while let Some(datagram) = self.connection.poll_write() {
            let (to, bytes) = (datagram.transport.peer_addr, datagram.message.to_vec());
            if is_dtls(&bytes) {
                self.flight.sent(now, to, &bytes);
            }
            out.push((to, bytes));
        }
        if self.state == RTCPeerConnectionState::Connected {
            self.flight.complete();
        }
        out.extend(self.flight.timeout(now).into_iter().map(|(to, bytes)| (to, bytes.to_vec())));
        // Some of its timers are in the past.
        let due = self.connection.poll_timeout().map(|due| due.max(now + Duration::from_millis(1)));
        self.due = [due, self.flight.due()].into_iter().flatten().min();
        out
    }

    fn events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.state = state;
            }
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Closes the connection; returns what that sends.
    pub(super) fn close(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.connection.close().expect("closed");
        let mut out = vec![];
        while let Some(datagram) = self.connection.poll_write() {
            out.push((datagram.transport.peer_addr, datagram.message.to_vec()));
        }
        out
    }

    /// Whether the other side has closed the connection.
    pub(super) fn heard_goodbye(&mut self) -> bool {
        let id = self.connection.get_receivers().next().expect("a receiver");
        let receiver = self.connection.rtp_receiver(id).expect("there");
        receiver.transport().is_some_and(|t| t.state() == RTCDtlsTransportState::Closed)
    }

    /// What has arrived since the previous call.
    pub(super) fn arrived(&self) -> Vec<(Instant, Packet)> {
        std::mem::take(&mut self.arrived.lock().expect("not poisoned"))
    }
}

struct Tap {
    arrived: Arrived,
    repeats: Repeats,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Self::Error> {
        self.arrived.lock().expect("not poisoned").push((msg.now, msg.message.packet.clone()));
        if let Packet::Rtp(packet) = &mut msg.message.packet
            && let Some((picture, video)) =
                self.repeats.lock().expect("not poisoned").get(&packet.header.ssrc)
            && packet.payload.len() > 2
        {
            // RFC 4588 section 4; webrtc would request it again and again.
            let number = packet.payload.split_to(2);
            let header = &mut packet.header;
            header.sequence_number = u16::from_be_bytes([number[0], number[1]]);
            (header.ssrc, header.payload_type) = (*picture, *video);
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Self::Error> {
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
