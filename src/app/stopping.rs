//! From the signal to stop to the end.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::RunError;
use crate::drain::Drain;
use crate::runtime::{WorkerPanicked, Workers};
use crate::signal::{Asked, Signals, StopSignal};
use crate::token::TokenReader;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked: what was in flight has finished, or its grace was over.
    Drained,
    /// A second signal asked to end at once.
    AtOnce(StopSignal),
}

/// Waits for a signal to stop; one to refresh is obeyed on the way.
pub(super) async fn stop_asked(signals: &mut Signals, credentials: &[TokenReader]) -> StopSignal {
    loop {
        match signals.next().await {
            Asked::Stop(signal) => return signal,
            // While stopping there is nothing to refresh any more.
            Asked::Refresh if credentials.is_empty() => {}
            Asked::Refresh => {
                info!("SIGUSR1: every token is refreshed now");
                credentials.iter().for_each(TokenReader::refresh_now);
            }
        }
    }
}

/// What has to come to an end.
pub(super) struct Stopping {
    pub(super) drain: Drain,
    pub(super) workers: Workers,
    pub(super) at_work: Rc<RwLock<()>>,
    pub(super) grace: Duration,
}

impl Stopping {
    pub(super) async fn stop(
        mut self,
        signal: StopSignal,
        signals: &mut Signals,
    ) -> Result<Ended, RunError> {
        info!(
            signal = signal.name(),
            grace_seconds = self.grace.as_secs(),
            "stopping: requests in flight may finish, a second signal ends them at once"
        );
        self.drain.begin();
        let grace = sleep(self.grace);
        let ended = tokio::select! {
            ended = self.calm() => {
                ended?;
                Ended::Drained
            }
            () = grace => {
                self.cut().await;
                Ended::Drained
            }
            second = stop_asked(signals, &[]) => {
                warn!(signal = second.name(), "a second signal: ending at once");
                self.cut().await;
                Ended::AtOnce(second)
            }
        };
        info!("stopped");
        Ok(ended)
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

/// How long workers may take to cut connections.
const CUTTING: Duration = Duration::from_secs(1);
