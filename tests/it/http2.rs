//! HTTP/2 from callers and to upstreams.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{self, PATIENCE, read};
use crate::support::frames::{GOAWAY, Received, SETTINGS, frame};
use crate::support::http2::{Http2Upstream, connect, get_request, pieces};
use crate::support::{AuthorizationServer, Gatepass, Upstream, problem, simple_config};

/// gatepass before an upstream that speaks HTTP/2 alone.
async fn before_http2(most_streams: u32) -> (Gatepass, Http2Upstream) {
    let provider = AuthorizationServer::start();
    let other = Upstream::start().await;
    let upstream = Http2Upstream::start(most_streams).await;
    let config = simple_config(&provider, &other).replace(&other.origin(), &upstream.origin());
    (Gatepass::start(&config).ready().await, upstream)
}

async fn before_http1(keys: &str) -> (Gatepass, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!("{keys}\n{}", simple_config(&provider, &upstream));
    (Gatepass::start(&config).ready().await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_knows_http2_reaches_an_upstream_that_does_not() {
    let (gatepass, upstream) = before_http1("").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let request = Request::post("http://localhost/a//b/../c?d=%2F")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("authorization", "Basic mine")
        .header("expect", "100-continue");
    let request = request.body(Full::from("hello")).unwrap();
    let answer = read(caller.send_request(request).await.unwrap()).await;
    assert_eq!(
        (answer.status(), answer.body().as_str()),
        (StatusCode::OK, "hello")
    );
    let seen = upstream.last();
    assert_eq!(seen.method, Method::POST);
    assert_eq!(seen.target, "/a//b/../c?d=%2F");
    assert_eq!(seen.all("host"), [upstream.authority()]);
    assert_eq!(seen.all("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.all("via"), ["2.0 gatepass"]);
    assert_eq!(seen.all("te"), ["trailers"]);
    assert_eq!(seen.all("content-length"), ["5"]);
    assert!(seen.all("expect").is_empty());
    let [token] = seen.all("authorization")[..] else {
        panic!("{:?}", seen.headers)
    };
    assert!(token.starts_with("Bearer "), "{token}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_reaches_an_upstream_that_speaks_nothing_else() {
    let (gatepass, upstream) = before_http2(100).await;
    let mut caller = client::connect::<Full<Bytes>>(gatepass.proxy()).await;
    for path in ["/a//b/../c?d=%2F", "/"] {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("connection", "x-mine")
            .header("x-mine", "1");
        let request = request.body(Full::from("hello")).unwrap();
        let answer = read(caller.send_request(request).await.unwrap()).await;
        assert_eq!(
            (answer.status(), answer.body().as_str()),
            (StatusCode::OK, "hello")
        );
        let seen = upstream.last();
        assert_eq!(seen.uri, *format!("http://{}{path}", upstream.authority()));
        assert_eq!(seen.headers["via"], "1.1 gatepass");
        assert!(!seen.headers.contains_key("host"), "{seen:?}");
        assert!(!seen.headers.contains_key("x-mine"), "{seen:?}");
        assert!(
            seen.headers["authorization"]
                .to_str()
                .unwrap()
                .starts_with("Bearer ")
        );
        caller.ready().await.unwrap();
    }
    assert_eq!(upstream.connections(), 1);
}

/// RFC 9110 §9.3.2. hyper sees to it over HTTP/1.1 alone, and callers take DATA for a breach of
/// the protocol.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_our_own_to_head_has_no_body() {
    let (gatepass, _upstream) = before_http1("").await;
    let own = [
        (gatepass.proxy(), "http://elsewhere/", 421),
        (gatepass.admin(), "http://localhost/livez", 200),
        (gatepass.admin(), "http://localhost/nothing", 404),
        // One that would have no end.
        (gatepass.admin(), "http://localhost/api/events", 200),
    ];
    for (listener, target, status) in own {
        let mut caller = connect::<Full<Bytes>>(listener).await;
        let mut length = Vec::new();
        for method in [Method::HEAD, Method::GET] {
            let request = Request::builder().method(method).uri(target);
            let request = request.body(Full::default()).unwrap();
            let answer = timeout(PATIENCE, caller.send_request(request)).await;
            let answer = answer.unwrap().unwrap();
            assert_eq!(answer.status(), status, "{target}");
            length.push(answer.headers().get(CONTENT_LENGTH).cloned());
            if length.len() == 1 {
                let body = timeout(PATIENCE, read(answer)).await.unwrap().into_body();
                assert_eq!(body, "", "{target}");
            }
        }
        assert_eq!(length[0], length[1], "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_length_is_told_that_the_caller_did_not_tell() {
    let (gatepass, upstream) = before_http2(100).await;
    let mut caller = client::connect::<Full<Bytes>>(gatepass.proxy()).await;
    for length in [None, Some("0")] {
        let mut request = client::get_request("/");
        *request.method_mut() = Method::OPTIONS;
        let told = length.map(HeaderValue::from_static);
        request
            .headers_mut()
            .extend(told.map(|told| (CONTENT_LENGTH, told)));
        let answer = caller.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let seen = upstream.last().headers;
        let seen = seen.get(CONTENT_LENGTH).map(|seen| seen.to_str().unwrap());
        assert_eq!(seen, length);
        caller.ready().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_go_both_ways_at_once_and_trailers_follow() {
    let (gatepass, upstream) = before_http2(100).await;
    let mut caller = connect(gatepass.proxy()).await;
    let (writer, body) = pieces();
    let request = Request::post("http://localhost/grpc.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = caller.send_request(request.body(body).unwrap());
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200, "before anything of the body is sent");
    assert_eq!(upstream.last().headers["te"], "trailers");
    let mut answer = answer.into_body();
    for piece in ["one", "two", "three"] {
        writer.send(Frame::data(piece.into())).await.unwrap();
        let echo = timeout(PATIENCE, answer.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(echo.into_data().unwrap(), piece);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // Not even as a trailer.
    trailers.insert("authorization", HeaderValue::from_static("Basic mine"));
    writer.send(Frame::trailers(trailers)).await.unwrap();
    drop(writer);
    let rest = timeout(PATIENCE, answer.collect()).await.unwrap().unwrap();
    let trailers = rest.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["seen-trailers"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_connection_and_another_is_made_when_it_is_full() {
    for (most_streams, connections) in [(100, 1..=1), (10, 3..=8)] {
        let (gatepass, upstream) = before_http2(most_streams).await;
        let caller = connect(gatepass.proxy()).await;
        let mut writers = Vec::new();
        let mut answers = JoinSet::new();
        for _ in 0..30 {
            let (writer, body) = pieces();
            let request = Request::post("http://localhost/").body(body).unwrap();
            let mut caller = caller.clone();
            answers.spawn(async move { caller.send_request(request).await.unwrap().status() });
            writers.push(writer);
        }
        // All of them are under way: nobody has ended its body.
        for status in timeout(PATIENCE, answers.join_all()).await.unwrap() {
            assert_eq!(status, 200);
        }
        assert!(
            connections.contains(&upstream.connections()),
            "{}",
            upstream.connections()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_twice_in_different_ways_is_refused() {
    let (gatepass, upstream) = before_http1("").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let mut request = get_request("/");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static("elsewhere.example"));
    let answer = read(caller.send_request(request).await.unwrap()).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(problem(&answer)["reason"], "bad_host");
    let request = Request::get("http://elsewhere.example/").body(Full::default());
    let answer = read(caller.send_request(request.unwrap()).await.unwrap()).await;
    assert_eq!(answer.status(), 421);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_what_is_under_way_and_takes_nothing_new() {
    let (mut gatepass, _upstream) = before_http2(100).await;
    let mut caller = connect(gatepass.proxy()).await;
    let (writer, body) = pieces();
    let request = Request::post("http://localhost/").body(body).unwrap();
    let answer = caller.send_request(request).await.unwrap();
    gatepass.signal(Signal::TERM);
    gatepass.wait_for_event(
        "stopping: requests in flight may finish, a second signal ends them at once",
    );
    let refused = async {
        // GOAWAY is on its way; once it is there, nothing more is sent.
        loop {
            let (_, nothing) = pieces();
            let request = Request::post("http://localhost/").body(nothing).unwrap();
            if caller.send_request(request).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    writer.send(Frame::data("late".into())).await.unwrap();
    drop(writer);
    let whole = timeout(PATIENCE, answer.collect()).await.unwrap().unwrap();
    assert_eq!(whole.to_bytes(), "late");
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_is_no_longer_worked_for() {
    let (gatepass, _upstream) = before_http2(100).await;
    let mut caller = connect(gatepass.proxy()).await;
    let (writer, body) = pieces();
    let request = Request::post("http://localhost/").body(body).unwrap();
    let answer = caller.send_request(request).await.unwrap();
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 1.0).await;
    drop((answer, writer));
    gatepass.wait_for_metric(in_flight, 0.0).await;
    // The connection goes on.
    let (writer, body) = pieces();
    drop(writer);
    let request = Request::post("http://localhost/").body(body).unwrap();
    assert_eq!(caller.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_stalled_callers_are_let_go() {
    let (gatepass, _upstream) = before_http1("proxy.timeouts.keep_alive = \"300ms\"").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    assert_eq!(
        caller
            .send_request(get_request("/"))
            .await
            .unwrap()
            .status(),
        200
    );
    let closed = async {
        while let Ok(()) = caller.ready().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();

    // One that opens a stream and then lets its window stay empty.
    let (gatepass, _upstream) = before_http1("proxy.timeouts.stalled = \"500ms\"").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let large = Request::post("http://localhost/").body(Full::from(vec![b'x'; 8 << 20]));
    let _never_read = caller.send_request(large.unwrap()).await.unwrap();
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 0.0).await;
}

/// RFC 9113 §6.8: by GOAWAY a caller knows that a request which it has just sent was not looked at, and
/// may send it again.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_caller_is_told_that_it_is_let_go() {
    let (gatepass, _upstream) = before_http1("proxy.timeouts.keep_alive = \"300ms\"").await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let hello = [preface, frame(SETTINGS, 0, 0, b"")].concat();
    caller.write_all(&hello).await.unwrap();
    let mut told = Vec::new();
    let reading = timeout(PATIENCE, caller.read_to_end(&mut told));
    reading.await.unwrap().unwrap();
    let told = Received::all(&told);
    assert!(told.iter().any(|frame| frame.kind == GOAWAY), "{told:?}");
}
