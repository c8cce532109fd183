//! How many of something may be there at once, on all workers together.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The limit. Clones are the same.
#[derive(Debug, Clone)]
pub struct Limit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    taken: AtomicUsize,
}

/// One that is there. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place(Arc<Inner>);

impl Limit {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            taken: AtomicUsize::new(0),
        }))
    }

    pub(super) fn most(&self) -> usize {
        self.0.most
    }

    /// Nothing if there is no room for one more.
    pub(super) fn take(&self) -> Option<Place> {
        // Counted first: of two that come at once for the last place only one finds room.
        let place = Place(Arc::clone(&self.0));
        let before = self.0.taken.fetch_add(1, Relaxed);
        (before < self.0.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_takes_none() {
        let limit = Limit::new(2);
        let (first, second) = (limit.take(), limit.take());
        assert!(first.is_some() && second.is_some());
        assert!(limit.take().is_none());
        assert!(limit.take().is_none());
        drop(first);
        assert!(limit.take().is_some());
    }
}
