//! Memory for one hash, mapped from the kernel and unmapped afterwards.
//!
//! The allocator would keep it: after the first such block glibc takes the next ones from its heaps, and each thread
//! that hashes has its own heap. Five hashes left 95 MB behind, and 300 left 190 MB.

use std::io;
use std::ptr::{self, NonNull};

use argon2::Block;

/// Zeroed blocks; dropping them returns them to the kernel.
pub(super) struct Blocks {
    at: NonNull<Block>,
    count: usize,
}

impl Blocks {
    /// Maps `count` blocks, at least one.
    pub(super) fn take(count: usize) -> io::Result<Self> {
        let (read_write, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: maps new memory at an address that the kernel chooses; the result is checked.
        let at = unsafe { libc::mmap(ptr::null_mut(), count * Block::SIZE, read_write, private, -1, 0) };
        match NonNull::new(at.cast::<Block>()) {
            Some(blocks) if at != libc::MAP_FAILED => Ok(Self { at: blocks, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsMut<[Block]> for Blocks {
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: `at` is page-aligned and has room for `count` blocks until drop; zeros are valid blocks.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.count) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: `take` mapped this memory, and nothing else refers to it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.count * Block::SIZE) };
    }
}
