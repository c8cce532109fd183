//! Where a worker's connections come from.
//!
//! One worker accepts. When there are more, it hands every other socket on, in turn: with few
//! keep-alive connections `SO_REUSEPORT` would leave some workers idle and others full.

mod sockets;

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, error::SendError};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::listener::{Listener, Listening, ServerTls, SocketFile};
use super::metrics::{ListenerMetrics, Place};
use super::stream::{HandedSocket, Peer, Socket};
use crate::drain::DrainWatch;
use sockets::Sockets;

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

impl Handed {
    /// Has it served on this thread.
    fn start(self, start: &impl Fn(Accepted)) {
        match self.socket.take() {
            Ok(socket) => start(Accepted {
                socket,
                origin: self.origin,
                place: self.place,
            }),
            Err(error) => error!(%error, "a connection could not be taken over"),
        }
    }
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
                loop {
                    tokio::select! {
                        next = handed.recv() => match next {
                            Some(next) => next.start(&start),
                            None => return,
                        },
                        () = drain.begun() => break,
                    }
                }
                // What has been accepted is served, also if it was still on its way.
                handed.close();
                while let Some(next) = handed.recv().await {
                    next.start(&start);
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
        let socket = match HandedSocket::hand(socket) {
            Ok(socket) => socket,
            Err(error) => {
                return error!(%error, "a connection could not be handed to its worker");
            }
        };
        let handed = Handed {
            socket,
            origin,
            place,
        };
        // It may see before this one that the drain has begun, and then takes nothing more.
        if let Err(SendError(handed)) = worker.send(handed).await {
            handed.start(&self.here);
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
        let waiting = self.accept(limit, turns, drain).await;
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
        for (socket, peer) in waiting.into_iter().chain(sockets.close()) {
            // There will be, as soon as one of those who have one is done.
            let place = tokio::select! {
                place = limit.place() => place,
                () = drain.forced() => None,
            };
            let Some(place) = place else {
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

    /// Takes connections until the drain begins, and gives back the one that waits for a place then.
    async fn accept<F: Fn(Accepted)>(
        &self,
        limit: &Limit,
        turns: &Turns<F>,
        drain: &DrainWatch,
    ) -> Option<(Socket, Peer)> {
        let mut begun = pin!(drain.begun());
        loop {
            let accepted = tokio::select! {
                biased;
                () = begun.as_mut() => return None,
                accepted = self.sockets.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    // Without a free place this one waits, and those after it in the kernel's
                    // queue, where they cost no memory.
                    let place = tokio::select! {
                        biased;
                        place = limit.place() => place,
                        () = begun.as_mut() => None,
                    };
                    let Some(place) = place else {
                        return Some((socket, peer));
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

/// How many sockets may be on their way to one worker.
const HANDED_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
