//! The limit of open file descriptors: every connection needs one, and so do cameras, the state and commands.

/// The wanted limit, which `peercam.service` allows: more than twice what all parts use at most, which is the
/// connections of `web::places` and of the media port, and [`RESERVE`].
pub const WANTED: usize = 8192;
/// Descriptors that connections never get. They are for cameras, microphones, the state, the control socket and its
/// commands, listeners, timers, and the owner's programs and webhooks.
pub const RESERVE: usize = 128;

/// Raises the limit to [`WANTED`], or as far as allowed. Returns the new limit.
pub fn raise() -> usize {
    let (now, most) = limits();
    let wanted = (WANTED as libc::rlim_t).min(most).max(now);
    if wanted > now {
        let limit = libc::rlimit { rlim_cur: wanted, rlim_max: most };
        // SAFETY: setrlimit gets a valid rlimit, which it only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            let error = std::io::Error::last_os_error();
            tracing::warn!("can't raise the limit of open files from {now} to {wanted}: {error}");
        }
    }
    let limit = limit();
    if limit < WANTED / 2 {
        tracing::info!(
            "only {limit} files may be open at once (LimitNOFILE): connections are limited accordingly"
        );
    }
    limit
}

/// The current limit.
pub fn limit() -> usize {
    usize::try_from(limits().0).unwrap_or(usize::MAX)
}

/// Returns `most` if `limit` is at least half of [`WANTED`], which is enough for all parts; otherwise a proportional
/// part of `most`.
pub fn share(most: usize, limit: usize) -> usize {
    let (have, all) = (limit.saturating_sub(RESERVE), WANTED / 2 - RESERVE);
    if have >= all { most } else { (most * have / all).max(1) }
}

/// The soft and the hard limit.
fn limits() -> (libc::rlim_t, libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes to a valid rlimit of this function.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => (limit.rlim_cur, limit.rlim_max),
        _ => (1024, 1024), // the kernel's own default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let most = usize::try_from(limits().1).unwrap_or(usize::MAX);
        assert!(raise() >= WANTED.min(most));
        assert_eq!(raise(), limit());
    }

    #[test]
    fn where_there_are_few_each_part_gets_less() {
        assert_eq!([share(512, usize::MAX), share(512, WANTED), share(512, WANTED / 2)], [512; 3]);
        // The kernel's default.
        let parts = [512, 1088, 2048].map(|most| share(most, 1024));
        assert!(parts.iter().sum::<usize>() + RESERVE <= 1024 && parts[0] > 100, "{parts:?}");
        assert_eq!(share(512, 10), 1);
    }
}
