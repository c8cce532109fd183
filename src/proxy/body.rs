//! Bodies on their way through: streamed, never collected.

mod answer;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderName;
use hyper::body::{Body, Frame, SizeHint};
use prometheus::IntCounter;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::expectation::Expectation;
use super::route::Route;
use crate::server::CallerBody;
pub use answer::AnswerBody;

/// The pieces of a body that was kept. Most have one.
pub(super) type Kept = SmallVec<[Bytes; 1]>;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) enum OutgoingBody {
    /// As it comes from the caller.
    Streamed {
        body: CallerBody,
        progress: Option<Rc<Progress>>,
    },
    /// Once more, from what was kept of it.
    Kept(smallvec::IntoIter<[Bytes; 1]>),
}

/// How far a body has come. It tells the wait for the answer whose turn it is: while the caller is
/// still sending, an upstream that is silent is not late, and one that takes nothing more is.
#[derive(Debug)]
pub(super) struct Progress {
    moved_at: Cell<Instant>,
    state: Cell<Sending>,
    /// The field that carries the token.
    token_header: HeaderName,
    /// What has gone out, as long as it is within the limit.
    kept: RefCell<Option<Kept>>,
    room: Cell<usize>,
    /// The caller waits to be asked for it.
    expectation: Option<Expectation>,
    /// How many bytes may still come.
    left: Cell<Option<u64>>,
    bytes: IntCounter,
}

/// What has become of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// More is to come, once the upstream takes it.
    UnderWay,
    /// The upstream would take more, and waits for the caller.
    Awaited,
    /// All of it has gone out.
    Done,
    /// The caller broke it off, or sent what is no HTTP.
    Broken,
    /// It was larger than the route takes.
    TooLarge,
}

/// What is done with a body on its way.
pub(super) struct Handling {
    /// Up to how many bytes are kept, to be sent again.
    pub(super) keep: usize,
    /// How many bytes it may have.
    pub(super) most: Option<u64>,
    /// The caller waits to be asked for it.
    pub(super) expectation: Option<Expectation>,
}

impl OutgoingBody {
    /// Also hands out the body's progress, unless there is nothing to send. The pieces that are kept
    /// are shared with what is sent, not copied.
    pub(super) fn new(
        body: CallerBody,
        handling: Handling,
        route: &Route,
    ) -> (Self, Option<Rc<Progress>>) {
        let Handling {
            keep,
            most,
            expectation,
        } = handling;
        let progress = (!body.is_end_stream()).then(|| {
            Rc::new(Progress {
                moved_at: Cell::new(body.arrived_at()),
                state: Cell::new(Sending::UnderWay),
                token_header: route.settings.token_header.clone(),
                kept: RefCell::new(fits(&body, keep).then(Kept::new)),
                room: Cell::new(keep.saturating_add(COST_OF_A_PIECE)),
                expectation,
                left: Cell::new(most),
                bytes: route.metrics.request_bytes(),
            })
        });
        let body = Self::Streamed {
            body,
            progress: progress.clone(),
        };
        (body, progress)
    }
}

impl Progress {
    /// When the last piece went out; when the request came, if none has.
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
            Sending::UnderWay | Sending::Awaited | Sending::Broken | Sending::TooLarge => None,
        }
    }

    fn count(&self, frame: &Frame<Bytes>) {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.bytes.inc_by(length as u64);
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        let Some(pieces) = kept.as_mut() else { return };
        // Trailers are not kept: a request that has them is not repeated.
        match frame.data_ref() {
            Some(data) if data.len() + COST_OF_A_PIECE <= self.room.get() => {
                self.room
                    .set(self.room.get() - data.len() - COST_OF_A_PIECE);
                pieces.push(data.clone());
            }
            _ => *kept = None,
        }
    }

    /// Whether a piece is within what the route takes.
    fn takes(&self, frame: &Frame<Bytes>) -> bool {
        let (Some(left), Some(data)) = (self.left.get(), frame.data_ref()) else {
            return true;
        };
        let left = left.checked_sub(data.len() as u64);
        self.left.set(left.or(Some(0)));
        left.is_some()
    }

    fn moved(&self, state: Sending) {
        self.moved_at.set(Instant::now());
        self.state.set(state);
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (body, progress) = match &mut *self {
            Self::Streamed { body, progress } => (body, progress),
            Self::Kept(pieces) => {
                return Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece))));
            }
        };
        // To ask the body for a piece is to ask the caller.
        let expectation = progress.as_ref().and_then(|it| it.expectation.as_ref());
        if let Some(expectation) = expectation {
            ready!(expectation.poll_asked(cx));
        }
        let Poll::Ready(mut frame) = Pin::new(&mut *body).poll_frame(cx) else {
            if let Some(progress) = progress {
                progress.state.set(Sending::Awaited);
            }
            return Poll::Pending;
        };
        if let Some(progress) = progress {
            // Some servers merge trailers into the head: the token is not to come twice.
            if let Some(Ok(frame)) = &mut frame
                && let Some(trailers) = frame.trailers_mut()
            {
                trailers.remove(&progress.token_header);
            }
            if let Some(Ok(frame)) = &frame
                && !progress.takes(frame)
            {
                progress.moved(Sending::TooLarge);
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
            progress.moved(match &frame {
                Some(Err(_)) => Sending::Broken,
                // Nothing follows trailers, and nobody asks for what does.
                Some(Ok(frame)) if frame.is_data() && !body.is_end_stream() => Sending::UnderWay,
                _ => Sending::Done,
            });
            if let Some(Ok(frame)) = &frame {
                progress.count(frame);
                progress.keep(frame);
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Caller)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed { body, .. } => body.is_end_stream(),
            Self::Kept(pieces) => pieces.as_slice().is_empty(),
        }
    }

    /// Over HTTP/2 hyper makes a `Content-Length` of it where there is none. The lack of a body is
    /// seen by the end of the stream; whether its length is told is for the caller to say.
    fn size_hint(&self) -> SizeHint {
        match self {
            _ if self.is_end_stream() => SizeHint::default(),
            Self::Streamed { body, .. } => body.size_hint(),
            Self::Kept(pieces) => {
                let length: usize = pieces.as_slice().iter().map(Bytes::len).sum();
                SizeHint::with_exact(length as u64)
            }
        }
    }
}

/// Why a request's body broke off on its way to the upstream.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the caller broke off: {0}")]
    Caller(#[source] hyper::Error),
    #[error("the body is larger than the route takes")]
    TooLarge,
}

/// What keeping a piece costs beside its bytes. Without it a body of many tiny pieces would be kept
/// far beyond the limit.
const COST_OF_A_PIECE: usize = 64;

/// Whether a body may be kept: it is not known to be larger than the limit.
fn fits(body: &CallerBody, limit: usize) -> bool {
    body.size_hint().lower() <= limit as u64
}
