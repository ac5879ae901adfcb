//! From which sources (SSRC, RFC 3550 section 5.1) a viewer's streams are sent.

use super::Error;

/// The sources of one viewer: the sound's is a random number, and those of pictures follow it.
#[derive(Clone, Copy, Debug)]
pub struct Sources(u32);

/// The sources of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of the picture.
    pub video: u32,
    /// Of its repetitions.
    pub rtx: u32,
}

impl Sources {
    /// New ones.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("no random numbers: {e}")))?;
        Ok(Self(u32::from_ne_bytes(bytes)))
    }

    /// Of the sound.
    pub fn audio(self) -> u32 {
        self.0
    }

    /// The one of this number for pictures.
    pub fn picture(self, number: usize) -> Source {
        let video = self.0.wrapping_add(1 + 2 * number as u32);
        Source { video, rtx: video.wrapping_add(1) }
    }
}
