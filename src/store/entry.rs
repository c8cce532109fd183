//! One credential's entry in a store: read and changed within a time-out, by as many as there are.

mod session;

pub use session::HeldSession;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::StoreMetrics;
use super::backend::{Backend, StoreError, Swap};
use super::record::Record;
use super::seal::{Opened, Seal};
use crate::token::source::FetchedToken;

/// The entry of one credential.
pub struct Entry {
    backend: Rc<dyn Backend>,
    seal: Seal,
    /// What it is called in the store.
    name: String,
    /// The credential as messages name it.
    credential: String,
    /// This replica, as others see it.
    replica: String,
    time_out: Duration,
    /// The generation of the turn that this replica has.
    turn: Cell<Option<u64>>,
    /// A refresh token that followed the one that stands in the store has not come there.
    owes_session: Cell<bool>,
    /// What failed last, as long as it is not known to be over.
    failing: Cell<Option<Step>>,
    /// An entry that this replica cannot read, by its digest, and since when it has stood there.
    foreign: RefCell<Option<(Vec<u8>, Instant)>>,
    /// After which time without a change nobody writes such an entry any more; never, if there is
    /// none.
    silence: Cell<Option<Duration>>,
    metrics: StoreMetrics,
}

/// What a call was at when it failed: who may read need not be able to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Reading,
    Writing,
}

/// What a change came to.
pub(super) enum Change<T> {
    /// The entry is to be written.
    Write(T),
    /// The same, and others are told to look at it.
    Announce(T),
    /// It stays as it is.
    Leave(T),
}

impl Entry {
    /// Names an entry; nothing is asked yet.
    pub fn new(
        backend: Rc<dyn Backend>,
        seal: Seal,
        time_out: Duration,
        credential: String,
        identity: &str,
        metrics: StoreMetrics,
    ) -> Self {
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        let replica = format!("{node}-{:016x}", fastrand::u64(..));
        metrics.is_called(&replica);
        Self {
            backend,
            seal,
            name: format!("gatepass:{identity}"),
            credential,
            replica,
            time_out,
            turn: Cell::new(None),
            owes_session: Cell::new(false),
            failing: Cell::default(),
            foreign: RefCell::default(),
            silence: Cell::default(),
            metrics,
        }
    }

    /// What the store holds at this moment, and what time it is there.
    pub(super) async fn look(&self) -> Result<(Record, Duration), StoreError> {
        let look = async {
            let (record, _, now) = self.read().await?;
            Ok((record, now))
        };
        let step = Cell::new(Step::Reading);
        self.in_time(self.time_out, &step, look).await
    }

    /// Whether there is something that can be read here.
    ///
    /// # Errors
    ///
    /// The store does not answer, or what is there was written with another key.
    pub async fn holds_something(&self) -> Result<bool, StoreError> {
        let (record, _) = self.look().await?;
        Ok(record.token.is_some() || record.session.is_some())
    }

    /// The token that is there, if it can still be sent.
    ///
    /// # Errors
    ///
    /// As [`Self::holds_something`].
    pub async fn token_at_hand(&self) -> Result<Option<FetchedToken>, StoreError> {
        let (record, now) = self.look().await?;
        Ok(record.spare(0, now).map(FetchedToken::from))
    }

    /// Reads the entry, changes it and writes it back, again if others have changed it meanwhile.
    pub(super) async fn update<T>(
        &self,
        change: impl FnMut(&mut Record, Duration) -> Change<T>,
    ) -> Result<T, StoreError> {
        self.update_within(self.time_out, change).await
    }

    /// The same, for whoever has less time.
    pub(super) async fn update_within<T>(
        &self,
        limit: Duration,
        mut change: impl FnMut(&mut Record, Duration) -> Change<T>,
    ) -> Result<T, StoreError> {
        let step = Cell::new(Step::Reading);
        let update = async {
            for round in 0..ROUNDS {
                step.set(Step::Reading);
                let (mut record, old, now) = self.read().await?;
                let (outcome, is_news) = match change(&mut record, now) {
                    Change::Leave(outcome) => return Ok(outcome),
                    Change::Write(outcome) => (outcome, false),
                    Change::Announce(outcome) => (outcome, true),
                };
                step.set(Step::Writing);
                let plain = serde_json::to_vec(&record).unwrap_or_default();
                let new = self.seal.close(&self.name, plain).await?;
                let swap = Swap {
                    old: &old,
                    new: &new,
                    keep_for: record.keep_for(),
                    is_news,
                };
                if self.backend.swap(&self.name, swap).await? {
                    return Ok(outcome);
                }
                sleep(Duration::from_millis(fastrand::u64(0..=(4 << round)))).await;
            }
            Err(StoreError::Contended)
        };
        let outcome = self.in_time(limit, &step, update).await;
        if outcome.is_ok() {
            self.has_helped();
        }
        outcome
    }

    async fn read(&self) -> Result<(Record, Vec<u8>, Duration), StoreError> {
        let reading = self.backend.read(&self.name).await?;
        let opened = match self.seal.open(&self.name, &reading.bytes).await {
            Err(StoreError::Undecipherable { .. }) if self.is_abandoned(&reading.bytes) => {
                warn!(
                    credential = self.credential,
                    "the store's entry was written with another key, and nobody has changed it for \
                     two lives of a token and ten minutes at least: it is written anew"
                );
                Opened::Nothing
            }
            opened => opened?,
        };
        if self.failing.get() == Some(Step::Reading) {
            self.has_helped();
        }
        let record = match opened {
            Opened::Whole(plain) => serde_json::from_slice(&plain).ok(),
            Opened::Nothing => Some(Record::default()),
            Opened::Broken => None,
        };
        let record = record.unwrap_or_else(|| {
            warn!(
                credential = self.credential,
                "what the store holds for this credential is broken, and is written anew"
            );
            Record::default()
        });
        Ok((record, reading.bytes, reading.now))
    }

    /// What this replica cannot read is left alone as long as it may be good for others. There may be
    /// none: with the key, those that had it are gone.
    pub(super) fn others_are_gone_after(&self, silence: Duration) {
        self.silence.set(Some(silence));
    }

    fn is_abandoned(&self, bytes: &[u8]) -> bool {
        let seen = digest(&SHA256, bytes).as_ref().to_vec();
        let mut foreign = self.foreign.borrow_mut();
        match foreign.as_ref().filter(|(known, _)| *known == seen) {
            Some((_, since)) => self.silence.get().is_some_and(|of| since.elapsed() > of),
            None => {
                *foreign = Some((seen, Instant::now()));
                false
            }
        }
    }

    /// Never waits for a store that hangs, and says when it begins to fail.
    async fn in_time<T>(
        &self,
        limit: Duration,
        step: &Cell<Step>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = limit.min(self.time_out);
        let outcome = timeout(limit, call).await;
        let outcome = outcome.unwrap_or(Err(StoreError::TooLate(limit)));
        if let Err(error) = &outcome {
            let before = self.failing.get();
            self.failing.set(before.max(Some(step.get())));
            self.metrics.troubled(Some(error));
            // Each look finds the same key missing.
            let lasts = matches!(
                error,
                StoreError::Undecipherable { .. } | StoreError::Key(_)
            );
            if before.is_none() || !lasts {
                self.metrics.failed(error);
            }
            if before.is_none() {
                warn!(
                    credential = self.credential,
                    "{error}; until that is mended, this replica asks the provider by itself"
                );
            }
        }
        outcome
    }

    /// The store is a help: something was written there, or read and of use.
    pub(super) fn has_helped(&self) {
        if self.failing.take().is_some() {
            self.metrics.troubled(None);
            info!(credential = self.credential, "the store is there again");
        }
    }

    /// Whether it was none the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.get().is_some()
    }

    /// How long a call may take.
    pub(super) fn time_out(&self) -> Duration {
        self.time_out
    }

    /// Resolves when there may be a newer token.
    pub(super) async fn news(&self) {
        self.backend.news(&self.name).await;
    }

    /// Whether [`Self::news`] can be relied on.
    pub(super) fn brings_news(&self) -> bool {
        self.backend.brings_news()
    }

    /// This replica, as others see it.
    pub(super) fn replica(&self) -> &str {
        &self.replica
    }

    /// Notes whose turn it is: this replica's, with this generation, or not.
    pub(super) fn has_turn(&self, generation: Option<u64>) {
        self.turn.set(generation);
        self.metrics.holds_lease(generation.is_some());
    }
}

/// What is not asked for any more is no trouble.
impl Drop for Entry {
    fn drop(&mut self) {
        self.metrics.troubled(None);
    }
}

/// Shows what it is called, and nothing that it holds.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Entry");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

/// Who loses in all of them has seen as many others win.
const ROUNDS: u32 = 8;
