//! What comes of an attempt, a token or a failure, and when the next one is due after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Refresher;
use super::failures::Failure;
use crate::token::clock::{time_asleep, whole_seconds_until};
use crate::token::schedule::{self, Pace, Spread};
use crate::token::source::{FailureKind, FetchError, FetchedToken, Occasion};
use crate::token::{AccessToken, Moment, Setback};

impl Refresher {
    pub(super) fn prepare(
        &self,
        fetched: &FetchedToken,
        asked: Moment,
        occasion: Occasion,
    ) -> Result<AccessToken, FetchError> {
        let early = self.early(fetched.lifetime, occasion);
        let next = self.generation.get() + 1;
        let token = AccessToken::new(fetched, asked, early, next).map_err(|_| {
            FailureKind::Malformed
                .because("the token holds characters that cannot stand in a header")
        })?;
        // The machine may have slept while the answer was on its way.
        let token = token.counting_sleep(time_asleep());
        if token.retire_at() <= Instant::now() {
            return Err(FailureKind::Malformed
                .because(format!(
                    "the token lives for {:?} only and was over before it arrived",
                    fetched.lifetime
                ))
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

    pub(super) fn publish(&self, token: AccessToken, asked_at: Instant) -> Instant {
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
        if is_new {
            let replaced = Arc::clone(&self.writer.current());
            self.beside.borrow_mut().replaced(replaced.valid());
        }
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
    pub(super) fn endure(&self, error: FetchError) -> Instant {
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
}

/// Tokens that live shorter are not kept fresh.
const SHORTEST_KEPT: Duration = Duration::from_millis(1_500);
