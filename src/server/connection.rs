//! One caller's connection, from its first byte to its last.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::EXPECT;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::Settings;
use super::activity::{Activity, Overdue};
use super::answering::Answering;
use super::bodies::{CallerBody, CallerConnection};
use super::exchange::{Exchange, Streams};
use super::handshake::Cause;
use super::intake::Accepted;
use super::opening::{FIRST_WORD, Protocol, open};
use super::stream::Caller;
use super::watched::{Refuse, WatchedStream};
use super::woken::WhenWoken;
use crate::drain::DrainWatch;
use crate::gathering::Batch;
use crate::runtime::LocalExecutor;

/// What the connections of a listener are served with.
pub(super) struct Serving<S> {
    pub(super) service: S,
    pub(super) refuse: Refuse,
    pub(super) settings: Settings,
    pub(super) drain: DrainWatch,
}

/// Serves HTTP on a connection until it is over, overdue, or the drain has let it finish.
pub(super) async fn serve<S, B>(accepted: Accepted, serving: Rc<Serving<S>>)
where
    S: Service<Request<CallerBody>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Accepted {
        socket,
        origin,
        place,
    } = accepted;
    let is_tls = origin.tls.is_some();
    let caller = Caller {
        peer: origin.peer,
        port: origin.port,
        tls: is_tls,
    };
    let caller = CallerConnection::new(caller, Arc::new(Activity::new()));
    let activity = caller.activity();
    let settings = &serving.settings;
    // One for the connection's whole life: whoever waits anew sets a timer anew.
    let mut overdue = pin!(WhenWoken::new(activity.overdue(settings)));
    let opened = tokio::select! {
        biased;
        // Boxed: a connection that rests does without the room that this takes.
        opened = Box::pin(open(socket, origin.tls, activity, &serving.drain)) => opened,
        why = overdue.as_mut() => {
            if is_tls && why == Overdue::Head {
                place.handshake_failed(origin.peer, Cause::TooLate, "it was not over in time");
            }
            return debug!(?why, "a connection is not waited for any longer");
        }
    };
    let opened = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(error) if is_tls => {
            return place.handshake_failed(origin.peer, Cause::of(&error), &error.to_string());
        }
        Err(error) => return debug!(%error, "a connection could not be opened"),
    };
    let connection = Connection {
        caller: &caller,
        serving: &serving,
    };
    let mut io = WatchedStream::new(
        opened.stream,
        opened.prefix,
        Arc::clone(activity),
        Refuse::clone(&serving.refuse),
    );
    // Boxed: what serves is large, and a connection that rests does without.
    match opened.protocol {
        Protocol::Http2 => Box::pin(connection.http2(io, overdue)).await,
        Protocol::Http1 => loop {
            match Box::pin(connection.http1(io, overdue.as_mut())).await {
                Some(resting) => io = resting,
                None => return,
            }
            tokio::select! {
                biased;
                arrived = io.something_arrived() => if let Err(error) = arrived {
                    return debug!(%error, "a connection ended early");
                },
                () = activity.rested(settings) => return,
                () = serving.drain.begun() => return,
            }
            overdue.set(WhenWoken::new(activity.overdue(settings)));
        },
    }
}

struct Connection<'a, S> {
    caller: &'a CallerConnection,
    serving: &'a Serving<S>,
}

impl<S, B> Connection<'_, S>
where
    S: Service<Request<CallerBody>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves HTTP/1.1 until the connection is over, or has not been used for a while. Then it is
    /// given back, and nothing else of it is left: hyper holds 13 KiB for each.
    async fn http1(
        &self,
        io: WatchedStream,
        mut overdue: Pin<&mut impl Future<Output = Overdue>>,
    ) -> Option<WatchedStream> {
        let caller = self.caller;
        let activity = caller.activity();
        let Serving {
            service,
            settings,
            drain,
            ..
        } = self.serving;
        activity.served();
        let has_begun = Cell::new(false);
        let first_request = Notify::new();
        let service = service_fn(|request: Request<Incoming>| {
            if !has_begun.replace(true) {
                first_request.notify_one();
            }
            let begin = |now| Exchange::alone(activity, now);
            let call = |request| service.call(request);
            answer(call, request, caller, begin).that_ends_with(drain)
        });
        let mut connection = http1::Builder::new()
            // hyper's own deadline covers the idle time before a head as well; `Activity` tells
            // the two apart.
            .header_read_timeout(None)
            .max_headers(settings.max_headers)
            .max_buf_size(settings.max_header_bytes)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut leaving = pin!(WhenWoken::new(async {
            drain.begun().await;
            // hyper closes a connection of which it has read nothing yet, also if a request waits
            // there.
            if !has_begun.get() {
                let _ = timeout(FIRST_WORD, first_request.notified()).await;
            }
        }));
        let mut draining = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut connection => break outcome,
                why = overdue.as_mut() => {
                    let parts = connection.into_parts()?;
                    let mut io = parts.io.into_inner();
                    if why == Overdue::Unused {
                        io.give_back(parts.read_buf);
                        return Some(io);
                    }
                    debug!(?why, "a connection is not waited for any longer");
                    if why == Overdue::Head {
                        let _ = timeout(PARTING, io.refuse(StatusCode::REQUEST_TIMEOUT)).await;
                    }
                    return None;
                }
                () = leaving.as_mut(), if !draining => {
                    draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = &outcome {
            debug!(%error, "a connection ended early");
        }
        if let Some(tunnel) = caller.take_tunnel() {
            let its_time_is_over = async {
                drain.begun().await;
                match settings.drain_upgrades {
                    Some(limit) => sleep(limit).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = tunnel => {}
                () = its_time_is_over => debug!("a switched connection is cut, because gatepass stops"),
            }
            return None;
        }
        let io = {
            let parts = connection.into_parts()?;
            let is_tls = outcome.is_err() && parts.read_buf.starts_with(TLS_HANDSHAKE);
            let io = parts.io.into_inner();
            // The answer says so as well, and is nothing that a caller of TLS shows to anybody.
            if is_tls && io.has_refused() {
                warn!(
                    caller = %caller.peer(),
                    "a caller speaks TLS to a listener without it; let it use http://, or a listener with tls:"
                );
            }
            io
        };
        // What has broken off must not look as if this were its end.
        if io.has_refused() || outcome.is_ok() && activity.has_given_up() {
            Box::pin(close_in_stages(io, drain)).await;
        }
        None
    }

    async fn http2(&self, io: WatchedStream, mut overdue: Pin<&mut impl Future<Output = Overdue>>) {
        let caller = self.caller;
        let activity = caller.activity();
        let Serving {
            service,
            settings,
            drain,
            ..
        } = self.serving;
        let streams = Streams::new(Arc::clone(activity));
        let service = service_fn(|request: Request<Incoming>| {
            let is_head = request.method() == Method::HEAD;
            let begin = |now| streams.begin(now, is_head);
            // Boxed: a task is moved several times on its way to being run, and this one is large.
            let call = |request| Box::pin(service.call(request));
            answer(call, request, caller, begin)
        });
        let batch = Batch::new(io);
        let connection = http2::Builder::new(LocalExecutor)
            .max_concurrent_streams(settings.max_streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(window_for(settings.max_streams))
            // A caller may call off at once all that it has under way. At the 21st request that is
            // called off before it has been looked at h2 ends the connection, with all others on it.
            .max_pending_accept_reset_streams(settings.max_streams as usize)
            .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(settings.max_header_bytes)
            .serve_connection(TokioIo::new(batch.clone()), service);
        let mut connection = pin!(connection);
        let mut stalled = pin!(WhenWoken::new(streams.stalled(settings.stalled)));
        let mut overdue = pin!(async {
            tokio::select! {
                why = overdue.as_mut() => why,
                () = stalled.as_mut() => Overdue::Stalled,
            }
        });
        let mut leaving = pin!(WhenWoken::new(drain.begun()));
        let mut draining = false;
        // What its streams have to say after a turn leaves together.
        let turn = |connection: Pin<&mut _>, cx: &mut Context<'_>| {
            let outcome = Future::poll(connection, cx);
            batch.send(cx);
            outcome
        };
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = poll_fn(|cx| turn(connection.as_mut(), cx)) => break outcome,
                why = overdue.as_mut() => {
                    debug!(?why, "a connection is not waited for any longer");
                    if why != Overdue::Idle {
                        return;
                    }
                    // RFC 9113 §6.8: by GOAWAY a caller knows that a request that it sends just
                    // now has not been looked at.
                    connection.as_mut().graceful_shutdown();
                    let rest = poll_fn(|cx| turn(connection.as_mut(), cx));
                    match timeout(PARTING, rest).await {
                        Ok(outcome) => break outcome,
                        Err(_) => return,
                    }
                }
                () = leaving.as_mut(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = outcome {
            debug!(%error, "a connection ended early");
        }
    }
}

/// RFC 9112 §9.6: "If a server performs an immediate close of a TCP connection, there is a significant
/// risk that the client will not be able to read the last HTTP response." What is still on its way
/// would be answered by a reset. "To avoid the TCP reset problem, servers typically close a
/// connection in stages."
async fn close_in_stages(mut io: WatchedStream, drain: &DrainWatch) {
    let stopping = async {
        drain.begun().await;
        sleep(PARTING).await;
    };
    tokio::select! {
        _ = io.hear_out() => {}
        () = sleep(HEARING_OUT) => {}
        () = stopping => {}
    }
}

/// Has a request answered by whom it calls, and notes how far either body has come.
fn answer<'a, F>(
    call: impl FnOnce(Request<CallerBody>) -> F,
    request: Request<Incoming>,
    connection: &CallerConnection,
    begin: impl FnOnce(Instant) -> Exchange,
) -> Answering<'a, F> {
    // All that is to know when it came takes this time: the clock is not free.
    let now = Instant::now();
    let exchange = begin(now);
    let is_held_back = !request.body().is_end_stream() && request.headers().contains_key(EXPECT);
    let body = |body| {
        CallerBody::new(
            body,
            connection.clone(),
            now,
            is_held_back,
            exchange.clone(),
        )
    };
    Answering::new(call(request.map(body)), exchange)
}

/// How much of one request's body may be under way before the upstream has taken it.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Room for all that the bodies on one connection may have under way: with less, an upstream that takes
/// one slowly would hold up all others.
///
/// RFC 9113 §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1 octets."
fn window_for(streams: u32) -> u32 {
    let most = i32::MAX.unsigned_abs();
    STREAM_WINDOW.saturating_mul(streams).min(most)
}

/// RFC 8446 §5.1: the type of a record (handshake, 22), and the first half of its version.
const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// How long a caller may take to be told that its connection ends.
const PARTING: Duration = Duration::from_secs(1);

/// How long one that has been answered early may take to send the rest of its request.
const HEARING_OUT: Duration = Duration::from_secs(5);
