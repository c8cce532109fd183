//! Bodies go through piece by piece, in both directions, without being collected.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::support::client::{PATIENCE, connect, get_request};
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_a_request_arrive_before_the_rest_is_sent() {
    let wire = Wire::start("").await;
    let mut caller = wire
        .call(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "first").await;
    caller.write_all(b"6\r\nsecond\r\n").await.unwrap();
    read_until(&mut upstream, "second").await;
    caller.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut upstream, "0\r\n\r\n").await;
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut caller, "204").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_an_answer_arrive_before_the_rest_is_sent() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut caller, "200 OK").await;
    for event in ["event one", "event two", "event three"] {
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        upstream.write_all(chunk.as_bytes()).await.unwrap();
        read_until(&mut caller, event).await;
    }
    upstream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut caller, "0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_has_nothing_more_to_say_is_answered() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    caller.shutdown().await.unwrap();
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh")
        .await
        .unwrap();
    read_until(&mut caller, "\r\n\r\nwh").await;
    upstream.write_all(b"ole").await.unwrap();
    read_until(&mut caller, "ole").await;
    // And then it is over, at once.
    let over = Instant::now();
    let end = timeout(PATIENCE, caller.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    assert!(
        over.elapsed() < Duration::from_secs(3),
        "{:?}",
        over.elapsed()
    );
}

/// The end of its side comes with the last piece of its request, as old clients have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_has_said_all_with_its_body_is_answered() {
    let wire = Wire::start("").await;
    for (fields, body) in [
        ("Content-Length: 4", "last"),
        (
            "Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close",
            "last",
        ),
        ("Transfer-Encoding: chunked", "4\r\nlast\r\n0\r\n\r\n"),
    ] {
        for at_once in [true, false] {
            let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
            let (mut caller, mut upstream) = match at_once {
                true => {
                    let mut caller = wire.call((head + body).as_bytes()).await;
                    caller.shutdown().await.unwrap();
                    (caller, wire.accept().await)
                }
                false => {
                    let (mut caller, upstream) = wire.exchange(&head).await;
                    caller.write_all(body.as_bytes()).await.unwrap();
                    caller.shutdown().await.unwrap();
                    (caller, upstream)
                }
            };
            read_until(&mut upstream, body).await;
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nheard";
            upstream.write_all(answer).await.unwrap();
            read_until(&mut caller, "heard").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_ends_in_the_midst_of_its_body_is_told_at_once() {
    let wire = Wire::start("").await;
    for half in [
        "Content-Length: 8\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\n";
        let mut caller = wire.call(format!("{head}{half}").as_bytes()).await;
        let mut upstream = wire.accept().await;
        read_until(&mut upstream, "half").await;
        let ended = Instant::now();
        caller.shutdown().await.unwrap();
        read_until(&mut caller, "request_broken").await;
        assert!(ended.elapsed() < Duration::from_secs(2), "{half}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_the_upstream_request() {
    let wire = Wire::start("").await;
    let (caller, mut upstream) = wire.exchange(GET).await;
    drop(caller);
    let end = timeout(PATIENCE, upstream.read(&mut [0; 16]))
        .await
        .unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let left = r#"gatepass_requests_total{route="root",status_class="none"}"#;
    wire.gatepass.wait_for_metric(left, 1.0).await;
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    assert_eq!(wire.gatepass.metric(in_flight).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_answer_are_kept() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(
            b"HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
              Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: theirs\r\n\
              Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
              Location: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        )
        .await
        .unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    let mut lines: Vec<_> = answer.trim_end().lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @"
    HTTP/1.1 418 I'm a teapot
    content-length: 0
    date: Tue, 15 Nov 1994 08:12:31 GMT
    location: /elsewhere
    server: theirs
    set-cookie: a=1
    set-cookie: b=2
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_megabytes_pass_unharmed_in_both_directions() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    // The upstream answers with what it got.
    let size = 60_000_000;
    let pattern: Vec<u8> = (0..=255).collect();
    let body = Bytes::from(pattern.repeat(size / 256));
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let mut request = get_request("/");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Full::from(body.clone());
    let answer = caller.send_request(request).await.unwrap();
    let echoed = http_body_util::BodyExt::collect(answer)
        .await
        .unwrap()
        .to_bytes();
    assert!(echoed == body, "{} bytes came back", echoed.len());
    let memory = gatepass.peak_memory_kib();
    assert!(
        memory < 40_000,
        "{memory} KiB at the peak: is a body collected?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_go_on_after_an_early_answer() {
    let wire = Wire::start_with("proxy.timeouts.header_read = \"200ms\"", "").await;
    let mut caller = wire
        .call(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        .await;
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream
        .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    read_until(&mut caller, "no").await;
    // Longer than a head may take.
    for piece in ["he", "ll", "ow", "or"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        caller.write_all(piece.as_bytes()).await.unwrap();
    }
    caller.write_all(b"ld").await.unwrap();
    read_until(&mut upstream, "ld").await;
}

/// A socket that is closed while something is unread resets the connection. The end is told before.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_answered_in_the_midst_of_its_body_reads_to_the_end() {
    let wire = Wire::start("max_body = 10240").await;
    let mut head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n".to_vec();
    // More than is read with the head.
    head.resize(head.len() + 40_000, b'x');
    let mut caller = wire.call(&head).await;
    let mut answer = String::new();
    let read = timeout(PATIENCE, caller.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// What is still on its way to an upstream that has closed resets the connection, and by then its
/// answer has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_a_body_and_goes_is_heard_out() {
    let wire = Wire::start("").await;
    let size = 4_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
    for round in 0..50 {
        let caller = wire.call(head.as_bytes()).await;
        let mut upstream = wire.accept().await;
        read_until(&mut upstream, "\r\n\r\n").await;
        let (mut answer, mut body) = caller.into_split();
        tokio::spawn(async move {
            // That it fails before all is sent is what this is about.
            let _ = body.write_all(&vec![b'x'; size]).await;
            // A caller that says that it has nothing more to say would be another matter.
            body.forget();
        });
        upstream.readable().await.unwrap();
        upstream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
        drop(upstream);
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\nno") {
            let read = timeout(PATIENCE, answer.read_buf(&mut heard)).await;
            let said = String::from_utf8_lossy(&heard);
            assert_ne!(read.unwrap().unwrap(), 0, "round {round}: {said}");
        }
        assert!(heard.starts_with(b"HTTP/1.1 413 "), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_pause_again_and_again() {
    let wire = Wire::start("timeouts.idle = \"2s\"").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    upstream.write_all(head).await.unwrap();
    read_until(&mut caller, "\r\n\r\n").await;
    for piece in ["a", "b", "c", "d", "e", "f"] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        upstream.write_all(piece.as_bytes()).await.unwrap();
        read_until(&mut caller, piece).await;
    }
}

/// Trailers are the end of a request as well: what is waited for from then on is the answer.
#[tokio::test(flavor = "multi_thread")]
async fn after_trailers_the_upstream_has_the_time_for_an_answer() {
    let wire = Wire::start("timeouts = { response_head = \"500ms\", idle = \"1h\" }").await;
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nbody\r\n0\r\nX-Checksum: 1\r\n\r\n";
    let (mut caller, _upstream) = wire.exchange(request).await;
    let told = read_until(&mut caller, "}").await;
    assert!(
        told.contains("took the request and did not begin"),
        "{told}"
    );
}
