//! A time that something holds for, by a clock that may be set back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From when it was written until when it holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Term {
    #[serde(default)]
    from: Duration,
    until: Duration,
}

impl Term {
    pub(super) fn new(now: Duration, length: Duration) -> Self {
        Self {
            from: now,
            until: now + length,
        }
    }

    /// How much of it is left; nothing if it is over.
    ///
    /// A clock that was set back since would make it longer by as much. It is over if that is more
    /// than its own length. Less is waited for: two turns at once may use a refresh token twice.
    pub(super) fn left(self, now: Duration) -> Option<Duration> {
        let length = self.until.saturating_sub(self.from);
        let left = self.until.saturating_sub(now);
        (!left.is_zero() && left / 2 <= length).then_some(left)
    }
}
