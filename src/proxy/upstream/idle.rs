//! HTTP/1.1 connections that wait for their next request.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, Sleep, sleep_until};

use super::held::Held;
use crate::proxy::body::OutgoingBody;
use crate::proxy::route::Timeouts;
use crate::runtime::spawn;
use crate::token::heartbeat::times_asleep;

/// A connection that carries one request at a time. Boxed wherever it goes, for it goes from hand to
/// hand with each request.
pub(super) struct Kept {
    pub(super) sender: SendRequest<OutgoingBody>,
    /// For one request after the other: to put a timer off costs less than to make another.
    pub(super) timer: Pin<Box<Sleep>>,
    opened_at: Instant,
    /// How long it may be unused by what the upstream says.
    announced: Duration,
    /// How often the machine was asleep by then.
    times_asleep: u32,
    pub(super) held: Held,
}

impl Kept {
    pub(super) fn new(
        sender: SendRequest<OutgoingBody>,
        opened_at: Instant,
        held: Held,
    ) -> Box<Self> {
        Box::new(Self {
            sender,
            timer: Box::pin(sleep_until(opened_at)),
            opened_at,
            announced: Duration::MAX,
            times_asleep: times_asleep(),
            held,
        })
    }

    /// Heeds how long the upstream says that it keeps the connection. It closes it after that, and
    /// what is on its way there by then is lost: so some of the time is left for the way.
    pub(super) fn heed(&mut self, announced: Duration) {
        self.announced = announced.saturating_sub(ON_THE_WAY.min(announced / 4));
    }
}

/// Those that wait.
pub(super) struct IdleConnections {
    most: usize,
    timeouts: Timeouts,
    /// The most recently used at the end. It is taken first, so that the others can grow old.
    waiting: RefCell<Vec<(Box<Kept>, Instant)>>,
    reaping: Cell<bool>,
}

impl IdleConnections {
    pub(super) fn new(most: usize, timeouts: Timeouts) -> Self {
        Self {
            most,
            timeouts,
            waiting: RefCell::default(),
            reaping: Cell::new(false),
        }
    }

    /// One that still looks alive.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Kept>> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some((kept, since)) = waiting.pop() {
            if self.is_fresh(&kept, since, now) && kept.sender.is_ready() {
                return Some(kept);
            }
        }
        None
    }

    /// Leaves one to later requests, from `now` on.
    pub(super) fn keep(self: &Rc<Self>, kept: Box<Kept>, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        let is_wanted = waiting.len() < self.most && self.is_fresh(&kept, now, now);
        if !is_wanted || kept.sender.is_closed() {
            return;
        }
        kept.held.allowance().renew();
        waiting.push((kept, now));
        if !self.reaping.replace(true) {
            spawn(reap(Rc::downgrade(self)));
        }
    }

    /// Closes those that have waited since before then.
    pub(super) fn forget_since_before(&self, began: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|(_, since)| *since >= began);
    }

    /// Since when the one waits that waits longest.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waiting.borrow().first().map(|(_, since)| *since)
    }

    pub(super) fn close_who_waits_longest(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let longest = 1.min(waiting.len());
        waiting.drain(..longest);
    }

    /// When one that has waited since then is closed.
    fn due(&self, kept: &Kept, since: Instant) -> Instant {
        since + self.timeouts.keep_alive.min(kept.announced)
    }

    /// Time asleep is not counted here, and upstreams count it.
    fn is_fresh(&self, kept: &Kept, since: Instant, now: Instant) -> bool {
        kept.times_asleep == times_asleep()
            && self.due(kept, since) > now
            && kept.opened_at + self.timeouts.connection_age > now
    }
}

/// Closes idle connections when their time is over, and ends when none are left.
async fn reap(connections: Weak<IdleConnections>) {
    loop {
        let Some(due) = connections.upgrade().and_then(|connections| {
            let waiting = connections.waiting.borrow();
            let all = waiting.iter();
            let due = all.map(|(kept, since)| connections.due(kept, *since)).min();
            connections.reaping.set(due.is_some());
            due
        }) else {
            return;
        };
        sleep_until(due).await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut waiting = connections.waiting.borrow_mut();
        waiting.retain(|(kept, since)| {
            connections.is_fresh(kept, *since, now) && !kept.sender.is_closed()
        });
    }
}

/// How long a request may take to an upstream that is about to close the connection.
const ON_THE_WAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;

    use super::super::super::route::USUAL_HEADERS;
    use super::super::connect::{Connected, over_http1};
    use super::*;
    use crate::token::heartbeat::count_sleep;

    /// A connection that waits since now, and its other end.
    async fn waiting() -> (Box<Kept>, DuplexStream) {
        let (near, far) = duplex(64);
        let held = Held::one_of(&Rc::default());
        let connected = over_http1(near, held.counted(), USUAL_HEADERS)
            .await
            .unwrap();
        let Connected::Http1(mut sender) = connected else {
            panic!("it is HTTP/1.1");
        };
        sender.ready().await.unwrap();
        (Kept::new(sender, Instant::now(), held), far)
    }

    /// What this machine counts of its time says nothing of the other's.
    #[tokio::test(flavor = "local", start_paused = true)]
    async fn one_that_was_there_before_a_sleep_is_not_used_after_it() {
        let (kept, _far) = waiting().await;
        let now = Instant::now();
        let connections = IdleConnections::new(1, Timeouts::default());
        connections.waiting.borrow_mut().push((kept, now));
        count_sleep();
        assert!(connections.take(now).is_none());
    }

    /// Were they taken by turns, none would ever have been unused for long, however few are needed.
    #[tokio::test(flavor = "local", start_paused = true)]
    async fn the_one_that_was_used_last_is_taken_first() {
        let connections = Rc::new(IdleConnections::new(2, Timeouts::default()));
        let (first, _far) = waiting().await;
        sleep(Duration::from_secs(1)).await;
        let (second, _other) = waiting().await;
        let [before, after] = [&first, &second].map(|kept| kept.opened_at);
        connections.keep(first, Instant::now());
        connections.keep(second, Instant::now());
        for opened_at in [after, before] {
            let taken = connections.take(Instant::now()).unwrap();
            assert_eq!(taken.opened_at, opened_at);
        }
    }
}
