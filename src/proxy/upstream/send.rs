//! One request over one connection.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::either::Either;

use super::connect_error::ConnectError;
use super::ending::End;
use super::idle::Kept;
use super::shared::Place;
use super::{Upstream, http2};
use crate::proxy::body::{OutgoingBody, Progress, Sending};
use crate::proxy::route::Timeouts;
use crate::runtime::spawn;
use crate::wording::without_pages;

/// A connection that can take a request.
pub(in crate::proxy) struct Connection {
    carrier: Carrier,
    /// Whether it has been open for a while, and may have been closed meanwhile.
    was_open: bool,
    upstream: Rc<Upstream>,
}

/// What carries the request.
pub(super) enum Carrier {
    /// An HTTP/1.1 connection, by itself.
    Alone(Box<Kept>),
    /// An HTTP/2 connection, with others.
    Shared(Place),
}

impl Carrier {
    /// What wakes a request whose answer is late.
    fn timer(&mut self) -> &mut Pin<Box<Sleep>> {
        match self {
            Self::Alone(kept) => &mut kept.timer,
            Self::Shared(place) => &mut place.timer,
        }
    }
}

/// The head of an upstream's answer, its body to come, and the connection that it comes from.
pub(in crate::proxy) struct Answer {
    pub(in crate::proxy) response: Response<Incoming>,
    pub(in crate::proxy) lease: Lease,
}

impl Connection {
    pub(super) fn new(carrier: Carrier, was_open: bool, upstream: Rc<Upstream>) -> Self {
        Self {
            carrier,
            was_open,
            upstream,
        }
    }

    /// Sends a request at `now` and waits for the head of the answer. The body is sent meanwhile and
    /// may go on being sent after it.
    pub(in crate::proxy) async fn send(
        mut self,
        mut request: Box<Request<OutgoingBody>>,
        now: Instant,
        progress: Option<&Progress>,
    ) -> Result<Answer, SendError> {
        let timeouts = self.upstream.timeouts;
        let answer = match &mut self.carrier {
            Carrier::Alone(kept) => {
                if !self.was_open {
                    ask_to_keep(request.headers_mut());
                }
                Either::Left(kept.sender.try_send_request(*request))
            }
            Carrier::Shared(place) => {
                http2::dress(&mut request, &self.upstream.origin);
                Either::Right(place.sender().try_send_request(*request))
            }
        };
        let mut answer = std::pin::pin!(answer);
        let mut look_at = now + timeouts.response_head.min(timeouts.idle);
        let outcome = loop {
            let timer = self.carrier.timer();
            timer.as_mut().reset(look_at);
            tokio::select! {
                biased;
                outcome = answer.as_mut() => break outcome,
                () = timer => {
                    let (due, too_late) = deadline(now, progress, timeouts);
                    if due <= look_at {
                        return Err(self.late(too_late, now));
                    }
                    // Nobody is woken when all of the request has been sent, and another time counts.
                    look_at = due.min(look_at + timeouts.response_head);
                }
            }
        };
        match outcome {
            Ok(response) => Ok(Answer {
                lease: Lease {
                    // hyper speaks HTTP/1.0 on a connection once that was answered on it, and then
                    // has no way to send a body whose length is not known.
                    reusable: response.version() >= Version::HTTP_11,
                    carrier: self.carrier,
                    upstream: self.upstream,
                },
                response,
            }),
            Err(mut error) => {
                let unsent = error.take_message();
                Err(self.failure(error.into_error(), unsent, now, progress))
            }
        }
    }

    /// Lets no other request follow this one: the upstream may have vanished, or has taken its
    /// leave.
    fn retire(&self) {
        if let Carrier::Shared(place) = &self.carrier {
            place.retire();
        }
    }

    /// Lets none follow over the connections either that have waited since before this request began:
    /// what has become of its own, as when a machine was started anew or somebody on the way has
    /// forgotten it, has become of them, and each would cost a request.
    fn condemn(&self, began: Instant) {
        self.retire();
        if self.was_open && matches!(self.carrier, Carrier::Alone(_)) {
            self.upstream.idle.forget_since_before(began);
        }
    }

    fn late(&self, error: UpstreamError, began: Instant) -> SendError {
        if !matches!(error, UpstreamError::RequestStalled(_)) {
            self.condemn(began);
        }
        SendError::Failed(error)
    }

    /// Lets the next connection go elsewhere if this one is new, and was closed before it had answered
    /// anything. Over HTTP/2 it has said how many requests it takes.
    fn doubt(&self) {
        if let Carrier::Alone(kept) = &self.carrier
            && !self.was_open
            && let Some(address) = kept.held.address()
        {
            self.upstream.connector.doubt(address);
        }
    }

    fn failure(
        &self,
        error: hyper::Error,
        unsent: Option<Request<OutgoingBody>>,
        began: Instant,
        progress: Option<&Progress>,
    ) -> SendError {
        if let Some(mut request) = unsent {
            let error = UpstreamError::Broken(error);
            if let Carrier::Shared(place) = &self.carrier {
                place.retire();
                http2::undress(&mut request);
                return SendError::Left {
                    request: Some(Box::new(request)),
                    error,
                };
            }
            self.doubt();
            return SendError::Unsent {
                request: Box::new(request),
                was_open: self.was_open,
                error,
            };
        }
        match progress.map(Progress::state) {
            Some(Sending::Broken) => return SendError::Failed(UpstreamError::RequestBroken),
            Some(Sending::TooLarge) => return SendError::Failed(UpstreamError::RequestTooLarge),
            Some(Sending::UnderWay | Sending::Awaited | Sending::Done) | None => {}
        }
        match End::of(&error) {
            End::NotProcessed => {
                self.retire();
                SendError::Refused(UpstreamError::Broken(error))
            }
            End::Left => {
                self.retire();
                SendError::Left {
                    request: None,
                    error: UpstreamError::Broken(error),
                }
            }
            End::Vanished => {
                self.condemn(began);
                self.doubt();
                SendError::Closed(UpstreamError::Broken(error))
            }
            End::Closed => {
                self.retire();
                self.doubt();
                SendError::Closed(UpstreamError::Broken(error))
            }
            End::Otherwise => SendError::Failed(UpstreamError::Broken(error)),
        }
    }
}

/// Apache and Tomcat tell how long they keep a connection only those who ask for it, as all had to in
/// HTTP/1.0 (RFC 9112 §C.2.2). To ask by the first request is enough: it holds for the connection.
fn ask_to_keep(headers: &mut HeaderMap) {
    let asked = headers.entry(CONNECTION);
    asked.or_insert(HeaderValue::from_static("keep-alive"));
}

/// When the head of the answer is due as things are now, and what it means if it is not there. It
/// is not due while the request is still being sent; that has a deadline of its own, and whoever is
/// waited for has missed it.
fn deadline(
    started: Instant,
    progress: Option<&Progress>,
    timeouts: Timeouts,
) -> (Instant, UpstreamError) {
    let moved_at = progress.map_or(started, |progress| progress.moved_at().max(started));
    match progress.map(Progress::state) {
        Some(Sending::Awaited) => (
            moved_at + timeouts.idle,
            UpstreamError::RequestStalled(timeouts.idle),
        ),
        Some(Sending::UnderWay) => (
            moved_at + timeouts.idle,
            UpstreamError::NotTaken(timeouts.idle),
        ),
        _ => (
            moved_at + timeouts.response_head,
            UpstreamError::HeadTimeout(timeouts.response_head),
        ),
    }
}

/// The claim of a response's body to the connection that it comes from.
pub(in crate::proxy) struct Lease {
    reusable: bool,
    carrier: Carrier,
    upstream: Rc<Upstream>,
}

impl Lease {
    /// The upstream says that it closes the connection when it has not been used for so long.
    pub(in crate::proxy) fn heed(&mut self, announced: Duration) {
        if let Carrier::Alone(kept) = &mut self.carrier {
            kept.heed(announced);
        }
    }

    /// Leaves the connection to later requests. The answer must have been read to its end.
    pub(in crate::proxy) fn give_back(self, now: Instant) {
        let Self {
            reusable,
            carrier,
            upstream,
        } = self;
        // Of a connection with others on it, only the place is given back.
        let Carrier::Alone(mut kept) = carrier else {
            return;
        };
        if !reusable {
            return;
        }
        if kept.sender.is_ready() {
            return upstream.idle.keep(kept, now);
        }
        // The connection's own task has yet to see that the answer is over, or the request is
        // still being sent.
        spawn(async move {
            match timeout(SETTLING, kept.sender.ready()).await {
                Ok(Ok(())) => upstream.idle.keep(kept, Instant::now()),
                Ok(Err(_)) => {}
                Err(_) => kept.held.allow(upstream.timeouts.idle),
            }
        });
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

/// A request that got no answer.
pub(in crate::proxy) enum SendError {
    /// Nothing of it was sent, because its own connection was closed.
    Unsent {
        request: Box<Request<OutgoingBody>>,
        /// Whether the connection had been open for a while.
        was_open: bool,
        error: UpstreamError,
    },
    /// The upstream says that it has not looked at it.
    Refused(UpstreamError),
    /// It says so because it leaves the connection that many share, or had left it before the request
    /// was sent, which is at hand then.
    Left {
        request: Option<Box<Request<OutgoingBody>>>,
        error: UpstreamError,
    },
    /// The connection was closed before an answer came, and what became of it nobody knows.
    Closed(UpstreamError),
    /// Anything else.
    Failed(UpstreamError),
}

/// Why there is no answer from an upstream, as the rest of a sentence that begins with the upstream
/// or, where it is at fault, the request.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum UpstreamError {
    /// No connection could be made.
    #[error("cannot be reached: {0}")]
    Connect(#[source] ConnectError),
    /// The answer did not begin in time.
    #[error("took the request and did not begin to answer within {0:?}")]
    HeadTimeout(Duration),
    /// The upstream stopped taking what the caller has to send.
    #[error("took a part of the request and then nothing for {0:?}")]
    NotTaken(Duration),
    /// The caller stopped sending.
    #[error("did not go on: its body did not move for {0:?}")]
    RequestStalled(Duration),
    /// The caller broke off, or its body is not HTTP.
    #[error("broke off or is not HTTP in its body")]
    RequestBroken,
    /// The body is larger than the route takes.
    #[error("has a larger body than max_body allows")]
    RequestTooLarge,
    /// The connection failed or what came was not HTTP.
    #[error("gave no usable answer: {}", with_cause(.0))]
    Broken(#[source] hyper::Error),
}

/// hyper's own words say in which layer it happened; those of its source say what.
fn with_cause(error: &hyper::Error) -> String {
    match Error::source(error) {
        Some(source) => format!("{error}: {}", without_pages(source)),
        None => error.to_string(),
    }
}

/// How long a connection whose answer is over may take to become ready for the next request.
const SETTLING: Duration = Duration::from_secs(1);
