//! One WebRTC connection: made by answering an offer, fed RTP, and always closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rtc::crypto::RTCCryptoProvider;
use rtc::interceptor::SenderReportBuilder;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX};
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use tokio::sync::{Notify, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::transport::DtlsTransport;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngine, SettingEngineBuilder, Slot,
    configure_twcc_sender_only,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RtpSender};

use super::port::{Alert, Gathered, Line, LineRuntime, Progress};
use super::rtcp::{self, NtpClock, Rtcp};
use super::sdp::{self, Playable};
use super::{Error, delay, keys};
use crate::clock::{AUDIO_HZ, Clocks, VIDEO_HZ};

/// Between connectivity checks. webrtc's own 200 ms would cost that much of the time to the first picture.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Silence after which ICE says disconnected, and failed, and how often it asks (RFC 7675 wants a consent check
/// every 5 s at least; media itself does not count as consent). By such a question a browser learns of an address of ours
/// that is new, where the socket to it is gone with the old one.
const ICE_DISCONNECTED: Duration = Duration::from_secs(5);
const ICE_FAILED: Duration = Duration::from_secs(25);
const ICE_KEEPALIVE: Duration = Duration::from_secs(1);
/// Browsers need two reports of each stream for lip sync.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// What is the same for all connections.
pub struct Setup {
    /// Clocks of the two streams.
    pub clocks: Clocks,
    /// Wall clock for sender reports.
    pub ntp: NtpClock,
}

/// One connection. Dropping it closes it in the background; [`Peer::close`] waits.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    closed: bool,
    /// Set when nothing that was sent may be sent again.
    forget: Arc<AtomicBool>,
    playable: Playable,
    line: Line,
    video: Stream,
    audio: Option<Stream>,
    dtls: Option<Arc<dyn DtlsTransport>>,
    /// Connectivity as webrtc sees it; only the newest counts.
    pub state: watch::Receiver<RTCPeerConnectionState>,
    /// A permit waits here while the viewer wishes for a keyframe.
    pub wish: Arc<Notify>,
    /// The media section that our candidates belong to.
    pub mid: String,
}

/// One RTP stream to one viewer.
struct Stream {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    /// Identifier of the playout-delay extension, if negotiated.
    delay_id: Option<u8>,
}

/// webrtc calls this from its driver, so nothing here may wait.
struct Callbacks {
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait]
impl PeerConnectionEventHandler for Callbacks {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }
}

impl Peer {
    /// Answers an offer, through a line of its own and with these candidates.
    pub async fn answer(
        playable: Playable,
        line: Line,
        gathered: &Gathered,
        setup: &Setup,
    ) -> Result<(Self, String), Error> {
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let callbacks = Callbacks { state: state_tx };
        // While the viewer does not hear us, its own wishes do not reach us either.
        let wish = line.mended();
        let [video_ssrc, audio_ssrc, rtx_ssrc] = ssrcs()?;

        let mut media = codecs(&playable).map_err(internal)?;
        let interceptor = Rtcp::new(video_ssrc, audio_ssrc, setup.clocks, setup.ntp, wish.clone());
        let forget = interceptor.forget();
        let registry = Registry::new()
            .with(Slot::SenderReport, SenderReportBuilder::new().with_interval(REPORT_INTERVAL).build())
            .with(rtcp::SLOT, interceptor);
        let registry = configure_twcc_sender_only(registry, &mut media).map_err(internal)?;
        let secured = line.clone();
        let crypto = keys::provider(move |master| secured.secure(master)).map_err(internal)?;
        let runtime = LineRuntime::new(line.clone());
        let addresses = runtime.addresses();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_runtime(runtime)
                .with_media_engine(media)
                .with_setting_engine(settings(crypto))
                .with_interceptor_registry(registry)
                .with_handler(Arc::new(callbacks))
                .with_udp_addrs(addresses)
                .build()
                .await
                .map_err(internal)?,
        );
        let video = Stream::new(RtpCodecKind::Video, video_ssrc, Some(rtx_ssrc), &playable);
        let audio =
            playable.audio.is_some().then(|| Stream::new(RtpCodecKind::Audio, audio_ssrc, None, &playable));
        let mut peer = Self {
            connection,
            closed: false,
            forget,
            playable,
            line,
            video,
            audio,
            dtls: None,
            state,
            wish,
            mid: String::new(),
        };
        let answer = peer.negotiate(true, gathered).await?;
        Ok((peer, answer))
    }

    /// Answers a later offer on the same connection, which [`sdp::renewed`] made: an ICE restart.
    pub async fn renegotiate(&mut self, playable: Playable, gathered: &Gathered) -> Result<String, Error> {
        self.playable = playable;
        self.negotiate(false, gathered).await
    }

    async fn negotiate(&mut self, first: bool, gathered: &Gathered) -> Result<String, Error> {
        // The offer is one that we wrote: no error in it is the viewer's.
        let offer = RTCSessionDescription::offer(self.playable.offer()).map_err(internal)?;
        self.connection.set_remote_description(offer).await.map_err(internal)?;
        if first {
            // Only now: a track added before gets the extension identifiers of a default, not those of the offer.
            let sender = self.video.attach(&*self.connection).await?;
            if let Some(audio) = &mut self.audio {
                audio.attach(&*self.connection).await?;
            }
            self.dtls = sender.transport().await.map_err(internal)?;
        }
        // We never receive.
        for transceiver in self.connection.get_transceivers().await {
            transceiver.set_direction(RTCRtpTransceiverDirection::Sendonly).await.map_err(internal)?;
        }
        let answer = self.connection.create_answer(None).await.map_err(internal)?;
        self.connection.set_local_description(answer).await.map_err(internal)?;
        let local = self.connection.local_description().await;
        let local = local.ok_or_else(|| Error::Internal("webrtc lost its own answer".into()))?;
        let answer = self.playable.answer(&local.sdp, &gathered.lines(), gathered.complete())?;
        let ice = self.playable.ice_of(&answer);
        let ice = ice.ok_or_else(|| Error::Internal("webrtc's answer has no ICE credentials".into()))?;
        self.line.credentials(&ice.ufrag, &ice.pwd);
        self.mid = ice.mid;
        Ok(answer)
    }

    /// The offer in effect.
    pub fn offer(&self) -> &Playable {
        &self.playable
    }

    /// How far the viewer has come in the present ICE session.
    pub fn progress(&self) -> Progress {
        self.line.progress()
    }

    /// What the DTLS handshake failed by, if a side has said so.
    pub fn handshake_failure(&self) -> Option<Alert> {
        self.line.handshake_failure()
    }

    /// One of the viewer's candidates, which [`sdp::usable_candidate`] found usable.
    pub async fn add_candidate(&self, candidate: &str) -> Result<(), Error> {
        let candidate = RTCIceCandidateInit { candidate: candidate.to_owned(), ..Default::default() };
        let added = self.connection.add_ice_candidate(candidate).await;
        added.map_err(|error| {
            tracing::debug!(%error, "a viewer's candidate was refused");
            Error::BadOffer("the candidate does not follow RFC 8839".into())
        })
    }

    /// Sends one packet of video; `delay` is the playout-delay extension's content. Waits while webrtc's own queue is
    /// full. An error means that the connection is gone.
    pub async fn send_video(
        &mut self,
        rtp_time: u32,
        last: bool,
        payload: Bytes,
        delay: Option<Bytes>,
    ) -> Result<(), webrtc::error::Error> {
        self.video.send(rtp_time, last, payload, delay).await
    }

    /// Sends one packet of sound, if the viewer wants any.
    pub async fn send_audio(&mut self, rtp_time: u32, payload: Bytes) -> Result<(), webrtc::error::Error> {
        match &mut self.audio {
            // The marker would begin a talkspurt (RFC 3551 section 4.1); without silence suppression there is one.
            Some(audio) => audio.send(rtp_time, false, payload, None).await,
            None => Ok(()),
        }
    }

    /// Whether the viewer has said goodbye (DTLS close_notify, RFC 5246 section 7.2.1). webrtc makes no event of it, and
    /// its connection state stays as it was.
    pub async fn is_closed_by_viewer(&self) -> bool {
        match &self.dtls {
            Some(dtls) => matches!(dtls.state().await, Ok(RTCDtlsTransportState::Closed)),
            None => false,
        }
    }

    /// There is privacy: what was sent is not sent again, and what waits is dropped.
    pub async fn conceal(&self) {
        self.forget.store(true, Ordering::Relaxed);
        self.line.conceal().await;
    }

    /// Ends the connection and frees its sockets.
    pub async fn close(mut self) {
        self.closed = true;
        close(&*self.connection).await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let connection = self.connection.clone();
        // Outside a runtime there is no driver left to stop either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { close(&*connection).await });
        }
    }
}

async fn close(connection: &dyn PeerConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "a connection did not close; its sockets stay open");
    }
}

impl Stream {
    fn new(kind: RtpCodecKind, ssrc: u32, rtx: Option<u32>, playable: &Playable) -> Self {
        let (codec, name) = match (&playable.audio, kind) {
            (Some(audio), RtpCodecKind::Audio) => (opus(audio), "sound"),
            _ => (h264(&playable.video), "picture"),
        };
        let rtx = rtx.filter(|_| playable.video.rtx.is_some());
        let coding = RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx: rtx.map(|ssrc| rtc::rtp_transceiver::rtp_sender::RTCRtpRtxParameters { ssrc }),
            ..Default::default()
        };
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: coding,
            active: true,
            codec: codec.rtp_codec,
            ..Default::default()
        };
        // One stream identifier for both: browsers synchronise what belongs together.
        let track = MediaStreamTrack::new("peercam".into(), name.into(), name.into(), kind, vec![encoding]);
        Self {
            track: Arc::new(TrackLocalStaticRTP::new(track)),
            ssrc,
            payload_type: codec.payload_type,
            sequence: ssrc as u16 & 0x7fff, // unguessable enough, and far from its wrap (RFC 3711 section 3.3.1)
            delay_id: playable.video_extension(delay::URI).filter(|_| kind == RtpCodecKind::Video),
        }
    }

    async fn attach(&mut self, connection: &dyn PeerConnection) -> Result<Arc<dyn RtpSender>, Error> {
        let track: Arc<dyn TrackLocal> = self.track.clone();
        let sender = connection.add_track(track).await.map_err(internal)?;
        let parameters = sender.get_parameters().await.map_err(internal)?.rtp_parameters;
        let codec =
            parameters.codecs.first().ok_or_else(|| Error::Internal("webrtc took no codec".into()))?;
        self.payload_type = codec.payload_type;
        Ok(sender)
    }

    async fn send(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: Bytes,
        delay: Option<Bytes>,
    ) -> Result<(), webrtc::error::Error> {
        let mut header = rtp::header::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let (Some(id), Some(delay)) = (self.delay_id, delay) {
            header.set_extension(id, delay)?;
        }
        self.track.write_rtp(rtp::Packet { header, payload }).await
    }
}

/// Three different random numbers.
fn ssrcs() -> Result<[u32; 3], Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no random numbers: {e}")))?;
    let first = u32::from_ne_bytes(bytes);
    Ok([first, first.wrapping_add(1), first.wrapping_add(2)])
}

fn settings(crypto: Arc<dyn RTCCryptoProvider>) -> SettingEngine {
    SettingEngineBuilder::new()
        .with_crypto_provider(crypto)
        // Queries would need a socket on port 5353 for each viewer, and a multicast route.
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), None)
        .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEPALIVE))
        .build()
}

fn codecs(playable: &Playable) -> Result<MediaEngine, webrtc::error::Error> {
    let mut media = MediaEngine::default();
    media.register_codec(h264(&playable.video), RtpCodecKind::Video)?;
    if let Some(payload_type) = playable.video.rtx {
        let fmtp = format!("apt={}", playable.video.payload_type);
        let rtx = codec(MIME_TYPE_RTX, VIDEO_HZ, 0, fmtp, &[]);
        media.register_codec(RTCRtpCodecParameters { rtp_codec: rtx, payload_type }, RtpCodecKind::Video)?;
    }
    if let Some(audio) = &playable.audio {
        media.register_codec(opus(audio), RtpCodecKind::Audio)?;
    }
    let delay = RTCRtpHeaderExtensionCapability { uri: delay::URI.to_owned() };
    media.register_header_extension(delay, RtpCodecKind::Video, None)?;
    Ok(media)
}

fn h264(video: &sdp::Video) -> RTCRtpCodecParameters {
    let feedback = [("ccm", "fir"), ("nack", ""), ("nack", "pli")];
    let rtp_codec = codec(MIME_TYPE_H264, VIDEO_HZ, 0, video.fmtp.clone(), &feedback);
    RTCRtpCodecParameters { rtp_codec, payload_type: video.payload_type }
}

fn opus(audio: &sdp::Audio) -> RTCRtpCodecParameters {
    let rtp_codec = codec(MIME_TYPE_OPUS, AUDIO_HZ, 2, audio.fmtp.clone(), &[]);
    RTCRtpCodecParameters { rtp_codec, payload_type: audio.payload_type }
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: String, feedback: &[(&str, &str)]) -> RTCRtpCodec {
    let feedback =
        feedback.iter().map(|(typ, p)| RTCPFeedback { typ: (*typ).into(), parameter: (*p).into() });
    RTCRtpCodec {
        mime_type: mime.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp,
        rtcp_feedback: feedback.collect(),
    }
}

/// The journal gets what webrtc says, and people something that they understand.
fn internal(error: impl std::fmt::Display) -> Error {
    tracing::warn!(%error, "a viewer's connection could not be set up");
    Error::Internal("the connection could not be set up; the device's journal says why".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_sentence_of_webrtc_reaches_a_person() {
        let told = super::internal("ErrSDPZeroTransceivers: nothing to negotiate").to_string();
        assert_eq!(told, "the connection could not be set up; the device's journal says why");
    }
}
