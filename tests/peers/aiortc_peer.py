#!/usr/bin/env python3
"""aiortc_peer.py WHEP_URL SECONDS: watches by aiortc, decodes, prints one JSON object of what came, and leaves."""

import array
import asyncio
import sys

import aiortc
import whep
from aiortc.mediastreams import MediaStreamError


async def watch(url: str, seconds: float):
    # No ICE servers: the default is a public one, which is not there.
    pc = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    watched = whep.Watched()
    tasks = []

    async def video(track):
        while True:
            frame = await track.recv()
            plane = frame.reformat(format="yuv420p").planes[0]
            watched.picture(bytes(plane), plane.line_size, frame.width, frame.height)

    async def audio(track):
        while True:
            frame = await track.recv()
            samples = array.array("h", bytes(frame.planes[0])[: frame.samples * 2 * len(frame.layout.channels)])
            left = samples[:: len(frame.layout.channels)]
            watched.sound([s / 32768 for s in left], frame.sample_rate)

    @pc.on("track")
    def _(track):
        tasks.append(asyncio.ensure_future((video if track.kind == "video" else audio)(track)))

    pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    answer, session = await asyncio.to_thread(whep.post, url, pc.localDescription.sdp)
    await pc.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    await asyncio.sleep(seconds)
    packets = {"video": 0, "audio": 0}
    for report in (await pc.getStats()).values():
        if report.type == "inbound-rtp":
            packets[report.kind] += report.packetsReceived
    state = pc.connectionState
    left = await asyncio.to_thread(whep.delete, session)
    await pc.close()
    for task in tasks:
        try:
            await task
        except MediaStreamError:
            pass  # the track ended, by our own close
    watched.report(
        peer="aiortc", video_packets=packets["video"], audio_packets=packets["audio"], state=state, delete_status=left
    )


asyncio.run(watch(sys.argv[1], float(sys.argv[2])))
