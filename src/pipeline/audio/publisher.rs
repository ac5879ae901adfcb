//! Encodes sound as Opus packets, and publishes them.

use std::io;
use std::sync::Arc;

use tracing::warn;

use crate::clock::RtpClock;
use crate::config;
use crate::encode::opus::{self, Encoder};
use crate::media::pcm;
use crate::media::unit::AudioUnit;
use crate::pipeline::hub::Hub;
use crate::pipeline::stream::AudioStream;
use crate::privacy::Private;
use crate::status::{self, Source};

/// Bitrate of the sound for bad links, in bits per second: speech is understood, and its FEC repairs a lost packet.
const LOW_BPS: u32 = 16_000;

/// Encodes packets of the grid and publishes them: as configured, and for bad links while such a viewer listens.
pub(super) struct Publisher {
    config: config::Audio,
    /// `None` if it could not be created.
    encoder: Option<Encoder>,
    /// `None` while nobody needs it.
    low: Option<Encoder>,
    stream: Arc<AudioStream>,
    status: Arc<Source<status::Audio>>,
    clock: RtpClock,
    private: Private,
    /// Packets before this number have been sent, or are too late to send.
    next: u64,
    failing: bool,
}

impl Publisher {
    /// Creates it, with an encoder for this configuration.
    pub(super) fn new(
        config: &config::Audio,
        stream: Arc<AudioStream>,
        status: Arc<Source<status::Audio>>,
        clock: RtpClock,
        private: Private,
    ) -> io::Result<Self> {
        let (config, low) = (config.clone(), None);
        let encoder = Some(encoder(&config, u32::MAX).map_err(io::Error::other)?);
        Ok(Self { config, encoder, low, stream, status, clock, private, next: 0, failing: false })
    }

    /// Creates an encoder for the new configuration.
    pub(super) fn encode_as(&mut self, config: &config::Audio) {
        self.config = config.clone();
        (self.encoder, self.low) = (working(encoder(config, u32::MAX)), None);
    }

    /// Sends packet number `packet`. Its RTP time follows from the number, so a packet that is left out
    /// leaves a gap in RTP time, and a browser's jitter buffer continues at the right time.
    pub(super) fn send(&mut self, packet: u64, samples: &[f32]) {
        if packet < self.next {
            return; // a new source may start within the last packet of the old one
        }
        self.next = packet + 1;
        let stream = self.stream.clone();
        let listeners = stream.low.subscribers();
        if listeners == 0 {
            self.low = None;
        } else if self.low.is_none() {
            self.low = working(encoder(&self.config, LOW_BPS));
        }
        // Nobody may have subscribed yet who is about to.
        if listeners == 0 || stream.hub.subscribers() > 0 {
            let mut encoder = self.encoder.take();
            self.publish(packet, samples, encoder.as_mut(), &stream.hub);
            self.encoder = encoder;
        }
        let mut low = self.low.take();
        self.publish(packet, samples, low.as_mut(), &stream.low);
        self.low = low;
    }

    fn publish(&mut self, packet: u64, samples: &[f32], encoder: Option<&mut Encoder>, hub: &Hub<AudioUnit>) {
        let Some(encoder) = encoder else { return };
        let payload = match encoder.encode(samples) {
            Ok(payload) => payload,
            Err(e) => {
                if !self.failing {
                    warn!("sound: {e}");
                }
                self.failing = true;
                return;
            }
        };
        self.failing = false;
        let Some(payload) = payload else { return };
        let pts = pcm::packet_start(packet) - encoder.lookahead();
        self.status.counters.opus_packets.count();
        let unit = AudioUnit { pts, rtp_time: self.clock.ticks(pts), payload };
        hub.publish_captured(&Arc::new(unit), &self.private);
    }
}

/// An encoder as configured, with at most this bitrate in bits per second.
fn encoder(config: &config::Audio, most_bps: u32) -> Result<Encoder, opus::Error> {
    Encoder::new(config.channels, config.bitrate_bps.min(most_bps), config.dtx)
}

fn working(encoder: Result<Encoder, opus::Error>) -> Option<Encoder> {
    encoder.inspect_err(|e| warn!("no sound: {e}")).ok()
}
