// Runs in the page before its own scripts: records the page's sockets and peer connections, examines each presented frame, and listens
// to the sound. Of several cameras it examines the enlarged one, or the first. It does not change how the page or its media behave.
(() => {
  if (window.probe) return; // a second time in the same document
  const connections = [];
  const sockets = [];
  const timing = { offered: null, shown: null }; // ms since the navigation began
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      connections.push(this);
    }
    setLocalDescription(...args) {
      timing.offered ??= performance.now();
      return super.setLocalDescription(...args);
    }
  };

  const RealSocket = window.WebSocket;
  window.WebSocket = class extends RealSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  };

  // --- Pictures

  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });

  /** Pixels of a part of the video's current frame, without scaling. */
  function pixels(video, x, y, width, height) {
    if (canvas.width < width) canvas.width = width;
    if (canvas.height < height) canvas.height = height;
    context.drawImage(video, x, y, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  }

  /** The stamp: {number, unixMs}, or null if the checksum is wrong. */
  function stamp(video, width, height) {
    const cell = Math.floor(width / 32);
    const strip = pixels(video, 0, height - 4 * cell, 32 * cell, 4 * cell);
    let bits = '';
    for (const row of [cell, 3 * cell]) {
      for (let i = 0; i < 32; i++) {
        bits += strip[(row * 32 * cell + i * cell + (cell >> 1)) * 4 + 1] > 127 ? '1' : '0';
      }
    }
    const octets = bits.match(/.{8}/g).map((b) => parseInt(b, 2));
    if (octets.slice(0, 7).reduce((a, b) => a ^ b, 0x5a) !== octets[7]) return null;
    return { number: parseInt(bits.slice(0, 16), 2), unixMs: parseInt(bits.slice(16, 56), 2) };
  }

  /** Mean [r, g, b] around a point. */
  function colour(video, x, y) {
    const size = 4;
    const data = pixels(video, Math.round(x - size / 2), Math.round(y - size / 2), size, size);
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
    return sum.map((v) => Math.round((v / (size * size)) * 10) / 10);
  }

  /** Mean colours in the middles of eight equal vertical bars, at a height given as a fraction of the picture's. */
  function bars(video, atHeight) {
    const { videoWidth: width, videoHeight: height } = video;
    return Array.from({ length: 8 }, (_, i) => colour(video, ((i + 0.5) * width) / 8, height * atHeight));
  }

  const frames = { presented: 0 };
  let watching = null; // what `watch` collects

  function onFrame(video, now, metadata) {
    frames.presented += 1;
    frames.last = performance.now();
    timing.shown ??= metadata.presentationTime;
    if (watching) {
      const { width, height } = metadata;
      const at = performance.now();
      const unixMs = performance.timeOrigin + at;
      // The drawn picture may be the next one already; with a different size it would be misread.
      const read = video.videoWidth === width ? stamp(video, width, height) : null;
      // At the screen's next refresh; Chromium sometimes assumes a longer interval, that of the pictures.
      const display = Math.min(metadata.expectedDisplayTime, now + 1000 / 60);
      watching.frames.push({
        at,
        width,
        number: read?.number ?? null,
        // the stamp has 40 bits of the time; the rest is taken from the current time
        delay: read && unixMs - (Math.floor(unixMs / 2 ** 40) * 2 ** 40 + read.unixMs),
        display,
        rtp: metadata.rtpTimestamp,
        flash: colour(video, width * 0.5, height * 0.1)[1],
        left: performance.now(), // reading pixels takes time, and the page gets the picture after this script
      });
      watching.width = width;
      watching.height = height;
    }
  }

  function follow(element) {
    if (element.followed) return;
    element.followed = true;
    const next = (now, metadata) => {
      element.requestVideoFrameCallback(next);
      if (element === video()) onFrame(element, now, metadata);
    };
    element.requestVideoFrameCallback(next);
  }
  const look = () => document.querySelectorAll('video').forEach(follow);
  new MutationObserver(look).observe(document, { childList: true, subtree: true });

  const video = () => document.querySelector('.tile.enlarged video') ?? document.querySelector('video');
  /** The element that plays the sound. */
  const sounding = () => document.querySelector('video');

  // --- Sound: an analyser of what leaves the jitter buffer

  const RATE = 48000;
  const WINDOW = 96; // 2 ms: whole periods of 1 kHz and of 3 kHz, so that neither is taken for the other
  const STEP = 24;

  /** Amplitude of a frequency in samples[from .. from + length], by Goertzel's algorithm; 1 is full scale. */
  function amplitude(samples, from, length, hz) {
    const turn = 2 * Math.cos((2 * Math.PI * hz) / RATE);
    let before = 0;
    let last = 0;
    for (let i = from; i < from + length; i++) [before, last] = [last, samples[i] + turn * last - before];
    return (2 * Math.sqrt(Math.max(0, last * last + before * before - turn * last * before))) / length;
  }

  /**
   * Listens for some seconds. The analyser's window is longer than the time between two reads of it, so no sample is missed,
   * however busy this thread is. A read counts only if the context's clock did not advance during it: then the window's last
   * sample belongs to that clock value.
   *
   * The clock is mapped to performance.now() by its readings around an onset, using the middle of them: the graph takes many
   * samples at a time out of the stream. Readings from further away don't count: whenever a busy machine makes the graph wait,
   * its clock loses that time. The element, whose sound a person hears, took the same sample from the same jitter buffer up to
   * two 10 ms blocks earlier, and its output adds about as much: the onsets below are accurate to ±20 ms.
   */
  async function listen(stream, seconds) {
    const audio = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
    // Not awaited: it never resolves if there is no sound device.
    audio.resume();
    const patience = performance.now() + 5000;
    while (audio.currentTime === 0) {
      if (performance.now() > patience) throw new Error(`the AudioContext stays ${audio.state}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const analyser = new AnalyserNode(audio, { fftSize: 32768, smoothingTimeConstant: 0 });
    audio.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const onsets = []; // of the beep, on the context's clock
    const tones = [];
    const beeps = [];
    let peakHz = 0;
    const readings = []; // of the context's clock: {clock s, ahead: performance.now() ms minus context ms}
    let heard = audio.currentTime; // the beep was searched for up to here
    let loud = true; // whether a beep is playing, as far as known
    let scale = 0; // the loudest 3 kHz so far
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      const clock = audio.currentTime;
      const now = performance.now();
      readings.push({ clock, ahead: now - clock * 1000 });
      if (clock - heard < 0.2) continue;
      analyser.getFloatTimeDomainData(samples);
      if (audio.currentTime !== clock) continue;
      const first = Math.max(0, samples.length - Math.round((clock - heard) * RATE));
      for (let at = first; at + WINDOW <= samples.length; at += STEP) {
        const level = amplitude(samples, at, WINDOW, 3000);
        scale = Math.max(scale, level);
        const beep = scale > 0.02 && level > scale / 2;
        if (beep && !loud) onsets.push(clock - (samples.length - at - WINDOW / 2) / RATE);
        loud = beep;
      }
      const part = samples.subarray(first);
      tones.push(amplitude(part, 0, Math.floor(part.length / WINDOW) * WINDOW, 1000));
      beeps.push(amplitude(part, 0, Math.floor(part.length / WINDOW) * WINDOW, 3000));
      const spectrum = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(spectrum);
      peakHz = (spectrum.indexOf(Math.max(...spectrum)) * RATE) / analyser.fftSize;
      heard = clock;
    }
    // `audio.outputLatency` is not read: Firefox 153 locks its graph for that, and hangs forever if its sound thread wants that
    // lock at the same moment.
    audio.close(); // not awaited, as above
    const ahead = (at) =>
      median(readings.filter(({ clock }) => Math.abs(clock - at) < 0.25).map((reading) => reading.ahead));
    return {
      peakHz,
      tone: median(tones),
      beep: scale,
      onsets: onsets.map((at) => at * 1000 + ahead(at)),
    };
  }

  // --- Facts

  const sorted = (values) => values.filter((v) => v !== null && v !== undefined).sort((a, b) => a - b);
  const quantile = (values, q) => {
    const s = sorted(values);
    return s.length ? s[Math.min(s.length - 1, Math.floor(q * s.length))] : null;
  };
  const median = (values) => quantile(values, 0.5);

  /** Statistics of the newest connection that is not closed: {video, audio, pair}, or null. */
  async function stats() {
    const open = connections.filter((c) => c.connectionState !== 'closed');
    if (!open.length) return null;
    const report = await open[open.length - 1].getStats();
    const facts = { connections: open.length, state: open[open.length - 1].connectionState };
    const shown = video()?.srcObject?.getVideoTracks()[0]?.id;
    report.forEach((s) => {
      const other = s.kind === 'video' && s.trackIdentifier !== undefined && s.trackIdentifier !== shown;
      if (s.type === 'inbound-rtp' && !other) facts[s.kind] = { ...s, mimeType: report.get(s.codecId)?.mimeType };
      if (s.type === 'candidate-pair' && s.nominated) facts.pair = { rtt: s.currentRoundTripTime, bytes: s.bytesReceived };
    });
    return facts;
  }

  /** The path of the media: {protocol, local, remote}, each end with its type and what the browser reports of its address. */
  async function path() {
    const open = connections.filter((c) => c.connectionState !== 'closed');
    const report = await open[open.length - 1].getStats();
    const all = [...report.values()];
    const chosen = all.find((s) => s.type === 'transport')?.selectedCandidatePairId;
    const pair = report.get(chosen) ?? all.find((s) => s.type === 'candidate-pair' && s.nominated);
    const end = (id) => {
      const { candidateType: type, address, port, relayProtocol } = report.get(id) ?? {};
      return { type, address, port, relayProtocol };
    };
    return pair && { protocol: report.get(pair.localCandidateId)?.protocol,
      local: end(pair.localCandidateId), remote: end(pair.remoteCandidateId) };
  }

  /** Pairs each flash with the nearest beep; positive: the sound is late. */
  function lipSync(frames, onsets) {
    const flashes = frames.filter((f, i) => i > 0 && f.flash > 160 && frames[i - 1].flash < 120).map((f) => f.display);
    const differences = flashes
      .map((flash) => onsets.map((o) => o - flash).sort((a, b) => Math.abs(a) - Math.abs(b))[0])
      .filter((d) => d !== undefined && Math.abs(d) < 500);
    return { flashes: flashes.length, beeps: onsets.length, pairs: differences, median: median(differences) };
  }

  const received = (facts, names) => [facts?.video, facts?.audio].flatMap((of) => names.map((name) => of?.[name] ?? 0)).reduce((a, b) => a + b);

  const GAP = 200; // shortest reported time without a new picture, ms

  const TOLD = 60; // number of pictures in the delay that the page shows: its DELAYS

  /**
   * Delays of the pictures that the browser reported. If its compositor ran ahead of a late callback, the stamp is that of a
   * newer picture; the RTP timestamps give the distance between the two.
   */
  function delaysTold(frames) {
    const since = (frame) => ((frame.rtp - frames[0].rtp) | 0) / 90; // ms
    const captured = (frame) => frame.at - frame.delay - since(frame);
    const first = Math.min(...frames.filter((f) => f.delay !== null).map(captured));
    return frames.map((frame) => frame.left - since(frame) - first);
  }

  async function watch(seconds, sound) {
    const before = await stats();
    const collected = { frames: [] };
    const from = performance.now();
    watching = collected;
    const listening = sound ? listen(sounding().srcObject, seconds) : null;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    watching = null;
    const told = window.peercam?.facts ?? null;
    const to = performance.now();
    const after = await stats();
    const heard = await listening;
    const { frames: seen } = collected;
    const numbers = seen.map((f) => f.number).filter((n) => n !== null);
    const looks = [from, ...seen.map((f) => f.at), to];
    const count = (name) => (after?.video?.[name] ?? 0) - (before?.video?.[name] ?? 0);
    return {
      seconds,
      width: collected.width ?? 0,
      height: collected.height ?? 0,
      presented: seen.length,
      // Of sound and pictures, with RTP headers, and the number of packets.
      bytes: received(after, ['bytesReceived', 'headerBytesReceived']) - received(before, ['bytesReceived', 'headerBytesReceived']),
      packets: received(after, ['packetsReceived']) - received(before, ['packetsReceived']),
      decoded: count('framesDecoded'),
      keyframes: count('keyFramesDecoded'),
      pli: count('pliCount'),
      nack: count('nackCount'),
      freezes: count('freezeCount'),
      retransmitted: count('retransmittedPacketsReceived'),
      // Times without a new picture, including those at the beginning and the end: from and to, Unix time in ms.
      gaps: looks
        .slice(1)
        .map((at, i) => [looks[i], at])
        .filter(([from, to]) => to - from > GAP)
        .map((gap) => gap.map((at) => at + performance.timeOrigin)),
      stamps: numbers.length,
      stampsWrong: seen.length - numbers.length,
      // Frames that were skipped between two presented ones; the number wraps at 16 bits.
      skipped: numbers.slice(1).reduce((sum, n, i) => sum + Math.max(0, ((n - numbers[i] + 65536) % 65536) - 1), 0),
      repeated: numbers.slice(1).filter((n, i) => n === numbers[i]).length,
      backwards: numbers.slice(1).filter((n, i) => (n - numbers[i] + 65536) % 65536 > 32768).length,
      // The delay that the page shows, and the stamps of the pictures that it is about.
      told,
      delay: {
        p50: quantile(seen.map((f) => f.delay), 0.5),
        p95: quantile(seen.map((f) => f.delay), 0.95),
        toldP50: quantile(delaysTold(seen).slice(-TOLD), 0.5),
      },
      jitterBufferMs: {
        video: after?.video && (after.video.jitterBufferDelay / after.video.jitterBufferEmittedCount) * 1000,
        audio: after?.audio && (after.audio.jitterBufferDelay / after.audio.jitterBufferEmittedCount) * 1000,
      },
      bars: video()?.videoWidth ? bars(video(), 0.625) : null,
      codec: after?.video?.mimeType ?? null,
      audioPackets: (after?.audio?.packetsReceived ?? 0) - (before?.audio?.packetsReceived ?? 0),
      muted: sounding()?.muted ?? null,
      sound: heard && { peakHz: heard.peakHz, tone: heard.tone, beep: heard.beep },
      lipSync: heard && lipSync(seen, heard.onsets),
      rtpTimestamps: seen.some((f) => f.rtp !== undefined),
    };
  }

  const COUNTS = ['packetsLost', 'framesReceived', 'framesDecoded', 'framesDropped', 'keyFramesDecoded', 'pliCount', 'firCount',
    'nackCount', 'freezeCount'];

  /**
   * Chooses sizes of the picture on the page, as a person does in the details, and cameras for its section, as the page could:
   * [camera, value, ms until the next choice] each, at times that a busy machine does not shift. Returns the choices and the
   * pictures shown meanwhile, both with their Unix time in ms, and the browser's counters.
   */
  async function choose(choices) {
    const select = document.getElementById('quality');
    const unix = (at) => performance.timeOrigin + at;
    const before = await stats();
    const collected = { frames: [] };
    watching = collected;
    const asked = [];
    const mid = connections.at(-1).getTransceivers()[0].mid;
    let due = performance.now();
    for (const [camera, value, ms] of choices) {
      if (camera !== asked.at(-1)?.camera) sockets.at(-1).send(JSON.stringify({ type: 'camera', mid, camera }));
      select.value = value;
      select.dispatchEvent(new Event('change', { bubbles: true }));
      asked.push({ at: unix(performance.now()), camera, quality: window.peercam.facts.quality });
      due += ms;
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    }
    watching = null;
    const after = await stats();
    return {
      asked,
      frames: collected.frames.map(({ at, width, rtp, number }) => ({ at: unix(at), width, rtp, number })),
      counts: Object.fromEntries(COUNTS.map((name) => [name, after.video[name] - before.video[name]])),
      generation: window.peercam.facts.generation,
    };
  }

  /** Starts choosing; afterwards `chosen` is what `choose` returned, or an error. */
  function startToChoose(choices) {
    window.probe.chosen = null;
    choose(choices).catch((error) => ({ error: String(error) })).then((seen) => (window.probe.chosen = seen));
  }

  /** When the page made its first offer, and when its first picture was presented: ms since the navigation began. */
  async function firstPicture() {
    while (timing.shown === null) await new Promise((resolve) => setTimeout(resolve, 20));
    return timing;
  }

  /**
   * Makes the browser send a PLI, with the keyframe request of an encoded transform, and returns how many keyframes were decoded
   * within the given seconds, and how many PLIs were sent. The page allows only workers from its own origin, so the test has to
   * serve `workerUrl`.
   */
  async function requestKeyframe(workerUrl, seconds) {
    const worker = new Worker(workerUrl);
    const answer = () => new Promise((resolve, reject) => {
      worker.onmessage = (e) => resolve(e.data);
      worker.onerror = (e) => reject(new Error(e.message || 'worker refused'));
    });
    const open = connections.filter((c) => c.connectionState === 'connected');
    const shown = video().srcObject.getVideoTracks()[0];
    const receiver = open[open.length - 1].getReceivers().find((r) => r.track === shown);
    const ready = answer();
    receiver.transform = new RTCRtpScriptTransform(worker, {});
    await ready;
    // Firefox restarts the receiver's statistics with the transform, and has none for a moment.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = (await stats()).video;
    const sent = answer();
    worker.postMessage('request');
    const outcome = await sent;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const after = (await stats()).video;
    return {
      outcome,
      pli: after.pliCount - before.pliCount,
      keyframes: (after.keyFramesDecoded ?? 0) - (before.keyFramesDecoded ?? 0),
      decoded: after.framesDecoded - before.framesDecoded,
    };
  }

  /** Waits until this many more frames were presented; returns the milliseconds it took, or null after `within` s. */
  async function moreFrames(count, within) {
    const start = performance.now();
    const target = frames.presented + count;
    while (frames.presented < target) {
      if (performance.now() - start > within * 1000) return null;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return performance.now() - start;
  }

  /** What a person and the page's own counters see now. */
  function state() {
    const page = document.body?.innerText ?? '';
    return { text: page, title: document.title, facts: window.peercam?.facts ?? null, frames: frames.presented,
      sinceFrameMs: frames.last === undefined ? null : performance.now() - frames.last,
      connections: connections.map((c) => c.connectionState), muted: sounding()?.muted ?? null,
      width: video()?.videoWidth ?? 0, height: video()?.videoHeight ?? 0 };
  }

  window.probe = { watch, state, stats, path, moreFrames, requestKeyframe, startToChoose, timing: firstPicture, bars: (at) => bars(video(), at), colour: (x, y) =>
    colour(video(), video().videoWidth * x, video().videoHeight * y) };
})();
