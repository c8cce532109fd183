//! A stream on which the writes of one turn leave together.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Keeps little writes back, flushed or not, until whoever drives the connection says that it has
/// had its turn ([`send`](Self::send)). Clones are the same stream.
///
/// The h2 crate writes and flushes frame by frame. When many streams of a connection have something
/// to say in one turn, which is what HTTP/2 is for, each would cost a `send` of its own.
#[derive(Debug)]
pub struct Batch<T>(Rc<RefCell<Held<T>>>);

#[derive(Debug)]
struct Held<T> {
    stream: T,
    bytes: BytesMut,
    to_flush: bool,
    failed: Option<io::Error>,
}

impl<T> Clone for Batch<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncWrite + Unpin> Batch<T> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: T) -> Self {
        Self(Rc::new(RefCell::new(Held {
            stream,
            bytes: BytesMut::new(),
            to_flush: false,
            failed: None,
        })))
    }

    /// Sends what has been written. To be called after each poll of the connection, with the same
    /// context: what the kernel does not take yet is sent after a later one. If it fails, the
    /// connection is told when it is polled next, which is at once.
    pub fn send(&self, cx: &mut Context<'_>) {
        let mut held = self.0.borrow_mut();
        if let Poll::Ready(Err(error)) = held.poll_send(cx) {
            held.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

impl<T: AsyncWrite + Unpin> Held<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.bytes.advance(sent),
            }
        }
        // Connections that say nothing have no buffer.
        self.bytes = BytesMut::new();
        if self.to_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.to_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn failed(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Batch<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        if let Some(error) = held.failed.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut held.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Batch<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut held = self.0.borrow_mut();
        held.failed()?;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if held.bytes.len() + length > MOST {
            ready!(held.poll_send(cx))?;
        }
        if length > LITTLE {
            ready!(held.poll_send(cx))?;
            return Pin::new(&mut held.stream).poll_write_vectored(cx, slices);
        }
        if held.bytes.is_empty() {
            held.bytes.reserve(ROOM);
        }
        for slice in slices {
            held.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Says that it is done, and does it at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        held.failed()?;
        held.to_flush = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        held.failed()?;
        ready!(held.poll_send(cx))?;
        Pin::new(&mut held.stream).poll_shutdown(cx)
    }
}

/// What is larger goes at once, without a copy: it fills a `send` by itself.
const LITTLE: usize = 4 * 1024;

/// What there is room for at first: growing from nothing would copy all of it several times in a turn.
const ROOM: usize = 8 * 1024;

/// How much is kept back.
const MOST: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::pieces::Pieces;
    use super::*;

    async fn end_of_turn<T: AsyncWrite + Unpin>(batch: &Batch<T>) {
        poll_fn(|cx| {
            batch.send(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn the_writes_of_a_turn_leave_together() {
        let batch = Batch::new(Pieces::default());
        let mut writer = batch.clone();
        for frame in [b"one", b"two"] {
            writer.write_all(frame).await.unwrap();
            writer.flush().await.unwrap();
        }
        assert!(batch.0.borrow().stream.0.is_empty());
        end_of_turn(&batch).await;
        end_of_turn(&batch).await;
        assert_eq!(batch.0.borrow().stream.0, [b"onetwo"]);
    }

    #[tokio::test]
    async fn what_is_large_goes_at_once_and_after_what_came_before() {
        let batch = Batch::new(Pieces::default());
        let mut writer = batch.clone();
        let large = vec![7; LITTLE + 1];
        writer.write_all(b"head").await.unwrap();
        writer.write_all(&large).await.unwrap();
        assert_eq!(batch.0.borrow().stream.0, [b"head".to_vec(), large]);
    }

    #[tokio::test]
    async fn no_more_is_kept_back_than_there_is_room_for() {
        let batch = Batch::new(Pieces::default());
        let mut writer = batch.clone();
        for _ in 0..MOST / LITTLE + 1 {
            writer.write_all(&[7; LITTLE]).await.unwrap();
        }
        assert_eq!(batch.0.borrow().stream.0, [[7; MOST]]);
        writer.shutdown().await.unwrap();
        assert_eq!(batch.0.borrow().stream.0.len(), 2);
    }

    #[tokio::test]
    async fn what_the_other_side_does_not_take_yet_is_sent_later() {
        let (near, mut far) = duplex(16);
        let batch = Batch::new(near);
        let mut writer = batch.clone();
        writer.write_all(&[7; 1000]).await.unwrap();
        let turns = poll_fn(|cx| {
            batch.send(cx);
            match batch.0.borrow().bytes.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let mut read = [0; 1000];
        let (_, outcome) = tokio::join!(turns, far.read_exact(&mut read));
        outcome.unwrap();
        assert_eq!(read, [7; 1000]);
    }

    #[tokio::test]
    async fn the_connection_is_told_what_failed_after_its_turn() {
        let (near, far) = duplex(16);
        drop(far);
        let batch = Batch::new(near);
        let mut writer = batch.clone();
        writer.write_all(b"frame").await.unwrap();
        end_of_turn(&batch).await;
        let error = writer.flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
