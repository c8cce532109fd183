//! What a connection is doing, so that idle and slow ones can be told apart and closed.
//!
//! Between two requests a connection may lie idle for long; once a head has begun to arrive it has
//! to be complete soon; while a request is being answered neither applies, but a caller who takes
//! nothing of the answer is not waited for without end. The state is kept in a few cells, and one
//! timer per connection looks at them now and then, so that a request costs no timer of its own.
//!
//! The cells are atomic although one thread uses them: a stream that is handed over to another
//! protocol has to be one that could change threads, as hyper sees it. Relaxed, they cost what
//! plain ones do.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::Settings;

/// A connection's state.
#[derive(Debug)]
pub(super) struct Activity {
    /// What the others count from.
    opened_at: Instant,
    phase: AtomicU8,
    since: AtomicU64,
    /// Since when the caller has taken nothing of what is there to be written; never, if zero.
    blocked_since: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing of a next request has arrived.
    Idle,
    /// Part of a head has arrived.
    Head,
    /// A request is being answered.
    Busy,
    /// The answer is over, and the request's body is not.
    Leftover,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened_at: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Leftover,
        }
    }

    fn since(&self) -> Instant {
        self.opened_at + Duration::from_nanos(self.since.load(Relaxed))
    }

    fn blocked_since(&self) -> Option<Instant> {
        let nanos = self.blocked_since.load(Relaxed);
        (nanos > 0).then(|| self.opened_at + Duration::from_nanos(nanos))
    }

    /// In nanoseconds since the connection was opened, at least one; enough for five centuries.
    fn now(&self) -> u64 {
        u64::try_from(self.opened_at.elapsed().as_nanos()).map_or(u64::MAX, |nanos| nanos.max(1))
    }

    /// Resolves when the connection has been idle, slow or stalled for longer than it may.
    ///
    /// The phase may change while this sleeps, so it never sleeps longer than the shortest limit:
    /// whatever phase has begun meanwhile is looked at before it can be overdue.
    pub(super) async fn overdue(&self, limits: &Settings) {
        let shortest = limits
            .header_read
            .min(limits.keep_alive)
            .min(limits.stalled);
        loop {
            let now = Instant::now();
            let due = match (self.phase(), self.blocked_since()) {
                (_, Some(blocked_since)) => blocked_since + limits.stalled,
                (Phase::Idle, None) => self.since() + limits.keep_alive,
                (Phase::Head, None) => self.since() + limits.header_read,
                (Phase::Leftover, None) => self.since() + limits.stalled,
                (Phase::Busy, None) => now + shortest,
            };
            if due <= now {
                return;
            }
            sleep_until(due.min(now + shortest)).await;
        }
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.enter(Phase::Busy);
        Exchange(Rc::new(Parts {
            activity: Arc::clone(self),
            open: Cell::new(2),
        }))
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    fn received(&self) {
        match self.phase() {
            Phase::Idle => self.enter(Phase::Head),
            Phase::Leftover => self.enter(Phase::Leftover),
            Phase::Head | Phase::Busy => {}
        }
    }

    fn written<T>(&self, outcome: &Poll<T>) {
        match (outcome, self.blocked_since.load(Relaxed)) {
            (Poll::Pending, 0) => self.blocked_since.store(self.now(), Relaxed),
            (Poll::Ready(_), 1..) => self.blocked_since.store(0, Relaxed),
            _ => {}
        }
    }
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(super) struct Exchange(Rc<Parts>);

#[derive(Debug)]
struct Parts {
    activity: Arc<Activity>,
    /// How many of the two bodies are not over yet.
    open: Cell<u8>,
}

impl Exchange {
    pub(super) fn answer_is_over(&self) {
        self.one_is_over(Phase::Leftover);
    }

    pub(super) fn request_is_over(&self) {
        self.one_is_over(Phase::Busy);
    }

    /// `otherwise` is where the connection is while the other body goes on.
    fn one_is_over(&self, otherwise: Phase) {
        let open = self.0.open.get().saturating_sub(1);
        self.0.open.set(open);
        let phase = if open == 0 { Phase::Idle } else { otherwise };
        if self.0.activity.phase() != phase {
            self.0.activity.enter(phase);
        }
    }
}

/// A socket that notes when something arrives.
pub(super) struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl WatchedStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        outcome
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.written(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.activity.written(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after which the connection was found overdue, while `story` happened to it.
    async fn overdue_after(story: impl AsyncFnOnce(&Arc<Activity>)) -> u128 {
        let limits = Settings {
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            stalled: Duration::from_secs(300),
            ..Settings::default()
        };
        let activity = Arc::new(Activity::new());
        let start = Instant::now();
        tokio::select! {
            () = activity.overdue(&limits) => {}
            () = async {
                story(&activity).await;
                std::future::pending::<()>().await;
            } => {}
        }
        start.elapsed().as_millis()
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_lasts_for_keep_alive() {
        assert_eq!(overdue_after(async |_| ()).await, 60_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_be_complete_soon_after_it_began() {
        let dripping = async |activity: &Arc<Activity>| {
            for _ in 0..100 {
                seconds(3).await;
                activity.received();
            }
        };
        assert_eq!(overdue_after(dripping).await, 13_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_answered_is_never_overdue() {
        let slow_answer = async |activity: &Arc<Activity>| {
            activity.received();
            let exchange = activity.begin();
            exchange.request_is_over();
            seconds(3600).await;
            exchange.answer_is_over();
        };
        assert_eq!(overdue_after(slow_answer).await, 3_660_000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_go_on_after_its_answer() {
        let early_answer = async |activity: &Arc<Activity>| {
            let exchange = activity.begin();
            exchange.answer_is_over();
            for _ in 0..100 {
                seconds(100).await;
                activity.received();
            }
            exchange.request_is_over();
        };
        assert_eq!(overdue_after(early_answer).await, 10_060_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_takes_nothing_of_its_answer_is_overdue() {
        let stalled = async |activity: &Arc<Activity>| {
            let _exchange = activity.begin();
            seconds(100).await;
            activity.written(&Poll::<()>::Pending);
            seconds(200).await;
            activity.written(&Poll::Ready(()));
            activity.written(&Poll::<()>::Pending);
            seconds(1000).await;
        };
        assert_eq!(overdue_after(stalled).await, 600_000);
    }
}
