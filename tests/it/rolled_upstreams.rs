//! Upstreams that are started anew, or leave one connection after the other, while requests go on.

use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::client::{PATIENCE, get};
use crate::support::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, Received, SETTINGS, STATUS_200, frame,
};
use crate::support::http2::serve;
use crate::support::wire::read_until;
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// gatepass before an upstream at `origin`, with these keys of the route.
async fn before(origin: &str, keys: &str) -> (Gatepass, AuthorizationServer) {
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &other).replace(&other.origin(), origin);
    let gatepass = Gatepass::start(&format!("{config}\n{keys}")).ready().await;
    (gatepass, provider)
}

async fn over_http2(keys: &str) -> (Gatepass, AuthorizationServer, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("h2c://{}", listener.local_addr().unwrap());
    let (gatepass, provider) = before(&origin, keys).await;
    (gatepass, provider, listener)
}

/// A caller that has sent a request which may not be repeated.
async fn post(gatepass: &Gatepass) -> TcpStream {
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nonce";
    caller.write_all(request).await.unwrap();
    caller
}

/// Reads frames until the head of this stream has come.
async fn read_head(stream: &mut TcpStream, wanted: u32) {
    let reading = async {
        loop {
            let received = Received::next(stream).await;
            if (received.kind, received.stream) == (HEADERS, wanted) {
                return;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_that_are_over_leave_room_for_the_next() {
    let (gatepass, _provider, listener) = over_http2("max_connections = 1").await;
    let restarted = Arc::<Notify>::default();
    let restarts = Arc::clone(&restarted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::select! {
                () = serve(stream) => {}
                () = restarts.notified() => {}
            }
        }
    });
    for start in 0..3 {
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(answer.status(), 200, "start {start}: {}", answer.body());
        restarted.notify_one();
    }
}

/// An upstream that leaves so many connections before it looks at a request, and serves those after them.
async fn leaving(listener: TcpListener, connections: usize) {
    let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
    let mut left = Vec::new();
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        read_head(&mut stream, 1).await;
        stream.write_all(&goodbye).await.unwrap();
        left.push(stream);
    }
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_one_connection_after_the_other_costs_no_request() {
    let (gatepass, _provider, listener) = over_http2("").await;
    tokio::spawn(leaving(listener, 8));
    let mut caller = post(&gatepass).await;
    let told = read_until(&mut caller, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_whenever_it_is_asked_is_given_up() {
    let (gatepass, _provider, listener) = over_http2("").await;
    tokio::spawn(leaving(listener, 100));
    let mut caller = post(&gatepass).await;
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
    let refused = r#"gatepass_upstream_retries_total{reason="refused",route="root"}"#;
    assert_eq!(gatepass.metric(refused).await, 11.0);
}

/// Nothing of it has been sent as long as the connection that it found was left by the upstream before,
/// so this is no second attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_on_a_connection_that_was_left_meanwhile_costs_no_attempt() {
    const MAX_CONCURRENT_STREAMS_2: [u8; 6] = [0, 3, 0, 0, 0, 2];
    let (gatepass, _provider, listener) = over_http2("retries = 0").await;
    let _first = post(&gatepass).await;
    let (mut old, _) = listener.accept().await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &MAX_CONCURRENT_STREAMS_2);
    old.write_all(&settings).await.unwrap();
    old.read_exact(&mut [0; 24]).await.unwrap();
    read_head(&mut old, 1).await;
    let mut second = post(&gatepass).await;
    read_head(&mut old, 3).await;
    // There is no room for a third.
    let mut third = post(&gatepass).await;
    let (new, _) = listener.accept().await.unwrap();

    // RFC 9113 §6.8: the first two are finished there, and nothing else.
    let goodbye = [3_u32.to_be_bytes(), [0; 4]].concat();
    let mut bytes = frame(GOAWAY, 0, 0, &goodbye);
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 3, &STATUS_200));
    old.write_all(&bytes).await.unwrap();
    read_until(&mut second, "HTTP/1.1 200 ").await;
    // Now it looks as if there was room again.
    tokio::spawn(async move {
        tokio::spawn(serve(new));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    let told = read_until(&mut third, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let unsent = r#"gatepass_upstream_retries_total{reason="unsent",route="root"}"#;
    assert_eq!(gatepass.metric(unsent).await, 1.0);
}

async fn before_socket(path: &Path, keys: &str) -> (Gatepass, AuthorizationServer) {
    before(&format!("unix:{}", path.display()), keys).await
}

async fn answer(upstream: &mut UnixStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"once") {
        assert_ne!(upstream.read_buf(&mut head).await.unwrap(), 0);
    }
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_with_a_full_queue_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let place = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(&path).unwrap();
    place.bind(&address).unwrap();
    place.listen(1).unwrap();
    place.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(place.into()).unwrap();
    let mut queue = Vec::new();
    let full = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => queue.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);

    let (gatepass, _provider) = before_socket(&path, "retries = 0").await;
    let mut caller = post(&gatepass).await;
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 1.0).await;
    for _ in &queue {
        listener.accept().await.unwrap();
    }
    let accepted = timeout(PATIENCE, listener.accept()).await;
    let (mut upstream, _) = accepted.expect("the request").unwrap();
    answer(&mut upstream).await;
    read_until(&mut caller, "204").await;
}
