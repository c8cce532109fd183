//! The loop that keeps one credential's token fresh.
//!
//! It is the only one that asks for tokens, so there is never more than one request under way for
//! a credential, whatever the load; requests do not wait for it and cannot cancel it.

mod failures;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::budget::Budget;
use super::clock::{time_asleep, whole_seconds_until};
use super::demand::Wish;
use super::metrics::CredentialMetrics;
use super::schedule::{self, InARow, Pace, Spread};
use super::source::{FailureKind, FetchError, FetchedToken, Occasion, TokenSource};
use super::{AccessToken, Attempt, Moment, Setback, TokenWriter};
use crate::readiness::StartupGuard;
use crate::runtime::supervise;
use failures::{Failure, Failures};

/// Keeps one credential's token fresh.
pub struct Refresher {
    source: Box<dyn TokenSource>,
    writer: TokenWriter,
    metrics: CredentialMetrics,
    random: RefCell<fastrand::Rng>,
    generation: Cell<u64>,
    /// Failed attempts since the last success.
    failures: Cell<InARow>,
    told: Failures,
    /// Tokens in a row that lived for a moment only.
    short_lives: Cell<u32>,
    /// How far refreshes are spread.
    spread: Spread,
    /// The last token was got in its turn, so this replica has a place of its own among others.
    in_turn: Cell<bool>,
    /// The last token was got with the previous secret.
    on_previous_secret: Cell<bool>,
    /// How often changes may cause an attempt.
    changes: RefCell<Budget>,
    /// Held for reading during attempts that must finish.
    at_work: Rc<RwLock<()>>,
    /// Dropped after the first attempt, whatever its outcome: a provider that is down at boot
    /// must not look like a process that cannot start, or a supervisor would kill it for that.
    first_attempt: RefCell<Option<StartupGuard>>,
}

impl Refresher {
    /// Puts a refresher together. `random` spreads refreshes and retries. Whoever has `at_work` for
    /// writing knows that no attempt is under way that must finish, and that none begins.
    pub fn new(
        source: Box<dyn TokenSource>,
        writer: TokenWriter,
        metrics: CredentialMetrics,
        random: fastrand::Rng,
        first_attempt: StartupGuard,
        at_work: Rc<RwLock<()>>,
        spread: Spread,
    ) -> Self {
        let changes = Budget::full(source.changes_per_minute());
        // Another may have been at work on the same cell.
        let generation = Cell::new(writer.current().generation());
        Self {
            source,
            writer,
            metrics,
            random: RefCell::new(random),
            generation,
            failures: Cell::default(),
            told: Failures::default(),
            short_lives: Cell::new(0),
            spread,
            in_turn: Cell::new(false),
            on_previous_secret: Cell::new(false),
            changes: RefCell::new(changes),
            at_work,
            first_attempt: RefCell::new(Some(first_attempt)),
        }
    }

    /// Whether an attempt that was begun must be let end, see [`TokenSource::must_finish`].
    pub fn must_finish(&self) -> bool {
        self.source.must_finish()
    }

    /// Refreshes until the future is dropped; a panic on the way is logged, counted and survived.
    pub async fn run_supervised(self) {
        let refresher = Rc::new(self);
        let start = || {
            let refresher = Rc::clone(&refresher);
            async move { refresher.run().await }
        };
        supervise(start, || {
            refresher.metrics.restarted();
            error!(
                credential = refresher.writer.credential(),
                "the token refresher failed by a fault of gatepass and starts again"
            );
        })
        .await;
    }

    /// All that matters between two rounds stands in `self` and in the cell, so the loop can be
    /// started again at any point.
    async fn run(&self) -> Infallible {
        // One that was cut off by a panic is over.
        self.writer.idle();
        let mut attempt_at = self.due();
        loop {
            self.metrics.planned(attempt_at, self.retire_at());
            attempt_at = match self.while_expiring(self.due_or_demanded(attempt_at)).await {
                Some(occasion) => self.attempt(occasion).await,
                None => self.due(),
            };
        }
    }

    /// When the next attempt is due by what is at hand.
    fn due(&self) -> Instant {
        let state = self.writer.current();
        match (state.setback(), state.valid()) {
            (Some(setback), _) => setback.next_attempt,
            (None, Some(token)) => token.refresh_at(),
            (None, None) => Instant::now(),
        }
    }

    /// Demands come at any time; those that follow an attempt too closely wait a little, so that a
    /// script that asks in a loop is no burden to the provider. `None` if what is due has to be
    /// looked at again.
    async fn due_or_demanded(&self, attempt_at: Instant) -> Option<Occasion> {
        let earliest = Instant::now() + LEAST_DISTANCE;
        let wish = tokio::select! {
            () = sleep_until(attempt_at) => return Some(Occasion::Due),
            wish = self.writer.demanded() => wish,
            () = self.changed() => Wish::Refresh,
        };
        match wish {
            Wish::LookAgain => return None,
            Wish::Replace(route) => self.tell_of_refusal(&route),
            Wish::Refresh => {}
        }
        sleep_until(earliest.min(attempt_at)).await;
        Some(Occasion::Demanded)
    }

    fn tell_of_refusal(&self, route: &str) {
        // A permission that is missing for days would otherwise be a line every few seconds; that no
        // token mends it has been told.
        if self.writer.is_refused_by(route) {
            return;
        }
        warn!(
            credential = self.writer.credential(),
            route,
            generation = self.generation.get(),
            "an upstream refuses the token before its end: another one is fetched"
        );
    }

    /// Resolves when something has changed that a token is got with; a few times a minute at most,
    /// for whoever keeps changing it.
    async fn changed(&self) {
        let what = self.source.changed().await;
        Budget::wait(&self.changes).await;
        if let Some(what) = what {
            info!(credential = self.writer.credential(), "{what}: trying now");
        }
    }

    /// Asks once and says when to ask again.
    async fn attempt(&self, occasion: Occasion) -> Instant {
        // Nothing is begun any more once gatepass stops.
        let _at_work = match self.source.must_finish() {
            true => Some(self.at_work.read().await),
            false => None,
        };
        self.writer.attempting();
        // Taken before the request is sent: the token's life began at some point after this, so
        // counting from here errs on the safe side however slow the answer was.
        let asked = Moment::now();
        let outcome = self.while_expiring(self.source.fetch(occasion)).await;
        self.metrics.attempted(asked.at.elapsed());
        let outcome = outcome.and_then(|fetched| self.prepare(&fetched, asked, occasion));
        self.writer.attempted(Attempt {
            began: asked.at,
            took: asked.at.elapsed(),
            outcome: match &outcome {
                Ok(_) => "success",
                Err(error) => error.kind.label(),
            },
        });
        let next_attempt = match outcome {
            Ok(token) => self.publish(token, asked.at),
            Err(error) => self.endure(error),
        };
        self.first_attempt.take();
        next_attempt
    }

    fn prepare(
        &self,
        fetched: &FetchedToken,
        asked: Moment,
        occasion: Occasion,
    ) -> Result<AccessToken, FetchError> {
        let early = self.early(fetched.lifetime, occasion);
        let next = self.generation.get() + 1;
        let token = AccessToken::new(fetched, asked, early, next).map_err(|_| {
            FetchError::new(
                FailureKind::Malformed,
                "the token holds characters that cannot stand in a header",
            )
        })?;
        // The machine may have slept while the answer was on its way.
        let token = token.counting_sleep(time_asleep());
        if token.retire_at() <= Instant::now() {
            return Err(FetchError::new(
                FailureKind::Malformed,
                format!(
                    "the token lives for {:?} only and was over before it arrived",
                    fetched.lifetime
                ),
            )
            .advise("have the provider hand out tokens that live longer"));
        }
        Ok(match self.writer.current().valid() {
            Some(at_hand) if at_hand.header() == token.header() => {
                token.of_generation(at_hand.generation())
            }
            _ => token,
        })
    }

    /// The part of the next token's life by which it is refreshed early. What demands a token here may
    /// demand one of every replica in the same second.
    fn early(&self, lifetime: Duration, occasion: Occasion) -> f64 {
        let jitter = self.random.borrow_mut().f64();
        let has_place = self.in_turn.get() && occasion == Occasion::Due;
        match self.source.shared_by() {
            Some(_) => Spread::early_of_shared(jitter),
            None => self.spread.early(lifetime, !has_place, jitter),
        }
    }

    fn publish(&self, token: AccessToken, asked_at: Instant) -> Instant {
        let generation = token.generation();
        let is_new = generation != self.generation.get();
        let refresh_at = self.spaced(&token, asked_at, is_new);
        let shared_by = self.source.shared_by();
        let credential = self.writer.credential();
        let usable_seconds = whole_seconds_until(token.retire_at());
        let refresh_in_seconds = whole_seconds_until(refresh_at);
        if is_new {
            info!(
                credential,
                generation, usable_seconds, refresh_in_seconds, shared_by, "new token"
            );
        } else {
            // A file that nobody has written anew, or a provider that hands out what it has.
            debug!(
                credential,
                generation, usable_seconds, refresh_in_seconds, "still the same token"
            );
        }
        self.tell_of_secret(&token);
        self.generation.set(generation);
        self.failures.take();
        self.in_turn.set(shared_by.is_none());
        self.metrics.obtained(&token);
        self.writer.store(token);
        refresh_at
    }

    /// A secret that is being replaced, and the end of that.
    fn tell_of_secret(&self, token: &AccessToken) {
        let credential = self.writer.credential();
        match token.refused_secret() {
            Some(refusal) => warn!(
                credential,
                "the previous secret is in use, because the present one cannot be used: {refusal}"
            ),
            None if self.on_previous_secret.get() => {
                info!(credential, "the newer secret is accepted");
            }
            None => {}
        }
        self.on_previous_secret
            .set(token.refused_secret().is_some());
    }

    /// When to ask again. Lives of a second would cost a hundred requests a minute: a provider that
    /// hands out such tokens, or what is left of one from its cache, is asked at the pace of
    /// failures.
    fn spaced(&self, token: &AccessToken, asked_at: Instant, is_new: bool) -> Instant {
        let usable = token.retire_at() - asked_at;
        if usable >= schedule::retire_after(SHORTEST_KEPT) {
            self.short_lives.set(0);
            return token.refresh_at();
        }
        let in_a_row = self.short_lives.get().saturating_add(1);
        self.short_lives.set(in_a_row);
        if is_new {
            warn!(
                credential = self.writer.credential(),
                "the token lives too short to be kept fresh; have the provider hand out tokens that \
             live for 2 s at least"
            );
        }
        let jitter = self.random.borrow_mut().f64();
        let paced = asked_at + Pace::BRISK.delay(in_a_row, None, jitter);
        token.refresh_at().max(paced)
    }

    /// A failed attempt costs the requests nothing while the token at hand is good.
    fn endure(&self, error: FetchError) -> Instant {
        let pace = error.kind.pace();
        let in_a_row = self.failures.get().and_one_of(pace);
        let failures = in_a_row.all;
        self.failures.set(in_a_row);
        self.in_turn.set(false);
        self.metrics.failed(error.kind, failures);

        let jitter = self.random.borrow_mut().f64();
        let now = Instant::now();
        let delay = match (error.kind, error.retry_after) {
            // It was reckoned with the end of the token at hand: later may be too late.
            (FailureKind::HeldBack, Some(wait)) => wait.min(Pace::LONGEST_WISH),
            (_, wish) => pace.delay(in_a_row.of(pace), wish, jitter),
        };
        let mut next_attempt = now + delay;
        if let Some(retire_at) = self.retire_at() {
            // A patient pace must not sleep past the moment from which requests would fail. What a
            // provider asks for goes before that: it may answer less and less otherwise.
            let asked_for = error.retry_after.unwrap_or_default();
            let allowed_from = now + asked_for.min(Pace::LONGEST_WISH);
            next_attempt = next_attempt.min(retire_at.max(allowed_from));
        }

        self.told.tell(&Failure {
            credential: self.writer.credential(),
            error: &error,
            failures,
            next_attempt,
            retire_at: self.retire_at(),
            at_work: self.metrics.is_at_work(),
        });
        self.writer.record_setback(Setback {
            error: Arc::new(error),
            next_attempt,
        });
        next_attempt
    }

    /// Does `work`, and takes the token away on the way if its life ends meanwhile, so that readers
    /// learn why there is none.
    async fn while_expiring<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Some(retire_at) = self.retire_at() {
            tokio::select! {
                // The end of the token goes first: when both are due at once, the next attempt
                // must not find a token that is still called valid.
                biased;
                () = sleep_until(retire_at) => self.expire(),
                done = &mut work => return done,
            }
        }
        work.await
    }

    fn expire(&self) {
        self.writer.expire();
        self.metrics.expired();
        error!(
            credential = self.writer.credential(),
            generation = self.generation.get(),
            "the token has expired and there is no new one: requests are answered with 503"
        );
    }

    fn retire_at(&self) -> Option<Instant> {
        self.writer.current().valid().map(AccessToken::retire_at)
    }
}

/// Tokens that live shorter are not kept fresh.
const SHORTEST_KEPT: Duration = Duration::from_millis(1_500);

/// Between an attempt and one that is demanded.
const LEAST_DISTANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
