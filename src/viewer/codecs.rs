//! Configures webrtc with the formats that an offer and this device have in common.

use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use webrtc::error::Error;
use webrtc::media_stream::MediaStreamTrack;
use webrtc::peer_connection::{MediaEngine, Registry, configure_twcc_sender_only};

use super::delay;
use super::sdp::{self, Playable};
use crate::clock::{AUDIO_HZ, VIDEO_HZ};

/// All formats and header extensions of an offer.
///
/// # Errors
/// webrtc refuses one of them.
pub(super) fn media_engine(playable: &Playable) -> Result<MediaEngine, Error> {
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
    // Only the extension is registered: the packet numbers are ours, and those of webrtc are discarded.
    let _ = configure_twcc_sender_only(Registry::new(), &mut media)?;
    Ok(media)
}

/// The track of any picture: the sources in the answer are ours ([`super::sdp`]).
pub(super) fn video_track(playable: &Playable, ssrc: u32) -> MediaStreamTrack {
    track(RtpCodecKind::Video, h264(&playable.video).rtp_codec, ssrc)
}

/// The track of the sound.
pub(super) fn audio_track(audio: &sdp::Audio, ssrc: u32) -> MediaStreamTrack {
    track(RtpCodecKind::Audio, opus(audio).rtp_codec, ssrc)
}

fn track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32) -> MediaStreamTrack {
    let rtp_coding_parameters = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters, active: true, codec, ..Default::default() };
    let name = kind.to_string();
    MediaStreamTrack::new(name.clone(), name.clone(), name, kind, vec![encoding])
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
