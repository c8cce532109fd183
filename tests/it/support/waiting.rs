//! Waiting for what comes, with a bound.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::client::PATIENCE;

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    within(PATIENCE, what, holds).await;
}

/// The same, and no longer than so long.
pub async fn within<F>(limit: Duration, what: &str, mut holds: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(limit, waiting).await;
    in_time.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"));
}
