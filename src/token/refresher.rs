//! The loop that keeps one credential's token fresh.
//!
//! It is the only one that asks for tokens, so there is never more than one request under way for
//! a credential, whatever the load; requests do not wait for it and cannot cancel it.

mod failures;
mod outcome;
mod too_new;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::budget::Budget;
use super::demand::Wish;
use super::metrics::CredentialMetrics;
use super::schedule::{InARow, Spread};
use super::source::{Occasion, TokenSource};
use super::{AccessToken, Attempt, Moment, TokenWriter};
use crate::readiness::StartupGuard;
use crate::runtime::supervise;
use failures::Failures;
use too_new::Beside;

/// Keeps one credential's token fresh.
pub struct Refresher {
    source: Box<dyn TokenSource>,
    writer: TokenWriter,
    metrics: CredentialMetrics,
    random: RefCell<fastrand::Rng>,
    generation: Cell<u64>,
    beside: RefCell<Beside>,
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
            beside: RefCell::default(),
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
                Some(Occasion::Due) if self.step_forward() => self.due(),
                Some(occasion) => self.attempt(occasion).await,
                None => self.due(),
            };
        }
    }

    /// When the next attempt is due by what is at hand.
    fn due(&self) -> Instant {
        if let Some(at) = self.beside.borrow().forward_at() {
            return at;
        }
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
            Wish::Replace(route) if self.step_back(&route) => return None,
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

    /// Does `work`, and takes the token away on the way if its life ends meanwhile, so that readers
    /// learn why there is none.
    async fn while_expiring<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        while let Some(retire_at) = self.retire_at() {
            tokio::select! {
                // The end of the token goes first: when both are due at once, the next attempt
                // must not find a token that is still called valid.
                biased;
                () = sleep_until(retire_at) => {
                    if !self.step_forward() {
                        self.expire();
                    }
                }
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

/// Between an attempt and one that is demanded.
const LEAST_DISTANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
