//! Reports that the first viewer came and that the last one left, by a program of the owner's or a webhook.
//!
//! Each hook handles one event at a time. Only the state after that counts: viewers who come and go while a program
//! runs cause no event.

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::notify;

/// Time limit for a program; then it is killed, because the next event waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first viewer came.
    First,
    /// The last viewer left.
    Last,
}

impl Event {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// A receiver of events.
pub trait Hook: Send + 'static {
    /// Its name in the log.
    fn name(&self, event: Event) -> String;

    /// Delivers the event and waits until it is handled. An error is a sentence.
    fn tell(&self, event: Event, viewers: usize) -> impl Future<Output = Result<(), String>> + Send;
}

/// The event that leads from the reported state to the current one.
fn due(told: bool, viewers: usize) -> Option<Event> {
    match (told, viewers > 0) {
        (false, true) => Some(Event::First),
        (true, false) => Some(Event::Last),
        _ => None,
    }
}

/// Reports the first and the last of `viewers` to `hook`, until `stop`; after that once more, if the state has changed.
pub async fn follow(hook: impl Hook, mut viewers: watch::Receiver<usize>, stop: CancellationToken) {
    let mut told = false;
    let mut last: Option<String> = None; // the failure that was logged
    loop {
        let stopping = stop.is_cancelled();
        let count = *viewers.borrow_and_update();
        if let Some(event) = due(told, count) {
            told = event == Event::First;
            match hook.tell(event, count).await {
                Err(e) if last.as_ref() != Some(&e) => {
                    warn!("{}: {e}", hook.name(event));
                    last = Some(e);
                }
                Err(_) => {}
                Ok(()) => {
                    if last.take().is_some() {
                        info!("{}: it works again", hook.name(event));
                    }
                }
            }
        } else if stopping {
            return;
        } else {
            tokio::select! {
                Ok(()) = viewers.changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// The owner's programs; empty for none.
pub struct Commands {
    /// Program and arguments for [`Event::First`].
    pub on_first: Vec<String>,
    /// Program and arguments for [`Event::Last`].
    pub on_last: Vec<String>,
}

impl Commands {
    fn of(&self, event: Event) -> &[String] {
        match event {
            Event::First => &self.on_first,
            Event::Last => &self.on_last,
        }
    }
}

impl Hook for Commands {
    fn name(&self, event: Event) -> String {
        format!("watching.on_{}", event.name())
    }

    async fn tell(&self, event: Event, viewers: usize) -> Result<(), String> {
        let Some((program, arguments)) = self.of(event).split_first() else { return Ok(()) };
        run(program, arguments, viewers, PATIENCE).await
    }
}

/// Runs a program until it ends. Its output goes to the daemon's standard error.
async fn run(program: &str, arguments: &[String], viewers: usize, patience: Duration) -> Result<(), String> {
    let mut command = Command::new(program);
    for variable in notify::VARIABLES {
        command.env_remove(variable);
    }
    let mut child = command
        .args(arguments)
        .env("PEERCAM_VIEWERS", viewers.to_string())
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program} ended with {status}")),
        Ok(Err(e)) => Err(format!("{program}: {e}")),
        Err(_) => {
            // Kill the whole group: the program and everything that it started.
            if let Some(group) = group {
                // SAFETY: takes two numbers. The group is still the child's, which nobody has waited for yet.
                unsafe { libc::killpg(group, libc::SIGKILL) };
            }
            let _ = child.wait().await;
            Err(format!("{program} took longer than {} s and was stopped", patience.as_secs_f32()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn only_the_first_and_the_last_are_events() {
        let mut told = false;
        let mut events = vec![];
        for viewers in [0, 1, 2, 1, 0, 0, 3, 0] {
            if let Some(event) = due(told, viewers) {
                told = event == Event::First;
                events.push((event, viewers));
            }
        }
        assert_eq!(events, [(Event::First, 1), (Event::Last, 0), (Event::First, 3), (Event::Last, 0)]);
    }

    /// Handles an event when it is released.
    #[derive(Clone)]
    struct Slow {
        told: mpsc::UnboundedSender<(Event, usize)>,
        go: Arc<tokio::sync::Semaphore>,
        running: Arc<Mutex<()>>,
    }

    impl Hook for Slow {
        fn name(&self, event: Event) -> String {
            event.name().into()
        }
        async fn tell(&self, event: Event, viewers: usize) -> Result<(), String> {
            assert!(self.running.try_lock().is_ok(), "two at a time");
            self.told.send((event, viewers)).expect("heard");
            self.go.acquire().await.expect("open").forget();
            Err("it never works".into())
        }
    }

    #[tokio::test]
    async fn one_at_a_time_and_the_newest_state_wins() {
        let (told, mut seen) = mpsc::unbounded_channel();
        let slow = Slow { told, go: Arc::new(tokio::sync::Semaphore::new(0)), running: Arc::default() };
        let (viewers, watched) = watch::channel(0);
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(slow.clone(), watched, stop.clone()));
        viewers.send_replace(1);
        assert_eq!(seen.recv().await, Some((Event::First, 1)));
        for n in [0, 1, 0, 2] {
            viewers.send_replace(n);
            tokio::task::yield_now().await;
        }
        slow.go.add_permits(1);
        viewers.send_replace(3); // still watched, as reported
        tokio::task::yield_now().await;
        assert!(seen.try_recv().is_err());
        viewers.send_replace(0);
        assert_eq!(seen.recv().await, Some((Event::Last, 0)));
        viewers.send_replace(4);
        stop.cancel(); // the last change is reported before the end
        slow.go.add_permits(2);
        assert_eq!(seen.recv().await, Some((Event::First, 4)));
        task.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_all_it_started() {
        let mark = format!("{}.25", 3600 + std::process::id() % 1000);
        let script = ["-c".to_owned(), format!("sleep {mark} & sleep {mark}")];
        let hung = run("/bin/sh", &script, 1, Duration::from_millis(300)).await;
        assert_eq!(hung, Err("/bin/sh took longer than 0.3 s and was stopped".into()));
        let sleeps = |mark: &str| {
            let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
            processes
                .filter_map(|p| std::fs::read_to_string(p.path().join("cmdline")).ok())
                .filter(|c| c.starts_with("sleep") && c.contains(mark))
                .count()
        };
        for _ in 0..100 {
            if sleeps(&mark) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // orphans are reaped by init
        }
        panic!("what it started still runs");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_a_sentence() {
        let run = |program: &'static str, code: &str| {
            let arguments = ["-c".to_owned(), format!("exit {code}")];
            async move { run(program, &arguments, 0, PATIENCE).await }
        };
        assert_eq!(run("/bin/sh", "0").await, Ok(()));
        assert_eq!(run("/bin/sh", "3").await, Err("/bin/sh ended with exit status: 3".into()));
        // In QEMU's user emulation a copy of this process starts programs (posix_spawn), and can't report why that
        // failed.
        let told = std::process::Command::new("/no/such").spawn().is_err();
        let why =
            if told { ": No such file or directory (os error 2)" } else { " ended with exit status: 127" };
        assert_eq!(run("/no/such", "0").await, Err(format!("/no/such{why}")));
    }
}
