//! H.264 in software: OpenH264, constrained baseline, one slice, IDRs only when asked for.

use openh264::OpenH264API;
use openh264::Timestamp;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Layer, Profile,
    RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};

use crate::clock::Pts;
use crate::config::Effort;
use crate::media::frame::Size;
use crate::media::h264::{ProfileLevelId, nal, nal_type, strip_start_code};
use crate::media::i420::I420;

/// OpenH264 refuses smaller pictures, and larger ones than level 5.2 holds.
pub const MIN_SIZE: Size = Size::new(16, 16);
/// See [`MIN_SIZE`].
pub const MAX_SIZE: Size = Size::new(3840, 2160);

/// The encoder failed; a new one is the only remedy.
#[derive(Debug, thiserror::Error)]
#[error("openh264: {0}")]
pub struct Error(String);

impl From<openh264::Error> for Error {
    fn from(e: openh264::Error) -> Self {
        Self(e.to_string())
    }
}

/// What an encoder is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Size of every picture it will get.
    pub size: Size,
    /// Frames per second at most: rate control reckons with it.
    pub fps: f32,
    /// Bits per second to aim at.
    pub bitrate_bps: u32,
    /// CPU against quality.
    pub effort: Effort,
}

/// One encoder of one stream.
pub struct H264Encoder {
    encoder: Encoder,
    settings: Settings,
    profile_level_id: ProfileLevelId,
}

/// One coded picture, in memory of the encoder until its next one.
pub struct AccessUnit<'a> {
    /// Whether decoding can start here; then SPS and PPS come first.
    pub idr: bool,
    layers: Vec<Layer<'a>>,
}

impl AccessUnit<'_> {
    /// NAL units in order, without start codes.
    pub fn nals(&self) -> Vec<&[u8]> {
        let of = |l| (0..Layer::nal_count(l)).filter_map(|n| l.nal_unit(n)).map(strip_start_code);
        self.layers.iter().flat_map(of).collect()
    }
}

impl H264Encoder {
    /// Starts an encoder, and encodes one black picture to learn which SPS it really emits.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .usage_type(UsageType::CameraVideoRealTime)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(settings.bitrate_bps))
            .max_frame_rate(FrameRate::from_hz(settings.fps))
            .complexity(match settings.effort {
                Effort::Low => Complexity::Low,
                Effort::Medium => Complexity::Medium,
                Effort::High => Complexity::High,
            })
            // An access unit for every frame: a skipped one is a stutter, and the queue it spares is not ours.
            .skip_frames(false)
            // IDRs only by wish: a scene change is coded in intra macroblocks as needed.
            .scene_change_detect(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .num_threads(1)
            // What cameras give and `media::convert` makes: without it browsers assume BT.709.
            .vui(VuiConfig::bt601());
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config)?;
        quiet(&mut encoder);
        let mut this = Self { encoder, settings, profile_level_id: ProfileLevelId([0; 3]) };
        let first = this.encode(&I420::new(settings.size), Pts::from_micros(0), true)?;
        let id = first.nals().iter().find_map(|n| ProfileLevelId::of_sps(n));
        this.profile_level_id = id.ok_or_else(|| Error("its first access unit has no SPS".into()))?;
        Ok(this)
    }

    /// What it was made for.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Profile, constraints and level of the SPS it emits.
    pub fn profile_level_id(&self) -> ProfileLevelId {
        self.profile_level_id
    }

    /// Encodes one picture of the size it was made for, as an IDR if `idr`.
    pub fn encode(&mut self, picture: &I420, pts: Pts, idr: bool) -> Result<AccessUnit<'_>, Error> {
        if picture.size() != self.settings.size {
            return Err(Error(format!("made for {}, given {}", self.settings.size, picture.size())));
        }
        if idr {
            self.encoder.force_intra_frame();
        }
        let coded = self.encoder.encode_at(picture, Timestamp::from_millis(pts.as_micros() / 1_000))?;
        let unit = AccessUnit {
            idr: matches!(coded.frame_type(), FrameType::IDR),
            layers: (0..coded.num_layers()).filter_map(|l| coded.layer(l)).collect(),
        };
        let nals = unit.nals();
        let has = |kind| nals.iter().any(|n| nal_type(n) == kind);
        if nals.is_empty() || (unit.idr && !(has(nal::SPS) && has(nal::PPS))) {
            return Err(Error(format!("an incomplete access unit ({} NAL units)", nals.len())));
        }
        Ok(unit)
    }
}

/// OpenH264 prints warnings to stderr; the crate silences it only after the first of them.
fn quiet(encoder: &mut Encoder) {
    let mut level = openh264_sys2::WELS_LOG_QUIET;
    // SAFETY: the trace level takes a pointer to an int, may be set before initialisation, and nothing depends on it.
    unsafe {
        encoder.raw_api().set_option(openh264_sys2::ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { size: Size::new(320, 240), fps: 30.0, bitrate_bps: 500_000, effort: Effort::Low };

    #[test]
    fn idrs_come_by_wish_only_and_with_parameter_sets() {
        let mut encoder = H264Encoder::new(SETTINGS).expect("an encoder");
        let mut picture = I420::new(SETTINGS.size);
        for n in 0u64..60 {
            // A scene change every ten frames must not make an IDR.
            picture.planes_mut().y.fill(if n / 10 % 2 == 0 { 40 } else { 200 });
            let unit = encoder.encode(&picture, Pts::from_micros(n * 33_333), n == 30).expect("encoded");
            assert_eq!(unit.idr, n == 30, "frame {n}");
            assert_eq!(unit.nals().iter().any(|x| nal_type(x) == nal::SPS), n == 30);
        }
    }

    #[test]
    fn the_level_follows_size_and_rate_and_the_profile_is_constrained_baseline() {
        for (size, fps, level) in [((640, 480), 30.0, 30), ((1280, 720), 30.0, 31), ((1920, 1080), 30.0, 40)]
        {
            let size = Size::new(size.0, size.1);
            let encoder = H264Encoder::new(Settings { size, fps, bitrate_bps: 2_000_000, ..SETTINGS });
            let [profile, constraints, l] = encoder.expect("an encoder").profile_level_id().0;
            assert_eq!((profile, constraints & 0x40), (66, 0x40), "{size}");
            assert_eq!(l, level, "{size}");
        }
    }

    #[test]
    fn another_size_is_refused() {
        let mut encoder = H264Encoder::new(SETTINGS).expect("an encoder");
        assert!(encoder.encode(&I420::new(Size::new(640, 480)), Pts::from_micros(0), false).is_err());
    }
}
