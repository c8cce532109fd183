//! An upstream that closes every kept connection a few milliseconds after an answer, just when the
//! next request may be on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::client::{connect, get_request, read};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

const REQUESTS: usize = 2_000;

/// What the upstream has seen.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    /// How often each request has reached it whole, by its first line.
    reached: Mutex<BTreeMap<String, usize>>,
}

impl Counts {
    /// One more; the number of all so far.
    fn reached_by(&self, request: &[u8]) -> usize {
        let text = String::from_utf8_lossy(request);
        let line = text.lines().next().unwrap_or_default().to_owned();
        let mut reached = self.reached.lock().unwrap();
        *reached.entry(line).or_default() += 1;
        reached.values().sum()
    }
}

/// Answers whole requests, and counts them; closes when nothing comes for three milliseconds. Of
/// POST every tenth is taken, and the end of the connection is all that answers it.
async fn closing_upstream(counts: Arc<Counts>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counts.connections.fetch_add(1, Ordering::Relaxed);
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut is_kept = false;
                loop {
                    let patience = match bytes.is_empty() && is_kept {
                        true => Duration::from_millis(3),
                        false => Duration::from_secs(5),
                    };
                    match timeout(patience, stream.read_buf(&mut bytes)).await {
                        Ok(Ok(1..)) => {}
                        _ => return,
                    }
                    if is_whole(&bytes) {
                        let number = counts.reached_by(&bytes);
                        if bytes.starts_with(b"POST") && number.is_multiple_of(10) {
                            return;
                        }
                        bytes.clear();
                        is_kept = true;
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    origin
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.split_once("\r\n\r\n")
        .is_some_and(|(head, body)| !head.starts_with("POST") || body == "body")
}

async fn start(counts: &Arc<Counts>) -> (Gatepass, AuthorizationServer) {
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let origin = closing_upstream(Arc::clone(counts)).await;
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    (Gatepass::start(&config).ready().await, provider)
}

/// How long to wait before the next request: around the moment at which the upstream closes.
fn pause(number: usize) -> Duration {
    Duration::from_micros(2_000 + (number as u64 * 37) % 2_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_costs_no_request_that_may_be_repeated() {
    let counts = Arc::<Counts>::default();
    let (gatepass, _provider) = start(&counts).await;
    let mut caller = connect(gatepass.proxy()).await;
    for number in 0..REQUESTS {
        caller.ready().await.unwrap();
        let response = caller.send_request(get_request("/")).await.unwrap();
        assert_eq!(read(response).await.status(), 200, "request {number}");
        tokio::time::sleep(pause(number)).await;
    }
    let connections = counts.connections.load(Ordering::Relaxed);
    assert!(
        connections > REQUESTS / 20,
        "it closed only {connections} times"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_not_be_repeated_reaches_it_once_at_most() {
    let counts = Arc::<Counts>::default();
    let (gatepass, _provider) = start(&counts).await;
    let mut caller: hyper::client::conn::http1::SendRequest<Full<Bytes>> =
        connect(gatepass.proxy()).await;
    let mut good = 0;
    for number in 0..REQUESTS / 4 {
        let post = Request::post(format!("/{number}")).header("host", "localhost");
        let post = post.body(Full::from("body")).unwrap();
        caller.ready().await.unwrap();
        let response = caller.send_request(post).await.unwrap();
        let status = read(response).await.status();
        assert!(status == 200 || status == 502, "request {number}: {status}");
        good += usize::from(status == 200);
        tokio::time::sleep(pause(number)).await;
    }
    let reached = counts.reached.lock().unwrap();
    let twice: Vec<_> = reached.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(good > REQUESTS / 8, "{good} of {}", REQUESTS / 4);
    let unanswered = reached.len() - good;
    assert!(unanswered > REQUESTS / 80, "{good} of {}", reached.len());
}
