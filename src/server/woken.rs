//! Waiting for something rare beside something busy.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

pin_project! {
    /// A future that is polled when it has asked for it, and not whenever its neighbours in a
    /// `select!` have.
    ///
    /// A connection's task is woken several times for each request; its deadline and the drain, which
    /// happen once if at all, would be asked each time, and their timers and locks cost more than
    /// one bit does.
    pub(super) struct WhenWoken<F> {
        #[pin]
        future: F,
        alarm: Arc<Alarm>,
        waker: Waker,
        woken_for: Option<Waker>,
    }
}

struct Alarm {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F> WhenWoken<F> {
    pub(super) fn new(future: F) -> Self {
        let alarm = Arc::new(Alarm {
            rang: AtomicBool::new(true),
            task: Mutex::new(None),
        });
        Self {
            future,
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            woken_for: None,
        }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let task = cx.waker();
        if !this.woken_for.as_ref().is_some_and(|it| it.will_wake(task)) {
            *this.woken_for = Some(task.clone());
            this.alarm.belong_to(task.clone());
        }
        if !this.alarm.rang.swap(false, AcqRel) {
            return Poll::Pending;
        }
        this.future.poll(&mut Context::from_waker(this.waker))
    }
}

impl Alarm {
    fn belong_to(&self, task: Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        // It may have rung for another task, which does not wait any more.
        self.rang.store(true, Release);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_when_it_asked_and_only_then() {
        let polls = Cell::new(0);
        let mut timer = pin!(sleep(Duration::from_secs(10)));
        let mut rare = pin!(WhenWoken::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            timer.as_mut().poll(cx)
        })));
        for _ in 0..100 {
            tokio::select! {
                biased;
                () = rare.as_mut() => unreachable!("it is not time yet"),
                () = sleep(Duration::from_millis(1)) => {}
            }
        }
        assert_eq!(polls.get(), 1);
        rare.await;
        assert_eq!(polls.get(), 2);
    }
}
