//! Whose time a request takes, and how much goes through, as the metrics tell it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::authorization_server::reset;
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// Long enough that a busy machine makes no difference.
const WHILE: Duration = Duration::from_millis(700);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer";

/// Seconds: gatepass's own, the upstream's, and all.
async fn took(gatepass: &Gatepass) -> [f64; 3] {
    let all = "gatepass_request_duration_seconds_count{route=\"root\"}";
    gatepass.wait_for_metric(all, 1.0).await;
    let sum = async |of: &str| {
        let name = format!("gatepass_request_{of}duration_seconds_sum{{route=\"root\"}}");
        gatepass.metric(&name).await
    };
    [sum("own_").await, sum("upstream_").await, sum("").await]
}

async fn answered(caller: &mut TcpStream, upstream: &mut TcpStream) {
    upstream.write_all(ANSWER).await.unwrap();
    read_until(caller, "answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_slow_is_told_from_gatepass() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    sleep(WHILE).await;
    answered(&mut caller, &mut upstream).await;
    let [own, upstreams, all] = took(&wire.gatepass).await;
    let slow = WHILE.as_secs_f64();
    assert!(own > 0.0 && own < slow, "{own}");
    assert!(upstreams >= slow && upstreams <= all, "{upstreams} {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_slow_is_told_from_both() {
    let wire = Wire::start("").await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf";
    let (mut caller, mut upstream) = wire.exchange(post).await;
    sleep(WHILE).await;
    caller.write_all(b"half").await.unwrap();
    read_until(&mut upstream, "half").await;
    answered(&mut caller, &mut upstream).await;
    let [own, upstreams, all] = took(&wire.gatepass).await;
    let slow = WHILE.as_secs_f64();
    assert!(own < slow && upstreams < slow, "{own} {upstreams}");
    assert!(all >= slow, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_for_which_the_caller_has_no_patience_is_slow_all_the_same() {
    let wire = Wire::start("").await;
    let (caller, _upstream) = wire.exchange(GET).await;
    sleep(WHILE).await;
    reset(caller).unwrap();
    let [_, upstreams, _] = took(&wire.gatepass).await;
    assert!(upstreams >= WHILE.as_secs_f64(), "{upstreams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_token_is_no_time_of_the_upstreams() {
    let provider = AuthorizationServer::start();
    provider.think_for(WHILE);
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream) + "\ntimeouts.first_token = \"20s\"\n";
    let gatepass = Gatepass::start(&config);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let [own, upstreams, all] = took(&gatepass).await;
    assert!(own > upstreams && own <= all, "{own} {upstreams} {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_through_is_counted_in_bytes() {
    let wire = Wire::start("").await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let (mut caller, mut upstream) = wire.exchange(post).await;
    answered(&mut caller, &mut upstream).await;
    let bytes = async |of: &str| {
        let name = format!("gatepass_{of}_bytes_total{{route=\"root\"}}");
        wire.gatepass.metric(&name).await
    };
    assert_eq!(bytes("request").await, 5.0);
    assert_eq!(bytes("answer").await, 6.0);
}
