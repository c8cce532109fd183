//! Bodies on their way through: streamed, never collected.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::expectation::Expectation;
use super::metrics::InFlight;
use super::upstream::Lease;
use crate::server::CallerBody;

/// The pieces of a body that was kept.
pub(super) type Kept = VecDeque<Bytes>;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) enum OutgoingBody {
    /// As it comes from the caller.
    Streamed {
        body: CallerBody,
        progress: Option<Rc<Progress>>,
        /// The caller waits to be asked for it.
        expectation: Option<Expectation>,
    },
    /// Once more, from what was kept of it.
    Kept(Kept),
}

/// How far a body has come. It tells the wait for the answer whose turn it is: while the caller is
/// still sending, an upstream that is silent is not late.
#[derive(Debug)]
pub(super) struct Progress {
    moved_at: Cell<Instant>,
    state: Cell<Sending>,
    /// The field that carries the token.
    token_header: HeaderName,
    /// What has gone out, as long as it is within the limit.
    kept: RefCell<Option<Kept>>,
    room: Cell<usize>,
}

/// What has become of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// More is to come.
    UnderWay,
    /// All of it has gone out.
    Done,
    /// The caller broke it off, or sent what is no HTTP.
    Broken,
}

impl OutgoingBody {
    /// Also hands out the body's progress, unless there is nothing to send. Up to `keep` bytes are
    /// kept; the pieces are shared with what is sent, not copied.
    pub(super) fn new(
        body: CallerBody,
        keep: usize,
        token_header: &HeaderName,
        expectation: Option<Expectation>,
    ) -> (Self, Option<Rc<Progress>>) {
        let progress = (!body.is_end_stream()).then(|| {
            Rc::new(Progress {
                moved_at: Cell::new(Instant::now()),
                state: Cell::new(Sending::UnderWay),
                token_header: token_header.clone(),
                kept: RefCell::new(fits(&body, keep).then(Kept::new)),
                room: Cell::new(keep.saturating_add(COST_OF_A_PIECE)),
            })
        });
        let body = Self::Streamed {
            body,
            progress: progress.clone(),
            expectation,
        };
        (body, progress)
    }
}

impl Progress {
    /// When the last piece went out.
    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    pub(super) fn state(&self) -> Sending {
        self.state.get()
    }

    /// The whole body, if all of it has gone out and was small enough to be kept.
    pub(super) fn kept(&self) -> Option<Kept> {
        match self.state.get() {
            Sending::Done => self.kept.borrow().clone(),
            Sending::UnderWay | Sending::Broken => None,
        }
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        let Some(pieces) = kept.as_mut() else { return };
        // Trailers are not kept: a request that has them is not repeated.
        match frame.data_ref() {
            Some(data) if data.len() + COST_OF_A_PIECE <= self.room.get() => {
                self.room
                    .set(self.room.get() - data.len() - COST_OF_A_PIECE);
                pieces.push_back(data.clone());
            }
            _ => *kept = None,
        }
    }

    fn moved(&self, state: Sending) {
        self.moved_at.set(Instant::now());
        self.state.set(state);
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (body, progress) = match &mut *self {
            Self::Streamed {
                body,
                progress,
                expectation,
            } => {
                // To ask the body for a piece is to ask the caller.
                if let Some(expectation) = expectation {
                    ready!(expectation.poll_asked(cx));
                }
                (body, progress)
            }
            Self::Kept(pieces) => {
                return Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece))));
            }
        };
        let mut frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if let Some(progress) = progress {
            // Some servers merge trailers into the head: the token is not to come twice.
            if let Some(Ok(frame)) = &mut frame
                && let Some(trailers) = frame.trailers_mut()
            {
                trailers.remove(&progress.token_header);
            }
            progress.moved(match &frame {
                Some(Err(_)) => Sending::Broken,
                Some(Ok(_)) if !body.is_end_stream() => Sending::UnderWay,
                _ => Sending::Done,
            });
            if let Some(Ok(frame)) = &frame {
                progress.keep(frame);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed { body, .. } => body.is_end_stream(),
            Self::Kept(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed { body, .. } => body.size_hint(),
            Self::Kept(pieces) => {
                let length: usize = pieces.iter().map(Bytes::len).sum();
                SizeHint::with_exact(length as u64)
            }
        }
    }
}

/// What keeping a piece costs beside its bytes. Without it a body of many tiny pieces would be kept
/// far beyond the limit.
const COST_OF_A_PIECE: usize = 64;

/// Whether a body may be kept: it is not known to be larger than the limit.
fn fits(body: &CallerBody, limit: usize) -> bool {
    body.size_hint().lower() <= limit as u64
}

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
}

impl AnswerBody {
    /// An upstream's body. `idle` is how long the upstream may pause.
    pub(super) fn forwarded(
        body: Incoming,
        lease: Lease,
        idle: Duration,
        in_flight: InFlight,
    ) -> Self {
        Self {
            source: Source::Forwarded(Forwarded {
                body,
                lease: Some(lease),
                idle,
                deadline: None,
            }),
            in_flight: Some(in_flight),
        }
    }

    /// A body of gatepass's own.
    pub(super) fn own(body: Bytes, in_flight: InFlight) -> Self {
        Self {
            source: Source::Own(body),
            in_flight: Some(in_flight),
        }
    }

    /// No body, of an answer that is not the end of its request.
    pub(super) fn nothing() -> Self {
        Self {
            source: Source::Own(Bytes::new()),
            in_flight: None,
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
                let frame = ready!(forwarded.poll_frame(cx));
                if let (Some(Err(_)), Some(in_flight)) = (&frame, &this.in_flight) {
                    in_flight.broken();
                }
                Poll::Ready(frame)
            }
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Forwarded(forwarded) => forwarded.body.is_end_stream(),
            Source::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Forwarded(forwarded) => forwarded.body.size_hint(),
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
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
}

impl Forwarded {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
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
                self.give_connection_back();
                Poll::Ready(None)
            }
        }
    }

    fn give_connection_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

/// A server that has sent as many bytes as the length promised does not ask for the end, so the
/// connection of a complete body is given back here. That of an incomplete one is dropped with the
/// lease, which closes it: what is left of the body must not be taken for the next answer.
impl Drop for Forwarded {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.give_connection_back();
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
}
