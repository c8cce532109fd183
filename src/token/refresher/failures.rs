//! What is logged of failed attempts: the first, each that fails in another way, and now and then that
//! it goes on. A provider that is down for a day would otherwise be a line every few seconds for each
//! credential, and what is new would be lost among them.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::token::clock::whole_seconds_until;
use crate::token::source::{FailureKind, FetchError};

/// A failed attempt.
pub(super) struct Failure<'a> {
    pub(super) credential: &'a str,
    pub(super) error: &'a FetchError,
    /// How many there were in a row.
    pub(super) failures: u32,
    pub(super) next_attempt: Instant,
    /// When the token at hand ends, if there is one.
    pub(super) retire_at: Option<Instant>,
    /// Requests go by it, and not by the one that it is to replace.
    pub(super) at_work: bool,
}

/// Knows what was logged last.
#[derive(Debug, Default)]
pub(super) struct Failures(Cell<Option<Told>>);

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    kind: FailureKind,
    has_token: bool,
}

impl Failures {
    pub(super) fn tell(&self, failure: &Failure<'_>) {
        let &Failure {
            credential,
            error,
            failures,
            ..
        } = failure;
        match self.is_news(failure, Instant::now()) {
            true => failure.tell(),
            false => debug!(credential, failures, "it goes on: {error}"),
        }
    }

    fn is_news(&self, failure: &Failure<'_>, now: Instant) -> bool {
        let (kind, has_token) = (failure.error.kind, failure.retire_at.is_some());
        let is_known = self.0.get().is_some_and(|told| {
            let is_recent = now.saturating_duration_since(told.at) < TOLD_EVERY;
            is_recent && (told.kind, told.has_token) == (kind, has_token)
        });
        let is_news = failure.failures == 1 || !is_known;
        if is_news {
            self.0.set(Some(Told {
                at: now,
                kind,
                has_token,
            }));
        }
        is_news
    }
}

impl Failure<'_> {
    fn tell(&self) {
        let &Self {
            credential,
            error,
            failures,
            ..
        } = self;
        let outcome = error.kind.label();
        let retry_in_seconds = whole_seconds_until(self.next_attempt);
        match self.retire_at {
            // What is planned is no failure.
            Some(retire_at) if error.kind == FailureKind::HeldBack => info!(
                credential,
                retry_in_seconds,
                usable_seconds = whole_seconds_until(retire_at),
                "the token at hand stays in use for a while longer: {error}"
            ),
            Some(retire_at) => warn!(
                credential,
                outcome,
                failures,
                retry_in_seconds,
                usable_seconds = whole_seconds_until(retire_at),
                "token refresh failed, the token at hand stays in use: {error}"
            ),
            // No request is answered with 503 for it.
            None if !self.at_work => warn!(
                credential,
                outcome,
                failures,
                retry_in_seconds,
                "no first token for the changed configuration: {error}"
            ),
            None => error!(
                credential,
                outcome, failures, retry_in_seconds, "no token to send: {error}"
            ),
        }
    }
}

const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these attempts are told; each at a second, of a kind, with a token at hand or not.
    fn told(attempts: &[(u64, u32, FailureKind, bool)]) -> Vec<u64> {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let failures = Failures::default();
        let is_told = |attempt: &&(u64, u32, FailureKind, bool)| {
            let (second, failures_in_a_row, kind, has_token) = **attempt;
            let error = kind.because("it is down");
            let failure = Failure {
                credential: "a",
                error: &error,
                failures: failures_in_a_row,
                next_attempt: at(second),
                retire_at: has_token.then(|| at(second)),
                at_work: true,
            };
            failures.is_news(&failure, at(second))
        };
        let told = attempts.iter().filter(is_told);
        told.map(|(second, ..)| *second).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_new_is_told_and_once_a_minute_that_it_goes_on() {
        use FailureKind::{Refused, Unavailable};
        let attempts = [
            (0, 1, Unavailable, true),
            (4, 2, Unavailable, true),
            // In another way.
            (8, 3, Refused, true),
            (12, 4, Refused, true),
            // The token has ended.
            (16, 5, Refused, false),
            (70, 6, Refused, false),
            (76, 7, Refused, false),
            (80, 8, Refused, false),
            // After a success.
            (84, 1, Refused, false),
        ];
        assert_eq!(told(&attempts), [0, 8, 16, 76, 84]);
    }
}
