//! Applications that call before there is a token.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::client::PATIENCE;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

fn config(provider: &AuthorizationServer, upstream: &Upstream, limit: &str) -> String {
    let config = simple_config(provider, upstream);
    format!("{config}\ntimeouts.first_token = \"{limit}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_it_where_the_route_says_so() {
    let provider = AuthorizationServer::start();
    provider.think_for(Duration::from_millis(500));
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&config(&provider, &upstream, "20s"));
    let proxy = gatepass.proxy();
    let early: JoinSet<_> = (0..50)
        .map(|_| async move { get(proxy, "/").await })
        .collect();
    for answer in early.join_all().await {
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(provider.count(), 1, "however many wait");
    assert_eq!(upstream.requests(), 50);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_longer_than_it_says() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream, "300ms"));
    let start = Instant::now();
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.body().contains("no_token"), "{}", answer.body());
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(upstream.requests(), 0);
}

/// What is missing is the token, however little time there is for the request as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn not_longer_than_the_whole_request_may_take() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Silence);
    let upstream = Upstream::start().await;
    let config = config(&provider, &upstream, "1h");
    let gatepass = Gatepass::start(&format!("{config}timeouts.request = \"300ms\"\n"));
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 503, "{}", answer.body());
    assert!(answer.body().contains("no_token"), "{}", answer.body());
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(upstream.requests(), 0);
}

/// Its successor has a token at once, and the refusal that it was waited for after is of the past.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_credential_that_is_mended_meanwhile_is_asked_to_come_again() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Json(401, r#"{"error":"invalid_client"}"#.into()));
    let upstream = Upstream::start().await;
    let config = config(&provider, &upstream, "1h");
    let gatepass = Gatepass::start(&config);
    gatepass.output_with("no token to send");
    let proxy = gatepass.proxy();
    let waiting: JoinSet<_> = (0..5)
        .map(|_| async move { get(proxy, "/").await })
        .collect();
    let in_flight = r#"gatepass_requests_in_flight{route="root"}"#;
    gatepass.wait_for_metric(in_flight, 5.0).await;

    provider.otherwise(Reply::Token(3_600.0));
    let mended = config.replace("client_id = \"tms\"", "client_id = \"another\"");
    gatepass.reload(&mended).await;
    let answers = timeout(PATIENCE, waiting.join_all()).await;
    for answer in answers.expect("at once") {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(
            !answer.body().contains("invalid_client"),
            "{}",
            answer.body()
        );
    }
    assert_eq!(get(proxy, "/").await.status(), 200);
}

/// Who has had a token and has none any more is told at once: there is somebody to look after that.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_token_is_not_waited_out() {
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Token(1.0)]);
    provider.otherwise(Reply::HangUp);
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream, "1h"))
        .ready()
        .await;
    gatepass.output_with("the token has expired");
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 503);
}
