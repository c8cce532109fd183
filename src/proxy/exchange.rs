//! The way of one request to its upstream and of the answer's head back.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::body::{OutgoingBody, Progress};
use super::forward;
use super::metrics::Retry;
use super::outgoing::Outgoing;
use super::present::Present;
use super::record::Record;
use super::rejection::Rejection;
use super::replay::{SentHead, is_refusal, whole_body};
use super::route::Route;
use super::stopwatch::{Stopwatch, Turn};
use super::upgrade;
use super::upstream::{Answer, Connection, SendError, Upstream, UpstreamError};
use crate::server::CallerBody;
use crate::token::{Refusal, TokenState};

/// Sends the request on and waits for the head of the answer that the caller is to get. If it is given
/// up meanwhile, `was_sending` says whether the caller was still at it.
pub(super) async fn exchange(
    route: &Route,
    upstream: &Rc<Upstream>,
    request: Box<Request<CallerBody>>,
    present: Present,
    arrived_at: Instant,
    record: Option<&Record>,
    was_sending: &Cell<bool>,
) -> Result<(Answer, Option<upgrade::Asked>), Rejection> {
    let now = after_first_token(route, arrived_at).await;
    let Outgoing {
        request,
        switch,
        http2,
        head,
        progress,
    } = Outgoing::of(request, present, route)?;
    let journey = Journey {
        route,
        upstream,
        http2,
        asks_to_switch: switch.is_some(),
        head,
        progress: progress.as_deref(),
        record,
        stopwatch: Stopwatch::new(
            &route.metrics,
            progress.as_deref(),
            record,
            was_sending,
            arrived_at,
        ),
        arrived_at,
    };
    let answer = journey.make(request, now).await?;
    journey.stopwatch.stop();
    let switch = switch.filter(|_| answer.response.status() == StatusCode::SWITCHING_PROTOCOLS);
    Ok((answer, switch))
}

/// Applications that start beside gatepass may call before there is a token. Where the route says so,
/// such a request waits a while for the first one. Returns the time by then.
///
/// If the request's own time is over first, the caller is told what was missing: not the upstream's
/// answer.
async fn after_first_token(route: &Route, now: Instant) -> Instant {
    let timeouts = route.settings.timeouts;
    let (Some(reader), Some(limit)) = (&route.token, timeouts.first_token) else {
        return now;
    };
    if !matches!(**reader.load(), TokenState::Pending(_)) {
        return now;
    }
    let limit = timeouts.request.map_or(limit, |whole| whole.min(limit));
    reader.first_token(now + limit).await;
    Instant::now()
}

/// The way of one request, with all its detours.
struct Journey<'a> {
    route: &'a Route,
    upstream: &'a Rc<Upstream>,
    /// Whether it may go over HTTP/2.
    http2: bool,
    asks_to_switch: bool,
    /// What is needed to send it once more, if that may be.
    head: Option<SentHead>,
    progress: Option<&'a Progress>,
    record: Option<&'a Record>,
    stopwatch: Stopwatch<'a>,
    arrived_at: Instant,
}

/// A connection, the generation of the token that goes over it, and when both were there.
struct Way {
    connection: Connection,
    generation: Option<u64>,
    ready_at: Instant,
}

impl Journey<'_> {
    async fn make(
        &self,
        mut request: Box<Request<OutgoingBody>>,
        now: Instant,
    ) -> Result<Answer, Rejection> {
        let headers = request.headers_mut();
        let way = match self.open_way(headers, now)? {
            Some(way) => way,
            None => self.connect(headers, &mut self.retries()).await?,
        };
        let (answer, generation) = self.send(way, request, self.head.as_ref()).await?;
        match (&self.route.token, generation) {
            (Some(reader), Some(refused)) if is_refusal(reader, &answer.response) => {
                // Told in any case: whether this request can be repeated or not, the next one is to
                // have a better token.
                let refusal = reader.refuse(refused, &self.route.settings.name);
                // Boxed, as whatever is rare: every request makes room for what it may come to wait
                // for, and pays for the room.
                Box::pin(self.after(refusal, answer)).await
            }
            _ => Ok(answer),
        }
    }

    /// The answer to the request with another token; the refusal itself if there is no such token,
    /// or the request cannot be sent again.
    async fn after(&self, refusal: Refusal, refused: Answer) -> Result<Answer, Rejection> {
        let head = self.head.as_ref();
        let Some((head, body)) = head.zip(whole_body(self.progress)) else {
            return Ok(refused);
        };
        let another = match refusal {
            Refusal::Superseded => true,
            Refusal::Awaited(successor) => successor.arrives_within(self.patience()).await,
            Refusal::HeldBack | Refusal::Unmended => false,
        };
        match another {
            true => self.replay(Box::new(head.with_body(body)), refused).await,
            false => Ok(refused),
        }
    }

    /// How long to wait for another token. Of a request that has its time only half of what is left:
    /// what comes of the wait is either sent again, or the refusal that is at hand.
    fn patience(&self) -> Duration {
        let Some(limit) = self.route.settings.timeouts.request else {
            return PATIENCE;
        };
        let left = (self.arrived_at + limit).saturating_duration_since(Instant::now());
        PATIENCE.min(left / 2)
    }

    /// Once, whatever the second answer is. As long as nothing has been sent again, the caller gets
    /// the first; after that a failure is a failure, because the upstream may have acted on the
    /// request.
    async fn replay(
        &self,
        mut request: Box<Request<OutgoingBody>>,
        first: Answer,
    ) -> Result<Answer, Rejection> {
        let headers = request.headers_mut();
        let way = match self.open_way(headers, Instant::now()) {
            Ok(None) => self.connect(headers, &mut self.retries()).await.map(Some),
            open => open,
        };
        let Ok(Some(way)) = way else {
            return Ok(first);
        };
        self.route.metrics.replayed();
        let (second, _) = self.send(way, request, None).await?;
        if let Some(reader) = &self.route.token
            && is_refusal(reader, &second.response)
        {
            reader.refused_again(&self.route.settings.name);
        }
        Ok(second)
    }

    /// Puts the token into a request that is otherwise ready, and finds a connection for it among
    /// those that are open. Not async: nearly every request comes by here, and none waits.
    fn open_way(&self, headers: &mut HeaderMap, now: Instant) -> Result<Option<Way>, Rejection> {
        let generation = authorize(self.route, headers, now, self.record)?;
        let connection = self.upstream.open_connection(self.http2, now);
        Ok(connection.map(|connection| {
            self.route.metrics.reused();
            Way {
                connection,
                generation,
                ready_at: Instant::now(),
            }
        }))
    }

    fn retries(&self) -> u32 {
        self.route.settings.retries
    }

    /// Sends a request. Also says which generation of the token went with it.
    async fn send(
        &self,
        mut way: Way,
        mut request: Box<Request<OutgoingBody>>,
        head: Option<&SentHead>,
    ) -> Result<(Answer, Option<u64>), Rejection> {
        let (mut retries, mut goodbyes) = (self.retries(), 0);
        loop {
            if let Some(record) = self.record {
                record.sent(&mut request);
            }
            self.stopwatch.pass(Turn::Upstream, way.ready_at);
            let sent = way.connection.send(request, way.ready_at, self.progress);
            let outcome = sent.await;
            let now = Instant::now();
            self.stopwatch.pass(Turn::Gatepass, now);
            if let Some(record) = self.record {
                let answer = outcome.as_ref().ok();
                record.answered_by_upstream(answer.map(|answer| answer.response.status()), now);
            }
            let failed = match outcome {
                Ok(mut answer) => {
                    let response = &mut answer.response;
                    let keep_alive =
                        forward::prepare_response(response, self.asks_to_switch, self.route)?;
                    if let Some(announced) = keep_alive {
                        answer.lease.heed(announced);
                    }
                    return Ok((answer, way.generation));
                }
                Err(failed) => failed,
            };
            let metrics = &self.route.metrics;
            let (again, error, reason) = match failed {
                // A connection that had been open for a while and closed before anything was sent:
                // a fresh one is as good as a first try. Another open one might be just as dead.
                SendError::Unsent {
                    request: unsent,
                    was_open: true,
                    ..
                } => {
                    request = unsent;
                    metrics.retried(Retry::Unsent);
                    way = self.connect(request.headers_mut(), &mut retries).await?;
                    continue;
                }
                SendError::Unsent { request, error, .. } => (Some(request), error, Retry::Unsent),
                SendError::Refused(error) => {
                    let again = head.and_then(|head| head.once_more(self.progress));
                    (again.map(Box::new), error, Retry::Refused)
                }
                SendError::Left { request, error } => {
                    if goodbyes < MOST_GOODBYES {
                        goodbyes += 1;
                        retries += 1;
                    }
                    let reason = match request {
                        Some(_) => Retry::Unsent,
                        None => Retry::Refused,
                    };
                    let once_more = || head?.once_more(self.progress).map(Box::new);
                    (request.or_else(once_more), error, reason)
                }
                SendError::Closed(error) => {
                    let again = head.and_then(|head| head.repeated(self.progress));
                    (again.map(Box::new), error, Retry::Closed)
                }
                SendError::Failed(error) => return Err(Rejection::upstream(self.route, &error)),
            };
            let left = retries.checked_sub(1);
            let (Some(again), Some(left)) = (again, left) else {
                return Err(Rejection::upstream(self.route, &error));
            };
            debug!(
                route = &*self.route.settings.name,
                "a request is tried again: upstream {error}"
            );
            metrics.retried(reason);
            (request, retries) = (again, left);
            way = self.connect(request.headers_mut(), &mut retries).await?;
        }
    }

    /// Makes a connection, and authorizes the request anew: it took time, and a token may have
    /// ended.
    async fn connect(&self, headers: &mut HeaderMap, retries: &mut u32) -> Result<Way, Rejection> {
        let metrics = &self.route.metrics;
        self.stopwatch.pass(Turn::Connecting, Instant::now());
        let connection = loop {
            match Box::pin(self.upstream.connect(self.http2, metrics)).await {
                Ok(connection) => break connection,
                Err(error) => {
                    let pause = match &error {
                        UpstreamError::Connect(error) => error.may_pass_after(),
                        _ => None,
                    };
                    let (Some(left), Some(pause)) = (retries.checked_sub(1), pause) else {
                        return Err(Rejection::upstream(self.route, &error));
                    };
                    metrics.retried(Retry::Connect);
                    *retries = left;
                    Box::pin(sleep(pause)).await;
                }
            }
        };
        let ready_at = Instant::now();
        self.stopwatch.pass(Turn::Gatepass, ready_at);
        let generation = authorize(self.route, headers, ready_at, self.record)?;
        Ok(Way {
            connection,
            generation,
            ready_at,
        })
    }
}

/// Puts the route's token into the request in place of whatever the caller sent, or refuses the
/// request: nothing leaves a route with a credential without a token that is good now. Says which
/// generation it was.
///
/// The refresher takes a token away when it ends. That it is compared with the clock here as well
/// costs nothing, for the clock has been read for the request anyway, and holds when the control
/// plane stalls: on a log pipe that nobody reads, or on a machine that was asleep.
///
/// # Errors
///
/// There is no such token.
pub fn authorize(
    route: &Route,
    headers: &mut HeaderMap,
    now: Instant,
    record: Option<&Record>,
) -> Result<Option<u64>, Rejection> {
    let Some(reader) = &route.token else {
        if let Some(record) = record {
            record.authorized(None, now);
        }
        return Ok(None);
    };
    let state = reader.load();
    match state.valid().filter(|token| token.retire_at() > now) {
        Some(token) => {
            if let Some(record) = record {
                record.authorized(Some(token), now);
            }
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

/// How often a request that was left behind is sent again without that being one of its retries. Servers
/// leave a connection after so many requests, and of those that came together the next one may take as
/// many only.
const MOST_GOODBYES: u32 = 10;

#[cfg(test)]
mod tests;
