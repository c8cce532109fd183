//! Making one connection: name, TCP or Unix socket, TLS, HTTP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::Origin;
use super::acknowledged::Acknowledged;
use super::announcing::Announcing;
use super::held::{Counted, Held};
use super::last_words::LastWords;
use super::origin::Tls;
use super::race;
use super::resolve::Resolver;
use super::turns::Turns;
use crate::gathering::{Batch, Gathering};
use crate::proxy::body::OutgoingBody;
use crate::proxy::metrics::Cause;
use crate::tls::{self, HTTP2};

/// How connections to one upstream are made.
pub(super) struct Connector {
    place: Place,
    tls: Option<Tls>,
    speaks_http2: bool,
    limit: Duration,
    max_headers: Option<usize>,
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
    pub(super) fn new(origin: &Origin, limit: Duration, max_headers: Option<usize>) -> Self {
        Self {
            place: match &origin.socket {
                Some(path) => Place::Unix(path.clone()),
                None => Place::Tcp(Resolver::new(origin)),
            },
            tls: origin.tls.clone(),
            speaks_http2: origin.speaks_http2(),
            limit,
            max_headers,
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
        let deadline = Instant::now() + self.limit;
        let limit = self.limit;
        let in_time = |step| move |_| ConnectError::TooLate { step, limit };

        let stream = match &self.place {
            Place::Unix(path) => {
                let connected = timeout_at(deadline, UnixStream::connect(path))
                    .await
                    .map_err(in_time("the connection"))?;
                let stream = connected.map_err(|error| ConnectError::Unix(error.to_string()))?;
                return timeout_at(
                    deadline,
                    self.speak(LastWords::of(Gathering::new(stream)), held),
                )
                .await
                .map_err(in_time("the start of HTTP"))?;
            }
            Place::Tcp(resolver) => {
                let addresses = timeout_at(deadline, resolver.addresses())
                    .await
                    .map_err(in_time("the name look-up"))??;
                timeout_at(deadline, race::connect(&addresses))
                    .await
                    .map_err(in_time("the TCP connection"))?
                    .map_err(ConnectError::Tcp)?
            }
        };
        // Requests are written whole; waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = Acknowledged::new(stream, held.allowance().clone());
        let stream = LastWords::of(Gathering::new(stream));
        let Some(tls) = &self.tls else {
            return timeout_at(deadline, self.speak(stream, held))
                .await
                .map_err(in_time("the start of HTTP"))?;
        };
        let config = match http2 {
            true => &tls.either,
            false => &tls.http1,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = timeout_at(deadline, connector.connect(tls.server_name.clone(), stream))
            .await
            .map_err(in_time("the TLS handshake"))?
            .map_err(|error| ConnectError::tls(&error))?;
        let chosen = stream.get_ref().1.alpn_protocol();
        match chosen {
            Some(HTTP2) => timeout_at(deadline, over_http2(stream, held.counted()))
                .await
                .map_err(in_time("the start of HTTP"))?,
            _ => over_http1(stream, held.counted(), self.max_headers).await,
        }
    }

    /// HTTP without TLS, in the version that is known beforehand.
    async fn speak<T>(&self, stream: T, held: &Held) -> Result<Connected, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.speaks_http2 {
            true => over_http2(stream, held.counted()).await,
            false => over_http1(stream, held.counted(), self.max_headers).await,
        }
    }
}

pub(super) async fn over_http1<T>(
    stream: T,
    counted: Rc<Counted>,
    max_headers: Option<usize>,
) -> Result<Connected, ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    if let Some(most) = max_headers {
        builder.max_headers(most);
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
    tokio::task::spawn_local(async move {
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
    tokio::task::spawn_local(async move {
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
        connection
            .as_ref()
            .map_or(0, http2::Connection::current_max_send_streams)
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

/// Which step failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("its name cannot be resolved ({0}); check upstream and the DNS")]
    Name(String),
    #[error("no connection ({0}); check upstream, and whether it is up")]
    Tcp(String),
    #[error("no connection ({0}); check the path, who may use the socket, and whether it is up")]
    Unix(String),
    #[error("{step} was not done after {limit:?}")]
    TooLate { step: &'static str, limit: Duration },
    #[error("the TLS handshake failed ({error}); {}", advice(error))]
    Tls { error: String, broken_off: bool },
    #[error("the connection could not be used ({0})")]
    Http(String),
    #[error("{0} connections are in use, which is all that max_connections allows")]
    TooMany(usize),
}

impl ConnectError {
    fn tls(error: &io::Error) -> Self {
        Self::Tls {
            // A certificate that is refused is refused again.
            broken_off: error.kind() != io::ErrorKind::InvalidData,
            error: error.to_string(),
        }
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Name(_) => Cause::Dns,
            Self::Tcp(_) | Self::Unix(_) => Cause::Connect,
            Self::TooLate { .. } => Cause::Timeout,
            Self::Tls { .. } => Cause::Tls,
            Self::Http(_) => Cause::Http,
            Self::TooMany(_) => Cause::Limit,
        }
    }

    /// Whether the next attempt may well succeed: one of several servers has gone, and another
    /// takes its place.
    pub(in crate::proxy) fn may_be_passing(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Http(_) => true,
            Self::Tls { broken_off, .. } => *broken_off,
            Self::Name(_) | Self::Unix(_) | Self::TooLate { .. } | Self::TooMany(_) => false,
        }
    }
}

fn advice(error: &str) -> &'static str {
    tls::advice(error, true).unwrap_or("check upstream, and what it asks of its clients")
}

/// The most that one connection buffers in each direction, and so the largest head of an answer.
/// hyper's own maximum is faster for bulk, and needs 78 MiB for 64 bulk streams where this needs
/// 29 MiB.
const BUFFER: usize = 64 * 1024;

/// The largest head of an answer in HTTP/2.
const HEADER_LIST: u32 = 64 * 1024;

/// How much of one answer, and of all on one connection, may be under way before the caller has
/// taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// When a connection with requests on it is asked whether it is still there, and how long it may
/// take to say so. Not more often: servers of gRPC count pings in a silent stream, and after a few of
/// them end the connection (ENHANCE_YOUR_CALM). One on which nothing is acknowledged is over sooner.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);
