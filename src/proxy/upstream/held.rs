//! A connection by its two ends: who sends over it, and the task that drives it.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::acknowledged::Allowance;
use crate::proxy::limit::Place;

/// What whoever sends over a connection has of it. Once it is dropped nothing is expected of the
/// connection any more: an answer that is being read has it as well.
pub(super) struct Held(Rc<Counted>);

/// One of the connections that are counted: against the limit, and for the metrics. It is one for as
/// long as there is a socket: until it is let go, and until its task has ended.
pub(super) struct Counted {
    connections: Rc<Cell<usize>>,
    open: IntGauge,
    /// Among those to all upstreams.
    _place: Place,
    task: OnceCell<Waker>,
    address: OnceCell<SocketAddr>,
    patience: Cell<Duration>,
    pub(super) allowance: Allowance,
}

impl Held {
    /// Counts one more.
    pub(super) fn count(connections: &Rc<Cell<usize>>, open: IntGauge, place: Place) -> Self {
        connections.set(connections.get() + 1);
        open.inc();
        Self(Rc::new(Counted {
            connections: Rc::clone(connections),
            open,
            _place: place,
            task: OnceCell::new(),
            address: OnceCell::new(),
            patience: Cell::new(PARTING),
            allowance: Allowance::new(),
        }))
    }

    /// How much may be sent over it before the kernel has to be patient.
    pub(super) fn allowance(&self) -> &Allowance {
        &self.0.allowance
    }

    /// How long it may stand still once it is let go, where a request may still be on its way: an upload
    /// may go on after its answer, as long as it moves.
    pub(super) fn allow(&self, patience: Duration) {
        self.0.patience.set(patience);
    }

    /// Notes which of an upstream's addresses it goes to.
    pub(super) fn leads_to(&self, address: SocketAddr) {
        let _ = self.0.address.set(address);
    }

    /// The address that it goes to; nothing if that is a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.address.get().copied()
    }

    /// What the connection's task has of it.
    pub(super) fn counted(&self) -> Rc<Counted> {
        Rc::clone(&self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = self.0.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let others = self.connections.get().saturating_sub(1);
        self.connections.set(others);
        self.open.dec();
    }
}

impl Counted {
    /// Drives a connection to its end. Nothing if it was let go and then stood still: an upstream that
    /// takes nothing more would keep the socket, and what is to be written to it, for as long as it
    /// likes. hyper waits for it to take what is left, and so does TLS before it says goodbye.
    ///
    /// Pinned elsewhere: what is handed to a function that is async has room in its future twice.
    pub(super) async fn drive<C: Future>(
        self: Rc<Self>,
        mut connection: Pin<&mut C>,
    ) -> Option<C::Output> {
        let until_let_go = poll_fn(|cx| {
            // A task has one waker from its beginning to its end.
            self.task.get_or_init(|| cx.waker().clone());
            match connection.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if Rc::strong_count(&self) == 1 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(output) = until_let_go.await {
            return Some(output);
        }
        let patience = self.patience.get();
        let mut limit = Box::pin(sleep(patience));
        let parting = poll_fn(|cx| {
            if limit.as_mut().poll(cx).is_ready() {
                debug!("an upstream connection that nobody needs stood still, and is dropped");
                return Poll::Ready(None);
            }
            let polled = connection.as_mut().poll(cx).map(Some);
            if polled.is_pending() {
                // Woken, so something has moved.
                limit.as_mut().reset(Instant::now() + patience);
                let _ = limit.as_mut().poll(cx);
            }
            polled
        });
        parting.await
    }
}

/// How long a connection over which nothing has to go any more may stand still.
const PARTING: Duration = Duration::from_secs(2);

#[cfg(test)]
impl Held {
    /// One more, wherever there is room.
    pub(super) fn one_of(connections: &Rc<Cell<usize>>) -> Self {
        let place = crate::proxy::limit::Limit::new(1).take().unwrap();
        Self::count(connections, IntGauge::new("open", "Open.").unwrap(), place)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use tokio::sync::Notify;
    use tokio::task::LocalSet;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    /// A connection that has been let go, its task, and how many are counted.
    async fn driven<C: Future<Output = ()> + 'static>(
        connection: C,
    ) -> (tokio::task::JoinHandle<Option<()>>, Rc<Cell<usize>>) {
        let connections = Rc::<Cell<usize>>::default();
        let held = Held::one_of(&connections);
        let counted = held.counted();
        let task = tokio::task::spawn_local(async move { counted.drive(pin!(connection)).await });
        sleep(Duration::from_secs(3600)).await;
        assert!(!task.is_finished(), "as long as it is held");
        drop(held);
        tokio::task::yield_now().await;
        (task, connections)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_still_is_dropped_and_counted_until_then() {
        let stage = async {
            let (task, connections) = driven(pending()).await;
            sleep(PARTING - MOMENT).await;
            assert_eq!((task.is_finished(), connections.get()), (false, 1));
            sleep(2 * MOMENT).await;
            assert_eq!((task.is_finished(), connections.get()), (true, 0));
            assert_eq!(task.await.unwrap(), None);
        };
        LocalSet::new().run_until(stage).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_moves_has_its_time() {
        let stage = async {
            let moved = Rc::<Notify>::default();
            let moves = Rc::clone(&moved);
            let connection = async move {
                for _ in 0..10 {
                    moves.notified().await;
                }
            };
            let (task, connections) = driven(connection).await;
            for _ in 0..10 {
                assert_eq!((task.is_finished(), connections.get()), (false, 1));
                sleep(PARTING - MOMENT).await;
                moved.notify_one();
                tokio::task::yield_now().await;
            }
            assert_eq!(task.await.unwrap(), Some(()));
            assert_eq!(connections.get(), 0);
        };
        LocalSet::new().run_until(stage).await;
    }
}
