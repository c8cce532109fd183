//! The room for connections to upstreams, each of which is a descriptor.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use tokio::task::yield_now;

use super::connect_error::ConnectError;
use super::idle::IdleConnections;
use crate::proxy::limit::{Limit, Place};

/// What there is for all workers together, and those connections of this one that wait for a request.
///
/// The limit of callers' connections says little about those to upstreams: one of HTTP/2 carries many
/// requests, and each upstream keeps connections for the next ones. They would take the descriptors that
/// token requests and probes need.
pub(in crate::proxy) struct Room {
    limit: Limit,
    idle: RefCell<Vec<Weak<IdleConnections>>>,
}

impl Room {
    pub(in crate::proxy) fn new(limit: Limit) -> Self {
        Self {
            limit,
            idle: RefCell::default(),
        }
    }

    /// Room can be made among these from now on.
    pub(super) fn knows(&self, idle: &Rc<IdleConnections>) {
        let mut all = self.idle.borrow_mut();
        all.retain(|idle| idle.strong_count() > 0);
        all.push(Rc::downgrade(idle));
    }

    /// For one more connection. One that waits for a request is closed for it if there is no other room.
    pub(super) async fn place(&self) -> Result<Place, ConnectError> {
        if let Some(place) = self.limit.take() {
            return Ok(place);
        }
        self.close_who_waits_longest();
        // It is there until its task has seen it.
        yield_now().await;
        let place = self.limit.take();
        place.ok_or(ConnectError::NoDescriptors(self.limit.most()))
    }

    fn close_who_waits_longest(&self) {
        let all = self.idle.borrow();
        let waiting = all.iter().filter_map(Weak::upgrade);
        let waiting = waiting.filter_map(|idle| Some((idle.waits_since()?, idle)));
        if let Some((_, idle)) = waiting.min_by_key(|(since, _)| *since) {
            idle.close_who_waits_longest();
        }
    }
}
