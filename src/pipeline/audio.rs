//! Encodes the sound of a microphone, or the test tone, as Opus packets for the hub. One thread opens and
//! closes the microphone as its [orders](super::orders) say, and retries it in one place.

mod publisher;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::publisher::Publisher;
use super::orders::{Order, Orders, PRIVATE, Search, Signals};
use super::stream::AudioStream;
use super::worker::{TICK, Threads, Worker};
use crate::capture::Error;
use crate::capture::alsa::{self, Read, Spec};
use crate::capture::microphones::{self, Choice};
use crate::capture::tone::Tone;
use crate::clock::{AUDIO_HZ, Clocks, Pts};
use crate::config::{self, Microphone};
use crate::heartbeat::Heartbeats;
use crate::media::pcm::{self, PACKET_FRAMES};
use crate::media::retime::Retimer;
use crate::privacy::Private;
use crate::status::{self, Source, State};

/// Largest number of late packets of the tone that are sent in a burst after the thread was delayed. Older
/// sound is left out: the newest wins.
const MAX_BEHIND: u64 = 3;
/// How often to look for a missing microphone while somebody is listening, to check that a resting one is
/// still there, and to report measured figures.
const SECOND: Duration = Duration::from_secs(1);

/// What the thread shares with others.
pub struct Context {
    /// The owner of the thread, for its name.
    pub threads: Threads,
    /// The reason to report for a device that has a name.
    pub why: &'static str,
    /// `[audio]`; changes take effect immediately.
    pub config: watch::Receiver<config::Audio>,
    /// Source of the demand and destination of the packets.
    pub stream: Arc<AudioStream>,
    /// Receives every change of state.
    pub status: Arc<Source<status::Audio>>,
    /// RTP clocks of the streams.
    pub clocks: Clocks,
    /// While true the microphone stays closed, even with listeners.
    pub private: Private,
    /// Counts microphones that are plugged in or out: a missing one is then looked for immediately.
    pub hotplug: watch::Receiver<u64>,
    /// Where the thread reports that it is alive.
    pub heartbeats: Arc<Heartbeats>,
    /// Ends the thread.
    pub stop: CancellationToken,
}

/// Starts the thread "audio"; call it in a runtime. It sleeps while the configuration switches sound off.
pub fn spawn(context: Context) -> io::Result<Worker> {
    let Context { threads, why, config: live, stream, status, clocks, private, hotplug, heartbeats, stop } =
        context;
    let config = live.borrow().clone();
    let publisher = Publisher::new(&config, stream.clone(), status.clone(), clocks.audio, private.clone())?;
    let runtime = Handle::current();
    Worker::spawn(&threads.clone(), "audio", &stop, move |stop| {
        let _entered = runtime.enter();
        let signals = Signals { config: live, private, hotplug, stop };
        let heartbeat = heartbeats.thread(&threads.name("audio"));
        let orders = Orders::new(&stream.demand, |config| config.keep_open, signals, heartbeat);
        let search = Search::new(Pts::now());
        Sound {
            config,
            why,
            status,
            publisher,
            orders,
            search,
            said: String::new(),
            gone: false,
            heard: false,
        }
        .run();
    })
}

/// The state of the thread.
struct Sound {
    config: config::Audio,
    why: &'static str,
    status: Arc<Source<status::Audio>>,
    publisher: Publisher,
    orders: Orders<config::Audio>,
    search: Search,
    /// The last message that was logged; only changes are logged.
    said: String,
    /// Whether that message said that there is no sound.
    gone: bool,
    /// Whether a microphone has been open. From then on the tone does not replace it: viewers expect silence.
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

    /// Applies the configuration, if it has changed. Returns whether the microphone must be reopened for it.
    fn reconfigured(&mut self) -> bool {
        if *self.orders.config() == self.config {
            return false;
        }
        let new = self.orders.config().clone();
        let old = std::mem::replace(&mut self.config, new);
        let new = &self.config;
        if (old.channels, old.bitrate_bps, old.dtx) != (new.channels, new.bitrate_bps, new.dtx) {
            self.publisher.encode_as(new);
        }
        let anew = (&old.device, &old.others, old.channels) != (&new.device, &new.others, new.channels);
        if anew {
            self.heard &= old.device == new.device;
            self.search = Search::new(Pts::now());
        }
        anew
    }

    /// Switches the sound off.
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

    /// Opens the configured microphone and runs it for as long as it should be open, or until it must be
    /// reopened.
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
                self.report(State::Live, choice, None);
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

    /// Nobody is listening: keeps the microphone closed. Looks for it at first, when something was plugged in
    /// or out, and now and then while it is missing.
    fn rest(&mut self) {
        if self.orders.plugged() {
            self.search = Search::new(Pts::now());
        }
        match self.search.due_in(Pts::now()) {
            Some(Duration::ZERO) => {
                self.status.change(status::Audio::uncovered); // looking opens it for a moment
                self.orders.to_device();
                match self.choose() {
                    Ok((choice, microphone)) => {
                        self.report(State::Idle, choice, microphone.map(|m| m.spec()));
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

    /// Encodes the microphone's sound while somebody is listening.
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
        // It is reported as live when it has delivered sound, or when nobody wants it to: a microphone that
        // opens but stays mute remains "gone".
        let mut choice = Some(choice);
        while self.orders.now() == Order::Open && !self.reconfigured() {
            if self.orders.wants().viewers == 0 {
                microphone.rest()?;
                choice.take().into_iter().for_each(|choice| self.report(State::Live, choice, Some(spec)));
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
                    choice.take().into_iter().for_each(|choice| self.report(State::Live, choice, Some(spec)));
                    let jumped = !retimer.observe(captured, at);
                    self.status.counters.sound_jumps.add(jumped.into());
                    spec.format.decode(bytes, from, to, retimer.input());
                    while let Some((n, samples)) = retimer.next(Pts::now()) {
                        self.publisher.send(n, samples);
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

    /// Plays the tone while somebody is listening. If the tone only replaces a microphone, returns as soon as
    /// there may be one; if that can't be opened, the tone resumes before anybody hears a gap.
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
            // A packet is due when its last sample has "been captured", as for a microphone.
            if pcm::packet_at(now).saturating_sub(next) > MAX_BEHIND {
                next = pcm::packet_at(now); // after a rest or a delay
            }
            thread::sleep(pcm::packet_start(next + 1).since(now));
            tone.fill(next * PACKET_FRAMES as u64, channels, &mut samples);
            self.publisher.send(next, &samples);
            next += 1;
        }
    }

    /// Reports that `choice` is there, and its state.
    fn report(&mut self, state: State, choice: Choice, spec: Option<Spec>) {
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

    /// Reports that there is no sound, and why.
    fn gone(&mut self, e: &Error) {
        self.search.missing(Pts::now());
        // If it was unplugged, "unplugged" says more than the present error that it can't be found.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::capture::tone::tests::level;
    use crate::clock::{RtpClock, VIDEO_HZ};
    use crate::media::unit::AudioUnit;
    use crate::pipeline::hub::Subscription;
    use crate::privacy::Privacy;
    use crate::status::Status;

    fn clocks() -> Clocks {
        let clock = |hz| RtpClock { hz, offset: 0xffff_0000 };
        Clocks { video: clock(VIDEO_HZ), audio: clock(AUDIO_HZ) }
    }

    /// The thread, and its inputs.
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
        // Packets in a row: in the first one the decoder still produces some of the previous sound.
        let mut row = 0;
        // About 60; more if a busy machine missed some beeps.
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

    /// The numbers of channels of the next packets.
    async fn heard(listener: &mut Subscription<AudioUnit>, packets: usize) -> Vec<::opus::Channels> {
        let mut channels = vec![];
        while channels.len() < packets {
            let next = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
            let unit = next.expect("sound");
            channels.push(::opus::packet::get_nb_channels(&unit.payload).expect("an Opus packet"));
        }
        channels
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bad_link_gets_less_sound_and_the_others_what_they_had() {
        let Running { stream, status, _worker, .. } = running(Microphone::Tone);
        // The next packets: when they were captured, and their bits.
        let packets = async |listener: &mut Subscription<AudioUnit>| {
            let mut packets = BTreeMap::new();
            while packets.len() < 50 {
                let unit = listener.recv().await;
                packets.insert(unit.pts, unit.payload.len() * 8);
            }
            packets
        };
        let (_claim, mut listener) = (stream.demand.watch(), stream.hub.subscribe());
        let full: usize = packets(&mut listener).await.values().sum();
        let mut bad = stream.low.subscribe();
        let (low, beside) = tokio::join!(packets(&mut bad), packets(&mut listener));
        // The same packets: a machine that leaves some out gives both encoders the same clicks to encode.
        let both = low.iter().filter_map(|(pts, bits)| Some((bits, beside.get(pts)?)));
        let (less, usual) = both.fold((0, 0), |sum, (low, usual)| (sum.0 + low, sum.1 + usual));
        assert!(usual > 0 && less < usual / 2, "{less} bits, where the others got {usual}");
        let beside: usize = beside.values().sum();
        assert!(beside > full * 3 / 4, "{beside} bits in 50 packets, before {full}");
        // Nobody listens to the usual sound: it is not encoded.
        drop(listener);
        packets(&mut bad).await;
        let before = status.counters.opus_packets.get();
        packets(&mut bad).await;
        let encoded = status.counters.opus_packets.get() - before;
        assert!(encoded < 75, "{encoded} packets for 50");
    }

    /// Whether nothing arrives for a while. Packets that are already waiting are ignored.
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
