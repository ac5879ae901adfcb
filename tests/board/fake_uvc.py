#!/usr/bin/env python3
"""A software USB webcam, plugged into this kernel by USB/IP's virtual host controller (modules vhci-hcd, uvcvideo).

    fake_uvc.py --mjpeg FRAMES [--h264 FRAMES] [--yuyv stalls|short|errors] [--size 640x480] [--fps 30] [--deliver FPS]
                [--damage N] [--start-after SECONDS] [--name NAME]

The kernel's own uvcvideo driver binds to it, so it looks to applications like a real UVC 1.1 camera: enumeration,
negotiation, controls, and the error codes of unplugging while streaming. The camera is plugged in while this program
runs; ending it, or `echo 0 > /sys/devices/platform/vhci_hcd.0/detach`, unplugs it, and starting it again plugs it back
in. Standard output reports what the host does: `plugged`, `stream FORMAT`, `set CONTROL VALUE`.

FRAMES of --mjpeg is a file of concatenated JPEG pictures, or a folder whose files are one frame each, with any contents;
of --h264, access units that each start with an access unit delimiter. They are played in a loop, from the first one at
each start of the stream.
--yuyv: also offers YUYV, which does not work: no frame arrives, half a frame, or transfer errors.
--start-after: seconds from each start of the stream to its first frame.
--deliver: frames per second really sent, if fewer than --fps (a camera in dim light).
--damage: every Nth picture is cut off in the middle, but keeps its header.

Streaming uses bulk transfers, which USB/IP carries without the timing of isochronous ones.
"""

import argparse
import os
import re
import signal
import socket
import struct
import sys
import threading
import time

VHCI = "/sys/devices/platform/vhci_hcd.0"
PORT = 0  # port of the virtual controller: the first high-speed one
DEVICE_ID = (1 << 16) | 1
SPEED_HIGH = 3
PAYLOAD = 16384  # bytes of one bulk payload, including its header

# Request codes: USB 2.0 section 9.4 and UVC 1.1 section A.8.
GET_STATUS, CLEAR_FEATURE, SET_FEATURE, GET_DESCRIPTOR, SET_CONFIGURATION, SET_INTERFACE = 0, 1, 3, 6, 9, 11
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_RES, GET_LEN, GET_INFO, GET_DEF = 1, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87
PROBE, COMMIT = 1, 2
CAMERA, PROCESSING, OUTPUT = 1, 2, 3  # ids of the terminals and units
STALL = -32  # -EPIPE: the request is not supported
UNLINKED = -104  # -ECONNRESET
BROKEN = -71  # -EPROTO


def u16(value):
    return struct.pack("<H", value)


def u32(value):
    return struct.pack("<I", value)


def mjpeg_frames(path):
    if os.path.isdir(path):
        return [open(os.path.join(path, name), "rb").read() for name in sorted(os.listdir(path))]
    return split_mjpeg(open(path, "rb").read())


def split_mjpeg(data):
    frames, at = [], 0
    while (start := data.find(b"\xff\xd8\xff", at)) >= 0:
        # An end marker cannot occur in entropy-coded data, where 0xff is always followed by a stuffed zero.
        at = data.index(b"\xff\xd9", start) + 2
        frames.append(data[start:at])
    return frames


def split_h264(data):
    starts = [m.start() for m in re.finditer(b"\x00\x00\x00\x01\x09", data)]
    return [data[a:b] for a, b in zip(starts, starts[1:] + [len(data)])]


class Control:
    """One control of UVC 1.1 section 4.2.2, with the bit that announces it in its unit's bmControls."""

    def __init__(self, name, entity, selector, bit, layout, low, high, step, default):
        self.name, self.entity, self.selector, self.bit, self.layout = name, entity, selector, bit, layout
        self.low, self.high, self.step, self.default, self.value = low, high, step, default, default

    def answer(self, request, data):
        def pack(value):
            return struct.pack(self.layout, value)

        if request == SET_CUR:
            (self.value,) = struct.unpack(self.layout, data)
            print("set", self.name, self.value, flush=True)
            return b""
        return {
            GET_CUR: pack(self.value),
            GET_MIN: pack(self.low),
            GET_MAX: pack(self.high),
            GET_RES: pack(self.step),
            GET_DEF: pack(self.default),
            GET_INFO: b"\x03",
            GET_LEN: u16(struct.calcsize(self.layout)),
        }.get(request)


class Camera:
    """What the camera is and answers: descriptors, controls, negotiation."""

    def __init__(self, options):
        self.width, self.height = (int(n) for n in options.size.split("x"))
        self.interval = 10_000_000 // options.fps  # in 100 ns
        self.strings = {1: "peercam", 2: options.name, 3: "0001"}
        self.formats = [("MJPG", mjpeg_frames(options.mjpeg))]
        if options.h264:
            self.formats.append(("H264", split_h264(open(options.h264, "rb").read())))
        if options.yuyv:
            self.formats.append(("YUYV", [bytes(self.width * self.height)]))
        if not all(frames for _, frames in self.formats):
            sys.exit("fake_uvc: a file holds no frame")
        self.format = 1  # as negotiated, counted from 1
        self.streams = 0  # number of COMMIT requests
        self.controls = [
            Control("auto_exposure", CAMERA, 2, 1, "<B", 0, 0, 0b1010, 0b1000),
            Control("exposure_dynamic_framerate", CAMERA, 3, 2, "<B", 0, 1, 1, 1),
            Control("brightness", PROCESSING, 2, 0, "<h", 0, 255, 1, 128),
            Control("contrast", PROCESSING, 3, 1, "<h", 0, 255, 1, 32),
        ]
        self.device = struct.pack(
            "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x1D6B, 0x0102, 0x0100, 1, 2, 3, 1
        )
        self.configuration = self.describe()

    def describe(self):
        """The configuration descriptor: a control interface and a streaming interface with one bulk endpoint."""

        def class_specific(*parts):
            body = b"".join(p if isinstance(p, bytes) else bytes([p]) for p in parts)
            return bytes([len(body) + 2, 0x24]) + body

        def announced(entity):
            return sum(1 << c.bit for c in self.controls if c.entity == entity)

        camera = class_specific(
            2, CAMERA, u16(0x0201), 0, 0, u16(0), u16(0), u16(0), 3, announced(CAMERA), 0, 0
        )
        processing = class_specific(5, PROCESSING, CAMERA, u16(0), 2, u16(announced(PROCESSING)), 0, 0)
        output = class_specific(3, OUTPUT, u16(0x0101), 0, PROCESSING, 0)
        units = camera + processing + output
        control_header = class_specific(1, u16(0x0110), u16(13 + len(units)), u32(48_000_000), 1, 1)

        size = u16(self.width) + u16(self.height) + u32(1_000_000) + u32(80_000_000)
        colour = class_specific(0x0D, 1, 1, 4)  # BT.709 primaries, its transfer, SMPTE 170M matrix: plain sRGB JPEG
        mjpeg = class_specific(6, 1, 1, 0, 1, 0, 0, 0, 0) + class_specific(
            7, 1, 0, size, u32(self.width * self.height * 2), u32(self.interval), 1, u32(self.interval)
        )
        formats = mjpeg + colour
        names = [name for name, _ in self.formats]
        guid = b"\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
        if "H264" in names:
            number = names.index("H264") + 1
            formats += class_specific(0x10, number, 1, b"H264" + guid, 0, 1, 0, 0, 0, 0, 1) + class_specific(
                0x11, 1, 0, size, u32(self.interval), 1, u32(0), u32(self.interval)
            )
            formats += colour
        if "YUYV" in names:
            number = names.index("YUYV") + 1
            formats += class_specific(4, number, 1, b"YUY2" + guid, 16, 1, 0, 0, 0, 0) + class_specific(
                5, 1, 0, size, u32(self.width * self.height * 2), u32(self.interval), 1, u32(self.interval)
            )
            formats += colour
        count = len(self.formats)
        stream_header = class_specific(
            1, count, u16(13 + count + len(formats)), 0x81, 0, OUTPUT, 0, 0, 0, 1, bytes(count)
        )
        rest = (
            bytes([8, 0x0B, 0, 2, 0x0E, 3, 0, 0])  # interface association
            + bytes([9, 4, 0, 0, 0, 0x0E, 1, 0, 0])
            + control_header
            + units
            + bytes([9, 4, 1, 0, 1, 0x0E, 2, 0, 0])
            + stream_header
            + formats
            + struct.pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
        )
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(rest), 2, 1, 0, 0x80, 250) + rest

    def negotiated(self):
        """The answer to GET_CUR and its kin of the probe control, UVC 1.1 table 4-75."""
        return struct.pack(
            "<HBBIHHHHHIIIBBBB",
            *(1, self.format, 1, self.interval, 0, 0, 0, 0, 0),
            *(self.width * self.height * 2, PAYLOAD, 48_000_000, 3, 0, 0, 0),
        )

    def request(self, kind, request, value, index, length, data):
        """Answers a control transfer; None is a stall."""
        if kind & 0x60 == 0:
            return self.standard(request, value, length)
        selector, entity, interface = value >> 8, index >> 8, index & 255
        if interface == 1 and selector in (PROBE, COMMIT):
            if request == SET_CUR:
                if 1 <= data[2] <= len(self.formats):
                    self.format = data[2]
                if selector == COMMIT:
                    self.streams += 1
                    print("stream", self.formats[self.format - 1][0], flush=True)
                return b""
            return {GET_INFO: b"\x03", GET_LEN: u16(34)}.get(request) or self.negotiated()
        for control in self.controls:
            if interface == 0 and (control.entity, control.selector) == (entity, selector):
                return control.answer(request, data)
        return None

    def standard(self, request, value, length):
        if request == GET_DESCRIPTOR:
            kind, index = value >> 8, value & 255
            if kind == 1:
                return self.device
            if kind == 2:
                return self.configuration
            if kind == 3 and index == 0:
                return bytes([4, 3, 9, 4])  # the only language: US English
            if kind == 3:
                text = self.strings.get(index, "?").encode("utf-16le")
                return bytes([len(text) + 2, 3]) + text
            return None
        if request == GET_STATUS:
            return bytes(2)[:length]
        if request in (SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE, SET_FEATURE):
            return b""
        return None


class Plug:
    """The USB/IP connection: takes URBs from the kernel, gives them back answered."""

    def __init__(self, camera, fps, options):
        self.camera, self.fps, self.damage = camera, fps, options.damage
        self.start_after, self.yuyv = options.start_after, options.yuyv
        theirs, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sending = threading.Lock()
        self.waiting = []  # (sequence number, length) of bulk URBs that wait for data
        self.newest = 0  # sequence number of the last URB that came
        # Requests to unlink a URB that has not come yet, by its number: the kernel (vhci_tx.c) sends them in either order,
        # and unplugs the device for an answer to a URB that it has unlinked.
        self.early = {}
        self.arrived = threading.Condition()
        with open(f"{VHCI}/attach", "w") as attach:
            attach.write(f"{PORT} {theirs.fileno()} {DEVICE_ID} {SPEED_HIGH}")
        theirs.close()
        print("plugged", flush=True)

    def take(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                print("unplugged", flush=True)
                sys.exit(0)
            data += part
        return data

    def give(self, sequence, status, data=b"", length=None):
        """USBIP_RET_SUBMIT, of the kernel's Documentation/usb/usbip_protocol.rst."""
        length = len(data) if length is None else length
        with self.sending:
            self.socket.sendall(struct.pack(">IIIIIiiiii8x", 3, sequence, 0, 0, 0, status, length, 0, 0, 0) + data)

    def unlinked(self, sequence, status):
        """USBIP_RET_UNLINK."""
        with self.sending:
            self.socket.sendall(struct.pack(">IIIIIi24x", 4, sequence, 0, 0, 0, status))

    def serve(self):
        while True:
            header = self.take(48)
            command, sequence, _device, to_host, endpoint = struct.unpack(">5I", header[:20])
            if command == 1:  # USBIP_CMD_SUBMIT
                _flags, length, _frame, _packets, _interval = struct.unpack(">IiIiI", header[20:40])
                data = self.take(length) if not to_host and length > 0 else b""
                self.newest = sequence
                if sequence in self.early:
                    self.unlinked(self.early.pop(sequence), UNLINKED)
                    continue
                if endpoint:
                    with self.arrived:
                        self.waiting.append((sequence, length))
                        self.arrived.notify()
                    continue
                kind, request, value, index, wanted = struct.unpack("<BBHHH", header[40:48])
                answer = self.camera.request(kind, request, value, index, wanted, data)
                if answer is None:
                    self.give(sequence, STALL)
                elif kind & 0x80:
                    self.give(sequence, 0, answer[:wanted])
                else:
                    self.give(sequence, 0, b"", len(data))
            elif command == 2:  # USBIP_CMD_UNLINK
                (target,) = struct.unpack(">I", header[20:24])
                if target > self.newest:
                    self.early[target] = sequence
                    continue
                with self.arrived:
                    found = any(s == target for s, _ in self.waiting)
                    self.waiting[:] = [(s, n) for s, n in self.waiting if s != target]
                self.unlinked(sequence, UNLINKED if found else 0)

    def wait_while(self, stream, until):
        while stream == self.camera.streams and time.monotonic() < until:
            time.sleep(0.02)

    def stream(self):
        toggle, count, stream, due = 0, 0, 0, time.monotonic()
        while True:
            if stream != self.camera.streams:
                stream, count = self.camera.streams, 0
                self.wait_while(stream, time.monotonic() + self.start_after)
            name, frames = self.camera.formats[self.camera.format - 1]
            if name == "YUYV" and self.yuyv == "stalls":
                self.wait_while(stream, float("inf"))
                continue
            frame = frames[count % len(frames)]
            count += 1
            if self.damage and count % self.damage == 0:
                frame = frame[: len(frame) // 2]
            toggle ^= 1
            sent = 0
            while sent < len(frame):
                # The lock is held until the URB is given back: a URB that is answered after the kernel was told that it is
                # unlinked is one that the kernel does not know, for which it unplugs the device.
                with self.arrived:
                    while not self.waiting:
                        self.arrived.wait()
                        due = max(due, time.monotonic())  # nobody was receiving: don't catch up in a burst
                    if stream != self.camera.streams:
                        break
                    sequence, length = self.waiting.pop(0)
                    if name == "YUYV" and self.yuyv == "errors":
                        self.give(sequence, BROKEN)
                        break
                    part = frame[sent : sent + min(length, PAYLOAD) - 2]
                    sent += len(part)
                    last = 2 if sent >= len(frame) else 0
                    # A payload header, UVC 1.1 section 2.4.3.3, and the payload.
                    self.give(sequence, 0, bytes([2, 0x80 | toggle | last]) + part)
            due += 1 / self.fps
            time.sleep(max(0.0, due - time.monotonic()))


def main():
    parser = argparse.ArgumentParser(description="a USB webcam of software")
    parser.add_argument("--mjpeg", required=True)
    parser.add_argument("--h264")
    parser.add_argument("--yuyv", choices=["stalls", "short", "errors"])
    parser.add_argument("--start-after", type=float, default=0)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--deliver", type=float)
    parser.add_argument("--damage", type=int, default=0)
    parser.add_argument("--name", default="Imaginary Webcam")
    options = parser.parse_args()
    plug = Plug(Camera(options), options.deliver or options.fps, options)
    # The end of the process closes its socket, and the kernel sees the camera unplugged.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=plug.stream, daemon=True).start()
    plug.serve()


if __name__ == "__main__":
    main()
