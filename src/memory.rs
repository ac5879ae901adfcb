//! Gives memory that was freed back to the kernel.
//!
//! The C library keeps what was freed for the next who asks, and gives back only what lies at the end of a heap. So after a
//! crowd or an attack nearly all that it took would stay with us for good, on boards that have little.

use std::time::Duration;

use tokio::sync::Notify;

/// From the first thing that was freed to giving back, so that a thousand of them cost one look at the heaps.
const CALM: Duration = Duration::from_secs(2);

/// A permit waits here while something was freed since the last look.
static FREED: Notify = Notify::const_new();

/// Something has ended that held memory of its own: a connection, a viewer.
pub fn freed() {
    FREED.notify_one();
}

/// Gives back, soon after each time that something was [`freed`]; sleeps otherwise. Never returns.
pub async fn give_back() {
    loop {
        FREED.notified().await;
        tokio::time::sleep(CALM).await;
        let _ = tokio::task::spawn_blocking(trim).await; // it can't panic
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
