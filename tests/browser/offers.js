// Unusual connections, as one expression: an object of functions that make them, for `eval` of watch.mjs in any page of the
// daemon. `whep` returns the browser's reaction to the daemon's answer: an error, or what it has received.
(() => {
  const sound = () => new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
  const picture = () => {
    const canvas = document.createElement('canvas');
    canvas.getContext('2d').fillRect(0, 0, 1, 1); // Firefox captures no canvas without a context
    return canvas.captureStream(1).getVideoTracks()[0];
  };
  const add = (pc, what, direction) => pc.addTransceiver(what, { direction });
  const munge = (pattern, text) => ({ change: (sdp) => sdp.replace(pattern, text) });

  /** Each function adds transceivers to a connection, and may return a function that changes the offer before it is sent. */
  const ARRANGEMENTS = {
    'microphone-first': (pc) => {
      add(pc, sound(), 'sendonly');
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
    },
    'two-way-sound': (pc) => {
      add(pc, 'video', 'recvonly');
      add(pc, sound(), 'sendrecv');
    },
    'two-way-both': (pc) => {
      add(pc, picture(), 'sendrecv');
      add(pc, sound(), 'sendrecv');
    },
    'data-first': (pc) => {
      pc.createDataChannel('control');
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
    },
    'data-last': (pc) => {
      add(pc, 'audio', 'recvonly');
      add(pc, 'video', 'recvonly');
      pc.createDataChannel('control');
    },
    'second-video-receives': (pc) => {
      add(pc, picture(), 'sendonly');
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
    },
    'inactive-first': (pc) => {
      add(pc, 'video', 'inactive');
      add(pc, 'audio', 'inactive');
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
    },
    'three-of-each': (pc) => {
      for (const kind of ['video', 'audio', 'video', 'audio', 'audio', 'video']) add(pc, kind, 'recvonly');
    },
    'other-codec-first': (pc) => {
      const { codecs } = RTCRtpReceiver.getCapabilities('video');
      add(pc, 'video', 'recvonly').setCodecPreferences?.(codecs.filter((c) => c.mimeType === 'video/VP8'));
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
    },
    'all-extensions': (pc) => {
      for (const kind of ['audio', 'video']) {
        const transceiver = add(pc, kind, 'recvonly');
        const all = transceiver.getHeaderExtensionsToNegotiate?.();
        if (all) transceiver.setHeaderExtensionsToNegotiate(all.map((e) => ({ ...e, direction: 'sendrecv' })));
      }
    },
    'begins-dtls': (pc) => {
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
      return munge(/a=setup:actpass/g, 'a=setup:active');
    },
    'waits-for-dtls': (pc) => {
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
      return munge(/a=setup:actpass/g, 'a=setup:passive');
    },
    'many-fingerprints': (pc) => {
      add(pc, 'video', 'recvonly');
      add(pc, 'audio', 'recvonly');
      const wrong = (octets) => Array(octets).fill('AB').join(':');
      return munge(/a=fingerprint:sha-256 /g, `a=fingerprint:sha-512 ${wrong(64)}\r\na=fingerprint:sha-1 ${wrong(20)}\r\na=fingerprint:SHA-256 `);
    },
    'not-bundled': (pc) => {
      add(pc, 'audio', 'recvonly');
      add(pc, 'video', 'recvonly');
      return { ...munge(/a=group:BUNDLE.*\r\n/, ''), mute: true };
    },
  };

  async function whep(name, policy, token) {
    const pc = new RTCPeerConnection({ bundlePolicy: policy });
    const seen = { name, policy, frames: 0, packets: 0 };
    try {
      const { change = (sdp) => sdp, mute = false } = ARRANGEMENTS[name](pc) ?? {};
      await pc.setLocalDescription();
      for (let n = 0; pc.iceGatheringState !== 'complete' && n < 40; n++) await new Promise((r) => setTimeout(r, 50));
      const offer = change(pc.localDescription.sdp);
      const headers = { 'content-type': 'application/sdp', authorization: `Bearer ${token}` };
      const response = await fetch('/whep', { method: 'POST', headers, body: offer });
      const answer = await response.text();
      Object.assign(seen, { offer, answer, status: response.status, mute });
      if (response.status !== 201) return seen;
      await pc.setRemoteDescription({ type: 'answer', sdp: answer });
      const video = document.createElement('video');
      Object.assign(video, { muted: true, autoplay: true, srcObject: new MediaStream(pc.getReceivers().map((r) => r.track)) });
      for (let n = 0; n < 100 && (seen.frames < 5 || (!mute && seen.packets < 10)); n++) {
        await new Promise((r) => setTimeout(r, 100));
        for (const report of (await pc.getStats()).values()) {
          if (report.type !== 'inbound-rtp') continue;
          if (report.kind === 'video') seen.frames = report.framesDecoded ?? 0;
          else seen.packets = report.packetsReceived;
        }
      }
      seen.state = pc.connectionState ?? pc.iceConnectionState;
      seen.directions = pc.getTransceivers().map((t) => t.currentDirection);
      await fetch(response.headers.get('location'), { method: 'DELETE', headers });
      return seen;
    } catch (error) {
      return { ...seen, error: `${error}` };
    } finally {
      pc.close();
    }
  }

  return { names: Object.keys(ARRANGEMENTS), whep };
})()
