//! The parts of STUN (RFC 8489) that peercam needs: whom a message is for, whether it is genuine, and requests for the
//! device's outside address. The connectivity checks themselves (RFC 8445) are done by the webrtc crate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring::hmac;

/// Identifies a request and its response. It is random, so only those who saw the request know it.
pub type TransactionId = [u8; 12];

const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const HEADER: usize = 20;

const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;

/// Size of a MESSAGE-INTEGRITY attribute in bytes: its header and an HMAC-SHA1.
const INTEGRITY_BYTES: usize = 4 + 20;

/// Class of a message (RFC 8489 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A request, which wants a response.
    Request,
    /// An indication, which wants none.
    Indication,
    /// A success or error response.
    Response,
}

/// A well-formed message; it borrows its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// The class. The method is always Binding.
    pub class: Class,
}

impl<'a> Message<'a> {
    /// Parses the header of a Binding message; `None` for anything else.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes[4..8] != COOKIE {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        if length % 4 != 0 || bytes.len() != HEADER + length {
            return None;
        }
        let class = match [bytes[0], bytes[1]] {
            [0x00, 0x01] => Class::Request,
            [0x00, 0x11] => Class::Indication,
            [0x01, 0x01 | 0x11] => Class::Response,
            _ => return None,
        };
        Some(Self { bytes, class })
    }

    /// The transaction id.
    pub fn id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        id
    }

    /// Type, offset of the header, and value of each complete attribute.
    fn attributes(&self) -> impl Iterator<Item = (u16, usize, &'a [u8])> {
        let bytes = self.bytes;
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let header = bytes.get(at..at + 4)?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = bytes.get(at + 4..at + 4 + length)?;
            let found = (u16::from_be_bytes([header[0], header[1]]), at, value);
            at += 4 + length.next_multiple_of(4);
            Some(found)
        })
    }

    fn attribute(&self, wanted: u16) -> Option<(usize, &'a [u8])> {
        // Attributes after MESSAGE-INTEGRITY are not authenticated (RFC 8489 section 14.5).
        let mut sealed = false;
        self.attributes()
            .take_while(|(kind, ..)| !std::mem::replace(&mut sealed, *kind == MESSAGE_INTEGRITY))
            .find_map(|(kind, at, value)| (kind == wanted).then_some((at, value)))
    }

    /// The receiver's ICE username fragment: USERNAME up to the colon (RFC 8445 section 7.2.2).
    pub fn ufrag(&self) -> Option<&'a [u8]> {
        self.attribute(USERNAME)?.1.split(|b| *b == b':').next()
    }

    /// Whether the message nominates this candidate pair (RFC 8445 section 7.1.2).
    pub fn nominates(&self) -> bool {
        self.attribute(USE_CANDIDATE).is_some()
    }

    /// Whether MESSAGE-INTEGRITY was made with this key (RFC 8489 section 14.5).
    pub fn is_by(&self, key: &hmac::Key) -> bool {
        let Some((at, tag)) = self.attribute(MESSAGE_INTEGRITY) else { return false };
        // The HMAC covers everything before the attribute; the length in the header counts up to the end of the
        // attribute.
        let Ok(length) = u16::try_from(at + INTEGRITY_BYTES - HEADER) else { return false };
        let mut covered = hmac::Context::with_key(key);
        covered.update(&self.bytes[..2]);
        covered.update(&length.to_be_bytes());
        covered.update(&self.bytes[4..at]);
        let ours = covered.sign();
        bool::from(subtle::ConstantTimeEq::ct_eq(ours.as_ref(), tag))
    }

    /// The source address of the request, as the server saw it (RFC 8489 sections 14.1 and 14.2).
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        let masked = self.attribute(XOR_MAPPED_ADDRESS).map(|(_, value)| value);
        let (value, masked) = match masked {
            Some(value) => (value, true),
            None => (self.attribute(MAPPED_ADDRESS)?.1, false), // servers from before 2008
        };
        let (head, address) = value.split_at_checked(4)?;
        let mut mask = [0; 16];
        if masked {
            mask.copy_from_slice(&self.bytes[4..HEADER]);
        }
        let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
        let plain: Vec<u8> = address.iter().zip(mask).map(|(b, m)| b ^ m).collect();
        let ip: IpAddr = match head[1] {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).into(),
            2 => Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// The key of an ICE password (RFC 8489 section 9.1.1: short-term credentials).
pub fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// A Binding request without attributes.
pub fn binding_request(id: TransactionId) -> [u8; HEADER] {
    let mut request = [0; HEADER];
    request[1] = 0x01;
    request[4..8].copy_from_slice(&COOKIE);
    request[8..].copy_from_slice(&id);
    request
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    pub(crate) use super::{binding_request, key};

    /// A request of `ufrag` "ours", as a peer makes it.
    pub(crate) fn request(id: TransactionId, username: &str, key: &hmac::Key, nominates: bool) -> Vec<u8> {
        let nomination = nominates.then_some((USE_CANDIDATE, &[][..]));
        let attributes = [Some((USERNAME, username.as_bytes())), nomination];
        signed(binding_request(id).to_vec(), attributes.into_iter().flatten(), key)
    }

    /// A response to `id`.
    pub(crate) fn response(id: TransactionId) -> Vec<u8> {
        let mut message = binding_request(id).to_vec();
        message[0] = 0x01;
        message
    }

    /// The same as a peer signs it.
    pub(crate) fn signed_response(id: TransactionId, key: &hmac::Key) -> Vec<u8> {
        signed(response(id), [], key)
    }

    fn signed<'a>(
        mut message: Vec<u8>,
        attributes: impl IntoIterator<Item = (u16, &'a [u8])>,
        key: &hmac::Key,
    ) -> Vec<u8> {
        for (kind, value) in attributes {
            message.extend(kind.to_be_bytes());
            message.extend((value.len() as u16).to_be_bytes());
            message.extend(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let length = (message.len() - HEADER + INTEGRITY_BYTES) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let tag = hmac::sign(key, &message);
        message.extend(MESSAGE_INTEGRITY.to_be_bytes());
        message.extend(20_u16.to_be_bytes());
        message.extend(tag.as_ref());
        message
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|d| u8::from_str_radix(std::str::from_utf8(d).expect("ASCII"), 16).expect("hex"))
            .collect()
    }

    /// RFC 5769 section 2.1.
    const REQUEST: &str =
        "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
        00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
        00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf";
    /// RFC 5769 section 2.2.
    const RESPONSE: &str = "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
        00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96";
    /// RFC 5769 section 2.3.
    const RESPONSE_V6: &str =
        "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
        00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
        00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c";

    #[test]
    fn the_vectors_of_rfc_5769() {
        let password = key("VOkJxbRl1RmTxUk/WvJxBt");
        let request = bytes(REQUEST);
        let request = Message::parse(&request).expect("STUN");
        assert_eq!((request.class, request.ufrag()), (Class::Request, Some(&b"evtj"[..])));
        assert!(request.is_by(&password) && !request.is_by(&key("another")) && !request.nominates());
        for (hex, address) in
            [(RESPONSE, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let response = bytes(hex);
            let response = Message::parse(&response).expect("STUN");
            assert_eq!(response.class, Class::Response);
            assert_eq!(response.mapped_address(), address.parse().ok());
            assert_eq!(response.id(), request.id());
            assert!(response.is_by(&password));
        }
    }

    #[test]
    fn one_changed_bit_is_a_forgery() {
        let key = key("password");
        let genuine = request([7; 12], "ours:theirs", &key, true);
        assert!(Message::parse(&genuine).is_some_and(|m| m.is_by(&key) && m.nominates()));
        for at in 8..genuine.len() * 8 {
            let mut forged = genuine.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(!Message::parse(&forged).is_some_and(|m| m.is_by(&key)), "bit {at}");
        }
    }

    #[test]
    fn attributes_behind_the_integrity_do_not_count() {
        let key = key("password");
        let mut message = request([7; 12], "ours:theirs", &key, false);
        message.extend(USE_CANDIDATE.to_be_bytes());
        message.extend([0, 0]);
        let length = (message.len() - HEADER) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let message = Message::parse(&message).expect("STUN");
        assert!(message.is_by(&key) && !message.nominates());
    }

    #[test]
    fn what_is_no_binding_message_is_none() {
        let good = binding_request([1; 12]);
        assert!(Message::parse(&good).is_some_and(|m| m.ufrag().is_none() && !m.is_by(&key("x"))));
        let mut cases = vec![vec![], good[..19].to_vec(), [&good[..], &[0; 4]].concat()];
        for (at, value) in [(0, 0x80), (1, 0x03), (3, 1), (4, 0)] {
            let mut bad = good.to_vec();
            bad[at] = value;
            cases.push(bad);
        }
        for bad in cases {
            assert!(Message::parse(&bad).is_none(), "{bad:?}");
        }
        // An attribute that says to be longer than the message.
        let mut torn = [&good[..], &[0, 6, 0xff, 0xff]].concat();
        torn[3] = 4;
        assert!(Message::parse(&torn).is_some_and(|m| m.ufrag().is_none()));
    }
}
