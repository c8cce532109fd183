//! Connections to one upstream, kept by one worker for its own requests.

mod connect;
mod origin;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::body::{OutgoingBody, Progress};
use super::route::{Route, Timeouts};
pub(super) use connect::ConnectError;
pub use origin::{InvalidUpstream, Origin};

/// An upstream as one worker sees it.
pub(super) struct Upstream {
    origin: Origin,
    timeouts: Timeouts,
    max_idle: usize,
    /// The most recently used at the end. It is taken first, so that the others can grow old.
    idle: RefCell<Vec<Idle>>,
    reaping: Cell<bool>,
}

struct Idle {
    sender: SendRequest<OutgoingBody>,
    since: Instant,
}

impl Upstream {
    pub(super) fn new(route: &Route) -> Self {
        Self {
            origin: route.settings.origin.clone(),
            timeouts: route.settings.timeouts,
            max_idle: route.settings.max_idle_connections,
            idle: RefCell::default(),
            reaping: Cell::new(false),
        }
    }

    /// A connection that an earlier request has left, if there is one that still looks alive.
    pub(super) fn idle_connection(self: &Rc<Self>, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { sender, since }) = idle.pop() {
            let fresh = now.saturating_duration_since(since) < self.timeouts.keep_alive;
            if fresh && sender.is_ready() {
                return Some(Connection {
                    sender,
                    was_idle: true,
                    upstream: Rc::clone(self),
                });
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Connection, UpstreamError> {
        let limit = self.timeouts.connect;
        match timeout(limit, connect::connect(&self.origin)).await {
            Ok(Ok(sender)) => Ok(Connection {
                sender,
                was_idle: false,
                upstream: Rc::clone(self),
            }),
            Ok(Err(error)) => Err(UpstreamError::Connect(error)),
            Err(_) => Err(UpstreamError::ConnectTimeout(limit)),
        }
    }

    fn keep(self: &Rc<Self>, sender: SendRequest<OutgoingBody>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.max_idle || sender.is_closed() {
            return;
        }
        let since = Instant::now();
        idle.push(Idle { sender, since });
        if !self.reaping.replace(true) {
            tokio::task::spawn_local(reap(Rc::downgrade(self), self.timeouts.keep_alive));
        }
    }
}

/// Closes idle connections when their time is over, and ends when none are left.
async fn reap(upstream: Weak<Upstream>, keep_alive: Duration) {
    loop {
        let Some(oldest) = upstream.upgrade().and_then(|upstream| {
            let oldest = upstream.idle.borrow().first().map(|idle| idle.since);
            upstream.reaping.set(oldest.is_some());
            oldest
        }) else {
            return;
        };
        sleep_until(oldest + keep_alive).await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut idle = upstream.idle.borrow_mut();
        idle.retain(|idle| idle.since + keep_alive > now && !idle.sender.is_closed());
    }
}

/// A connection that can take a request.
pub(super) struct Connection {
    sender: SendRequest<OutgoingBody>,
    was_idle: bool,
    upstream: Rc<Upstream>,
}

/// The head of an upstream's answer, its body to come, and the connection that it comes from.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
}

impl Connection {
    /// Sends a request and waits for the head of the answer. The body is sent meanwhile and may go
    /// on being sent after it.
    pub(super) async fn send(
        mut self,
        request: Request<OutgoingBody>,
        progress: Option<&Progress>,
    ) -> Result<Answer, SendError> {
        let timeouts = self.upstream.timeouts;
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let mut deadline = Instant::now() + timeouts.response_head;
        let outcome = loop {
            match timeout_at(deadline, answer.as_mut()).await {
                Ok(outcome) => break outcome,
                Err(_) => deadline = later_deadline(progress, timeouts, deadline)?,
            }
        };
        match outcome {
            Ok(response) => Ok(Answer {
                response,
                lease: Lease {
                    sender: self.sender,
                    upstream: self.upstream,
                },
            }),
            Err(mut error) => Err(match error.take_message() {
                Some(unsent) if self.was_idle => SendError::NotSent(Box::new(unsent)),
                _ => SendError::Failed(UpstreamError::Broken(error.into_error())),
            }),
        }
    }
}

/// The deadline for the head of the answer has passed: is there a later one, because the request
/// was still being sent?
fn later_deadline(
    progress: Option<&Progress>,
    timeouts: Timeouts,
    passed: Instant,
) -> Result<Instant, SendError> {
    let (later, error) = match progress.map(Progress::state) {
        None => (passed, UpstreamError::HeadTimeout(timeouts.response_head)),
        Some((moved_at, false)) => (
            moved_at + timeouts.response_head,
            UpstreamError::HeadTimeout(timeouts.response_head),
        ),
        Some((moved_at, true)) => (
            moved_at + timeouts.idle,
            UpstreamError::RequestStalled(timeouts.idle),
        ),
    };
    if later > passed {
        Ok(later)
    } else {
        Err(SendError::Failed(error))
    }
}

/// The claim of a response's body to the connection that it comes from.
pub(super) struct Lease {
    sender: SendRequest<OutgoingBody>,
    upstream: Rc<Upstream>,
}

impl Lease {
    /// Leaves the connection to later requests. The answer must have been read to its end.
    pub(super) fn give_back(self) {
        let Self {
            mut sender,
            upstream,
        } = self;
        if sender.is_ready() {
            return upstream.keep(sender);
        }
        // The connection's own task has yet to see that the answer is over, or the request is
        // still being sent.
        tokio::task::spawn_local(async move {
            if let Ok(Ok(())) = timeout(SETTLING, sender.ready()).await {
                upstream.keep(sender);
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
pub(super) enum SendError {
    /// The connection had lain idle and turned out to be dead before anything was sent on it.
    NotSent(Box<Request<OutgoingBody>>),
    /// Anything else.
    Failed(UpstreamError),
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection could be made.
    #[error("cannot be reached: {0}")]
    Connect(#[source] ConnectError),
    /// No connection was made in time.
    #[error("cannot be reached: no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The answer did not begin in time.
    #[error("took the request and did not begin to answer within {0:?}")]
    HeadTimeout(Duration),
    /// The request's body stopped moving.
    #[error("was not sent the whole request: its body did not move for {0:?}")]
    RequestStalled(Duration),
    /// The connection failed or what came was not HTTP.
    #[error("gave no usable answer: {}", innermost(.0))]
    Broken(#[source] hyper::Error),
}

/// hyper's own words say in which layer it happened; the innermost say what.
fn innermost(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// How long a connection whose answer is over may take to become ready for the next request.
const SETTLING: Duration = Duration::from_secs(1);
