//! One request in, one response out.
//!
//! Everything here runs on a worker's thread. What the control plane publishes is read through
//! [`TokenReader`](crate::token::TokenReader); nothing is written back.

mod body;
mod forward;
pub mod metrics;
mod rejection;
mod route;
mod upstream;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tokio::time::Instant;
use tracing::debug;

pub use body::AnswerBody;
use body::OutgoingBody;
use metrics::{InFlight, RouteMetrics};
use rejection::Rejection;
pub use route::{InvalidPrefix, PathPrefix, Route, RouteTable, Settings, Timeouts};
use upstream::{Answer, SendError, Upstream};
pub use upstream::{InvalidUpstream, Origin};

/// A worker's proxy: the shared routes, each with this worker's own connections.
struct Proxy {
    table: Arc<RouteTable>,
    /// By the same index as the table's routes.
    upstreams: Vec<Rc<Upstream>>,
    unmatched: RouteMetrics,
}

/// Makes the service that a worker's connections are served with.
pub fn service(
    table: Arc<RouteTable>,
    unmatched: RouteMetrics,
) -> impl Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible> + Clone {
    let upstreams = table
        .routes()
        .map(|route| Rc::new(Upstream::new(route)))
        .collect();
    let proxy = Rc::new(Proxy {
        table,
        upstreams,
        unmatched,
    });
    service_fn(move |request| {
        let proxy = Rc::clone(&proxy);
        async move { Ok(proxy.answer(request).await) }
    })
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let now = Instant::now();
        let (route, upstream) = match self.find(&request) {
            Ok(found) => found,
            Err(rejection) => return reject(&rejection, self.unmatched.begin(now)),
        };
        // Dropped by whoever ends the request, so that its outcome is counted however it ends.
        let in_flight = route.metrics.begin(now);
        match exchange(route, upstream, request, now).await {
            Ok(answer) => forwarded(answer, route, in_flight),
            Err(rejection) => reject(&rejection, in_flight),
        }
    }

    fn find(&self, request: &Request<Incoming>) -> Result<(&Route, &Rc<Upstream>), Rejection> {
        refuse_what_is_not_forwarded(request.method())?;
        let path = request.uri().path();
        self.table
            .find(path)
            .and_then(|(index, route)| Some((route, self.upstreams.get(index)?)))
            .ok_or_else(|| Rejection::no_route(path, &self.table))
    }
}

/// Sends the request on and waits for the head of the answer.
async fn exchange(
    route: &Route,
    upstream: &Rc<Upstream>,
    request: Request<Incoming>,
    now: Instant,
) -> Result<Answer, Rejection> {
    let (mut head, body) = request.into_parts();
    forward::prepare_request(&mut head, &body, route)?;
    // Before a connection is made for it: a request that cannot have its token ends here.
    authorize(route, &mut head.headers)?;
    let (body, progress) = OutgoingBody::new(body);
    let mut request = Request::from_parts(head, body);

    let connect = || async {
        let connection = upstream.connect().await;
        connection.map_err(|error| Rejection::upstream(route, &error))
    };
    let mut connection = match upstream.idle_connection(now) {
        Some(connection) => connection,
        None => connect().await?,
    };
    loop {
        // Again, because making a connection takes time and a token may end meanwhile.
        authorize(route, request.headers_mut())?;
        match connection.send(request, progress.as_deref()).await {
            Ok(answer) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Rejection::unasked_upgrade(route));
            }
            Ok(answer) => return Ok(answer),
            // The upstream had closed an idle connection and nothing was sent on it. A fresh one
            // is as good as a first try; another idle one might be just as dead.
            Err(SendError::NotSent(unsent)) => {
                debug!(
                    route = &*route.settings.name,
                    "an idle upstream connection was dead"
                );
                request = *unsent;
                connection = connect().await?;
            }
            Err(SendError::Failed(error)) => return Err(Rejection::upstream(route, &error)),
        }
    }
}

/// RFC 9110 §9.3.8: "A client MUST NOT generate fields in a TRACE request containing sensitive data
/// that might be disclosed by the response." The answer to it would show the token to the caller.
///
/// CONNECT asks for a tunnel, in which gatepass could add nothing.
fn refuse_what_is_not_forwarded(method: &Method) -> Result<(), Rejection> {
    if method == Method::TRACE || method == Method::CONNECT {
        return Err(Rejection::method_refused(method));
    }
    Ok(())
}

/// Puts the route's token into the request in place of whatever the caller sent, or refuses the
/// request: nothing leaves a route with a credential without a token that is good now.
fn authorize(route: &Route, headers: &mut HeaderMap) -> Result<(), Rejection> {
    let Some(reader) = &route.token else {
        return Ok(());
    };
    let state = reader.load();
    let Some(token) = state.valid() else {
        return Err(Rejection::no_token(route, reader.credential(), &state));
    };
    // `insert` replaces every field of the name, however many the caller sent.
    headers.insert(AUTHORIZATION, token.authorization().clone());
    Ok(())
}

fn forwarded(answer: Answer, route: &Route, mut in_flight: InFlight) -> Response<AnswerBody> {
    let (mut head, body) = answer.response.into_parts();
    forward::prepare_response(&mut head.headers);
    in_flight.answered(head.status);
    let body = AnswerBody::forwarded(body, answer.lease, route.settings.timeouts.idle, in_flight);
    Response::from_parts(head, body)
}

fn reject(rejection: &Rejection, mut in_flight: InFlight) -> Response<AnswerBody> {
    debug!(reason = rejection.reason.label(), "{}", rejection.detail);
    in_flight.rejected(rejection.reason);
    rejection.response(in_flight)
}
