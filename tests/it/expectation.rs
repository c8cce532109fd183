//! `Expect: 100-continue`, from end to end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::wire::{Wire, read_until};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
                    Expect: 100-continue\r\n\r\n";

/// Nothing comes for a while.
async fn is_quiet(stream: &mut TcpStream, duration: Duration) -> bool {
    timeout(duration, stream.read_u8()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_asked_when_the_upstream_asks() {
    let wire = Wire::start("").await;
    let mut caller = wire.call(HEAD.as_bytes()).await;
    let mut upstream = wire.accept().await;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(head.contains("expect: 100-continue\r\n"), "{head}");
    assert!(is_quiet(&mut caller, Duration::from_millis(300)).await);

    upstream
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut caller, "HTTP/1.1 100 Continue\r\n\r\n").await;
    caller.write_all(b"body").await.unwrap();
    read_until(&mut upstream, "body").await;
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_comes_instead() {
    let wire = Wire::start("").await;
    let mut caller = wire.call(HEAD.as_bytes()).await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    let refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    upstream.write_all(refusal).await.unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 413"),
        "it was not asked: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_never_asks_gets_the_body_after_a_moment() {
    let wire = Wire::start("").await;
    let started = Instant::now();
    let mut caller = wire.call(HEAD.as_bytes()).await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    read_until(&mut caller, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    caller.write_all(b"body").await.unwrap();
    read_until(&mut upstream, "body").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http_1_0_expects_is_ignored() {
    let wire = Wire::start("").await;
    let head = HEAD.replace("HTTP/1.1", "HTTP/1.0");
    let mut caller = wire.call(format!("{head}body").as_bytes()).await;
    let mut upstream = wire.accept().await;
    let seen = read_until(&mut upstream, "body").await;
    assert!(!seen.contains("expect"), "{seen}");
    assert!(seen.contains("via: 1.0 gatepass\r\n"), "{seen}");
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
}
