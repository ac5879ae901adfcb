//! Remembers which packet of a picture each transport-wide number carried: a viewer reports all packets by
//! these numbers, and one that it reports as missing need not wait for its NACK, which may be lost too.
//!
//! What was sent before the first packet that arrived is left to NACKs: a viewer that was not ready for the stream
//! yet does not want it. Firefox 153 stops showing a stream if it gets such packets after later ones.

/// Numbers that are remembered: more than a browser reports at once.
const REMEMBERED: usize = 256;

/// The packets of one stream, with its retransmissions.
#[derive(Debug)]
pub(super) struct Carried {
    /// Pairs of a transport-wide number and the packet's own one, at the transport-wide number's place.
    numbers: Box<[Option<(u16, u16)>; REMEMBERED]>,
    /// Whether a packet has arrived.
    begun: bool,
}

impl Default for Carried {
    fn default() -> Self {
        Self { numbers: Box::new([None; REMEMBERED]), begun: false }
    }
}

impl Carried {
    /// Records a packet; one without a transport-wide number is not reported.
    pub(super) fn sent(&mut self, transport_wide: Option<u16>, number: u16) {
        if let Some(wide) = transport_wide {
            self.numbers[place(wide)] = Some((wide, number));
        }
    }

    /// Processes what the viewer reports about a packet; call it in their order. Returns the packet's own number, once,
    /// if it is missing.
    pub(super) fn reported(&mut self, transport_wide: u16, has_arrived: bool) -> Option<u16> {
        let known = self.numbers[place(transport_wide)].take_if(|(wide, _)| *wide == transport_wide);
        self.begun |= has_arrived && known.is_some();
        known.filter(|_| !has_arrived && self.begun).map(|(_, number)| number)
    }
}

fn place(transport_wide: u16) -> usize {
    usize::from(transport_wide) % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_once_and_for_a_while() {
        let mut carried = Carried::default();
        for n in 0..300 {
            carried.sent(Some(65_400_u16.wrapping_add(n)), n);
        }
        assert_eq!(carried.reported(65_450, false), None, "nothing has arrived yet");
        assert_eq!(carried.reported(65_451, true), None);
        assert_eq!(carried.reported(65_400, false), None, "long ago");
        assert_eq!(carried.reported(65_500, false), Some(100));
        assert_eq!(carried.reported(65_500, false), None, "a second report");
        assert_eq!(carried.reported(163, false), Some(299));
        assert_eq!(carried.reported(164, false), None);
        carried.sent(None, 7);
    }
}
