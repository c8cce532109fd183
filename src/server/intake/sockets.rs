//! The sockets that connections are accepted from.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::super::listener::Listening;
use super::super::stream::{Peer, Socket};

/// A listener as the runtime knows it.
pub(super) enum Sockets {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    pub(super) fn of(listening: Listening) -> io::Result<Self> {
        Ok(match listening {
            Listening::Tcp(listener) => {
                // What is accepted inherits it. Answers are written whole; waiting to fill a segment
                // would only delay them.
                SockRef::from(&listener).set_tcp_nodelay(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Listening::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Either::Left(stream), Peer::Ip(address))
            }
            Self::Unix(listener) => of_unix(listener.accept().await?.0),
        })
    }

    /// Stops to listen, and takes those whom the kernel has taken already: they may have sent a
    /// request, and would be reset with the listener. The kernel is asked, and not the runtime, so that
    /// nobody comes between the last of them and the end.
    pub(super) fn close(self) -> Vec<(Socket, Peer)> {
        let waiting = match self {
            Self::Tcp(listener) => listener.into_std().map(|listener| {
                let accept = || {
                    listener
                        .accept()
                        .and_then(|(stream, from)| of_tcp(stream, from))
                };
                std::iter::from_fn(|| accept().ok())
                    .take(MOST_WAITING)
                    .collect()
            }),
            Self::Unix(listener) => listener.into_std().map(|listener| {
                let accept = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(of_unix)
                };
                std::iter::from_fn(|| accept().ok())
                    .take(MOST_WAITING)
                    .collect()
            }),
        };
        waiting.unwrap_or_default()
    }
}

fn of_tcp(stream: std::net::TcpStream, from: SocketAddr) -> io::Result<(Socket, Peer)> {
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    Ok((Either::Left(stream), Peer::Ip(from)))
}

fn of_unix(stream: UnixStream) -> (Socket, Peer) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    (Either::Right(stream), Peer::Unix { uid })
}

/// How many are taken over from the kernel's queue at the end; it holds no more.
const MOST_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_leaves_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = Sockets::of(Listening::Tcp(listener)).unwrap();
        let _caller = TcpStream::connect(address).await.unwrap();
        let (Either::Left(accepted), _) = sockets.accept().await.unwrap() else {
            panic!("it is one of TCP");
        };
        assert!(accepted.nodelay().unwrap());
    }
}
