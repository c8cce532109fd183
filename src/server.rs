//! Taking connections and serving HTTP on them, within limits, until told to stop.
//!
//! Both planes use it: the data plane for the proxy, the control plane for the admin listener.

mod activity;
mod bodies;
mod intake;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::drain::DrainWatch;
use activity::{Activity, WatchedStream};
use bodies::AnswerBody;
pub use bodies::{CallerBody, Tunnels};
pub use intake::{Intake, alone, spread};

/// The limits of a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a caller may take to send a request's head, from its first byte to its last.
    pub header_read: Duration,
    /// How long a connection may lie idle before and between requests.
    pub keep_alive: Duration,
    /// How long a caller may pause in taking an answer, or in sending what is left of a request
    /// that has been answered already.
    pub stalled: Duration,
    /// How many connections are open at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How many fields a request's head may have.
    pub max_headers: usize,
    /// How many bytes a request's head may have; also the size that read and write buffers may
    /// grow to.
    pub max_header_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            stalled: Duration::from_secs(300),
            max_connections: 10_000,
            max_headers: 100,
            max_header_bytes: 64 * 1024,
        }
    }
}

/// Binds an address and listens on it.
///
/// # Errors
///
/// The address is taken, is not this machine's, or may not be used by this user.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the last run's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves connections until the drain begins, then lets those that are open finish, and returns
/// when they have or when the drain is forced.
pub async fn serve<S, B>(intake: Intake, service: S, settings: Settings, drain: DrainWatch)
where
    S: Service<Request<CallerBody>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    {
        let (tasks, drain) = (tasks.clone(), drain.clone());
        intake
            .each(drain.clone(), move |stream, permit| {
                let connection = connection(stream, service.clone(), settings, drain.clone());
                tasks.spawn_local(async move {
                    connection.await;
                    drop(permit);
                });
            })
            .await;
    }
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        () = drain.forced() => warn!(
            connections = tasks.len(),
            "connections that are still open are cut"
        ),
    }
}

async fn connection<S, B>(stream: TcpStream, service: S, settings: Settings, drain: DrainWatch)
where
    S: Service<Request<CallerBody>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Answers are written whole; waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a caller left before its connection was served");
        return;
    }
    let activity = Arc::new(Activity::new());
    let tunnels = Tunnels::default();
    let io = TokioIo::new(WatchedStream::new(stream, Arc::clone(&activity)));
    let service = service_fn(|request: Request<Incoming>| {
        let exchange = activity.begin();
        let request = request.map(|body| CallerBody::new(body, tunnels.clone(), exchange.clone()));
        let answer = service.call(request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| AnswerBody::new(body, exchange))) }
    });
    let connection = http1::Builder::new()
        // hyper's own deadline covers the idle time before a head as well; `Activity` tells the
        // two apart.
        .header_read_timeout(None)
        .max_headers(settings.max_headers)
        .max_buf_size(settings.max_header_bytes)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut overdue = pin!(activity.overdue(&settings));
    let mut draining = false;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    debug!(%error, "a connection ended early");
                }
                break;
            }
            () = overdue.as_mut() => return debug!("a connection was idle or slow for too long"),
            () = drain.begun(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    if let Some(tunnel) = tunnels.take() {
        tunnel.await;
    }
}

/// Connections that the kernel holds ready while gatepass is busy. A burst beyond it would be
/// retried by the callers' kernels only after a second.
const BACKLOG: i32 = 1024;
