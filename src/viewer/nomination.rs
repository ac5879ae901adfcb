//! Works around an omission in webrtc's core for viewers that nominate a path with their first check, as
//! Chromium does: the core neither answers that check nor remembers the nomination until its own check has
//! succeeded (RFC 8445 sections 7.3.1.4 and 7.3.1.5; `rtc_ice` 0.21,
//! `ControlledSelector::handle_binding_request`), so everything waits for the viewer's next check, 50 ms
//! later. Here that check is kept, and passed to the core again after the response to the core's own check.
//! This goes when the core handles it.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::net::stun::{Class, Message};

/// The viewer's last check that nominated a path, until the core's own check of that path is answered.
#[derive(Debug, Default)]
pub(super) struct Nomination(Option<(SocketAddr, Bytes)>);

impl Nomination {
    /// Records a message that the core has read; returns a message that it must read again now.
    pub(super) fn read(&mut self, from: SocketAddr, datagram: &Bytes) -> Option<Bytes> {
        let message = Message::parse(datagram)?;
        match message.class {
            Class::Request if message.nominates() => self.0 = Some((from, datagram.clone())),
            Class::Response => return self.0.take_if(|(of, _)| *of == from).map(|(_, check)| check),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stun::tests::{key, request, response};

    #[test]
    fn a_nomination_is_repeated_once_after_the_response_from_the_same_address() {
        let [one, other]: [SocketAddr; 2] = [([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into()];
        let mut nomination = Nomination::default();
        let check = |nominates| Bytes::from(request([1; 12], "ours:theirs", &key("pwd"), nominates));
        let response = Bytes::from(response([2; 12]));
        assert_eq!(nomination.read(one, &check(false)), None);
        assert_eq!(nomination.read(one, &response), None, "nothing was nominated");
        assert_eq!(nomination.read(one, &check(true)), None);
        assert_eq!(nomination.read(other, &response), None);
        assert_eq!(nomination.read(one, &Bytes::from_static(b"no STUN")), None);
        assert_eq!(nomination.read(one, &response), Some(check(true)));
        assert_eq!(nomination.read(one, &response), None);
    }
}
