//! A TCP connection on which what is sent is acknowledged soon, or it is over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Has the kernel give up an upstream that acknowledges nothing: a NAT or a node that has forgotten the
/// connection does not say so, and Linux by itself tries for a quarter of an hour.
///
/// To the kernel it is the same if an upstream acknowledges and takes nothing (tcp(7), TCP_USER_TIMEOUT:
/// "or buffered data may remain untransmitted (due to zero window size)"), and one that pauses in an
/// upload has `timeouts.idle`. So the kernel is asked only as long as not more is sent than fits
/// anybody's buffer. It costs a call on a new connection, and two around a large request on a kept one.
pub(super) struct Acknowledged {
    stream: TcpStream,
    allowance: Allowance,
    is_limited: bool,
}

/// How much more may be sent on a connection before the other side has reason to take no more for a
/// while.
#[derive(Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(LITTLE)))
    }

    /// All that was sent has been answered.
    pub(super) fn renew(&self) {
        self.0.store(LITTLE, Ordering::Relaxed);
    }

    /// Over HTTP/2 an upstream pauses by windows of its own, and goes on reading.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether that is within it.
    fn covers(&self, length: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(length);
        self.0.store(left, Ordering::Relaxed);
        left > 0
    }
}

impl Acknowledged {
    pub(super) fn new(stream: TcpStream, allowance: Allowance) -> Self {
        Self {
            stream,
            allowance,
            is_limited: false,
        }
    }

    fn about_to_send(&mut self, length: usize) {
        let is_limited = self.allowance.covers(length);
        if is_limited != self.is_limited {
            self.is_limited = is_limited;
            limit(&self.stream, is_limited.then_some(PATIENCE));
        }
    }
}

/// A kernel that knows no such limit goes on as it likes.
#[cfg(target_os = "linux")]
fn limit(stream: &TcpStream, patience: Option<Duration>) {
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(patience);
}

#[cfg(not(target_os = "linux"))]
fn limit(_: &TcpStream, _: Option<Duration>) {}

impl AsyncRead for Acknowledged {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Acknowledged {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.about_to_send(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.about_to_send(slices.iter().map(|slice| slice.len()).sum());
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long what was sent may stay unacknowledged. The kernel has sent it six times by then, and a
/// process that stands still, to collect its garbage, is not even noticed.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much as there is room for where nobody has read anything yet.
const LITTLE: usize = 16 * 1024;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (Acknowledged, Allowance) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.read(&mut [0; 65_536]).await.unwrap() > 0 {}
        });
        let allowance = Allowance::new();
        let stream = TcpStream::connect(address).await.unwrap();
        (Acknowledged::new(stream, allowance.clone()), allowance)
    }

    #[tokio::test]
    async fn only_little_has_to_be_acknowledged_soon() {
        let (mut stream, allowance) = connected().await;
        let patience = |of: &Acknowledged| SockRef::from(&of.stream).tcp_user_timeout().unwrap();
        stream.write_all(&[b'x'; LITTLE - 1]).await.unwrap();
        assert_eq!(patience(&stream), Some(PATIENCE));
        stream.write_all(b"x").await.unwrap();
        assert_eq!(patience(&stream), None, "it may be more than fits");

        allowance.renew();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(patience(&stream), Some(PATIENCE), "another request");
        let slices = [IoSlice::new(b"x"), IoSlice::new(&[b'x'; LITTLE])];
        assert!(stream.write_vectored(&slices).await.unwrap() > 0);
        assert_eq!(patience(&stream), None);
    }

    #[tokio::test]
    async fn over_http2_everything_has_to_be() {
        let (mut stream, allowance) = connected().await;
        allowance.lift();
        stream.write_all(&[b'x'; 10 * LITTLE]).await.unwrap();
        let patience = SockRef::from(&stream.stream).tcp_user_timeout().unwrap();
        assert_eq!(patience, Some(PATIENCE));
    }
}
