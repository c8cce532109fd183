//! The way of one request to its upstream and of the answer's head back.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::debug;

use super::body::{Kept, OutgoingBody, Progress};
use super::expectation::Expectation;
use super::forward;
use super::rejection::Rejection;
use super::replay::{SentHead, is_refusal, whole_body};
use super::route::Route;
use super::upgrade;
use super::upstream::{Answer, Connection, SendError, Upstream};
use crate::server::CallerBody;
use crate::token::{Refusal, RefusedBy, TokenReader};

/// Sends the request on and waits for the head of the answer that the caller is to get.
pub(super) async fn exchange(
    route: &Route,
    upstream: &Rc<Upstream>,
    mut request: Request<CallerBody>,
    now: Instant,
) -> Result<(Answer, Option<upgrade::Asked>), Rejection> {
    let switch = upgrade::Asked::of(&mut request);
    let (mut head, body) = request.into_parts();
    forward::prepare_request(&mut head, &body, route)?;
    if switch.is_some() {
        upgrade::ask(&mut head.headers);
    }
    // Nobody knows what an upstream has begun that was asked to switch.
    let repeatable = switch.is_none() && may_be_repeated(route, &head.method);
    let keep = match repeatable {
        true => route.settings.replay_limit,
        false => 0,
    };
    let token_header = &route.settings.token_header;
    let expectation = Expectation::of(&head.headers);
    let (body, progress) = OutgoingBody::new(body, keep, token_header, expectation.clone());
    let progress = progress.as_deref();
    let mut request = Request::from_parts(head, body);
    if let Some(expectation) = &expectation {
        expectation.await_word(&mut request);
    }
    let head = repeatable.then(|| SentHead::of(&request));

    let way = checkout(route, upstream, request.headers_mut(), now).await?;
    let (answer, generation) = send(
        route,
        upstream,
        way,
        request,
        head.as_ref(),
        progress,
        switch.is_some(),
    )
    .await?;
    let answer = match (&route.token, generation, head) {
        (Some(reader), Some(generation), Some(head)) if is_refusal(reader, &answer.response) => {
            match another_token(reader, generation, progress).await {
                Some(body) => replay(route, upstream, head.with_body(body), answer).await?,
                None => answer,
            }
        }
        _ => answer,
    };
    let switch = switch.filter(|_| answer.response.status() == StatusCode::SWITCHING_PROTOCOLS);
    Ok((answer, switch))
}

/// Whether anything could make it necessary to send a request again.
fn may_be_repeated(route: &Route, method: &Method) -> bool {
    let refusable = |reader: &TokenReader| reader.refused_by() != RefusedBy::Nothing;
    method.is_idempotent() || route.token.as_ref().is_some_and(refusable)
}

/// After a refusal: waits for another token and gives back the body to send with it; nothing if
/// there is no such token, or the body was not kept.
async fn another_token(
    reader: &TokenReader,
    refused: u64,
    progress: Option<&Progress>,
) -> Option<Kept> {
    // Told in any case: whether this request can be repeated or not, the next one is to have a
    // better token.
    let refusal = reader.refuse(refused);
    let body = whole_body(progress)?;
    let another = match refusal {
        Refusal::Superseded => true,
        Refusal::Awaited(successor) => successor.arrives_within(PATIENCE).await,
        Refusal::HeldBack => false,
    };
    another.then_some(body)
}

/// Once, whatever the second answer is. As long as nothing has been sent again, the caller gets the
/// first; after that a failure is a failure, because the upstream may have acted on the request.
async fn replay(
    route: &Route,
    upstream: &Rc<Upstream>,
    mut request: Request<OutgoingBody>,
    first: Answer,
) -> Result<Answer, Rejection> {
    let now = Instant::now();
    let Ok(way) = checkout(route, upstream, request.headers_mut(), now).await else {
        return Ok(first);
    };
    route.metrics.replayed();
    let (second, _) = send(route, upstream, way, request, None, None, false).await?;
    Ok(second)
}

/// A connection, and the generation of the token that goes over it.
struct Way {
    connection: Connection,
    generation: Option<u64>,
}

/// Puts the token into a request that is otherwise ready, and finds a connection for it.
async fn checkout(
    route: &Route,
    upstream: &Rc<Upstream>,
    headers: &mut HeaderMap,
    now: Instant,
) -> Result<Way, Rejection> {
    let generation = authorize(route, headers, now)?;
    match upstream.idle_connection(now) {
        Some(connection) => Ok(Way {
            connection,
            generation,
        }),
        None => connect(route, upstream, headers).await,
    }
}

/// Sends a request. Also says which generation of the token went with it.
async fn send(
    route: &Route,
    upstream: &Rc<Upstream>,
    mut way: Way,
    mut request: Request<OutgoingBody>,
    head: Option<&SentHead>,
    progress: Option<&Progress>,
    asks_to_switch: bool,
) -> Result<(Answer, Option<u64>), Rejection> {
    loop {
        match way.connection.send(request, progress).await {
            Ok(mut answer) => {
                forward::prepare_response(&mut answer.response, asks_to_switch, route)?;
                return Ok((answer, way.generation));
            }
            // The upstream had closed an idle connection and nothing was sent on it. A fresh one
            // is as good as a first try; another idle one might be just as dead.
            Err(SendError::NotSent(unsent)) => {
                debug!(
                    route = &*route.settings.name,
                    "an idle upstream connection was dead"
                );
                request = *unsent;
            }
            // It closed while the request was on its way, and whether it was acted on nobody knows.
            Err(SendError::Closed(error)) => {
                let again = head.and_then(|head| head.repeated(progress));
                request = again.ok_or_else(|| Rejection::upstream(route, &error))?;
            }
            Err(SendError::Failed(error)) => return Err(Rejection::upstream(route, &error)),
        }
        way = connect(route, upstream, request.headers_mut()).await?;
    }
}

/// Makes a connection, and authorizes the request anew: it took time, and a token may have ended.
async fn connect(
    route: &Route,
    upstream: &Rc<Upstream>,
    headers: &mut HeaderMap,
) -> Result<Way, Rejection> {
    let connection = upstream.connect().await;
    let connection = connection.map_err(|error| Rejection::upstream(route, &error))?;
    let generation = authorize(route, headers, Instant::now())?;
    Ok(Way {
        connection,
        generation,
    })
}

/// Puts the route's token into the request in place of whatever the caller sent, or refuses the
/// request: nothing leaves a route with a credential without a token that is good now. Says which
/// generation it was.
///
/// The refresher takes a token away when it ends. That it is compared with the clock here as well
/// costs nothing, for the clock has been read for the request anyway, and holds when the control
/// plane stalls: on a log pipe that nobody reads, or on a machine that was asleep.
fn authorize(
    route: &Route,
    headers: &mut HeaderMap,
    now: Instant,
) -> Result<Option<u64>, Rejection> {
    let Some(reader) = &route.token else {
        return Ok(None);
    };
    let state = reader.load();
    match state.valid().filter(|token| token.retire_at() > now) {
        Some(token) => {
            // `insert` replaces every field of the name, however many the caller sent.
            headers.insert(route.settings.token_header.clone(), token.header().clone());
            Ok(Some(token.generation()))
        }
        None => Err(Rejection::no_token(route, reader.credential(), &state)),
    }
}

/// How long a request waits for another token before the caller gets the 401. A provider that
/// takes longer is not worth the wait.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::AUTHORIZATION;
    use prometheus::Registry;

    use super::*;
    use crate::proxy::{Origin, PathPrefix, Settings, Timeouts, metrics};
    use crate::tls::{Trust, client_config};
    use crate::token::metrics::TokenMetrics;
    use crate::token::source::FetchedToken;
    use crate::token::{AccessToken, Moment, RefusalSettings, cell};

    /// A control plane that is stalled takes no token away.
    #[tokio::test(start_paused = true)]
    async fn a_token_that_nobody_took_away_is_not_sent_after_its_end() {
        let registry = Registry::new();
        let refusals = TokenMetrics::register(&registry)
            .unwrap()
            .refusals("envase");
        let (writer, reader) = cell::channel("envase", RefusalSettings::default(), refusals);
        let tls = client_config(&Trust::Nobody, None).unwrap();
        let settings = Settings {
            hosts: Vec::new(),
            methods: Vec::new(),
            keep_host: false,
            remove_headers: Vec::new(),
            response_headers: Vec::new(),
            remove_response_headers: Vec::new(),
            rewrite_location: true,
            name: "api".into(),
            prefix: PathPrefix::new("/").unwrap(),
            strip_path: false,
            origin: Origin::new(&"http://localhost".parse().unwrap(), &tls).unwrap(),
            credential: Some("envase".into()),
            timeouts: Timeouts::default(),
            max_idle_connections: 1,
            replay_limit: 0,
            token_header: AUTHORIZATION,
            headers: Vec::new(),
        };
        let metrics = metrics::ProxyMetrics::register(&registry).unwrap();
        let route = Route::new(settings, Some(reader), metrics.for_route("api"));
        let fetched = FetchedToken {
            secret: "t".into(),
            scheme: "Bearer".into(),
            lifetime: Duration::from_secs(10),
            refresh_in: None,
        };
        let token = AccessToken::new(&fetched, Moment::now(), 0.0, 1).unwrap();
        let end = token.retire_at();
        writer.store(token);

        let mut headers = HeaderMap::new();
        authorize(&route, &mut headers, end - Duration::from_millis(1)).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer t");
        let rejection = authorize(&route, &mut headers, end).unwrap_err();
        insta::assert_snapshot!(rejection.detail, @r#"credential "envase" has no token since the last one expired: the next one is on its way"#);
    }
}
