//! Callers that are slow, idle or too many.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::client::PATIENCE;
use crate::support::http2::Http2Upstream;
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, eventually, get, raw, simple_config,
};

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn start(proxy_keys: &str) -> (Gatepass, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!("{proxy_keys}\n{}", simple_config(&provider, &upstream));
    (Gatepass::start(&config).ready().await, upstream)
}

async fn answer_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut bytes));
    reading.await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn closed_after(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let end = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_off() {
    let (gatepass, upstream) = start("proxy.timeouts.header_read = \"300ms\"").await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    // Also when it is not the first request of its connection.
    caller.write_all(REQUEST).await.unwrap();
    answer_head(&mut caller).await;
    caller.write_all(b"GET / HT").await.unwrap();
    let started = Instant::now();
    let told = to_the_end(&mut caller).await;
    let after = started.elapsed();
    assert!((200..2_000).contains(&after.as_millis()), "{after:?}");
    // The whole of what the first request was answered with, and why there is no second.
    let (_, refusal) = told.split_once("HTTP/1.1 408 Request Timeout\r\n").unwrap();
    assert!(refusal.contains("connection: close\r\n"), "{refusal}");
    assert!(
        refusal.contains("proxy-status: gatepass; error=http_request_error"),
        "{refusal}"
    );
    assert!(refusal.contains("\"reason\":\"head_timeout\""), "{refusal}");
    let counted = "gatepass_rejections_total{reason=\"head_timeout\",route=\"(none)\"}";
    assert_eq!(gatepass.metric(counted).await, 1.0);
    assert_eq!(upstream.requests(), 1);
}

/// hyper reads what has arrived of a body that nobody wants, and the connection goes on if that is all.
#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_refused_request_is_not_taken_for_a_head() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&format!(
        "proxy.timeouts.header_read = \"300ms\"\n{config}\ntimeouts.first_token = \"1s\""
    ));
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    // What is not asked for stays unread until the request is over.
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
                 Expect: 100-continue\r\n\r\n";
    caller.write_all(head).await.unwrap();
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 1.0).await;
    caller.write_all(b"body").await.unwrap();
    read_until(&mut caller, "\"no_token\"").await;
    gatepass.wait_for_metric(in_flight, 0.0).await;
    let quiet = timeout(Duration::from_secs(1), read_until(&mut caller, "408")).await;
    assert!(quiet.is_err(), "nothing was asked");
    let counted = "gatepass_rejections_total{reason=\"head_timeout\",route=\"(none)\"}";
    assert_eq!(gatepass.metric(counted).await, 0.0);

    // The connection is good for another one, and what follows that is a head.
    caller.write_all(REQUEST).await.unwrap();
    read_until(&mut caller, "\"no_token\"").await;
    caller.write_all(b"GET / HT").await.unwrap();
    read_until(&mut caller, "HTTP/1.1 408").await;
}

/// Many send head and body apart. What comes of a body after the answer must not cost the next request.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_refused_request_is_read_away_and_the_connection_goes_on() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream).replace("path = \"/\"", "path = \"/api\"");
    let gatepass = Gatepass::start(&format!(
        "{config}\n\
         [[routes]]\npath = \"/down\"\nupstream = \"http://127.0.0.1:9\"\ncredential = \"none\"\n\
         [[routes]]\npath = \"/little\"\nupstream = \"http://127.0.0.1:9\"\ncredential = \"none\"\n\
         max_body = 1000\n"
    ));
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    for (path, reason) in [
        ("/api", "\"no_token\""),
        ("/elsewhere", "\"no_route\""),
        ("/down", "\"upstream_unreachable\""),
        ("/little", "\"body_too_large\""),
    ] {
        for _ in 0..3 {
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n");
            caller.write_all(head.as_bytes()).await.unwrap();
            read_until(&mut caller, reason).await;
            caller.write_all(&[b'x'; 5000]).await.unwrap();
        }
    }

    // That of a caller who does not send the rest ends.
    let head = b"POST /elsewhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";
    caller.write_all(head).await.unwrap();
    to_the_end(&mut caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_request_that_was_one_too_many_is_read_away() {
    let wire = Wire::start_with("proxy.limits.requests = 1", "").await;
    let (_first, _upstream) = wire.exchange(GET).await;
    let mut caller = wire.call(POST).await;
    for _ in 0..3 {
        read_until(&mut caller, "\"overloaded\"").await;
        caller.write_all(&[b'x'; 5000]).await.unwrap();
        caller.write_all(POST).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_request_that_its_upstream_answers_early_is_read_away() {
    let wire = Wire::start("").await;
    let mut caller = wire.call(POST).await;
    for _ in 0..3 {
        let mut upstream = wire.accept().await;
        read_until(&mut upstream, "\r\n\r\n").await;
        let early = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n";
        upstream.write_all(early).await.unwrap();
        read_until(&mut caller, " 409 ").await;
        caller.write_all(&[b'x'; 5000]).await.unwrap();
        caller.write_all(POST).await.unwrap();
    }
}

/// Many write all of a request before they read anything: a reset in the midst of it would be all that
/// they see.
#[tokio::test(flavor = "multi_thread")]
async fn who_writes_all_before_it_reads_gets_an_early_refusal() {
    let wire = Wire::start("max_body = 1000").await;
    let refused = [
        ("413", "Host: localhost\r\nContent-Length: 5000000\r\n\r\n"),
        (
            "413",
            "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4C4B40\r\n",
        ),
        ("421", "Host: elsewhere\r\nContent-Length: 5000000\r\n\r\n"),
        ("431", "Host: localhost\r\nCookie: "),
    ];
    for (status, head) in refused {
        let mut caller = wire
            .call(format!("POST / HTTP/1.1\r\n{head}").as_bytes())
            .await;
        let writing = caller.write_all(&[b'x'; 5_000_000]);
        let written = timeout(PATIENCE, writing).await.unwrap();
        written.unwrap_or_else(|error| panic!("{head}: {error}"));
        let told = to_the_end(&mut caller).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert!(told.ends_with('}'), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_ends_a_request_that_was_refused_is_let_go() {
    let (mut gatepass, _upstream) = start("").await;
    let refused = async || {
        let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 5\r\n\r\n";
        caller.write_all(head).await.unwrap();
        let told = to_the_end(&mut caller).await;
        assert!(told.starts_with("HTTP/1.1 421 "), "{told}");
        caller
    };
    let _patient = refused().await;
    let open = "gatepass_listener_connections_open{listener=\"proxy\"}";
    gatepass.wait_for_metric(open, 0.0).await;
    // And sooner where gatepass stops.
    let _another = refused().await;
    let started = Instant::now();
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
    let after = started.elapsed();
    assert!(after < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (gatepass, _upstream) = start("proxy.timeouts.keep_alive = \"300ms\"").await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    caller.write_all(REQUEST).await.unwrap();
    answer_head(&mut caller).await;
    let after = closed_after(&mut caller).await;
    assert!((200..2_000).contains(&after.as_millis()), "{after:?}");
}

/// One that has been idle for 2 s rests, and has not the timer any more that it had until then.
#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_rests() {
    let (gatepass, _upstream) = start("proxy.timeouts.keep_alive = \"4s\"").await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    caller.write_all(REQUEST).await.unwrap();
    answer_head(&mut caller).await;
    let after = closed_after(&mut caller).await;
    assert!((3_900..8_000).contains(&after.as_millis()), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_callers_than_allowed_wait_for_their_turn() {
    let (gatepass, upstream) = start("proxy.limits.connections = 1").await;
    let mut first = TcpStream::connect(gatepass.proxy()).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    answer_head(&mut first).await;
    let mut second = TcpStream::connect(gatepass.proxy()).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    let early = timeout(Duration::from_millis(200), second.read(&mut [0])).await;
    assert!(early.is_err(), "the place is taken: {early:?}");
    assert_eq!(upstream.requests(), 1);
    drop(first);
    answer_head(&mut second).await;
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let (gatepass, upstream) = start("").await;
    let cookie = "x".repeat(200_000);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    let answer = raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let fields: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let answer = raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tokens_and_cookies_fit() {
    let (gatepass, upstream) = start("").await;
    let cookie = "x".repeat(16_000);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    let answer = raw(gatepass.proxy(), head, |text| text.contains("\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(upstream.last().all("cookie"), [cookie]);

    // A token at its longest, to an upstream of each protocol.
    let http2 = Http2Upstream::start(1).await;
    let token = format!("canary-{}", "x".repeat(15_993));
    let answer = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
    for origin in [upstream.origin(), http2.origin()] {
        let provider = AuthorizationServer::start();
        provider.otherwise(Reply::Json(200, answer.clone()));
        let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &origin);
        let gatepass = Gatepass::start(&config).ready().await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200, "{origin}");
    }
    let sent = format!("Bearer {token}");
    assert_eq!(upstream.last().all("authorization"), [sent.as_str()]);
    assert_eq!(http2.last().headers["authorization"], sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_share_the_callers_evenly() {
    let (gatepass, upstream) = start("proxy.workers = 2").await;
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
        caller.write_all(REQUEST).await.unwrap();
        answer_head(&mut caller).await;
        callers.push(caller);
    }
    assert_eq!(upstream.requests(), 8);
    // Each worker keeps its own upstream connection, and needs no more for one request at a time.
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_workers_as_there_are_processors_to_use() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let config = format!("proxy.workers = \"auto\"\n{config}");
    let all = std::thread::available_parallelism().unwrap().get();
    // Each tries at first whether there is a thread to be had, which bears its name until it has ended.
    let on_all = Gatepass::start(&config);
    let has_all = || async { on_all.threads("worker-") == all };
    eventually("a worker for each processor", has_all).await;
    let on_one = Gatepass::start_after("taskset -pc 0 $$ >&2", &config);
    let has_one = || async { on_one.threads("worker-") == 1 };
    eventually("one worker on one processor", has_one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_take_all_descriptors() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start_with_descriptors(&config, 256).ready().await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(gatepass.proxy()).await.unwrap());
    }
    assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
    let open = gatepass.metric("process_open_fds").await;
    assert!(open < 100.0, "{open}");
    let output = gatepass.output();
    let told = "10000 callers' connections (proxy.limits.connections) need 20200 open files, and the \
                limit is 256: 28 are served at once, and more wait; raise the limit to 20200 \
                (ulimit -n, LimitNOFILE), or set proxy.limits.connections to 28";
    assert!(output.contains(told), "{output}");
}

/// What nobody has counted, nobody misses.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_cannot_be_had_is_told_where_somebody_has_set_it() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start_with_descriptors(&config, 4_000)
        .ready()
        .await;
    let output = gatepass.output();
    assert!(!output.contains("open files"), "{output}");
    for (written, told) in [(1_900, false), (1_901, true)] {
        let config = format!("proxy.limits.connections = {written}\n{config}");
        let gatepass = Gatepass::start_with_descriptors(&config, 4_000)
            .ready()
            .await;
        let output = gatepass.output();
        assert_eq!(output.contains("open files"), told, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_takes_nothing_of_its_answer_is_given_up() {
    let (gatepass, _upstream) = start("proxy.timeouts.stalled = \"300ms\"").await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    // Much more than the sockets' buffers hold comes back, and nothing of it is read.
    let size = 30_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(&vec![b'x'; size]).await.unwrap();
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 0.0).await;
}
