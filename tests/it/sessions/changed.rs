//! A changed credential that has a session: two that use one refresh token end it, so the one at work
//! gives way before its successor has a token, and goes on if that is not wanted any more.

use std::time::Duration;

use rustix::process::Signal;

use super::{PASSWORD, SUCCESSES, Stage, saved};
use crate::support::{Gatepass, Reply, get};

const TAKEN_UP: &str = r#"gatepass_config_reloads_total{outcome="success"}"#;
const REFUSED: &str = r#"gatepass_config_reloads_total{outcome="failure"}"#;
const GENERATION: &str = r#"gatepass_token_generation{credential="clerk"}"#;

/// Tokens that live for so many seconds, each with a new refresh token.
fn hand_out(stage: &Stage, seconds: u32) {
    let words = format!(
        r#"{{"access_token":"TOKEN","token_type":"Bearer","expires_in":{seconds},"refresh_token":"REFRESH"}}"#
    );
    let reply = Reply::Words(seconds.into(), words);
    stage.provider.otherwise(reply);
}

fn config(stage: &Stage, scope: &str) -> String {
    stage.config(&format!("{PASSWORD}\nscope = \"{scope}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_withdrawn_leaves_the_token_fresh() {
    let stage = Stage::new().await;
    hand_out(&stage, 8);
    let gatepass = Gatepass::start(&config(&stage, "one")).ready().await;
    stage
        .provider
        .otherwise(Reply::Json(400, r#"{"error":"invalid_scope"}"#.into()));
    gatepass.write_config(&config(&stage, "two"));
    gatepass.output_with("the changed configuration waits for its first token");
    hand_out(&stage, 3600);
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
    gatepass.wait_for_metric(GENERATION, 3.0).await;
}

/// Nothing has changed then for the one that has given way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_goes_on_as_it_was() {
    let stage = Stage::new().await;
    hand_out(&stage, 3600);
    let before = config(&stage, "one");
    let gatepass = Gatepass::start(&before).ready().await;
    stage
        .provider
        .otherwise(Reply::Json(400, r#"{"error":"invalid_scope"}"#.into()));
    gatepass.write_config(&config(&stage, "two"));
    gatepass.output_with("the changed configuration waits for its first token");
    hand_out(&stage, 3600);
    gatepass.write_config(&before);
    gatepass.wait_for_event("what runs stays as it is");
    gatepass.order_refresh("clerk").await;
    gatepass.wait_for_metric(GENERATION, 2.0).await;
    assert_eq!(gatepass.metric(TAKEN_UP).await, 0.0);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

/// Those that the provider was asked with, in their order.
fn refresh_tokens(stage: &Stage) -> Vec<String> {
    let asked = stage.provider.requests();
    let asked = asked.iter();
    asked
        .filter_map(|request| request.parameter("refresh_token"))
        .collect()
}

/// What the one at work is about to get is what the other goes on with.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_under_way_is_brought_to_its_end() {
    let stage = Stage::new().await;
    hand_out(&stage, 3600);
    let config = config(&stage, "one");
    let gatepass = Gatepass::start(&config).ready().await;
    stage.provider.think_for(Duration::from_secs(2));
    gatepass.order_refresh("clerk").await;
    stage.provider.wait_for_requests(2).await;
    let changed = config.replace("scope", "timeout = \"9s\"\nscope");
    gatepass.reload(&changed).await;
    assert_eq!(
        refresh_tokens(&stage),
        ["canary-refresh-1", "canary-refresh-2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_not_used_by_both() {
    let stage = Stage::new().await;
    hand_out(&stage, 3600);
    let config = config(&stage, "one");
    let gatepass = Gatepass::start(&config).ready().await;
    stage.provider.think_for(Duration::from_secs(2));
    // It is the same session nevertheless.
    gatepass.write_config(&config.replace("scope", "timeout = \"9s\"\nscope"));
    stage.provider.wait_for_requests(2).await;
    gatepass.order_refresh("clerk").await;
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    assert_eq!(refresh_tokens(&stage), ["canary-refresh-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_up_when_the_token_before_it_has_ended() {
    let stage = Stage::new().await;
    hand_out(&stage, 4);
    let gatepass = Gatepass::start(&config(&stage, "one")).ready().await;
    stage
        .provider
        .otherwise(Reply::Json(400, r#"{"error":"invalid_scope"}"#.into()));
    gatepass.write_config(&config(&stage, "two"));
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 503, "{}", ready.body());
    assert!(ready.body().contains("invalid_scope"), "{}", ready.body());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_successor_keep_the_session_that_it_is_about_to_get() {
    let stage = Stage::new().await;
    hand_out(&stage, 3600);
    let mut gatepass = Gatepass::start(&config(&stage, "one")).ready().await;
    assert_eq!(saved(&stage.session_file()), "canary-refresh-1");
    stage.provider.think_for(Duration::from_secs(2));
    gatepass.write_config(&config(&stage, "two"));
    stage.provider.wait_for_requests(2).await;
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    assert_eq!(saved(&stage.session_file()), "canary-refresh-2");
}
