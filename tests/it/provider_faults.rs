//! Promise: while a valid token exists, no request fails because of the identity provider, whatever
//! that does; and it is asked again until it answers.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::{AuthorizationServer, Gatepass, Load, Reply, Upstream, get, simple_config};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n";

/// What a token endpoint does in the place of an answer.
fn faults() -> Vec<(&'static str, Reply)> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let oversized = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    let endless = format!("{HEAD}{}", " ".repeat(1_000_000));
    vec![
        (
            "refuses",
            Reply::Json(401, r#"{"error":"invalid_client"}"#.into()),
        ),
        ("is out of order", Reply::Json(500, "{}".into())),
        ("stalls", Reply::Silence),
        ("hangs up", Reply::HangUp),
        ("resets at once", Reply::Reset(Vec::new())),
        (
            "resets in the head",
            Reply::Reset(bytes("HTTP/1.1 200 OK\r\nConte")),
        ),
        (
            "resets in the body",
            Reply::Reset(bytes(&format!("{HEAD}{{\"access_token\""))),
        ),
        ("drips", Reply::Drip(bytes(HEAD))),
        (
            "answers garbage",
            Reply::Bytes(bytes("\u{1}\u{2}\u{3} canary\r\n\r\n")),
        ),
        ("has an oversized head", Reply::Bytes(bytes(&oversized))),
        ("sends more than it says", Reply::Bytes(bytes(&endless))),
    ]
}

async fn survives(fault: &'static str, reply: Reply) {
    let mut provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let config =
        simple_config(&provider, &upstream).replace("client_id", "timeout = \"500ms\"\nclient_id");
    let gatepass = Gatepass::start(&config).ready().await;
    let load = Load::start(gatepass.proxy(), 2);

    provider.plan([reply.clone(), reply.clone()]);
    gatepass.order_refresh("envase").await;
    let failures = r#"gatepass_token_consecutive_failures{credential="envase"}"#;
    gatepass.wait_for_metric(failures, 1.0).await;
    assert_eq!(
        get(gatepass.admin(), "/readyz").await.status(),
        200,
        "{fault}"
    );
    // At the pace of its cause, which is patient after a refusal; an operator need not be.
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(failures, 2.0).await;
    provider.go_down().await;
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(failures, 3.0).await;
    provider.come_up();
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(failures, 0.0).await;

    let lost = load.stop().await;
    assert_eq!(lost, [], "requests lost while the provider {fault}");
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new(), "{fault}");
    assert!(
        upstream.requests() > 100,
        "{fault}: {}",
        upstream.requests()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_whatever_the_provider_does() {
    // A few at a time: each has a process and two callers that ask without a pause.
    let mut faults = faults().into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < 3
            && let Some((fault, reply)) = faults.next()
        {
            running.spawn(survives(fault, reply));
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        ended.unwrap();
    }
}

/// A restart of gatepass under load costs those requests that nobody could have taken, and no more:
/// the new process answers as soon as it has its token.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_needs_one_token_and_no_more() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let config = format!(
        "{}\ntimeouts.first_token = \"10s\"\n",
        simple_config(&provider, &upstream)
    );
    for round in 1..=5 {
        provider.think_for(Duration::from_millis(50));
        let mut gatepass = Gatepass::start(&config);
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        let load = Load::start(gatepass.proxy(), 2);
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(load.stop().await, []);
        assert_eq!(provider.count(), round);
        gatepass.signal(rustix::process::Signal::TERM);
        assert_eq!(gatepass.ended().await.code(), Some(0));
    }
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}
