//! The sound: a microphone, or the tone, to Opus packets for the hub. One thread, which opens and closes the microphone as
//! its [orders](super::orders) say, and retries it in one place.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::hub::Hub;
use super::orders::{Order, Orders, PRIVATE, Search, Signals};
use super::stream::AudioStream;
use super::worker::{TICK, Threads, Worker};
use crate::capture::Error;
use crate::capture::alsa::{self, Read, Spec};
use crate::capture::microphones::{self, Choice};
use crate::capture::tone::Tone;
use crate::clock::{AUDIO_HZ, Clocks, Pts, RtpClock};
use crate::config::{self, Microphone};
use crate::encode::opus::Encoder;
use crate::heartbeat::Heartbeats;
use crate::media::pcm::{self, PACKET_FRAMES};
use crate::media::retime::Retimer;
use crate::media::unit::AudioUnit;
use crate::privacy::Private;
use crate::status::{self, Source, State};

/// Packets of the tone that are sent late, in a burst, after the thread was held up. Older sound is left out:
/// newest wins.
const MAX_BEHIND: u64 = 3;
/// How often a microphone that is not there is looked for while somebody listens, whether one that rests is still there,
/// and how often measured figures are told.
const SECOND: Duration = Duration::from_secs(1);

/// What the thread shares with others.
pub struct Context {
    /// Its name.
    pub threads: Threads,
    /// Why a device is taken that has a name.
    pub why: &'static str,
    /// `[audio]`; changes are taken over at once.
    pub config: watch::Receiver<config::Audio>,
    /// Where demand comes from and packets go.
    pub stream: Arc<AudioStream>,
    /// Told of every change.
    pub status: Arc<Source<status::Audio>>,
    /// RTP time of the streams.
    pub clocks: Clocks,
    /// While true the microphone stays closed, whoever listens.
    pub private: Private,
    /// Counts microphones plugged in and out: one that is missing is looked for at once.
    pub hotplug: watch::Receiver<u64>,
    /// Where the thread tells that it is alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Starts the thread "audio", within a runtime. It sleeps while the configuration switches sound off.
pub fn spawn(context: Context) -> io::Result<Worker> {
    let Context { threads, why, config: live, stream, status, clocks, private, hotplug, heartbeats, stop } =
        context;
    let config = live.borrow().clone();
    let sender = Sender::new(&config, stream.hub.clone(), status.clone(), clocks.audio, private.clone())?;
    let runtime = Handle::current();
    Worker::spawn(&threads.clone(), "audio", &stop, move |stop| {
        let _entered = runtime.enter();
        let signals = Signals { config: live, private, hotplug, stop };
        let heartbeat = heartbeats.thread(&threads.name("audio"));
        let orders = Orders::new(&stream.demand, |config| config.keep_open, signals, heartbeat);
        let search = Search::new(Pts::now());
        Sound { config, why, status, sender, orders, search, said: String::new(), gone: false, heard: false }
            .run();
    })
}

/// All that the thread owns.
struct Sound {
    config: config::Audio,
    why: &'static str,
    status: Arc<Source<status::Audio>>,
    sender: Sender,
    orders: Orders<config::Audio>,
    search: Search,
    /// What the log was told last; it is told changes only.
    said: String,
    /// And that was that there is no sound.
    gone: bool,
    /// A microphone has been open. From then on the tone is no stand-in: silence is what a viewer expects.
    heard: bool,
}

impl Sound {
    fn run(mut self) {
        loop {
            self.reconfigured();
            match self.orders.now() {
                Order::Stop => return,
                _ if self.config.device == Microphone::Off => self.off(),
                Order::Open => {
                    if let Err(e) = self.open() {
                        self.gone(&e);
                        self.orders.pause(SECOND);
                    }
                }
                Order::Closed => self.rest(),
                Order::Private => self.hide(),
            }
        }
    }

    /// Takes over the configuration, if it has changed. Says whether the microphone has to be opened anew for it.
    fn reconfigured(&mut self) -> bool {
        if *self.orders.config() == self.config {
            return false;
        }
        let new = self.orders.config().clone();
        let old = std::mem::replace(&mut self.config, new);
        let new = &self.config;
        if (old.channels, old.bitrate_bps, old.dtx) != (new.channels, new.bitrate_bps, new.dtx) {
            self.sender.encode_as(new);
        }
        let anew = (&old.device, &old.others, old.channels) != (&new.device, &new.others, new.channels);
        if anew {
            self.heard &= old.device == new.device;
            self.search = Search::new(Pts::now());
        }
        anew
    }

    /// There is to be no sound.
    fn off(&mut self) {
        self.status.change(|a| {
            if a.state != State::Off {
                info!("sound: switched off in the configuration");
            }
            let why = "switched off in the configuration".into();
            *a = status::Audio { state: State::Off, source: "off", why, ..Default::default() };
        });
        self.said.clear();
        self.gone = false;
        self.orders.wait(None);
    }

    /// Opens what the configuration asks for and runs it while it is to be open, or until it is better to open anew.
    fn open(&mut self) -> Result<(), Error> {
        self.status.change(status::Audio::opening);
        self.orders.to_device();
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
        match microphones::open(&self.config, self.why)? {
            (choice, None) if self.heard => Err(Error::None(choice.why)),
            chosen => Ok(chosen),
        }
    }

    /// Nobody listens: the microphone is closed. At first it is looked which one that is; likewise now and then while it
    /// is missing, and when something was plugged in or out.
    fn rest(&mut self) {
        if self.orders.plugged() {
            self.search = Search::new(Pts::now());
        }
        match self.search.due_in(Pts::now()) {
            Some(Duration::ZERO) => {
                self.status.change(status::Audio::uncovered); // a look opens it for a moment
                self.orders.to_device();
                match self.choose() {
                    Ok((choice, microphone)) => {
                        self.tell(State::Idle, choice, microphone.map(|m| m.spec()));
                        self.search.found();
                    }
                    Err(e) => self.gone(&e),
                }
            }
            Some(_) => {}
            None => self.status.change(|a| {
                if a.state != State::Idle {
                    debug!("microphone closed: nobody is listening");
                }
                (a.state, a.reason, a.drift_ppm, a.offset_ms) = (State::Idle, None, None, None);
            }),
        }
        let due = self.search.due_in(Pts::now());
        self.orders.wait(due);
    }

    fn hide(&mut self) {
        self.status.change(|a| {
            if a.state != State::Private {
                info!("microphone: closed, because privacy is on");
            }
            (a.state, a.reason) = (State::Private, Some(PRIVATE.into()));
            (a.drift_ppm, a.offset_ms) = (None, None);
        });
        self.search = Search::new(Pts::now());
        self.said.clear();
        self.gone = false;
        self.orders.wait(None);
    }

    /// Encodes what the microphone hears while somebody listens.
    fn microphone(&mut self, choice: Choice, mut microphone: alsa::Microphone) -> Result<(), Error> {
        let result = self.listen(choice, &mut microphone);
        self.orders.to_device(); // it will be closed
        result
    }

    fn listen(&mut self, choice: Choice, microphone: &mut alsa::Microphone) -> Result<(), Error> {
        let spec = microphone.spec();
        let (from, to) = (spec.channels as usize, self.config.channels as usize);
        let mut retimer = Retimer::new(spec.rate_hz, to, spec.period)
            .map_err(|e| Error::Unusable(format!("the microphone: {e}")))?;
        let mut told = Pts::now();
        // It is told to be live when it has delivered, or when nobody wants it to: one that opens and then stays
        // mute remains "gone".
        let mut choice = Some(choice);
        while self.orders.now() == Order::Open && !self.reconfigured() {
            if self.orders.wants().viewers == 0 {
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
                self.status.measured(|a| {
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
        let mut looked = Pts::now();
        let stands_in = self.config.device == Microphone::Auto;
        while self.orders.now() == Order::Open && !self.reconfigured() {
            let now = Pts::now();
            if stands_in && (self.orders.plugged() || now.since(looked) >= SECOND) {
                looked = now;
                if microphones::any() {
                    return;
                }
            }
            if self.orders.wants().viewers == 0 {
                self.orders.wait(stands_in.then_some(SECOND));
                continue;
            }
            // A packet is due when its last sample has "been captured", as with a microphone.
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
        let mut which = choice.name.clone();
        if let Some(alsa) = choice.alsa.as_ref().filter(|alsa| **alsa != choice.name) {
            which += &format!(" ({alsa})");
        }
        which += &format!(", because {}", choice.why);
        if let Some(spec) = spec {
            which += &format!("; {} Hz, {} ch, {}", spec.rate_hz, spec.channels, spec.format);
        }
        let back = std::mem::take(&mut self.gone) && choice.alsa.is_some();
        let said = format!("{source}: {which}");
        if self.said != said {
            info!("{source}: {}{which}", if back { "back: " } else { "" });
            self.said = said;
        }
        let channels = self.config.channels;
        self.status.change(|a| {
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
        if self.heard && matches!(e, Error::None(_)) && self.gone {
            return;
        }
        self.gone = true;
        let said = format!("no sound: {e}");
        if self.said == said {
            return;
        }
        warn!("{said}; trying again every second while somebody is listening");
        self.said = said;
        let named = match &self.config.device {
            Microphone::Device(alsa) => Some(alsa.clone()),
            _ => None,
        };
        self.status.change(|a| {
            (a.state, a.reason) = (State::Gone, Some(e.to_string()));
            (a.source, a.drift_ppm, a.offset_ms) = ("microphone", None, None);
            if !self.heard {
                a.name = named.clone().unwrap_or_default();
                a.device = named;
                a.why = self.why.into();
            }
        });
    }
}

/// Encodes packets of the grid and hands them to the hub.
struct Sender {
    /// None if it could not be made.
    encoder: Option<Encoder>,
    hub: Arc<Hub<AudioUnit>>,
    status: Arc<Source<status::Audio>>,
    clock: RtpClock,
    private: Private,
    /// Packets before this one have been sent, or are too late to be.
    next: u64,
    failing: bool,
}

impl Sender {
    fn new(
        config: &config::Audio,
        hub: Arc<Hub<AudioUnit>>,
        status: Arc<Source<status::Audio>>,
        clock: RtpClock,
        private: Private,
    ) -> io::Result<Self> {
        let encoder =
            Encoder::new(config.channels, config.bitrate_bps, config.dtx).map_err(io::Error::other)?;
        Ok(Self { encoder: Some(encoder), hub, status, clock, private, next: 0, failing: false })
    }

    /// Encodes by another configuration from now on.
    fn encode_as(&mut self, config: &config::Audio) {
        let encoder = Encoder::new(config.channels, config.bitrate_bps, config.dtx);
        self.encoder = encoder.inspect_err(|e| warn!("no sound: {e}")).ok();
    }

    /// Sends packet number `packet`. Its RTP time follows from the number, so whatever is left out leaves a gap
    /// in RTP time, and a browser's jitter buffer goes on in time.
    fn send(&mut self, packet: u64, samples: &[f32]) {
        if packet < self.next {
            return; // a new source may start within the packet that the old one ended with
        }
        self.next = packet + 1;
        let Some(encoder) = &mut self.encoder else { return };
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
        self.hub.publish_captured(&Arc::new(unit), &self.private);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::tone::tests::level;
    use crate::clock::VIDEO_HZ;
    use crate::pipeline::hub::Subscription;
    use crate::privacy::Privacy;
    use crate::status::Status;

    fn clocks() -> Clocks {
        let clock = |hz| RtpClock { hz, offset: 0xffff_0000 };
        Clocks { video: clock(VIDEO_HZ), audio: clock(AUDIO_HZ) }
    }

    /// The thread, and what it is told by.
    struct Running {
        stream: Arc<AudioStream>,
        status: Arc<Source<status::Audio>>,
        config: watch::Sender<config::Audio>,
        _worker: Worker,
    }

    fn running(device: Microphone) -> Running {
        let (stream, status) = (Arc::new(AudioStream::default()), Status::default().source());
        let config = watch::Sender::new(config::Audio { device, ..Default::default() });
        let worker = spawn(Context {
            threads: Threads::Only,
            why: microphones::NAMED,
            config: config.subscribe(),
            stream: stream.clone(),
            status: status.clone(),
            clocks: clocks(),
            private: Private::of(watch::channel(Privacy::default()).1, "front"),
            hotplug: watch::channel(0).1,
            heartbeats: Arc::default(),
            stop: CancellationToken::new(),
        });
        Running { stream, status, config, _worker: worker.expect("starts") }
    }

    #[tokio::test]
    async fn the_tone_is_sent_in_time_and_only_while_somebody_listens() {
        let Running { stream, status, _worker, .. } = running(Microphone::Tone);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(status.counters.opus_packets.get(), 0);

        let (_claim, mut listener) = (stream.demand.watch(), stream.hub.subscribe());
        let mut decoder = ::opus::Decoder::new(AUDIO_HZ, ::opus::Channels::Mono).expect("decoder");
        let (mut out, mut last, mut beeps) = ([0.0; PACKET_FRAMES], None, 0);
        // Packets in a row: in the first of them the decoder still rings of what came before.
        let mut row = 0;
        // Some 60; more where a busy machine left beeps out.
        for n in 0.. {
            if beeps >= 2 {
                break;
            }
            let unit = listener.recv().await;
            assert_eq!(unit.rtp_time, clocks().audio.ticks(unit.pts));
            if let Some((rtp_time, pts)) = last.replace((unit.rtp_time, unit.pts)) {
                let ticks = unit.rtp_time.wrapping_sub(rtp_time);
                assert!(ticks > 0 && ticks.is_multiple_of(960), "{ticks}"); // more than 960: a busy machine
                assert_eq!(u128::from(ticks) * 20_000 / 960, unit.pts.since(pts).as_micros());
                row = if ticks == 960 { row + 1 } else { 0 };
            }
            decoder.decode_float(&unit.payload, &mut out, false).expect("decodes");
            let into_second = unit.pts.as_micros() % 1_000_000;
            if row > 5 && (10_000..70_000).contains(&into_second) {
                assert!(level(&out, 3e3) > 0.15, "{into_second}");
                beeps += 1;
            } else if row > 5 && (120_000..970_000).contains(&into_second) {
                assert!(level(&out, 3e3) < 0.02, "{into_second}");
            }
            assert!(Pts::now().since(unit.pts) >= pcm::PACKET, "sound from the future");
            assert!(n < 1000, "no beeps");
        }
    }

    /// The channels of the next packets.
    async fn heard(listener: &mut Subscription<AudioUnit>, packets: usize) -> Vec<::opus::Channels> {
        let mut channels = vec![];
        while channels.len() < packets {
            let next = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
            let unit = next.expect("sound");
            channels.push(::opus::packet::get_nb_channels(&unit.payload).expect("an Opus packet"));
        }
        channels
    }

    /// Whether nothing comes for a while. What waits already is not looked at.
    async fn is_silent(listener: &mut Subscription<AudioUnit>) -> bool {
        let wait = async |listener: &mut Subscription<AudioUnit>, ms| {
            tokio::time::timeout(Duration::from_millis(ms), listener.recv()).await
        };
        while wait(listener, 1).await.is_ok() {}
        wait(listener, 100).await.is_err()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_switched_off_and_on_and_changed_while_somebody_listens() {
        let Running { stream, status, config, _worker } = running(Microphone::Off);
        let said = |key: &str| serde_json::to_value(status.now()).expect("JSON")[key].clone();
        let (_claim, mut listener) = (stream.demand.watch(), stream.hub.subscribe());
        assert!(is_silent(&mut listener).await);
        assert_eq!((said("state"), said("source")), ("off".into(), "off".into()));
        config.send_modify(|c| c.device = Microphone::Tone);
        let channels = heard(&mut listener, 10).await;
        assert!(channels.iter().all(|c| *c == ::opus::Channels::Mono), "{channels:?}");
        assert_eq!(
            (said("state"), said("source"), said("channels")),
            ("live".into(), "tone".into(), 1.into())
        );
        config.send_modify(|c| (c.channels, c.bitrate_bps) = (2, 128_000));
        let mut on_its_way = 0;
        while heard(&mut listener, 1).await == [::opus::Channels::Mono] {
            on_its_way += 1;
            assert!(on_its_way < 50, "no change");
        }
        let channels = heard(&mut listener, 10).await;
        assert!(channels.iter().all(|c| *c == ::opus::Channels::Stereo), "{channels:?}");
        assert_eq!(said("channels"), 2);
        config.send_modify(|c| c.device = Microphone::Off);
        for _ in 0..1000 {
            if said("state") == "off" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((said("state"), said("source")), ("off".into(), "off".into()));
        assert!(is_silent(&mut listener).await);
    }
}
