//! What a connection is doing, so that idle and slow ones can be told apart and closed.
//!
//! Between two requests a connection may lie idle for long; once a head has begun to arrive it has
//! to be complete soon; while a request is being answered neither applies. The state is kept in
//! two plain cells, and one timer per connection looks at them now and then, so that a request
//! costs no timer of its own.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// A connection's state.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Cell<Phase>,
    since: Cell<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a next request has arrived.
    Idle,
    /// Part of a head has arrived.
    Head,
    /// A request is being answered.
    Busy,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
        }
    }

    /// Resolves when the connection has been idle for `keep_alive`, or has been sending a head for
    /// `header_read`.
    ///
    /// The phase may change while this sleeps, so it never sleeps longer than the shorter of the
    /// two: whatever phase has begun meanwhile is looked at before it can be overdue.
    pub(super) async fn overdue(&self, header_read: Duration, keep_alive: Duration) {
        let longest_sleep = header_read.min(keep_alive);
        loop {
            let now = Instant::now();
            let due = match self.phase.get() {
                Phase::Idle => self.since.get() + keep_alive,
                Phase::Head => self.since.get() + header_read,
                Phase::Busy => now + longest_sleep,
            };
            if due <= now {
                return;
            }
            sleep_until(due.min(now + longest_sleep)).await;
        }
    }

    /// A request's head is complete.
    pub(super) fn answering(&self) {
        self.enter(Phase::Busy);
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    fn received(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }
}

/// A socket that notes when something arrives.
pub(super) struct WatchedStream {
    stream: TcpStream,
    activity: Rc<Activity>,
}

impl WatchedStream {
    pub(super) fn new(stream: TcpStream, activity: Rc<Activity>) -> Self {
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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

/// A response body that marks the connection idle when it has been sent or dropped.
pub(super) struct MarkingBody<B> {
    body: B,
    activity: Rc<Activity>,
}

impl<B> MarkingBody<B> {
    pub(super) fn new(body: B, activity: Rc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B> Drop for MarkingBody<B> {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}

impl<B: Body + Unpin> Body for MarkingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_READ: Duration = Duration::from_secs(10);
    const KEEP_ALIVE: Duration = Duration::from_secs(60);
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Seconds after which the connection was found overdue, while `story` happened to it.
    async fn overdue_after(story: impl AsyncFnOnce(&Activity)) -> u64 {
        let activity = Activity::new();
        let start = Instant::now();
        tokio::select! {
            () = activity.overdue(HEADER_READ, KEEP_ALIVE) => {}
            () = async {
                story(&activity).await;
                std::future::pending::<()>().await;
            } => {}
        }
        (start.elapsed() - MILLISECOND).as_secs()
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_lasts_for_keep_alive() {
        assert_eq!(overdue_after(async |_| ()).await, 59);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_be_complete_soon_after_it_began() {
        let dripping = async |activity: &Activity| {
            for _ in 0..100 {
                seconds(3).await;
                activity.received();
            }
        };
        let found = overdue_after(dripping).await;
        assert_eq!(found, 12, "3 s of silence and 10 s for the head");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_answered_is_never_overdue() {
        let slow_answer = async |activity: &Activity| {
            activity.received();
            activity.answering();
            seconds(3600).await;
            activity.enter(Phase::Idle);
        };
        assert_eq!(overdue_after(slow_answer).await, 3659);
    }
}
