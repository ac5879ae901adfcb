//! Returns freed memory to the kernel.
//!
//! The C library keeps freed memory for the next allocation, and returns only what is at the end of a heap. So after
//! many viewers or an attack the process would keep nearly all the memory, on boards that have little.

use std::time::Duration;

use tokio::sync::Notify;

/// How long to wait after memory was freed, so that a thousand connections cause only one trim.
const CALM: Duration = Duration::from_secs(2);

/// Has a permit if memory was freed since the last trim.
static FREED: Notify = Notify::const_new();

/// Notes that something that held memory has ended: a connection, a viewer.
pub fn freed() {
    FREED.notify_one();
}

/// Returns memory soon after it was [`freed`], and sleeps otherwise. Never returns.
pub async fn give_back() {
    loop {
        FREED.notified().await;
        tokio::time::sleep(CALM).await;
        trim(); // not on a thread of its own: other threads that allocate would wait anyway
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: malloc_trim takes the allocator's locks, and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries (musl) return memory by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
