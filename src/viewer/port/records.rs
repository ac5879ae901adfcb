//! Parses the DTLS records in a datagram (RFC 6347 section 4.1), and selects those that webrtc receives.
//! Pure.
//!
//! webrtc keeps what it can't use yet: encrypted records, without a limit, until the handshake is complete,
//! and fragments of handshake messages for ever, empty ones without a limit; and it reassembles messages by
//! recursion, one step for each fragment (`rtc_dtls` 0.21). It passes all application data to SCTP, and ends
//! a connection on an unencrypted alert. Anybody who knows a viewer's address can forge such records. So
//! webrtc receives a limited number of handshake records during the handshake, afterwards only encrypted
//! alerts, and never application data. The contents of unencrypted alerts are recorded in `gate`.

use bytes::{Bytes, BytesMut};

/// Content types (RFC 5246 section 6.2.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// A failure or a goodbye.
pub const ALERT: u8 = 21;
/// A handshake message or a fragment of one.
pub const HANDSHAKE: u8 = 22;

/// Length of a record's header, and of a handshake message's (section 4.2.2).
const HEADER: usize = 13;
const MESSAGE: usize = 12;

/// Most records of one handshake with all retransmissions: browsers retransmit after 50 ms, then after twice
/// that; half a minute has at most ten flights of six messages. Certificates of several kilobytes in many
/// fragments fit.
const MOST_RECORDS: usize = 512;
const MOST_BYTES: usize = 192 * 1024;
const MOST_MESSAGES: usize = 512;
/// Most encrypted records of a handshake: Finished, and its retransmissions.
const MOST_ENCRYPTED: usize = 32;

/// A DTLS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Content type.
    pub kind: u8,
    /// 0 until the keys change, which happens once.
    pub epoch: u16,
    /// Contents without the header.
    pub body: &'a [u8],
    /// Contents with the header.
    pub whole: &'a [u8],
}

/// Whether a datagram is DTLS (RFC 7983).
pub fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..64))
}

/// All complete records of a datagram.
pub fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (kind, epoch) = (header[0], u16::from_be_bytes([header[3], header[4]]));
        let (whole, rest) = datagram.split_at_checked(HEADER + length)?;
        datagram = rest;
        Some(Record { kind, epoch, body: &whole[HEADER..], whole })
    })
}

/// `message_seq` of each handshake message in an unencrypted datagram (epoch 0). For a record with several
/// messages, that of the first.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = u16> {
    let open = |r: &Record| r.kind == HANDSHAKE && r.epoch == 0 && r.body.len() >= MESSAGE;
    records(datagram).filter(open).map(|r| u16::from_be_bytes([r.body[4], r.body[5]]))
}

/// Level and description of an unencrypted alert (RFC 5246 section 7.2).
pub fn alert(datagram: &[u8]) -> Option<(u8, u8)> {
    let open = |r: &Record| r.kind == ALERT && r.epoch == 0;
    records(datagram).filter(open).find_map(|r| Some((*r.body.first()?, *r.body.get(1)?)))
}

/// How much of its limits a handshake has used.
#[derive(Debug, Default)]
pub struct Handshake {
    records: usize,
    bytes: usize,
    messages: usize,
    encrypted: usize,
}

impl Handshake {
    /// The part of a datagram that webrtc receives before the handshake is complete.
    pub fn reduce(&mut self, datagram: Bytes) -> Option<Bytes> {
        reduce(datagram, |record| match (record.kind, record.epoch) {
            (CHANGE_CIPHER_SPEC, 0) => self.has_room(record, 0, 0),
            (HANDSHAKE, 0) => self.has_room(record, parts(record.body), 0),
            (HANDSHAKE | ALERT, 1) => self.has_room(record, 0, 1),
            _ => false,
        })
    }

    fn has_room(&mut self, record: &Record<'_>, messages: usize, encrypted: usize) -> bool {
        self.records += 1;
        self.bytes += record.whole.len();
        self.messages += messages;
        self.encrypted += encrypted;
        self.records <= MOST_RECORDS
            && self.bytes <= MOST_BYTES
            && self.messages <= MOST_MESSAGES
            && self.encrypted <= MOST_ENCRYPTED
    }
}

/// The part of a datagram that webrtc receives after the handshake: how the connection ends. A repeated
/// handshake message asks for our answer to it, which `flight` sends.
pub fn established(datagram: Bytes) -> Option<Bytes> {
    reduce(datagram, |record| (record.kind, record.epoch) == (ALERT, 1))
}

/// Whether a datagram after the handshake contains anything for us.
pub fn speaks(datagram: &[u8]) -> bool {
    records(datagram).any(|r| (r.kind, r.epoch) == (ALERT, 1)) || messages(datagram).next().is_some()
}

/// The records that pass, without anything between or behind them.
fn reduce(datagram: Bytes, mut passes: impl FnMut(&Record<'_>) -> bool) -> Option<Bytes> {
    let mut out = BytesMut::new();
    for record in records(&datagram) {
        if passes(&record) {
            out.extend_from_slice(record.whole);
        }
    }
    match out.len() {
        0 => None,
        all if all == datagram.len() => Some(datagram),
        _ => Some(out.freeze()),
    }
}

/// Number of handshake messages or fragments that webrtc finds in a record's body: each has a header with the
/// length of the whole message.
fn parts(body: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(header) = body.get(at..at + MESSAGE) {
        count += 1;
        at += MESSAGE + u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    }
    count
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Creates a record.
    pub(crate) fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0xfe, 0xfd];
        bytes.extend(epoch.to_be_bytes());
        bytes.extend([0; 6]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Creates a handshake message with 8 bytes, or a fragment of one.
    pub(crate) fn message(number: u16) -> Vec<u8> {
        let mut bytes = vec![1, 0, 0, 8];
        bytes.extend(number.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 8]);
        bytes.extend([7; 8]);
        bytes
    }

    const DATA: u8 = 23;

    fn reduced(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
        Handshake::default().reduce(parts.concat().into()).map(|b| b.to_vec())
    }

    #[test]
    fn application_data_never_passes_whatever_stands_before_it() {
        let [hello, change, finished] =
            [record(22, 0, &message(0)), record(20, 0, &[1]), record(22, 1, &[5; 40])];
        for epoch in [0, 1, 2] {
            let data = record(DATA, epoch, &[0; 100]);
            assert_eq!(reduced(std::slice::from_ref(&data)), None);
            for around in [&hello, &change, &finished] {
                assert_eq!(reduced(&[around.clone(), data.clone()]), Some(around.clone()));
                assert_eq!(reduced(&[data.clone(), around.clone(), data.clone()]), Some(around.clone()));
            }
            assert_eq!(established(data.into()), None);
        }
        let flight = [change, finished];
        assert_eq!(reduced(&flight), Some(flight.concat()));
    }

    #[test]
    fn an_alert_that_anybody_can_have_sent_ends_nothing() {
        let hello = record(22, 0, &message(0));
        for alert in [[1, 0], [2, 0], [2, 40], [2, 42]] {
            assert_eq!(reduced(&[record(ALERT, 0, &alert)]), None);
            assert_eq!(reduced(&[record(ALERT, 0, &alert), hello.clone()]), Some(hello.clone()));
        }
        let encrypted = record(ALERT, 1, &[5; 26]);
        assert_eq!(reduced(std::slice::from_ref(&encrypted)), Some(encrypted));
    }

    #[test]
    fn what_webrtc_would_keep_for_later_does_not_pass() {
        for epoch in [2, 3, 0xffff] {
            for kind in 0..=255 {
                assert_eq!(reduced(&[record(kind, epoch, &[0; 20])]), None);
            }
        }
        for kind in (0..=255).filter(|k| ![20, 21, 22].contains(k)) {
            assert_eq!(reduced(&[record(kind, 0, &[0; 20])]), None, "{kind}");
            assert_eq!(reduced(&[record(kind, 1, &[0; 20])]), None, "{kind}");
        }
        // Afterwards only an encrypted alert.
        for kind in 0..=255 {
            for epoch in [0, 1, 2] {
                let one = Bytes::from(record(kind, epoch, &[0; 20]));
                let passes = established(one.clone()).is_some();
                assert_eq!(passes, (kind, epoch) == (ALERT, 1), "{kind} {epoch}");
            }
        }
    }

    #[test]
    fn a_handshake_has_an_end() {
        let count = |datagram: Vec<u8>| {
            let mut handshake = Handshake::default();
            (0..10_000).filter(|_| handshake.reduce(datagram.clone().into()).is_some()).count()
        };
        assert_eq!(count(record(22, 0, &message(9))), MOST_MESSAGES);
        assert_eq!(count(record(22, 0, &[0; 1400])), MOST_MESSAGES / 116, "many empty parts in one record");
        assert_eq!(count(record(20, 0, &[1])), MOST_RECORDS);
        assert_eq!(count(record(22, 1, &[0; 40])), MOST_ENCRYPTED);
        let large = [&[11, 0, 5, 0x60, 0, 2, 0, 0, 0, 0, 5, 0x60][..], &[0; 1376]].concat();
        assert_eq!(count(record(22, 0, &large)), MOST_BYTES / (13 + 12 + 1376));
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let whole = record(22, 0, &message(5));
        for cut in 0..whole.len() {
            assert_eq!(records(&whole[..cut]).count(), 0, "{cut}");
            assert_eq!(reduced(&[whole[..cut].to_vec()]), None);
            assert_eq!(reduced(&[whole.clone(), whole[..cut].to_vec()]), Some(whole.clone()));
        }
        let two = [record(22, 1, &message(1)), record(22, 0, &message(6))].concat();
        assert_eq!(messages(&two).collect::<Vec<_>>(), [6]);
        assert_eq!(messages(&record(22, 0, &[0; 11])).count(), 0);
        assert_eq!(alert(&[record(22, 0, &message(1)), record(21, 0, &[2, 42])].concat()), Some((2, 42)));
        assert_eq!((alert(&record(21, 1, &[2, 42])), alert(&record(21, 0, &[2]))), (None, None));
    }
}
