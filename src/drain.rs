//! Stopping in three steps: announce (those who come are told not to come again), begin (no new work,
//! finish what runs) and force (end what is left).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Makes the two halves of a drain: the one that orders it and the one that servers watch.
pub fn channel() -> (Drain, DrainWatch) {
    let watch = DrainWatch {
        announced: Arc::default(),
        begun: CancellationToken::new(),
        forced: CancellationToken::new(),
    };
    (Drain(watch.clone()), watch)
}

/// Orders a drain. Dropping it orders nothing.
#[derive(Debug)]
pub struct Drain(DrainWatch);

impl Drain {
    /// Tells every watcher that the drain begins soon.
    pub fn announce(&self) {
        self.0.announced.store(true, Ordering::Relaxed);
    }

    /// Asks every watcher to take no new work and to finish what it has.
    pub fn begin(&self) {
        self.0.begun.cancel();
    }

    /// Asks every watcher to end now, whatever is in flight.
    pub fn force(&self) {
        self.0.begun.cancel();
        self.0.forced.cancel();
    }
}

/// Sees a drain coming. Clones watch the same drain.
#[derive(Debug, Clone)]
pub struct DrainWatch {
    announced: Arc<AtomicBool>,
    begun: CancellationToken,
    forced: CancellationToken,
}

impl DrainWatch {
    /// Whether the drain begins soon, or has begun. It costs next to nothing to ask.
    pub fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }

    /// Resolves when the drain begins, at once if it has begun.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Resolves when the grace period is over, at once if it is over.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }
}
