//! A source of tokens that is one of many: it asks the provider only when it is its turn, and has
//! from the others what they have got.
//!
//! The store is a help and never a condition. Every call to it is bounded, and a replica that is
//! left without it asks by itself.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use super::StoreMetrics;
use super::entry::{Change, Entry};
use super::hourly::HourlyBudget;
use super::record::{Claim, Claimant, StoredToken, Turn};
use crate::token::budget::Budget;
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};
use crate::token::{Moment, schedule};

/// How a credential's token requests are shared and limited.
#[derive(Debug, Clone, Copy)]
pub struct SharingSettings {
    /// How long the source itself takes at most.
    pub timeout: Duration,
    /// How many token requests an hour there may be, unless the token would die.
    pub per_hour: Option<u32>,
}

/// A source that shares what it gets.
pub struct SharedSource {
    source: Box<dyn TokenSource>,
    credential: String,
    entry: Option<Rc<Entry>>,
    timeout: Duration,
    metrics: StoreMetrics,
    /// The generation of the last token from the store.
    known: Cell<u64>,
    at_hand: Cell<Option<AtHand>>,
    /// A newer token that was found in the store, and when.
    arrived: RefCell<Option<(StoredToken, Duration, Moment)>>,
    is_shared: Cell<bool>,
    /// It has waited for the store already, with the token at hand.
    has_waited: Cell<bool>,
    /// Something has changed that a token is got with.
    has_changed: Cell<bool>,
    changes: RefCell<Budget>,
    budget: HourlyBudget,
}

/// The last token, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct AtHand {
    lifetime: Duration,
    retire_at: Instant,
}

impl SharedSource {
    /// Puts a source behind a store, or only within a budget.
    pub fn new(
        source: Box<dyn TokenSource>,
        credential: String,
        entry: Option<Rc<Entry>>,
        settings: SharingSettings,
        metrics: StoreMetrics,
    ) -> Self {
        let changes = Budget::full(source.changes_per_minute());
        let budget = HourlyBudget::new(settings.per_hour, metrics.clone());
        Self {
            budget,
            source,
            credential,
            entry,
            timeout: settings.timeout,
            metrics,
            known: Cell::new(0),
            at_hand: Cell::new(None),
            arrived: RefCell::default(),
            is_shared: Cell::new(false),
            has_waited: Cell::new(false),
            has_changed: Cell::new(false),
            changes: RefCell::new(changes),
        }
    }

    async fn obtain(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        let Some(entry) = &self.entry else {
            return self.ask_alone(occasion).await;
        };
        if let Some((token, age, read)) = self.arrived.take()
            && token.generation > self.known.get()
        {
            return Ok(self.take_over(token, age + time_since(read)));
        }
        let patience = Instant::now() + self.longest_turn();
        let overrides_rest = self.has_changed.take();
        loop {
            let Ok((claim, spare)) = self.claim(entry, overrides_rest).await else {
                return self.ask_without_store(occasion).await;
            };
            // Whoever has nothing takes what is left of a token, and waits for the next one with it.
            if !matches!(claim, Claim::Newer(..) | Claim::Granted(_))
                && self.is_dying()
                && let Some((token, age)) = spare
            {
                return Ok(self.take_over(token, age));
            }
            match claim {
                Claim::Newer(token, age) => return Ok(self.take_over(token, age)),
                Claim::Granted(turn) => {
                    let outcome = self.ask_in_turn(entry, turn, occasion).await;
                    return match (outcome, spare) {
                        (Err(_), Some((token, age))) => Ok(self.take_over(token, age)),
                        (outcome, _) => outcome,
                    };
                }
                // A turn that does not end is a fault of the store, or of its clock.
                Claim::Held(_) if Instant::now() >= patience => {
                    return self.ask_alone(occasion).await;
                }
                Claim::Held(left) => {
                    let look_again = match entry.brings_news() {
                        true => Duration::from_secs(1),
                        false => Duration::from_millis(100),
                    };
                    // All the others wait for the end of the same turn.
                    let after = self.turn_lasts().mul_f64(fastrand::f64() / 4.0);
                    tokio::select! {
                        () = entry.news() => {}
                        () = sleep((left + after).min(look_again)) => {}
                    }
                }
                Claim::Resting { left, outcome } => {
                    self.metrics.resting.inc();
                    return Err(held_back(
                        format!(
                            "another replica asked and failed ({outcome}), and all wait for a \
                             while"
                        ),
                        left + self.longer_than_others(),
                    )
                    .advise("its log says more"));
                }
                Claim::Spent(left) => return Err(self.spent(left)),
            }
        }
    }

    async fn claim(
        &self,
        entry: &Entry,
        overrides_rest: bool,
    ) -> Result<(Claim, Option<(StoredToken, Duration)>), super::StoreError> {
        let known = self.known.get();
        let claimant = Claimant {
            name: entry.replica(),
            known,
            lease: self.turn_lasts(),
            overrides_rest,
            per_hour: self.budget.per_hour,
            cannot_wait: self.is_dying(),
        };
        let claimed = entry.update(|record, now| {
            let claim = record.claim(&claimant, now);
            let spare = record.spare(known, now);
            let asked = record.asked_lately(now);
            match claim {
                Claim::Granted(_) => Change::Write {
                    outcome: (claim, spare, asked),
                    is_news: false,
                },
                _ => Change::Leave((claim, spare, asked)),
            }
        });
        let (claim, spare, asked) = claimed.await?;
        self.budget.show(asked);
        Ok((claim, spare))
    }

    /// Asks the provider, for all.
    async fn ask_in_turn(
        &self,
        entry: &Entry,
        turn: Turn,
        occasion: Occasion,
    ) -> Result<FetchedToken, FetchError> {
        entry.has_turn(Some(turn.generation));
        let over = TurnOver(entry);
        let outcome = tokio::select! {
            outcome = self.ask(occasion) => outcome,
            () = self.prolong(entry, turn) => return pending().await,
        };
        match &outcome {
            Ok(token) => {
                self.known.set(turn.generation);
                self.is_shared.set(true);
                let told =
                    entry.update(
                        |record, _| match record.succeed(turn, entry.replica(), token) {
                            true => Change::Write {
                                outcome: true,
                                is_news: true,
                            },
                            false => Change::Leave(false),
                        },
                    );
                if let Ok(false) = told.await {
                    info!(
                        credential = self.credential,
                        "the token came so late that another replica has got one meanwhile"
                    );
                }
            }
            Err(error) => {
                let failures = turn.failures.saturating_add(1);
                let pace = error.kind.pace();
                let rest = pace.delay(failures, error.retry_after, fastrand::f64());
                let told = entry.update(|record, now| {
                    record.fail(turn, entry.replica(), error.kind, rest, now);
                    Change::Write {
                        outcome: (),
                        is_news: false,
                    }
                });
                // That the store is no help has been said where it was found.
                let _ = told.await;
            }
        }
        drop(over);
        outcome
    }

    /// Tells the others again and again that it is still this replica's turn. One that has been
    /// overtaken goes on: its answer may be the first nevertheless.
    async fn prolong(&self, entry: &Entry, turn: Turn) {
        let lease = self.turn_lasts();
        loop {
            sleep(lease / 3).await;
            let prolonged = entry.update(|record, now| match record.prolong(turn, lease, now) {
                true => Change::Write {
                    outcome: (),
                    is_news: false,
                },
                false => Change::Leave(()),
            });
            let _ = prolonged.await;
        }
    }

    /// The store is no help. Many replicas find that out at the same time; those that can wait do
    /// so, each for a while of its own, and find the store again or ask by themselves.
    async fn ask_without_store(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        if occasion == Occasion::Due
            && let Some(left) = self.left_to_wait()
            && !self.has_waited.replace(true)
        {
            self.metrics.awaiting_store.inc();
            return Err(self.waits(left.mul_f64(fastrand::f64())));
        }
        self.ask_alone(occasion).await
    }

    fn waits(&self, left: Duration) -> FetchError {
        held_back(
            "the store is no help; asking without it in a while".into(),
            left,
        )
    }

    /// Within the budget of this replica.
    async fn ask_alone(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        if let Some(left) = self.budget.is_spent()
            && !self.is_dying()
        {
            return Err(self.spent(left));
        }
        self.is_shared.set(false);
        self.ask(occasion).await
    }

    async fn ask(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        self.budget.note();
        let fetched = self.source.fetch(occasion).await?;
        self.metrics
            .fetched(self.entry.as_ref().map(|entry| entry.replica()));
        self.has_at_hand(&fetched);
        Ok(fetched)
    }

    fn take_over(&self, token: StoredToken, age: Duration) -> FetchedToken {
        info!(
            credential = self.credential,
            from = token.by,
            generation_of_all = token.generation,
            "a token that another replica has got is taken over"
        );
        self.known.set(token.generation);
        self.is_shared.set(true);
        self.metrics.taken_over(&token.by);
        let fetched = token.aged(age);
        self.has_at_hand(&fetched);
        fetched
    }

    fn has_at_hand(&self, fetched: &FetchedToken) {
        let left = schedule::retire_after(fetched.lifetime).saturating_sub(fetched.age);
        self.has_waited.set(false);
        if let Some(entry) = &self.entry
            && !self.source.must_finish()
        {
            // Whoever still uses what this replica cannot read writes it anew in every life.
            entry.others_are_gone_after((fetched.lifetime * 2).max(LEAST_SILENCE));
        }
        self.at_hand.set(Some(AtHand {
            lifetime: fetched.lifetime,
            retire_at: Instant::now() + left.min(LONGEST_LEFT),
        }));
    }

    /// The budget is used up. It is asked again when there is some, or when the token would die.
    fn spent(&self, left: Duration) -> FetchError {
        self.metrics.spent.inc();
        let per_hour = self.budget.per_hour.unwrap_or_default();
        let wait = left.min(self.left_to_wait().unwrap_or_default());
        held_back(
            format!(
                "the budget of {per_hour} token requests an hour is used up \
                 (token_requests_per_hour); the token at hand stays in use"
            ),
            wait.max(Duration::from_secs(1)),
        )
    }

    /// How long another token can still be waited for; nothing if it cannot.
    fn left_to_wait(&self) -> Option<Duration> {
        let token = self.at_hand.get()?;
        let reserve = (token.lifetime / 20).max(LEAST_RESERVE);
        let left = token.retire_at.saturating_duration_since(Instant::now());
        left.checked_sub(reserve).filter(|left| !left.is_zero())
    }

    /// Of a thousand that wait for the provider to come back, those with a good token need not all
    /// look at the same moment: whoever finds it back tells the others.
    fn longer_than_others(&self) -> Duration {
        let affordable = self.left_to_wait().unwrap_or_default() / 2;
        affordable
            .min(Duration::from_secs(60))
            .mul_f64(fastrand::f64())
    }

    /// There is no token, or not for long.
    fn is_dying(&self) -> bool {
        self.left_to_wait().is_none()
    }

    /// How long a turn lasts that nobody prolongs. Two at once cost a request more, no worse, where
    /// each gets tokens of its own; so it is short enough for the others to get one in time. Where a
    /// refresh token may be used only once, it is well above what an attempt may take.
    fn turn_lasts(&self) -> Duration {
        let longest = self.longest_turn();
        if self.source.must_finish() {
            return longest;
        }
        let life = self.at_hand.get().map(|token| token.lifetime);
        let short = life.map_or(FIRST_TURN, |life| life / 20);
        short.clamp(SHORTEST_TURN, longest.max(SHORTEST_TURN))
    }

    fn longest_turn(&self) -> Duration {
        self.timeout * 2
    }

    /// Resolves when the store has a newer token, which is then at hand.
    async fn arrival(&self) {
        let Some(entry) = &self.entry else {
            return pending().await;
        };
        loop {
            tokio::select! {
                () = entry.news() => {}
                () = sleep(self.looks_again(entry)) => {}
            }
            let Ok((record, now)) = entry.look().await else {
                continue;
            };
            if let Some((token, age)) = record.fresh(self.known.get(), now) {
                self.arrived.replace(Some((token, age, Moment::now())));
                return;
            }
        }
    }

    fn looks_again(&self, entry: &Entry) -> Duration {
        let life = self.at_hand.get().map_or(Duration::ZERO, |of| of.lifetime);
        match entry.brings_news() {
            true => (life / 4).clamp(SELDOM, LONGEST_LEFT),
            false => (life / 20).clamp(OFTEN, SELDOM),
        }
    }

    /// Resolves when something has changed that the source gets tokens with, as often as it may.
    async fn change(&self) -> &'static str {
        let what = self.source.changed().await;
        let due = self.changes.borrow().due(Instant::now());
        sleep_until(due).await;
        self.changes.borrow_mut().take(Instant::now());
        self.has_changed.set(true);
        what
    }
}

impl TokenSource for SharedSource {
    fn fetch(&self, occasion: Occasion) -> FetchFuture<'_> {
        Box::pin(self.obtain(occasion))
    }

    fn must_finish(&self) -> bool {
        self.source.must_finish()
    }

    fn is_shared(&self) -> bool {
        self.is_shared.get()
    }

    /// Nobody is asked when another's token is taken over.
    fn changes_per_minute(&self) -> u32 {
        match self.entry {
            Some(_) => 60,
            None => self.source.changes_per_minute(),
        }
    }

    fn changed(&self) -> Changed<'_> {
        Box::pin(async {
            tokio::select! {
                what = self.change() => what,
                () = self.arrival() => "another replica has got a token",
            }
        })
    }
}

/// Ends a turn however its attempt ends, also by a panic.
struct TurnOver<'a>(&'a Entry);

impl Drop for TurnOver<'_> {
    fn drop(&mut self) {
        self.0.has_turn(None);
    }
}

fn held_back(message: String, retry_after: Duration) -> FetchError {
    FetchError {
        retry_after: Some(retry_after),
        ..FetchError::new(FailureKind::HeldBack, message)
    }
}

/// How much time has passed since, that of a sleeping machine included.
fn time_since(moment: Moment) -> Duration {
    let now = Moment::now();
    (now.at - moment.at) + now.asleep.saturating_sub(moment.asleep)
}

/// How long a turn lasts when nobody knows yet how long tokens live.
const FIRST_TURN: Duration = Duration::from_secs(3);

/// Less than this, and a store that is a little slow ends turns.
const SHORTEST_TURN: Duration = Duration::from_millis(500);

/// What is left of a token's life for an attempt that cannot wait.
const LEAST_RESERVE: Duration = Duration::from_millis(1_500);

/// How often the store is looked at where nobody says when.
const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(30);

/// How long nobody has written an entry that nobody writes any more.
const LEAST_SILENCE: Duration = Duration::from_secs(600);

/// No timer needs more.
const LONGEST_LEFT: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests;
