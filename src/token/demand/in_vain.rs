//! Refreshes that do not help: their new tokens are refused as well.

use std::time::Duration;

use tokio::time::Instant;

/// How many there were in a row, and when the last one was.
///
/// A permission that is missing is missing for days, and each refresh may be a sign-in, or cost money. From
/// some on they are made ever more rarely. The budget for each minute holds beside it.
#[derive(Debug, Default)]
pub(super) struct InVain(Option<(u32, Instant)>);

impl InVain {
    /// Whether it is time for another one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.0
            .is_none_or(|(times, last)| now - last >= pause(times))
    }

    /// There is another one. Those of long ago say nothing of it.
    pub(super) fn note(&mut self, now: Instant) {
        let recent = self.0.filter(|(_, last)| now - *last < LONGEST * 2);
        let times = recent.map_or(0, |(times, _)| times);
        self.0 = Some((times.saturating_add(1), now));
    }
}

fn pause(times: u32) -> Duration {
    match times.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(LONGEST),
    }
}

/// Providers hand out a token that they have revoked for some seconds more, or minutes.
const FREE: u32 = 10;
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);
