//! Streams that hand the kernel little at once in one piece.

mod batch;
#[cfg(test)]
mod pieces;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use batch::Batch;

/// Sends a head and a small body by one `send` instead of a `writev`.
///
/// The way of `writev` through the kernel is longer, by more than copying a kilobyte takes: see
/// `benches/README.md`. What is larger goes as it is, without a copy. It belongs right above the
/// socket: TLS hands on its records by `writev`, too, and a small answer is only one.
#[derive(Debug)]
pub struct Gathering<T>(T);

impl<T> Gathering<T> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: T) -> Self {
        Self(stream)
    }

    /// What it is sent on.
    pub fn get_ref(&self) -> &T {
        &self.0
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        if let [only] = slices {
            return stream.poll_write(cx, only);
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length > LITTLE {
            return stream.poll_write_vectored(cx, slices);
        }
        // Room on the stack that, unlike an array, need not be filled before.
        let mut all = SmallVec::<[u8; LITTLE]>::new();
        for slice in slices {
            all.extend_from_slice(slice);
        }
        stream.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// As much as copying costs less than `writev` does.
const LITTLE: usize = 2048;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::pieces::Pieces;
    use super::*;

    async fn written(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut stream = Gathering::new(Pieces::default());
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let length = stream.write_vectored(&slices).await.unwrap();
        assert_eq!(length, pieces.concat().len());
        stream.0.0
    }

    #[tokio::test]
    async fn what_is_little_is_one_piece() {
        let pieces = [&b"HTTP/1.1"[..], b"", b" 200 OK", b"\r\n"];
        assert_eq!(written(&pieces).await, [b"HTTP/1.1 200 OK\r\n"]);
        assert_eq!(written(&[b"only"]).await, [b"only"]);

        let body = [b'x'; LITTLE];
        let fitting = body.split_last().unwrap().1;
        assert_eq!(written(&[b"a", fitting]).await.len(), 1);
        assert_eq!(written(&[b"a", &body]).await, [&b"a"[..], &body]);
    }
}
