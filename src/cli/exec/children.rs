//! The end of the command, and of what it leaves to gatepass.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, WaitOptions, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells when a child has ended.
pub(super) struct Children(Signal);

impl Children {
    /// Those that are started from now on.
    ///
    /// A parent may have gatepass ignore SIGCHLD. POSIX, System Interfaces §2.4.3: then "child processes
    /// of the calling processes shall not be transformed into zombie processes when they terminate", and
    /// the exit code would be lost with them.
    pub(super) fn watched() -> io::Result<Self> {
        signal(SignalKind::child()).map(Self)
    }

    /// Waits for the end of this one, and says how it was.
    ///
    /// The others are those whose parents have ended, which come to the first process of a container.
    /// Nobody else is there to wait for them, and unwaited they would fill its table of processes.
    pub(super) async fn end_of(&mut self, child: &Child) -> io::Result<ExitStatus> {
        let child = pid(child);
        loop {
            while let Some((ended, status)) = wait(WaitOptions::NOHANG)? {
                if Some(ended) == child {
                    return Ok(ExitStatus::from_raw(status.as_raw()));
                }
            }
            self.0.recv().await;
        }
    }
}

/// By which it is sent signals.
pub(super) fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
