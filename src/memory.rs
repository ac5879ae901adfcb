//! Gives memory that was freed back to the kernel.
//!
//! The C library keeps freed memory for the next allocation, and gives back only what lies at the end of a heap. So after a
//! crowd or an attack nearly all the memory that it took would stay with us for good, on boards that have little.

use std::time::Duration;

use tokio::sync::Notify;

/// How long giving back waits after something was freed, so that a thousand connections cost one look at the heaps.
const CALM: Duration = Duration::from_secs(2);

/// Holds a permit while something was freed since the last look.
static FREED: Notify = Notify::const_new();

/// Something has ended that held memory of its own: a connection, a viewer.
pub fn freed() {
    FREED.notify_one();
}

/// Gives memory back soon after something was [`freed`], and sleeps otherwise. Never returns.
pub async fn give_back() {
    loop {
        FREED.notified().await;
        tokio::time::sleep(CALM).await;
        trim(); // here: on any thread it would hold up whoever allocates meanwhile
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes the allocator's own locks, and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries (musl) give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
