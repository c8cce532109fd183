//! What a provider publishes about itself, kept for a while.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::token::source::FetchError;

/// A document that is kept for a day, and longer while it cannot be had anew: what was true
/// yesterday is worth more than nothing.
#[derive(Debug)]
pub(super) struct Published<T> {
    kept: RefCell<Option<(Instant, T)>>,
    doubted: Cell<bool>,
}

impl<T: Clone> Published<T> {
    pub(super) fn new() -> Self {
        Self {
            kept: RefCell::new(None),
            doubted: Cell::new(false),
        }
    }

    /// The document: the one at hand, or what `fetch` gets if that is too old or in doubt.
    ///
    /// `limit` is how long the fetch may take where there is something to go on with.
    pub(super) async fn get(
        &self,
        limit: Duration,
        fetch: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let kept = self.kept.borrow().clone();
        let fetched = match kept {
            Some((at, kept)) if at.elapsed() < LONGEST_KEPT && !self.doubted.get() => {
                return Ok(kept);
            }
            Some((_, kept)) => match timeout(limit, fetch).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) | Err(_) => return Ok(kept),
            },
            None => fetch.await?,
        };
        self.keep(fetched.clone());
        Ok(fetched)
    }

    pub(super) fn keep(&self, document: T) {
        self.kept.replace(Some((Instant::now(), document)));
        self.doubted.set(false);
    }

    /// It may no longer be true: the next use asks anew.
    pub(super) fn doubt(&self) {
        self.doubted.set(true);
    }
}

/// Endpoints move once in years, and one that has is found by its silence. A key that was withdrawn
/// is known to be within this time.
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::source::FailureKind;

    const LIMIT: Duration = Duration::from_secs(2);

    async fn get(published: &Published<u8>, fetched: Result<u8, ()>) -> Result<u8, FetchError> {
        let error = |()| FailureKind::Unavailable.because("down");
        published.get(LIMIT, async { fetched.map_err(error) }).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_for_once_a_day_and_outlives_the_provider() {
        let published = Published::new();
        assert!(get(&published, Err(())).await.is_err());
        assert_eq!(get(&published, Ok(1)).await.unwrap(), 1);
        tokio::time::advance(LONGEST_KEPT - Duration::from_millis(1)).await;
        assert_eq!(get(&published, Ok(2)).await.unwrap(), 1, "not yet");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(
            get(&published, Err(())).await.unwrap(),
            1,
            "better than nothing"
        );
        assert_eq!(get(&published, Ok(2)).await.unwrap(), 2, "now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_silent_does_not_hold_up_what_is_known() {
        let published = Published::new();
        assert_eq!(get(&published, Ok(1)).await.unwrap(), 1);
        published.doubt();
        let started = Instant::now();
        let silence = std::future::pending();
        assert_eq!(published.get(LIMIT, silence).await.unwrap(), 1);
        assert_eq!(started.elapsed(), LIMIT);
        assert_eq!(get(&published, Ok(2)).await.unwrap(), 2);
        assert_eq!(get(&published, Ok(3)).await.unwrap(), 2, "no doubt is left");
    }
}
