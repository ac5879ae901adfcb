"""A WHEP client's HTTP half (draft-ietf-wish-whep), and what the peers look for in pictures and sound.

The token that it shows is in PEERCAM_TOKEN.
"""

import json
import math
import os
import urllib.parse
import urllib.request

BEARER = {"Authorization": f"Bearer {os.environ['PEERCAM_TOKEN']}"}


def post(url: str, offer: str) -> tuple[str, str]:
    """Sends an offer; returns the answer and the URL of the session."""
    headers = {"Content-Type": "application/sdp", **BEARER}
    request = urllib.request.Request(url, offer.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=15) as response:
        if response.status != 201 or response.headers.get_content_type() != "application/sdp":
            raise SystemExit(f"WHEP answered {response.status} {response.headers.get_content_type()}, not 201 application/sdp")
        return response.read().decode(), urllib.parse.urljoin(url, response.headers["Location"])


def delete(session: str) -> int:
    """Ends the session; returns the HTTP status."""
    with urllib.request.urlopen(urllib.request.Request(session, headers=BEARER, method="DELETE"), timeout=15) as response:
        return response.status


def stamp(luma: bytes, stride: int, width: int, height: int) -> int | None:
    """The frame number in the stamp of a picture's luma plane, or None where its checksum is wrong.

    Two rows of 32 cells at the bottom, each cell width // 32 wide and twice that high, from the left edge.
    """
    cell = width // 32
    value = 0
    for row in range(2):
        y = height - 4 * cell + row * 2 * cell + cell
        for column in range(32):
            value = value << 1 | (luma[y * stride + column * cell + cell // 2] > 127)
    octets = value.to_bytes(8, "big")
    check = 0x5A
    for octet in octets[:7]:
        check ^= octet
    return value >> 48 if check == octets[7] else None


def tone(samples, rate: int, hz: float) -> float:
    """The amplitude of one frequency in samples of -1..1, by Goertzel's algorithm: 1 is a sine of full scale."""
    if not samples:
        return 0.0
    turn = 2 * math.cos(2 * math.pi * hz / rate)
    before, last = 0.0, 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    power = last * last + before * before - turn * last * before
    return 2 * math.sqrt(max(power, 0.0)) / len(samples)


class Watched:
    """What a peer received, as every one of them reports it."""

    def __init__(self):
        self.facts = {
            "video_frames": 0, "width": 0, "height": 0, "stamps": 0, "stamps_wrong": 0, "frames_skipped": 0,
            "audio_frames": 0, "audio_seconds": 0.0, "tone": 0.0,
        }  # fmt: skip
        self.last = None

    def picture(self, luma: bytes, stride: int, width: int, height: int):
        facts = self.facts
        facts["video_frames"] += 1
        facts["width"], facts["height"] = width, height
        number = stamp(luma, stride, width, height)
        if number is None:
            facts["stamps_wrong"] += 1
            return
        facts["stamps"] += 1
        if self.last is not None:
            facts["frames_skipped"] += (number - self.last - 1) % 65536
        self.last = number

    def sound(self, samples, rate: int):
        """One channel of one packet's sound, in -1..1."""
        self.facts["audio_frames"] += 1
        self.facts["audio_seconds"] += len(samples) / rate
        self.facts["tone"] = max(self.facts["tone"], tone(samples, rate, 1000))

    def report(self, **more):
        print(json.dumps({**self.facts, **more}), flush=True)
