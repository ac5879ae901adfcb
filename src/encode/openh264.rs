//! Software H.264 encoding with OpenH264: constrained baseline, one slice, two temporal layers, IDRs only when
//! requested.

use openh264::OpenH264API;
use openh264::Timestamp;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Level, Profile,
    RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_BITRATE, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_MAX_BITRATE,
    ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, ENCODER_OPTION_TRACE_LEVEL, SBitrateInfo, SEncParamExt,
    SPATIAL_LAYER_0, WELS_LOG_QUIET,
};

use super::video::{AccessUnit, Error, Settings, VideoEncoder};
use crate::clock::Pts;
use crate::config::Effort;
use crate::media::frame::Size;
use crate::media::h264::{ProfileLevelId, is_reference, max_bitrate_bps, nal, nal_type, strip_start_code};
use crate::media::i420::I420;

/// Smallest picture that OpenH264 accepts.
pub const SMALLEST: Size = Size::new(16, 16);

const NAME: &str = "OpenH264";

fn error(reason: impl ToString) -> Error {
    Error::new(NAME, reason)
}

/// An OpenH264 encoder.
pub struct OpenH264 {
    encoder: Encoder,
    settings: Settings,
    /// The highest frame rate that its level allows.
    most_fps: f32,
    profile: ProfileLevelId,
    /// The NAL units of the last access unit, concatenated.
    coded: Vec<u8>,
}

impl OpenH264 {
    /// Starts an encoder, and encodes one black picture to learn the SPS that it emits.
    ///
    /// # Errors
    /// The settings are not supported (such as pictures below [`SMALLEST`] or above
    /// [`LARGEST`](crate::media::frame::LARGEST)), or there is too little memory.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let mut config = EncoderConfig::new()
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
            // An access unit for every frame: a skipped frame is a stutter, and peercam has no encoder queue
            // to relieve.
            .skip_frames(false)
            // IDRs only on request: scene changes are coded in intra macroblocks as needed.
            .scene_change_detect(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .num_threads(1)
            // What cameras deliver and `media::convert` produces; without it browsers assume BT.709.
            .vui(VuiConfig::bt601());
        if let Some(level) = settings.level {
            config = config.level(
                known_level(level).ok_or_else(|| error(format!("H.264 level {level} does not exist")))?,
            );
        }
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(error)?;
        quiet(&mut encoder);
        let most_fps = settings.fps;
        let profile = ProfileLevelId([0; 3]);
        let mut this = Self { encoder, settings, most_fps, profile, coded: Vec::new() };
        let first = this.encode(&I420::new(settings.size), Pts::from_micros(0), true)?;
        let profile = first.nals.iter().find_map(|n| ProfileLevelId::of_sps(n));
        this.profile = profile.ok_or_else(|| error("the first access unit has no SPS"))?;
        // Now, because the crate configures the encoder at the first picture. It also makes the rate control forget
        // the black picture, after which the next IDR would be far too large.
        this.set_layers()?;
        let [_, _, level] = this.profile.0;
        // The crate sets the maximum to the initial bitrate, and a target above the maximum breaks the rate
        // control.
        this.set_bitrate(ENCODER_OPTION_MAX_BITRATE, max_bitrate_bps(level))?;
        Ok(this)
    }

    /// Sets the number of temporal layers to two, which the crate does not offer. The next picture is an IDR. It must
    /// be set once only: OpenH264 may crash where it changes again (cisco/openh264 issue 2885).
    fn set_layers(&mut self) -> Result<(), Error> {
        let mut params = SEncParamExt::default();
        let option = ENCODER_OPTION_SVC_ENCODE_PARAM_EXT;
        // SAFETY: the encoder is initialised (it has encoded a picture), the option reads and writes such a struct
        // through the pointer and keeps no pointer to it, and the crate does not rely on the number of layers.
        let result = unsafe {
            let api = self.encoder.raw_api();
            let result = api.get_option(option, (&raw mut params).cast());
            params.iTemporalLayerNum = 2;
            if result == 0 { api.set_option(option, (&raw mut params).cast()) } else { result }
        };
        if result == 0 { Ok(()) } else { Err(error(format!("two temporal layers refused (error {result})"))) }
    }

    /// Sets the frame rate for the rate control.
    fn set_fps(&mut self, mut fps: f32) -> Result<(), Error> {
        // SAFETY: the encoder is initialised (it has encoded a picture), and the option takes a pointer to a
        // float and copies it before returning; the crate does not rely on the value.
        let result =
            unsafe { self.encoder.raw_api().set_option(ENCODER_OPTION_FRAME_RATE, (&raw mut fps).cast()) };
        if result == 0 { Ok(()) } else { Err(error(format!("{fps} fps refused (error {result})"))) }
    }

    /// Sets the target or maximum bitrate of the only spatial layer.
    fn set_bitrate(&mut self, option: ENCODER_OPTION, bps: u32) -> Result<(), Error> {
        let mut info = SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: bps.try_into().map_err(error)? };
        // SAFETY: the encoder is initialised (it has encoded a picture), both options take a pointer to this
        // struct and copy what they need before returning, and the crate relies on neither of the values.
        let result = unsafe { self.encoder.raw_api().set_option(option, (&raw mut info).cast()) };
        if result == 0 { Ok(()) } else { Err(error(format!("{bps} bit/s refused (error {result})"))) }
    }
}

impl VideoEncoder for OpenH264 {
    fn encode(&mut self, picture: &I420, pts: Pts, idr: bool) -> Result<AccessUnit<'_>, Error> {
        if picture.size() != self.settings.size {
            return Err(error(format!(
                "expected a picture of {}, got {}",
                self.settings.size,
                picture.size()
            )));
        }
        if idr {
            self.encoder.force_intra_frame();
        }
        let timestamp = Timestamp::from_millis(pts.as_micros() / 1_000);
        let coded = self.encoder.encode_at(picture, timestamp).map_err(error)?;
        self.coded.clear();
        let mut ends = vec![];
        for layer in (0..coded.num_layers()).filter_map(|n| coded.layer(n)) {
            for nal in (0..layer.nal_count()).filter_map(|n| layer.nal_unit(n)) {
                self.coded.extend_from_slice(strip_start_code(nal));
                ends.push(self.coded.len());
            }
        }
        let idr = matches!(coded.frame_type(), FrameType::IDR);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let nals: Vec<_> = starts.zip(&ends).map(|(start, end)| &self.coded[start..*end]).collect();
        let has = |kind| nals.iter().any(|n| nal_type(n) == kind);
        if nals.is_empty() || (idr && !(has(nal::SPS) && has(nal::PPS))) {
            return Err(error(format!("incomplete access unit ({} NAL units)", nals.len())));
        }
        let disposable = !nals.iter().any(|nal| is_reference(nal));
        Ok(AccessUnit { idr, disposable, nals })
    }

    fn set_rates(&mut self, bps: u32, fps: f32) -> Result<(), Error> {
        let [_, _, level] = self.profile.0;
        let most = max_bitrate_bps(level);
        if bps > most {
            return Err(error(format!("{bps} bit/s are more than level_idc {level} allows ({most})")));
        }
        if fps > self.most_fps {
            return Err(error(format!(
                "{fps} fps are more than the encoder was created for ({})",
                self.most_fps
            )));
        }
        if fps != self.settings.fps {
            self.set_fps(fps)?;
            self.settings.fps = fps;
        }
        self.set_bitrate(ENCODER_OPTION_BITRATE, bps)?;
        self.settings.bitrate_bps = bps;
        Ok(())
    }

    fn settings(&self) -> Settings {
        self.settings
    }

    fn profile(&self) -> ProfileLevelId {
        self.profile
    }

    fn name(&self) -> &'static str {
        NAME
    }
}

/// The crate's name for a `level_idc`.
fn known_level(level_idc: u8) -> Option<Level> {
    Some(match level_idc {
        10 => Level::Level_1_0,
        11 => Level::Level_1_1,
        12 => Level::Level_1_2,
        13 => Level::Level_1_3,
        20 => Level::Level_2_0,
        21 => Level::Level_2_1,
        22 => Level::Level_2_2,
        30 => Level::Level_3_0,
        31 => Level::Level_3_1,
        32 => Level::Level_3_2,
        40 => Level::Level_4_0,
        41 => Level::Level_4_1,
        42 => Level::Level_4_2,
        50 => Level::Level_5_0,
        51 => Level::Level_5_1,
        52 => Level::Level_5_2,
        _ => return None,
    })
}

/// Silences OpenH264's warnings on stderr; the crate does so only after the first of them.
fn quiet(encoder: &mut Encoder) {
    let mut level = WELS_LOG_QUIET;
    // SAFETY: the trace level takes a pointer to an int and may be set before initialisation; nothing depends
    // on it.
    unsafe { encoder.raw_api().set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast()) };
}

#[cfg(test)]
mod tests;
