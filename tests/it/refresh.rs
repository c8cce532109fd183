//! Tokens that come, roll over and are shared, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::client::PATIENCE;
use crate::support::{
    AuthorizationServer, CLIENT_SECRET, Gatepass, Load, Reply, Upstream, get, simple_config,
};

#[tokio::test(flavor = "multi_thread")]
async fn ten_rollovers_under_load_lose_no_request() {
    let provider = AuthorizationServer::start();
    // Refreshed after 1 s and sent for 1.5 s.
    provider.otherwise(Reply::Token(2.0));
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;

    let load = Load::start(gatepass.proxy(), 8);
    provider.wait_for_requests(12).await;
    assert_eq!(load.stop().await, []);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    assert!(
        upstream.requests() > 500,
        "{} requests",
        upstream.requests()
    );
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    assert!(gatepass.metric(successes).await >= 11.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_replicas_spread_is_configured() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Token(36_000.0));
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let config = config.replace("client_id", "spread = \"0%\"\nclient_id");
    let gatepass = Gatepass::start(&config);
    let new = gatepass.wait_for_event("new token");
    // By a part of the life that is drawn if nobody says how far.
    let refreshed = new["refresh_in_seconds"].as_u64().unwrap();
    assert!((28_790..=28_800).contains(&refreshed), "{refreshed}");
}

/// At four fifths of the life it would be too late: the token is sent for 7 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_a_quarter_of_the_life_costs_no_request() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Token(8.0));
    provider.think_for(Duration::from_secs(2));
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let load = Load::start(gatepass.proxy(), 1);
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 3.0).await;
    assert_eq!(load.stop().await, []);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_on_a_cold_start_cause_one_token_request() {
    let provider = AuthorizationServer::start();
    allow_many_sockets();
    // Long enough for all of them to come while the first token is on its way.
    provider.think_for(Duration::from_millis(1_500));
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));

    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let (address, answered) = (gatepass.proxy(), Arc::clone(&answered));
        callers.spawn(async move {
            // Asks until the token is there, as an application with retries would.
            loop {
                let answer = get(address, "/").await;
                answered.fetch_add(1, Ordering::Relaxed);
                if answer.status() == 200 {
                    return;
                }
                assert_eq!(answer.status(), 503, "{answer:?}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    tokio::time::timeout(PATIENCE, callers.join_all())
        .await
        .expect("all served in time");
    assert!(
        answered.load(Ordering::Relaxed) > 1_000,
        "some came before the token"
    );
    assert_eq!(provider.count(), 1);
}

/// A thousand callers and as many upstream connections are more than the usual 1,024 descriptors.
fn allow_many_sockets() {
    let limit = gatepass::runtime::raise_descriptor_limit();
    assert!(
        limit > 4_000,
        "raise the hard limit of open files (ulimit -Hn)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_is_as_rfc_6749_has_it() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream).replace(
        "client_id = \"tms\"",
        "client_id = \"tms\"\n scope = [\"connectdata/events\", \"b:c\"]\n audience = \"api\"",
    );
    let _gatepass = Gatepass::start(&config).ready().await;
    let request = &provider.requests()[0];
    assert!(
        request.head.starts_with("POST /oauth2/token HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(
        request.body,
        "grant_type=client_credentials&scope=connectdata%2Fevents+b%3Ac&audience=api"
    );
    let content_type = request.header("content-type").unwrap();
    assert_eq!(content_type, "application/x-www-form-urlencoded");
    assert_eq!(request.header("accept").unwrap(), "application/json");
    // tms:canary%2Bs3cret%2F%25%3A%3D%26+42
    assert_eq!(
        request.header("authorization").unwrap(),
        "Basic dG1zOmNhbmFyeSUyQnMzY3JldCUyRiUyNSUzQSUzRCUyNis0Mg=="
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_goes_into_the_body_when_the_provider_wants_it_there() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream).replace(
        "client_id = \"tms\"",
        "client_id = \"tms\"\n token_endpoint_auth_method = \"client_secret_post\"",
    );
    let _gatepass = Gatepass::start(&config).ready().await;
    let request = &provider.requests()[0];
    assert_eq!(request.header("authorization"), None);
    assert_eq!(
        request.body,
        "grant_type=client_credentials&client_id=tms&client_secret=canary%2Bs3cret%2F%25%3A%3D%26+42"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_come_from_a_file_a_variable_or_an_override() {
    let basic = "Basic dG1zOmNhbmFyeSUyQnMzY3JldCUyRiUyNSUzQSUzRCUyNis0Mg==";
    let inline = format!("client_secret = \"{CLIENT_SECRET}\"");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{CLIENT_SECRET}\n")).unwrap();
    let from_file = format!("client_secret_file = \"{}\"", file.display());
    let variable = ("TMS_SECRET", CLIENT_SECRET);
    let layer = (
        "GATEPASS__CREDENTIALS__ENVASE__CLIENT_SECRET",
        CLIENT_SECRET,
    );
    for (written, environment) in [
        (inline.as_str(), None),
        (from_file.as_str(), None),
        ("client_secret_env = \"TMS_SECRET\"", Some(variable)),
        ("", Some(layer)),
        ("client_secret = \"old\"", Some(layer)),
    ] {
        let provider = AuthorizationServer::start();
        let upstream = Upstream::start().await;
        let config = simple_config(&provider, &upstream).replace(&inline, written);
        let environment: Vec<_> = environment.into_iter().collect();
        let _gatepass = Gatepass::start_with(&config, &environment).ready().await;
        let sent = provider.requests()[0].header("authorization").unwrap();
        assert_eq!(sent, basic, "{written} {environment:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_digits_is_no_number() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream)
        .replace(&format!("client_secret = \"{CLIENT_SECRET}\""), "");
    let digits = ("GATEPASS__CREDENTIALS__ENVASE__CLIENT_SECRET", "0123456789");
    // What Kubernetes adds for a Service called gatepass must mean nothing.
    let link = ("GATEPASS_PORT", "tcp://10.0.0.1:80");
    let _gatepass = Gatepass::start_with(&config, &[digits, link]).ready().await;
    let sent = provider.requests()[0].header("authorization").unwrap();
    assert_eq!(sent, "Basic dG1zOjAxMjM0NTY3ODk=");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_file_is_read_anew() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Token(0.5));
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "canary-old").unwrap();
    let config = simple_config(&provider, &upstream).replace(
        &format!("client_secret = \"{CLIENT_SECRET}\""),
        &format!("client_secret_file = \"{}\"", file.display()),
    );
    let _gatepass = Gatepass::start(&config).ready().await;
    std::fs::write(&file, "canary-new").unwrap();
    let before = provider.count();
    provider.wait_for_requests(before + 2).await;
    // tms:canary-new
    let sent = provider
        .requests()
        .pop()
        .unwrap()
        .header("authorization")
        .unwrap();
    assert_eq!(sent, "Basic dG1zOmNhbmFyeS1uZXc=");
}
