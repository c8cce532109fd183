//! One credential's entry in a store: read and changed within a time-out, by as many as there are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::backend::{Backend, StoreError, Swap};
use super::record::Record;
use super::seal::{Opened, Seal};
use super::{SavedSession, StoreMetrics};
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
    /// The entry is to be written; others are told if `is_news`.
    Write { outcome: T, is_news: bool },
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
        Self {
            backend,
            seal,
            name: format!("gatepass:{identity}"),
            credential,
            replica: format!("{node}-{:016x}", fastrand::u64(..)),
            time_out,
            turn: Cell::new(None),
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
                    Change::Write { outcome, is_news } => (outcome, is_news),
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
            Err(StoreError::Undecipherable(_)) if self.is_abandoned(&reading.bytes) => {
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
            let lasts = matches!(error, StoreError::Undecipherable(_) | StoreError::Key(_));
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

    /// The refresh token that is there for this replica to use, marked so that no other uses it as
    /// well. One that another has begun to use, and has not come back from, is left alone unless
    /// it `is_the_only_way`.
    ///
    /// # Errors
    ///
    /// The store does not answer, or it is not this replica's turn.
    pub async fn take_session(
        &self,
        identity: &str,
        is_the_only_way: bool,
    ) -> Result<Option<SecretString>, StoreError> {
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let taken = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            let own = record.session.as_mut();
            let Some(own) = own.filter(|session| session.saved.identity == identity) else {
                return Change::Leave(Ok(None));
            };
            let doubtful = own.taken_by.as_deref().is_some_and(|by| by != self.replica);
            if doubtful && !is_the_only_way {
                return Change::Leave(Ok(None));
            }
            own.taken_by = Some(self.replica.clone());
            Change::Write {
                outcome: Ok(Some(own.saved.refresh_token.clone())),
                is_news: false,
            }
        });
        taken.await?
    }

    /// Keeps a refresh token for whoever comes next.
    ///
    /// # Errors
    ///
    /// The store does not answer, or another's turn has begun.
    pub async fn keep_session(&self, session: SavedSession) -> Result<(), StoreError> {
        let turn = self.turn.get().ok_or(StoreError::NotHeld)?;
        let kept = self.update(|record, _| {
            if !record.is_turn(turn) {
                return Change::Leave(Err(StoreError::NotHeld));
            }
            record.session = Some(super::record::StoredSession {
                saved: session.clone(),
                taken_by: None,
            });
            Change::Write {
                outcome: Ok(()),
                is_news: false,
            }
        });
        kept.await?
    }

    /// Puts what somebody has logged in with in the place of what is there, whoever's turn it is.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn adopt(
        &self,
        token: &FetchedToken,
        session: Option<SavedSession>,
    ) -> Result<(), StoreError> {
        let adopted = self.update(|record, now| {
            record.adopt(&self.replica, token, session.clone(), now);
            Change::Write {
                outcome: (),
                is_news: true,
            }
        });
        adopted.await
    }

    /// Takes out token and session, whoever's turn it is; returns the refresh token that was there.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn clear(&self) -> Result<Option<SecretString>, StoreError> {
        let cleared = self.update(|record, _| {
            let session = record.session.as_ref();
            let outcome = session.map(|session| session.saved.refresh_token.clone());
            record.clear();
            Change::Write {
                outcome,
                is_news: true,
            }
        });
        cleared.await
    }

    /// Takes away a refresh token that the provider takes no longer.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn forget_session(&self) -> Result<(), StoreError> {
        let Some(turn) = self.turn.get() else {
            return Ok(());
        };
        let forgotten = self.update(|record, _| {
            if !record.is_turn(turn) || record.session.take().is_none() {
                return Change::Leave(());
            }
            Change::Write {
                outcome: (),
                is_news: false,
            }
        });
        forgotten.await
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
