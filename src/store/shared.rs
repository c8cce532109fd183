//! A source of tokens that is one of many: it asks the provider only when it is its turn, and has
//! from the others what they have got.
//!
//! The store is a help and never a condition. Every call to it is bounded, and a replica that is
//! left without it asks by itself.

mod room;
mod turn;
mod waiting;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::entry::{Change, Entry};
use super::hourly::HourlyBudget;
use super::record::{AgedToken, Claim, Claimant};
use super::{StoreError, StoreMetrics};
use crate::token::Moment;
use crate::token::budget::Budget;
use crate::token::schedule::{self, Promptness};
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};
use waiting::AtHand;

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
    promptness: Cell<Promptness>,
    /// A newer token that was found in the store, and when.
    arrived: RefCell<Option<(AgedToken, Moment)>>,
    /// Who got the last token, if all use it.
    shared_by: RefCell<Option<String>>,
    /// Until when it waits for the store, which was no help, with the token at hand.
    alone_from: Cell<Option<Instant>>,
    /// Something has changed that a token is got with.
    has_changed: Cell<bool>,
    changes: RefCell<Budget>,
    budget: HourlyBudget,
}

/// One attempt to get a token.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    occasion: Occasion,
    /// The life of what it brings is counted from here.
    asked: Moment,
}

impl Attempt {
    /// A token that is so old now, as it was then.
    fn dated(self, found: AgedToken) -> AgedToken {
        AgedToken {
            age: found.age.saturating_sub(time_since(self.asked)),
            ..found
        }
    }
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
            promptness: Cell::default(),
            arrived: RefCell::default(),
            shared_by: RefCell::default(),
            alone_from: Cell::new(None),
            has_changed: Cell::new(false),
            changes: RefCell::new(changes),
        }
    }

    async fn obtain(&self, attempt: Attempt) -> Result<FetchedToken, FetchError> {
        let Some(entry) = &self.entry else {
            return self.ask_alone(attempt.occasion).await;
        };
        if let Some(token) = self.arrived(attempt) {
            return Ok(token);
        }
        let patience = Instant::now() + self.longest_turn();
        let overrides_rest = self.has_changed.take();
        loop {
            let looked = Instant::now();
            let Ok((claim, spare)) = self.claim(entry, attempt, overrides_rest).await else {
                return self.ask_without_store(attempt.occasion).await;
            };
            // Whoever has nothing takes what is left of a token, and waits for the next one with it.
            if !matches!(claim, Claim::Newer(_) | Claim::Granted(_))
                && self.is_dying()
                && let Some(spare) = spare
            {
                return Ok(self.take_over(spare));
            }
            match claim {
                Claim::Newer(token) => return Ok(self.take_over(token)),
                Claim::Granted(turn) => {
                    let outcome = self.ask_in_turn(entry, turn, attempt).await;
                    return match (outcome, spare) {
                        (Err(_), Some(spare)) => Ok(self.take_over(spare)),
                        (outcome, _) => outcome,
                    };
                }
                // A turn that does not end is a fault of the store, or of its clock; one of a slow
                // store brings a token too late.
                Claim::Held(_)
                    if Instant::now() >= patience || self.is_too_slow(looked.elapsed()) =>
                {
                    return self.ask_alone(attempt.occasion).await;
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
        attempt: Attempt,
        overrides_rest: bool,
    ) -> Result<(Claim, Option<AgedToken>), StoreError> {
        let known = self.known.get();
        let claimant = Claimant {
            name: entry.replica(),
            known,
            lease: self.turn_lasts(),
            overrides_rest,
            per_hour: self.budget.per_hour,
            cannot_wait: self.is_dying(),
        };
        let claimed = entry.update_within(self.patience_with(entry), |record, now| {
            let claim = match record.claim(&claimant, now) {
                Claim::Newer(token) => Claim::Newer(attempt.dated(token)),
                claim => claim,
            };
            let spare = record.spare(known, now);
            let spare = spare.map(|spare| attempt.dated(spare));
            let asked = record.asked_lately(now);
            match claim {
                Claim::Granted(_) => Change::Write((claim, spare, asked)),
                _ => Change::Leave((claim, spare, asked)),
            }
        });
        let (claim, spare, asked) = claimed.await?;
        self.budget.show(asked);
        Ok((claim, spare))
    }

    /// The store is no help. Many replicas find that out at the same time; those that can wait do
    /// so, each for a while of its own, and find the store again or ask by themselves.
    async fn ask_without_store(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        if occasion == Occasion::Due
            && let Some(wait) = self.until_alone()
        {
            self.metrics.awaiting_store.inc();
            return Err(held_back(
                "the store is no help; it is waited for, and then the provider is asked without it"
                    .into(),
                wait,
            ));
        }
        self.ask_alone(occasion).await
    }

    /// Within the budget of this replica.
    async fn ask_alone(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        if let Some(left) = self.budget.is_spent()
            && !self.is_dying()
        {
            return Err(self.spent(left));
        }
        self.shared_by.take();
        let fetched = self.ask(occasion).await;
        self.budget.show_own();
        fetched
    }

    async fn ask(&self, occasion: Occasion) -> Result<FetchedToken, FetchError> {
        self.budget.note();
        let began = Instant::now();
        let fetched = self.source.fetch(occasion).await?;
        self.took(began.elapsed());
        self.metrics
            .fetched(self.entry.as_ref().map(|entry| entry.replica()));
        Ok(fetched)
    }

    fn took(&self, took: Duration) {
        self.promptness.set(self.promptness.get().after(took));
    }

    /// The token that came by itself, if one did.
    fn arrived(&self, attempt: Attempt) -> Option<FetchedToken> {
        let (found, read) = self.arrived.take()?;
        let is_newer = found.token.generation > self.known.get();
        let now = AgedToken {
            age: found.age + time_since(read),
            ..found
        };
        is_newer.then(|| self.take_over(attempt.dated(now)))
    }

    fn take_over(&self, found: AgedToken) -> FetchedToken {
        let token = &found.token;
        self.known.set(token.generation);
        self.shared_by.replace(Some(token.by.clone()));
        self.metrics.taken_over(&token.by);
        if let Some(took) = token.took {
            self.took(took);
        }
        found.into()
    }

    /// Notes what there is from now on, and leaves room for what comes after it.
    fn has_at_hand(&self, mut fetched: FetchedToken, attempt: Attempt) -> FetchedToken {
        let life = fetched.lifetime;
        let left = schedule::retire_after(life).saturating_sub(fetched.age);
        self.alone_from.set(None);
        self.at_hand.set(Some(AtHand {
            lifetime: life,
            asked: attempt.asked,
            left_then: left,
        }));
        if let Some(entry) = &self.entry
            && !self.source.must_finish()
        {
            // Whoever still uses what this replica cannot read writes it anew in every life.
            entry.others_are_gone_after((life * 2).max(LEAST_SILENCE));
        }
        let latest = self.room_of(life).refresh_in();
        let wanted = fetched.refresh_in.unwrap_or(latest);
        fetched.refresh_in = Some(wanted.min(latest));
        fetched
    }

    /// The budget is used up. It is asked again when there is some, or when the token would die.
    fn spent(&self, left: Duration) -> FetchError {
        self.metrics.spent.inc();
        let per_hour = self.budget.per_hour.unwrap_or_default();
        let wait = left.max(Duration::from_secs(1));
        held_back(
            format!(
                "the budget of {per_hour} token requests an hour is used up \
                 (token_requests_per_hour); the token at hand stays in use"
            ),
            wait.min(self.until_asking().unwrap_or_default()),
        )
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
            if let Some(token) = record.fresh(self.known.get(), now) {
                entry.has_helped();
                self.arrived.replace(Some((token, Moment::now())));
                return;
            }
        }
    }

    /// Resolves when something has changed that the source gets tokens with, as often as it may.
    async fn change(&self) -> Option<&'static str> {
        let what = self.source.changed().await;
        Budget::wait(&self.changes).await;
        self.has_changed.set(true);
        what
    }
}

impl TokenSource for SharedSource {
    fn fetch(&self, occasion: Occasion) -> FetchFuture<'_> {
        Box::pin(async move {
            let attempt = Attempt {
                occasion,
                asked: Moment::now(),
            };
            let fetched = self.obtain(attempt).await?;
            Ok(self.has_at_hand(fetched, attempt))
        })
    }

    fn must_finish(&self) -> bool {
        self.source.must_finish()
    }

    fn shared_by(&self) -> Option<String> {
        self.shared_by.borrow().clone()
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
                // Everyday's work.
                () = self.arrival() => None,
            }
        })
    }
}

fn held_back(message: String, retry_after: Duration) -> FetchError {
    FetchError {
        retry_after: Some(retry_after),
        ..FailureKind::HeldBack.because(message)
    }
}

/// How much time has passed since, that of a sleeping machine included.
fn time_since(moment: Moment) -> Duration {
    let now = Moment::now();
    (now.at - moment.at) + now.asleep.saturating_sub(moment.asleep)
}

/// How long nobody has written an entry that nobody writes any more.
const LEAST_SILENCE: Duration = Duration::from_secs(600);

/// No timer needs more.
const LONGEST_LEFT: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests;
