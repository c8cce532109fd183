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
use http::{HeaderMap, Method, Request, Response};
use hyper::service::{Service, service_fn};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::server::CallerBody;
pub use body::AnswerBody;
use body::OutgoingBody;
use metrics::{InFlight, RouteMetrics};
use rejection::Rejection;
pub use route::{InvalidPrefix, PathPrefix, Route, RouteTable, Settings, Timeouts};
use upstream::{Answer, Connection, SendError, Upstream};
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
) -> impl Service<Request<CallerBody>, Response = Response<AnswerBody>, Error = Infallible> + Clone
{
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
    async fn answer(&self, request: Request<CallerBody>) -> Response<AnswerBody> {
        let now = Instant::now();
        let (route, upstream) = match self.find(&request) {
            Ok(found) => found,
            Err(rejection) => return reject(&rejection, self.unmatched.begin(now)),
        };
        // Dropped by whoever ends the request, so that its outcome is counted however it ends.
        let in_flight = route.metrics.begin(now);
        match exchange(route, upstream, request, now).await {
            Ok(answer) => {
                tell_recovery(route, upstream);
                forwarded(answer, route, in_flight)
            }
            Err(rejection) => {
                tell_failure(route, upstream, &rejection);
                reject(&rejection, in_flight)
            }
        }
    }

    fn find(&self, request: &Request<CallerBody>) -> Result<(&Route, &Rc<Upstream>), Rejection> {
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
    request: Request<CallerBody>,
    now: Instant,
) -> Result<Answer, Rejection> {
    let (mut head, body) = request.into_parts();
    forward::prepare_request(&mut head, &body, route)?;
    authorize(route, &mut head.headers, now)?;
    let (body, progress) = OutgoingBody::new(body);
    let mut request = Request::from_parts(head, body);
    let mut connection = match upstream.idle_connection(now) {
        Some(connection) => connection,
        None => connect(route, upstream, request.headers_mut()).await?,
    };
    loop {
        match connection.send(request, progress.as_deref()).await {
            Ok(mut answer) => {
                forward::prepare_response(&mut answer.response, route)?;
                return Ok(answer);
            }
            // The upstream had closed an idle connection and nothing was sent on it. A fresh one
            // is as good as a first try; another idle one might be just as dead.
            Err(SendError::NotSent(unsent)) => {
                debug!(
                    route = &*route.settings.name,
                    "an idle upstream connection was dead"
                );
                request = *unsent;
                connection = connect(route, upstream, request.headers_mut()).await?;
            }
            Err(SendError::Failed(error)) => return Err(Rejection::upstream(route, &error)),
        }
    }
}

/// Makes a connection, and authorizes the request anew: it took time, and a token may have ended.
async fn connect(
    route: &Route,
    upstream: &Rc<Upstream>,
    headers: &mut HeaderMap,
) -> Result<Connection, Rejection> {
    let connection = upstream.connect().await;
    let connection = connection.map_err(|error| Rejection::upstream(route, &error))?;
    authorize(route, headers, Instant::now())?;
    Ok(connection)
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
///
/// The refresher takes a token away when it ends. That it is compared with the clock here as well
/// costs nothing, for the clock has been read for the request anyway, and holds when the control
/// plane stalls: on a log pipe that nobody reads, or on a machine that was asleep.
fn authorize(route: &Route, headers: &mut HeaderMap, now: Instant) -> Result<(), Rejection> {
    let Some(reader) = &route.token else {
        return Ok(());
    };
    let state = reader.load();
    match state.valid().filter(|token| token.retire_at() > now) {
        Some(token) => {
            // `insert` replaces every field of the name, however many the caller sent.
            headers.insert(AUTHORIZATION, token.authorization().clone());
            Ok(())
        }
        None => Err(Rejection::no_token(route, reader.credential(), &state)),
    }
}

fn forwarded(answer: Answer, route: &Route, mut in_flight: InFlight) -> Response<AnswerBody> {
    let (head, body) = answer.response.into_parts();
    in_flight.answered(head.status);
    let idle = route.settings.timeouts.idle;
    let body = AnswerBody::forwarded(body, answer.lease, idle, in_flight);
    Response::from_parts(head, body)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::Registry;

    use super::*;
    use crate::tls::{Trust, client_config};
    use crate::token::{AccessToken, cell};

    /// A control plane that is stalled takes no token away.
    #[tokio::test(start_paused = true)]
    async fn a_token_that_nobody_took_away_is_not_sent_after_its_end() {
        let (writer, reader) = cell::channel("envase");
        let tls = client_config(&Trust::Nobody).unwrap();
        let settings = Settings {
            name: "api".into(),
            prefix: PathPrefix::new("/").unwrap(),
            strip_path: false,
            origin: Origin::new(&"http://localhost".parse().unwrap(), &tls).unwrap(),
            credential: Some("envase".into()),
            timeouts: Timeouts::default(),
            max_idle_connections: 1,
        };
        let metrics = metrics::ProxyMetrics::register(&Registry::new()).unwrap();
        let route = Route::new(settings, Some(reader), metrics.for_route("api"));
        let lifetime = Duration::from_secs(10);
        let token =
            AccessToken::bearer(&"t".into(), Instant::now(), lifetime, None, 0.0, 1).unwrap();
        let end = token.retire_at();
        writer.store(token);

        let mut headers = HeaderMap::new();
        authorize(&route, &mut headers, end - Duration::from_millis(1)).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer t");
        let rejection = authorize(&route, &mut headers, end).unwrap_err();
        insta::assert_snapshot!(rejection.detail, @r#"credential "envase" has no token since the last one expired: the answer of its token endpoint is awaited"#);
    }
}
