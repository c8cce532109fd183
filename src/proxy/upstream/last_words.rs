//! A connection on which an upstream that goes is heard out.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes what can no longer be sent as if it were, until all that has come is read.
///
/// An upstream that does not want a body answers and closes, and what of the body is still on its way
/// resets the connection. Its answer has arrived by then, but hyper gives up at the first write that
/// fails, and the caller would have a 502 in the place of the reason.
///
/// RFC 9112 §9.5: "A client sending a message body SHOULD monitor the open connection for an error
/// response while it is transmitting the request."
pub(super) struct LastWords<T> {
    stream: T,
    sending: Sending,
}

#[derive(Clone, Copy)]
enum Sending {
    Possible,
    /// Something may still be read.
    Failed(ErrorKind),
    /// Nothing is left to be read either.
    Over(ErrorKind),
}

impl<T> LastWords<T> {
    pub(super) fn of(stream: T) -> Self {
        Self {
            stream,
            sending: Sending::Possible,
        }
    }

    /// Has something of `length` bytes written, or takes it for written.
    fn send(
        &mut self,
        length: usize,
        write: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>>
    where
        T: Unpin,
    {
        match self.sending {
            Sending::Possible => {}
            Sending::Failed(_) => return Poll::Ready(Ok(length)),
            Sending::Over(kind) => return Poll::Ready(Err(kind.into())),
        }
        match write(Pin::new(&mut self.stream)) {
            Poll::Ready(Err(error)) if is_end(&error) => {
                self.sending = Sending::Failed(error.kind());
                Poll::Ready(Ok(length))
            }
            outcome => outcome,
        }
    }
}

/// Whether the other side has gone.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

impl<T: AsyncRead + Unpin> AsyncRead for LastWords<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Sending::Failed(kind) = self.sending
            && buffer.filled().len() == before
        {
            // Not an end: an answer that lasts until the connection is closed may be cut off.
            self.sending = Sending::Over(kind);
            return Poll::Ready(Err(kind.into()));
        }
        Poll::Ready(outcome)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LastWords<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send(bytes.len(), |stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.send(length, |stream| stream.poll_write_vectored(cx, slices))
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Has something to say and takes nothing.
    struct Going(&'static [u8]);

    impl AsyncRead for Going {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(self.0);
            self.0 = b"";
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Going {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_has_come_is_read_before_the_end_is_told() {
        let mut stream = LastWords::of(Going(b"no"));
        for _ in 0..3 {
            assert_eq!(stream.write(b"body").await.unwrap(), 4);
        }
        let mut heard = [0; 8];
        assert_eq!(stream.read(&mut heard).await.unwrap(), 2);
        stream.write_all(b"body").await.unwrap();
        for _ in 0..2 {
            let error = stream.read(&mut heard).await.err();
            let error = error.or(stream.write(b"body").await.err()).unwrap();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}
