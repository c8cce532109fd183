//! A caller's connection, whichever way it came.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream as HandedTcpStream};
use std::os::unix::net::UnixStream as HandedUnixStream;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::gathering::Gathering;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    Ip(SocketAddr),
    /// A process of this machine.
    Unix {
        /// The number of its user, if the kernel says.
        uid: Option<u32>,
    },
}

/// Without the port, which says nothing about who it is.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.ip().to_canonical().fmt(f),
            Self::Unix { uid: Some(uid) } => write!(f, "uid {uid}"),
            Self::Unix { uid: None } => f.write_str("a Unix socket"),
        }
    }
}

/// What is known of whoever sends a request, before the request says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Who is at the other end.
    pub peer: Peer,
    /// The port that it has called; nothing on a Unix socket.
    pub port: Option<u16>,
    /// Whether TLS is spoken with it.
    pub tls: bool,
}

/// A connection as it was accepted.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// A connection with the bytes of HTTP on it. What is gathered is what the kernel gets: a head and a
/// body, or a record of TLS. Boxed, because what TLS needs is larger than all else by far.
pub(super) type Stream = Either<Gathering<Socket>, Box<TlsStream<Gathering<Socket>>>>;

/// A connection on its way to another thread.
#[derive(Debug)]
pub(super) enum HandedSocket {
    Tcp(HandedTcpStream),
    Unix(HandedUnixStream),
}

impl HandedSocket {
    pub(super) fn hand(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Either::Left(stream) => Self::Tcp(stream.into_std()?),
            Either::Right(stream) => Self::Unix(stream.into_std()?),
        })
    }

    pub(super) fn take(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Either::Left(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Either::Right(UnixStream::from_std(stream)?),
        })
    }
}

/// Reads what has arrived, when something has; nothing at the end.
pub(super) async fn read_some(socket: &mut Socket, into: &mut BytesMut) -> io::Result<usize> {
    match socket {
        Either::Left(stream) => stream.readable().await?,
        Either::Right(stream) => stream.readable().await?,
    }
    // Only now: a connection on which nothing has happened yet has no buffer.
    into.reserve(FIRST_READ);
    // Not `try_read_buf`: after that the runtime does not know that there is nothing more, and
    // hyper asks the kernel once again.
    socket.read_buf(into).await
}

/// Waits until something has arrived, which may be the end, and leaves it there.
pub(super) async fn something_arrived(socket: &Socket) -> io::Result<()> {
    match socket {
        Either::Left(stream) => stream.peek(&mut [0]).await.map(drop),
        Either::Right(stream) => stream.readable().await,
    }
}

/// As much as hyper reads at first, so that finding the protocol costs no reading of its own.
const FIRST_READ: usize = 8 * 1024;
