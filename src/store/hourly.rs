//! A budget of token requests by the hour.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::StoreMetrics;

/// What one replica has asked for, against what it may. Without a limit nothing is counted.
#[derive(Debug)]
pub(super) struct HourlyBudget {
    pub(super) per_hour: Option<u32>,
    metrics: StoreMetrics,
    begun: Instant,
    asked: RefCell<Vec<Duration>>,
}

impl HourlyBudget {
    pub(super) fn new(per_hour: Option<u32>, metrics: StoreMetrics) -> Self {
        Self {
            per_hour,
            metrics,
            begun: Instant::now(),
            asked: RefCell::default(),
        }
    }

    /// Notes a request.
    pub(super) fn note(&self) {
        if let Some(per_hour) = self.per_hour {
            note(&mut self.asked.borrow_mut(), per_hour, self.begun.elapsed());
        }
    }

    /// How long it takes until there may be another request; nothing if there may be one now.
    pub(super) fn is_spent(&self) -> Option<Duration> {
        self.show_own();
        until_affordable(&self.asked.borrow(), self.per_hour?, self.begun.elapsed())
    }

    /// Shows what is left after the requests of this replica alone.
    pub(super) fn show_own(&self) {
        self.show(asked_lately(&self.asked.borrow(), self.begun.elapsed()));
    }

    /// Shows what is left after so many requests in the last hour.
    pub(super) fn show(&self, asked: usize) {
        let asked = i64::try_from(asked).unwrap_or(i64::MAX);
        let left = |per_hour: u32| (i64::from(per_hour) - asked).max(0);
        self.metrics.budget_left(self.per_hour.map(left));
    }
}

/// Notes a request among those of the last hour, as many of them as matter.
pub(super) fn note(asked: &mut Vec<Duration>, per_hour: u32, now: Duration) {
    asked.retain(|at| is_lately(*at, now));
    asked.push(now);
    let surplus = asked.len().saturating_sub(per_hour as usize);
    asked.drain(..surplus);
}

/// How many of them are of the last hour.
pub(super) fn asked_lately(asked: &[Duration], now: Duration) -> usize {
    asked.iter().filter(|at| is_lately(**at, now)).count()
}

/// How long it takes until there are fewer than so many in the last hour; nothing if there are.
pub(super) fn until_affordable(
    asked: &[Duration],
    per_hour: u32,
    now: Duration,
) -> Option<Duration> {
    let mut lately = asked.iter().filter(|at| is_lately(**at, now));
    let blocking = asked_lately(asked, now).checked_sub(per_hour as usize)?;
    let oldest = lately.nth(blocking)?;
    Some((*oldest + HOUR).saturating_sub(now))
}

/// A time that is yet to come was told by a clock that has been set back.
fn is_lately(at: Duration, now: Duration) -> bool {
    at <= now && now - at < HOUR
}

pub(super) const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// They stand in the store's entry, which all write again and again.
    #[test]
    fn no_more_is_kept_than_counts() {
        let mut asked = Vec::new();
        for second in 0..100 {
            note(&mut asked, 10, Duration::from_secs(second));
        }
        assert_eq!(asked.len(), 10);
        note(&mut asked, 10, HOUR * 2);
        assert_eq!(asked, [HOUR * 2]);
    }
}
