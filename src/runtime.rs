//! The only place that builds runtimes, starts threads and keeps background tasks alive.
//!
//! gatepass has two planes. The control plane is one current-thread runtime on the main thread;
//! the data plane is a handful of worker threads, each with a current-thread runtime of its own.
//! A worker's connections, timers and upstream sockets never leave its thread, so the way of a
//! request needs no lock and no wake-up of another core.

use std::convert::Infallible;
use std::io;
use std::thread;
use std::time::Duration;

use hyper::rt::Executor;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// How long a background task that panicked stays down before it is started again.
///
/// Long enough that a task that panics at once cannot spin, short enough that a token with a life
/// of a minute survives it.
const RESTART_DELAY: Duration = Duration::from_secs(1);

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

/// Runs the tasks of a connection on the thread that the connection belongs to.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
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

/// Runs a background task for ever: when it panics, `on_panic` is told and it is started again.
///
/// Refreshing tokens must never stop while the process lives. A peer's refresh loop returned at
/// its first failure and nobody noticed until the token had expired; here the type of the task
/// says that it cannot return, and this loop catches the one way that is left.
pub async fn supervise<Fut>(mut start: impl FnMut() -> Fut, mut on_panic: impl FnMut())
where
    Fut: Future<Output = Infallible> + 'static,
{
    loop {
        let task = AbortOnDropHandle::new(tokio::task::spawn_local(start()));
        match task.await {
            Ok(never) => match never {},
            Err(error) if error.is_cancelled() => return,
            Err(_) => on_panic(),
        }
        sleep(RESTART_DELAY).await;
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
    Builder::new_current_thread()
        .enable_all()
        // Name look-ups and file reads are all that ever blocks; a handful of threads bounds them.
        .max_blocking_threads(8)
        .thread_name("blocking")
        .build_local(LocalOptions::default())
}

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
                        std::future::pending().await
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
}
