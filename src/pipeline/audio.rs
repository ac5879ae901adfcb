//! The sound: a microphone, or the tone, to Opus packets for the hub. One thread, which opens and closes the microphone as
//! its [orders](super::demand) say, and retries it in one place.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::demand::{Demand, Order, Orders, PRIVATE, Search};
use super::hub::Hub;
use super::worker::{TICK, Worker};
use crate::capture::Error;
use crate::capture::alsa::{self, Read, Spec};
use crate::capture::microphones::{self, Choice};
use crate::capture::tone::Tone;
use crate::clock::{AUDIO_HZ, Clocks, Pts, RtpClock};
use crate::config::{self, Microphone};
use crate::encode::opus::Encoder;
use crate::media::pcm::{self, PACKET_FRAMES};
use crate::media::retime::Retimer;
use crate::media::unit::AudioUnit;
use crate::status::{self, State, Status};

/// Packets of the tone that are sent late, in a burst, after the thread was held up. Older sound is left out:
/// newest wins.
const MAX_BEHIND: u64 = 3;
/// How often a microphone that is not there is looked for while somebody listens, whether one that rests is still there,
/// and how often measured figures are told.
const SECOND: Duration = Duration::from_secs(1);
/// How messages about a lost microphone begin.
const GONE: &str = "no sound: ";

/// Starts the thread "audio", within a runtime; `None` when the configuration switches sound off. While `private` is
/// true the microphone stays closed, whoever listens.
pub fn spawn(
    config: config::Audio,
    hub: Arc<Hub>,
    status: Arc<Status>,
    clocks: Clocks,
    private: watch::Receiver<bool>,
    stop: &CancellationToken,
) -> io::Result<Option<Worker>> {
    if config.device == Microphone::Off {
        status.audio(|a| {
            a.state = State::Off;
            a.source = "off";
            a.why = "switched off in the configuration".into();
        });
        return Ok(None);
    }
    status.audio(|a| a.channels = config.channels);
    let sender = Sender::new(&config, hub.clone(), status.clone(), clocks.audio)?;
    let runtime = Handle::current();
    Worker::spawn("audio", stop, move |stop| {
        let _entered = runtime.enter();
        let orders = Orders::new(&hub, Demand::wants_microphone, config.keep_open, private, stop);
        let search = Search::new(Pts::now());
        Sound { config, status, sender, orders, search, said: String::new(), heard: false }.run();
    })
    .map(Some)
}

/// All that the thread owns.
struct Sound {
    config: config::Audio,
    status: Arc<Status>,
    sender: Sender,
    orders: Orders,
    search: Search,
    /// What the log was told last; it is told changes only.
    said: String,
    /// A microphone has been open. From then on the tone is no stand-in: silence is what a viewer expects.
    heard: bool,
}

impl Sound {
    fn run(mut self) {
        loop {
            match self.orders.now() {
                Order::Open => {
                    if let Err(e) = self.open() {
                        self.gone(&e);
                        self.orders.pause(SECOND);
                    }
                }
                Order::Closed => self.rest(),
                Order::Private => self.hide(),
                Order::Stop => return,
            }
        }
    }

    /// Opens what the configuration asks for and runs it while it is to be open, or until it is better to open anew.
    fn open(&mut self) -> Result<(), Error> {
        self.status.audio(status::Audio::opening);
        match self.choose()? {
            (choice, Some(microphone)) => {
                let result = self.microphone(choice, microphone);
                self.status.counters.microphone_lost.add(result.is_err().into());
                result
            }
            (choice, None) => {
                self.tell(State::Live, choice, None);
                self.tone();
                Ok(())
            }
        }
    }

    fn choose(&self) -> Result<(Choice, Option<alsa::Microphone>), Error> {
        match microphones::open(&self.config)? {
            (choice, None) if self.heard => Err(Error::None(choice.why)),
            chosen => Ok(chosen),
        }
    }

    /// Nobody listens: the microphone is closed. At first it is looked which one that is; likewise now and then while it
    /// is missing.
    fn rest(&mut self) {
        match self.search.due_in(Pts::now()) {
            Some(Duration::ZERO) => match self.choose() {
                Ok((choice, microphone)) => {
                    self.tell(State::Idle, choice, microphone.map(|m| m.spec()));
                    self.search.found();
                }
                Err(e) => self.gone(&e),
            },
            Some(_) => {}
            None => self.status.audio(|a| {
                if a.state != State::Idle {
                    debug!("the microphone is closed: nobody listens");
                }
                (a.state, a.reason, a.drift_ppm, a.offset_ms) = (State::Idle, None, None, None);
            }),
        }
        let due = self.search.due_in(Pts::now());
        self.orders.wait(due);
    }

    fn hide(&mut self) {
        self.status.audio(|a| {
            if a.state != State::Private {
                info!("microphone: closed, because privacy is on");
            }
            (a.state, a.reason) = (State::Private, Some(PRIVATE.into()));
            (a.drift_ppm, a.offset_ms) = (None, None);
        });
        self.search = Search::new(Pts::now());
        self.said.clear();
        self.orders.wait(None);
    }

    /// Encodes what the microphone hears while somebody listens.
    fn microphone(&mut self, choice: Choice, mut microphone: alsa::Microphone) -> Result<(), Error> {
        let spec = microphone.spec();
        let (from, to) = (spec.channels as usize, self.config.channels as usize);
        let mut retimer = Retimer::new(spec.rate_hz, to, spec.period)
            .map_err(|e| Error::Unusable(format!("the microphone: {e}")))?;
        let mut told = Pts::now();
        // It is told to be live when it has delivered, or when nobody wants it to: one that opens and then stays
        // mute remains "gone".
        let mut choice = Some(choice);
        while self.orders.now() == Order::Open {
            if self.orders.demand().viewers == 0 {
                microphone.rest()?;
                choice.take().into_iter().for_each(|choice| self.tell(State::Live, choice, Some(spec)));
                self.orders.wait(Some(SECOND));
                continue;
            }
            match microphone.read(TICK)? {
                Read::Nothing => {}
                Read::Started { lost } => {
                    self.status.counters.xruns.add(lost.into());
                    retimer.restart();
                }
                Read::Samples { bytes, captured, at } => {
                    self.status.counters.periods.count();
                    choice.take().into_iter().for_each(|choice| self.tell(State::Live, choice, Some(spec)));
                    let jumped = !retimer.observe(captured, at);
                    self.status.counters.sound_jumps.add(jumped.into());
                    spec.format.decode(bytes, from, to, retimer.input());
                    while let Some((n, samples)) = retimer.next(Pts::now()) {
                        self.sender.send(n, samples);
                    }
                }
            }
            let now = Pts::now();
            if now.since(told) >= SECOND {
                told = now;
                self.status.measured(|_, a| {
                    (a.drift_ppm, a.offset_ms) = (retimer.drift_ppm(), retimer.offset_ms());
                });
            }
        }
        Ok(())
    }

    /// Plays the tone while somebody listens. Where it only stands in for a microphone, returns as soon as there
    /// might be one; if that can't be opened we are back before anybody hears a gap.
    fn tone(&mut self) {
        let tone = Tone::default();
        let channels = self.config.channels as usize;
        let mut samples = vec![0.0; PACKET_FRAMES * channels];
        let mut next = 0;
        let looked = Pts::now();
        let stands_in = self.config.device == Microphone::Auto;
        while self.orders.now() == Order::Open {
            if stands_in && Pts::now().since(looked) >= SECOND && microphones::any() {
                return;
            }
            if self.orders.demand().viewers == 0 {
                self.orders.wait(stands_in.then_some(SECOND));
                continue;
            }
            // A packet is due when its last sample has "been captured", as with a microphone.
            let now = Pts::now();
            if pcm::packet_at(now).saturating_sub(next) > MAX_BEHIND {
                next = pcm::packet_at(now); // after a rest, or when held up
            }
            thread::sleep(pcm::packet_start(next + 1).since(now));
            tone.fill(next * PACKET_FRAMES as u64, channels, &mut samples);
            self.sender.send(next, &samples);
            next += 1;
        }
    }

    /// Tells that `choice` is there, and whether it delivers.
    fn tell(&mut self, state: State, choice: Choice, spec: Option<Spec>) {
        self.search.found();
        self.heard |= spec.is_some();
        let source = if choice.alsa.is_some() { "microphone" } else { "tone" };
        let mut said = format!("{source}: {}", choice.name);
        if let Some(alsa) = choice.alsa.as_ref().filter(|alsa| **alsa != choice.name) {
            said += &format!(" ({alsa})");
        }
        said += &format!(", because {}", choice.why);
        if let Some(spec) = spec {
            said += &format!("; {} Hz, {} ch, {}", spec.rate_hz, spec.channels, spec.format);
        }
        if self.said != said {
            info!("{said}");
            self.said = said;
        }
        let channels = self.config.channels;
        self.status.audio(|a| {
            *a = status::Audio {
                state,
                source,
                name: choice.name,
                device: choice.alsa,
                why: choice.why,
                rate_hz: spec.map_or(AUDIO_HZ, |s| s.rate_hz),
                device_channels: spec.map_or(channels, |s| s.channels),
                format: spec.map_or_else(String::new, |s| s.format.to_string()),
                channels,
                ..Default::default()
            }
        });
    }

    /// Tells that there is no sound, and why.
    fn gone(&mut self, e: &Error) {
        self.search.missing(Pts::now());
        // Of one that was unplugged, "unplugged" says more than that it can't be found now.
        if self.heard && matches!(e, Error::None(_)) && self.said.starts_with(GONE) {
            return;
        }
        let said = format!("{GONE}{e}");
        if self.said == said {
            return;
        }
        warn!("{said}; looking for it every second while somebody listens");
        self.said = said;
        let named = match &self.config.device {
            Microphone::Device(alsa) => Some(alsa.clone()),
            _ => None,
        };
        self.status.audio(|a| {
            (a.state, a.reason) = (State::Gone, Some(e.to_string()));
            (a.source, a.drift_ppm, a.offset_ms) = ("microphone", None, None);
            if !self.heard {
                a.name = named.clone().unwrap_or_default();
                a.device = named;
                a.why = "the configuration names it".into();
            }
        });
    }
}

/// Encodes packets of the grid and hands them to the hub.
struct Sender {
    encoder: Encoder,
    hub: Arc<Hub>,
    status: Arc<Status>,
    clock: RtpClock,
    /// Packets before this one have been sent, or are too late to be.
    next: u64,
    failing: bool,
}

impl Sender {
    fn new(config: &config::Audio, hub: Arc<Hub>, status: Arc<Status>, clock: RtpClock) -> io::Result<Self> {
        let encoder =
            Encoder::new(config.channels, config.bitrate_bps, config.dtx).map_err(io::Error::other)?;
        Ok(Self { encoder, hub, status, clock, next: 0, failing: false })
    }

    /// Sends packet number `packet`. Its RTP time follows from the number, so whatever is left out leaves a gap
    /// in RTP time, and a browser's jitter buffer goes on in time.
    fn send(&mut self, packet: u64, samples: &[f32]) {
        if packet < self.next {
            return; // a new source may start within the packet that the old one ended with
        }
        self.next = packet + 1;
        let payload = match self.encoder.encode(samples) {
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
        let pts = pcm::packet_start(packet) - self.encoder.lookahead();
        self.status.counters.opus_packets.count();
        self.hub.publish_audio(Arc::new(AudioUnit { pts, rtp_time: self.clock.ticks(pts), payload }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::tone::tests::level;
    use crate::clock::VIDEO_HZ;
    use crate::pipeline::hub::Unit;

    fn clocks() -> Clocks {
        let clock = |hz| RtpClock { hz, offset: 0xffff_0000 };
        Clocks { video: clock(VIDEO_HZ), audio: clock(AUDIO_HZ) }
    }

    #[tokio::test]
    async fn the_tone_is_sent_in_time_and_only_while_somebody_listens() {
        let (hub, status, stop) =
            (Arc::new(Hub::default()), Arc::new(Status::default()), CancellationToken::new());
        let config = config::Audio { device: Microphone::Tone, ..Default::default() };
        let (_privacy, private) = watch::channel(false);
        let worker = spawn(config, hub.clone(), status.clone(), clocks(), private, &stop).expect("starts");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(status.counters.opus_packets.get(), 0);

        let mut listener = hub.subscribe();
        let mut decoder = ::opus::Decoder::new(AUDIO_HZ, ::opus::Channels::Mono).expect("decoder");
        let (mut out, mut last, mut beeps) = ([0.0; PACKET_FRAMES], None, 0);
        for n in 0..60 {
            let Unit::Audio(unit) = listener.recv().await else { panic!("only sound is made here") };
            assert_eq!(unit.rtp_time, clocks().audio.ticks(unit.pts));
            if let Some((rtp_time, pts)) = last.replace((unit.rtp_time, unit.pts)) {
                let ticks = unit.rtp_time.wrapping_sub(rtp_time);
                assert!(ticks > 0 && ticks.is_multiple_of(960), "{ticks}"); // more than 960: a busy machine
                assert_eq!(u128::from(ticks) * 20_000 / 960, unit.pts.since(pts).as_micros());
            }
            decoder.decode_float(&unit.payload, &mut out, false).expect("decodes");
            let into_second = unit.pts.as_micros() % 1_000_000;
            if n > 5 && (10_000..70_000).contains(&into_second) {
                assert!(level(&out, 3e3) > 0.15, "{into_second}");
                beeps += 1;
            } else if n > 5 && (120_000..970_000).contains(&into_second) {
                assert!(level(&out, 3e3) < 0.02, "{into_second}");
            }
            assert!(Pts::now().since(unit.pts) >= pcm::PACKET, "sound from the future");
        }
        assert!(beeps >= 2);
        drop(listener);
        drop(worker);
    }

    #[test]
    fn off_is_off() {
        let status = Arc::new(Status::default());
        let config = config::Audio { device: Microphone::Off, ..Default::default() };
        let (_privacy, private) = watch::channel(false);
        let stop = CancellationToken::new();
        let worker = spawn(config, Arc::default(), status.clone(), clocks(), private, &stop);
        assert!(worker.expect("no error").is_none());
        assert!(serde_json::to_string(&status.report()).expect("json").contains(r#""state":"off""#));
    }
}
