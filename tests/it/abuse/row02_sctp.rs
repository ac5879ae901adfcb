//! Data channels, which the daemon does not support: SCTP is never opened, whatever an offer has and whatever
//! is sent.

use std::sync::Arc;
use std::time::Duration;

use rtc::interceptor::Packet;
use tokio::time::timeout;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::peer::{Peer, Way};
use super::{Flat, Scene, block_on};

/// How long the channels have to open.
const LASTS: Duration = Duration::from_secs(4);

fn attack(what: &str, way: Way, channels: usize, label: usize) {
    Scene::new().under(what, Flat::FromFirstRound, |target| {
        block_on(async {
            let labels: Vec<_> = (0..channels).map(|n| format!("{n:0label$}")).collect();
            let (mut peer, channels) = Peer::join_with_channels(target, way, &labels).await;
            let opened = async |channel: Arc<dyn DataChannel>| {
                while let Some(event) = channel.poll().await {
                    if matches!(event, DataChannelEvent::OnOpen) {
                        return true;
                    }
                }
                std::future::pending().await
            };
            let first = timeout(LASTS, opened(channels[0].clone())).await;
            assert!(first.is_err(), "{what}: a data channel opened");
            while peer.client.packets.try_recv().is_ok() {}
            peer.client.next("picture", |packet| matches!(packet, Packet::Rtp(_)).then_some(())).await;
            peer.client.close().await;
            format!("{} channels with labels of {label} bytes, none opened", channels.len())
        })
    });
}

#[test]
fn many_channels_with_long_labels() {
    attack("SCTP: many channels by WHEP", Way::Whep, 500, 30_000);
}

#[test]
fn one_channel_by_the_page() {
    attack("SCTP: one channel by the page", Way::Page, 1, 8);
}
