//! The sources (SSRC, RFC 3550 section 5.1) of a viewer's streams.

use super::Error;

/// The sources of a viewer: a random number for the sound, and the following numbers for pictures.
#[derive(Clone, Copy, Debug)]
pub struct Sources(u32);

/// The sources of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// SSRC of the picture.
    pub video: u32,
    /// SSRC of its retransmissions.
    pub rtx: u32,
}

impl Sources {
    /// Creates random sources.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no random numbers: {e}")))?;
        Ok(Self(u32::from_ne_bytes(bytes)))
    }

    /// SSRC of the sound.
    pub fn audio(self) -> u32 {
        self.0
    }

    /// The sources of the picture with this number.
    pub fn picture(self, number: usize) -> Source {
        let video = self.0.wrapping_add(1 + 2 * number as u32);
        Source { video, rtx: video.wrapping_add(1) }
    }
}
