//! `/api/events`: what happens is told as it happens, to so many and no more.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::client::{PATIENCE, connect};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// Somebody who listens.
struct Listener {
    answer: http::Response<Incoming>,
    read: String,
}

impl Listener {
    async fn join(gatepass: &Gatepass, last_event_id: Option<u64>) -> Self {
        let mut request = Request::get("/api/events").header("host", "localhost");
        if let Some(number) = last_event_id {
            request = request.header("last-event-id", number);
        }
        let mut client = connect::<Full<Bytes>>(gatepass.admin()).await;
        let request = request.body(Full::default()).unwrap();
        let answer = timeout(PATIENCE, client.send_request(request)).await;
        Self {
            answer: answer.unwrap().unwrap(),
            read: String::new(),
        }
    }

    /// The next message of a kind, read to its end.
    async fn next(&mut self, wanted: &str) -> String {
        let found = timeout(PATIENCE, async {
            loop {
                if let Some((message, rest)) = self.read.split_once("\n\n") {
                    let (message, rest) = (message.to_owned(), rest.to_owned());
                    self.read = rest;
                    if message.contains(wanted) {
                        return message;
                    }
                    continue;
                }
                let piece = self.piece().await.expect("another piece");
                self.read.push_str(&piece);
            }
        });
        found.await.expect("a message in time")
    }

    async fn piece(&mut self) -> Option<String> {
        let frame = self.answer.body_mut().frame().await?;
        let data = frame.expect("a whole body").into_data().unwrap();
        Some(String::from_utf8(data.to_vec()).unwrap())
    }
}

/// Its number, and what it says.
fn read(message: &str) -> (u64, Value) {
    let (id, data) = message.split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap();
    let id = id.strip_prefix("id: ").unwrap();
    (id.parse().unwrap(), serde_json::from_str(data).unwrap())
}

async fn start(keys: &str) -> (Gatepass, AuthorizationServer, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!("{keys}\n{}", simple_config(&provider, &upstream));
    (Gatepass::start(&config).ready().await, provider, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_at_once_and_what_was_missed_as_well() {
    let (gatepass, _provider, _upstream) = start("").await;
    let mut listener = Listener::join(&gatepass, None).await;
    let headers = listener.answer.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(
        listener.next("event").await,
        "event: heartbeat\ndata: {}",
        "a sign of life comes first"
    );
    gatepass.order_refresh("envase").await;
    let (asked, event) = read(&listener.next("an operator asks").await);
    assert_eq!(event["number"], asked);
    assert_eq!(event["level"], "info");
    assert_eq!(event["fields"]["credential"], "envase");
    let (got, event) = read(&listener.next("new token").await);
    assert!(got > asked);
    assert_eq!(event["fields"]["generation"], 2);
    // The same as in the status.
    let status: Value =
        serde_json::from_str(get(gatepass.admin(), "/api/status").await.body()).unwrap();
    let same = status["events"].as_array().unwrap();
    let same = same.iter().find(|event| event["number"] == got).unwrap();
    assert_eq!(same["time"], event["time"]);
    assert_eq!(same["fields"], event["fields"]);

    drop(listener);
    let mut again = Listener::join(&gatepass, Some(asked)).await;
    let (missed, event) = read(&again.next("id: ").await);
    assert_eq!((missed, &event["message"]), (got, &"new token".into()));
    // One who knows more than has happened knew another process.
    let mut from_before = Listener::join(&gatepass, Some(1_000_000)).await;
    let (first, _) = read(&from_before.next("id: ").await);
    assert!(first < asked, "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_listen_and_whoever_leaves_makes_room() {
    let (gatepass, _provider, _upstream) = start("admin.event_streams = 2").await;
    let first = Listener::join(&gatepass, None).await;
    let second = Listener::join(&gatepass, None).await;
    assert_eq!(second.answer.status(), 200);
    let refused = get(gatepass.admin(), "/api/events").await;
    assert_eq!(refused.status(), 503);
    assert!(
        refused.body().contains("admin.event_streams"),
        "{refused:?}"
    );
    drop(first);
    let room = async {
        while Listener::join(&gatepass, None).await.answer.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, room).await.expect("room in time");
    // Those who only look are not in the way of anybody.
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_it_properly() {
    let (mut gatepass, _provider, _upstream) = start("").await;
    let mut listener = Listener::join(&gatepass, None).await;
    listener.next("heartbeat").await;
    gatepass.signal(Signal::TERM);
    listener.next("stopping").await;
    let end = async { while listener.piece().await.is_some() {} };
    timeout(PATIENCE, end).await.expect("an end in time");
    assert!(gatepass.ended().await.success());
}
