//! What a caller speaks: found out by TLS, or by the first bytes.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;

use super::activity::{Activity, Phase};
use super::listener::ServerTls;
use super::stream::{Socket, Stream, read_some, something_arrived};
use crate::drain::DrainWatch;
use crate::gathering::Gathering;
use crate::tls::HTTP2;

/// A connection on which the first bytes have come.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// What has been read to find the protocol.
    pub(super) prefix: Bytes,
    pub(super) protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Waits for the first bytes and finds out what they are; nothing if the drain begins before.
pub(super) async fn open(
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
    let handshake = TlsAcceptor::from(config.load_full()).accept(Gathering::new(socket));
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
        stream: Either::Left(Gathering::new(socket)),
        prefix: read.freeze(),
        protocol,
    }))
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a caller who has connected may take to begin when gatepass stops.
pub(super) const FIRST_WORD: Duration = Duration::from_millis(200);
