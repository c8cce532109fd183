//! A secret is replaced while gatepass runs, in whatever order the provider and the file learn of it.

use std::fs;
use std::path::Path;

use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

const IN_USE: &str = r#"gatepass_token_previous_secret_in_use{credential="envase"}"#;

fn refused() -> Reply {
    let body = r#"{"error":"invalid_client","error_description":"not that one"}"#;
    Reply::Json(401, body.into())
}

fn config(
    provider: &AuthorizationServer,
    upstream: &Upstream,
    secret: &Path,
    keys: &str,
) -> String {
    let config = simple_config(provider, upstream);
    let inline = config
        .lines()
        .find(|line| line.contains("client_secret"))
        .unwrap();
    let keys = format!(
        "client_secret_file = \"{}\"\ntoken_endpoint_auth_method = \"client_secret_post\"\n{keys}",
        secret.display()
    );
    config.replace(inline, &keys)
}

/// The secrets of the token requests so far, oldest first.
fn secrets(provider: &AuthorizationServer) -> Vec<String> {
    let requests = provider.requests();
    let secrets = requests.iter().map(|of| of.parameter("client_secret"));
    secrets.map(Option::unwrap).collect()
}

/// As Kubernetes does it: all at once.
fn replace(file: &Path, secret: &str) {
    let beside = file.with_extension("next");
    fs::write(&beside, secret).unwrap();
    fs::rename(beside, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_does_not_know_the_new_one_the_old_one_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "canary-old").unwrap();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let gatepass = Gatepass::start(&config(&provider, &upstream, &file, ""))
        .ready()
        .await;
    assert_eq!(gatepass.metric(IN_USE).await, 0.0);

    replace(&file, "canary-new");
    provider.plan([refused()]);
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(IN_USE, 1.0).await;
    assert_eq!(
        secrets(&provider),
        ["canary-old", "canary-new", "canary-old"]
    );
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let wanted = "credential \"envase\" gets its tokens with the previous secret, because the newer \
                  one is refused: token endpoint";
    assert!(ready.body().contains(wanted), "{}", ready.body());
    gatepass.output_with("the previous secret is in use, because the newer one is refused");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    // Another change is not waited for until the next refresh, an hour later.
    replace(&file, "canary-newest");
    gatepass.wait_for_metric(IN_USE, 0.0).await;
    assert_eq!(secrets(&provider)[3..], ["canary-newest"]);
    gatepass.output_with("the newer secret is accepted");
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}

/// Whoever replaces it may take it away first, or write it in two steps.
#[tokio::test(flavor = "multi_thread")]
async fn while_its_file_is_missing_or_empty_the_one_that_was_taken_last_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "canary-1").unwrap();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream, &file, ""))
        .ready()
        .await;
    let remove = || fs::remove_file(&file).unwrap();
    let empty = || fs::write(&file, "").unwrap();
    let spoilt: [(&dyn Fn(), _, _); 2] = [
        (&remove, "canary-1", "canary-2"),
        (&empty, "canary-2", "canary-3"),
    ];
    for (spoil, last, next) in spoilt {
        spoil();
        gatepass.order_refresh("envase").await;
        gatepass.wait_for_metric(IN_USE, 1.0).await;
        let ready = get(gatepass.admin(), "/readyz").await;
        assert_eq!(ready.status(), 200);
        let path = file.display().to_string();
        assert!(ready.body().contains(&path), "{}", ready.body());
        replace(&file, next);
        gatepass.wait_for_metric(IN_USE, 0.0).await;
        assert_eq!(
            secrets(&provider)[1..]
                .iter()
                .rev()
                .take(2)
                .collect::<Vec<_>>(),
            [next, last]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_taken_no_longer_is_tried_once_and_not_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "canary-old").unwrap();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream, &file, ""))
        .ready()
        .await;
    replace(&file, "canary-new");
    provider.otherwise(refused());
    gatepass.order_refresh("envase").await;
    gatepass.output_with("invalid_client");
    gatepass.output_with("the secret before it is not taken either");
    assert_eq!(
        secrets(&provider),
        ["canary-old", "canary-new", "canary-old"]
    );
    let refused = r#"gatepass_token_refreshes_total{credential="envase",outcome="refused"}"#;
    assert_eq!(gatepass.metric(refused).await, 1.0, "one attempt");

    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(refused, 2.0).await;
    assert_eq!(secrets(&provider)[3..], ["canary-new"]);
    // The token at hand is good all the while.
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

/// A gatepass that starts in the middle of a rotation remembers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_configured_previous_one_is_tried_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let previous = directory.path().join("previous");
    fs::write(&file, "canary-new").unwrap();
    fs::write(&previous, "canary-old").unwrap();
    let provider = AuthorizationServer::start();
    provider.plan([refused()]);
    let upstream = Upstream::start().await;
    let keys = format!("previous_client_secret_file = \"{}\"", previous.display());
    let gatepass = Gatepass::start(&config(&provider, &upstream, &file, &keys))
        .ready()
        .await;
    assert_eq!(secrets(&provider), ["canary-new", "canary-old"]);
    assert_eq!(gatepass.metric(IN_USE).await, 1.0);
    // The newer one is tried first each time.
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(IN_USE, 0.0).await;
    assert_eq!(secrets(&provider)[2..], ["canary-new"]);
}

/// A provider that is down says nothing about secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_is_not_asked_twice() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "canary-old").unwrap();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&provider, &upstream, &file, ""))
        .ready()
        .await;
    replace(&file, "canary-new");
    provider.plan([Reply::Json(503, "{}".into())]);
    gatepass.order_refresh("envase").await;
    gatepass.output_with("answered 503");
    provider.wait_for_requests(3).await;
    assert_eq!(
        secrets(&provider),
        ["canary-old", "canary-new", "canary-new"]
    );
    assert_eq!(gatepass.metric(IN_USE).await, 0.0);
}
