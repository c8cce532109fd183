//! One request in, one response out.
//!
//! Everything here runs on a worker's thread. What the control plane publishes is read through
//! [`TokenReader`](crate::token::TokenReader); nothing is written back.

mod access;
mod admission;
mod body;
mod callers;
mod exchange;
mod expectation;
mod forward;
mod hop_by_hop;
mod limit;
mod location;
pub mod metrics;
mod outgoing;
mod present;
mod provenance;
mod record;
mod rejection;
mod replay;
mod route;
mod spans;
mod stopwatch;
mod upgrade;
mod upstream;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use http::{HeaderValue, Request, Response};
use hyper::service::{Service, service_fn};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::server::{CallerBody, Refuse};
use crate::traces::Tracer;
pub use access::{AccessLog, Logged, LoggedTarget};
pub use admission::Admission;
pub use body::AnswerBody;
pub use callers::{CallerKey, Callers};
pub use exchange::authorize;
use exchange::exchange;
pub use forward::prepare_request;
pub use limit::Limit;
use metrics::{InFlight, RouteMetrics};
use present::Field;
pub use present::Present;
use record::Record;
use rejection::{REQUEST_ID, Rejection};
pub use route::{
    Forwarded, Found, InvalidPrefix, PathPrefix, Protocol, Route, RouteDescription, RouteTable,
    Settings, Timeouts, USUAL_HEADERS,
};
use upstream::{Answer, Room, Upstream};
pub use upstream::{InvalidUpstream, Origin};

/// Which requests are taken, and where they go.
#[derive(Debug)]
pub struct Routing {
    /// The routes.
    pub table: RouteTable,
    /// Who may call.
    pub admission: Admission,
    /// The access log, if there is to be one.
    pub access_log: Option<AccessLog>,
}

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The routing at this moment.
    pub published: Arc<ArcSwap<Routing>>,
    /// How many requests may be under way.
    pub limit: Limit,
    /// How many connections to upstreams there may be.
    pub connections: Limit,
    /// What is counted of requests that no route covers.
    pub unmatched: RouteMetrics,
    /// Who records requests for traces, if anybody does.
    pub tracer: Option<Tracer>,
}

/// A worker's proxy: what all share, and this worker's own connections.
struct Proxy {
    shared: Shared,
    room: Rc<Room>,
    published: RefCell<Cache<Arc<ArcSwap<Routing>>, Arc<Routing>>>,
    current: RefCell<Rc<Ways>>,
}

/// A routing, each route with this worker's own connections.
struct Ways {
    routing: Arc<Routing>,
    /// By the same index as the table's routes.
    upstreams: Vec<Rc<Upstream>>,
}

/// Makes the service that a worker's connections are served with.
pub fn service(
    shared: Shared,
) -> impl Service<Request<CallerBody>, Response = Response<AnswerBody>, Error = Infallible> {
    let published = Arc::clone(&shared.published);
    let room = Rc::new(Room::new(shared.connections.clone()));
    let ways = Ways::new(published.load_full(), &room, &[]);
    let proxy = Rc::new(Proxy {
        shared,
        room,
        published: RefCell::new(Cache::new(published)),
        current: RefCell::new(Rc::new(ways)),
    });
    // Boxed: it is handed on from one future to the next, and each has room for it.
    service_fn(move |request| Rc::clone(&proxy).answer(Box::new(request)))
}

/// What callers are told of heads that cannot be read; counted among what no route covers.
pub fn refuse(shared: Shared) -> Refuse {
    Arc::new(move |status| {
        let access_log = shared.published.load().access_log;
        rejection::refuse_head(status, &shared.unmatched, access_log)
    })
}

impl Proxy {
    async fn answer(
        self: Rc<Self>,
        mut request: Box<Request<CallerBody>>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let now = request.body().arrived_at();
        // A request goes its way to the end by the routing that it began with.
        let ways = self.ways();
        let (access_log, tracer) = (ways.routing.access_log, self.shared.tracer.as_ref());
        let mut record = Record::of(access_log, tracer, &mut request);
        let present = Present::of(request.headers());
        let is_named = present.has(Field::RequestId);
        let request_id = is_named
            .then(|| request.headers().get(REQUEST_ID).cloned())
            .flatten();
        let (route, upstream) = match ways.find(&request, present) {
            Ok(found) => found,
            Err(rejection) => {
                let in_flight = self.shared.unmatched.begin(now, record);
                return Ok(reject(&rejection, request_id, in_flight));
            }
        };
        if let Some(record) = &mut record {
            record.routed(route);
        }
        // Dropped by whoever ends the request, so that its outcome is counted however it ends.
        let mut in_flight = route.metrics.begin(now, record);
        match self.shared.limit.take() {
            Some(place) => in_flight.hold(place),
            None => {
                let rejection = Rejection::overloaded(self.shared.limit.most());
                return Ok(reject(&rejection, request_id, in_flight));
            }
        }
        let callers = &ways.routing.admission.callers;
        callers.keep_to_ourselves(request.headers_mut());
        let end = route.settings.timeouts.request.map(|limit| now + limit);
        let was_sending = Cell::new(false);
        // The exchange is made in its place: one that is handed on is copied, and it is large.
        let outcome = tokio::select! {
            biased;
            outcome = exchange(
                route, upstream, request, present, now, in_flight.record(), &was_sending,
            ) => outcome,
            () = over(end) => Err(Rejection::request_timeout(route, was_sending.get())),
        };
        Ok(match outcome {
            Ok((mut answer, switch)) => {
                let named = in_flight.record();
                if let Some(name) = named.and_then(|record| record.request_id.clone()) {
                    let fields = answer.response.headers_mut();
                    fields.entry(REQUEST_ID).or_insert(name);
                }
                tell_recovery(route, upstream);
                match switch {
                    None => forwarded(answer, route, end, in_flight),
                    Some(asked) => switched(asked, answer, route, in_flight),
                }
            }
            Err(rejection) => {
                tell_failure(route, upstream, &rejection);
                reject(&rejection, request_id, in_flight)
            }
        })
    }

    fn ways(&self) -> Rc<Ways> {
        let mut published = self.published.borrow_mut();
        let routing = published.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(routing, &current.routing) {
            *current = Rc::new(Ways::new(
                Arc::clone(routing),
                &self.room,
                &current.by_upstream(),
            ));
        }
        Rc::clone(&current)
    }
}

impl Ways {
    /// A route whose upstream is among those `before` goes on with its connections. One that has changed
    /// knows at least where its name led: a reload while the DNS is out of order would cost its requests.
    fn new(routing: Arc<Routing>, room: &Rc<Room>, before: &[([u8; 32], Rc<Upstream>)]) -> Self {
        let mut known = before.to_vec();
        let mut upstream = |route: &Route| {
            let revision = route.settings.upstream_revision;
            if let Some(index) = known.iter().position(|(of, _)| *of == revision) {
                return known.swap_remove(index).1;
            }
            let changed = Upstream::new(route, Rc::clone(room));
            before.iter().for_each(|(_, of)| changed.learn_from(of));
            Rc::new(changed)
        };
        let upstreams = routing.table.routes().map(&mut upstream).collect();
        Self { routing, upstreams }
    }

    fn by_upstream(&self) -> Vec<([u8; 32], Rc<Upstream>)> {
        let routes = self.routing.table.routes();
        let revisions = routes.map(|route| route.settings.upstream_revision);
        revisions.zip(self.upstreams.iter().cloned()).collect()
    }

    fn find(
        &self,
        request: &Request<CallerBody>,
        present: Present,
    ) -> Result<(&Route, &Rc<Upstream>), Rejection> {
        let Routing {
            table, admission, ..
        } = &*self.routing;
        let host = admission.admit(request, present, table)?;
        let (path, method) = (request.uri().path(), request.method());
        match table.find(host, path, method) {
            Found::Route(index, route) => self
                .upstreams
                .get(index)
                .map(|upstream| (route, upstream))
                .ok_or_else(|| Rejection::no_route(host, path, table)),
            Found::OnlyByOtherMethods(methods) => Err(Rejection::method_refused(method, &methods)),
            Found::Ambiguous => Err(Rejection::ambiguous_path()),
            Found::Nothing => Err(Rejection::no_route(host, path, table)),
        }
    }
}

/// Resolves when a request has to have its answer; never, if it may take as long as it takes.
async fn over(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

fn forwarded(
    answer: Answer,
    route: &Route,
    end: Option<Instant>,
    mut in_flight: InFlight,
) -> Response<AnswerBody> {
    let (head, body) = answer.response.into_parts();
    in_flight.answered(head.status);
    let idle = route.settings.timeouts.idle;
    let body = AnswerBody::forwarded(body, answer.lease, idle, end, in_flight);
    Response::from_parts(head, body)
}

/// The connection is no longer HTTP's.
fn switched(
    asked: upgrade::Asked,
    answer: Answer,
    route: &Route,
    mut in_flight: InFlight,
) -> Response<AnswerBody> {
    in_flight.answered(answer.response.status());
    let idle = route.settings.timeouts.idle;
    let head = asked.tunnel(answer, idle, in_flight);
    head.map(|()| AnswerBody::nothing())
}

/// An upstream that is down fails every request; the first one is news, and that it is over.
fn tell_failure(route: &Route, upstream: &Upstream, rejection: &Rejection) {
    if rejection.reason.is_upstream() && upstream.failed() == 1 {
        let detail = &rejection.detail;
        warn!(route = &*route.settings.name, "{detail}");
    }
}

fn tell_recovery(route: &Route, upstream: &Upstream) {
    if let Some(failures) = upstream.answered() {
        let route = &*route.settings.name;
        info!(route, failures, "the upstream answers again");
    }
}

fn reject(
    rejection: &Rejection,
    request_id: Option<HeaderValue>,
    mut in_flight: InFlight,
) -> Response<AnswerBody> {
    in_flight.rejected(rejection.reason);
    rejection.response(request_id, in_flight)
}
