#!/usr/bin/python3
"""gstreamer_peer.py WHEP_URL SECONDS: watches by GStreamer's webrtcbin, decodes, prints what came as JSON, and leaves."""

import array
import sys
import threading

import gi
import whep

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstVideo", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstApp, GstSdp, GstVideo, GstWebRTC  # noqa: E402, F401  GstApp gives appsink its methods

VIDEO = (
    "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=102,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f,level-asymmetry-allowed=(string)1"
)
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=111,encoding-params=(string)2"
SINKS = {
    # Named decoders: what decodebin picks differs with what else is installed.
    "video": "rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=I420 ! appsink name=sink",
    "audio": "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,channels=1,rate=48000 ! appsink name=sink",
}


class Peer:
    def __init__(self, url: str, seconds: float):
        self.url, self.seconds = url, seconds
        self.watched = whep.Watched()
        self.loop = GLib.MainLoop()
        self.session, self.failure = None, None
        self.packets = {"video": 0, "audio": 0}
        self.pipe = Gst.Pipeline()
        self.rtc = Gst.ElementFactory.make("webrtcbin")
        self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipe.add(self.rtc)
        self.rtc.connect("pad-added", self.on_pad)
        self.rtc.connect("notify::ice-gathering-state", self.on_gathering)
        for caps in (VIDEO, AUDIO):
            self.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
        bus = self.pipe.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)

    def fail(self, why: str):
        self.failure = self.failure or why
        self.loop.quit()

    def on_error(self, _bus, message):
        error, detail = message.parse_error()
        self.fail(f"{message.src.get_name()}: {error.message}: {detail}")

    def run(self):
        self.pipe.set_state(Gst.State.PLAYING)
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer))
        GLib.timeout_add(int((self.seconds + 30) * 1000), lambda: self.fail("nothing connected"))
        self.loop.run()
        status = whep.delete(self.session) if self.session else 0
        state = self.rtc.get_property("connection-state").value_nick
        self.pipe.set_state(Gst.State.NULL)
        if self.failure:
            sys.exit(f"gstreamer_peer: {self.failure}")
        self.watched.report(
            peer="gstreamer", video_packets=self.packets["video"], audio_packets=self.packets["audio"],
            state=state, delete_status=status,
        )  # fmt: skip

    def on_offer(self, promise):
        promise.wait()
        reply = promise.get_reply()  # must outlive the offer, which is part of it
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())

    def on_gathering(self, rtc, _what):
        if rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            offer = rtc.get_property("local-description").sdp.as_text()
            # Not in this thread, which is webrtcbin's own.
            threading.Thread(target=self.negotiate, args=(offer,), daemon=True).start()

    def negotiate(self, offer: str):
        try:
            answer, self.session = whep.post(self.url, offer)
        except Exception as error:  # of any kind: the run has failed, and says why
            self.fail(f"POST: {error}")
            return
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.rtc.emit("set-remote-description", description, Gst.Promise.new())
        GLib.timeout_add(int(self.seconds * 1000), self.loop.quit)

    def on_pad(self, _rtc, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_packet, kind)
        branch = Gst.parse_bin_from_description(SINKS[kind], True)
        sink = branch.get_by_name("sink")
        sink.set_property("emit-signals", True)
        sink.set_property("sync", False)
        # It is added to a pipeline that plays: if it waited for its first buffer as at a start (preroll), and the other sink came
        # just then, nobody might ever tell it to go on.
        sink.set_property("async", False)
        sink.connect("new-sample", self.on_picture if kind == "video" else self.on_sound)
        self.pipe.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def on_packet(self, _pad, _info, kind):
        self.packets[kind] += 1
        return Gst.PadProbeReturn.OK

    def on_picture(self, sink):
        sample = sink.emit("pull-sample")
        info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
        buffer = sample.get_buffer()
        self.watched.picture(buffer.extract_dup(0, info.height * info.stride[0]), info.stride[0], info.width, info.height)
        return Gst.FlowReturn.OK

    def on_sound(self, sink):
        buffer = sink.emit("pull-sample").get_buffer()
        samples = array.array("h", buffer.extract_dup(0, buffer.get_size()))
        self.watched.sound([s / 32768 for s in samples], 48000)
        return Gst.FlowReturn.OK


Gst.init(None)
Peer(sys.argv[1], float(sys.argv[2])).run()
