//! Upstreams that are older than the RFCs that gatepass keeps to.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::wire::{GET, Wire, read_until};

/// What a caller gets for this answer of the upstream's, up to `wanted`. Whatever may come after it
/// belongs to nobody: the next request goes over another connection.
async fn told(answer: &str, wanted: &str) -> String {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream.write_all(answer.as_bytes()).await.unwrap();
    let told = read_until(&mut caller, wanted).await;
    caller.write_all(GET.as_bytes()).await.unwrap();
    let mut another = wire.accept().await;
    read_until(&mut another, "\r\n\r\n").await;
    let answer = b"HTTP/1.1 200 OK\r\nX-Next: 1\r\nContent-Length: 0\r\n\r\n";
    another.write_all(answer).await.unwrap();
    let next = read_until(&mut caller, "\r\n\r\n").await;
    assert!(next.starts_with("HTTP/1.1 200 OK\r\nx-next: 1"), "{next}");
    told
}

const HIDDEN: &str = "HTTP/1.1 200 OK\r\nX-Hidden: 1\r\nContent-Length: 0\r\n\r\n";

/// RFC 9112 §5.1: "A proxy MUST remove any such whitespace from a response message before forwarding
/// the message downstream."
#[tokio::test(flavor = "multi_thread")]
async fn a_space_before_a_colon_is_taken_off_and_the_field_is_heeded() {
    for (fields, body, told_fields, told_body) in [
        (
            "X-One : 1\r\nContent-Length \t: 5",
            "hello",
            "x-one: 1\r\ncontent-length: 5",
            "hello",
        ),
        (
            "Transfer-Encoding : chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Content-Length : 3\r\nTransfer-Encoding\t: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Connection : x-one\r\nX-One: 1\r\nContent-Length: 5",
            "hello",
            "content-length: 5",
            "hello",
        ),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}{HIDDEN}");
        let told = told(&answer, told_body).await;
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").skip(1).collect();
        lines.retain(|line| !line.starts_with("date: "));
        assert_eq!(lines.join("\r\n"), told_fields, "{fields:?}");
        assert_eq!(body, told_body, "{fields:?}");
    }
}

/// RFC 9112 §5.2: a proxy "MUST either discard the message and replace it with a 502 (Bad Gateway)
/// response […] or replace each received obs-fold with one or more SP octets".
#[tokio::test(flavor = "multi_thread")]
async fn what_might_be_read_in_two_ways_is_passed_on_in_none() {
    for fields in [
        "X-One: 1\r\n 2\r\nContent-Length: 5",
        "X-One:\r\n\tContent-Length: 9\r\nContent-Length: 5",
        " X-One: 1\r\nContent-Length: 5",
        " : 1\r\nContent-Length: 5",
        "X One: 1\r\nContent-Length: 5",
        "X-One \u{b}: 1\r\nContent-Length: 5",
        "X-One\r\n: 1\r\nContent-Length: 5",
        "Content-Length : 5\r\nContent-Length: 6",
        "Transfer-Encoding : chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : identity\r\nContent-Length: 5",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello{HIDDEN}");
        let told = told(&answer, "}").await;
        assert!(told.starts_with("HTTP/1.1 502 "), "{fields:?}: {told}");
        assert!(!told.contains("hello"), "{fields:?}: {told}");
    }
}

/// A connection that the upstream is about to close takes no request that could be lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_no_longer_than_the_upstream_says_that_it_does() {
    for (keep_alive, unused_for, is_kept) in [
        ("timeout=100, max=7", Duration::ZERO, true),
        ("max=7", Duration::ZERO, true),
        ("timeout=0", Duration::ZERO, false),
        // A quarter of a second before its end it is not used any more.
        ("timeout=1", Duration::from_millis(751), false),
    ] {
        let wire = Wire::start("").await;
        let (mut caller, mut upstream) = wire.exchange(GET).await;
        answer(&mut upstream, keep_alive).await;
        let told = read_until(&mut caller, "\r\n\r\n").await;
        assert!(!told.contains("keep-alive"), "{told}");
        sleep(unused_for).await;
        caller.write_all(GET.as_bytes()).await.unwrap();
        let mut next = match is_kept {
            true => upstream,
            false => wire.accept().await,
        };
        read_until(&mut next, "\r\n\r\n").await;
    }
}

/// What follows on it would be spoken in HTTP/1.0 as well, in which a body in chunks cannot be sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_http_1_0_was_answered_takes_no_other_request() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    let answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut caller, "200 OK").await;
    let chunked =
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    caller.write_all(chunked.as_bytes()).await.unwrap();
    let mut next = wire.accept().await;
    read_until(&mut next, "1\r\nx\r\n").await;
}

/// Apache and Tomcat tell it only to those who ask for the connection to be kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_asked_once_for_each_connection_how_long_it_keeps_it() {
    let wire = Wire::start("").await;
    let mut caller = wire.call(GET.as_bytes()).await;
    let mut upstream = wire.accept().await;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
    answer(&mut upstream, "timeout=100").await;
    read_until(&mut caller, "\r\n\r\n").await;
    caller.write_all(GET.as_bytes()).await.unwrap();
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(!head.contains("connection"), "{head}");
}

async fn answer(upstream: &mut TcpStream, keep_alive: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {keep_alive}\r\nContent-Length: 0\r\n\r\n");
    upstream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_as_many_fields_as_the_route_allows() {
    let raised = "max_response_headers = 300";
    for (keys, fields, most) in [
        ("", 100, None),
        ("", 101, Some(100)),
        (raised, 300, None),
        (raised, 301, Some(300)),
        ("max_response_headers = 10", 11, Some(10)),
    ] {
        let wire = Wire::start(keys).await;
        let (mut caller, mut upstream) = wire.exchange(GET).await;
        let others: String = (1..fields).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\n{others}Content-Length: 0\r\n\r\n");
        upstream.write_all(head.as_bytes()).await.unwrap();
        let (status, wanted) = match most {
            None => ("200", format!("x-{0}: {0}\r\n", fields - 1)),
            Some(most) => ("502", format!("it may have 64 KiB and {most} fields")),
        };
        let told = read_until(&mut caller, &wanted).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
    }
}
