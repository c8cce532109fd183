//! A secret is replaced while gatepass runs, in whatever order the provider and the file learn of it.

use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, eventually, get, simple_config,
};

const IN_USE: &str = r#"gatepass_token_previous_secret_in_use{credential="envase"}"#;

fn refused() -> Reply {
    let body = r#"{"error":"invalid_client","error_description":"not that one"}"#;
    Reply::Json(401, body.into())
}

/// A client whose secret is in a file.
struct Stage {
    directory: TempDir,
    file: PathBuf,
    provider: AuthorizationServer,
    upstream: Upstream,
}

impl Stage {
    async fn with(secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, secret).unwrap();
        Self {
            directory,
            file,
            provider: AuthorizationServer::start(),
            upstream: Upstream::start().await,
        }
    }

    async fn start(&self, keys: &str) -> Gatepass {
        let config = simple_config(&self.provider, &self.upstream);
        let inline = config
            .lines()
            .find(|line| line.contains("client_secret"))
            .unwrap();
        let keys = format!(
            "client_secret_file = \"{}\"\ntoken_endpoint_auth_method = \"client_secret_post\"\n{keys}",
            self.file.display()
        );
        Gatepass::start(&config.replace(inline, &keys))
            .ready()
            .await
    }

    /// The secrets of the token requests so far, oldest first.
    fn secrets(&self) -> Vec<String> {
        let requests = self.provider.requests();
        let secrets = requests.iter().map(|of| of.parameter("client_secret"));
        secrets.map(Option::unwrap).collect()
    }
}

/// As Kubernetes does it: all at once.
fn replace(file: &Path, secret: &str) {
    let beside = file.with_extension("next");
    fs::write(&beside, secret).unwrap();
    fs::rename(beside, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_does_not_know_the_new_one_the_old_one_is_used() {
    let stage = Stage::with("canary-old").await;
    stage.upstream.check_tokens(stage.provider.introspection());
    let gatepass = stage.start("").await;
    assert_eq!(gatepass.metric(IN_USE).await, 0.0);

    replace(&stage.file, "canary-new");
    stage.provider.plan([refused()]);
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(IN_USE, 1.0).await;
    assert_eq!(stage.secrets(), ["canary-old", "canary-new", "canary-old"]);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let wanted = "credential \"envase\" gets its tokens with the previous secret, because the present \
                  one cannot be used: token endpoint";
    assert!(ready.body().contains(wanted), "{}", ready.body());
    gatepass.output_with("the previous secret is in use, because the present one cannot be used");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    // Another change is not waited for until the next refresh, an hour later.
    replace(&stage.file, "canary-newest");
    gatepass.wait_for_metric(IN_USE, 0.0).await;
    assert_eq!(stage.secrets()[3..], ["canary-newest"]);
    gatepass.output_with("the newer secret is accepted");
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

/// Whoever replaces it may take it away first, or write it in two steps.
#[tokio::test(flavor = "multi_thread")]
async fn while_its_file_is_missing_or_empty_the_one_that_was_taken_last_is_used() {
    let stage = Stage::with("canary-1").await;
    let gatepass = stage.start("").await;
    let remove = || fs::remove_file(&stage.file).unwrap();
    let empty = || fs::write(&stage.file, "").unwrap();
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
        let path = stage.file.display().to_string();
        assert!(ready.body().contains(&path), "{}", ready.body());
        replace(&stage.file, next);
        gatepass.wait_for_metric(IN_USE, 0.0).await;
        let since_start = stage.secrets().split_off(1);
        assert!(
            since_start.ends_with(&[last, next].map(str::to_owned)),
            "{since_start:?}"
        );
    }
}

/// In the middle of a rotation: the newer secret is refused at the start, and the one before it is in a
/// file of its own.
async fn in_rotation() -> (Stage, PathBuf, Gatepass) {
    let stage = Stage::with("canary-new").await;
    let previous = stage.directory.path().join("previous");
    fs::write(&previous, "canary-old").unwrap();
    stage.provider.plan([refused()]);
    let keys = format!("previous_client_secret_file = \"{}\"", previous.display());
    let gatepass = stage.start(&keys).await;
    (stage, previous, gatepass)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_previous_one_that_was_taken_is_used_when_its_file_is_gone() {
    let (stage, previous, gatepass) = in_rotation().await;
    assert_eq!(gatepass.metric(IN_USE).await, 1.0);
    stage.provider.plan([refused()]);
    // That is a change, too, and another attempt may end otherwise.
    fs::remove_file(previous).unwrap();
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 2.0).await;
    let both = ["canary-new", "canary-old"];
    assert_eq!(stage.secrets(), [both, both].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_tried_twice_in_one_attempt() {
    let stage = Stage::with("canary-new").await;
    stage.provider.plan([refused()]);
    let gatepass = stage.start("previous_client_secret = \"canary-old\"").await;
    stage.provider.otherwise(refused());
    gatepass.order_refresh("envase").await;
    gatepass.output_with("the secret before it is not taken either");
    let both = ["canary-new", "canary-old"];
    assert_eq!(stage.secrets(), [both, both].concat());
}

/// Whatever the provider may have refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_any_file_that_a_request_is_made_of_is_tried_at_once() {
    let stage = Stage::with("canary-secret").await;
    let file = |name: &str| stage.directory.path().join(name);
    for name in ["header", "parameter"] {
        fs::write(file(name), "canary-1").unwrap();
    }
    let gatepass = stage
        .start(&format!(
            "headers = {{ x-tenant = {{ file = \"{}\" }} }}\nparameters = {{ tenant = {{ file = \"{}\" }} }}",
            file("header").display(),
            file("parameter").display(),
        ))
        .await;
    stage.provider.otherwise(refused());
    gatepass.order_refresh("envase").await;
    let refused = r#"gatepass_token_refreshes_total{credential="envase",outcome="refused"}"#;
    // One that changes while an attempt is under way may be a part of that one.
    gatepass.wait_for_metric(refused, 1.0).await;
    for (count, name) in [(1, "header"), (2, "parameter")] {
        replace(&file(name), "canary-2");
        let trying = "a file has changed that a token is got with: trying now";
        eventually(name, || {
            ready(gatepass.output().matches(trying).count() == count)
        })
        .await;
        gatepass.wait_for_metric(refused, 1.0 + count as f64).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_taken_no_longer_is_tried_once_and_not_again() {
    let stage = Stage::with("canary-old").await;
    let gatepass = stage.start("").await;
    replace(&stage.file, "canary-new");
    stage.provider.otherwise(refused());
    gatepass.order_refresh("envase").await;
    gatepass.output_with("invalid_client");
    gatepass.output_with("the secret before it is not taken either");
    assert_eq!(stage.secrets(), ["canary-old", "canary-new", "canary-old"]);
    let refused = r#"gatepass_token_refreshes_total{credential="envase",outcome="refused"}"#;
    assert_eq!(gatepass.metric(refused).await, 1.0, "one attempt");

    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(refused, 2.0).await;
    assert_eq!(stage.secrets()[3..], ["canary-new"]);
    // The token at hand is good all the while.
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

/// A gatepass that starts in the middle of a rotation remembers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_configured_previous_one_is_tried_at_the_start() {
    let (stage, _, gatepass) = in_rotation().await;
    assert_eq!(stage.secrets(), ["canary-new", "canary-old"]);
    assert_eq!(gatepass.metric(IN_USE).await, 1.0);
    // The newer one is tried first each time.
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(IN_USE, 0.0).await;
    assert_eq!(stage.secrets()[2..], ["canary-new"]);
}

/// A provider that is down says nothing about secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_is_not_asked_twice() {
    let stage = Stage::with("canary-old").await;
    let gatepass = stage.start("").await;
    replace(&stage.file, "canary-new");
    stage.provider.plan([Reply::Json(503, "{}".into())]);
    gatepass.order_refresh("envase").await;
    gatepass.output_with("answered 503");
    stage.provider.wait_for_requests(3).await;
    assert_eq!(stage.secrets(), ["canary-old", "canary-new", "canary-new"]);
    assert_eq!(gatepass.metric(IN_USE).await, 0.0);
}
