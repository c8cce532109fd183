//! Callers that ask without a pause and account for every request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::client::PATIENCE;
use crate::support::eventually;

/// Callers at work, each on a connection of its own that it keeps as long as it can.
pub struct Traffic {
    shared: Arc<Shared>,
    callers: JoinSet<Vec<String>>,
}

#[derive(Default)]
struct Shared {
    done: AtomicBool,
    answered: AtomicU64,
}

/// What became of the requests.
pub struct Account {
    pub answered: u64,
    /// Why, of each that was not answered with 200.
    pub lost: Vec<String>,
}

impl Traffic {
    /// `callers` of them, who ask for these paths in turn, with a pause between two requests.
    pub fn start(
        address: SocketAddr,
        paths: &'static [&'static str],
        callers: usize,
        pause: Duration,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let calls = (0..callers).map(|number| {
            let paths = paths.iter().cycle().skip(number);
            call(address, paths, pause, Arc::clone(&shared))
        });
        Self {
            callers: calls.collect(),
            shared,
        }
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until some hundred more requests are answered.
    pub async fn goes_on(&self) {
        let enough = self.answered() + 200;
        eventually("requests are answered", async || self.answered() >= enough).await;
    }

    /// Lets every caller finish its last request.
    pub async fn stop(self) -> Account {
        self.shared.done.store(true, Ordering::Relaxed);
        let lost = self.callers.join_all().await.concat();
        Account {
            answered: self.shared.answered.load(Ordering::Relaxed),
            lost,
        }
    }
}

async fn call(
    address: SocketAddr,
    mut paths: impl Iterator<Item = &'static &'static str>,
    pause: Duration,
    shared: Arc<Shared>,
) -> Vec<String> {
    let mut lost = Vec::new();
    let mut kept = None;
    while !shared.done.load(Ordering::Relaxed) {
        let path = paths.next().unwrap();
        match timeout(PATIENCE, ask(address, path, &mut kept)).await {
            Ok(Ok(())) => drop(shared.answered.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(why)) => lost.push(format!("{path}: {why}")),
            Err(_) => lost.push(format!("{path}: no answer in time")),
        }
        sleep(pause).await;
    }
    lost
}

async fn connected(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let connected = handshake(TokioIo::new(stream)).await;
    let (caller, connection) = connected.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(caller)
}

/// GET, or every other time PUT with a body: both may be repeated.
async fn ask(
    address: SocketAddr,
    path: &str,
    kept: &mut Option<SendRequest<Full<Bytes>>>,
) -> Result<(), String> {
    let mut caller = match kept.take() {
        Some(caller) => caller,
        None => connected(address).await?,
    };
    if caller.ready().await.is_err() {
        // It was closed while nothing was under way on it.
        caller = connected(address).await?;
    }
    let request = match fastrand::bool() {
        true => Request::get(path).body(Full::default()),
        false => Request::put(path).body(Full::from("x".repeat(1_000))),
    };
    let mut request = request.unwrap();
    request
        .headers_mut()
        .insert("host", "localhost".parse().unwrap());
    let answer = caller.send_request(request).await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
    if head.status != 200 {
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        return Err(format!("{} {body}", head.status));
    }
    *kept = Some(caller);
    Ok(())
}
