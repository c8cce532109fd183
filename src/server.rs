//! Taking connections and serving HTTP on them, within limits, until told to stop.
//!
//! Both planes use it: the data plane for the proxy, the control plane for the admin listener.

mod activity;
mod answering;
mod bodies;
mod connection;
mod exchange;
mod handler;
mod handshake;
mod intake;
mod listener;
mod metrics;
mod opening;
mod stream;
mod watched;
mod woken;

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Body;
use hyper::service::Service;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::drain::DrainWatch;
pub use bodies::{CallerBody, CallerConnection};
use connection::Serving;
pub use handler::Handler;
pub use intake::{Intake, alone, spread};
pub use listener::{Activated, Address, Listener, ServerTls, UnixAccess};
pub use metrics::{ListenerMetrics, ServerMetrics};
pub use stream::{Caller, Peer};
pub use watched::{Refuse, refuse_briefly};

/// The limits of a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a caller may take to send a request's head, from its first byte to its last.
    pub header_read: Duration,
    /// How long a connection may lie idle before and between requests.
    pub keep_alive: Duration,
    /// How long an answer may pause for a caller that has ended its side of the connection.
    pub half_closed: Duration,
    /// How long a caller may pause in taking an answer, or in sending what is left of a request
    /// that has been answered already.
    pub stalled: Duration,
    /// How long a connection that was switched to another protocol goes on when the drain has begun;
    /// until it is forced, if there is nothing.
    pub drain_upgrades: Option<Duration>,
    /// How many connections are open at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How many requests one HTTP/2 connection may have under way.
    pub max_streams: u32,
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
            half_closed: Duration::from_secs(5),
            stalled: Duration::from_secs(300),
            drain_upgrades: None,
            max_connections: 10_000,
            max_streams: 100,
            max_headers: 100,
            max_header_bytes: 64 * 1024,
        }
    }
}

/// Serves connections until the drain begins, then lets those that are open finish, and returns
/// when they have or when the drain is forced.
///
/// `refuse` makes the answer to a head that cannot be read or is not complete in time.
pub async fn serve<S, B>(
    intake: Intake,
    service: S,
    refuse: Refuse,
    settings: Settings,
    drain: DrainWatch,
) where
    S: Service<Request<CallerBody>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    {
        let tasks = tasks.clone();
        let serving = Rc::new(Serving {
            service,
            refuse,
            settings,
            drain: drain.clone(),
        });
        let start = move |accepted| {
            tasks.spawn_local(connection::serve(accepted, Rc::clone(&serving)));
        };
        intake.each(drain.clone(), start).await;
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
