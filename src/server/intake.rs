//! Where a worker's connections come from.
//!
//! One worker accepts. When there are more, it hands every other socket on, in turn: with few
//! keep-alive connections `SO_REUSEPORT` would leave some workers idle and others full.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::listener::{Listener, Listening, ServerTls, SocketFile};
use super::metrics::{ListenerMetrics, Place};
use super::stream::{HandedSocket, Peer, Socket};
use crate::drain::DrainWatch;

/// Where a worker's connections come from.
#[derive(Debug)]
pub struct Intake(Kind);

#[derive(Debug)]
enum Kind {
    Accepting {
        listeners: Vec<Listener>,
        limit: Limit,
        others: Vec<mpsc::Sender<Handed>>,
    },
    Handed(mpsc::Receiver<Handed>),
}

/// A connection that has been accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) origin: AcceptedFrom,
    /// To be dropped when it ends.
    pub(super) place: Place,
}

/// What is known of a connection before the first byte.
#[derive(Debug, Clone)]
pub(super) struct AcceptedFrom {
    pub(super) peer: Peer,
    /// The port of the listener; nothing of a Unix socket.
    pub(super) port: Option<u16>,
    /// How to speak TLS on it, if it is to be spoken.
    pub(super) tls: Option<ServerTls>,
}

/// A connection on its way from the worker that accepted it to the one that serves it.
#[derive(Debug)]
struct Handed {
    socket: HandedSocket,
    origin: AcceptedFrom,
    place: Place,
}

/// How many connections may be open, and how many are. Clones are the same.
#[derive(Debug, Clone)]
struct Limit {
    free: Arc<Semaphore>,
    metrics: ListenerMetrics,
}

impl Limit {
    fn new(max_connections: usize, metrics: ListenerMetrics) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max_connections)),
            metrics,
        }
    }

    fn place_now(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.metrics.accepted(permit))
    }

    async fn place(&self) -> Option<Place> {
        if let Some(place) = self.place_now() {
            return Some(place);
        }
        self.metrics.waits();
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(self.metrics.accepted(permit))
    }
}

/// The intake of the only one that serves a listener.
pub fn alone(listener: Listener, max_connections: usize, metrics: ListenerMetrics) -> Intake {
    Intake(Kind::Accepting {
        listeners: vec![listener],
        limit: Limit::new(max_connections, metrics),
        others: Vec::new(),
    })
}

/// Makes the intakes of `workers` workers that share `listeners` and the limit of connections.
pub fn spread(
    listeners: Vec<Listener>,
    workers: usize,
    max_connections: usize,
    metrics: ListenerMetrics,
) -> Vec<Intake> {
    let (others, handed): (Vec<_>, Vec<_>) =
        (1..workers).map(|_| mpsc::channel(HANDED_AT_ONCE)).unzip();
    let accepting = Kind::Accepting {
        listeners,
        limit: Limit::new(max_connections, metrics),
        others,
    };
    std::iter::once(accepting)
        .chain(handed.into_iter().map(Kind::Handed))
        .map(Intake)
        .collect()
}

impl Intake {
    /// Calls `start` for each connection until the drain begins, and then closes the listeners.
    pub(super) async fn each(self, drain: DrainWatch, start: impl Fn(Accepted) + 'static) {
        match self.0 {
            Kind::Accepting {
                listeners,
                limit,
                others,
            } => {
                let turns = Rc::new(Turns::new(start, others));
                let loops = TaskTracker::new();
                for listener in listeners {
                    let (turns, limit, drain) = (Rc::clone(&turns), limit.clone(), drain.clone());
                    loops.spawn_local(async move {
                        match Door::of(listener) {
                            Ok(door) => door.serve(&limit, &turns, &drain).await,
                            Err(error) => error!(%error, "a listener could not be used"),
                        }
                    });
                }
                loops.close();
                loops.wait().await;
            }
            Kind::Handed(mut handed) => {
                let start = |handed: Handed| match handed.socket.take() {
                    Ok(socket) => start(Accepted {
                        socket,
                        origin: handed.origin,
                        place: handed.place,
                    }),
                    Err(error) => error!(%error, "a connection could not be taken over"),
                };
                loop {
                    tokio::select! {
                        next = handed.recv() => match next {
                            Some(next) => start(next),
                            None => return,
                        },
                        () = drain.begun() => break,
                    }
                }
                // What has been accepted is served, also if it was still on its way.
                handed.close();
                while let Some(next) = handed.recv().await {
                    start(next);
                }
            }
        }
    }
}

/// Gives each worker its turn, the accepting one first.
struct Turns<F> {
    here: F,
    others: Vec<mpsc::Sender<Handed>>,
    next: std::cell::Cell<usize>,
}

impl<F: Fn(Accepted)> Turns<F> {
    fn new(here: F, others: Vec<mpsc::Sender<Handed>>) -> Self {
        Self {
            here,
            others,
            next: std::cell::Cell::new(0),
        }
    }

    async fn give(&self, accepted: Accepted) {
        let turn = self.next.get();
        self.next.set((turn + 1) % (self.others.len() + 1));
        let Some(worker) = turn.checked_sub(1).and_then(|other| self.others.get(other)) else {
            return (self.here)(accepted);
        };
        let Accepted {
            socket,
            origin,
            place,
        } = accepted;
        match HandedSocket::hand(socket) {
            // A worker that has ended takes nothing more; its end stops the process anyway.
            Ok(socket) => drop(
                worker
                    .send(Handed {
                        socket,
                        origin,
                        place,
                    })
                    .await,
            ),
            Err(error) => error!(%error, "a connection could not be handed to its worker"),
        }
    }
}

/// Where connections come in.
struct Door {
    sockets: Sockets,
    port: Option<u16>,
    tls: Option<ServerTls>,
    file: Option<SocketFile>,
}

impl Door {
    fn of(listener: Listener) -> io::Result<Self> {
        let port = match &listener.socket {
            Listening::Tcp(listener) => Some(listener.local_addr()?.port()),
            Listening::Unix(_) => None,
        };
        Ok(Self {
            sockets: Sockets::of(listener.socket)?,
            port,
            tls: listener.tls,
            file: listener.file,
        })
    }

    async fn serve<F>(self, limit: &Limit, turns: &Turns<F>, drain: &DrainWatch)
    where
        F: Fn(Accepted),
    {
        tokio::select! {
            () = self.accept(limit, turns) => {}
            () = drain.begun() => {}
        }
        let Self {
            sockets,
            port,
            tls,
            file,
        } = self;
        // First, so that nobody finds the way to a socket that is closed.
        if let Some(file) = file {
            file.remove();
        }
        for (socket, peer) in sockets.close() {
            // One for whom there is no place any more is one too many.
            let Some(place) = limit.place_now() else {
                return;
            };
            // Served here: the other workers may take nothing more.
            let origin = AcceptedFrom {
                peer,
                port,
                tls: tls.clone(),
            };
            (turns.here)(Accepted {
                socket,
                origin,
                place,
            });
        }
    }

    async fn accept<F: Fn(Accepted)>(&self, limit: &Limit, turns: &Turns<F>) {
        loop {
            match self.sockets.accept().await {
                Ok((socket, peer)) => {
                    // Without a free place this one waits, and those after it in the kernel's
                    // queue, where they cost no memory.
                    let Some(place) = limit.place().await else {
                        return;
                    };
                    let origin = AcceptedFrom {
                        peer,
                        port: self.port,
                        tls: self.tls.clone(),
                    };
                    turns
                        .give(Accepted {
                            socket,
                            origin,
                            place,
                        })
                        .await;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    limit.metrics.not_accepted();
                    // Out of descriptors or memory. Trying again at once would only burn the CPU.
                    warn!(%error, "no connection can be accepted for now; trying again in 200 ms");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

enum Sockets {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    fn of(listening: Listening) -> io::Result<Self> {
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

    async fn accept(&self) -> io::Result<(Socket, Peer)> {
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
    fn close(self) -> Vec<(Socket, Peer)> {
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

/// Errors of a connection that died in the queue; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

const PAUSE: Duration = Duration::from_millis(200);

/// How many are taken over from the kernel's queue at the end; it holds no more.
const MOST_WAITING: usize = 1024;

/// How many sockets may be on their way to one worker.
const HANDED_AT_ONCE: usize = 64;
