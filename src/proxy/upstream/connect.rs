//! Making one connection: name, TCP or Unix socket, TLS, HTTP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tracing::debug;

use super::Origin;
use super::acknowledged::Acknowledged;
use super::announcing::Announcing;
use super::connect_error::{ConnectError, Step};
use super::doubts::Doubts;
use super::held::{Counted, Held};
use super::last_words::LastWords;
use super::origin::Tls;
use super::race;
use super::resolve::Resolver;
use super::turns::Turns;
use super::unix;
use crate::gathering::{Batch, Gathering};
use crate::proxy::body::OutgoingBody;
use crate::proxy::route::USUAL_HEADERS;
use crate::runtime::spawn;
use crate::tls::HTTP2;

/// How connections to one upstream are made.
pub(super) struct Connector {
    place: Place,
    tls: Option<Tls>,
    speaks_http2: bool,
    limit: Duration,
    max_headers: usize,
    doubts: Doubts,
}

enum Place {
    Tcp(Resolver),
    Unix(PathBuf),
}

/// The sending half of a new connection. The other half runs as a task of its own until the
/// connection ends.
pub(super) enum Connected {
    Http1(http1::SendRequest<OutgoingBody>),
    Http2(Http2),
}

/// The sending half of an HTTP/2 connection.
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<OutgoingBody>,
    /// How many requests the upstream takes at once (SETTINGS_MAX_CONCURRENT_STREAMS), which may
    /// change.
    pub(super) streams: Box<dyn Fn() -> usize>,
}

impl Connector {
    /// `limit` is how long it may take in all, `max_headers` how many fields an answer may have.
    pub(super) fn new(origin: &Origin, limit: Duration, max_headers: usize) -> Self {
        Self {
            place: match &origin.socket {
                Some(path) => Place::Unix(path.clone()),
                None => Place::Tcp(Resolver::new(origin, limit)),
            },
            tls: origin.tls.clone(),
            speaks_http2: origin.speaks_http2(),
            limit,
            max_headers,
            doubts: Doubts::default(),
        }
    }

    /// Knows where the other one's name led last, if that is its own.
    pub(super) fn learn_from(&self, other: &Self) {
        if let (Place::Tcp(own), Place::Tcp(others)) = (&self.place, &other.place) {
            own.learn_from(others);
        }
    }

    /// Whether HTTP/2 may come of it.
    pub(super) fn may_speak_http2(&self) -> bool {
        self.speaks_http2 || self.tls.is_some()
    }

    /// Makes a connection, in HTTP/2 only if the upstream speaks that and `http2` says that it is
    /// welcome. It lives as long as it is `held`, and little longer.
    pub(super) async fn connect(
        &self,
        http2: bool,
        held: &Held,
    ) -> Result<Connected, ConnectError> {
        let deadline = Deadline::after(self.limit);
        let resolver = match &self.place {
            Place::Unix(path) => {
                let connected = timeout_at(deadline.at, unix::connect(path)).await;
                let stream = connected
                    .map_err(deadline.missed(Step::Unix))?
                    .map_err(|error| ConnectError::Unix(error.to_string()))?;
                let stream = Either::Left(heard_out(Either::Right(stream)));
                return self.speak(stream, self.speaks_http2, held, deadline).await;
            }
            Place::Tcp(resolver) => resolver,
        };
        let addresses = timeout_at(deadline.at, resolver.addresses()).await;
        let addresses = addresses.map_err(deadline.missed(Step::Name))??;
        let connected = timeout_at(deadline.at, race::connect(&addresses.list, &self.doubts)).await;
        let (stream, address) = connected
            .map_err(deadline.missed(Step::Tcp))
            .map_err(|late| late.at(&addresses.all()))?
            .map_err(|failures| ConnectError::Tcp(addresses.told(&failures)))?;
        held.leads_to(address);
        let another = self.doubts.leave_another(&addresses.list, address);
        let deadline = match another {
            // So that time is left for it.
            true => deadline.halved(),
            false => deadline,
        };
        let begun = self.begin(stream, http2, held, deadline).await;
        begun.map_err(|error| {
            self.doubts.note(address);
            let error = error.at(&addresses.told(&address.to_string()));
            match another {
                true => ConnectError::ThisAddress(Box::new(error)),
                false => error,
            }
        })
    }

    /// Says that a connection to an address was of no use.
    pub(super) fn doubt(&self, address: SocketAddr) {
        self.doubts.note(address);
    }

    /// All that comes after TCP.
    async fn begin(
        &self,
        stream: TcpStream,
        http2: bool,
        held: &Held,
        deadline: Deadline,
    ) -> Result<Connected, ConnectError> {
        let socket = Either::Left(Acknowledged::new(stream, held.allowance().clone()));
        let stream = heard_out(socket);
        let Some(tls) = &self.tls else {
            let stream = Either::Left(stream);
            return self.speak(stream, self.speaks_http2, held, deadline).await;
        };
        let config = match http2 {
            true => &tls.either,
            false => &tls.http1,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let handshake = connector.connect(tls.server_name.clone(), stream);
        let stream = timeout_at(deadline.at, handshake)
            .await
            .map_err(deadline.missed(Step::Tls))?
            .map_err(|error| ConnectError::tls(&error))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        let stream = Either::Right(Box::new(stream));
        self.speak(stream, http2, held, deadline).await
    }

    /// HTTP, in a version that both know.
    async fn speak(
        &self,
        stream: Stream,
        http2: bool,
        held: &Held,
        deadline: Deadline,
    ) -> Result<Connected, ConnectError> {
        let connected = async {
            match http2 {
                true => over_http2(stream, held.counted()).await,
                false => over_http1(stream, held.counted(), self.max_headers).await,
            }
        };
        timeout_at(deadline.at, connected)
            .await
            .map_err(deadline.missed(Step::Http))?
    }
}

/// What leads to an upstream.
type Socket = Either<Acknowledged, UnixStream>;

/// What is gathered is what the kernel gets: a head and a body, or a record of TLS.
type Plain = LastWords<Gathering<Socket>>;

/// What HTTP is spoken on. One type for all upstreams, so that it is compiled once; boxed, because what
/// TLS needs is larger than all else by far.
type Stream = Either<Plain, Box<TlsStream<Plain>>>;

fn heard_out(socket: Socket) -> Plain {
    LastWords::of(Gathering::new(socket))
}

/// By when a connection has to be there, and how long that was.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        let at = Instant::now() + limit;
        Self { at, limit }
    }

    /// Half of the time from now on, if there is as much.
    fn halved(self) -> Self {
        let half = Self::after(self.limit / 2);
        Self {
            at: self.at.min(half.at),
            ..half
        }
    }

    /// What it means that a step was not done by then.
    fn missed(self, step: Step) -> impl FnOnce(Elapsed) -> ConnectError {
        move |_| ConnectError::too_late(step, self.limit)
    }
}

pub(super) async fn over_http1<T>(
    stream: T,
    counted: Rc<Counted>,
    max_headers: usize,
) -> Result<Connected, ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    // hyper asks for memory with each answer where it has been told.
    if max_headers != USUAL_HEADERS {
        builder.max_headers(max_headers);
    }
    let (sender, connection) = builder
        .max_buf_size(BUFFER)
        // RFC 9112 §5.1, of whitespace between a field name and its colon: "A proxy MUST remove any
        // such whitespace from a response message before forwarding the message downstream." Of
        // folded lines §5.2 leaves it the choice of a 502; to look for them in each value costs
        // every answer.
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ConnectError::Http(error.to_string()))?;
    spawn(async move {
        let connection = pin!(connection.with_upgrades());
        if let Some(Err(error)) = counted.drive(connection).await {
            debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Connected::Http1(sender))
}

pub(super) async fn over_http2<T>(
    stream: T,
    counted: Rc<Counted>,
) -> Result<Connected, ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    counted.allowance.lift();
    let arrivals = Rc::<Notify>::default();
    let batch = Batch::new(Announcing::new(stream, Rc::clone(&arrivals)));
    let (sender, connection) = http2::Builder::new(Turns::of(&batch, counted))
        .timer(TokioTimer::new())
        // A peer that has vanished does not say so, and every request would be sent to it.
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_PATIENCE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .max_header_list_size(HEADER_LIST)
        // RFC 9113 §6.5.2: "Initially, there is no limit to this value", and requests beyond the
        // one that the upstream then sets would wait in hyper instead of taking another connection.
        .initial_max_send_streams(0)
        .handshake(TokioIo::new(batch))
        .await
        .map_err(|error| ConnectError::Http(error.to_string()))?;
    let connection = Rc::new(RefCell::new(Some(connection)));
    let (driven, ended) = (Rc::clone(&connection), Rc::clone(&arrivals));
    spawn(async move {
        let drive = poll_fn(|cx| match &mut *driven.borrow_mut() {
            Some(connection) => Pin::new(connection).poll(cx),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = drive.await {
            debug!(%error, "an upstream connection ended");
        }
        // Its sending half looks open as long as it is there.
        driven.take();
        ended.notify_one();
    });
    let streams = move || {
        let connection = connection.borrow();
        let allowed = connection
            .as_ref()
            .map_or(0, http2::Connection::current_max_send_streams);
        allowed.min(MOST_STREAMS as usize)
    };
    let http2 = Http2 {
        sender,
        streams: Box::new(streams),
    };
    // What the upstream allows is in the first thing that it sends.
    while (http2.streams)() == 0 {
        arrivals.notified().await;
        if http2.sender.is_closed() {
            return Err(ConnectError::Http("it ended before it was set up".into()));
        }
    }
    Ok(Connected::Http2(http2))
}

/// The most that one connection buffers in each direction, and so the largest head of an answer.
/// hyper's own maximum is faster for bulk, and needs 78 MiB for 64 bulk streams where this needs
/// 29 MiB.
const BUFFER: usize = 64 * 1024;

/// The largest head of an answer in HTTP/2.
const HEADER_LIST: u32 = 64 * 1024;

/// How much of one answer may be under way before the caller has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many requests share a connection. There is room for all that their answers may have under way:
/// with less, some callers that read slowly, as those of event streams do, would hold up all others.
/// h2 also ends a connection, with all that is on it, when small frames lie there that take half of
/// this room beside their bytes.
const MOST_STREAMS: u32 = 128;
const CONNECTION_WINDOW: u32 = MOST_STREAMS * STREAM_WINDOW;

/// When a connection with requests on it is asked whether it is still there, and how long it may
/// take to say so. Not more often: servers of gRPC want five minutes between two pings in a silent
/// stream, and at the third that comes sooner they end the connection with all that is on it
/// (ENHANCE_YOUR_CALM, "too_many_pings"). One on which nothing is acknowledged is over sooner.
const PING_AFTER: Duration = Duration::from_secs(310);
const PING_PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::proxy::metrics::Cause;
    use crate::tls::{Trust, client_config};

    #[tokio::test(flavor = "local")]
    async fn what_one_address_does_not_mend_another_may() {
        let tls = client_config(&Trust::Nobody, None).unwrap();
        let origin = |url: &str| Origin::new(&url.parse().unwrap(), &tls, None).unwrap();
        let cleartext = origin("http://upstream.test").over_http2();
        for (origin, step, cause) in [
            (
                origin("https://upstream.test"),
                "the TLS handshake",
                Cause::Tls,
            ),
            (cleartext, "the start of HTTP", Cause::Http),
        ] {
            // The kernel takes connections that nobody speaks on.
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let silent = (silent.local_addr().unwrap(), silent);
            let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let closing_address = closing.local_addr().unwrap();
            let _closing =
                tokio::task::spawn_local(async move { while closing.accept().await.is_ok() {} });
            let connector = Connector {
                place: Place::Tcp(Resolver::leading_to(&[silent.0, closing_address])),
                ..Connector::new(&origin, Duration::from_millis(500), USUAL_HEADERS)
            };
            let connections = Rc::default();
            let attempt = async || {
                let held = Held::one_of(&connections);
                let error = connector.connect(false, &held).await.err().unwrap();
                (error.to_string(), error.cause(), error.may_pass_after())
            };
            let (error, late, again) = attempt().await;
            let half = format!("{step} ({}) was not done after 250ms", silent.0);
            assert!(error.starts_with(&half), "{error}");
            assert_eq!(late, Cause::Timeout, "{error}");
            assert_eq!(again, Some(Duration::ZERO), "there is another");

            let (error, closed, again) = attempt().await;
            assert!(error.contains(&closing_address.to_string()), "{error}");
            assert_eq!(closed, cause, "{error}");
            assert!(again.is_some_and(|pause| !pause.is_zero()), "{error}");

            // All are in doubt, so it is as if there was one.
            let (error, _, again) = attempt().await;
            let whole = format!("{step} ({}) was not done after 500ms", silent.0);
            assert!(error.starts_with(&whole), "{error}");
            assert_eq!(again, None, "{error}");
        }
    }
}
