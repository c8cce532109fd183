//! Streams that hand the kernel little at once in one piece.

mod batch;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use batch::Batch;

/// Sends a head and a small body by one `send` instead of a `writev`.
///
/// The way of `writev` through the kernel is longer, by more than copying a kilobyte takes: see
/// `benches/README.md`. What is larger goes as it is, without a copy.
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
        let mut room = [0; LITTLE];
        match gathered(slices, &mut room) {
            Some(all) => stream.poll_write(cx, all),
            None => stream.poll_write_vectored(cx, slices),
        }
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

/// All of it in `room`, if it fits.
fn gathered<'a>(slices: &[IoSlice<'_>], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        let end = length + slice.len();
        room.get_mut(length..end)?.copy_from_slice(slice);
        length = end;
    }
    room.get(..length)
}

/// As much as copying costs less than `writev` does.
const LITTLE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_one_piece() {
        let pieces = [&b"HTTP/1.1"[..], b"", b" 200 OK", b"\r\n"];
        let slices = pieces.map(IoSlice::new);
        let mut room = [0; 17];
        let all = gathered(&slices, &mut room);
        assert_eq!(all, Some(&b"HTTP/1.1 200 OK\r\n"[..]));
        assert_eq!(gathered(&slices, &mut [0; 16]), None);
        assert_eq!(gathered(&[], &mut room), Some(&b""[..]));
    }
}
