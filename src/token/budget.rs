//! How often something may happen.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// So many a minute, and no more than a minute's at once.
#[derive(Debug)]
pub(crate) struct Budget {
    per_minute: f64,
    left: f64,
    counted_at: Option<Instant>,
}

impl Budget {
    pub(crate) fn full(per_minute: u32) -> Self {
        Self {
            per_minute: per_minute.into(),
            left: per_minute.into(),
            counted_at: None,
        }
    }

    /// Waits until the next one may be had, and takes it.
    pub(crate) async fn wait(this: &RefCell<Self>) {
        let due = this.borrow().due(Instant::now());
        sleep_until(due).await;
        this.borrow_mut().take(Instant::now());
    }

    fn due(&self, now: Instant) -> Instant {
        let earned_at = self.counted_at.unwrap_or(now);
        let missing = (1.0 - self.left).max(0.0) / self.per_minute * 60.0;
        (earned_at + Duration::from_secs_f64(missing)).max(now)
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = self.counted_at.map_or(Duration::ZERO, |at| now - at);
        self.counted_at = Some(now);
        let earned = since.as_secs_f64() / 60.0 * self.per_minute;
        self.left = (self.left + earned).min(self.per_minute);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}
