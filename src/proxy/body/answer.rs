//! The body of an answer on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::metrics::InFlight;
use crate::proxy::upstream::Lease;

/// The body of what a caller gets. Dropping it ends the request and records its outcome.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
enum Source {
    Forwarded(Forwarded),
    Own(Bytes),
    /// Nothing more comes. Holds why, until the server has been told.
    BrokenOff(Option<AnswerError>),
}

impl AnswerBody {
    /// An upstream's body. `idle` is how long the upstream may pause; `end` is when all has to be
    /// over.
    pub(in crate::proxy) fn forwarded(
        body: Incoming,
        lease: Lease,
        idle: Duration,
        end: Option<Instant>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            source: Source::Forwarded(Forwarded {
                body,
                lease: Some(lease),
                idle,
                deadline: None,
                end: end.map(|end| Box::pin(sleep_until(end))),
            }),
            in_flight: Some(in_flight),
        }
    }

    /// A body of gatepass's own.
    pub(in crate::proxy) fn own(body: Bytes, in_flight: InFlight) -> Self {
        Self {
            source: Source::Own(body),
            in_flight: Some(in_flight),
        }
    }

    /// No body, of an answer that is not the end of its request.
    pub(in crate::proxy) fn nothing() -> Self {
        Self {
            source: Source::Own(Bytes::new()),
            in_flight: None,
        }
    }

    /// Tells the server only when it has had a turn to send what it has got.
    ///
    /// hyper ends the connection, and resets the stream, as soon as a body fails, and throws away
    /// what it has not sent by then. When head and failure come together, the head would go as
    /// well: the caller had no byte, and some send their request again on that.
    fn break_off<T>(&mut self, error: AnswerError, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(in_flight) = &self.in_flight {
            in_flight.broken();
        }
        self.source = Source::BrokenOff(Some(error));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A server that has sent as many bytes as the length promised does not ask for the end, so the
/// connection of a complete body is given back here. That of an incomplete one is dropped with the
/// lease, which closes it: what is left of the body must not be taken for the next answer.
impl Drop for AnswerBody {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Source::Forwarded(forwarded) = &mut self.source
            && forwarded.body.is_end_stream()
        {
            forwarded.give_connection_back(now);
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.ends(now);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        match &mut this.source {
            Source::Forwarded(forwarded) => {
                let frame = match ready!(forwarded.poll_frame(cx)) {
                    Some(Err(error)) => return this.break_off(error, cx),
                    frame => frame,
                };
                if let (Some(Ok(frame)), Some(in_flight)) = (&frame, &this.in_flight) {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    in_flight.answer_bytes().inc_by(length as u64);
                }
                Poll::Ready(frame)
            }
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::BrokenOff(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Forwarded(forwarded) => forwarded.body.is_end_stream(),
            Source::Own(bytes) => bytes.is_empty(),
            Source::BrokenOff(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Forwarded(forwarded) => forwarded.body.size_hint(),
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::BrokenOff(_) => SizeHint::default(),
        }
    }
}

/// An upstream's body with the connection that it comes from.
#[derive(Debug)]
struct Forwarded {
    body: Incoming,
    lease: Option<Lease>,
    idle: Duration,
    /// Made only when the upstream pauses, so that a body that is there at once costs no timer.
    deadline: Option<Pin<Box<Sleep>>>,
    end: Option<Pin<Box<Sleep>>>,
}

impl Forwarded {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(AnswerError::TooLong)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let idle = self.idle;
            let deadline = self
                .deadline
                .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(AnswerError::Idle(idle))));
        };
        self.deadline = None;
        match frame {
            Some(frame) => Poll::Ready(Some(frame.map_err(AnswerError::Upstream))),
            None => {
                self.give_connection_back(Instant::now());
                Poll::Ready(None)
            }
        }
    }

    fn give_connection_back(&mut self, now: Instant) {
        if let Some(lease) = self.lease.take() {
            lease.give_back(now);
        }
    }
}

/// Why a body broke off after its head had been sent. The caller sees the connection end before
/// the body does; there is no other way to tell it.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The upstream's connection failed.
    #[error("the upstream broke off: {0}")]
    Upstream(#[source] hyper::Error),
    /// The upstream fell silent.
    #[error("the upstream sent nothing for {0:?}")]
    Idle(Duration),
    /// The request as a whole took too long.
    #[error("the answer was not over in the time that timeouts.request allows")]
    TooLong,
}
