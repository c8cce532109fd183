//! The turns of an HTTP/2 connection to an upstream.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use hyper::rt::Executor;
use tokio::io::AsyncWrite;

use super::held::Counted;
use crate::gathering::Batch;
use crate::runtime::spawn;

/// Runs what hyper hands over for a connection, and sends what was written after each turn of the
/// connection's own task. hyper hands that over before anything else; the others are at work on single
/// streams, write nothing, and may be gone when the kernel takes more.
pub(super) struct Turns<T> {
    batch: Batch<T>,
    /// For the connection's own task, until that has begun.
    counted: Rc<Cell<Option<Rc<Counted>>>>,
}

impl<T> Turns<T> {
    pub(super) fn of(batch: &Batch<T>, counted: Rc<Counted>) -> Self {
        Self {
            batch: batch.clone(),
            counted: Rc::new(Cell::new(Some(counted))),
        }
    }
}

impl<T> Clone for Turns<T> {
    fn clone(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            counted: Rc::clone(&self.counted),
        }
    }
}

impl<F, T> Executor<F> for Turns<T>
where
    F: Future<Output = ()> + 'static,
    T: AsyncWrite + Unpin + 'static,
{
    fn execute(&self, task: F) {
        let Some(counted) = self.counted.take() else {
            spawn(task);
            return;
        };
        let batch = self.batch.clone();
        spawn(async move {
            let mut connection = pin!(task);
            let turns = pin!(poll_fn(|cx| {
                let outcome = connection.as_mut().poll(cx);
                batch.send(cx);
                outcome
            }));
            counted.drive(turns).await;
        });
    }
}
