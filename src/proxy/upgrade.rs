//! WebSocket (RFC 6455): the one protocol to which a connection may switch, if the caller asks and
//! the upstream agrees.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::hop_by_hop::lists;
use super::metrics::InFlight;
use super::present::{Field, Present};
use super::upstream::{Answer, Lease};
use crate::server::{CallerBody, CallerConnection};

/// A caller that asks for WebSocket.
pub(super) struct Asked {
    caller: OnUpgrade,
    connection: CallerConnection,
}

impl Asked {
    /// RFC 6455 §4.1: "The method of the request MUST be GET, and the HTTP version MUST be at least
    /// 1.1", with `Upgrade: websocket` and `Connection: Upgrade`. Nothing else is asked for in the
    /// upstream's name: `h2c` in particular would carry requests past the route.
    pub(super) fn of(request: &mut Request<CallerBody>, present: Present) -> Option<Self> {
        let asks = present.has(Field::Upgrade)
            && request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && names_websocket(request.headers());
        asks.then(|| Self {
            connection: request.body().connection(),
            caller: hyper::upgrade::on(request),
        })
    }

    /// Once the upstream has agreed: what goes on on the caller's connection when HTTP is over.
    pub(super) fn tunnel(
        self,
        answer: Answer,
        idle: Duration,
        in_flight: InFlight,
    ) -> Response<()> {
        let Answer {
            mut response,
            lease,
        } = answer;
        let upstream = hyper::upgrade::on(&mut response);
        self.connection
            .open_tunnel(tunnel(self.caller, upstream, idle, in_flight, lease));
        response.map(drop)
    }
}

/// Puts back what had to go with the fields of one hop, in a request as in its answer.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Whether an answer switches to what was asked for, and to nothing else.
pub(super) fn is_agreed<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && names_websocket(response.headers())
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    let is_websocket = upgrade.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"));
    is_websocket && lists(headers, &CONNECTION, b"upgrade")
}

/// Carries bytes both ways until one side ends, or neither says anything for too long.
async fn tunnel(
    caller: OnUpgrade,
    upstream: OnUpgrade,
    idle: Duration,
    in_flight: InFlight,
    _lease: Lease,
) {
    let (mut caller, mut upstream) = match tokio::try_join!(caller, upstream) {
        Ok((caller, upstream)) => (TokioIo::new(caller), TokioIo::new(upstream)),
        Err(error) => return debug!(%error, "a switch to WebSocket failed"),
    };
    let due = Due {
        at: Cell::new(Instant::now() + idle),
        patience: Cell::new(idle),
    };
    let mut caller = Noticed {
        stream: &mut caller,
        due: &due,
        bytes: in_flight.request_bytes(),
    };
    let mut upstream = Noticed {
        stream: &mut upstream,
        due: &due,
        bytes: in_flight.answer_bytes(),
    };
    let silent = async {
        while due.at.get() > Instant::now() {
            // Its end may have come nearer meanwhile.
            sleep_until(due.at.get().min(Instant::now() + PARTING)).await;
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut caller, &mut upstream) => {
            if let Err(error) = ended {
                debug!(%error, "a WebSocket was broken off");
            }
        }
        () = silent => debug!("a WebSocket was silent for too long"),
    }
}

/// When a tunnel is over because nothing is said.
struct Due {
    at: Cell<Instant>,
    patience: Cell<Duration>,
}

/// Notices what arrives, and that nothing more will.
struct Noticed<'a> {
    stream: &'a mut TokioIo<Upgraded>,
    due: &'a Due,
    bytes: &'a IntCounter,
}

impl AsyncRead for Noticed<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buffer))?;
        let due = self.due;
        let read = buffer.filled().len() - before;
        self.bytes.inc_by(read as u64);
        if read == 0 {
            // One side has ended; the other has a last word, and no more.
            due.patience.set(due.patience.get().min(PARTING));
        }
        due.at.set(Instant::now() + due.patience.get());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noticed<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

/// How long a side may be silent once the other has ended.
const PARTING: Duration = Duration::from_secs(2);
