//! The one protocol to which a connection may switch (RFC 6455), and those to which it may not.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::wire::{Wire, read_until};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A caller and an upstream that have agreed.
async fn agreed(wire: &Wire) -> (TcpStream, TcpStream) {
    let mut caller = wire.call(ASK.as_bytes()).await;
    let mut upstream = wire.accept().await;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "authorization: Bearer canary-token-1",
    ] {
        assert!(
            head.contains(&format!("\r\n{field}\r\n")),
            "{field}: {head}"
        );
    }
    upstream.write_all(AGREE.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ] {
        assert!(
            answer.contains(&format!("\r\n{field}\r\n")),
            "{field}: {answer}"
        );
    }
    (caller, upstream)
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    let mut arrived = vec![0; bytes.len()];
    let read = timeout(PATIENCE, to.read_exact(&mut arrived)).await;
    read.unwrap().unwrap();
    assert_eq!(arrived, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_once_both_sides_agree() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = agreed(&wire).await;
    for _ in 0..100 {
        passes(&mut caller, &mut upstream, b"\x81\x85\0\xff\r\n\r\nping").await;
        passes(&mut upstream, &mut caller, &[0x82; 5_000]).await;
    }
    let open = r#"gatepass_requests_in_flight{route="root"}"#;
    assert_eq!(wire.gatepass.metric(open).await, 1.0);
    let bytes = |of| format!("gatepass_{of}_bytes_total{{route=\"root\"}}");
    assert_eq!(wire.gatepass.metric(&bytes("request")).await, 1_200.0);
    assert_eq!(wire.gatepass.metric(&bytes("answer")).await, 500_000.0);
    drop(caller);
    let end = timeout(PATIENCE, upstream.read(&mut [0; 16]))
        .await
        .unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let ended = r#"gatepass_requests_total{route="root",status_class="1xx"}"#;
    wire.gatepass.wait_for_metric(ended, 1.0).await;
    wire.gatepass.wait_for_metric(open, 0.0).await;
}

/// What a caller gets when its handshake is answered by this.
async fn declined(wire: &Wire, answer: &[u8]) -> String {
    let mut caller = wire.call(ASK.as_bytes()).await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(answer).await.unwrap();
    read_until(&mut caller, "\r\n\r\nno").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_may_decline() {
    let wire = Wire::start("").await;
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let answer = declined(&wire, refused).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

/// It cannot be asked once more: nobody knows what an upstream has begun that was asked to switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_for_the_next_one() {
    let wire = Wire::start("").await;
    let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let answer = declined(&wire, refused).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    let tokens = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    wire.gatepass.wait_for_metric(tokens, 2.0).await;
    let (_caller, mut upstream) = (wire.call(ASK.as_bytes()).await, wire.accept().await);
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(
        head.contains("\r\nauthorization: Bearer canary-token-2\r\n"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_asked_for_in_the_callers_name() {
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
    ] {
        let wire = Wire::start("").await;
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let mut caller = wire.call(head.as_bytes()).await;
        let mut upstream = wire.accept().await;
        let seen = read_until(&mut upstream, "\r\n\r\n").await;
        assert!(!seen.to_lowercase().contains("upgrade"), "{seen}");
        assert!(!seen.to_lowercase().contains("http2-settings"), "{seen}");
        upstream.write_all(AGREE.as_bytes()).await.unwrap();
        let answer = read_until(&mut caller, "}").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "unasked: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_to_something_else_is_refused() {
    let wire = Wire::start("").await;
    let mut caller = wire.call(ASK.as_bytes()).await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    let other = AGREE.replace("websocket", "h2c");
    upstream.write_all(other.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_as_a_connection_to_the_upstream_until_it_is_over() {
    let wire = Wire::start("max_connections = 1").await;
    let (mut caller, mut upstream) = agreed(&wire).await;
    passes(&mut caller, &mut upstream, b"hello").await;
    let open = r#"gatepass_upstream_connections_open{route="root"}"#;
    assert_eq!(wire.gatepass.metric(open).await, 1.0);
    let mut other = wire.call(ASK.as_bytes()).await;
    read_until(&mut other, "upstream_saturated").await;
    drop((caller, upstream));
    wire.gatepass.wait_for_metric(open, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_silent_for_too_long_is_closed() {
    let wire = Wire::start("timeouts.idle = \"300ms\"").await;
    let (mut caller, mut upstream) = agreed(&wire).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        passes(&mut upstream, &mut caller, b"still here").await;
    }
    let end = timeout(PATIENCE, caller.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_may_leave_it_less_than_requests_have() {
    let keys = "proxy.timeouts.drain_upgrades = \"300ms\"\nshutdown.grace = \"1h\"";
    let mut wire = Wire::start_with(keys, "").await;
    let (mut caller, mut upstream) = agreed(&wire).await;
    wire.gatepass.signal(Signal::TERM);
    wire.gatepass
        .output_with("stopping: requests in flight may finish");
    passes(&mut caller, &mut upstream, b"before its time is over").await;
    let end = timeout(PATIENCE, caller.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(wire.gatepass.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_leaves_it_the_grace_period() {
    let mut wire = Wire::start_with("shutdown.grace = \"1s\"", "").await;
    let (mut caller, mut upstream) = agreed(&wire).await;
    wire.gatepass.signal(Signal::TERM);
    wire.gatepass
        .output_with("stopping: requests in flight may finish");
    passes(&mut caller, &mut upstream, b"in the grace period").await;
    assert_eq!(wire.gatepass.ended().await.code(), Some(0));
    let end = timeout(PATIENCE, caller.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
