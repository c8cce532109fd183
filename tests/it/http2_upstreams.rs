//! HTTP/2 to upstreams: how long a connection is used, and what becomes of its requests when it ends.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::client::{PATIENCE, connect};
use crate::support::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Received, SETTINGS, STATUS_200, frame,
};
use crate::support::http2::{self, Http2Upstream};
use crate::support::{self, AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// gatepass before an upstream that speaks HTTP/2 alone, with these keys of the route.
async fn start(keys: &str) -> (Gatepass, Http2Upstream) {
    let provider = AuthorizationServer::start();
    let other = Upstream::start().await;
    let upstream = Http2Upstream::start(100).await;
    let config = simple_config(&provider, &other).replace(&other.origin(), &upstream.origin());
    let gatepass = Gatepass::start(&format!("{config}\n{keys}"));
    (gatepass.ready().await, upstream)
}

/// New connections go where the name leads by then.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_takes_no_further_request() {
    let (gatepass, upstream) = start("timeouts.connection_age = \"300ms\"").await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    sleep(Duration::from_millis(400)).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_connection_is_closed_when_nobody_uses_it_any_more() {
    let (gatepass, _upstream) = start("timeouts.keep_alive = \"300ms\"").await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let open = r#"gatepass_upstream_connections_open{route="root"}"#;
    gatepass.wait_for_metric(open, 0.0).await;
}

/// An upstream that refuses the first request of its only connection, or leaves with it.
async fn with_frames_by_hand(first: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Gatepass {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = AuthorizationServer::start();
    let other = Upstream::start().await;
    let origin = format!("h2c://{}", listener.local_addr().unwrap());
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move { refuse_one(stream, &first).await });
        // Those that come after it are served.
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(http2::serve(stream));
        }
    });
    Gatepass::start(&config).ready().await
}

async fn refuse_one(mut stream: TcpStream, first: &impl Fn(u32) -> Vec<u8>) {
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let received = Received::next(&mut stream).await;
        if received.kind == HEADERS {
            stream.write_all(&first(received.stream)).await.unwrap();
            break;
        }
    }
    // Kept open: what was said of the stream has to be enough.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_not_looked_at_is_sent_again_whatever_it_does() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let gatepass = with_frames_by_hand(|id| frame(RST_STREAM, 0, id, &REFUSED_STREAM)).await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let request = Request::post("/").header("host", "localhost");
    let request = request.body(Full::from("once")).unwrap();
    let answer = timeout(PATIENCE, caller.send_request(request))
        .await
        .unwrap();
    // On the same connection it would be answered by nobody.
    assert_eq!(answer.unwrap().status(), 200);
    let retries = r#"gatepass_upstream_retries_total{reason="refused",route="root"}"#;
    assert_eq!(gatepass.metric(retries).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_its_leave_costs_no_request() {
    for (method, body) in [(Method::GET, ""), (Method::POST, "once")] {
        let last_stream_and_no_error = [0; 8];
        let gatepass =
            with_frames_by_hand(move |_| frame(GOAWAY, 0, 0, &last_stream_and_no_error)).await;
        let request = Request::builder()
            .method(&method)
            .header("host", "localhost");
        let request = request.body(Full::from(body)).unwrap();
        let answer = support::request(gatepass.proxy(), request).await;
        assert_eq!(answer.status(), 200, "{method}: {}", answer.body());
        let retries = r#"gatepass_upstream_retries_total{reason="refused",route="root"}"#;
        assert_eq!(gatepass.metric(retries).await, 1.0, "{method}");
    }
}

/// RFC 9113 §6.8: "Activity on streams numbered lower than or equal to the last stream identifier
/// might still complete successfully".
#[tokio::test(flavor = "multi_thread")]
async fn what_it_took_before_it_left_is_not_sent_twice() {
    let gatepass = with_frames_by_hand(|id| {
        let mut bytes = frame(GOAWAY, 0, 0, &[id.to_be_bytes(), [0; 4]].concat());
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, &STATUS_200));
        bytes
    });
    let gatepass = gatepass.await;
    let request = Request::post("/").header("host", "localhost");
    let request = request.body(Full::from("once")).unwrap();
    let answer = support::request(gatepass.proxy(), request).await;
    assert_eq!(answer.status(), 200, "{}", answer.body());
    let retries = r#"gatepass_upstream_retries_total{reason="refused",route="root"}"#;
    assert_eq!(gatepass.metric(retries).await, 0.0);
}
