//! Limits for what is waited for, kept by the time in which this process runs.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// What comes of `work`; nothing if nothing has come by `end`.
///
/// A process that is stopped for a while (Ctrl-Z, `docker pause`, a debugger) finds on waking that its time is
/// over, and what it waited for in the socket. So what nobody looked at when it was due has a moment more: with
/// the answer to a refresh token that is good for one use the session would be lost.
pub(super) async fn in_time<T>(end: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match timeout_at(end, work.as_mut()).await {
        Ok(outcome) => Some(outcome),
        Err(_) if Instant::now() < end + LATE => None,
        Err(_) => timeout(MOMENT, work).await.ok(),
    }
}

/// No timer of a process that runs is so late.
const LATE: Duration = Duration::from_millis(100);

/// Enough to read what is there.
const MOMENT: Duration = Duration::from_secs(1);
