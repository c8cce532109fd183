//! HTTP/2 connections, each of which carries many requests at once.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};

use hyper::client::conn::http2::SendRequest;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Http2;
use super::held::Held;
use crate::proxy::body::OutgoingBody;
use crate::proxy::route::Timeouts;
use crate::runtime::spawn;
use crate::token::heartbeat::times_asleep;

/// Those that are open. A request goes to the first that has room, so that there are few.
pub(super) struct SharedConnections {
    timeouts: Timeouts,
    open: RefCell<Vec<Rc<Shared>>>,
    reaping: Cell<bool>,
}

struct Shared {
    http2: Http2,
    opened_at: Instant,
    /// How often the machine was asleep by then.
    times_asleep: u32,
    used_at: Cell<Instant>,
    under_way: Cell<usize>,
    /// Takes no further request.
    is_retired: Cell<bool>,
    _held: Held,
}

/// A request's place on a connection.
pub(super) struct Place {
    shared: Rc<Shared>,
    pub(super) timer: Pin<Box<Sleep>>,
}

impl SharedConnections {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            open: RefCell::default(),
            reaping: Cell::new(false),
        }
    }

    /// A place on a connection that still looks alive.
    pub(super) fn take(&self, now: Instant) -> Option<Place> {
        let open = self.open.borrow();
        let with_room = open.iter().find(|shared| {
            shared.takes_requests(&self.timeouts, now)
                && shared.under_way.get() < (shared.http2.streams)()
        })?;
        with_room.under_way.set(with_room.under_way.get() + 1);
        Some(Place {
            shared: Rc::clone(with_room),
            timer: Box::pin(sleep_until(now)),
        })
    }

    /// Closes those that are of no use any more. They are counted until then, and every request looks
    /// at them on its way to one that is.
    pub(super) fn close_unused(&self) {
        let now = Instant::now();
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.is_wanted(&self.timeouts, now));
    }

    /// When to close some again, if any are left.
    fn next_look(&self) -> Option<Instant> {
        let is_empty = self.open.borrow().is_empty();
        self.reaping.set(!is_empty);
        (!is_empty).then(|| Instant::now() + self.timeouts.keep_alive / 2)
    }

    /// Adds one to which requests may go from now on.
    pub(super) fn add(self: &Rc<Self>, http2: Http2, held: Held) {
        let now = Instant::now();
        // Its requests have given their places back with their answers, and may still be on their way.
        held.allow(self.timeouts.idle);
        self.open.borrow_mut().push(Rc::new(Shared {
            http2,
            opened_at: now,
            times_asleep: times_asleep(),
            used_at: Cell::new(now),
            under_way: Cell::new(0),
            is_retired: Cell::new(false),
            _held: held,
        }));
        if !self.reaping.replace(true) {
            spawn(reap(Rc::downgrade(self)));
        }
    }
}

impl Shared {
    fn takes_requests(&self, timeouts: &Timeouts, now: Instant) -> bool {
        !self.is_retired.get()
            && !self.http2.sender.is_closed()
            && self.times_asleep == times_asleep()
            && self.opened_at + timeouts.connection_age > now
    }

    fn is_wanted(&self, timeouts: &Timeouts, now: Instant) -> bool {
        let is_used = self.under_way.get() > 0;
        let is_fresh = self.used_at.get() + timeouts.keep_alive > now;
        is_used || (is_fresh && self.takes_requests(timeouts, now))
    }
}

impl Place {
    /// The connection's sending half.
    pub(super) fn sender(&self) -> SendRequest<OutgoingBody> {
        self.shared.http2.sender.clone()
    }

    /// Lets the connection take no further request.
    pub(super) fn retire(&self) {
        self.shared.is_retired.set(true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let under_way = &self.shared.under_way;
        under_way.set(under_way.get().saturating_sub(1));
        self.shared.used_at.set(Instant::now());
    }
}

/// Closes what nobody uses any more, and ends when none are left.
async fn reap(connections: Weak<SharedConnections>) {
    while let Some(due) = connections.upgrade().and_then(|shared| {
        shared.close_unused();
        shared.next_look()
    }) {
        sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::super::connect::{Connected, over_http2};
    use super::*;
    use crate::token::heartbeat::count_sleep;

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn one_that_was_there_before_a_sleep_is_not_used_after_it() {
        let (near, mut far) = duplex(65_536);
        // RFC 9113 §6.5: SETTINGS, with nothing in it.
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let held = Held::one_of(&Rc::default());
        let connected = over_http2(near, held.counted()).await.unwrap();
        let Connected::Http2(http2) = connected else {
            panic!("it is HTTP/2");
        };
        let connections = Rc::new(SharedConnections::new(Timeouts::default()));
        connections.add(http2, held);
        count_sleep();
        assert!(connections.take(Instant::now()).is_none());
    }
}
