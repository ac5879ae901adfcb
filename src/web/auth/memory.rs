//! Memory for one hash, straight from the kernel and back to it.
//!
//! From the allocator it would be kept: after the first such block glibc takes the next ones from its heaps, and each
//! thread that hashes has a heap of its own; five hashes left 95 MB behind, and 300 left 190 MB.

use std::io;
use std::ptr::{self, NonNull};

use argon2::Block;

/// Zeroed blocks, returned to the kernel when dropped.
pub struct Blocks {
    at: NonNull<Block>,
    count: usize,
}

impl Blocks {
    /// Takes `count` blocks, at least one.
    pub fn take(count: usize) -> io::Result<Self> {
        let (read_write, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for fresh memory at an address of the kernel's choice; the result is checked.
        let at = unsafe { libc::mmap(ptr::null_mut(), count * Block::SIZE, read_write, private, -1, 0) };
        match NonNull::new(at.cast::<Block>()) {
            Some(blocks) if at != libc::MAP_FAILED => Ok(Self { at: blocks, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsMut<[Block]> for Blocks {
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: `at` has room for `count` blocks, on a page's boundary, until we are dropped; zeros are blocks.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.count) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: what `take` mapped, and nobody else has it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.count * Block::SIZE) };
    }
}
