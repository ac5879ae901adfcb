package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v3"
)

// fanout answers WHEP offers at http://ADDRESS/whep, and sends all viewers the units that come on its input, as pion's own
// examples do: one track for all. What `make bench` compares us with.
//
// A unit: its kind (0 sound, 1 picture), RTP timestamp (4 bytes), number of payloads (2), each after its length (2).
func fanout(address string) error {
	h264 := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
		SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
	}
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	tracks := [2]*webrtc.TrackLocalStaticRTP{}
	for kind, codec := range []webrtc.RTPCodecCapability{opus, h264} {
		track, err := webrtc.NewTrackLocalStaticRTP(codec, fmt.Sprint(kind), "fanout")
		if err != nil {
			return err
		}
		tracks[kind] = track
	}
	media, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return err
	}
	if err := webrtc.RegisterDefaultInterceptors(media, registry); err != nil {
		return err
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings))
	http.HandleFunc("/whep", func(w http.ResponseWriter, r *http.Request) {
		offer, err := io.ReadAll(r.Body)
		answer := ""
		if err == nil {
			answer, err = join(api, string(offer), tracks[:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "fanout:", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/sdp")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Header().Set("Location", "/whep/1")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, answer)
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	go http.Serve(listener, nil)
	return send(bufio.NewReaderSize(os.Stdin, 1<<20), tracks[:])
}

func join(api *webrtc.API, offer string, tracks []*webrtc.TrackLocalStaticRTP) (string, error) {
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	for _, track := range tracks {
		sender, err := pc.AddTrack(track)
		if err != nil {
			return "", err
		}
		// Reports are read so that interceptors see them.
		go func() {
			for buffer := make([]byte, 1500); err == nil; {
				_, _, err = sender.Read(buffer)
			}
		}()
	}
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed || state == webrtc.PeerConnectionStateDisconnected {
			pc.Close()
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}

// send hands all units to their tracks until there are no more.
func send(units *bufio.Reader, tracks []*webrtc.TrackLocalStaticRTP) error {
	var sequence [2]uint16
	for {
		var head [7]byte
		if _, err := io.ReadFull(units, head[:]); err != nil {
			return nil
		}
		kind, count := head[0], int(binary.BigEndian.Uint16(head[5:]))
		for n := 1; n <= count; n++ {
			var length [2]byte
			if _, err := io.ReadFull(units, length[:]); err != nil {
				return err
			}
			payload := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(units, payload); err != nil {
				return err
			}
			sequence[kind]++
			header := rtp.Header{
				Version: 2, Marker: kind == 1 && n == count,
				SequenceNumber: sequence[kind], Timestamp: binary.BigEndian.Uint32(head[1:]),
			}
			if err := tracks[kind].WriteRTP(&rtp.Packet{Header: header, Payload: payload}); err != nil {
				fmt.Fprintln(os.Stderr, "fanout:", err)
			}
		}
	}
}
