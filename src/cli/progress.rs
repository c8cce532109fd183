//! On a terminal, a long step shows that it is alive.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A line on standard error that comes when a step takes long and goes when it is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shown where a person looks.
    pub(super) fn on_terminal() -> Self {
        Self {
            shown: io::stderr().is_terminal(),
        }
    }

    /// Does a step.
    pub(super) async fn during<T>(self, what: &str, step: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let mut step = pin!(step);
        let mut drawn = false;
        loop {
            tokio::select! {
                outcome = &mut step => {
                    if drawn {
                        draw("");
                    }
                    return outcome;
                }
                () = sleep(PERIOD), if self.shown => {
                    drawn = true;
                    draw(&format!("  … {what}, {} s", started.elapsed().as_secs()));
                }
            }
        }
    }
}

fn draw(line: &str) {
    let mut out = io::stderr();
    let _ = write!(out, "\r\x1b[K{line}");
    let _ = out.flush();
}

/// What is over by then needs no word.
const PERIOD: Duration = Duration::from_millis(400);
