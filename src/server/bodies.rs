//! The two bodies of an exchange, and what may follow when HTTP is over.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout};

use super::activity::Activity;
use super::exchange::Exchange;
use super::stream::{Caller, Peer};
use crate::runtime::spawn;

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
///
/// If it is dropped before its end, what still comes of it is read for a moment and thrown away, so that
/// the connection goes on.
///
/// RFC 9112 §9.3: "A server MUST read the entire request message body or close the connection after
/// sending its response". hyper looks once whether all of it is there and closes otherwise, which the
/// answer does not say: a caller that sends body and head apart would lose its next request.
#[derive(Debug)]
pub struct CallerBody {
    connection: CallerConnection,
    arrived_at: Instant,
    /// Whether the caller waits to be asked for it; whoever reads it asks.
    is_held_back: bool,
    /// Until it is over.
    rest: Option<Rest>,
}

/// What still comes of a body.
#[derive(Debug)]
struct Rest {
    body: Incoming,
    exchange: Exchange,
}

impl CallerBody {
    pub(super) fn new(
        body: Incoming,
        connection: CallerConnection,
        arrived_at: Instant,
        is_held_back: bool,
        exchange: Exchange,
    ) -> Self {
        let is_over = body.is_end_stream();
        let mut body = Self {
            connection,
            arrived_at,
            is_held_back,
            rest: Some(Rest { body, exchange }),
        };
        if is_over {
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

    fn over(&mut self) {
        if let Some(rest) = self.rest.take() {
            rest.exchange.request_is_over();
        }
    }
}

impl Drop for CallerBody {
    fn drop(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        // Over HTTP/2 its stream ends alone.
        let is_in_the_way = self.connection.activity().is_http1();
        match is_in_the_way && !self.is_held_back && rest.is_small() {
            true => drop(spawn(rest.read_away())),
            false => rest.exchange.request_is_given_up(),
        }
    }
}

impl Rest {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            self.exchange.request_is_awaited();
        }
        polled
    }

    /// Whether it is not known to be more than is read away.
    fn is_small(&self) -> bool {
        self.body.size_hint().lower() <= MOST_READ_AWAY
    }

    async fn read_away(mut self) {
        match timeout(PATIENCE, self.ends()).await {
            Ok(true) => self.exchange.request_is_over(),
            Ok(false) | Err(_) => self.exchange.request_is_given_up(),
        }
    }

    /// Reads; says whether it came to its end.
    async fn ends(&mut self) -> bool {
        let mut left = MOST_READ_AWAY;
        while let Some(frame) = poll_fn(|cx| self.poll_frame(cx)).await {
            let Ok(frame) = frame else { return false };
            self.exchange.request_moved();
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_held_back = false;
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(rest.poll_frame(cx));
        let is_last = match &frame {
            // Nobody asks for what follows trailers.
            Some(Ok(frame)) => frame.is_trailers() || rest.body.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        match is_last {
            true => self.over(),
            false => rest.exchange.request_moved(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        rest.is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(rest) => rest.body.size_hint(),
            None => SizeHint::with_exact(0),
        }
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
const MOST_READ_AWAY: u64 = 1 << 20;

/// How long what is read away may take to come.
const PATIENCE: Duration = Duration::from_secs(1);
