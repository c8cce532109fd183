//! Refusals that another token does not mend: rather a permission, an audience or a scope is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The routes whose upstreams refuse one token after the other, and when each did so last.
#[derive(Debug, Default)]
pub(super) struct Unmended(Mutex<BTreeMap<Arc<str>, Instant>>);

impl Unmended {
    /// Notes one more; `true` if it is the first for a while.
    pub(super) fn note(&self, route: &Arc<str>) -> bool {
        let now = Instant::now();
        self.lately(now).insert(Arc::clone(route), now).is_none()
    }

    /// The routes that have met one lately.
    pub(super) fn routes(&self) -> Vec<Arc<str>> {
        self.lately(Instant::now()).keys().cloned().collect()
    }

    /// Without those that are over. Held for a look, and by no request whose token is accepted.
    fn lately(&self, now: Instant) -> MutexGuard<'_, BTreeMap<Arc<str>, Instant>> {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, last| now.saturating_duration_since(*last) < LATELY);
        routes
    }
}

/// Nothing tells that a permission has been given but that refusals come no more.
const LATELY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_route_is_news_once_until_it_has_been_quiet_for_a_minute() {
        let unmended = Unmended::default();
        let [orders, stock] = ["orders", "stock"].map(Arc::<str>::from);
        assert!(unmended.note(&orders));
        assert!(unmended.note(&stock));
        for _ in 0..10 {
            tokio::time::advance(LATELY - Duration::from_millis(1)).await;
            assert!(!unmended.note(&orders));
        }
        assert_eq!(unmended.routes(), std::slice::from_ref(&orders));
        tokio::time::advance(LATELY).await;
        assert!(unmended.routes().is_empty());
        assert!(unmended.note(&orders));
    }
}
