//! Stopping in two steps: begin (no new work, finish what runs) and force (end what is left).

use tokio_util::sync::CancellationToken;

/// Makes the two halves of a drain: the one that orders it and the one that servers watch.
pub fn channel() -> (Drain, DrainWatch) {
    let watch = DrainWatch {
        begun: CancellationToken::new(),
        forced: CancellationToken::new(),
    };
    (Drain(watch.clone()), watch)
}

/// Orders a drain. Dropping it orders nothing.
#[derive(Debug)]
pub struct Drain(DrainWatch);

impl Drain {
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
    begun: CancellationToken,
    forced: CancellationToken,
}

impl DrainWatch {
    /// Resolves when the drain begins, at once if it has begun.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Resolves when the grace period is over, at once if it is over.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }
}
