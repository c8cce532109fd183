//! Upstreams and callers that break off, fall silent or speak strangely.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::support::client::{PATIENCE, connect, get_request, read};
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, raw, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_ended_cleanly() {
    for head in [
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Content-Length: 9\r\n\r\nhello",
    ] {
        let wire = Wire::start("").await;
        let (mut caller, mut upstream) = wire.exchange(GET).await;
        upstream
            .write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes())
            .await
            .unwrap();
        read_until(&mut caller, "hello").await;
        drop(upstream);
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, caller.read_to_end(&mut rest))
            .await
            .unwrap();
        assert_eq!(rest, b"", "nothing that could pass for an end: {ended:?}");
        let broken = r#"gatepass_answers_broken_total{route="root"}"#;
        wire.gatepass.wait_for_metric(broken, 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_given_up_in_time() {
    let wire = Wire::start("timeouts.response_head = \"200ms\"").await;
    let with_body = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody";
    for request in [GET, with_body] {
        let mut caller = wire.call(request.as_bytes()).await;
        let _silent = wire.accept().await;
        let answer = read_until(&mut caller, "}").await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert!(
            answer.contains("did not begin to answer within 200ms"),
            "{answer}"
        );
        assert!(
            answer.contains("\"reason\":\"upstream_timeout\""),
            "{answer}"
        );
    }
}

/// A connection has one timer, which goes from request to request.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_on_a_kept_connection_has_time_of_its_own() {
    let wire = Wire::start("timeouts.response_head = \"500ms\"").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    // The second is still under way when the time of the first would be over, and before the third
    // nobody asks anything for longer than an answer may take.
    for pause in [0, 0, 600] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        upstream.write_all(answer).await.unwrap();
        read_until(&mut caller, "HTTP/1.1 204").await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        caller.write_all(GET.as_bytes()).await.unwrap();
        read_until(&mut upstream, "\r\n\r\n").await;
    }
    let started = Instant::now();
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(started.elapsed() > Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_waits_for_a_slow_caller() {
    let wire = Wire::start("timeouts.response_head = \"200ms\"").await;
    let mut caller = wire
        .call(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        .await;
    let mut upstream = wire.accept().await;
    // Longer than an answer may take, but the answer is not due before the request is whole.
    for piece in ["he", "ll", "ow", "or", "ld"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        caller.write_all(piece.as_bytes()).await.unwrap();
    }
    read_until(&mut upstream, "ld").await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    let answer = read_until(&mut caller, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stalls_is_broken_off() {
    let wire = Wire::start("timeouts.idle = \"200ms\"").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, caller.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(answer.ends_with(b"hello"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_switches_protocols_unasked_is_refused() {
    let wire = Wire::start("").await;
    let mut caller = wire
        .call(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    let mut upstream = wire.accept().await;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(!head.to_lowercase().contains("upgrade"), "{head}");
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    upstream.write_all(switch).await.unwrap();
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_closes_under_a_request_costs_no_repeatable_one() {
    for (method, body, repeated) in [
        ("GET", "", true),
        ("PUT", "kept", true),
        ("DELETE", "", true),
        ("POST", "kept", false),
        ("PATCH", "", false),
    ] {
        let wire = Wire::start("").await;
        let (mut caller, mut first) = wire.exchange(GET).await;
        first
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        read_until(&mut caller, "ok").await;
        let length = body.len();
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        caller.write_all(request.as_bytes()).await.unwrap();
        // The whole request is there, and instead of an answer comes the end.
        read_until(&mut first, &format!("\r\n\r\n{body}")).await;
        drop(first);
        if repeated {
            let mut second = wire.accept().await;
            let again = read_until(&mut second, &format!("\r\n\r\n{body}")).await;
            assert!(again.starts_with(method), "{again}");
            second
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain")
                .await
                .unwrap();
            read_until(&mut caller, "again").await;
        } else {
            let answer = read_until(&mut caller, "}").await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{method}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_upstream_closed_costs_no_request() {
    let wire = Wire::start("").await;
    let mut caller = connect::<Full<Bytes>>(wire.gatepass.proxy()).await;
    for round in 0..20 {
        let answer = tokio::spawn({
            let sent = caller.send_request(get_request("/"));
            async move { read(sent.await.unwrap()).await }
        });
        let mut upstream = wire.accept().await;
        read_until(&mut upstream, "\r\n\r\n").await;
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 200, "round {round}");
        // Kept alive by the answer, closed nevertheless.
        drop(upstream);
        caller.ready().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_are_answered_with_400_and_go_nowhere() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let mut number = 0.0;
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = raw(gatepass.proxy(), request, |text| text.contains("\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        let counted = r#"gatepass_rejections_total{reason="bad_request",route="(none)"}"#;
        number += 1.0;
        gatepass.wait_for_metric(counted, number).await;
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_upstream_costs_the_caller_nothing() {
    let wire = Wire::start("").await;
    let (mut caller, mut first) = wire.exchange(GET).await;
    first
        .write_all(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    let answer = read_until(&mut caller, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The same caller goes on, and a body without a length arrives whole, on another connection.
    caller
        .write_all(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    let mut second = wire.accept().await;
    let request = read_until(&mut second, "0\r\n\r\n").await;
    assert!(request.contains("POST / HTTP/1.1"), "{request}");
    assert!(request.contains("hello"), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunks_does_not_cut_the_answer() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
              5\r\nhello\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    let answer = read_until(&mut caller, "0\r\n\r\n").await;
    assert!(answer.contains("hello"), "{answer}");
    assert!(
        !answer.to_lowercase().contains("content-length"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_transfer_codings_are_refused() {
    let wire = Wire::start("").await;
    let mut caller = wire
        .call(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
        .await;
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert!(answer.contains("\"reason\":\"unknown_coding\""), "{answer}");

    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
        .await
        .unwrap();
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_caller_are_told_as_such() {
    let wire = Wire::start("timeouts.idle = \"200ms\"").await;
    let mut caller = wire
        .call(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        .await;
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("request_broken"), "{answer}");

    // The default for the head of an answer is a minute; the body has its own limit.
    for begun in ["", "hello"] {
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
        let mut caller = wire.call(format!("{head}{begun}").as_bytes()).await;
        let answer = read_until(&mut caller, "}").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("did not move for 200ms"), "{answer}");
        assert!(
            answer.contains("\"reason\":\"request_stalled\""),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_no_more_of_a_body_is_at_fault() {
    for (keys, reason, detail) in [
        (
            "timeouts.idle = \"500ms\"",
            "upstream_timeout",
            "took a part of the request and then nothing for 500ms",
        ),
        (
            "timeouts.request = \"500ms\"",
            "request_timeout",
            "did not begin to answer within the 500ms that timeouts.request allows",
        ),
    ] {
        let wire = Wire::start(keys).await;
        let more_than_sockets_hold = vec![b'x'; 32 << 20];
        let length = more_than_sockets_hold.len();
        let head =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        let caller = wire.call(head.as_bytes()).await;
        let _takes_nothing = wire.accept().await;
        let (mut reading, mut writing) = caller.into_split();
        tokio::spawn(async move {
            // It is refused in the middle.
            let _ = writing.write_all(&more_than_sockets_hold).await;
            std::future::pending::<()>().await;
        });
        let mut told = Vec::new();
        while !told.ends_with(b"}") {
            let read = timeout(PATIENCE, reading.read_buf(&mut told)).await;
            assert_ne!(read.unwrap().unwrap(), 0);
        }
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
        assert!(told.contains(&format!("\"reason\":\"{reason}\"")), "{told}");
        assert!(told.contains(detail), "{told}");
        let output = wire.gatepass.output_with(detail);
        assert!(output.contains("\"WARN\""), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_sent_and_failed_is_a_failure() {
    let wire = Wire::start("").await;
    let (mut caller, mut first) = wire
        .exchange("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .await;
    first
        .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    // With another token, and it may have been acted on.
    let mut again = wire.accept().await;
    read_until(&mut again, "canary-token-2").await;
    drop(again);
    let answer = read_until(&mut caller, "}").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}
