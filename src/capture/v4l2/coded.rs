//! Determines the size of a camera's JPEGs where it differs from the negotiated size. Pure policy.

use crate::media::frame::{LARGEST, Size};
use crate::media::mjpeg;

/// How many frames in a row must have a new size before it is believed: a single frame may have a damaged
/// header.
const SURE: u32 = 3;
/// Smallest size; the configuration has the same limit.
const SMALLEST: Size = Size::new(64, 64);

/// The size of the frames.
#[derive(Debug)]
pub(super) struct Coded {
    agreed: Size,
    shown: Size,
    /// A different size, and how many frames in a row had it.
    other: Option<(Size, u32)>,
}

impl Coded {
    /// Creates the state for a camera that agreed to this size.
    pub(super) fn new(agreed: Size) -> Self {
        Self { agreed, shown: agreed, other: None }
    }

    /// Records the size in a frame's header. Returns the size of the frames from now on, if it has changed.
    pub(super) fn observe(&mut self, says: Option<Size>) -> Option<Size> {
        let says = says?; // no header: the decoder will report an error
        let fits = |size| mjpeg::is_cropped_to(says, size);
        if fits(self.shown) {
            self.other = None;
            return None;
        }
        let wanted = if fits(self.agreed) { self.agreed } else { says.even() };
        if !SMALLEST.fits(wanted) || !wanted.fits(LARGEST) {
            return None;
        }
        let times = self.other.filter(|(size, _)| *size == wanted).map_or(1, |(_, times)| times + 1);
        self.other = Some((wanted, times));
        if times < SURE {
            return None;
        }
        (self.shown, self.other) = (wanted, None);
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGA: Size = Size::new(640, 480);
    const HD: Size = Size::new(1280, 720);

    fn shown(frames: &[Size]) -> Vec<Option<Size>> {
        let mut coded = Coded::new(VGA);
        frames.iter().map(|says| coded.observe(Some(*says))).collect()
    }

    #[test]
    fn another_size_is_taken_over_once_it_is_sure_and_back() {
        assert_eq!(shown(&[VGA, HD, HD, HD, HD]), [None, None, None, Some(HD), None]);
        assert_eq!(shown(&[HD, HD, HD, VGA, VGA, VGA])[5], Some(VGA));
        assert_eq!(shown(&[Size::new(641, 361); 3])[2], Some(Size::new(640, 360)));
    }

    #[test]
    fn what_is_cropped_or_damaged_is_no_other_size() {
        assert_eq!(shown(&[Size::new(640, 488); 9]), [None; 9]);
        assert_eq!(shown(&[HD, HD, VGA, HD, HD, VGA]), [None; 6]);
        assert_eq!(shown(&[HD, Size::new(800, 600), HD, Size::new(320, 240), HD]), [None; 5]);
        for no_camera in [Size::new(16, 16), Size::new(65_535, 65_535), Size::new(0, 0)] {
            assert_eq!(shown(&[no_camera; 9]), [None; 9]);
        }
        assert_eq!(Coded::new(VGA).observe(None), None);
    }
}
