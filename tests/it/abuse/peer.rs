//! An attacker's peer: it watches by a guest link, and then sends what no browser would.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use rtc::interceptor::Packet;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use webrtc::data_channel::DataChannel;
use webrtc::peer_connection::RTCPeerConnectionState::Connected;

use super::{Guest, Target};
use crate::client::{Client, PATIENCE};

/// How it joins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Like the page, over its WebSocket.
    Page,
    /// Like a WHEP player.
    Whep,
}

/// The connected peer.
pub(super) struct Peer {
    pub client: Client,
    /// The first packet of video.
    pub first: rtc::rtp::Packet,
    _signaling: Option<WebSocketStream<TcpStream>>,
}

impl Peer {
    /// Joins from the attacker's host, and waits for a picture.
    pub(super) async fn join(target: &Target, way: Way) -> Self {
        Self::join_with(target, way, Client::at("10.0.0.9:0", false).await).await
    }

    /// The same, with data channels of these labels.
    pub(super) async fn join_with_channels(
        target: &Target,
        way: Way,
        labels: &[String],
    ) -> (Self, Vec<std::sync::Arc<dyn DataChannel>>) {
        let client = Client::at("10.0.0.9:0", false).await;
        let mut channels = vec![];
        for label in labels {
            channels.push(client.connection.create_data_channel(label, None).await.expect("a channel"));
        }
        (Self::join_with(target, way, client).await, channels)
    }

    async fn join_with(target: &Target, way: Way, mut client: Client) -> Self {
        let offer = client.offer().await;
        let (answer, signaling) = match way {
            Way::Page => {
                let (answer, socket) = by_page(target.web, &target.guest, &offer).await;
                (answer, Some(socket))
            }
            Way::Whep => {
                let answer = target.guest.ask(target.web, "POST", "/whep", "application/sdp", &offer);
                let answer = answer.expect("an answer");
                assert_eq!(answer.code, 201, "{answer:?}");
                (answer.body, None)
            }
        };
        // It tries what the answer refused.
        client.accept(&answer.replace("m=application 0 ", "m=application 9 ")).await;
        client.until(Connected).await;
        let video = |p| match p {
            Packet::Rtp(p) if p.payload.len() > 100 => Some(p),
            _ => None,
        };
        let first = client.next("video", video).await;
        Self { client, first, _signaling: signaling }
    }

    /// Sends RTCP with a valid signature.
    pub(super) async fn rtcp(&mut self, packets: Vec<Box<dyn rtc::rtcp::Packet>>) {
        self.client.send_rtcp(packets).await;
    }

    /// The address that its packets come from.
    pub(super) async fn address(&self) -> std::net::SocketAddrV4 {
        let candidates = self.client.candidates().await;
        let mut words = candidates[0].split(' ').skip(4);
        let mut next = || words.next().expect("an address and a port");
        std::net::SocketAddrV4::new(next().parse().expect("IPv4"), next().parse().expect("a number"))
    }
}

/// Sends an offer as the page does; returns the answer.
async fn by_page(web: SocketAddr, guest: &Guest, offer: &str) -> (String, WebSocketStream<TcpStream>) {
    let mut request = format!("ws://{web}/api/signal").into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.insert("cookie", guest.cookies.parse().expect("cookies"));
    headers.insert("origin", format!("http://{web}").parse().expect("an origin"));
    let stream = TcpStream::connect(web).await.expect("connected");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
    let offer = json!({"type": "offer", "sdp": offer, "sound": false});
    socket.send(Message::text(offer.to_string())).await.expect("sent");
    let answered = async {
        loop {
            let Some(Ok(Message::Text(text))) = socket.next().await else { continue };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            assert!(message["type"] != "error", "{message}");
            if message["type"] == "answer" {
                return message["sdp"].as_str().expect("a description").to_owned();
            }
        }
    };
    (tokio::time::timeout(PATIENCE, answered).await.expect("an answer"), socket)
}
