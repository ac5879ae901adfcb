// Runs in a page of two browsers: one sends a canvas over WebRTC, with the sender of libwebrtc; the other one shows it. The
// canvas has the noise and the stamp of the daemon's test picture (src/capture/pattern.rs), so probe.js examines it alike.
(() => {
  const [WIDTH, HEIGHT, FPS, MOST_BPS] = [640, 480, 30, 2_000_000];

  function draw(context, noise, number) {
    const cell = Math.floor(WIDTH / 32);
    const now = performance.timeOrigin + performance.now();
    context.fillStyle = '#282828';
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.putImageData(noise[number % noise.length], 0, Math.floor(HEIGHT * 0.72));
    context.fillStyle = '#000';
    context.fillRect(0, HEIGHT - 4 * cell, WIDTH, 4 * cell);
    const time = BigInt(Math.floor(now)) & ((1n << 40n) - 1n);
    const bits = (BigInt(number & 0xffff) << 48n) | (time << 8n);
    let sum = 0x5an;
    for (let byte = 8n; byte < 64n; byte += 8n) sum ^= (bits >> byte) & 0xffn;
    context.fillStyle = '#fff';
    for (let i = 0n; i < 64n; i++) {
      if (!(((bits | sum) >> (63n - i)) & 1n)) continue;
      context.fillRect(Number(i % 32n) * cell, HEIGHT - (i < 32n ? 4 : 2) * cell, cell, 2 * cell);
    }
  }

  /** Pictures of noise; each frame shows a different one, so that no encoder predicts it from the frame before. */
  function noise(context) {
    const rows = HEIGHT - 4 * Math.floor(WIDTH / 32) - Math.floor(HEIGHT * 0.72);
    return Array.from({ length: 60 }, () => {
      const picture = context.createImageData(WIDTH, rows);
      for (let at = 0; at < picture.data.length; at += 4) {
        picture.data.fill(75 + Math.random() * 75, at, at + 3);
        picture.data[at + 3] = 255;
      }
      return picture;
    });
  }

  function gathered(connection) {
    if (connection.iceGatheringState === 'complete') return Promise.resolve();
    return new Promise((resolve) => connection.addEventListener('icegatheringstatechange', () => connection.iceGatheringState === 'complete' && resolve()));
  }

  let connection;
  window.canvas = {
    async offer() {
      const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
      document.body.append(canvas);
      const context = canvas.getContext('2d');
      const pictures = noise(context);
      let number = 0;
      setInterval(() => draw(context, pictures, number++), 1000 / FPS);
      connection = new RTCPeerConnection();
      const [track] = canvas.captureStream(FPS).getVideoTracks();
      track.contentHint = 'motion';
      const sender = connection.addTransceiver(track, { direction: 'sendonly' });
      sender.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter((c) => /H264|rtx/.test(c.mimeType)));
      await connection.setLocalDescription();
      await gathered(connection);
      return connection.localDescription.sdp;
    },
    async accept(sdp) {
      await connection.setRemoteDescription({ type: 'answer', sdp });
      const [sender] = connection.getSenders();
      const parameters = sender.getParameters();
      parameters.encodings[0].maxBitrate = MOST_BPS;
      parameters.degradationPreference = 'maintain-resolution';
      await sender.setParameters(parameters);
    },
    async answer(sdp) {
      connection = new RTCPeerConnection();
      connection.ontrack = ({ track }) => {
        const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true });
        video.srcObject = new MediaStream([track]);
        document.body.append(video);
      };
      await connection.setRemoteDescription({ type: 'offer', sdp });
      await connection.setLocalDescription();
      await gathered(connection);
      return connection.localDescription.sdp;
    },
  };
})();
