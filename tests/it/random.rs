//! Pseudo-random numbers that are the same each time (Marsaglia's xorshift32).

/// The generator.
pub(crate) struct Random(u32);

impl Random {
    /// Always returns the same numbers for the same seed, which must not be 0.
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// The next number from 0 up to, but not including, `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
