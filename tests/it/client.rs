//! A viewer made of the same WebRTC crate: receives, and returns every packet that arrived.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, NackGeneratorBuilder, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpHeaderExtensionCapability, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder,
    configure_rtcp_reports, configure_twcc_receiver_only,
};

use peercam::pipeline::camera::Cameras;
use peercam::pipeline::quality::Quality;
use peercam::viewer::{Credential, Holder, Offer, Signaling, Wanted};

use crate::http::{Response, request};

/// Longest time for anything on loopback on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Payload type of Opus in its offers.
pub(crate) const OPUS: u8 = 111;
/// The credential of viewers that join without the web.
pub(crate) const OWNER: Holder =
    Holder { credential: Credential::new([0; 32]), owner: true, household: false };
/// The extension with the daemon's playout delay.
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// An offer of the owner for the first of these cameras, passed directly to the registry.
pub(crate) fn offer(sdp: String, from: SocketAddr, via: Signaling, cameras: &Cameras) -> Offer {
    let cameras = vec![Wanted { mid: None, camera: cameras.all()[0].clone(), quality: Quality::Auto }];
    let (to, who, holder, sound, listen) = (None, "test".into(), OWNER, false, None);
    Offer { sdp, from, to, who, holder, via, sound, cameras, listen }
}

/// A receiving connection.
pub(crate) struct Client {
    pub connection: Arc<dyn PeerConnection>,
    /// Every RTP and RTCP packet, as it arrived (after SRTP).
    pub packets: mpsc::UnboundedReceiver<Packet>,
    pub state: watch::Receiver<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::UnboundedReceiver<Arc<dyn TrackRemote>>,
    video: Option<Arc<dyn TrackRemote>>,
    /// Loses every n-th packet of first transmission; 0 loses none.
    pub loss: Arc<AtomicU32>,
}

struct Callbacks {
    state: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::UnboundedSender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Callbacks {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _ = self.tracks.send(track.clone());
        tokio::spawn(async move { while track.poll().await.is_some() {} });
    }
}

impl Client {
    /// Wants video, and sound if `audio`; reachable on loopback.
    pub(crate) async fn new(audio: bool) -> Self {
        Self::at("127.0.0.1:0", audio).await
    }

    /// The same, reachable at an address of this machine.
    pub(crate) async fn at(address: &str, audio: bool) -> Self {
        Self::by(vec![address.to_owned()], vec![], 1, audio).await
    }

    /// Wants this many pictures, each in a section, and sound if `audio`.
    pub(crate) async fn watching(pictures: usize, audio: bool) -> Self {
        Self::by(vec!["127.0.0.1:0".to_owned()], vec![], pictures, audio).await
    }

    /// The same without UDP; use [`Client::connect_tcp`] for the daemon's candidates.
    pub(crate) async fn over_tcp(audio: bool) -> Self {
        Self::over_tcp_at("127.0.0.1:0", audio).await
    }

    /// The same at an address of this machine.
    pub(crate) async fn over_tcp_at(address: &str, audio: bool) -> Self {
        Self::by(vec![], vec![address.to_owned()], 1, audio).await
    }

    async fn by(udp: Vec<String>, tcp: Vec<String>, pictures: usize, audio: bool) -> Self {
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let (tracks_tx, tracks) = mpsc::unbounded_channel();
        let (packets_tx, packets) = mpsc::unbounded_channel();
        let gathered = watch::Sender::new(false);
        let callbacks = Callbacks { state: state_tx, gathered: gathered.clone(), tracks: tracks_tx };
        let loss = Arc::new(AtomicU32::new(0));
        let tap = Tap { packets: packets_tx, loss: loss.clone(), ..Tap::new() };

        let mut media = MediaEngine::default();
        media.register_default_codecs().expect("codecs");
        let delay = RTCRtpHeaderExtensionCapability { uri: PLAYOUT_DELAY.into() };
        media.register_header_extension(delay, RtpCodecKind::Video, None).expect("extension");
        let registry = configure_rtcp_reports(Registry::new())
            .with(Slot::from(100), tap)
            .with(Slot::NackGenerator, NackGeneratorBuilder::new().build());
        let registry = configure_twcc_receiver_only(registry, &mut media).expect("transport-cc");
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(media)
                .with_interceptor_registry(registry)
                .with_setting_engine(
                    SettingEngineBuilder::new()
                        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
                        .with_ice_connection_attempts(Some(Duration::from_millis(20)), None)
                        .build(),
                )
                .with_handler(Arc::new(callbacks))
                .with_udp_addrs(udp)
                .with_tcp_addrs(tcp)
                .build()
                .await
                .expect("client"),
        );
        let pictures = std::iter::repeat_n(RtpCodecKind::Video, pictures);
        for kind in pictures.chain(audio.then_some(RtpCodecKind::Audio)) {
            add_section(&*connection, kind).await;
        }
        Self { connection, packets, state, gathered, tracks, video: None, loss }
    }

    /// An offer without candidates, like that of a browser that trickles or has none.
    pub(crate) async fn offer(&self) -> String {
        self.offer_with(None).await
    }

    /// Adds a section for another picture to its next offer.
    pub(crate) async fn add_picture(&self) {
        add_section(&*self.connection, RtpCodecKind::Video).await;
    }

    /// A later offer, which does not restart ICE.
    pub(crate) async fn offer_again(&self) -> String {
        let offer = self.connection.create_offer(None).await.expect("offer");
        self.connection.set_local_description(offer.clone()).await.expect("local description");
        offer.sdp
    }

    /// An offer that restarts ICE, without candidates.
    pub(crate) async fn restart_offer(&self) -> String {
        self.offer_with(Some(RTCOfferOptions { ice_restart: true })).await
    }

    async fn offer_with(&self, options: Option<RTCOfferOptions>) -> String {
        let offer = self.connection.create_offer(options).await.expect("offer");
        let mut gathered = self.gathered.subscribe();
        self.gathered.send_replace(false);
        self.connection.set_local_description(offer.clone()).await.expect("local description");
        let done = gathered.wait_for(|done| *done);
        tokio::time::timeout(PATIENCE, done).await.expect("gathered").expect("alive");
        let keep = |l: &&str| !l.starts_with("a=candidate") && !l.starts_with("a=end-of");
        offer.sdp.lines().filter(keep).flat_map(|l| [l, "\r\n"]).collect()
    }

    /// Our candidates, `candidate:...`.
    pub(crate) async fn candidates(&self) -> Vec<String> {
        let local = self.connection.local_description().await.expect("local description").sdp;
        local
            .lines()
            .filter_map(|l| l.strip_prefix("a=").filter(|l| l.starts_with("candidate:")))
            .map(str::to_owned)
            .collect()
    }

    /// Sends its offer over WHEP as the owner; returns the response.
    pub(crate) async fn ask(&self, address: SocketAddr) -> Response {
        self.ask_for(address, "").await
    }

    /// The same with a query: `?camera=front`.
    pub(crate) async fn ask_for(&self, address: SocketAddr, query: &str) -> Response {
        let (offer, path) = (self.offer().await, format!("/whep{query}"));
        let post = move || request(address, "POST", &path, &[("Content-Type", "application/sdp")], &offer);
        tokio::task::spawn_blocking(post).await.expect("no panic").expect("an answer")
    }

    /// Joins over WHEP as the owner, and waits for the connection. Returns its resource.
    pub(crate) async fn join(&mut self, address: SocketAddr) -> String {
        self.join_for(address, "").await
    }

    /// The same with a query: `?camera=front`.
    pub(crate) async fn join_for(&mut self, address: SocketAddr, query: &str) -> String {
        let answer = self.ask_for(address, query).await;
        assert_eq!(answer.code, 201, "{answer:?}");
        self.accept(&answer.body).await;
        self.until(RTCPeerConnectionState::Connected).await;
        answer.header("location").expect("a resource").to_owned()
    }

    /// Applies the answer.
    pub(crate) async fn accept(&self, answer: &str) {
        let answer = RTCSessionDescription::answer(answer.to_owned()).expect("an answer");
        self.connection.set_remote_description(answer).await.expect("a usable answer");
    }

    /// Applies the answer, with only the first TCP candidate, at `port` if given.
    pub(crate) async fn connect_tcp(&self, answer: &str, port: Option<u16>) {
        let (theirs, rest): (Vec<_>, Vec<_>) = answer.lines().partition(|l| l.starts_with("a=candidate:"));
        self.accept(&rest.iter().flat_map(|l| [l, "\r\n"]).collect::<String>()).await;
        let tcp = theirs.iter().find(|c| c.contains(" tcp ")).expect("a TCP candidate");
        let mut words: Vec<_> = tcp["a=".len()..].split(' ').map(str::to_owned).collect();
        if let Some(port) = port {
            words[5] = port.to_string();
        }
        let candidate = RTCIceCandidateInit { candidate: words.join(" "), ..Default::default() };
        self.connection.add_ice_candidate(candidate).await.expect("taken");
    }

    /// Waits until the connection is in this state.
    pub(crate) async fn until(&mut self, state: RTCPeerConnectionState) {
        let reached = self.state.wait_for(|s| *s == state);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("not {state}"))
            .expect("alive");
    }

    /// The next packet that `wanted` turns into something.
    pub(crate) async fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.packets.recv().await.expect("alive")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    /// Reports lost pictures.
    pub(crate) async fn send_pli(&mut self, media_ssrc: u32) {
        self.send_rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc })]).await;
    }

    /// Sends any RTCP about the video.
    pub(crate) async fn send_rtcp(&mut self, packets: Vec<Box<dyn rtc::rtcp::Packet>>) {
        while self.video.is_none() {
            let track =
                tokio::time::timeout(PATIENCE, self.tracks.recv()).await.expect("a track").expect("alive");
            self.video = (track.kind().await == RtpCodecKind::Video).then_some(track);
        }
        self.video.as_ref().expect("set above").write_rtcp(packets).await.expect("sent");
    }

    /// Closes the connection without telling the daemon, except through WebRTC itself.
    pub(crate) async fn close(self) {
        self.connection.close().await.expect("closed");
    }
}

/// Adds a section that receives to the next offer.
async fn add_section(connection: &dyn PeerConnection, kind: RtpCodecKind) {
    let direction = RTCRtpTransceiverDirection::Recvonly;
    let init = RTCRtpTransceiverInit { direction, ..Default::default() };
    connection.add_transceiver_from_kind(kind, Some(init)).await.expect("transceiver");
}

/// Copies all incoming packets, and loses some.
struct Tap {
    packets: mpsc::UnboundedSender<Packet>,
    loss: Arc<AtomicU32>,
    count: u32,
    inbound: std::collections::VecDeque<TaggedPacket>,
    outbound: std::collections::VecDeque<TaggedPacket>,
}

impl Tap {
    fn new() -> Self {
        let (packets, _) = mpsc::unbounded_channel();
        Self {
            packets,
            loss: Arc::default(),
            count: 0,
            inbound: Default::default(),
            outbound: Default::default(),
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Self::Error> {
        let every = self.loss.load(Ordering::Relaxed);
        if every > 0 && matches!(msg.message.packet, Packet::Rtp(_)) {
            self.count += 1;
            if self.count.is_multiple_of(every) {
                return Ok(());
            }
        }
        let _ = self.packets.send(msg.message.packet.clone());
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
