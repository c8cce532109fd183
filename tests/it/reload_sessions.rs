//! A changed credential that has a session: two that use one refresh token end it, so the one at work
//! gives way before its successor has a token, and goes on if that is not wanted any more.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get};

const TAKEN_UP: &str = r#"gatepass_config_reloads_total{outcome="success"}"#;
const REFUSED: &str = r#"gatepass_config_reloads_total{outcome="failure"}"#;
const SUCCESSES: &str = r#"gatepass_token_refreshes_total{credential="clerk",outcome="success"}"#;

struct Stage {
    provider: AuthorizationServer,
    upstream: Upstream,
    directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let provider = AuthorizationServer::start();
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        Self {
            provider,
            upstream,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Tokens that live for so many seconds, each with a new refresh token.
    fn hand_out(&self, seconds: u32) {
        let words = format!(
            r#"{{"access_token":"TOKEN","token_type":"Bearer","expires_in":{seconds},"refresh_token":"REFRESH"}}"#
        );
        self.provider.otherwise(Reply::Words(seconds.into(), words));
    }

    fn config(&self, scope: &str) -> String {
        format!(
            r#"
            [credentials.clerk]
            grant_type = "password"
            username = "clerk"
            password = "canary-password"
            scope = "{scope}"
            token_endpoint = "{}"
            client_id = "tms"
            client_secret = "canary-secret"
            session_file = "{}"

            [[routes]]
            path = "/"
            upstream = "{}"
            credential = "clerk"
            "#,
            self.provider.token_endpoint(),
            self.directory.path().join("session").display(),
            self.upstream.origin(),
        )
    }

    fn saved(&self) -> String {
        let session = fs::read(self.directory.path().join("session")).unwrap();
        let session: Value = serde_json::from_slice(&session).unwrap();
        session["refresh_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_withdrawn_leaves_the_token_fresh() {
    let stage = Stage::new().await;
    stage.hand_out(8);
    let gatepass = Gatepass::start(&stage.config("one")).ready().await;
    stage
        .provider
        .otherwise(Reply::Json(400, r#"{"error":"invalid_scope"}"#.into()));
    gatepass.write_config(&stage.config("two"));
    gatepass.output_with("the changed configuration waits for its first token");
    stage.hand_out(3600);
    gatepass.write_config("[[");
    gatepass.wait_for_metric(REFUSED, 1.0).await;
    // With the session of what runs.
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    let asked = stage.provider.requests();
    let session = asked.last().unwrap().parameter("refresh_token");
    assert_eq!(session.as_deref(), Some("canary-refresh-1"));
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
    assert_eq!(gatepass.metric(TAKEN_UP).await, 0.0);
    // An order is obeyed again, too.
    gatepass.order_refresh("clerk").await;
    gatepass.wait_for_metric(SUCCESSES, 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_up_when_the_token_before_it_has_ended() {
    let stage = Stage::new().await;
    stage.hand_out(4);
    let gatepass = Gatepass::start(&stage.config("one")).ready().await;
    stage
        .provider
        .otherwise(Reply::Json(400, r#"{"error":"invalid_scope"}"#.into()));
    gatepass.write_config(&stage.config("two"));
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503, "{}", ready.body());
    assert!(ready.body().contains("invalid_scope"), "{}", ready.body());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_successor_keep_the_session_that_it_is_about_to_get() {
    let stage = Stage::new().await;
    stage.hand_out(3600);
    let mut gatepass = Gatepass::start(&stage.config("one")).ready().await;
    assert_eq!(stage.saved(), "canary-refresh-1");
    stage.provider.think_for(Duration::from_secs(2));
    gatepass.write_config(&stage.config("two"));
    stage.provider.wait_for_requests(2).await;
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    assert_eq!(stage.saved(), "canary-refresh-2");
}
