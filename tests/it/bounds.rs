//! What is over a bound is answered with the right status, and counted; nothing waits without end.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::support::client::PATIENCE;
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{
    AuthorizationServer, Gatepass, Upstream, get, problem, raw, request, simple_config,
};

/// What a caller is answered whose bytes are sent as they are.
async fn answered(wire: &Wire, bytes: &str) -> String {
    let mut caller = wire.call(bytes.as_bytes()).await;
    read_until(&mut caller, "}").await
}

async fn assert_counted(gatepass: &Gatepass, reason: &str, route: &str) {
    let counter = format!("gatepass_rejections_total{{reason=\"{reason}\",route=\"{route}\"}}");
    assert_eq!(gatepass.metric(&counter).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_be_under_way_are_shed_at_once() {
    let wire = Wire::start_with("proxy.limits.requests = 1", "").await;
    let (_first, _upstream) = wire.exchange(GET).await;
    let second = answered(&wire, GET).await;
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    assert!(second.contains("retry-after: 1\r\n"), "{second}");
    assert!(second.contains("\"reason\":\"overloaded\""), "{second}");
    assert_counted(&wire.gatepass, "overloaded", "root").await;
}

/// An event stream is under way as long as it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_under_way_until_its_answer_is_over() {
    let wire = Wire::start_with("proxy.limits.requests = 1", "").await;
    let (mut first, mut upstream) = wire.exchange(GET).await;
    let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    upstream.write_all(begun).await.unwrap();
    read_until(&mut first, "1\r\nx\r\n").await;
    let second = answered(&wire, GET).await;
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    upstream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut first, "0\r\n\r\n").await;
    first.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_an_upstream_may_have_are_not_made() {
    let wire = Wire::start("max_connections = 1").await;
    let (mut first, mut upstream) = wire.exchange(GET).await;
    let second = answered(&wire, GET).await;
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    assert!(
        second.contains("\"reason\":\"upstream_saturated\""),
        "{second}"
    );
    assert!(second.contains("retry-after: 1\r\n"), "{second}");
    assert_counted(&wire.gatepass, "upstream_saturated", "root").await;
    // The one that there is serves again.
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut first, "204").await;
    first.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_idle_connections_are_kept_than_the_route_says() {
    let wire = Wire::start("max_idle_connections = 1").await;
    let (mut first, mut one) = wire.exchange(GET).await;
    let (mut second, mut other) = wire.exchange(GET).await;
    for (caller, upstream) in [(&mut first, &mut one), (&mut second, &mut other)] {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        upstream.write_all(answer).await.unwrap();
        read_until(caller, "204").await;
    }
    let (mut more_of_one, mut more_of_other) = ([0], [0]);
    let one_of_them = async {
        tokio::select! {
            read = one.read(&mut more_of_one) => read,
            read = other.read(&mut more_of_other) => read,
        }
    };
    let read = timeout(PATIENCE, one_of_them).await;
    assert_eq!(read.expect("one is closed").unwrap(), 0);
}

/// Many have gone who have ended their side.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_has_ended_its_side_is_answered_for_as_long_as_is_configured() {
    let wire = Wire::start_with("proxy.timeouts.half_closed = \"200ms\"", "").await;
    let (mut caller, _silent) = wire.exchange(GET).await;
    caller.shutdown().await.unwrap();
    // Five seconds if nobody says how long.
    let ended = timeout(Duration::from_secs(4), caller.read(&mut [0])).await;
    assert_eq!(ended.expect("it is given up").unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_and_while_it_comes() {
    let wire = Wire::start("max_body = 5").await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\n";
    let told = answered(&wire, &format!("{head}Content-Length: 6\r\n\r\n")).await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert!(told.contains("\"reason\":\"body_too_large\""), "{told}");
    assert_counted(&wire.gatepass, "body_too_large", "root").await;

    let (mut caller, mut upstream) = wire
        .exchange(&format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        ))
        .await;
    caller.write_all(b"3\r\ndef\r\n").await.unwrap();
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    // What had arrived of it has no end that could be taken for one.
    let mut seen = Vec::new();
    let _ = timeout(PATIENCE, upstream.read_to_end(&mut seen))
        .await
        .unwrap();
    assert!(!String::from_utf8(seen).unwrap().contains("0\r\n\r\n"));

    for whole in [
        "Content-Length: 5\r\n\r\n12345",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ] {
        let (mut caller, mut upstream) = wire.exchange(&format!("{head}{whole}")).await;
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        upstream.write_all(answer).await.unwrap();
        read_until(&mut caller, "HTTP/1.1 204 ").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_as_a_whole_has_its_time() {
    let wire = Wire::start("timeouts.request = \"300ms\"").await;
    let (mut silent, _upstream) = wire.exchange(GET).await;
    let told = read_until(&mut silent, "}").await;
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    assert!(told.contains("\"reason\":\"request_timeout\""), "{told}");

    // An answer that has begun can only be broken off.
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    upstream.write_all(head.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    let _ = timeout(PATIENCE, caller.read_to_end(&mut told))
        .await
        .unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.starts_with("HTTP/1.1 200 OK") && !told.contains("0\r\n\r\n"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_used_up_the_time_is_named() {
    const HALF: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    let wire = Wire::start("timeouts.request = \"300ms\"").await;
    let (mut caller, _upstream) = wire.exchange(HALF).await;
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert!(told.contains("\"reason\":\"request_stalled\""), "{told}");
    let detail = "the request's body was not over within the 300ms that timeouts.request allows";
    assert!(told.contains(detail), "{told}");
    let output = wire.gatepass.output();
    assert!(!output.contains("\"WARN\""), "{output}");

    // Nobody has asked for the body as long as there is no connection.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", silent.local_addr().unwrap());
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let config = format!("{config}\ntimeouts.request = \"300ms\"");
    let gatepass = Gatepass::start(&config).ready().await;
    let told = raw(gatepass.proxy(), HALF, |text| text.contains('}')).await;
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    assert!(told.contains("\"reason\":\"request_timeout\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_told_so_in_the_same_form() {
    let wire = Wire::start_with("proxy.limits.headers = 20", "").await;
    let many: String = (0..30).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (bytes, status, reason) in [
        (
            "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "a".repeat(70_000)
            ),
            414,
            "target_too_long",
        ),
    ] {
        let told = answered(&wire, &bytes).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert!(
            told.contains("content-type: application/problem+json\r\n"),
            "{told}"
        );
        assert!(
            told.contains("proxy-status: gatepass; error=http_request_error\r\n"),
            "{told}"
        );
        assert!(told.contains("x-request-id: "), "{told}");
        assert!(told.contains(&format!("\"reason\":\"{reason}\"")), "{told}");
    }
    for reason in ["bad_request", "head_too_large", "target_too_long"] {
        assert_counted(&wire.gatepass, reason, "(none)").await;
    }

    // Also when one before it on the same connection was good.
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut caller, "204").await;
    caller.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let told = read_until(&mut caller, "}").await;
    assert!(
        told.contains("HTTP/1.1 400 ") && told.contains("bad_request"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_our_own_is_called_what_the_caller_calls_it() {
    let wire = Wire::start("").await;
    let request = "GET / HTTP/1.1\r\nHost: elsewhere\r\nX-Request-Id: tms-4711\r\n\r\n";
    let told = answered(&wire, request).await;
    assert!(told.contains("x-request-id: tms-4711\r\n"), "{told}");
    assert!(told.contains("\"request_id\":\"tms-4711\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connection_is_tried_again_as_often_as_the_route_says() {
    for (retries, attempts) in [(0, 1), (1, 2), (2, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = AuthorizationServer::start();
        let other = Upstream::start().await;
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
        let gatepass = Gatepass::start(&format!("{config}\nretries = {retries}"))
            .ready()
            .await;
        let asked = tokio::spawn(async move {
            let mut asked = 0;
            while let Ok(Ok((mut stream, _))) =
                timeout(Duration::from_secs(1), listener.accept()).await
            {
                read_until(&mut stream, "\r\n\r\n").await;
                asked += 1;
            }
            asked
        });
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(answer.status(), 502);
        assert_eq!(problem(&answer)["reason"], "upstream_failed");
        assert_eq!(asked.await.unwrap(), attempts, "{retries} retries");
        let counted = r#"gatepass_upstream_retries_total{reason="closed",route="root"}"#;
        assert_eq!(gatepass.metric(counted).await, f64::from(retries));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_harmless_to_repeat_is_sent_once() {
    let wire = Wire::start("").await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let (mut caller, upstream) = wire.exchange(post).await;
    drop(upstream);
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_takes_no_further_request() {
    // Nor does it stand in the way of the one that takes its place.
    let keys = "max_connections = 1\ntimeouts.connection_age = \"200ms\"";
    let wire = Wire::start(keys).await;
    let (mut caller, mut first) = wire.exchange(GET).await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    let opened = Instant::now();
    first.write_all(answer).await.unwrap();
    read_until(&mut caller, "204").await;
    tokio::time::sleep_until(opened + Duration::from_millis(300)).await;
    caller.write_all(GET.as_bytes()).await.unwrap();
    let mut second = wire.accept().await;
    read_until(&mut second, "\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_kept_than_the_route_says() {
    let wire = Wire::start("max_idle_connections = 1").await;
    let first = wire.exchange(GET).await;
    let second = wire.exchange(GET).await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    let mut upstreams = Vec::new();
    for (mut caller, mut upstream) in [first, second] {
        upstream.write_all(answer).await.unwrap();
        read_until(&mut caller, "204").await;
        upstreams.push(upstream);
    }
    let open = r#"gatepass_upstream_connections_open{route="root"}"#;
    wire.gatepass.wait_for_metric(open, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_on_a_unix_socket_is_served_and_told_about_the_caller() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let provider = AuthorizationServer::start();
    let other = Upstream::start().await;
    let origin = format!("unix:{}", path.display());
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let gatepass = Gatepass::start(&format!("{config}\nforwarded = \"forwarded\""))
        .ready()
        .await;
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(head).unwrap()
    });
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 204);
    let head = upstream.await.unwrap();
    assert!(head.contains("host: localhost\r\n"), "{head}");
    assert!(
        head.contains("forwarded: for=127.0.0.1;host=\"localhost\";proto=http\r\n"),
        "{head}"
    );
    assert!(
        head.contains("authorization: Bearer canary-token-1\r\n"),
        "{head}"
    );

    // And told by name when it is not there.
    std::fs::remove_file(&path).unwrap();
    let refused = Request::post("/").header("host", "localhost");
    let answer = request(
        gatepass.proxy(),
        refused.body(Full::<Bytes>::default()).unwrap(),
    )
    .await;
    assert_eq!(answer.status(), 502);
    assert!(
        answer.body().contains("app.sock cannot be reached"),
        "{answer:?}"
    );
    // It may have been about to be started again.
    let retries = r#"gatepass_upstream_retries_total{reason="connect",route="root"}"#;
    assert_eq!(gatepass.metric(retries).await, 1.0);
}
