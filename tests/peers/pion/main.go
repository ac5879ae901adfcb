// pion WHEP_URL SECONDS: watches by pion, looks into the packets, prints what came as JSON, and leaves.
// pion fanout ADDRESS: sends, see fanout.go.
//
// Pion decodes nothing; this reads the H.264 payload format (RFC 6184) far enough to tell keyframes with their parameter
// sets. Written for the pion 3 and the Go that Debian 12 ships.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v3"
)

type facts struct {
	Peer         string `json:"peer"`
	VideoPackets int    `json:"video_packets"`
	VideoFrames  int    `json:"video_frames"` // packets with the marker: ends of access units
	VideoLost    int    `json:"video_lost"`
	AudioPackets int    `json:"audio_packets"`
	SPS          int    `json:"sps"`
	PPS          int    `json:"pps"`
	IDR          int    `json:"idr"`
	IDRAfterPLI  int    `json:"idr_after_pli"`
	Codec        string `json:"codec"`
	State        string `json:"state"`
	DeleteStatus int    `json:"delete_status"`
}

var (
	lock    sync.Mutex
	seen    = facts{Peer: "pion"}
	pliSent bool
)

func main() {
	act := func() error { return watch(os.Args[1], os.Args[2]+"s") }
	if os.Args[1] == "fanout" {
		act = func() error { return fanout(os.Args[2]) }
	}
	if err := act(); err != nil {
		fmt.Fprintln(os.Stderr, "pion:", err)
		os.Exit(1)
	}
}

func watch(whep, duration string) error {
	length, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer pc.Close()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
		if _, err := pc.AddTransceiverFromKind(kind, direction); err != nil {
			return err
		}
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			lock.Lock()
			seen.Codec = track.Codec().MimeType
			lock.Unlock()
			// Half way a keyframe is asked for, which must then come.
			time.AfterFunc(length/2, func() {
				lock.Lock()
				pliSent = true
				lock.Unlock()
				pli := &rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}
				if err := pc.WriteRTCP([]rtcp.Packet{pli}); err != nil {
					fmt.Fprintln(os.Stderr, "pion: PLI:", err)
				}
			})
		}
		read(track)
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	session, answer, err := post(whep, pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return err
	}
	time.Sleep(length)

	request, err := http.NewRequest(http.MethodDelete, session, nil)
	if err != nil {
		return err
	}
	response, err := do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	lock.Lock()
	defer lock.Unlock()
	seen.State = pc.ConnectionState().String()
	seen.DeleteStatus = response.StatusCode
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// do sends a request with the token that is in PEERCAM_TOKEN.
func do(request *http.Request) (*http.Response, error) {
	request.Header.Set("Authorization", "Bearer "+os.Getenv("PEERCAM_TOKEN"))
	return http.DefaultClient.Do(request)
}

func post(whep, offer string) (session, answer string, err error) {
	request, err := http.NewRequest(http.MethodPost, whep, strings.NewReader(offer))
	if err != nil {
		return "", "", err
	}
	request.Header.Set("Content-Type", "application/sdp")
	response, err := do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", "", fmt.Errorf("%s: %s", response.Status, body)
	}
	base, err := url.Parse(whep)
	if err != nil {
		return "", "", err
	}
	location, err := base.Parse(response.Header.Get("Location"))
	if err != nil {
		return "", "", err
	}
	return location.String(), string(body), nil
}

func read(track *webrtc.TrackRemote) {
	var last uint16
	for first := true; ; first = false {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		lock.Lock()
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			seen.AudioPackets++
		} else {
			seen.VideoPackets++
			if packet.Marker {
				seen.VideoFrames++
			}
			// A retransmitted packet comes late; only gaps forward count.
			if gap := packet.SequenceNumber - last - 1; !first && gap > 0 && gap < 1000 {
				seen.VideoLost += int(gap)
			}
			last = packet.SequenceNumber
			look(packet.Payload)
		}
		lock.Unlock()
	}
}

// look counts the NAL units that begin in a payload.
func look(payload []byte) {
	if len(payload) < 2 {
		return
	}
	switch kind := payload[0] & 31; kind {
	case 24: // STAP-A: size and NAL unit, again and again
		for rest := payload[1:]; len(rest) > 2; {
			size := int(rest[0])<<8 | int(rest[1])
			if size == 0 || len(rest) < 2+size {
				return
			}
			count(rest[2] & 31)
			rest = rest[2+size:]
		}
	case 28: // FU-A: the first fragment has the start bit
		if payload[1]&0x80 != 0 {
			count(payload[1] & 31)
		}
	default:
		count(kind)
	}
}

func count(kind byte) {
	switch kind {
	case 5:
		seen.IDR++
		if pliSent {
			seen.IDRAfterPLI++
		}
	case 7:
		seen.SPS++
	case 8:
		seen.PPS++
	}
}
