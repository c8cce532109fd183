//! One caller's connection, from its first byte to its last.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tracing::debug;

use super::Settings;
use super::activity::{Activity, Overdue, Phase};
use super::answering::Answering;
use super::bodies::{CallerBody, CallerConnection};
use super::exchange::{Exchange, Streams};
use super::handshake::Cause;
use super::intake::Accepted;
use super::listener::ServerTls;
use super::stream::{Caller, Socket, Stream, read_some, something_arrived};
use super::watched::{Refuse, WatchedStream};
use super::woken::WhenWoken;
use crate::drain::DrainWatch;
use crate::gathering::Batch;
use crate::runtime::LocalExecutor;
use crate::tls::HTTP2;

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
    let activity = Arc::new(Activity::new());
    let is_tls = origin.tls.is_some();
    let settings = &serving.settings;
    // One for the connection's whole life: whoever waits anew sets a timer anew.
    let mut overdue = pin!(WhenWoken::new(activity.overdue(settings)));
    let opened = tokio::select! {
        biased;
        opened = open(socket, origin.tls, &activity, &serving.drain) => opened,
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
        caller: Caller {
            peer: origin.peer,
            port: origin.port,
            tls: is_tls,
        },
        activity: &activity,
        serving: &serving,
    };
    let mut io = WatchedStream::new(
        opened.stream,
        opened.prefix,
        Arc::clone(&activity),
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

struct Opened {
    stream: Stream,
    /// What has been read to find the protocol.
    prefix: Bytes,
    protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Waits for the first bytes and finds out what they are; nothing if the drain begins before.
async fn open(
    socket: Socket,
    tls: Option<ServerTls>,
    activity: &Activity,
    drain: &DrainWatch,
) -> io::Result<Option<Opened>> {
    let Some(config) = tls else {
        return find_protocol(socket, activity, drain).await;
    };
    if !has_begun(something_arrived(&socket), drain).await? {
        return Ok(None);
    }
    activity.enter(Phase::Head);
    // Boxed, for those who speak no TLS would have room for it.
    let handshake = TlsAcceptor::from(config.load_full()).accept(socket);
    let stream = Box::pin(handshake).await?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(HTTP2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    activity.enter(Phase::Idle);
    Ok(Some(Opened {
        stream: Either::Right(Box::new(stream)),
        prefix: Bytes::new(),
        protocol,
    }))
}

/// Whether the caller says something before the drain begins, or right after. What has been accepted
/// and has begun to speak is served.
async fn has_begun<T>(
    first: impl Future<Output = io::Result<T>>,
    drain: &DrainWatch,
) -> io::Result<bool> {
    let mut first = pin!(first);
    tokio::select! {
        biased;
        arrived = first.as_mut() => return arrived.map(|_| true),
        () = drain.begun() => {}
    }
    // Who has only just connected is about to speak.
    match timeout(FIRST_WORD, first).await {
        Ok(arrived) => arrived.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// RFC 9113 §3.3: "A client that knows that a server supports HTTP/2 can establish a TCP connection
/// and send the connection preface followed by HTTP/2 frames. Servers can identify these
/// connections by the presence of the connection preface."
async fn find_protocol(
    mut socket: Socket,
    activity: &Activity,
    drain: &DrainWatch,
) -> io::Result<Option<Opened>> {
    let mut read = BytesMut::new();
    if !has_begun(read_some(&mut socket, &mut read), drain).await? {
        return Ok(None);
    }
    activity.received();
    let protocol = loop {
        let is_like_preface = read.iter().zip(PREFACE).all(|(read, of)| read == of);
        if !is_like_preface {
            break Protocol::Http1;
        }
        if read.len() >= PREFACE.len() {
            break Protocol::Http2;
        }
        activity.note_time();
        if read_some(&mut socket, &mut read).await? == 0 {
            break Protocol::Http1;
        }
    };
    Ok(Some(Opened {
        stream: Either::Left(socket),
        prefix: read.freeze(),
        protocol,
    }))
}

struct Connection<'a, S> {
    caller: Caller,
    activity: &'a Arc<Activity>,
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
        let Self {
            caller, activity, ..
        } = self;
        let Serving {
            service,
            settings,
            drain,
            ..
        } = self.serving;
        activity.served();
        let known = CallerConnection::new(*caller, Arc::clone(activity));
        let has_begun = Cell::new(false);
        let first_request = Notify::new();
        let service = service_fn(|request: Request<Incoming>| {
            if !has_begun.replace(true) {
                first_request.notify_one();
            }
            let begin = |now| Exchange::alone(activity, now);
            let call = |request| service.call(request);
            answer(call, request, &known, begin).that_ends_with(drain)
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
        loop {
            tokio::select! {
                biased;
                outcome = &mut connection => {
                    if let Err(error) = outcome {
                        debug!(%error, "a connection ended early");
                    }
                    break;
                }
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
        }
        if let Some(tunnel) = known.take_tunnel() {
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
        }
        None
    }

    async fn http2(&self, io: WatchedStream, mut overdue: Pin<&mut impl Future<Output = Overdue>>) {
        let Self {
            caller, activity, ..
        } = self;
        let Serving {
            service,
            settings,
            drain,
            ..
        } = self.serving;
        let streams = Streams::new(Arc::clone(activity));
        let known = CallerConnection::new(*caller, Arc::clone(activity));
        let service = service_fn(|request| {
            let begin = |now| streams.begin(now);
            // Boxed: a task is moved several times on its way to being run, and this one is large.
            let call = |request| Box::pin(service.call(request));
            answer(call, request, &known, begin)
        });
        let batch = Batch::new(io);
        let connection = http2::Builder::new(LocalExecutor)
            .max_concurrent_streams(settings.max_streams)
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
    let body = |body| CallerBody::new(body, connection.clone(), now, exchange.clone());
    Answering::new(call(request.map(body)), exchange)
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a caller who has connected may take to begin when gatepass stops.
const FIRST_WORD: Duration = Duration::from_millis(200);

/// How long a caller may take to be told that its connection ends.
const PARTING: Duration = Duration::from_secs(1);
