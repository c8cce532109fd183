//! Promise: 2,000 callers who say nothing and 500 who drip cost those who ask properly nothing, little
//! memory, and nothing at all once their deadlines are over.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config, within};
use crate::traffic::Traffic;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_costs_nobody_else_anything() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let keys = "proxy.timeouts = { header_read = \"5s\", keep_alive = \"8s\" }\n";
    let config = format!("{keys}{}", simple_config(&provider, &upstream));
    let gatepass = Gatepass::start_with(&config, &[("GATEPASS__LOG__LEVEL", "info")])
        .ready()
        .await;
    let before = (
        gatepass.resident_memory_kib(),
        gatepass.metric("process_open_fds").await,
    );
    let traffic = Traffic::start(gatepass.proxy(), &["/"], 4, Duration::from_millis(1));

    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(TcpStream::connect(gatepass.proxy()).await.unwrap());
    }
    let mut dripping = JoinSet::new();
    for _ in 0..500 {
        let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
        dripping.spawn(async move {
            let start = Instant::now();
            for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
                .iter()
                .chain([b'x'; 1_000].iter())
            {
                if caller.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            start.elapsed()
        });
    }
    let crowded = gatepass.resident_memory_kib();
    let start = Instant::now();
    assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
    let probe = start.elapsed();
    for lasted in dripping.join_all().await {
        assert!(lasted < Duration::from_secs(9), "{lasted:?}");
    }
    let are_few = async || gatepass.metric("process_open_fds").await <= before.1 + 20.0;
    within(Duration::from_secs(20), "descriptors come back", are_few).await;

    let account = traffic.stop().await;
    let per_caller = crowded.saturating_sub(before.0) as f64 / 2_500.0;
    println!(
        "2,500 callers: {} KiB before, {crowded} KiB with them, {per_caller:.1} KiB each; /livez after \
         {probe:?}; {} requests of others answered, {} lost",
        before.0,
        account.answered,
        account.lost.len()
    );
    assert_eq!(account.lost, Vec::<String>::new());
    assert!(account.answered > 1_000, "{}", account.answered);
    assert!(per_caller < 60.0, "{per_caller}");
    assert!(probe < Duration::from_secs(2), "{probe:?}");
}
