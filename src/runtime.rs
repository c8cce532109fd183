//! The only place that builds runtimes, starts threads and keeps background tasks alive.
//!
//! gatepass has two planes. The control plane is one current-thread runtime on the main thread;
//! the data plane is a handful of worker threads, each with a current-thread runtime of its own.
//! A worker's connections, timers and upstream sockets never leave its thread, so the way of a
//! request needs no lock and no wake-up of another core.

mod disk;

use std::io;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use hyper::rt::Executor;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

pub use disk::Disk;

/// Runs the control plane to its end, on the calling thread.
///
/// # Errors
///
/// The operating system refused the descriptors that the event loop needs.
pub fn control<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(block_on(local_runtime()?, work))
}

/// The data plane's threads.
#[derive(Debug, Default)]
pub struct Workers {
    ends: JoinSet<Result<(), WorkerPanicked>>,
}

impl Workers {
    /// Starts a thread with a runtime of its own and runs `work` on it to its end. Must be called
    /// on the control plane's runtime.
    ///
    /// `work` is called on the new thread, so what it builds need not be `Send`.
    ///
    /// # Errors
    ///
    /// The thread or its runtime could not be made.
    pub fn start<F>(&mut self, work: F) -> io::Result<()>
    where
        F: AsyncFnOnce() + Send + 'static,
    {
        let (end, ended) = oneshot::channel();
        let (report, started) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name(format!("worker-{}", self.ends.len()))
            .spawn(move || {
                let runtime = match local_runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(report.send(Err(error))),
                };
                drop(report.send(Ok(())));
                block_on(runtime, work());
                // Nobody listens any more only if the control plane itself has ended.
                let _ = end.send(());
            })?;
        started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the worker thread ended while starting")))?;
        self.ends
            .spawn_local(async move { ended.await.map_err(|_| WorkerPanicked) });
        Ok(())
    }

    /// Waits for the next of them to end; `None` once all have.
    ///
    /// # Errors
    ///
    /// Its work panicked.
    pub async fn next_ended(&mut self) -> Option<Result<(), WorkerPanicked>> {
        let ended = self.ends.join_next().await?;
        Some(ended.unwrap_or(Err(WorkerPanicked)))
    }

    /// Waits for all of them to end.
    ///
    /// # Errors
    ///
    /// The work of one of them panicked.
    pub async fn all_ended(&mut self) -> Result<(), WorkerPanicked> {
        while let Some(ended) = self.next_ended().await {
            ended?;
        }
        Ok(())
    }
}

/// A data plane thread ended by a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a data plane worker panicked")]
pub struct WorkerPanicked;

/// Has something done on this thread, beside what it does already.
///
/// Boxed: a task is moved several times on its way to being run and out of it. And of one type: each
/// other one has its own copy of what the runtime does with tasks, 4 KB of the binary.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    tokio::task::spawn_local(work)
}

/// Runs the tasks of a connection on the thread that the connection belongs to.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        spawn(task);
    }
}

/// How many processors this process may use at once, by its affinity and the limit of its cgroup
/// (`cpu.max`); one if nobody says.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Lets this process open as many files and sockets as it may, and says how many that is.
///
/// The usual limit of 1,024 is a courtesy to programs that use `select`; a busy caller costs two
/// descriptors here.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    in_force
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX)
}

/// How many files and sockets a process may open.
#[derive(Debug, Clone)]
pub struct DescriptorLimit(Rlimit);

impl DescriptorLimit {
    /// That of this process, now.
    pub fn in_force() -> Self {
        Self(getrlimit(Resource::Nofile))
    }

    /// Does under this limit what starts a process, which inherits it: of more than the usual 1,024
    /// descriptors a program that uses `select` writes beyond what it has.
    pub fn during<T>(&self, start: impl FnOnce() -> T) -> T {
        let Self(raised) = Self::in_force();
        // One that may not be set is the one in force.
        let _ = setrlimit(Resource::Nofile, self.0);
        let started = start();
        let _ = setrlimit(Resource::Nofile, raised);
        started
    }
}

/// Keeps the memory of this process, in which tokens and secrets stand, out of core dumps and from
/// other processes of the same user.
///
/// # Errors
///
/// The operating system does not know how.
pub fn keep_memory_private() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }
    // macOS lets nobody but root look into a process that is not made for it.
    #[cfg(not(target_os = "linux"))]
    {
        let maximum = getrlimit(Resource::Core).maximum;
        let current = Some(0);
        Ok(setrlimit(Resource::Core, Rlimit { current, maximum })?)
    }
}

/// Has a file that is as large as this process may make it (`ulimit -f`) refuse what is written on, as
/// a disk does that is full.
///
/// POSIX, `write()`: a process that "attempts to write a file that exceeds […] the file size limit of the
/// process" is sent SIGXFSZ, which ends it. With a handler the write fails with `EFBIG` and no more.
///
/// # Errors
///
/// The operating system refuses what a handler needs.
pub fn survive_full_files() -> io::Result<()> {
    // The handler stays when its runtime is gone.
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

/// Starts a thread for what waits for the operating system and must not be waited for.
///
/// # Errors
///
/// The operating system has no thread left.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(())
}

/// Runs a background task for ever: when it panics or ends, `on_end` is told and it is started
/// again, at once at first and later if it keeps failing.
///
/// Refreshing tokens must never stop while the process lives. A peer's refresh loop returned at
/// its first failure and nobody noticed until the token had expired.
pub async fn supervise<Fut>(mut start: impl FnMut() -> Fut, mut on_end: impl FnMut())
where
    Fut: Future + 'static,
{
    let mut start = || {
        let work = start();
        spawn(async move { drop(work.await) })
    };
    keep_going(&mut start, &mut on_end).await;
}

/// Not generic, so that it is compiled once.
async fn keep_going(start: &mut dyn FnMut() -> JoinHandle<()>, on_end: &mut dyn FnMut()) {
    let mut delay = RESTART_DELAY;
    loop {
        let started = Instant::now();
        let task = AbortOnDropHandle::new(start());
        if task.await.is_err_and(|error| error.is_cancelled()) {
            return;
        }
        on_end();
        if started.elapsed() >= CALM {
            delay = RESTART_DELAY;
        }
        sleep(delay).await;
        delay = (delay * 2).min(LONGEST_RESTART_DELAY);
    }
}

/// What the work leaves behind is cancelled. A name look-up or a file that hangs is not waited for:
/// no call can interrupt it, and nobody wants its result any more.
fn block_on<T>(runtime: LocalRuntime, work: impl Future<Output = T>) -> T {
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

fn local_runtime() -> io::Result<LocalRuntime> {
    // Whoever has something to do that blocks panics where no thread can be made for it, as when the other
    // containers of a pod have used up its processes, and waits for one that is there. So one is from
    // the beginning, and stays. It is made sure of first that it can be.
    drop(thread::Builder::new().spawn(|| {})?.join());
    let runtime = Builder::new_current_thread()
        .enable_all()
        // Name look-ups and files are all that ever blocks.
        .max_blocking_threads(LOOK_UPS + disk::MOST)
        .event_interval(TASKS_BETWEEN_LOOKS)
        .thread_name("blocking")
        .thread_keep_alive(FOR_EVER)
        .build_local(LocalOptions::default())?;
    drop(runtime.spawn_blocking(|| {}));
    Ok(runtime)
}

/// How many names may be looked up at once while all that has to do with files hangs.
const LOOK_UPS: usize = 8;

/// As far as timers reach.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// After so many polls of tasks a busy worker asks the kernel what has arrived.
///
/// Requests that come together leave together: a round of 64 streams of HTTP/2 takes more polls than
/// tokio's own 61, and what such a connection has to say would be cut into smaller sends.
const TASKS_BETWEEN_LOOKS: u32 = 127;

/// How long a background task that failed stays down at first.
///
/// Long enough that a task that fails at once cannot spin, short enough that a token with a life
/// of a minute survives it.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// And at most.
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// A task that has run for so long has not failed at once.
const CALM: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_task_that_panics_is_started_again() {
        let starts = Rc::new(Cell::new(0));
        let panics = Rc::new(Cell::new(0));
        let (seen, mut wait) = tokio::sync::mpsc::unbounded_channel();
        let task = {
            let (starts, panics) = (Rc::clone(&starts), Rc::clone(&panics));
            supervise(
                move || {
                    let start = starts.get() + 1;
                    starts.set(start);
                    let seen = seen.clone();
                    async move {
                        assert!(start > 2, "the first two starts fail");
                        seen.send(start).ok();
                        std::future::pending::<()>().await;
                    }
                },
                move || panics.set(panics.get() + 1),
            )
        };
        tokio::select! {
            () = task => unreachable!("a supervised task has no end"),
            start = wait.recv() => assert_eq!(start, Some(3)),
        }
        assert_eq!((starts.get(), panics.get()), (3, 2));
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn one_that_keeps_failing_is_left_alone_longer_each_time() {
        let start = Instant::now();
        let starts = Rc::new(std::cell::RefCell::new(Vec::new()));
        let task = {
            let starts = Rc::clone(&starts);
            supervise(
                move || {
                    starts.borrow_mut().push(start.elapsed().as_secs());
                    let seventh = starts.borrow().len() == 7;
                    async move {
                        if seventh {
                            sleep(CALM).await;
                        }
                    }
                },
                || {},
            )
        };
        let _ = tokio::time::timeout(Duration::from_secs(160), task).await;
        assert_eq!(
            *starts.borrow(),
            [0, 1, 3, 7, 15, 31, 61, 122, 124, 128, 136, 152]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_core_is_dumped() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        keep_memory_private().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
