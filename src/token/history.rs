//! The last attempts to get a token, for whoever looks at a credential.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One attempt, when it is over.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// How it ended, in the words of the metric.
    pub outcome: &'static str,
}

/// As many of them as somebody would look at.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Attempt>>);

impl History {
    pub(super) fn add(&self, attempt: Attempt) {
        let mut attempts = self.attempts();
        attempts.truncate(KEPT - 1);
        attempts.push_front(attempt);
    }

    /// The last one first.
    pub(super) fn all(&self) -> Vec<Attempt> {
        self.attempts().iter().copied().collect()
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn attempts(&self) -> MutexGuard<'_, VecDeque<Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KEPT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_come_first_and_the_oldest_go() {
        let history = History::default();
        for millis in 0..50 {
            history.add(Attempt {
                began: Instant::now(),
                took: Duration::from_millis(millis),
                outcome: "success",
            });
        }
        let took: Vec<_> = history.all().iter().map(|of| of.took.as_millis()).collect();
        assert_eq!(took, (30..50).rev().collect::<Vec<_>>());
    }
}
