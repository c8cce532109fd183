//! Promise: when descriptors run out, gatepass waits for some without spinning, serves on what it
//! has, and takes callers again as soon as it can.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::{PATIENCE, connect, get_request, read};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

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
