//! Callers that ask without a pause until they are told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tokio::task::JoinSet;

use super::client::{connect, get_request, read};

/// Callers at work, each on a connection of its own.
pub struct Load {
    done: Arc<AtomicBool>,
    callers: JoinSet<Vec<(StatusCode, String)>>,
}

impl Load {
    pub fn start(address: SocketAddr, callers: usize) -> Self {
        let done = Arc::<AtomicBool>::default();
        let calls = (0..callers).map(|_| call(address, Arc::clone(&done)));
        Self {
            callers: calls.collect(),
            done,
        }
    }

    /// Lets every caller finish its last request, and returns the answers that were not 200.
    pub async fn stop(self) -> Vec<(StatusCode, String)> {
        self.done.store(true, Ordering::Relaxed);
        self.callers.join_all().await.concat()
    }
}

async fn call(address: SocketAddr, done: Arc<AtomicBool>) -> Vec<(StatusCode, String)> {
    let mut caller = connect::<Full<Bytes>>(address).await;
    let mut failures = Vec::new();
    while !done.load(Ordering::Relaxed) {
        caller.ready().await.unwrap();
        let answer = caller.send_request(get_request("/")).await.unwrap();
        let answer = read(answer).await;
        if answer.status() != 200 {
            failures.push((answer.status(), answer.into_body()));
        }
    }
    failures
}
