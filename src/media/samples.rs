//! Samples and rows of samples: copying, averaging, and conversion between full range (JPEG) and limited
//! range (video).

/// Copies rows of `width` samples, each through `map`; excess samples on either side are ignored.
pub(super) fn copy_plane<'a>(
    from: impl Iterator<Item = &'a [u8]>,
    to: &mut [u8],
    width: usize,
    map: impl Fn(u8) -> u8,
) {
    for (src, dst) in from.zip(to.chunks_exact_mut(width)) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = map(*s);
        }
    }
}

/// Mean of two samples, with halves rounded up.
pub(super) fn mean(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

/// Converts full-range luma to limited range: 16 + y * 219 / 255, exactly rounded, in 16 bits.
pub(super) fn limited_luma(y: u8) -> u8 {
    let t = u16::from(y) * 219 + 128;
    16 + ((t + (t >> 8)) >> 8) as u8
}

/// Converts full-range chroma to limited range: 128 + (c - 128) * 224 / 255, exactly rounded, in 16 bits.
pub(super) fn limited_chroma(c: u8) -> u8 {
    // (c * 224 + 128 * (255 - 224)) / 255; at most 61216, so nothing overflows.
    let t = u16::from(c) * 224 + 128 * 31 + 128;
    ((t + (t >> 8)) >> 8) as u8
}

/// Converts limited-range luma to full range.
pub(super) fn full_luma(y: u8) -> u8 {
    ((i32::from(y) - 16) * 255 + 109).div_euclid(219).clamp(0, 255) as u8
}

/// Converts limited-range chroma to full range.
pub(super) fn full_chroma(c: u8) -> u8 {
    ((i32::from(c) - 128) * 255 + 128 * 224 + 112).div_euclid(224).clamp(0, 255) as u8
}
