//! This replica's turn to ask the provider, for all.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::waiting::AtHand;
use super::{Attempt, SharedSource};
use crate::store::entry::{Change, Entry};
use crate::store::record::Turn;
use crate::token::source::{FetchError, FetchedToken};

impl SharedSource {
    /// Asks the provider, for all.
    pub(super) async fn ask_in_turn(
        &self,
        entry: &Entry,
        turn: Turn,
        attempt: Attempt,
    ) -> Result<FetchedToken, FetchError> {
        entry.has_turn(Some(turn.generation));
        let over = TurnOver(entry);
        let began = Instant::now();
        let mut outcome = tokio::select! {
            outcome = self.ask(attempt.occasion) => outcome,
            token = self.overtaken(entry, turn, attempt) => return Ok(token),
        };
        let turn = Turn {
            owes_session: entry.owes_session(),
            ..turn
        };
        match &mut outcome {
            Ok(token) => {
                self.known.set(turn.generation);
                self.shared_by.replace(Some(entry.replica().to_owned()));
                let took = began.elapsed();
                let told = entry.update_within(self.time_to_tell(entry), |record, _| match record
                    .succeed(turn, entry.replica(), token, took)
                {
                    true => Change::Announce(true),
                    false => Change::Leave(false),
                });
                if let Ok(false) = told.await {
                    info!(
                        credential = self.credential,
                        "the token came so late that another replica has got one meanwhile"
                    );
                }
            }
            Err(error) if error.unasked => {
                let told = entry.update(|record, _| {
                    record.give_back(turn, entry.replica());
                    Change::Write(())
                });
                // As below.
                let _ = told.await;
            }
            Err(error) => {
                let pace = error.kind.pace();
                let failures = turn.failures.and_one_of(pace).of(pace);
                let rest = pace.delay(failures, error.retry_after, fastrand::f64());
                let told = entry.update(|record, now| {
                    record.fail(turn, entry.replica(), error.kind, rest, now);
                    Change::Write(())
                });
                // That the store is no help has been said where it was found.
                if let Ok(()) = told.await {
                    // Who asked waits as all do, and need not be told so by itself.
                    error.retry_after = Some(error.retry_after.unwrap_or_default().max(rest));
                }
            }
        }
        drop(over);
        outcome
    }

    /// The others do not wait for the new token while this one's end comes near.
    fn time_to_tell(&self, entry: &Entry) -> Duration {
        let left = self.at_hand.get().map_or(Duration::ZERO, AtHand::left);
        match left.is_zero() || self.source.must_finish() {
            true => entry.time_out(),
            false => left / 2,
        }
    }

    /// Tells the others again and again that it is still this replica's turn, as long as that leaves
    /// one of them the time to ask; and goes on: its answer may be the first nevertheless. Resolves
    /// with the token of another.
    async fn overtaken(&self, entry: &Entry, turn: Turn, attempt: Attempt) -> FetchedToken {
        let lease = self.turn_lasts();
        let prolonged_until = self.turn_prolonged_until(lease);
        while prolonged_until.is_none_or(|until| Instant::now() < until) {
            sleep(lease / 3).await;
            let prolonged = entry.update(|record, now| match record.prolong(turn, lease, now) {
                true => Change::Write(()),
                false => Change::Leave(()),
            });
            let _ = prolonged.await;
        }
        loop {
            self.arrival().await;
            if let Some(token) = self.arrived(attempt) {
                return token;
            }
        }
    }

    /// A replica that alone cannot reach the provider must not hold up all the others.
    fn turn_prolonged_until(&self, lease: Duration) -> Option<Instant> {
        let (room, left) = self.room().filter(|_| !self.source.must_finish())?;
        Some(Instant::now() + room.for_turn(left, lease))
    }
}

/// Ends a turn however its attempt ends, also by a panic.
struct TurnOver<'a>(&'a Entry);

impl Drop for TurnOver<'_> {
    fn drop(&mut self) {
        self.0.has_turn(None);
    }
}
