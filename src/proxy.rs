//! One request in, one response out.
//!
//! Everything here runs on a worker's thread. What the control plane publishes is read through
//! [`TokenReader`](crate::token::TokenReader); nothing is written back.

mod admission;
mod body;
mod exchange;
mod expectation;
mod forward;
mod hop_by_hop;
mod location;
pub mod metrics;
mod rejection;
mod replay;
mod route;
mod upgrade;
mod upstream;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::service::{Service, service_fn};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::server::CallerBody;
pub use admission::Admission;
pub use body::AnswerBody;
use exchange::exchange;
use metrics::{InFlight, RouteMetrics};
use rejection::Rejection;
use route::Found;
pub use route::{InvalidPrefix, PathPrefix, Route, RouteTable, Settings, Timeouts};
use upstream::{Answer, Upstream};
pub use upstream::{InvalidUpstream, Origin};

/// A worker's proxy: the shared routes, each with this worker's own connections.
struct Proxy {
    table: Arc<RouteTable>,
    /// By the same index as the table's routes.
    upstreams: Vec<Rc<Upstream>>,
    admission: Admission,
    unmatched: RouteMetrics,
}

/// Makes the service that a worker's connections are served with.
pub fn service(
    table: Arc<RouteTable>,
    admission: Admission,
    unmatched: RouteMetrics,
) -> impl Service<Request<CallerBody>, Response = Response<AnswerBody>, Error = Infallible> + Clone
{
    let upstreams = table
        .routes()
        .map(|route| Rc::new(Upstream::new(route)))
        .collect();
    let proxy = Rc::new(Proxy {
        table,
        upstreams,
        admission,
        unmatched,
    });
    service_fn(move |request| {
        let proxy = Rc::clone(&proxy);
        async move { Ok(proxy.answer(request).await) }
    })
}

impl Proxy {
    async fn answer(&self, request: Request<CallerBody>) -> Response<AnswerBody> {
        let now = Instant::now();
        let (route, upstream) = match self.find(&request) {
            Ok(found) => found,
            Err(rejection) => return reject(&rejection, self.unmatched.begin(now)),
        };
        // Dropped by whoever ends the request, so that its outcome is counted however it ends.
        let in_flight = route.metrics.begin(now);
        match exchange(route, upstream, request, now).await {
            Ok((answer, switch)) => {
                tell_recovery(route, upstream);
                match switch {
                    None => forwarded(answer, route, in_flight),
                    Some(asked) => switched(asked, answer, route, in_flight),
                }
            }
            Err(rejection) => {
                tell_failure(route, upstream, &rejection);
                reject(&rejection, in_flight)
            }
        }
    }

    fn find(&self, request: &Request<CallerBody>) -> Result<(&Route, &Rc<Upstream>), Rejection> {
        let host = self.admission.admit(request, &self.table)?;
        let (path, method) = (request.uri().path(), request.method());
        match self.table.find(host, path, method) {
            Found::Route(index, route) => self
                .upstreams
                .get(index)
                .map(|upstream| (route, upstream))
                .ok_or_else(|| Rejection::no_route(host, path, &self.table)),
            Found::OnlyByOtherMethods(methods) => Err(Rejection::method_refused(method, &methods)),
            Found::Ambiguous => Err(Rejection::ambiguous_path()),
            Found::Nothing => Err(Rejection::no_route(host, path, &self.table)),
        }
    }
}

fn forwarded(answer: Answer, route: &Route, mut in_flight: InFlight) -> Response<AnswerBody> {
    let (head, body) = answer.response.into_parts();
    in_flight.answered(head.status);
    let idle = route.settings.timeouts.idle;
    let body = AnswerBody::forwarded(body, answer.lease, idle, in_flight);
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
        warn!(route = &*route.settings.name, "{}", rejection.detail);
    }
}

fn tell_recovery(route: &Route, upstream: &Upstream) {
    if let Some(failures) = upstream.answered() {
        let route = &*route.settings.name;
        info!(route, failures, "the upstream answers again");
    }
}

fn reject(rejection: &Rejection, mut in_flight: InFlight) -> Response<AnswerBody> {
    debug!(reason = rejection.reason.label(), "{}", rejection.detail);
    in_flight.rejected(rejection.reason);
    rejection.response(in_flight)
}
