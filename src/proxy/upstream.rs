//! Connections to one upstream, kept by one worker for its own requests.

mod connect;
mod origin;
mod resolve;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::body::{OutgoingBody, Progress, Sending};
use super::route::{Route, Timeouts};
pub(super) use connect::ConnectError;
pub use origin::{InvalidUpstream, Origin};
use resolve::Resolver;

/// An upstream as one worker sees it.
pub(super) struct Upstream {
    origin: Origin,
    resolver: Resolver,
    timeouts: Timeouts,
    max_idle: usize,
    /// The most recently used at the end. It is taken first, so that the others can grow old.
    idle: RefCell<Vec<Idle>>,
    reaping: Cell<bool>,
    /// Requests that failed by the upstream's fault since the last that did not.
    failures: Cell<u64>,
}

struct Idle {
    sender: SendRequest<OutgoingBody>,
    since: Instant,
}

impl Upstream {
    pub(super) fn new(route: &Route) -> Self {
        Self {
            resolver: Resolver::new(&route.settings.origin),
            origin: route.settings.origin.clone(),
            timeouts: route.settings.timeouts,
            max_idle: route.settings.max_idle_connections,
            idle: RefCell::default(),
            reaping: Cell::new(false),
            failures: Cell::new(0),
        }
    }

    /// Notes a failure and counts it.
    pub(super) fn failed(&self) -> u64 {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        failures
    }

    /// Notes an answer; says how many failures it ends, if any.
    pub(super) fn answered(&self) -> Option<u64> {
        Some(self.failures.take()).filter(|failures| *failures > 0)
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
        let connected = connect::connect(&self.origin, &self.resolver, self.timeouts.connect);
        match connected.await {
            Ok(sender) => Ok(Connection {
                sender,
                was_idle: false,
                upstream: Rc::clone(self),
            }),
            Err(error) => Err(UpstreamError::Connect(error)),
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
        let started = Instant::now();
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let outcome = loop {
            let (deadline, too_late) = deadline(started, progress, timeouts);
            match timeout_at(deadline, answer.as_mut()).await {
                Ok(outcome) => break outcome,
                Err(_) => {
                    if deadline >= self::deadline(started, progress, timeouts).0 {
                        return Err(SendError::Failed(too_late));
                    }
                }
            }
        };
        match outcome {
            Ok(response) => Ok(Answer {
                lease: Lease {
                    // hyper speaks HTTP/1.0 on a connection once that was answered on it, and then
                    // has no way to send a body whose length is not known.
                    reusable: response.version() == Version::HTTP_11,
                    sender: self.sender,
                    upstream: self.upstream,
                },
                response,
            }),
            Err(mut error) => Err(match error.take_message() {
                Some(unsent) if self.was_idle => SendError::NotSent(Box::new(unsent)),
                _ if progress.map(Progress::state) == Some(Sending::Broken) => {
                    SendError::Failed(UpstreamError::RequestBroken)
                }
                _ => {
                    let error = error.into_error();
                    // Closed or reset, as against something that is no HTTP.
                    let closed = error.is_incomplete_message() || is_io(&error);
                    if self.was_idle && closed {
                        SendError::Closed(UpstreamError::Broken(error))
                    } else {
                        SendError::Failed(UpstreamError::Broken(error))
                    }
                }
            }),
        }
    }
}

/// When the head of the answer is due as things are now, and what it means if it is not there. It
/// is not due while the request is still being sent; that has a deadline of its own.
fn deadline(
    started: Instant,
    progress: Option<&Progress>,
    timeouts: Timeouts,
) -> (Instant, UpstreamError) {
    match progress {
        Some(progress) if progress.state() == Sending::UnderWay => (
            progress.moved_at() + timeouts.idle,
            UpstreamError::RequestStalled(timeouts.idle),
        ),
        _ => (
            progress.map_or(started, |progress| progress.moved_at().max(started))
                + timeouts.response_head,
            UpstreamError::HeadTimeout(timeouts.response_head),
        ),
    }
}

/// The claim of a response's body to the connection that it comes from.
pub(super) struct Lease {
    reusable: bool,
    sender: SendRequest<OutgoingBody>,
    upstream: Rc<Upstream>,
}

impl Lease {
    /// Leaves the connection to later requests. The answer must have been read to its end.
    pub(super) fn give_back(self) {
        let Self {
            reusable,
            mut sender,
            upstream,
        } = self;
        if !reusable {
            return;
        }
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
    /// The connection had lain idle and was closed before an answer came.
    Closed(UpstreamError),
    /// Anything else.
    Failed(UpstreamError),
}

/// Why there is no answer from an upstream, as the rest of a sentence that begins with the upstream
/// or, where it is at fault, the request.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection could be made.
    #[error("cannot be reached: {0}")]
    Connect(#[source] ConnectError),
    /// The answer did not begin in time.
    #[error("took the request and did not begin to answer within {0:?}")]
    HeadTimeout(Duration),
    /// The caller stopped sending, or the upstream stopped taking.
    #[error("did not go on: its body did not move for {0:?}")]
    RequestStalled(Duration),
    /// The caller broke off, or its body is not HTTP.
    #[error("broke off or is not HTTP in its body")]
    RequestBroken,
    /// The connection failed or what came was not HTTP.
    #[error("gave no usable answer: {}", with_cause(.0))]
    Broken(#[source] hyper::Error),
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// hyper's own words say in which layer it happened; those of its source say what.
fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// How long a connection whose answer is over may take to become ready for the next request.
const SETTLING: Duration = Duration::from_secs(1);
