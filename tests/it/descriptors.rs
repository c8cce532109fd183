//! Promise: when descriptors run out, gatepass waits for some without spinning, serves on what it
//! has, and takes callers again as soon as it can. Requests do not use up those of tokens and probes.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{PATIENCE, connect, get_request, read};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, http2, problem, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_waits_and_recovers() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    assert_eq!(
        read(caller.send_request(get_request("/")).await.unwrap())
            .await
            .status(),
        200
    );

    // Fewer than it has, so that there is none to be had.
    let before = gatepass.limit_descriptors(5);
    let mut waiting = TcpStream::connect(gatepass.proxy()).await.unwrap();
    waiting
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    gatepass.output_with("no connection can be accepted for now");
    let used = gatepass.cpu_ticks();
    let mut lost = 0;
    for _ in 0..20 {
        caller.ready().await.unwrap();
        let answer = read(caller.send_request(get_request("/")).await.unwrap()).await;
        lost += usize::from(answer.status() != 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lost, 0, "requests of a caller who was there before");
    let used = gatepass.cpu_ticks() - used;
    // 5 % of two seconds.
    assert!(used <= 10, "{used} hundredths of a second in two seconds");

    gatepass.limit_descriptors(before);
    let mut answer = Vec::new();
    timeout(PATIENCE, waiting.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "the one that waited is served"
    );
}

/// A caller that speaks HTTP/2 has one connection, and a hundred to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_upstreams_leave_some_for_tokens_and_probes() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    // The kernel takes connections on which nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", silent.local_addr().unwrap());
    let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &origin);
    let gatepass = Gatepass::start_with_descriptors(&config, 256).ready().await;
    let mut callers = Vec::new();
    let mut answers = JoinSet::new();
    for _ in 0..3 {
        let mut caller = http2::connect::<Full<Bytes>>(gatepass.proxy()).await;
        for _ in 0..100 {
            caller.ready().await.unwrap();
            answers.spawn(caller.send_request(http2::get_request("/")));
        }
        callers.push(caller);
    }
    // Half of what is not reserved.
    for _ in 28..300 {
        let answer = timeout(PATIENCE, answers.join_next()).await.unwrap();
        let answer = read(answer.unwrap().unwrap().unwrap()).await;
        assert_eq!(answer.status(), 503, "{}", answer.body());
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        let problem = problem(&answer);
        assert_eq!(problem["reason"], "upstream_saturated");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("LimitNOFILE"), "{detail}");
    }
    assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_a_request_makes_room_for_another() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let other_route = format!(
        "[[routes]]\npath = \"/other\"\nupstream = \"{}\"\ncredential = \"none\"\n",
        other.origin()
    );
    // With 200 reserved there is one for callers, and one for upstreams.
    let gatepass = Gatepass::start_with_descriptors(&format!("{config}\n{other_route}"), 202);
    let gatepass = gatepass.ready().await;
    for _ in 0..3 {
        for path in ["/", "/other"] {
            let answer = get(gatepass.proxy(), path).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.body());
        }
    }
    assert_eq!((upstream.connections(), other.connections()), (3, 3));
}
