//! Chooses which sizes of a stream exist, and which of them a viewer gets. Pure policy.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::media::frame::Size;

/// Smallest size of a rung: in anything smaller nothing can be recognised.
const SMALLEST: Size = Size::new(160, 90);

/// The size of a rung's pictures as a share of the stream's, from large to small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The full size.
    Full,
    /// Half of the width and height.
    Half,
    /// A quarter of the width and height.
    Quarter,
}

impl Share {
    /// All shares, from large to small.
    pub const ALL: [Self; 3] = [Self::Full, Self::Half, Self::Quarter];

    /// Its index in [`Share::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::Quarter => "quarter",
        }
    }

    /// This share of a size, rounded to even numbers.
    pub const fn of(self, full: Size) -> Size {
        let shift = self as u32;
        Size::new(full.width >> shift, full.height >> shift).even()
    }

    /// Its share of the pixels of a full picture.
    pub fn pixels(self) -> f64 {
        0.25f64.powi(self as i32)
    }

    /// Its bitrate in bits per second, from that of full pictures. Small pictures need more bits per pixel to
    /// look as good.
    pub const fn bitrate_bps(self, full_bps: u32) -> u32 {
        let percent = match self {
            Self::Full => 100,
            Self::Half => 40,
            Self::Quarter => 15,
        };
        (full_bps as u64 * percent / 100) as u32
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The quality that a viewer requests: the largest pictures that it wants. It gets smaller ones where its link carries
/// no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// The best for this viewer.
    #[default]
    Auto,
    /// At most [`Share::Full`].
    Full,
    /// At most [`Share::Half`].
    Half,
    /// At most [`Share::Quarter`].
    Quarter,
}

impl Quality {
    /// The allowed values, in words.
    pub const ALLOWED: &'static str = "\"auto\", \"full\", \"half\" or \"quarter\"";

    /// Its name as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Half => "half",
            Self::Quarter => "quarter",
        }
    }

    /// The largest share that it allows.
    pub const fn largest(self) -> Share {
        match self {
            Self::Auto | Self::Full => Share::Full,
            Self::Half => Share::Half,
            Self::Quarter => Share::Quarter,
        }
    }
}

impl FromStr for Quality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::Full, Self::Half, Self::Quarter];
        let named = all.into_iter().find(|q| q.name() == text);
        named.ok_or_else(|| format!("unknown quality; allowed: {}", Self::ALLOWED))
    }
}

/// The rungs that viewers may have now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offered {
    /// Size of full pictures; `None` if it is not known yet.
    pub size: Option<Size>,
    /// Pictures per second.
    pub fps: f64,
    /// Bitrate of full pictures on a good link, in bits per second; 0 if it is not known yet.
    pub bitrate_bps: u32,
    /// Whether the board can encode smaller rungs beside the full one.
    pub smaller: bool,
}

impl Default for Offered {
    fn default() -> Self {
        Self { size: None, fps: 0.0, bitrate_bps: 0, smaller: true }
    }
}

impl Offered {
    /// The shares from large to small; always includes the full one.
    pub fn shares(self) -> impl Iterator<Item = Share> {
        let large = move |share: Share| {
            let size = share.of(self.size.unwrap_or(Size::new(0, 0)));
            self.smaller && size.width >= SMALLEST.width && size.height >= SMALLEST.height
        };
        Share::ALL.into_iter().filter(move |share| *share == Share::Full || large(*share))
    }

    /// The rung for this share: the nearest one that is not smaller.
    pub fn nearest(self, wish: Share) -> Share {
        self.shares().filter(|share| *share <= wish).last().unwrap_or(Share::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(width: u32, height: u32, smaller: bool) -> Offered {
        Offered { size: Some(Size::new(width, height)), fps: 30.0, bitrate_bps: 2_000_000, smaller }
    }

    #[test]
    fn rungs_are_offered_where_they_can_be_recognised() {
        use Share::*;
        let shares = |o: Offered| o.shares().collect::<Vec<_>>();
        assert_eq!(shares(offered(1920, 1080, true)), [Full, Half, Quarter]);
        assert_eq!(shares(offered(640, 480, true)), [Full, Half, Quarter]);
        assert_eq!(shares(offered(480, 360, true)), [Full, Half]);
        assert_eq!(shares(offered(320, 180, true)), [Full, Half]);
        assert_eq!(shares(offered(300, 200, true)), [Full]);
        assert_eq!(shares(offered(90, 1600, true)), [Full]);
        assert_eq!(shares(offered(1920, 1080, false)), [Full]);
        assert_eq!(shares(Offered::default()), [Full]);
    }

    #[test]
    fn a_wish_gets_the_nearest_there_is_and_later_what_it_asked_for() {
        let (all, two, one) = (offered(1280, 720, true), offered(480, 360, true), offered(1280, 720, false));
        for (wish, of_all, of_two) in [
            (Quality::Auto, Share::Full, Share::Full),
            (Quality::Full, Share::Full, Share::Full),
            (Quality::Half, Share::Half, Share::Half),
            (Quality::Quarter, Share::Quarter, Share::Half),
        ] {
            assert_eq!(
                [all, two, one].map(|o| o.nearest(wish.largest())),
                [of_all, of_two, Share::Full],
                "{wish:?}"
            );
        }
    }

    #[test]
    fn sizes_are_even_and_bitrates_follow() {
        assert_eq!(Share::Half.of(Size::new(1280, 720)), Size::new(640, 360));
        assert_eq!(Share::Quarter.of(Size::new(642, 482)), Size::new(160, 120));
        assert_eq!(Share::ALL.map(|s| s.bitrate_bps(2_000_000)), [2_000_000, 800_000, 300_000]);
        assert_eq!(Share::Full.bitrate_bps(u32::MAX), u32::MAX);
        assert_eq!(Share::ALL.map(Share::pixels), [1.0, 0.25, 0.0625]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for quality in [Quality::Auto, Quality::Full, Quality::Half, Quality::Quarter] {
            assert_eq!(quality.name().parse(), Ok(quality));
            assert_eq!(serde_json::to_value(quality).expect("JSON"), quality.name());
        }
        for wrong in ["", "Half", "half ", "hd"] {
            let said = wrong.parse::<Quality>().expect_err("none");
            assert!(said.contains("\"half\""), "{said}");
        }
    }
}
