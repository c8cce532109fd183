//! From the signal to stop to the end.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::RunError;
use super::reload::{Reloader, Times};
use crate::drain::Drain;
use crate::runtime::{WorkerPanicked, Workers};
use crate::signal::{Asked, Signals, StopSignal};
use crate::systemd;
use crate::token::TokenReader;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked: what was in flight has finished, or its grace was over.
    Drained,
    /// A second signal asked to end at once.
    AtOnce(StopSignal),
}

/// Who wants gatepass to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Signal(StopSignal),
    /// `POST /quit`, or whoever has started it in the same process.
    Order,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal(signal) => signal.name(),
            Self::Order => "an order",
        })
    }
}

/// Waits for a signal to stop; others are obeyed on the way.
pub(super) async fn stop_asked(signals: &mut Signals, reloader: &Reloader) -> StopSignal {
    loop {
        match signals.next().await {
            Asked::Stop(signal) => return signal,
            Asked::Refresh => {
                info!("SIGUSR1: every token is refreshed now");
                let credentials = reloader.credentials().all();
                credentials.iter().for_each(TokenReader::refresh_now);
            }
            Asked::Reload => reloader.order(),
        }
    }
}

/// Waits for the second signal to stop. No other is obeyed any more: there is nothing to refresh,
/// and what is reloaded in the middle of a stop could call itself ready.
async fn second_signal(signals: &mut Signals) -> StopSignal {
    loop {
        match signals.next().await {
            Asked::Stop(signal) => return signal,
            Asked::Refresh | Asked::Reload => info!("the signal is ignored: gatepass is stopping"),
        }
    }
}

/// What has to come to an end.
pub(super) struct Stopping {
    pub(super) drain: Drain,
    pub(super) workers: Workers,
    pub(super) at_work: Rc<RwLock<()>>,
    pub(super) times: Times,
}

impl Stopping {
    pub(super) async fn stop(
        mut self,
        cause: Cause,
        signals: &mut Signals,
    ) -> Result<Ended, RunError> {
        // Whoever spreads load learns only now that it must send nothing more here; and who has a
        // connection is told with the next answer on it, so that few send a request on one that is
        // being closed.
        self.drain.announce();
        info!(
            %cause,
            delay_seconds = self.times.delay.as_secs(),
            grace_seconds = self.times.grace.as_secs(),
            "stopping: requests in flight may finish, a second signal ends them at once"
        );
        systemd::stopping();
        let ended = tokio::select! {
            ended = self.drain() => {
                ended?;
                Ended::Drained
            }
            second = second_signal(signals) => {
                warn!(signal = second.name(), "a second signal: ending at once");
                self.cut().await;
                Ended::AtOnce(second)
            }
        };
        info!("stopped");
        Ok(ended)
    }

    async fn drain(&mut self) -> Result<(), WorkerPanicked> {
        sleep(self.times.delay.max(LEAST_NOTICE)).await;
        self.drain.begin();
        match timeout(self.times.grace, self.calm()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.cut().await;
                Ok(())
            }
        }
    }

    /// Requests have ended; and a refresh token that a provider is about to hand out is kept before
    /// the process ends, because the one before may be used up by then.
    async fn calm(&mut self) -> Result<(), WorkerPanicked> {
        self.workers.all_ended().await?;
        let _nothing_under_way = self.at_work.write().await;
        Ok(())
    }

    /// Ends what is left. A worker that does not even react to that is left behind.
    async fn cut(&mut self) {
        self.drain.force();
        if timeout(CUTTING, self.workers.all_ended()).await.is_err() {
            error!("a worker did not end; the process ends without it");
        }
    }
}

/// Time for those who ask all the time to get an answer that says so.
const LEAST_NOTICE: Duration = Duration::from_millis(200);

/// How long workers may take to cut connections.
const CUTTING: Duration = Duration::from_secs(1);
