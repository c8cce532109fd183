//! A caller's connection as hyper sees it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};
use tokio_util::either::Either;

use super::activity::Activity;
use super::stream::{Stream, something_arrived};

/// What a caller is told of a head that cannot be read: a whole answer, as it goes over the wire.
///
/// hyper refuses such a head by itself and has nothing but a status for it.
pub type Refuse = Arc<dyn Fn(StatusCode) -> Vec<u8> + Send + Sync>;

/// The least that can be said: the status, and that the connection ends.
pub fn refuse_briefly() -> Refuse {
    Arc::new(|status| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into_bytes()
    })
}

/// Notes what arrives and what is not taken, gives back what has been read to find the protocol,
/// and puts a better answer in the place of hyper's own.
pub(super) struct WatchedStream {
    stream: Stream,
    /// Has been read already.
    prefix: Bytes,
    activity: Arc<Activity>,
    refuse: Refuse,
    refusal: Option<Bytes>,
}

impl WatchedStream {
    pub(super) fn new(
        stream: Stream,
        prefix: Bytes,
        activity: Arc<Activity>,
        refuse: Refuse,
    ) -> Self {
        Self {
            stream,
            prefix,
            activity,
            refuse,
            refusal: None,
        }
    }

    /// Waits until something has arrived, which may be the end. All that had arrived before must
    /// have been read.
    pub(super) async fn something_arrived(&self) -> io::Result<()> {
        let gathering = match &self.stream {
            Either::Left(plain) => plain,
            Either::Right(tls) => tls.get_ref().0,
        };
        something_arrived(gathering.get_ref()).await
    }

    /// Is read once more before all else.
    pub(super) fn give_back(&mut self, read: Bytes) {
        // Nothing can be a large buffer's last piece, too.
        self.prefix = if read.is_empty() { Bytes::new() } else { read };
    }

    /// Answers what cannot be waited for any longer, and ends the connection.
    pub(super) async fn refuse(&mut self, status: StatusCode) -> io::Result<()> {
        self.stream.write_all(&(self.refuse)(status)).await?;
        self.stream.shutdown().await
    }

    /// Whether a head could not be read. What follows it is not read either.
    pub(super) fn has_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Ends this side of the connection, and reads what still comes until the caller ends its own.
    pub(super) async fn hear_out(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut rest = (&mut self.stream).take(MOST_HEARD);
        copy(&mut rest, &mut sink()).await.map(drop)
    }

    /// Writes the answer to what hyper refuses instead of what hyper says.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, hypers: &[u8]) -> Poll<io::Result<()>> {
        let refusal = self.refusal.get_or_insert_with(|| {
            let status = status_of(hypers).unwrap_or(StatusCode::BAD_REQUEST);
            Bytes::from((self.refuse)(status))
        });
        while !refusal.is_empty() {
            let outcome = Pin::new(&mut self.stream).poll_write(cx, refusal);
            self.activity.written(&outcome);
            match ready!(outcome)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => refusal.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How many bytes of what nobody wants are read. Whoever has more to send is not worth it.
const MOST_HEARD: u64 = 64 << 20;

/// RFC 9112 §4: `status-line = HTTP-version SP status-code SP …`
fn status_of(head: &[u8]) -> Option<StatusCode> {
    let code = head.split(|byte| *byte == b' ').nth(1)?;
    StatusCode::from_bytes(code).ok()
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let fitting = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix.split_to(fitting));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        } else if matches!(outcome, Poll::Ready(Ok(()))) && self.activity.half_closed(cx) {
            // hyper would take the end for the caller's leave and call the request off. It reads
            // again when the answer is over.
            return Poll::Pending;
        } else if outcome.is_pending() {
            self.activity.has_read_all();
        }
        outcome
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.activity.owes_nothing() {
            ready!(self.poll_refuse(cx, bytes))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.written(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.activity.owes_nothing() {
            let head = slices.first().map_or(&[] as &[u8], |first| first);
            ready!(self.poll_refuse(cx, head))?;
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.activity.written(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.activity.flushed();
            if self.activity.is_to_end() {
                // hyper waits to be told that there is something to read: the end, which it did not
                // see when it came.
                cx.waker().wake_by_ref();
            }
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_over() && matches!(self.stream, Either::Left(_)) {
            // What follows is that the socket is closed, which says the same. If more of a request
            // could come, that would reset it, and the caller might lose the end of its answer.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
