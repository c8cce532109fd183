//! Whether the process has started, and whether it can serve.
//!
//! Two questions with two answers. *Started* is latched: a set of guards, each dropped when its
//! part has come up, and no way back. *Ready* is asked anew each time, of whoever knows, so that
//! it cannot disagree with the state that requests see; stopping ends it for good.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

type Look = Box<dyn Fn() -> Vec<Finding> + Send + Sync>;

/// The process's readiness. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    starting: Mutex<Vec<Arc<str>>>,
    /// A part of the start-up has come up.
    progress: Notify,
    checks: Mutex<Vec<Look>>,
    remarks: Mutex<Vec<Look>>,
    stopping: AtomicBool,
}

/// Something that is not as it should be: what it is, and why in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, such as `credential "envase"`.
    pub subject: String,
    /// Why, and what happens next, as the rest of a sentence that begins with the subject.
    pub reason: String,
}

impl Readiness {
    /// Registers a part of the start-up, which lasts until the guard is dropped.
    pub fn startup(&self, part: &str) -> StartupGuard {
        let part: Arc<str> = part.into();
        lock(&self.0.starting).push(Arc::clone(&part));
        StartupGuard {
            inner: Arc::clone(&self.0),
            part,
        }
    }

    /// Adds whoever knows what keeps the process from serving. It is ready while none finds anything.
    pub fn require(&self, look: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
        lock(&self.0.checks).push(Box::new(look));
    }

    /// Adds whoever knows what else an operator should look at.
    pub fn remark(&self, look: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
        lock(&self.0.remarks).push(Box::new(look));
    }

    /// Marks the process as stopping. It is never ready again.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// The parts that have not come up yet; empty once the process has started.
    pub fn starting(&self) -> Vec<String> {
        let parts = lock(&self.0.starting);
        parts.iter().map(ToString::to_string).collect()
    }

    /// Resolves when every part has come up, at once if they all have.
    pub async fn started(&self) {
        loop {
            let progress = self.0.progress.notified();
            if lock(&self.0.starting).is_empty() {
                return;
            }
            progress.await;
        }
    }

    /// Why the process cannot serve at this moment; empty when it can.
    pub fn not_ready(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.0.stopping.load(Ordering::Acquire) {
            found.push(Finding {
                subject: "gatepass".into(),
                reason: "is stopping: it finishes the requests in flight".into(),
            });
        }
        found.extend(lock(&self.0.checks).iter().flat_map(|look| look()));
        found
    }

    /// What an operator should look at, although the process can serve.
    pub fn remarks(&self) -> Vec<Finding> {
        lock(&self.0.remarks)
            .iter()
            .flat_map(|look| look())
            .collect()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("starting", &self.starting())
            .field("not_ready", &self.not_ready())
            .finish()
    }
}

/// A part of the start-up that is under way. Dropping it says that the part has come up.
pub struct StartupGuard {
    inner: Arc<Inner>,
    part: Arc<str>,
}

impl Drop for StartupGuard {
    fn drop(&mut self) {
        lock(&self.inner.starting).retain(|part| !Arc::ptr_eq(part, &self.part));
        self.inner.progress.notify_waiters();
    }
}

impl fmt::Debug for StartupGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartupGuard").field(&self.part).finish()
    }
}

/// These locks are held for a push or a walk over a short list. A panic in a check leaves the list
/// whole, and a probe that is refused for ever would be worse than the panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(reason: &str) -> Finding {
        Finding {
            subject: "credential \"a\"".into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn has_started_when_every_guard_is_dropped() {
        let readiness = Readiness::default();
        let listeners = readiness.startup("listeners");
        let token = readiness.startup("first token");
        assert_eq!(readiness.starting(), ["listeners", "first token"]);
        drop(listeners);
        assert_eq!(readiness.starting(), ["first token"]);
        drop(token);
        assert!(readiness.starting().is_empty());
    }

    #[test]
    fn two_parts_of_one_name_both_count() {
        let readiness = Readiness::default();
        let first = readiness.startup("token");
        let _second = readiness.startup("token");
        drop(first);
        assert_eq!(readiness.starting(), ["token"]);
    }

    #[test]
    fn asks_each_condition_anew() {
        let readiness = Readiness::default();
        let good = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&good);
        readiness.require(move || match state.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec![finding("has no token")],
        });
        assert_eq!(readiness.not_ready()[0].reason, "has no token");
        good.store(true, Ordering::Relaxed);
        assert!(readiness.not_ready().is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_start_is_told() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.startup("a"), readiness.startup("b"));
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.started().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }

    #[test]
    fn a_remark_does_not_make_it_unready() {
        let readiness = Readiness::default();
        readiness.remark(|| vec![finding("has a mistake")]);
        assert!(readiness.not_ready().is_empty());
        assert_eq!(readiness.remarks()[0].reason, "has a mistake");
    }

    #[test]
    fn stopping_is_for_good() {
        let readiness = Readiness::default();
        readiness.require(Vec::new);
        readiness.stop();
        assert_eq!(readiness.not_ready()[0].subject, "gatepass");
    }
}
