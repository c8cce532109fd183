//! Connections to one upstream, kept by one worker for its own requests.

mod acknowledged;
mod announcing;
mod connect;
mod connect_error;
mod doubts;
mod ending;
mod held;
mod http2;
mod idle;
mod last_words;
mod origin;
mod race;
mod resolve;
mod room;
mod send;
mod shared;
mod turns;
mod unix;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::metrics::RouteMetrics;
use super::route::{Route, Timeouts};
use crate::runtime::spawn;
use connect::{Connected, Connector};
pub(super) use connect_error::ConnectError;
use held::Held;
use idle::{IdleConnections, Kept};
pub use origin::{InvalidUpstream, Origin};
pub(super) use room::Room;
use send::Carrier;
pub(super) use send::{Answer, Connection, Lease, SendError, UpstreamError};
use shared::SharedConnections;

/// An upstream as one worker sees it.
pub(super) struct Upstream {
    origin: Origin,
    connector: Connector,
    timeouts: Timeouts,
    max_connections: usize,
    idle: Rc<IdleConnections>,
    shared: Rc<SharedConnections>,
    /// Whether it chose HTTP/2 when it last was asked; nothing if it never was.
    chose_http2: Cell<Option<bool>>,
    /// The attempt to make a connection that many may use.
    under_way: RefCell<Option<watch::Receiver<Option<Attempt>>>>,
    connections: Rc<Cell<usize>>,
    room: Rc<Room>,
    /// Requests that failed by the upstream's fault since the last that did not.
    failures: Cell<u64>,
}

/// How an attempt ended. What came of it lies where later requests find it.
type Attempt = Result<(), ConnectError>;

impl Upstream {
    pub(super) fn new(route: &Route, room: Rc<Room>) -> Self {
        let settings = &route.settings;
        let timeouts = settings.timeouts;
        let idle = Rc::new(IdleConnections::new(
            settings.max_idle_connections,
            timeouts,
        ));
        room.knows(&idle);
        Self {
            connector: Connector::new(
                &settings.origin,
                timeouts.connect,
                settings.max_response_headers,
            ),
            origin: settings.origin.clone(),
            timeouts,
            max_connections: settings.max_connections,
            idle,
            shared: Rc::new(SharedConnections::new(timeouts)),
            chose_http2: Cell::new(None),
            under_way: RefCell::default(),
            connections: Rc::default(),
            room,
            failures: Cell::new(0),
        }
    }

    /// Knows of one before it where its name led last.
    pub(super) fn learn_from(&self, before: &Self) {
        self.connector.learn_from(&before.connector);
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

    /// A connection that is there already, if there is one that still looks alive. `http2` says
    /// whether the request may go over HTTP/2.
    pub(super) fn open_connection(
        self: &Rc<Self>,
        http2: bool,
        now: Instant,
    ) -> Option<Connection> {
        let shared = http2.then(|| self.shared.take(now)).flatten();
        let carrier = match shared {
            Some(place) => Carrier::Shared(place),
            // A request that may go over HTTP/2 waits for that where it is to be expected.
            None if http2 && self.expects_http2() => return None,
            None => Carrier::Alone(self.idle.take(now)?),
        };
        Some(Connection::new(carrier, true, Rc::clone(self)))
    }

    /// A new connection, or for a request that may go over HTTP/2 a new place on one.
    pub(super) async fn connect(
        self: &Rc<Self>,
        http2: bool,
        metrics: &RouteMetrics,
    ) -> Result<Connection, UpstreamError> {
        for _ in 0..SHARED_ATTEMPTS {
            if !(http2 && self.expects_http2()) {
                break;
            }
            let attempt = self.shared_attempt(metrics).await;
            attempt.map_err(UpstreamError::Connect)?;
            if let Some(carrier) = self.what_came_of_it() {
                return Ok(Connection::new(carrier, false, Rc::clone(self)));
            }
        }
        let made = self.make(http2, metrics).await;
        let carrier = match made.map_err(UpstreamError::Connect)? {
            (Connected::Http1(sender), held) => {
                Carrier::Alone(Kept::new(sender, Instant::now(), held))
            }
            (Connected::Http2(http2), held) => {
                self.shared.add(http2, held);
                let no_place =
                    || UpstreamError::Connect(ConnectError::Http("it takes no request".into()));
                Carrier::Shared(self.shared.take(Instant::now()).ok_or_else(no_place)?)
            }
        };
        Ok(Connection::new(carrier, false, Rc::clone(self)))
    }

    fn what_came_of_it(&self) -> Option<Carrier> {
        let now = Instant::now();
        let shared = self.shared.take(now).map(Carrier::Shared);
        shared.or_else(|| self.idle.take(now).map(Carrier::Alone))
    }

    /// Whether a new connection is likely to speak HTTP/2, if it may.
    fn expects_http2(&self) -> bool {
        self.connector.may_speak_http2() && self.chose_http2.get() != Some(false)
    }

    /// Requests that come together wait for one connection, instead of making one each and having
    /// no use for them. It goes on when the one for whom it began gives up.
    async fn shared_attempt(self: &Rc<Self>, metrics: &RouteMetrics) -> Attempt {
        let mut ended = self.join_or_start(metrics);
        let outcome = match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        outcome.unwrap_or_else(|| Err(ConnectError::Http("the attempt broke off".into())))
    }

    fn join_or_start(self: &Rc<Self>, metrics: &RouteMetrics) -> watch::Receiver<Option<Attempt>> {
        let mut under_way = self.under_way.borrow_mut();
        let open = under_way
            .as_ref()
            .filter(|ended| ended.has_changed().is_ok() && ended.borrow().is_none());
        if let Some(ended) = open {
            return ended.clone();
        }
        let (send, ended) = watch::channel(None);
        let (upstream, metrics) = (Rc::clone(self), metrics.clone());
        spawn(async move {
            let outcome = upstream
                .make(true, &metrics)
                .await
                .map(|(connected, held)| match connected {
                    Connected::Http1(sender) => {
                        let opened_at = Instant::now();
                        let kept = Kept::new(sender, opened_at, held);
                        upstream.idle.keep(kept, opened_at);
                    }
                    Connected::Http2(http2) => upstream.shared.add(http2, held),
                });
            send.send_replace(Some(outcome));
        });
        *under_way = Some(ended.clone());
        ended
    }

    /// Makes a connection, and notes whether it was to be had.
    async fn make(
        &self,
        http2: bool,
        metrics: &RouteMetrics,
    ) -> Result<(Connected, Held), ConnectError> {
        let mut attempt = metrics.connecting();
        let made = self.make_within_limit(http2, metrics).await;
        attempt.failure = made.as_ref().err().map(ConnectError::cause);
        made
    }

    async fn make_within_limit(
        &self,
        http2: bool,
        metrics: &RouteMetrics,
    ) -> Result<(Connected, Held), ConnectError> {
        // An upstream that leaves one connection after the other would use up the limit with those.
        self.shared.close_unused();
        if self.connections.get() >= self.max_connections {
            // Those that were let go just now are there until their tasks have seen it.
            tokio::task::yield_now().await;
        }
        let others = self.connections.get();
        if others >= self.max_connections {
            return Err(ConnectError::TooMany(others));
        }
        let place = self.room.place().await?;
        let held = Held::count(&self.connections, metrics.open_connections(), place);
        let connected = self.connector.connect(http2, &held).await?;
        if http2 {
            let chosen = matches!(connected, Connected::Http2(_));
            self.chose_http2.set(Some(chosen));
        }
        Ok((connected, held))
    }
}

/// How often a request waits for a connection that others wait for as well. If there was no room on
/// it each time, it makes one of its own.
const SHARED_ATTEMPTS: usize = 4;
