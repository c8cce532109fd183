//! Every kind of Redis: with TLS and users, under Sentinels, as a Cluster.

use std::path::Path;

use super::{Calls, Stage, at, share_again};
use crate::redis_server::{PASSWORD, Redis};
use crate::support::gatepass::run_with;
use crate::support::{Gatepass, eventually, get};

fn urls(servers: &[Redis]) -> String {
    let urls = servers
        .iter()
        .map(|server| format!("\"redis://127.0.0.1:{}\"", server.port()));
    urls.collect::<Vec<_>>().join(", ")
}

/// How `gatepass doctor` ends, and what it prints.
fn doctor(config: &str) -> (Option<i32>, String) {
    let anywhere = [
        ("GATEPASS__PROXY__LISTEN", "127.0.0.1:0"),
        ("GATEPASS__ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    let finished = run_with(&["doctor"], &[("gatepass.toml", config)], &anywhere);
    (finished.code, finished.stdout + &finished.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_as_a_user_that_may_do_no_more_than_it_needs() {
    let stage = Stage::new().await;
    let (redis, ca) = Redis::with_tls_and_a_user().await;
    let url = format!("url = \"rediss://localhost:{}\"", redis.port());
    let user = format!("username = \"gatepass\"\npassword = \"{PASSWORD}\"");
    let trust = |ca: &Path| format!("tls = {{ ca_file = \"{}\" }}", ca.display());
    let fleet = stage
        .shares(&[url.clone(), user, trust(&ca)].join("\n"))
        .await;
    for gatepass in &fleet {
        let output = gatepass.output();
        assert!(!output.contains("is no help"), "{output}");
        assert!(!output.contains("are not heard"), "{output}");
    }
    let right = format!("username = \"gatepass\"\npassword = \"{PASSWORD}\"");
    let (code, told) = doctor(&stage.config(&[url.clone(), right, trust(&ca)].join("\n")));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("store \"fleet\""), "{told}");
    // With the wrong password it says so, and goes on without.
    let wrong = "username = \"gatepass\"\npassword = \"canary-wrong\"".to_owned();
    let config = stage.config(&[url.clone(), wrong, trust(&ca)].join("\n"));
    let (code, told) = doctor(&config);
    assert_ne!(code, Some(0), "{told}");
    assert!(told.contains("WRONGPASS"), "{told}");
    let gatepass = Gatepass::start(&config).ready().await;
    gatepass.output_with("WRONGPASS");
    // So it does with a server that nobody it trusts has vouched for.
    let stranger = tempfile::NamedTempFile::new().unwrap();
    let authority = crate::support::certificates::Authority::new();
    std::fs::write(stranger.path(), authority.pem()).unwrap();
    let user = format!("username = \"gatepass\"\npassword = \"{PASSWORD}\"");
    let config = stage.config(&[url, user, trust(stranger.path())].join("\n"));
    let gatepass = Gatepass::start(&config).ready().await;
    gatepass.output_with("is no help");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_replaced_is_read_again() {
    let stage = Stage::new().await;
    let redis = Redis::start(&format!("requirepass {PASSWORD}")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PASSWORD).unwrap();
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\npassword_file = \"{}\"",
        redis.port(),
        file.path().display()
    );
    let [one, other] = stage.shares(&store).await;
    redis.cli(&["config", "set", "requirepass", "canary-next"]);
    std::fs::write(file.path(), "canary-next").unwrap();
    redis.cli(&["-a", "canary-next", "client", "kill", "type", "normal"]);
    redis.cli(&["-a", "canary-next", "client", "kill", "type", "pubsub"]);
    share_again(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_sentinels_costs_no_request() {
    let stage = Stage::new().await;
    let mut redis = Redis::under_sentinels().await;
    let urls = urls(&redis.sentinels);
    let store = format!(
        "url = [{urls}]\ntopology = \"sentinel\"\nservice = \"fleet\"\n\
         sentinel_password = \"{PASSWORD}\""
    );
    let [one, other] = stage.shares(&store).await;
    let mut calls = Calls::begin();
    calls.on(&one);
    calls.on(&other);
    redis.servers[0].kill();
    let second = redis.servers[1].port().to_string();
    eventually("the replica takes over", async || {
        let master = ["sentinel", "get-master-addr-by-name", "fleet"];
        redis.sentinels[0].cli(&master).contains(&second)
    })
    .await;
    share_again(&one, &other).await;
    let (sent, failures) = calls.end().await;
    assert!(sent > 0);
    assert_eq!(failures, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_a_server_costs_no_request() {
    let stage = Stage::new().await;
    let mut redis = Redis::cluster().await;
    let urls = urls(&redis.servers);
    let store = format!("url = [{urls}]\ntopology = \"cluster\"");
    let [one, other] = stage.shares(&store).await;
    let mut calls = Calls::begin();
    calls.on(&one);
    calls.on(&other);
    let holds_it = |server: &Redis| !server.cli(&["keys", "gatepass:*"]).trim().is_empty();
    let holder = redis.servers.iter().position(holds_it).unwrap();
    redis.servers[holder].kill();
    let before = stage.provider.count();
    one.order_refresh("envase").await;
    stage.provider.wait_for_requests(before + 1).await;
    one.output_with("this replica asks the provider by itself");
    redis.servers[holder].start_again().await;
    one.output_with("this replica");
    let (_, failures) = calls.end().await;
    assert_eq!(failures, Vec::<String>::new());
}
