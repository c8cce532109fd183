//! The two bodies of an exchange, and what may follow when HTTP is over.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout};

use super::activity::Activity;
use super::exchange::Exchange;
use super::stream::{Caller, Peer};

/// A caller's connection, as its requests know it. Clones are the same.
#[derive(Clone)]
pub struct CallerConnection(Rc<Known>);

struct Known {
    caller: Caller,
    activity: Arc<Activity>,
    /// What goes on on the connection when HTTP is over.
    tunnel: RefCell<Option<Tunnel>>,
}

type Tunnel = Pin<Box<dyn Future<Output = ()>>>;

impl CallerConnection {
    pub(super) fn new(caller: Caller, activity: Arc<Activity>) -> Self {
        Self(Rc::new(Known {
            caller,
            activity,
            tunnel: RefCell::default(),
        }))
    }

    /// Leaves there what goes on when HTTP is over. It is run when the connection has been handed
    /// over, within the limit of connections and until a drain is forced.
    pub fn open_tunnel(&self, tunnel: impl Future<Output = ()> + 'static) {
        self.0.activity.leave_http1();
        self.0.tunnel.replace(Some(Box::pin(tunnel)));
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0.activity
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> Peer {
        self.0.caller.peer
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.0.tunnel.take()
    }
}

impl fmt::Debug for CallerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerConnection")
            .field("caller", &self.0.caller)
            .finish_non_exhaustive()
    }
}

/// A caller's request body.
#[derive(Debug)]
pub struct CallerBody {
    body: Incoming,
    connection: CallerConnection,
    arrived_at: Instant,
    /// Until the body is over.
    exchange: Option<Exchange>,
}

impl CallerBody {
    pub(super) fn new(
        body: Incoming,
        connection: CallerConnection,
        arrived_at: Instant,
        exchange: Exchange,
    ) -> Self {
        let mut body = Self {
            body,
            connection,
            arrived_at,
            exchange: Some(exchange),
        };
        if body.body.is_end_stream() {
            body.over();
        }
        body
    }

    /// Who sends it.
    pub fn caller(&self) -> Caller {
        self.connection.0.caller
    }

    /// When the request's head was complete.
    pub fn arrived_at(&self) -> Instant {
        self.arrived_at
    }

    /// What it comes by.
    pub fn connection(&self) -> CallerConnection {
        self.connection.clone()
    }

    /// Reads what still comes of a body that nobody wants, for a moment, so that the connection goes on.
    ///
    /// RFC 9112 §9.3: "A server MUST read the entire request message body or close the connection after
    /// sending its response". hyper looks once whether all of it is there and closes otherwise, which the
    /// answer does not say: a caller that sends body and head apart would lose its next request.
    pub fn read_away(mut self) {
        // Over HTTP/2 its stream ends alone.
        if self.exchange.is_none() || !self.connection.activity().is_http1() {
            return;
        }
        let reading = async move {
            let mut left = MOST_READ_AWAY;
            while let Some(Ok(frame)) = self.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        tokio::task::spawn_local(timeout(PATIENCE, reading));
    }

    fn over(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.request_is_over();
        }
    }
}

impl Drop for CallerBody {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.request_is_given_up();
        }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if let Some(exchange) = &self.exchange {
                exchange.request_is_awaited();
            }
            return Poll::Pending;
        };
        if frame.is_none() || self.body.is_end_stream() {
            self.over();
        } else if let Some(exchange) = &self.exchange {
            exchange.request_moved();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A service's response body on its way to the caller.
pub(super) struct AnswerBody<B> {
    body: B,
    exchange: Exchange,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(body: B, exchange: Exchange) -> Self {
        Self { body, exchange }
    }
}

impl<B> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        self.exchange.answer_is_over();
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.exchange.answer_moved();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.exchange.answer_waits();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.withholds_body() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of a body is read away. Whoever has more to send does so on another connection.
const MOST_READ_AWAY: usize = 1 << 20;

/// How long what is read away may take to come.
const PATIENCE: Duration = Duration::from_secs(1);
