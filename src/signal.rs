//! The signals that ask the process for something.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The signals that gatepass obeys, caught from the moment this value is made.
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    Caught(Caught),
    PassedOn(mpsc::Receiver<StopSignal>),
}

#[derive(Debug)]
struct Caught {
    terminate: Signal,
    interrupt: Signal,
    refresh: Signal,
    reload: Signal,
}

impl Signals {
    /// Starts to catch SIGTERM, SIGINT, SIGUSR1 and SIGHUP in place of their default, which is to
    /// die.
    ///
    /// # Errors
    ///
    /// The handlers could not be installed.
    pub fn catch() -> io::Result<Self> {
        Ok(Self(Source::Caught(Caught {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            refresh: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
        })))
    }

    /// Those that somebody else catches, and passes on as far as they are for gatepass.
    pub fn passed_on(signals: mpsc::Receiver<StopSignal>) -> Self {
        Self(Source::PassedOn(signals))
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) -> Asked {
        let caught = match &mut self.0 {
            Source::Caught(caught) => caught,
            Source::PassedOn(signals) => match signals.recv().await {
                Some(signal) => return Asked::Stop(signal),
                None => return pending().await,
            },
        };
        tokio::select! {
            _ = caught.terminate.recv() => Asked::Stop(StopSignal::Terminate),
            _ = caught.interrupt.recv() => Asked::Stop(StopSignal::Interrupt),
            _ = caught.refresh.recv() => Asked::Refresh,
            _ = caught.reload.recv() => Asked::Reload,
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To stop.
    Stop(StopSignal),
    /// To refresh every token now (SIGUSR1).
    Refresh,
    /// To read the configuration again (SIGHUP).
    Reload,
}

/// Which signal asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM, from a supervisor.
    Terminate,
    /// SIGINT, from a terminal.
    Interrupt,
    /// SIGHUP, of a terminal that is gone: where there is nothing to be read again.
    HangUp,
    /// SIGQUIT, from a terminal: where it would not end the process by itself.
    Quit,
}

impl StopSignal {
    /// The signal's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
            Self::Quit => "SIGQUIT",
        }
    }

    /// The exit code by which shells report a process that this signal ended.
    pub fn exit_code(self) -> u8 {
        128 + match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }
}
